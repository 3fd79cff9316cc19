//! The expression `masq`: its fields, its attributes, and the bytes that nft sends for it.

use super::register;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

/// Gives the packet the address of the device it leaves by. Only in nat chains at postrouting.
///
/// `nft_masq_init` in net/netfilter/nft_masq.c (Linux 6.12) reads it; `nft_masq_validate` has the chain and the hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masq {
    /// The register with the port, or the first of a range, in network order
    pub proto_min: Option<Register>,
    /// The register with the last port of the range; the kernel repeats `proto_min` where none was given
    pub proto_max: Option<Register>,
    /// `NF_NAT_RANGE_*`; a port needs `NF_NAT_RANGE_PROTO_SPECIFIED` here, the kernel does not add it
    pub flags: u32,
}

impl Masq {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        if let Some(proto_min) = self.proto_min {
            writer.put_be32(uapi::NFTA_MASQ_REG_PROTO_MIN, proto_min.number());
        }
        if let Some(proto_max) = self.proto_max {
            writer.put_be32(uapi::NFTA_MASQ_REG_PROTO_MAX, proto_max.number());
        }
        if self.flags != 0 {
            writer.put_be32(uapi::NFTA_MASQ_FLAGS, self.flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let mut expression = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_MASQ_REG_PROTO_MIN => expression.proto_min = Some(register(attribute)?),
                uapi::NFTA_MASQ_REG_PROTO_MAX => expression.proto_max = Some(register(attribute)?),
                uapi::NFTA_MASQ_FLAGS => expression.flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(expression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{same, same_in_another_order};

    #[test]
    fn plain() {
        // masquerade
        // [ masq ]
        let nft = "
            1400 0180                    # element
              0900 0100 6d61737100000000 # name \"masq\"
              0400 0280                  # data masq
        ";
        same(Masq::default(), nft);
    }

    #[test]
    fn to_ports() {
        // meta l4proto tcp masquerade to :1024-2048 random
        // [ masq proto_min reg 1 proto_max reg 2 flags 0x6 ]
        let nft = "
            2c00 0180                    # element
              0900 0100 6d61737100000000 # name \"masq\"
              1c00 0280                  # data masq
                0800 0100 00000006       # flags
                0800 0200 00000001       # proto_min
                0800 0300 00000002       # proto_max
        ";
        let expression = Masq { proto_min: Some(Register::R1), proto_max: Some(Register::R2), flags: 6 };
        same_in_another_order(expression, nft);
    }
}

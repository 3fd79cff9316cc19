//! The expression `redir`: its fields, its attributes, and the bytes that nft sends for it.

use super::register;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

/// Sends the packet to this machine, for `redirect to PORT`. Only in nat chains at prerouting and output.
///
/// `nft_redir_init` in net/netfilter/nft_redir.c (Linux 6.12) reads it; `nft_redir_validate` has the chain and the
/// hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redir {
    /// The register with the port, or the first of a range, in network order
    pub proto_min: Option<Register>,
    /// The register with the last port of the range; the kernel repeats `proto_min` where none was given
    pub proto_max: Option<Register>,
    /// `NF_NAT_RANGE_*`; with a port, flags need `NF_NAT_RANGE_PROTO_SPECIFIED`: the kernel adds it only where none
    /// are given (`nft_redir_init`)
    pub flags: u32,
}

impl Redir {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        if let Some(proto_min) = self.proto_min {
            writer.put_be32(uapi::NFTA_REDIR_REG_PROTO_MIN, proto_min.number());
        }
        if let Some(proto_max) = self.proto_max {
            writer.put_be32(uapi::NFTA_REDIR_REG_PROTO_MAX, proto_max.number());
        }
        if self.flags != 0 {
            writer.put_be32(uapi::NFTA_REDIR_FLAGS, self.flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let mut expression = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_REDIR_REG_PROTO_MIN => expression.proto_min = Some(register(attribute)?),
                uapi::NFTA_REDIR_REG_PROTO_MAX => expression.proto_max = Some(register(attribute)?),
                uapi::NFTA_REDIR_FLAGS => expression.flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(expression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn to_the_same_port() {
        // redirect
        // [ redir ]
        let nft = "
            1400 0180                    # element
              0a00 0100 7265646972000000 # name \"redir\"
              0400 0280                  # data redir
        ";
        same(Redir::default(), nft);
    }

    #[test]
    fn to_a_port() {
        let flags = uapi::NF_NAT_RANGE_PROTO_SPECIFIED;
        // redirect to :15006
        // [ redir proto_min reg 1 flags 0x2 ]
        let nft = "
            2400 0180                    # element
              0a00 0100 7265646972000000 # name \"redir\"
              1400 0280                  # data redir
                0800 0100 00000001       # proto_min
                0800 0300 00000002       # flags
        ";
        same(Redir { proto_min: Some(Register::R1), proto_max: None, flags }, nft);
        // The kernel's dump repeats proto_min as proto_max; so does a rule that is to equal the dump.
        let as_dumped = "
            2c00 0180                     # element
              0a00 0100 7265646972000000  # name
              1c00 0280                   # data redir
                0800 0100 00000001        # proto_min
                0800 0200 00000001        # proto_max
                0800 0300 00000002        # flags
        ";
        same(Redir { proto_min: Some(Register::R1), proto_max: Some(Register::R1), flags }, as_dumped);
    }

    #[test]
    fn to_ports() {
        // redirect to :1000-2000 random
        // [ redir proto_min reg 1 proto_max reg 2 flags 0x6 ]
        let nft = "
            2c00 0180                    # element
              0a00 0100 7265646972000000 # name \"redir\"
              1c00 0280                  # data redir
                0800 0100 00000001       # proto_min
                0800 0200 00000002       # proto_max
                0800 0300 00000006       # flags
        ";
        same(Redir { proto_min: Some(Register::R1), proto_max: Some(Register::R2), flags: 6 }, nft);
    }
}

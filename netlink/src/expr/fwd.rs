//! The expression `fwd`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Family, Register, uapi};

/// Sends the packet out of another device, past the stack. Only in the family netdev, at ingress and egress.
///
/// `nft_fwd_netdev_init`, or, with an address, `nft_fwd_neigh_init`, in net/netfilter/nft_fwd_netdev.c (Linux 6.12)
/// reads it; `nft_fwd_validate` has the hooks. An address needs its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fwd {
    /// The register with the index of the output device, in host order
    pub dev: Register,
    /// The register with the address of the neighbour; without it, the packet keeps its link layer header
    pub addr: Option<Register>,
    /// The family of that address
    pub family: Option<Family>,
}

impl Fwd {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_FWD_SREG_DEV, self.dev.number());
        if let Some(addr) = self.addr {
            writer.put_be32(uapi::NFTA_FWD_SREG_ADDR, addr.number());
        }
        if let Some(family) = self.family {
            writer.put_be32(uapi::NFTA_FWD_NFPROTO, u32::from(family.number()));
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut dev, mut addr, mut family) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_FWD_SREG_DEV => dev = Some(register(attribute)?),
                uapi::NFTA_FWD_SREG_ADDR => addr = Some(register(attribute)?),
                uapi::NFTA_FWD_NFPROTO => family = Some(super::family(attribute)?),
                _ => {}
            }
        }
        Ok(Self { dev: required(dev, uapi::NFTA_FWD_SREG_DEV)?, addr, family })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn to_a_device() {
        // fwd to lo
        // [ fwd sreg_dev 1 ]
        let nft = "
            1800 0180              # element
              0800 0100 66776400   # name \"fwd\"
              0c00 0280            # data fwd
                0800 0100 00000001 # sreg_dev
        ";
        same(Fwd { dev: Register::R1, addr: None, family: None }, nft);
    }

    #[test]
    fn to_a_neighbour() {
        // fwd ip to 10.0.0.1 device lo
        // [ fwd sreg_dev 1 sreg_addr 2 nfproto 2 ]
        let nft = "
            2800 0180              # element
              0800 0100 66776400   # name \"fwd\"
              1c00 0280            # data fwd
                0800 0100 00000001 # sreg_dev
                0800 0200 00000002 # sreg_addr
                0800 0300 00000002 # nfproto
        ";
        let expression = Fwd { dev: Register::R1, addr: Some(Register::R2), family: Some(Family::Ipv4) };
        same(expression, nft);
    }
}

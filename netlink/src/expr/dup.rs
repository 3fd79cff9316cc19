//! The expression `dup`: its fields, its attributes, and the bytes that nft sends for it.

use super::register;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

/// Sends a copy of the packet elsewhere: in the families ip and ip6 to an address, in netdev to a device.
///
/// `nft_dup_ipv4_init` in net/ipv4/netfilter/nft_dup_ipv4.c, `nft_dup_ipv6_init` in net/ipv6/netfilter/nft_dup_ipv6.c
/// and `nft_dup_netdev_init` in net/netfilter/nft_dup_netdev.c (Linux 6.12) read it. There is none for inet (ENOENT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dup {
    /// The register with the address of the next hop
    pub addr: Option<Register>,
    /// The register with the index of the output device, in host order
    pub dev: Option<Register>,
}

impl Dup {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        if let Some(addr) = self.addr {
            writer.put_be32(uapi::NFTA_DUP_SREG_ADDR, addr.number());
        }
        if let Some(dev) = self.dev {
            writer.put_be32(uapi::NFTA_DUP_SREG_DEV, dev.number());
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let mut expression = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_DUP_SREG_ADDR => expression.addr = Some(register(attribute)?),
                uapi::NFTA_DUP_SREG_DEV => expression.dev = Some(register(attribute)?),
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
    fn to_an_address() {
        // dup to 10.0.0.1
        // [ dup sreg_addr 1 ]
        let nft = "
            1800 0180              # element
              0800 0100 64757000   # name \"dup\"
              0c00 0280            # data dup
                0800 0100 00000001 # sreg_addr
        ";
        same(Dup { addr: Some(Register::R1), dev: None }, nft);
    }

    #[test]
    fn to_an_address_by_a_device() {
        // dup to 10.0.0.1 device lo
        // [ dup sreg_addr 1 sreg_dev 2 ]
        let nft = "
            2000 0180              # element
              0800 0100 64757000   # name \"dup\"
              1400 0280            # data dup
                0800 0100 00000001 # sreg_addr
                0800 0200 00000002 # sreg_dev
        ";
        same(Dup { addr: Some(Register::R1), dev: Some(Register::R2) }, nft);
    }

    #[test]
    fn to_a_device() {
        // dup to lo
        // [ dup sreg_dev 1 ]
        let nft = "
            1800 0180              # element
              0800 0100 64757000   # name \"dup\"
              0c00 0280            # data dup
                0800 0200 00000001 # sreg_dev
        ";
        same(Dup { addr: None, dev: Some(Register::R1) }, nft);
    }
}

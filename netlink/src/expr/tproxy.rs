//! The expression `tproxy`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Family, Register, uapi};

/// Gives the packet to a transparent socket of this machine without changing it. Only at prerouting.
///
/// `nft_tproxy_init` in net/netfilter/nft_tproxy.c (Linux 6.12) reads it: an address or a port is needed, and an
/// address needs its family (EINVAL). `nft_tproxy_validate` has the families (ip, ip6 and inet) and the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tproxy {
    /// The family of the packets, or `Family::Unspec` for both
    pub family: Family,
    /// The register with the address of the socket; without it, the primary address of the input device
    /// (`nf_tproxy_laddr4` in net/ipv4/netfilter/nf_tproxy_ipv4.c)
    pub addr: Option<Register>,
    /// The register with the port of the socket, in network order; without it, the packet's own
    pub port: Option<Register>,
}

impl Tproxy {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_TPROXY_FAMILY, u32::from(self.family.number()));
        if let Some(addr) = self.addr {
            writer.put_be32(uapi::NFTA_TPROXY_REG_ADDR, addr.number());
        }
        if let Some(port) = self.port {
            writer.put_be32(uapi::NFTA_TPROXY_REG_PORT, port.number());
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut family, mut addr, mut port) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TPROXY_FAMILY => family = Some(super::family(attribute)?),
                uapi::NFTA_TPROXY_REG_ADDR => addr = Some(register(attribute)?),
                uapi::NFTA_TPROXY_REG_PORT => port = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self { family: required(family, uapi::NFTA_TPROXY_FAMILY)?, addr, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn to_an_address_and_a_port() {
        // meta l4proto tcp tproxy ip to 127.0.0.1:15001
        // [ tproxy ip addr reg 1 port reg 2 ]
        let nft = "
            2c00 0180                    # element
              0b00 0100 7470726f78790000 # name \"tproxy\"
              1c00 0280                  # data tproxy
                0800 0100 00000002       # family
                0800 0200 00000001       # addr
                0800 0300 00000002       # port
        ";
        same(Tproxy { family: Family::Ipv4, addr: Some(Register::R1), port: Some(Register::R2) }, nft);
    }

    #[test]
    fn to_a_port_of_both_families() {
        // meta l4proto tcp tproxy to :15001
        // [ tproxy port reg 1 ]
        let nft = "
            2400 0180                    # element
              0b00 0100 7470726f78790000 # name \"tproxy\"
              1400 0280                  # data tproxy
                0800 0100 00000000       # family
                0800 0300 00000001       # port
        ";
        same(Tproxy { family: Family::Unspec, addr: None, port: Some(Register::R1) }, nft);
    }

    #[test]
    fn to_an_address() {
        // meta l4proto tcp tproxy ip6 to [::1]
        // [ tproxy ip6 addr reg 1 ]
        let nft = "
            2400 0180                    # element
              0b00 0100 7470726f78790000 # name \"tproxy\"
              1400 0280                  # data tproxy
                0800 0100 0000000a       # family
                0800 0200 00000001       # addr
        ";
        same(Tproxy { family: Family::Ipv6, addr: Some(Register::R1), port: None }, nft);
    }
}

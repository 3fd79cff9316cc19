//! The expression `nat`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Family, Register, uapi};

kernel_number! {
    /// Which end of the packet a [`Nat`] changes (`enum nft_nat_types`).
    NatKind: u32 {
        /// The source. Only in nat chains at postrouting and input.
        Snat = 0,
        /// The destination. Only in nat chains at prerouting and output.
        Dnat = 1,
    }
}

/// Gives the packet another source or destination.
///
/// `nft_nat_init` in net/netfilter/nft_nat.c (Linux 6.12) reads it: an address or a port is needed, and in the
/// families ip and ip6 `family` is the table's. `nft_nat_validate` has the chain and the hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Source or destination
    pub kind: NatKind,
    /// The family of the addresses
    pub family: Family,
    /// The register with the address, or the first of a range
    pub addr_min: Option<Register>,
    /// The register with the last address of the range; the kernel repeats `addr_min` where none was given
    pub addr_max: Option<Register>,
    /// The register with the port, or the first of a range, in network order
    pub proto_min: Option<Register>,
    /// The register with the last port of the range; the kernel repeats `proto_min` where none was given
    pub proto_max: Option<Register>,
    /// `NF_NAT_RANGE_*`; the kernel adds those for an address and for a port (`nft_nat_init`)
    pub flags: u32,
}

impl Nat {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_NAT_TYPE, self.kind.number());
        writer.put_be32(uapi::NFTA_NAT_FAMILY, u32::from(self.family.number()));
        for (register, attribute) in [
            (self.addr_min, uapi::NFTA_NAT_REG_ADDR_MIN),
            (self.addr_max, uapi::NFTA_NAT_REG_ADDR_MAX),
            (self.proto_min, uapi::NFTA_NAT_REG_PROTO_MIN),
            (self.proto_max, uapi::NFTA_NAT_REG_PROTO_MAX),
        ] {
            if let Some(register) = register {
                writer.put_be32(attribute, register.number());
            }
        }
        if self.flags != 0 {
            writer.put_be32(uapi::NFTA_NAT_FLAGS, self.flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut kind, mut family, mut flags) = (None, None, 0);
        let (mut addr_min, mut addr_max, mut proto_min, mut proto_max) = (None, None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_NAT_TYPE => kind = Some(NatKind::from_number(attribute.be32()?)),
                uapi::NFTA_NAT_FAMILY => family = Some(super::family(attribute)?),
                uapi::NFTA_NAT_REG_ADDR_MIN => addr_min = Some(register(attribute)?),
                uapi::NFTA_NAT_REG_ADDR_MAX => addr_max = Some(register(attribute)?),
                uapi::NFTA_NAT_REG_PROTO_MIN => proto_min = Some(register(attribute)?),
                uapi::NFTA_NAT_REG_PROTO_MAX => proto_max = Some(register(attribute)?),
                uapi::NFTA_NAT_FLAGS => flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(Self {
            kind: required(kind, uapi::NFTA_NAT_TYPE)?,
            family: required(family, uapi::NFTA_NAT_FAMILY)?,
            addr_min,
            addr_max,
            proto_min,
            proto_max,
            flags,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    const NOTHING: Nat = Nat {
        kind: NatKind::Dnat,
        family: Family::Ipv4,
        addr_min: None,
        addr_max: None,
        proto_min: None,
        proto_max: None,
        flags: 0,
    };

    #[test]
    fn destination() {
        // dnat ip to 1.2.3.4:80
        // [ nat dnat ip addr_min reg 1 proto_min reg 2 flags 0x2 ]
        let with_port = "
            3800 0180              # element
              0800 0100 6e617400   # name
              2c00 0280            # data nat
                0800 0100 00000001 # type
                0800 0200 00000002 # family
                0800 0300 00000001 # addr_min
                0800 0500 00000002 # proto_min
                0800 0700 00000002 # flags
        ";
        let (addr_min, proto_min) = (Some(Register::R1), Some(Register::R2));
        same(Nat { addr_min, proto_min, flags: uapi::NF_NAT_RANGE_PROTO_SPECIFIED, ..NOTHING }, with_port);
        // dnat ip6 to [2001:db8::1]
        // [ nat dnat ip6 addr_min reg 1 ]
        let ipv6 = "
            2800 0180              # element
              0800 0100 6e617400   # name
              1c00 0280            # data nat
                0800 0100 00000001 # type
                0800 0200 0000000a # family
                0800 0300 00000001 # addr_min
        ";
        same(Nat { family: Family::Ipv6, addr_min, ..NOTHING }, ipv6);
    }

    #[test]
    fn ranges_of_addresses_and_ports() {
        // dnat ip to 1.2.3.4-1.2.3.9:80-90 random,persistent
        // [ nat dnat ip addr_min reg 1 addr_max reg 2 proto_min reg 3 proto_max reg 4 flags 0xe ]
        let nft = "
            4800 0180              # element
              0800 0100 6e617400   # name
              3c00 0280            # data nat
                0800 0100 00000001 # type
                0800 0200 00000002 # family
                0800 0300 00000001 # addr_min
                0800 0400 00000002 # addr_max
                0800 0500 00000003 # proto_min
                0800 0600 00000004 # proto_max
                0800 0700 0000000e # flags
        ";
        let expression = Nat {
            addr_min: Some(Register::R1),
            addr_max: Some(Register::R2),
            proto_min: Some(Register::new(3)),
            proto_max: Some(Register::new(4)),
            flags: 0xe,
            ..NOTHING
        };
        same(expression, nft);
    }

    #[test]
    fn source() {
        // snat ip to 1.2.3.4-1.2.3.9 persistent
        // [ nat snat ip addr_min reg 1 addr_max reg 2 flags 0x8 ]
        let nft = "
            3800 0180              # element
              0800 0100 6e617400   # name
              2c00 0280            # data nat
                0800 0100 00000000 # type
                0800 0200 00000002 # family
                0800 0300 00000001 # addr_min
                0800 0400 00000002 # addr_max
                0800 0700 00000008 # flags
        ";
        let (addr_min, addr_max) = (Some(Register::R1), Some(Register::R2));
        same(Nat { kind: NatKind::Snat, addr_min, addr_max, flags: 8, ..NOTHING }, nft);
    }
}

use super::{kernel_number, register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Family, Register, uapi};

kernel_number! {
    /// Which end of the packet a [`Nat`] changes (`enum nft_nat_types`).
    NatKind {
        /// The source. Only in nat chains at postrouting and input.
        Snat = 0,
        /// The destination. Only in nat chains at prerouting and output.
        Dnat = 1,
    }
}

/// Gives the packet another source or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Source or destination
    pub kind: NatKind,
    /// The family of the addresses
    pub family: Family,
    /// The register with the address, or the first of a range
    pub addr_min: Option<Register>,
    /// The register with the last address of the range; the kernel tells `addr_min` again where there is none
    pub addr_max: Option<Register>,
    /// The register with the port, or the first of a range, in network order
    pub proto_min: Option<Register>,
    /// The register with the last port of the range; the kernel tells `proto_min` again where there is none
    pub proto_max: Option<Register>,
    /// `NF_NAT_RANGE_*`
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

use super::register;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

/// Gives the packet the address of the device it leaves by. Only in nat chains at postrouting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masq {
    /// The register with the port, or the first of a range, in network order
    pub proto_min: Option<Register>,
    /// The register with the last port of the range; the kernel tells `proto_min` again where there is none
    pub proto_max: Option<Register>,
    /// `NF_NAT_RANGE_*`
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

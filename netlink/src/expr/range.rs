use super::{CmpOp, register, required};
use crate::{AttrReader, AttrWriter, Data, DecodeError, Register, uapi};

/// Goes on with the rule if the register is between `from` and `to`, both included, or, with `CmpOp::Neq`, if not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// What is compared
    pub sreg: Register,
    /// `CmpOp::Eq` for inside, `CmpOp::Neq` for outside
    pub op: CmpOp,
    /// The lowest value inside
    pub from: Data,
    /// The highest value inside
    pub to: Data,
}

impl Range {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_RANGE_SREG, self.sreg.number());
        writer.put_be32(uapi::NFTA_RANGE_OP, self.op.number());
        self.from.put(writer, uapi::NFTA_RANGE_FROM_DATA);
        self.to.put(writer, uapi::NFTA_RANGE_TO_DATA);
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut sreg, mut op, mut from, mut to) = (None, None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_RANGE_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_RANGE_OP => op = Some(CmpOp::from_number(attribute.be32()?)),
                uapi::NFTA_RANGE_FROM_DATA => from = Some(Data::decode(attribute.nested())?),
                uapi::NFTA_RANGE_TO_DATA => to = Some(Data::decode(attribute.nested())?),
                _ => {}
            }
        }
        Ok(Self {
            sreg: required(sreg, uapi::NFTA_RANGE_SREG)?,
            op: required(op, uapi::NFTA_RANGE_OP)?,
            from: required(from, uapi::NFTA_RANGE_FROM_DATA)?,
            to: required(to, uapi::NFTA_RANGE_TO_DATA)?,
        })
    }
}

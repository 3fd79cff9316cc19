use super::{kernel_number, register, required};
use crate::{AttrReader, AttrWriter, Data, DecodeError, Register, uapi};

kernel_number! {
    /// How a [`Cmp`] or a [`Range`](super::Range) compares (`enum nft_cmp_ops`, `enum nft_range_ops`): byte by
    /// byte, the first byte being the most significant one.
    CmpOp {
        /// Equal to
        Eq = 0,
        /// Other than
        Neq = 1,
        /// Less than
        Lt = 2,
        /// Less than or equal to
        Lte = 3,
        /// Greater than
        Gt = 4,
        /// Greater than or equal to
        Gte = 5,
    }
}

/// Goes on with the rule if the register compares to the data as `op` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmp {
    /// What is compared
    pub sreg: Register,
    /// How
    pub op: CmpOp,
    /// With what
    pub data: Data,
}

impl Cmp {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_CMP_SREG, self.sreg.number());
        writer.put_be32(uapi::NFTA_CMP_OP, self.op.number());
        self.data.put(writer, uapi::NFTA_CMP_DATA);
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut sreg, mut op, mut data) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CMP_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_CMP_OP => op = Some(CmpOp::from_number(attribute.be32()?)),
                uapi::NFTA_CMP_DATA => data = Some(Data::decode(attribute.nested())?),
                _ => {}
            }
        }
        Ok(Self {
            sreg: required(sreg, uapi::NFTA_CMP_SREG)?,
            op: required(op, uapi::NFTA_CMP_OP)?,
            data: required(data, uapi::NFTA_CMP_DATA)?,
        })
    }
}

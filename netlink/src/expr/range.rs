//! The expression `range`: its fields, its attributes, and the bytes that nft sends for it.

use super::{CmpOp, register, required};
use crate::{AttrReader, AttrWriter, Data, DecodeError, Register, uapi};

/// Continues with the rule if the register is between `from` and `to`, both included, or, with `CmpOp::Neq`, if not.
///
/// `nft_range_init` in net/netfilter/nft_range.c (Linux 6.12) reads it: both ends have the same length (EINVAL).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn outside() {
        // tcp dport != 80-90
        // [ range neq reg 1 0x00005000 0x00005a00 ]
        let nft = "
            3c00 0180                    # element
              0a00 0100 72616e6765000000 # name \"range\"
              2c00 0280                  # data range
                0800 0100 00000001       # sreg
                0800 0200 00000001       # op
                0c00 0380                # from
                  0600 0100 00500000     # value
                0c00 0480                # to
                  0600 0100 005a0000     # value
        ";
        let (from, to) = (Data::be16(80), Data::be16(90));
        same(Range { sreg: Register::R1, op: CmpOp::Neq, from, to }, nft);
    }
}

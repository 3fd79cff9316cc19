use super::{register, required};
use crate::{AttrReader, AttrWriter, Data, DecodeError, Register, uapi};

/// The one operation of Linux before 5.6, and the default since (`NFT_BITWISE_MASK_XOR`, or `NFT_BITWISE_BOOL`).
const MASK_XOR: u32 = 0;

/// `dreg = (sreg & mask) ^ xor`, or, with another `op`, a shift by or an operation with `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitwise {
    /// What is worked on
    pub sreg: Register,
    /// Where the result goes
    pub dreg: Register,
    /// Bytes worked on
    pub len: u32,
    /// What is done (`enum nft_bitwise_ops`)
    pub operation: Operation,
}

/// What a [`Bitwise`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `(sreg & mask) ^ xor`
    MaskXor {
        /// The bits that stay
        mask: Data,
        /// The bits that are turned over afterwards
        xor: Data,
    },
    /// Another operation of `enum nft_bitwise_ops`, such as a shift (from 5.6 on), or AND, OR and XOR with a second
    /// register (from 6.13 on)
    Other {
        /// Its number
        op: u32,
        /// Its operand
        data: Option<Data>,
        /// Its second source register
        sreg2: Option<Register>,
    },
}

impl Bitwise {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_BITWISE_SREG, self.sreg.number());
        writer.put_be32(uapi::NFTA_BITWISE_DREG, self.dreg.number());
        writer.put_be32(uapi::NFTA_BITWISE_LEN, self.len);
        match &self.operation {
            Operation::MaskXor { mask, xor } => {
                writer.put_be32(uapi::NFTA_BITWISE_OP, MASK_XOR);
                mask.put(writer, uapi::NFTA_BITWISE_MASK);
                xor.put(writer, uapi::NFTA_BITWISE_XOR);
            }
            Operation::Other { op, data, sreg2 } => {
                writer.put_be32(uapi::NFTA_BITWISE_OP, *op);
                if let Some(data) = data {
                    data.put(writer, uapi::NFTA_BITWISE_DATA);
                }
                if let Some(sreg2) = sreg2 {
                    writer.put_be32(uapi::NFTA_BITWISE_SREG2, sreg2.number());
                }
            }
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut sreg, mut dreg, mut len, mut op) = (None, None, None, MASK_XOR);
        let (mut mask, mut xor, mut data, mut sreg2) = (None, None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_BITWISE_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_BITWISE_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_BITWISE_LEN => len = Some(attribute.be32()?),
                uapi::NFTA_BITWISE_OP => op = attribute.be32()?,
                uapi::NFTA_BITWISE_MASK => mask = Some(Data::decode(attribute.nested())?),
                uapi::NFTA_BITWISE_XOR => xor = Some(Data::decode(attribute.nested())?),
                uapi::NFTA_BITWISE_DATA => data = Some(Data::decode(attribute.nested())?),
                uapi::NFTA_BITWISE_SREG2 => sreg2 = Some(register(attribute)?),
                _ => {}
            }
        }
        let operation = if op == MASK_XOR {
            Operation::MaskXor {
                mask: required(mask, uapi::NFTA_BITWISE_MASK)?,
                xor: required(xor, uapi::NFTA_BITWISE_XOR)?,
            }
        } else {
            Operation::Other { op, data, sreg2 }
        };
        Ok(Self {
            sreg: required(sreg, uapi::NFTA_BITWISE_SREG)?,
            dreg: required(dreg, uapi::NFTA_BITWISE_DREG)?,
            len: required(len, uapi::NFTA_BITWISE_LEN)?,
            operation,
        })
    }
}

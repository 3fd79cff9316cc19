//! The expression `byteorder`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// Which way a [`Byteorder`] goes (`enum nft_byteorder_ops`).
    ByteorderOp: u32 {
        /// From network to host order
        Ntoh = 0,
        /// From host to network order
        Hton = 1,
    }
}

/// Converts numbers in a register from one byte order to the other.
///
/// `nft_byteorder_init` in net/netfilter/nft_byteorder.c reads it and knows no other sizes. Linux 6.12.117 refuses a
/// `len` other than `size` there (EOPNOTSUPP); older kernels turn several numbers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Byteorder {
    /// What is turned
    pub sreg: Register,
    /// Where the result goes
    pub dreg: Register,
    /// Which way
    pub op: ByteorderOp,
    /// Bytes in all
    pub len: u32,
    /// Bytes of each number: 2, 4 or 8
    pub size: u32,
}

impl Byteorder {
    /// Whether it leaves everything as it is: less than two bytes that stay where they are. nft 1.0.6 makes such, and Linux
    /// 6.12.117 and 6.18 refuse them.
    #[must_use]
    pub fn does_nothing(&self) -> bool {
        self.len < 2 && self.sreg == self.dreg
    }

    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_BYTEORDER_SREG, self.sreg.number());
        writer.put_be32(uapi::NFTA_BYTEORDER_DREG, self.dreg.number());
        writer.put_be32(uapi::NFTA_BYTEORDER_OP, self.op.number());
        writer.put_be32(uapi::NFTA_BYTEORDER_LEN, self.len);
        writer.put_be32(uapi::NFTA_BYTEORDER_SIZE, self.size);
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut sreg, mut dreg, mut op, mut len, mut size) = (None, None, None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_BYTEORDER_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_BYTEORDER_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_BYTEORDER_OP => op = Some(ByteorderOp::from_number(attribute.be32()?)),
                uapi::NFTA_BYTEORDER_LEN => len = Some(attribute.be32()?),
                uapi::NFTA_BYTEORDER_SIZE => size = Some(attribute.be32()?),
                _ => {}
            }
        }
        Ok(Self {
            sreg: required(sreg, uapi::NFTA_BYTEORDER_SREG)?,
            dreg: required(dreg, uapi::NFTA_BYTEORDER_DREG)?,
            op: required(op, uapi::NFTA_BYTEORDER_OP)?,
            len: required(len, uapi::NFTA_BYTEORDER_LEN)?,
            size: required(size, uapi::NFTA_BYTEORDER_SIZE)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn to_network_order() {
        // ct mark 1-5
        // [ byteorder reg 1 = hton(reg 1, 4, 4) ]
        let nft = "
            4000 0180                            # element
              0e00 0100 627974656f72646572000000 # name \"byteorder\"
              2c00 0280                          # data byteorder
                0800 0100 00000001               # sreg
                0800 0200 00000001               # dreg
                0800 0300 00000001               # op
                0800 0400 00000004               # len
                0800 0500 00000004               # size
        ";
        let expression =
            Byteorder { sreg: Register::R1, dreg: Register::R1, op: ByteorderOp::Hton, len: 4, size: 4 };
        same(expression, nft);
    }
}

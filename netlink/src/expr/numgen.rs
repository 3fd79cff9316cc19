//! The expression `numgen`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// How a [`Numgen`] comes to its numbers (`enum nft_ng_types`).
    NumgenKind: u32 {
        /// One after the other
        Incremental = 0,
        /// At random
        Random = 1,
    }
}

/// Puts a number between `offset` and `offset + modulus - 1` into a register, in host order.
///
/// `nft_ng_inc_init` or `nft_ng_random_init` in net/netfilter/nft_numgen.c (Linux 6.12) reads it: `modulus` from 1 on
/// (ERANGE), the highest number within 32 bits (EOVERFLOW).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numgen {
    /// How it comes to it
    pub kind: NumgenKind,
    /// How many values there are
    pub modulus: u32,
    /// What is added
    pub offset: u32,
    /// Where it goes
    pub dreg: Register,
}

impl Numgen {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_NG_DREG, self.dreg.number());
        writer.put_be32(uapi::NFTA_NG_MODULUS, self.modulus);
        writer.put_be32(uapi::NFTA_NG_TYPE, self.kind.number());
        writer.put_be32(uapi::NFTA_NG_OFFSET, self.offset);
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut kind, mut modulus, mut offset, mut dreg) = (None, None, 0, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_NG_TYPE => kind = Some(NumgenKind::from_number(attribute.be32()?)),
                uapi::NFTA_NG_MODULUS => modulus = Some(attribute.be32()?),
                uapi::NFTA_NG_OFFSET => offset = attribute.be32()?,
                uapi::NFTA_NG_DREG => dreg = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self {
            kind: required(kind, uapi::NFTA_NG_TYPE)?,
            modulus: required(modulus, uapi::NFTA_NG_MODULUS)?,
            offset,
            dreg: required(dreg, uapi::NFTA_NG_DREG)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn in_turn() {
        // meta mark set numgen inc mod 4
        // [ numgen reg 1 = inc mod 4 ]
        let nft = "
            3400 0180                    # element
              0b00 0100 6e756d67656e0000 # name \"numgen\"
              2400 0280                  # data numgen
                0800 0100 00000001       # dreg
                0800 0200 00000004       # modulus
                0800 0300 00000000       # type
                0800 0400 00000000       # offset
        ";
        let expression = Numgen { kind: NumgenKind::Incremental, modulus: 4, offset: 0, dreg: Register::R1 };
        same(expression, nft);
    }

    #[test]
    fn at_random() {
        // meta mark set numgen random mod 10 offset 3
        // [ numgen reg 1 = random mod 10 offset 3 ]
        let nft = "
            3400 0180                    # element
              0b00 0100 6e756d67656e0000 # name \"numgen\"
              2400 0280                  # data numgen
                0800 0100 00000001       # dreg
                0800 0200 0000000a       # modulus
                0800 0300 00000001       # type
                0800 0400 00000003       # offset
        ";
        let expression = Numgen { kind: NumgenKind::Random, modulus: 10, offset: 3, dreg: Register::R1 };
        same(expression, nft);
    }
}

//! The expression `hash`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// How a [`Hash`](struct@Hash) is made (`enum nft_hash_types`).
    HashKind: u32 {
        /// Bob Jenkins' hash of what is in a register
        Jenkins = 0,
        /// A hash of the flow that is the same in both directions
        Symmetric = 1,
    }
}

/// Puts a hash between `offset` and `offset + modulus - 1` into a register, in host order.
///
/// `nft_jhash_init` or `nft_symhash_init` in net/netfilter/nft_hash.c (Linux 6.12) reads it: `modulus` from 1 on
/// (ERANGE), the highest result within 32 bits (EOVERFLOW), and, with [`HashKind::Jenkins`], 1 to 255 bytes (ERANGE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// How it is made
    pub kind: HashKind,
    /// What is hashed, with [`HashKind::Jenkins`]
    pub sreg: Option<Register>,
    /// Bytes that are hashed, with [`HashKind::Jenkins`]
    pub len: u32,
    /// Where it goes
    pub dreg: Register,
    /// How many values there are
    pub modulus: u32,
    /// What the hash starts from, with [`HashKind::Jenkins`]; without it the kernel takes a random number and does not
    /// report it (`nft_jhash_init`, `nft_jhash_dump`)
    pub seed: Option<u32>,
    /// What is added
    pub offset: u32,
}

impl Hash {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        if let Some(sreg) = self.sreg {
            writer.put_be32(uapi::NFTA_HASH_SREG, sreg.number());
        }
        writer.put_be32(uapi::NFTA_HASH_DREG, self.dreg.number());
        if self.len != 0 {
            writer.put_be32(uapi::NFTA_HASH_LEN, self.len);
        }
        writer.put_be32(uapi::NFTA_HASH_MODULUS, self.modulus);
        if let Some(seed) = self.seed {
            writer.put_be32(uapi::NFTA_HASH_SEED, seed);
        }
        writer.put_be32(uapi::NFTA_HASH_OFFSET, self.offset);
        writer.put_be32(uapi::NFTA_HASH_TYPE, self.kind.number());
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        // Before 4.12 there was no other kind.
        let (mut kind, mut sreg, mut len, mut dreg) = (HashKind::Jenkins, None, 0, None);
        let (mut modulus, mut seed, mut offset) = (None, None, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_HASH_TYPE => kind = HashKind::from_number(attribute.be32()?),
                uapi::NFTA_HASH_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_HASH_LEN => len = attribute.be32()?,
                uapi::NFTA_HASH_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_HASH_MODULUS => modulus = Some(attribute.be32()?),
                uapi::NFTA_HASH_SEED => seed = Some(attribute.be32()?),
                uapi::NFTA_HASH_OFFSET => offset = attribute.be32()?,
                _ => {}
            }
        }
        Ok(Self {
            kind,
            sreg,
            len,
            dreg: required(dreg, uapi::NFTA_HASH_DREG)?,
            modulus: required(modulus, uapi::NFTA_HASH_MODULUS)?,
            seed,
            offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    /// `jhash ... mod 8` of the bytes in the second register, as nft does where the first one has another use.
    fn jenkins(len: u32) -> Hash {
        let (sreg, dreg) = (Some(Register::R2), Register::R1);
        Hash { kind: HashKind::Jenkins, sreg, len, dreg, modulus: 8, seed: None, offset: 0 }
    }

    #[test]
    fn jenkins_of_a_seed() {
        // meta mark set jhash ip saddr . ip daddr mod 8 seed 0xdeadbeef offset 100
        // [ hash reg 1 = jhash(reg 2, 8, 0xdeadbeef) % mod 8 offset 100 ]
        let nft = "
            4c00 0180                    # element
              0900 0100 6861736800000000 # name \"hash\"
              3c00 0280                  # data hash
                0800 0100 00000002       # sreg
                0800 0200 00000001       # dreg
                0800 0300 00000008       # len
                0800 0400 00000008       # modulus
                0800 0500 deadbeef       # seed
                0800 0600 00000064       # offset
                0800 0700 00000000       # type
        ";
        same(Hash { seed: Some(0xdead_beef), offset: 100, ..jenkins(8) }, nft);
    }

    #[test]
    fn jenkins_of_a_random_seed() {
        // meta mark set jhash ip saddr mod 8
        // [ hash reg 1 = jhash(reg 2, 4, 0x0) % mod 8 ]
        let nft = "
            4400 0180                    # element
              0900 0100 6861736800000000 # name \"hash\"
              3400 0280                  # data hash
                0800 0100 00000002       # sreg
                0800 0200 00000001       # dreg
                0800 0300 00000004       # len
                0800 0400 00000008       # modulus
                0800 0600 00000000       # offset
                0800 0700 00000000       # type
        ";
        same(jenkins(4), nft);
    }

    #[test]
    fn symmetric() {
        // meta mark set symhash mod 4 offset 2
        // [ hash reg 1 = symhash() % mod 4 offset 2 ]
        let nft = "
            3400 0180                    # element
              0900 0100 6861736800000000 # name \"hash\"
              2400 0280                  # data hash
                0800 0200 00000001       # dreg
                0800 0400 00000004       # modulus
                0800 0600 00000002       # offset
                0800 0700 00000001       # type
        ";
        let expression = Hash { kind: HashKind::Symmetric, sreg: None, modulus: 4, offset: 2, ..jenkins(0) };
        same(expression, nft);
    }
}

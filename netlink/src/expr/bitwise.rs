//! The expression `bitwise`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::{AttrReader, AttrWriter, Data, DecodeError, Register, uapi};

/// The one operation of Linux before 5.6, and the default since (`NFT_BITWISE_MASK_XOR`, or `NFT_BITWISE_BOOL`).
const MASK_XOR: u32 = 0;

/// `dreg = (sreg & mask) ^ xor`, or, with another `op`, a shift by or an operation with `data`.
///
/// `nft_bitwise_init` in net/netfilter/nft_bitwise.c (Linux 6.12) reads it: at most 255 bytes, a mask and an xor of
/// just that length, or a shift by less than 32 bits, given in four bytes in host order (`nft_bitwise_init_shift`).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{different, same};

    fn mask_xor(len: u32, mask: &[u8], xor: &[u8]) -> Bitwise {
        let operation = Operation::MaskXor { mask: Data::new(mask), xor: Data::new(xor) };
        Bitwise { sreg: Register::R1, dreg: Register::R1, len, operation }
    }

    // nft omits NFTA_BITWISE_OP for its oldest uses of the mask and writes it after the registers elsewhere.
    // Here it is always sent, as in the kernel's own dump, and follows the length.

    #[test]
    fn mask_of_a_prefix() {
        // ip daddr 10.0.0.0/9
        // [ bitwise reg 1 = ( reg 1 & 0x000080ff ) ^ 0x00000000 ]
        let nft = "
            4400 0180                    # element
              0c00 0100 6269747769736500 # name \"bitwise\"
              3400 0280                  # data bitwise
                0800 0100 00000001       # sreg
                0800 0200 00000001       # dreg
                0800 0300 00000004       # len
                0c00 0480                # mask
                  0800 0100 ff800000     # value
                0c00 0580                # xor
                  0800 0100 00000000     # value
        ";
        let ours = "
            4c00 0180                     # element
              0c00 0100 6269747769736500  # name
              3c00 0280                   # data bitwise
                0800 0100 00000001        # sreg
                0800 0200 00000001        # dreg
                0800 0300 00000004        # len
                0800 0600 00000000        # op
                0c00 0480                 # mask
                  0800 0100 ff800000      # value
                0c00 0580                 # xor
                  0800 0100 00000000      # value
        ";
        different(mask_xor(4, &[0xff, 0x80, 0, 0], &[0; 4]), nft, ours);
    }

    #[test]
    fn mask_of_an_ipv6_prefix() {
        // ip6 saddr 2001:db8::/33
        // [ bitwise reg 1 = ( reg 1 & 0xffffffff 0x00000080 0 0 ) ^ 0 0 0 0 ]
        let nft = "
            5c00 0180                                        # element
              0c00 0100 6269747769736500                     # name \"bitwise\"
              4c00 0280                                      # data bitwise
                0800 0100 00000001                           # sreg
                0800 0200 00000001                           # dreg
                0800 0300 00000010                           # len
                1800 0480                                    # mask
                  1400 0100 ffffffff800000000000000000000000 # value
                1800 0580                                    # xor
                  1400 0100 00000000000000000000000000000000 # value
        ";
        let ours = "
            6400 0180                                         # element
              0c00 0100 6269747769736500                      # name
              5400 0280                                       # data bitwise
                0800 0100 00000001                            # sreg
                0800 0200 00000001                            # dreg
                0800 0300 00000010                            # len
                0800 0600 00000000                            # op
                1800 0480                                     # mask
                  1400 0100 ffffffff800000000000000000000000  # value
                1800 0580                                     # xor
                  1400 0100 00000000000000000000000000000000  # value
        ";
        let mask = [0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        different(mask_xor(16, &mask, &[0; 16]), nft, ours);
    }

    #[test]
    fn mask_and_xor_of_a_mark() {
        // meta mark set meta mark & 0xffffff00 | 0x10
        // [ bitwise reg 1 = ( reg 1 & 0xffffff00 ) ^ 0x00000010 ]
        let nft = "
            4c00 0180                    # element
              0c00 0100 6269747769736500 # name \"bitwise\"
              3c00 0280                  # data bitwise
                0800 0100 00000001       # sreg
                0800 0200 00000001       # dreg
                0800 0600 00000000       # op
                0800 0300 00000004       # len
                0c00 0480                # mask
                  0800 0100 00ffffff     # value
                0c00 0580                # xor
                  0800 0100 10000000     # value
        ";
        let expression = mask_xor(4, &[0, 0xff, 0xff, 0xff], &[0x10, 0, 0, 0]);
        crate::testing::same_in_another_order(expression, nft);
    }

    #[test]
    fn shift() {
        let shift = |op| {
            let operation = Operation::Other { op, data: Some(Data::new(&[8, 0, 0, 0])), sreg2: None };
            Bitwise { sreg: Register::R1, dreg: Register::R1, len: 4, operation }
        };
        // meta mark set ct mark << 8
        // [ bitwise reg 1 = ( reg 1 << 0x00000008 ) ]
        let left = "
            4000 0180                    # element
              0c00 0100 6269747769736500 # name \"bitwise\"
              3000 0280                  # data bitwise
                0800 0100 00000001       # sreg
                0800 0200 00000001       # dreg
                0800 0600 00000001       # op
                0800 0300 00000004       # len
                0c00 0780                # data
                  0800 0100 08000000     # value
        ";
        crate::testing::same_in_another_order(shift(1), left);
        // meta mark set ct mark >> 8
        // [ bitwise reg 1 = ( reg 1 >> 0x00000008 ) ]
        let right = "
            4000 0180                    # element
              0c00 0100 6269747769736500 # name \"bitwise\"
              3000 0280                  # data bitwise
                0800 0100 00000001       # sreg
                0800 0200 00000001       # dreg
                0800 0600 00000002       # op
                0800 0300 00000004       # len
                0c00 0780                # data
                  0800 0100 08000000     # value
        ";
        crate::testing::same_in_another_order(shift(2), right);
    }

    #[test]
    fn and_with_a_second_register() {
        // No nft before 1.1.2 writes this; the bytes follow enum nft_bitwise_attributes.
        let golden = "
            3c00 0180                     # element
              0c00 0100 6269747769736500  # name
              2c00 0280                   # data bitwise
                0800 0100 00000001        # sreg
                0800 0200 00000001        # dreg
                0800 0300 00000004        # len
                0800 0600 00000003        # op
                0800 0800 00000002        # sreg2
        ";
        let operation = Operation::Other { op: 3, data: None, sreg2: Some(Register::R2) };
        same(Bitwise { sreg: Register::R1, dreg: Register::R1, len: 4, operation }, golden);
    }

    #[test]
    fn a_mask_without_xor_is_refused() {
        let golden = "
            3800 0180
              0c00 0100 6269747769736500
              2800 0280
                0800 0100 00000001
                0800 0200 00000001
                0800 0300 00000004
                0c00 0480
                  0800 0100 ff800000
        ";
        let bytes = crate::testing::bytes(golden);
        let decoded = crate::Expr::decode_list(AttrReader::new(&bytes)).next().unwrap();
        assert_eq!(decoded, Err(DecodeError::Missing { attribute: uapi::NFTA_BITWISE_XOR }));
    }
}

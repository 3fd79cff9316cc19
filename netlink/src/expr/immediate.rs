//! The expression `immediate`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::{Attr, AttrReader, AttrWriter, Data, DecodeError, Register, Verdict, uapi};

/// Puts a constant into a register, or decides what happens to the packet.
///
/// `nft_immediate_init` in net/netfilter/nft_immediate.c (Linux 6.12) reads it. A jump or goto must lead to a chain
/// without a hook (`nft_verdict_init` in net/netfilter/nf_tables_api.c).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Immediate<'a> {
    /// A value into a register
    Value {
        /// The register
        dreg: Register,
        /// The value
        data: Data,
    },
    /// A verdict into `NFT_REG_VERDICT`
    Verdict(Verdict<'a>),
}

impl<'a> Immediate<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        match self {
            Self::Value { dreg, data } => {
                writer.put_be32(uapi::NFTA_IMMEDIATE_DREG, dreg.number());
                data.put(writer, uapi::NFTA_IMMEDIATE_DATA);
            }
            Self::Verdict(verdict) => {
                writer.put_be32(uapi::NFTA_IMMEDIATE_DREG, Register::VERDICT.number());
                verdict.put(writer, uapi::NFTA_IMMEDIATE_DATA);
            }
        }
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut dreg, mut data) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_IMMEDIATE_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_IMMEDIATE_DATA => data = Some(attribute),
                _ => {}
            }
        }
        let dreg = required(dreg, uapi::NFTA_IMMEDIATE_DREG)?;
        let data = required(data, uapi::NFTA_IMMEDIATE_DATA)?;
        if dreg == Register::VERDICT {
            return verdict(data).map(Self::Verdict);
        }
        Ok(Self::Value { dreg, data: Data::decode(data.nested())? })
    }
}

fn verdict(data: Attr<'_>) -> Result<Verdict<'_>, DecodeError> {
    for attribute in data.nested() {
        let attribute = attribute?;
        if attribute.kind == uapi::NFTA_DATA_VERDICT {
            return Verdict::decode(attribute.nested());
        }
    }
    Err(DecodeError::Missing { attribute: uapi::NFTA_DATA_VERDICT })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn value() {
        // redirect to :15006
        // [ immediate reg 1 0x00009e3a ]
        let port = "
            2c00 0180                            # element
              0e00 0100 696d6d656469617465000000 # name \"immediate\"
              1800 0280                          # data immediate
                0800 0100 00000001               # dreg
                0c00 0280                        # data
                  0600 0100 3a9e0000             # value
        ";
        same(Immediate::Value { dreg: Register::R1, data: Data::be16(15006) }, port);
        // tproxy ip6 to [::1]
        // [ immediate reg 1 0x00000000 0x00000000 0x00000000 0x01000000 ]
        let address = "
            3800 0180                                        # element
              0e00 0100 696d6d656469617465000000             # name \"immediate\"
              2400 0280                                      # data immediate
                0800 0100 00000001                           # dreg
                1800 0280                                    # data
                  1400 0100 00000000000000000000000000000001 # value
        ";
        same(Immediate::Value { dreg: Register::R1, data: std::net::Ipv6Addr::LOCALHOST.into() }, address);
        // ct zone set 1
        // [ immediate reg 1 0x00000001 ]
        #[cfg(target_endian = "little")]
        same(
            Immediate::Value { dreg: Register::R1, data: Data::ne16(1) },
            "
            2c00 0180                             # element
              0e00 0100 696d6d656469617465000000  # name \"immediate\"
              1800 0280                           # data immediate
                0800 0100 00000001                # dreg
                0c00 0280                         # data
                  0600 0100 01000000              # value
            ",
        );
    }

    #[test]
    fn verdict_without_a_chain() {
        // accept
        // [ immediate reg 0 accept ]
        let accept = "
            3000 0180                            # element
              0e00 0100 696d6d656469617465000000 # name \"immediate\"
              1c00 0280                          # data immediate
                0800 0100 00000000               # dreg
                1000 0280                        # data
                  0c00 0280                      # verdict
                    0800 0100 00000001           # code
        ";
        same(Immediate::Verdict(Verdict::Accept), accept);
        // drop
        // [ immediate reg 0 drop ]
        let drop = "
            3000 0180                            # element
              0e00 0100 696d6d656469617465000000 # name \"immediate\"
              1c00 0280                          # data immediate
                0800 0100 00000000               # dreg
                1000 0280                        # data
                  0c00 0280                      # verdict
                    0800 0100 00000000           # code
        ";
        same(Immediate::Verdict(Verdict::Drop), drop);
        // return
        // [ immediate reg 0 return ]
        let back = "
            3000 0180                            # element
              0e00 0100 696d6d656469617465000000 # name \"immediate\"
              1c00 0280                          # data immediate
                0800 0100 00000000               # dreg
                1000 0280                        # data
                  0c00 0280                      # verdict
                    0800 0100 fffffffb           # code
        ";
        same(Immediate::Verdict(Verdict::Return), back);
        // continue
        // [ immediate reg 0 continue ]
        let on = "
            3000 0180                            # element
              0e00 0100 696d6d656469617465000000 # name \"immediate\"
              1c00 0280                          # data immediate
                0800 0100 00000000               # dreg
                1000 0280                        # data
                  0c00 0280                      # verdict
                    0800 0100 ffffffff           # code
        ";
        same(Immediate::Verdict(Verdict::Continue), on);
    }

    #[test]
    fn verdict_with_a_chain() {
        // jump other
        // [ immediate reg 0 jump -> other ]
        let jump = "
            3c00 0180                            # element
              0e00 0100 696d6d656469617465000000 # name \"immediate\"
              2800 0280                          # data immediate
                0800 0100 00000000               # dreg
                1c00 0280                        # data
                  1800 0280                      # verdict
                    0800 0100 fffffffd           # code
                    0a00 0200 6f74686572000000   # chain \"other\"
        ";
        same(Immediate::Verdict(Verdict::Jump("other".into())), jump);
        // goto other
        // [ immediate reg 0 goto -> other ]
        let goto = "
            3c00 0180                            # element
              0e00 0100 696d6d656469617465000000 # name \"immediate\"
              2800 0280                          # data immediate
                0800 0100 00000000               # dreg
                1c00 0280                        # data
                  1800 0280                      # verdict
                    0800 0100 fffffffc           # code
                    0a00 0200 6f74686572000000   # chain \"other\"
        ";
        same(Immediate::Verdict(Verdict::Goto("other".into())), goto);
    }

    #[test]
    fn a_jump_to_an_unknown_chain_is_refused() {
        let golden = "
            3000 0180
              0e00 0100 696d6d656469617465000000
              1c00 0280
                0800 0100 00000000
                1000 0280
                  0c00 0280
                    0800 0100 fffffffd
        ";
        let bytes = crate::testing::bytes(golden);
        let decoded = crate::Expr::decode_list(AttrReader::new(&bytes)).next().unwrap();
        assert_eq!(decoded, Err(DecodeError::Missing { attribute: uapi::NFTA_VERDICT_CHAIN }));
    }
}

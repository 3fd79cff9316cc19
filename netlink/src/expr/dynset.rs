//! The expression `dynset`: its fields, its attributes, and the bytes that nft sends for it.

use super::{Expr, register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, Text, uapi};

kernel_number! {
    /// What a [`Dynset`] does with its set (`enum nft_dynset_ops`).
    DynsetOp: u32 {
        /// Adds the element; an existing one stays as it is
        Add = 0,
        /// Adds the element, or renews the timeout of an existing one
        Update = 1,
        /// Takes the element out (from 5.4 on)
        Delete = 2,
    }
}

/// Adds what is in a register to a set, or takes it out.
///
/// `nft_dynset_init` in net/netfilter/nft_dynset.c (Linux 6.12) reads it: `data` only for a map, and there always; a
/// timeout only for a set with timeouts; at most two expressions (`NFT_SET_EXPR_MAX`), only for a set with the flag
/// eval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dynset<'a> {
    /// The set's name
    pub set: Text<'a>,
    /// The number that the same batch gave the set; 0 for none
    pub set_id: u32,
    /// What is done
    pub op: DynsetOp,
    /// The register with the key
    pub key: Register,
    /// The register with a map's value
    pub data: Option<Register>,
    /// Milliseconds after which the element expires; 0 for the set's own
    pub timeout: u64,
    /// `NFT_DYNSET_F_INV`: continues with the rule if the set has no room for the element (`nft_dynset_eval`)
    pub inverted: bool,
    /// The expressions that a new element gets, such as a counter; more than one from 5.11 on
    pub expressions: Vec<Expr<'a>>,
}

impl<'a> Dynset<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_DYNSET_SREG_KEY, self.key.number());
        if let Some(data) = self.data {
            writer.put_be32(uapi::NFTA_DYNSET_SREG_DATA, data.number());
        }
        writer.put_be32(uapi::NFTA_DYNSET_OP, self.op.number());
        if self.timeout != 0 {
            writer.put_be64(uapi::NFTA_DYNSET_TIMEOUT, self.timeout);
        }
        writer.put_text(uapi::NFTA_DYNSET_SET_NAME, self.set);
        if self.set_id != 0 {
            writer.put_be32(uapi::NFTA_DYNSET_SET_ID, self.set_id);
        }
        let inverted = if self.inverted { uapi::NFT_DYNSET_F_INV } else { 0 };
        // Without the flag, the kernel refuses a list (EINVAL in nft_dynset_init); a single one has always been taken
        // without it.
        let listed = if self.expressions.len() > 1 { uapi::NFT_DYNSET_F_EXPR } else { 0 };
        if inverted | listed != 0 {
            writer.put_be32(uapi::NFTA_DYNSET_FLAGS, inverted | listed);
        }
        Expr::put_stateful(writer, &self.expressions, uapi::NFTA_DYNSET_EXPR, uapi::NFTA_DYNSET_EXPRESSIONS);
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut set, mut set_id, mut op, mut key, mut data) = (None, 0, None, None, None);
        let (mut timeout, mut flags, mut expressions) = (0, 0, Vec::new());
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_DYNSET_SET_NAME => set = Some(attribute.text()),
                uapi::NFTA_DYNSET_SET_ID => set_id = attribute.be32()?,
                uapi::NFTA_DYNSET_OP => op = Some(DynsetOp::from_number(attribute.be32()?)),
                uapi::NFTA_DYNSET_SREG_KEY => key = Some(register(attribute)?),
                uapi::NFTA_DYNSET_SREG_DATA => data = Some(register(attribute)?),
                uapi::NFTA_DYNSET_TIMEOUT => timeout = attribute.be64()?,
                uapi::NFTA_DYNSET_FLAGS => flags = attribute.be32()?,
                uapi::NFTA_DYNSET_EXPR => expressions.push(Expr::decode_inside(attribute.nested())?),
                uapi::NFTA_DYNSET_EXPRESSIONS => {
                    Expr::decode_list_inside(attribute.nested(), &mut expressions)?;
                }
                _ => {}
            }
        }
        Ok(Self {
            set: required(set, uapi::NFTA_DYNSET_SET_NAME)?,
            set_id,
            op: required(op, uapi::NFTA_DYNSET_OP)?,
            key: required(key, uapi::NFTA_DYNSET_SREG_KEY)?,
            data,
            timeout,
            inverted: flags & uapi::NFT_DYNSET_F_INV != 0,
            expressions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Counter, Limit, LimitKind};
    use crate::testing::{decode, different, encode, same};

    fn add(set: &str) -> Dynset<'_> {
        Dynset {
            set: set.into(),
            set_id: 1,
            op: DynsetOp::Add,
            key: Register::R1,
            data: None,
            timeout: 0,
            inverted: false,
            expressions: Vec::new(),
        }
    }

    #[test]
    fn add_an_address() {
        // add @s { ip saddr }
        // [ dynset add reg_key 1 set s ]
        let nft = "
            3400 0180                    # element
              0b00 0100 64796e7365740000 # name \"dynset\"
              2400 0280                  # data dynset
                0800 0400 00000001       # sreg_key
                0800 0300 00000000       # op
                0600 0100 73000000       # set_name \"s\"
                0800 0200 00000001       # set_id
        ";
        same(add("s"), nft);
    }

    #[test]
    fn delete_an_address() {
        // delete @s { ip saddr }
        // [ dynset delete reg_key 1 set s ]
        let nft = "
            3400 0180                    # element
              0b00 0100 64796e7365740000 # name \"dynset\"
              2400 0280                  # data dynset
                0800 0400 00000001       # sreg_key
                0800 0300 00000002       # op
                0600 0100 73000000       # set_name \"s\"
                0800 0200 00000001       # set_id
        ";
        same(Dynset { op: DynsetOp::Delete, ..add("s") }, nft);
    }

    #[test]
    fn add_to_a_map() {
        // add @m { ip saddr : tcp dport }
        // [ dynset add reg_key 1 set m sreg_data 2 ]
        let nft = "
            3c00 0180                    # element
              0b00 0100 64796e7365740000 # name \"dynset\"
              2c00 0280                  # data dynset
                0800 0400 00000001       # sreg_key
                0800 0500 00000002       # sreg_data
                0800 0300 00000000       # op
                0600 0100 6d000000       # set_name \"m\"
                0800 0200 00000001       # set_id
        ";
        same(Dynset { data: Some(Register::R2), ..add("m") }, nft);
    }

    #[test]
    fn update_with_a_limit() {
        // update @s { ip saddr timeout 30s limit rate over 5/second }
        // [ dynset update reg_key 1 set s timeout 30000ms expr [ limit rate 5/second burst 5 type packets
        //     flags 0x1 ] ]
        let nft = "
            8400 0180                          # element
              0b00 0100 64796e7365740000       # name \"dynset\"
              7400 0280                        # data dynset
                0800 0400 00000001             # sreg_key
                0800 0300 00000001             # op
                0c00 0600 0000000000007530     # timeout
                0600 0100 73000000             # set_name \"s\"
                0800 0200 00000001             # set_id
                4400 0780                      # expr
                  0a00 0100 6c696d6974000000   # name \"limit\"
                  3400 0280                    # data limit
                    0c00 0100 0000000000000005 # rate
                    0c00 0200 0000000000000001 # unit
                    0800 0300 00000005         # burst
                    0800 0400 00000000         # type
                    0800 0500 00000001         # flags
        ";
        let limit = Limit { kind: LimitKind::Packets, rate: 5, unit: 1, burst: 5, inverted: true };
        let expression =
            Dynset { op: DynsetOp::Update, timeout: 30_000, expressions: vec![limit.into()], ..add("s") };
        same(expression, nft);
    }

    #[test]
    fn add_with_several() {
        // add @s { ip saddr counter limit rate 1/second }
        // [ dynset add reg_key 1 set s expr [ counter pkts 0 bytes 0 ] expr [ limit rate 1/second burst 5
        //     type packets flags 0x0 ] ]
        let nft = "
            9800 0180                            # element
              0b00 0100 64796e7365740000         # name \"dynset\"
              8800 0280                          # data dynset
                0800 0400 00000001               # sreg_key
                0800 0300 00000000               # op
                0600 0100 73000000               # set_name \"s\"
                0800 0200 00000001               # set_id
                5c00 0a80                        # expressions
                  1400 0180                      # element
                    0c00 0100 636f756e74657200   # name \"counter\"
                    0400 0280                    # data counter
                  4400 0180                      # element
                    0a00 0100 6c696d6974000000   # name \"limit\"
                    3400 0280                    # data limit
                      0c00 0100 0000000000000001 # rate
                      0c00 0200 0000000000000001 # unit
                      0800 0300 00000005         # burst
                      0800 0400 00000000         # type
                      0800 0500 00000000         # flags
                0800 0900 00000002               # flags
        ";
        // A counter's numbers are sent even where they are zero, and the flags come first.
        let ours = "
            b000 0180                            # element
              0b00 0100 64796e7365740000         # name
              a000 0280                          # data dynset
                0800 0400 00000001               # sreg_key
                0800 0300 00000000               # op
                0600 0100 73000000               # set_name
                0800 0200 00000001               # set_id
                0800 0900 00000002               # flags
                7400 0a80                        # expressions
                  2c00 0180                      # element
                    0c00 0100 636f756e74657200   # name
                    1c00 0280                    # data counter
                      0c00 0100 0000000000000000 # bytes
                      0c00 0200 0000000000000000 # packets
                  4400 0180                      # element
                    0a00 0100 6c696d6974000000   # name
                    3400 0280                    # data limit
                      0c00 0100 0000000000000001 # rate
                      0c00 0200 0000000000000001 # unit
                      0800 0300 00000005         # burst
                      0800 0400 00000000         # type
                      0800 0500 00000000         # flags
        ";
        let limit = Limit { kind: LimitKind::Packets, rate: 1, unit: 1, burst: 5, inverted: false };
        let expressions = vec![Counter::default().into(), limit.into()];
        different(Dynset { expressions, ..add("s") }, nft, ours);
    }

    #[test]
    fn one_inside_another_is_kept_as_received() {
        let nested = Dynset { expressions: vec![add("b").into()], ..add("a") };
        let bytes = encode(&nested.into());
        let Expr::Dynset(outer) = decode(&bytes) else { panic!("{bytes:?}") };
        let [Expr::Unknown(inner)] = outer.expressions.as_slice() else { panic!("{outer:?}") };
        assert_eq!(inner.name, "dynset");
        assert_eq!(encode(&outer.into()), bytes);
    }
}

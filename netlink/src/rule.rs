//! Rules (`enum nft_rule_attributes`).

use crate::{AttrReader, AttrWriter, DecodeError, Expr, Family, Message, Text, uapi};

/// Where in its chain a new rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the end of the chain
    Append,
    /// At the beginning of the chain
    Prepend,
    /// Before the rule with this handle
    Before(u64),
    /// After the rule with this handle
    After(u64),
    /// In the position of the rule with this handle, which goes
    Replace(u64),
}

/// What xtables' extensions need to know of a rule (`enum nft_rule_compat_attributes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compat {
    /// The transport protocol (`IPPROTO_*`) that the rule asks for
    pub protocol: u32,
    /// `NFT_RULE_COMPAT_F_*`: 2 if it asks for any other
    pub flags: u32,
}

impl Compat {
    fn decode(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let mut compat = Self { protocol: 0, flags: 0 };
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_RULE_COMPAT_PROTO => compat.protocol = attribute.be32()?,
                uapi::NFTA_RULE_COMPAT_FLAGS => compat.flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(compat)
    }
}

/// A rule: what it belongs to and what it is; its expressions are kept apart, in the order of evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: Text<'a>,
    /// The name of its chain
    pub chain: Text<'a>,
    /// The number of its chain in the batch, in place of the name; 0 for none
    pub chain_id: u32,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// The handle of the rule before it, as the kernel reports it; 0 for the first one
    pub position: u64,
    /// What xtables' extensions need to know, where it has some
    pub compat: Option<Compat>,
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
    /// The expressions as received; empty in a rule that was not
    expressions: AttrReader<'a>,
}

impl<'a> Rule<'a> {
    /// A rule of this chain.
    #[must_use]
    pub fn new(family: Family, table: impl Into<Text<'a>>, chain: impl Into<Text<'a>>) -> Self {
        Self {
            family,
            table: table.into(),
            chain: chain.into(),
            chain_id: 0,
            handle: 0,
            position: 0,
            compat: None,
            userdata: &[],
            expressions: AttrReader::new(&[]),
        }
    }

    /// Reads a `NFT_MSG_NEWRULE` message.
    ///
    /// # Errors
    /// The message lacks its table or chain, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut rule = Self::new(message.family, "", "");
        let (mut table, mut chain) = (None, None);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_RULE_TABLE => table = Some(attribute.text()),
                uapi::NFTA_RULE_CHAIN => chain = Some(attribute.text()),
                uapi::NFTA_RULE_HANDLE => rule.handle = attribute.be64()?,
                uapi::NFTA_RULE_EXPRESSIONS => rule.expressions = attribute.nested(),
                uapi::NFTA_RULE_POSITION => rule.position = attribute.be64()?,
                uapi::NFTA_RULE_COMPAT => rule.compat = Some(Compat::decode(attribute.nested())?),
                uapi::NFTA_RULE_USERDATA => rule.userdata = attribute.value,
                _ => {}
            }
        }
        rule.table = table.ok_or(DecodeError::Missing { attribute: uapi::NFTA_RULE_TABLE })?;
        rule.chain = chain.ok_or(DecodeError::Missing { attribute: uapi::NFTA_RULE_CHAIN })?;
        Ok(rule)
    }

    /// The list of expressions of a rule that was received, as it came (`NFTA_RULE_EXPRESSIONS`).
    #[must_use]
    pub fn expression_list(&self) -> &'a [u8] {
        self.expressions.as_bytes()
    }

    /// The expressions of a rule that was received, in the order of evaluation.
    pub fn expressions(&self) -> impl Iterator<Item = Result<Expr<'a>, DecodeError>> + use<'a> {
        Expr::decode_list(self.expressions)
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter, position: Position, expressions: &[Expr<'_>]) {
        writer.put_text(uapi::NFTA_RULE_TABLE, self.table);
        match self.chain_id {
            0 => writer.put_text(uapi::NFTA_RULE_CHAIN, self.chain),
            id => writer.put_be32(uapi::NFTA_RULE_CHAIN_ID, id),
        }
        match position {
            Position::Append | Position::Prepend => {}
            Position::Before(handle) | Position::After(handle) => {
                writer.put_be64(uapi::NFTA_RULE_POSITION, handle);
            }
            Position::Replace(handle) => writer.put_be64(uapi::NFTA_RULE_HANDLE, handle),
        }
        writer.nest(uapi::NFTA_RULE_EXPRESSIONS, |writer| {
            for expression in expressions {
                expression.encode(writer);
            }
        });
        if let Some(compat) = self.compat {
            writer.nest(uapi::NFTA_RULE_COMPAT, |writer| {
                writer.put_be32(uapi::NFTA_RULE_COMPAT_PROTO, compat.protocol);
                writer.put_be32(uapi::NFTA_RULE_COMPAT_FLAGS, compat.flags);
            });
        }
        if !self.userdata.is_empty() {
            writer.put(uapi::NFTA_RULE_USERDATA, self.userdata);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Access, Cmp, CmpOp, Immediate, Meta, MetaKey};
    use crate::testing::{assert_bytes, assert_same_message, bytes, message, read};
    use crate::{Data, Register, Verdict};

    fn drop() -> [Expr<'static>; 1] {
        [Immediate::Verdict(Verdict::Drop).into()]
    }

    fn rule() -> Rule<'static> {
        Rule::new(Family::Inet, "t", "c")
    }

    #[test]
    fn expressions_and_comment() {
        // add rule inet t c meta l4proto tcp accept comment "mesh"
        let nft = "
            b4000000 060a 010c 00000000 00000000  01000000 # NEWRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
              8400 0480                                    # expressions
                2400 0180                                  # element
                  0900 0100 6d65746100000000               # name \"meta\"
                  1400 0280                                # data meta
                    0800 0200 00000010                     # key
                    0800 0100 00000001                     # dreg
                2c00 0180                                  # element
                  0800 0100 636d7000                       # name
                  2000 0280                                # data cmp
                    0800 0100 00000001                     # sreg
                    0800 0200 00000000                     # op
                    0c00 0380                              # data
                      0500 0100 06000000                   # value
                3000 0180                                  # element
                  0e00 0100 696d6d656469617465000000       # name \"immediate\"
                  1c00 0280                                # data immediate
                    0800 0100 00000000                     # dreg
                    1000 0280                              # data
                      0c00 0280                            # verdict
                        0800 0100 00000001                 # code
              0b00 0700 00056d6573680000                   # userdata
        ";
        let expressions = [
            Meta { key: MetaKey::L4Proto, access: Access::Load(Register::R1) }.into(),
            Cmp { sreg: Register::R1, op: CmpOp::Eq, data: Data::new(&[6]) }.into(),
            Immediate::Verdict(Verdict::Accept).into(),
        ];
        let rule = Rule { userdata: b"\x00\x05mesh\x00", ..rule() };
        let golden = bytes(nft);
        assert_bytes(&message(|batch| batch.add_rule(&rule, Position::Append, &expressions)), &golden);

        let decoded = Rule::decode(&read(&golden)).unwrap();
        assert_eq!((decoded.family, decoded.table, decoded.chain), (Family::Inet, "t".into(), "c".into()));
        assert_eq!(decoded.userdata, rule.userdata);
        let read: Vec<_> = decoded.expressions().map(Result::unwrap).collect();
        assert_eq!(read, expressions);
    }

    #[test]
    fn append() {
        // add rule inet t c drop
        let nft = "
            58000000 060a 010c 00000000 00000000  01000000 # NEWRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
              3400 0480                                    # expressions
                3000 0180                                  # element
                  0e00 0100 696d6d656469617465000000       # name \"immediate\"
                  1c00 0280                                # data immediate
                    0800 0100 00000000                     # dreg
                    1000 0280                              # data
                      0c00 0280                            # verdict
                        0800 0100 00000000                 # code
        ";
        assert_bytes(&message(|batch| batch.add_rule(&rule(), Position::Append, &drop())), &bytes(nft));
    }

    #[test]
    fn prepend() {
        // insert rule inet t c drop
        let nft = "
            58000000 060a 0104 00000000 00000000  01000000 # NEWRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
              3400 0480                                    # expressions
                3000 0180                                  # element
                  0e00 0100 696d6d656469617465000000       # name \"immediate\"
                  1c00 0280                                # data immediate
                    0800 0100 00000000                     # dreg
                    1000 0280                              # data
                      0c00 0280                            # verdict
                        0800 0100 00000000                 # code
        ";
        assert_bytes(&message(|batch| batch.add_rule(&rule(), Position::Prepend, &drop())), &bytes(nft));
    }

    // nft writes the position after the expressions and the handle before them, this crate both before.

    #[test]
    fn before() {
        // insert rule inet t c handle 3 drop
        let nft = "
            64000000 060a 0104 00000000 00000000  01000000 # NEWRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
              3400 0480                                    # expressions
                3000 0180                                  # element
                  0e00 0100 696d6d656469617465000000       # name \"immediate\"
                  1c00 0280                                # data immediate
                    0800 0100 00000000                     # dreg
                    1000 0280                              # data
                      0c00 0280                            # verdict
                        0800 0100 00000000                 # code
              0c00 0600 0000000000000003                   # position
        ";
        let ours = message(|batch| batch.add_rule(&rule(), Position::Before(3), &drop()));
        assert_same_message(&ours, &bytes(nft));
    }

    #[test]
    fn after() {
        // add rule inet t c handle 3 drop
        let nft = "
            64000000 060a 010c 00000000 00000000  01000000 # NEWRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
              3400 0480                                    # expressions
                3000 0180                                  # element
                  0e00 0100 696d6d656469617465000000       # name \"immediate\"
                  1c00 0280                                # data immediate
                    0800 0100 00000000                     # dreg
                    1000 0280                              # data
                      0c00 0280                            # verdict
                        0800 0100 00000000                 # code
              0c00 0600 0000000000000003                   # position
        ";
        let ours = message(|batch| batch.add_rule(&rule(), Position::After(3), &drop()));
        assert_same_message(&ours, &bytes(nft));
    }

    #[test]
    fn replace() {
        // replace rule inet t c handle 3 drop
        let nft = "
            64000000 060a 0101 00000000 00000000  01000000 # NEWRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
              0c00 0300 0000000000000003                   # handle
              3400 0480                                    # expressions
                3000 0180                                  # element
                  0e00 0100 696d6d656469617465000000       # name \"immediate\"
                  1c00 0280                                # data immediate
                    0800 0100 00000000                     # dreg
                    1000 0280                              # data
                      0c00 0280                            # verdict
                        0800 0100 00000000                 # code
        ";
        assert_bytes(&message(|batch| batch.add_rule(&rule(), Position::Replace(3), &drop())), &bytes(nft));
    }

    #[test]
    fn delete() {
        // delete rule inet t c handle 4
        let nft = "
            30000000 080a 0100 00000000 00000000  01000000 # DELRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
              0c00 0300 0000000000000004                   # handle
        ";
        assert_bytes(&message(|batch| batch.del_rule(Family::Inet, "t", "c", 4)), &bytes(nft));
    }

    #[test]
    fn flush() {
        // flush table inet t
        let nft = "
            1c000000 080a 0100 00000000 00000000  01000000 # DELRULE
              0600 0100 74000000                           # table
        ";
        assert_bytes(&message(|batch| batch.flush_table(Family::Inet, "t")), &bytes(nft));
    }

    #[test]
    fn handle_of_a_dump() {
        let golden = "
            34000000 060a 0000 00000000 00000000  01000001
              0600 0100 74000000
              0600 0200 63000000
              0c00 0300 0000000000000007
              0400 0480
        ";
        let golden = bytes(golden);
        let decoded = Rule::decode(&read(&golden)).unwrap();
        assert_eq!(decoded.handle, 7);
        assert_eq!(decoded.expressions().count(), 0);
    }
}

//! Rules (`enum nft_rule_attributes`).

use crate::{AttrReader, AttrWriter, DecodeError, Expr, Family, Message, uapi};

/// Where in its chain a new rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind all others
    Append,
    /// Before all others
    Prepend,
    /// Before the rule with this handle
    Before(u64),
    /// Behind the rule with this handle
    After(u64),
    /// In the place of the rule with this handle, which goes
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

/// A rule: what it belongs to and what it is; its expressions stand apart, in the order of evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: &'a str,
    /// The name of its chain
    pub chain: &'a str,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// The handle of the rule before it, as the kernel tells; 0 for the first one
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
    pub fn new(family: Family, table: &'a str, chain: &'a str) -> Self {
        Self {
            family,
            table,
            chain,
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
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_RULE_TABLE => rule.table = attribute.str()?,
                uapi::NFTA_RULE_CHAIN => rule.chain = attribute.str()?,
                uapi::NFTA_RULE_HANDLE => rule.handle = attribute.be64()?,
                uapi::NFTA_RULE_EXPRESSIONS => rule.expressions = attribute.nested(),
                uapi::NFTA_RULE_POSITION => rule.position = attribute.be64()?,
                uapi::NFTA_RULE_COMPAT => rule.compat = Some(Compat::decode(attribute.nested())?),
                uapi::NFTA_RULE_USERDATA => rule.userdata = attribute.value,
                _ => {}
            }
        }
        for (name, attribute) in [(rule.table, uapi::NFTA_RULE_TABLE), (rule.chain, uapi::NFTA_RULE_CHAIN)] {
            if name.is_empty() {
                return Err(DecodeError::Missing { attribute });
            }
        }
        Ok(rule)
    }

    /// The expressions of a rule that was received, in the order of evaluation.
    pub fn expressions(&self) -> impl Iterator<Item = Result<Expr<'a>, DecodeError>> + use<'a> {
        Expr::decode_list(self.expressions)
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter, place: Place, expressions: &[Expr<'_>]) {
        writer.put_str(uapi::NFTA_RULE_TABLE, self.table);
        writer.put_str(uapi::NFTA_RULE_CHAIN, self.chain);
        match place {
            Place::Append | Place::Prepend => {}
            Place::Before(handle) | Place::After(handle) => {
                writer.put_be64(uapi::NFTA_RULE_POSITION, handle);
            }
            Place::Replace(handle) => writer.put_be64(uapi::NFTA_RULE_HANDLE, handle),
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

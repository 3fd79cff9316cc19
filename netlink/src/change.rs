//! What nft's commands need of a batch beyond adding and deleting by name: objects that must not exist, deletion by
//! handle or of what need not exist, flushing and renaming chains, and positions relative to rules of the same batch.

use std::borrow::Borrow;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use crate::Text;
use crate::{
    AttrWriter, Batch, Chain, Element, ElementList, Expr, Family, Flowtable, Object, ObjectKind, Policy,
    Position, Rule, Set, uapi,
};

/// Something by its name or by the kernel's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// By its name
    Name(Text<'a>),
    /// By its handle; a rule has no name
    Handle(u64),
}

/// What a batch deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal<'a> {
    /// A table with all it holds
    Table(Reference<'a>),
    /// A chain with its rules; nothing may jump to it
    Chain {
        /// The name of its table
        table: Text<'a>,
        /// The chain
        chain: Reference<'a>,
    },
    /// A rule
    Rule {
        /// The name of its table
        table: Text<'a>,
        /// The name of its chain
        chain: Text<'a>,
        /// Its handle
        handle: u64,
    },
    /// A set with its elements; no rule may use it
    Set {
        /// The name of its table
        table: Text<'a>,
        /// The set
        set: Reference<'a>,
    },
    /// An object; no rule and no element may refer to it
    Object {
        /// The name of its table
        table: Text<'a>,
        /// Its kind
        kind: ObjectKind,
        /// The object
        object: Reference<'a>,
    },
    /// A flowtable; no rule may use it
    Flowtable {
        /// The name of its table
        table: Text<'a>,
        /// The flowtable
        flowtable: Reference<'a>,
    },
}

impl Removal<'_> {
    /// The messages that delete it: where it must exist, and where it need not (from 6.3 on).
    fn kinds(&self) -> (u8, u8) {
        match self {
            Self::Table(_) => (uapi::NFT_MSG_DELTABLE, uapi::NFT_MSG_DESTROYTABLE),
            Self::Chain { .. } => (uapi::NFT_MSG_DELCHAIN, uapi::NFT_MSG_DESTROYCHAIN),
            Self::Rule { .. } => (uapi::NFT_MSG_DELRULE, uapi::NFT_MSG_DESTROYRULE),
            Self::Set { .. } => (uapi::NFT_MSG_DELSET, uapi::NFT_MSG_DESTROYSET),
            Self::Object { .. } => (uapi::NFT_MSG_DELOBJ, uapi::NFT_MSG_DESTROYOBJ),
            Self::Flowtable { .. } => (uapi::NFT_MSG_DELFLOWTABLE, uapi::NFT_MSG_DESTROYFLOWTABLE),
        }
    }

    fn encode(&self, writer: &mut AttrWriter) {
        match *self {
            Self::Table(table) => put(writer, table, uapi::NFTA_TABLE_NAME, uapi::NFTA_TABLE_HANDLE),
            Self::Chain { table, chain } => {
                writer.put_text(uapi::NFTA_CHAIN_TABLE, table);
                put(writer, chain, uapi::NFTA_CHAIN_NAME, uapi::NFTA_CHAIN_HANDLE);
            }
            Self::Rule { table, chain, handle } => {
                writer.put_text(uapi::NFTA_RULE_TABLE, table);
                writer.put_text(uapi::NFTA_RULE_CHAIN, chain);
                writer.put_be64(uapi::NFTA_RULE_HANDLE, handle);
            }
            Self::Set { table, set } => {
                writer.put_text(uapi::NFTA_SET_TABLE, table);
                put(writer, set, uapi::NFTA_SET_NAME, uapi::NFTA_SET_HANDLE);
            }
            Self::Object { table, kind, object } => {
                writer.put_text(uapi::NFTA_OBJ_TABLE, table);
                writer.put_be32(uapi::NFTA_OBJ_TYPE, kind.number());
                put(writer, object, uapi::NFTA_OBJ_NAME, uapi::NFTA_OBJ_HANDLE);
            }
            Self::Flowtable { table, flowtable } => {
                writer.put_text(uapi::NFTA_FLOWTABLE_TABLE, table);
                put(writer, flowtable, uapi::NFTA_FLOWTABLE_NAME, uapi::NFTA_FLOWTABLE_HANDLE);
            }
        }
    }
}

fn put(writer: &mut AttrWriter, reference: Reference<'_>, name: u16, handle: u16) {
    match reference {
        Reference::Name(text) => writer.put_text(name, text),
        Reference::Handle(number) => writer.put_be64(handle, number),
    }
}

/// Where a rule goes, relative to one that the same batch adds before (`NFTA_RULE_POSITION_ID`, from 5.1 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchPosition {
    /// Relative to what the kernel holds
    Kernel(Position),
    /// Before the rule with this number
    Before(u32),
    /// After the rule with this number
    After(u32),
}

impl Batch {
    /// Deletes something; ENOENT if it does not exist.
    pub fn remove(&mut self, family: Family, removal: Removal<'_>) {
        self.object(removal.kinds().0, 0, family, |writer| removal.encode(writer));
    }

    /// Deletes something that need not exist; its table has to. Kernels before 6.3 refuse it with EINVAL.
    pub fn destroy(&mut self, family: Family, removal: Removal<'_>) {
        self.object(removal.kinds().1, 0, family, |writer| removal.encode(writer));
    }

    /// Deletes every table of a family, or of all with [`Family::Unspec`].
    pub fn flush_ruleset(&mut self, family: Family) {
        self.object(uapi::NFT_MSG_DELTABLE, 0, family, |_| {});
    }

    /// Deletes the rules of a chain; the chain stays.
    pub fn flush_chain<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        chain: impl Into<Text<'n>>,
    ) {
        self.object(uapi::NFT_MSG_DELRULE, 0, family, |writer| {
            writer.put_text(uapi::NFTA_RULE_TABLE, table);
            writer.put_text(uapi::NFTA_RULE_CHAIN, chain);
        });
    }

    /// Changes the policy of a base chain, and nothing else.
    pub fn set_policy<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        chain: impl Into<Text<'n>>,
        policy: Policy,
    ) {
        self.object(uapi::NFT_MSG_NEWCHAIN, NLM_F_CREATE, family, |writer| {
            writer.put_text(uapi::NFTA_CHAIN_TABLE, table);
            writer.put_text(uapi::NFTA_CHAIN_NAME, chain);
            writer.put(uapi::NFTA_CHAIN_POLICY, &policy.verdict().to_be_bytes());
        });
    }

    /// Gives a chain another name.
    pub fn rename_chain<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        handle: u64,
        name: impl Into<Text<'n>>,
    ) {
        self.object(uapi::NFT_MSG_NEWCHAIN, 0, family, |writer| {
            writer.put_text(uapi::NFTA_CHAIN_TABLE, table);
            writer.put_be64(uapi::NFTA_CHAIN_HANDLE, handle);
            writer.put_text(uapi::NFTA_CHAIN_NAME, name);
        });
    }

    /// As [`add_chain`](Self::add_chain), but one that exists is refused with EEXIST.
    pub fn create_chain(&mut self, chain: &Chain<'_>) {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.object(uapi::NFT_MSG_NEWCHAIN, flags, chain.family, |writer| chain.encode(writer));
    }

    /// As [`add_set`](Self::add_set), but one that exists is refused with EEXIST.
    pub fn create_set(&mut self, set: &Set<'_>) {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.object(uapi::NFT_MSG_NEWSET, flags, set.family, |writer| set.encode(writer));
    }

    /// As [`add_elements`](Self::add_elements), but one that exists is refused with EEXIST.
    pub fn create_elements<'e, E: Borrow<Element<'e>>>(
        &mut self,
        list: &ElementList<'_>,
        elements: impl IntoIterator<Item = E>,
    ) {
        self.elements(uapi::NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, list, elements);
    }

    /// As [`del_elements`](Self::del_elements), but they need not exist. Kernels before 6.3 refuse it with EINVAL.
    pub fn destroy_elements<'e, E: Borrow<Element<'e>>>(
        &mut self,
        list: &ElementList<'_>,
        elements: impl IntoIterator<Item = E>,
    ) {
        self.elements(uapi::NFT_MSG_DESTROYSETELEM, 0, list, elements);
    }

    /// As [`add_object`](Self::add_object), but one that exists is refused with EEXIST.
    pub fn create_object(&mut self, object: &Object<'_>) {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.object(uapi::NFT_MSG_NEWOBJ, flags, object.family, |writer| object.encode(writer));
    }

    /// As [`add_flowtable`](Self::add_flowtable), but one that exists is refused with EEXIST.
    pub fn create_flowtable(&mut self, flowtable: &Flowtable<'_>) {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.object(uapi::NFT_MSG_NEWFLOWTABLE, flags, flowtable.family, |writer| flowtable.encode(writer));
    }

    /// Removes these devices from a flowtable, which is kept.
    pub fn del_flowtable_devices(&mut self, flowtable: &Flowtable<'_>) {
        self.object(uapi::NFT_MSG_DELFLOWTABLE, 0, flowtable.family, |writer| flowtable.encode(writer));
    }

    /// As [`add_rule`](Self::add_rule), and later rules of the batch can go before or after it by its `id`, which is
    /// not 0.
    pub fn add_rule_with_id(
        &mut self,
        rule: &Rule<'_>,
        id: u32,
        position: BatchPosition,
        expressions: &[Expr<'_>],
    ) {
        let (position, relative) = match position {
            BatchPosition::Kernel(position) => return self.rule_with(rule, position, expressions, id, None),
            BatchPosition::Before(other) => (Position::Prepend, other),
            BatchPosition::After(other) => (Position::Append, other),
        };
        self.rule_with(rule, position, expressions, id, Some(relative));
    }

    fn rule_with(
        &mut self,
        rule: &Rule<'_>,
        position: Position,
        expressions: &[Expr<'_>],
        id: u32,
        relative: Option<u32>,
    ) {
        let flags = match position {
            Position::Append | Position::After(_) => NLM_F_CREATE | NLM_F_APPEND,
            Position::Prepend | Position::Before(_) => NLM_F_CREATE,
            Position::Replace(_) => netlink_packet_core::NLM_F_REPLACE,
        };
        self.object(uapi::NFT_MSG_NEWRULE, flags, rule.family, |writer| {
            rule.encode(writer, position, expressions);
            writer.put_be32(uapi::NFTA_RULE_ID, id);
            if let Some(relative) = relative {
                writer.put_be32(uapi::NFTA_RULE_POSITION_ID, relative);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, bytes, message};

    #[test]
    fn deletion_by_handle() {
        // delete chain inet t handle 7
        let nft = "
            28000000 050a 0100 00000000 00000000  01000000 # DELCHAIN
              0600 0100 74000000                           # table
              0c00 0200 0000000000000007                   # handle
        ";
        let removal = Removal::Chain { table: "t".into(), chain: Reference::Handle(7) };
        assert_bytes(&message(|batch| batch.remove(Family::Inet, removal)), &bytes(nft));
    }

    #[test]
    fn destruction() {
        // nft 1.1.7: destroy set inet t s
        let nft = "
            24000000 1d0a 0100 00000000 00000000  01000000 # DESTROYSET
              0600 0100 74000000                           # table
              0600 0200 73000000                           # name
        ";
        let removal = Removal::Set { table: "t".into(), set: Reference::Name("s".into()) };
        assert_bytes(&message(|batch| batch.destroy(Family::Inet, removal)), &bytes(nft));
    }

    #[test]
    fn flushes() {
        // flush ruleset inet
        let nft = "14000000 020a 0100 00000000 00000000  01000000";
        assert_bytes(&message(|batch| batch.flush_ruleset(Family::Inet)), &bytes(nft));
        // flush chain inet t c
        let nft = "
            24000000 080a 0100 00000000 00000000  01000000 # DELRULE
              0600 0100 74000000                           # table
              0600 0200 63000000                           # chain
        ";
        assert_bytes(&message(|batch| batch.flush_chain(Family::Inet, "t", "c")), &bytes(nft));
    }
}

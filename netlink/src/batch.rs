//! A transaction in one buffer: BATCH_BEGIN, the objects, BATCH_END.
//!
//! The batch remembers where each message starts, so that a reply of the kernel (a sequence number, and an
//! offset into the message) leads back to the object, the attribute and the expression that it is about.

use std::borrow::Borrow;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use crate::{
    AttrWriter, Chain, Element, ElementList, Expr, Family, Location, Position, Rule, Set, Table, Text,
    location, message, uapi,
};

/// A list of elements is split before its attribute would pass the 65,535 bytes a length can say.
const ELEMENTS_SPLIT_AT: usize = 48 * 1024;

/// A transaction that is being put together.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before it is committed"]
pub struct Batch {
    writer: AttrWriter,
    /// Where each object's message starts, in order
    starts: Vec<usize>,
    next_set_id: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::with_buffer(Vec::new())
    }

    /// An empty batch that writes into this buffer's memory; what the buffer held is dropped.
    pub fn with_buffer(buffer: Vec<u8>) -> Self {
        let mut batch = Self { writer: AttrWriter::with_buffer(buffer), starts: Vec::new(), next_set_id: 1 };
        batch.clear();
        batch
    }

    /// Takes all objects out and keeps the memory.
    pub fn clear(&mut self) {
        self.writer = AttrWriter::with_buffer(std::mem::take(&mut self.writer).into_buffer());
        self.starts.clear();
        self.next_set_id = 1;
        let begin = delimiter(&mut self.writer, uapi::NFNL_MSG_BATCH_BEGIN);
        message::end(&mut self.writer, begin);
    }

    /// Makes the kernel refuse the batch unless the ruleset is of this generation (`NFTA_GEN_ID`) when it is
    /// applied. Only before the first object.
    pub fn require_generation(&mut self, generation: u32) {
        debug_assert!(self.starts.is_empty());
        self.clear();
        self.writer.put_be32(uapi::NFNL_BATCH_GENID, generation);
        message::end(&mut self.writer, 0);
    }

    /// Bytes so far, without BATCH_END.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writer.len()
    }

    /// Whether it holds no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// How many messages it holds, without BATCH_BEGIN and BATCH_END.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.starts.len()
    }

    /// Adds a table; an existing one stays as it is.
    pub fn add_table(&mut self, table: &Table<'_>) {
        self.object(uapi::NFT_MSG_NEWTABLE, NLM_F_CREATE, table.family, |writer| table.encode(writer));
    }

    /// As [`add_table`](Self::add_table), but an existing one is refused with EEXIST.
    pub fn create_table(&mut self, table: &Table<'_>) {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.object(uapi::NFT_MSG_NEWTABLE, flags, table.family, |writer| table.encode(writer));
    }

    /// Deletes a table with all it holds.
    pub fn del_table<'n>(&mut self, family: Family, name: impl Into<Text<'n>>) {
        self.object(uapi::NFT_MSG_DELTABLE, 0, family, |writer| writer.put_text(uapi::NFTA_TABLE_NAME, name));
    }

    /// Adds a chain; an existing one with the same hook and priority stays as it is.
    pub fn add_chain(&mut self, chain: &Chain<'_>) {
        self.object(uapi::NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain.family, |writer| chain.encode(writer));
    }

    /// Deletes a chain with its rules. Nothing may jump to it any more.
    pub fn del_chain<'n>(&mut self, family: Family, table: impl Into<Text<'n>>, name: impl Into<Text<'n>>) {
        self.object(uapi::NFT_MSG_DELCHAIN, 0, family, |writer| {
            writer.put_text(uapi::NFTA_CHAIN_TABLE, table);
            writer.put_text(uapi::NFTA_CHAIN_NAME, name);
        });
    }

    /// Adds a rule with these expressions.
    pub fn add_rule(&mut self, rule: &Rule<'_>, position: Position, expressions: &[Expr<'_>]) {
        let flags = match position {
            Position::Append | Position::After(_) => NLM_F_CREATE | NLM_F_APPEND,
            Position::Prepend | Position::Before(_) => NLM_F_CREATE,
            Position::Replace(_) => NLM_F_REPLACE,
        };
        self.object(uapi::NFT_MSG_NEWRULE, flags, rule.family, |writer| {
            rule.encode(writer, position, expressions);
        });
    }

    /// Deletes the rule with this handle.
    pub fn del_rule<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        chain: impl Into<Text<'n>>,
        handle: u64,
    ) {
        self.object(uapi::NFT_MSG_DELRULE, 0, family, |writer| {
            writer.put_text(uapi::NFTA_RULE_TABLE, table);
            writer.put_text(uapi::NFTA_RULE_CHAIN, chain);
            writer.put_be64(uapi::NFTA_RULE_HANDLE, handle);
        });
    }

    /// Deletes all rules of a table; its chains stay.
    pub fn flush_table<'n>(&mut self, family: Family, table: impl Into<Text<'n>>) {
        self.object(uapi::NFT_MSG_DELRULE, 0, family, |writer| {
            writer.put_text(uapi::NFTA_RULE_TABLE, table);
        });
    }

    /// Adds a set; an existing one stays as it is.
    pub fn add_set(&mut self, set: &Set<'_>) {
        self.object(uapi::NFT_MSG_NEWSET, NLM_F_CREATE, set.family, |writer| set.encode(writer));
    }

    /// The number that [`Batch::take_set_id`] gives next.
    #[must_use]
    pub fn next_set_id(&self) -> u32 {
        self.next_set_id
    }

    /// A number for a set of this batch, by which lookups and elements name it (`NFTA_SET_ID`), counting from 1.
    pub fn take_set_id(&mut self) -> u32 {
        let id = self.next_set_id;
        self.next_set_id += 1;
        id
    }

    /// Deletes a set with its elements. No rule may use it any more.
    pub fn del_set<'n>(&mut self, family: Family, table: impl Into<Text<'n>>, name: impl Into<Text<'n>>) {
        self.object(uapi::NFT_MSG_DELSET, 0, family, |writer| {
            writer.put_text(uapi::NFTA_SET_TABLE, table);
            writer.put_text(uapi::NFTA_SET_NAME, name);
        });
    }

    /// Deletes all elements of a set; the set stays.
    pub fn flush_set<'n>(&mut self, family: Family, table: impl Into<Text<'n>>, name: impl Into<Text<'n>>) {
        self.object(uapi::NFT_MSG_DELSETELEM, 0, family, |writer| {
            ElementList::new(family, table, name, 0).encode_head(writer);
        });
    }

    /// Adds elements to a set, in as many messages as their size asks for.
    pub fn add_elements<'e, E: Borrow<Element<'e>>>(
        &mut self,
        list: &ElementList<'_>,
        elements: impl IntoIterator<Item = E>,
    ) {
        self.elements(uapi::NFT_MSG_NEWSETELEM, NLM_F_CREATE, list, elements);
    }

    /// Deletes elements of a set, in as many messages as their size asks for.
    pub fn del_elements<'e, E: Borrow<Element<'e>>>(
        &mut self,
        list: &ElementList<'_>,
        elements: impl IntoIterator<Item = E>,
    ) {
        self.elements(uapi::NFT_MSG_DELSETELEM, 0, list, elements);
    }

    pub(crate) fn elements<'e, E: Borrow<Element<'e>>>(
        &mut self,
        kind: u8,
        flags: u16,
        list: &ElementList<'_>,
        elements: impl IntoIterator<Item = E>,
    ) {
        let mut rest = elements.into_iter().peekable();
        while rest.peek().is_some() {
            self.object(kind, flags, list.family, |writer| {
                list.encode_head(writer);
                writer.nest(uapi::NFTA_SET_ELEM_LIST_ELEMENTS, |writer| {
                    let start = writer.len();
                    while writer.len() - start < ELEMENTS_SPLIT_AT
                        && let Some(element) = rest.next()
                    {
                        element.borrow().encode(writer);
                    }
                });
            });
        }
    }

    pub(crate) fn object(
        &mut self,
        kind: u8,
        flags: u16,
        family: Family,
        fill: impl FnOnce(&mut AttrWriter),
    ) {
        self.writer.make_room();
        let start = message::begin(&mut self.writer, kind, flags, family);
        fill(&mut self.writer);
        message::end(&mut self.writer, start);
        self.starts.push(start);
    }

    /// The bytes to send: every message numbered from `sequence` on (BATCH_BEGIN has `sequence` itself), the last
    /// object asking for a reply; with BATCH_END only when the kernel is to `apply` it.
    pub(crate) fn seal(&mut self, sequence: u32, apply: bool) -> Sealed<'_> {
        let objects_end = self.writer.len();
        message::number(&mut self.writer, 0, sequence, false);
        let mut next = sequence;
        for (index, &start) in self.starts.iter().enumerate() {
            next = next.wrapping_add(1);
            message::number(&mut self.writer, start, next, index + 1 == self.starts.len());
        }
        if apply {
            let end = delimiter(&mut self.writer, uapi::NFNL_MSG_BATCH_END);
            message::end(&mut self.writer, end);
            message::number(&mut self.writer, end, next.wrapping_add(1), false);
        }
        Sealed { batch: self, objects_end }
    }

    /// The message in which an attribute is longer than its length field can say, if there is one.
    pub(crate) fn overflow(&self) -> Option<usize> {
        let position = self.writer.overflow()?;
        Some(self.starts.partition_point(|&start| start <= position).saturating_sub(1))
    }

    /// What is `offset` bytes into the message with this number.
    pub(crate) fn locate(&self, message: usize, offset: usize) -> Location {
        let Some(&start) = self.starts.get(message) else { return Location::default() };
        let end = self.starts.get(message + 1).copied().unwrap_or(self.writer.len());
        let body = start + message::NLMSG_HEADER + 4;
        let Some(body) = self.writer.as_bytes().get(body..end) else { return Location::default() };
        let offset = offset.saturating_sub(message::NLMSG_HEADER + 4);
        location::at(self.kind(start), body, offset).unwrap_or_default()
    }

    /// What was written so far, not numbered yet.
    #[cfg(any(test, feature = "tracing"))]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.writer.as_bytes()
    }

    fn kind(&self, start: usize) -> u8 {
        let bytes = self.writer.as_bytes();
        u16::from_ne_bytes([bytes[start + 4], bytes[start + 5]]).to_be_bytes()[1]
    }
}

/// A batch that is ready to be sent; BATCH_END goes when it is dropped, so that the batch can grow or be resent.
pub(crate) struct Sealed<'a> {
    batch: &'a mut Batch,
    objects_end: usize,
}

impl Sealed<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.batch.writer.as_bytes()
    }
}

impl Drop for Sealed<'_> {
    fn drop(&mut self) {
        self.batch.writer.truncate(self.objects_end);
    }
}

fn delimiter(writer: &mut AttrWriter, nlmsg_type: u16) -> usize {
    let subsystem = u16::from(uapi::NFNL_SUBSYS_NFTABLES);
    message::begin_raw(writer, nlmsg_type, 0, uapi::NFPROTO_UNSPEC, subsystem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Counter, Immediate, Tproxy};
    use crate::testing::{assert_bytes, bytes, split};
    use crate::{Data, ElementLocation, Verdict};

    const TABLE: Table<'static> = Table {
        family: Family::Inet,
        name: Text::new("t"),
        flags: crate::TableFlags(0),
        handle: 0,
        references: 0,
        owner: 0,
        userdata: &[],
    };
    const BEGIN: &str = "14000000 1000 0100 00000000 00000000  0000000a";

    fn elements(count: u32) -> Vec<Element<'static>> {
        (0..count).map(|number| Element::new(Data::new(&number.to_be_bytes()))).collect()
    }

    #[test]
    fn a_long_batch_is_copied_seldom() {
        let mut batch = Batch::new();
        let mut places = std::collections::BTreeSet::new();
        while batch.writer.len() < 1 << 17 {
            batch.add_table(&TABLE);
        }
        while batch.writer.len() < 8 << 20 {
            batch.add_table(&TABLE);
            places.insert(batch.writer.as_bytes().as_ptr());
        }
        assert!(places.len() <= 2, "{places:?}");
    }

    #[test]
    fn transaction_of_nft() {
        // add table inet t; nft asks for no reply, this crate for one to the last object (flag 4).
        let golden = "
            14000000 1000 0100 00000000 00000000  0000000a  # BATCH_BEGIN
            24000000 000a 0504 01000000 00000000  01000000  # NEWTABLE
              0600 0100 74000000                            # name
              0800 0200 00000000                            # flags
            14000000 1100 0100 02000000 00000000  0000000a  # BATCH_END
        ";
        let mut batch = Batch::new();
        batch.add_table(&TABLE);
        assert_bytes(batch.seal(0, true).as_bytes(), &bytes(golden));
    }

    #[test]
    fn required_generation() {
        // The first message of: iptables-nft -A INPUT -p tcp -j ACCEPT
        let golden = "
            1c000000 1000 0100 00000000 00000000  0000000a  # BATCH_BEGIN
              0800 0100 00000001                            # NFNL_BATCH_GENID
        ";
        let mut batch = Batch::new();
        batch.require_generation(1);
        assert_bytes(batch.as_bytes(), &bytes(golden));
        assert!(batch.is_empty());
        batch.add_table(&TABLE);
        assert_eq!(split(batch.as_bytes()).len(), 2);
        // It applies to what is in the batch, so it is dropped with it.
        batch.clear();
        assert_bytes(batch.as_bytes(), &bytes(BEGIN));
    }

    #[test]
    fn sealing_leaves_the_batch_as_it_was() {
        let mut batch = Batch::new();
        batch.add_table(&TABLE);
        batch.del_table(Family::Inet, "u");
        let length = batch.len();
        let first = batch.seal(7, true).as_bytes().to_vec();
        assert_eq!(batch.len(), length);
        let without_end = batch.seal(7, false).as_bytes().to_vec();
        assert_eq!(without_end, first[..length]);
        assert_eq!(batch.seal(7, true).as_bytes(), first);
        // What is added later is the last object then.
        batch.del_table(Family::Inet, "v");
        let acknowledged: Vec<_> = split(batch.seal(7, true).as_bytes())
            .iter()
            .map(|message| u16::from_ne_bytes([message[6], message[7]]) & 4 != 0)
            .collect();
        assert_eq!(acknowledged, [false, false, false, true, false]);
    }

    #[test]
    fn numbers_follow_each_other_beyond_the_last() {
        let mut batch = Batch::new();
        batch.add_table(&TABLE);
        batch.del_table(Family::Inet, "t");
        let numbers: Vec<_> = split(batch.seal(u32::MAX - 1, true).as_bytes())
            .iter()
            .map(|message| u32::from_ne_bytes([message[8], message[9], message[10], message[11]]))
            .collect();
        assert_eq!(numbers, [u32::MAX - 1, u32::MAX, 0, 1]);
    }

    #[test]
    fn memory_is_kept() {
        let mut batch = Batch::with_buffer(Vec::with_capacity(4096));
        let place = batch.as_bytes().as_ptr();
        batch.add_table(&TABLE);
        batch.clear();
        assert_eq!(batch.as_bytes().as_ptr(), place);
        assert_bytes(batch.as_bytes(), &bytes(BEGIN));
    }

    #[test]
    fn ids_of_sets() {
        let mut batch = Batch::new();
        assert_eq!((batch.next_set_id(), batch.take_set_id(), batch.take_set_id()), (1, 1, 2));
        batch.clear();
        assert_eq!(batch.take_set_id(), 1);
    }

    #[test]
    fn elements_are_split_below_what_a_length_can_say() {
        let mut batch = Batch::new();
        let list = ElementList::new(Family::Inet, "t", "s", 0);
        batch.add_elements(&list, elements(10_000));
        assert_eq!(batch.overflow(), None);
        assert!(batch.messages() > 1);
        let mut found = Vec::new();
        for message in &split(batch.as_bytes())[1..] {
            let list = ElementList::decode(&crate::testing::read(message)).unwrap();
            found.extend(list.elements().map(|element| element.unwrap().key.as_bytes().to_vec()));
        }
        let sent: Vec<_> = (0..10_000u32).map(|number| number.to_be_bytes().to_vec()).collect();
        assert_eq!(found, sent);
    }

    #[test]
    fn no_elements_are_no_message() {
        let mut batch = Batch::new();
        let list = ElementList::new(Family::Inet, "t", "s", 0);
        batch.add_elements(&list, elements(0));
        batch.del_elements(&list, elements(0));
        assert!(batch.is_empty());
    }

    #[test]
    fn all_elements_at_once() {
        // flush set inet t s
        let golden = "
            24000000 0e0a 0100 00000000 00000000  01000000  # DELSETELEM
              0600 0100 74000000                            # table
              0600 0200 73000000                            # set
        ";
        let mut batch = Batch::new();
        batch.flush_set(Family::Inet, "t", "s");
        assert_bytes(&split(batch.as_bytes())[1], &bytes(golden));
    }

    #[test]
    fn an_attribute_that_is_too_long_is_found() {
        let mut batch = Batch::new();
        let long = vec![0; 65_532];
        batch.add_table(&TABLE);
        batch.add_table(&Table { userdata: &long[..65_531], ..TABLE });
        assert_eq!(batch.overflow(), None);
        batch.add_table(&Table { userdata: &long, ..TABLE });
        batch.add_table(&TABLE);
        assert_eq!(batch.overflow(), Some(2));
        batch.clear();
        assert_eq!(batch.overflow(), None);
    }

    #[test]
    fn a_list_that_is_too_long_is_found() {
        let mut batch = Batch::new();
        let rule = Rule::new(Family::Inet, "t", "c");
        // An element that holds a counter is 44 bytes long.
        let counters = vec![Expr::from(Counter::default()); 65_531 / 44];
        batch.add_rule(&rule, Position::Append, &counters);
        assert_eq!(batch.overflow(), None);
        batch.add_rule(&rule, Position::Append, &[&counters[..], &counters[..1]].concat());
        assert_eq!(batch.overflow(), Some(1));
    }

    /// Where in a rule of a counter, a tproxy and a verdict an offset leads.
    fn locate(offset: usize) -> Location {
        let mut batch = Batch::new();
        batch.add_table(&TABLE);
        let tproxy = Tproxy { family: Family::Ipv4, addr: None, port: None };
        let expressions =
            [Counter::default().into(), tproxy.into(), Immediate::Verdict(Verdict::Accept).into()];
        // Headers to 20, table to 28, chain to 36, list from 36 to 156: counter from 40 (44 bytes), tproxy from 84
        // (28 bytes), immediate from 112 (48 bytes), userdata from 160.
        let mut rule = Rule::new(Family::Inet, "t", "c");
        rule.userdata = b"\x00\x02x\x00";
        batch.add_rule(&rule, Position::Append, &expressions);
        batch.del_table(Family::Inet, "after");
        batch.locate(1, offset)
    }

    fn attribute(number: u16, name: &'static str) -> Location {
        Location { attribute: Some((number, name)), ..Location::default() }
    }

    fn expression(index: usize, name: &str) -> Location {
        let attribute = Some((uapi::NFTA_RULE_EXPRESSIONS, "expressions"));
        Location { attribute, expression: Some((index, name.to_owned())), element: None }
    }

    #[test]
    fn offsets_lead_to_attributes() {
        assert_eq!(locate(20), attribute(uapi::NFTA_RULE_TABLE, "table"));
        assert_eq!(locate(27), attribute(uapi::NFTA_RULE_TABLE, "table"));
        assert_eq!(locate(28), attribute(uapi::NFTA_RULE_CHAIN, "chain"));
        assert_eq!(locate(160), attribute(uapi::NFTA_RULE_USERDATA, "userdata"));
    }

    #[test]
    fn offsets_lead_to_expressions() {
        assert_eq!(locate(40), expression(0, "counter"));
        assert_eq!(locate(83), expression(0, "counter"));
        assert_eq!(locate(84), expression(1, "tproxy"));
        assert_eq!(locate(111), expression(1, "tproxy"));
        assert_eq!(locate(112), expression(2, "immediate"));
        assert_eq!(locate(159), expression(2, "immediate"));
    }

    /// Headers to 20, table to 28, set to 36, list from 36 on: the first of two elements from 40 (16 bytes).
    #[test]
    fn offsets_lead_to_elements() {
        let mut batch = Batch::new();
        let list = ElementList::new(Family::Inet, "t", "s", 0);
        let end = Element { interval_end: true, ..Element::new(Data::new(&[10, 0, 0, 2])) };
        batch.add_elements(&list, [Element::new(Data::new(&[10, 0, 0, 1])), end]);
        let place = |offset| batch.locate(0, offset).element;
        let first = ElementLocation { index: 0, key: Data::new(&[10, 0, 0, 1]), interval_end: false };
        let second = ElementLocation { index: 1, key: Data::new(&[10, 0, 0, 2]), interval_end: true };
        assert_eq!(place(28), None);
        assert_eq!(place(40), Some(first.clone()));
        assert_eq!(place(55), Some(first));
        assert_eq!(place(56), Some(second));
    }

    #[test]
    fn offsets_beyond_the_message_lead_nowhere() {
        assert_eq!(locate(168), Location::default());
        assert_eq!(locate(usize::MAX), Location::default());
        assert_eq!(Batch::new().locate(0, 20), Location::default());
    }
}

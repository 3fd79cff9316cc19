//! What a reading consists of, by which two of them are compared.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{Attr, DecodeError, Dump, Error, Message, Query, Received, uapi};

/// How many equal readings in a row are believed whose parts begin at the same entry somewhere.
const EQUAL_READINGS: usize = 4;

/// A reading that nothing is wrong with by itself.
pub(super) struct Believed {
    pub(super) dump: Dump,
    entries: Vec<u64>,
    /// After how many entries all readings so far may have skipped some
    doubtful: Vec<usize>,
    /// How many readings are equal
    equal: usize,
}

impl Believed {
    pub(super) fn new(dump: Dump, identity: Identity) -> Self {
        let doubtful = identity.gaps().to_vec();
        Self { dump, entries: identity.entries, doubtful, equal: 1 }
    }

    /// Whether the other reading is equal. What both skipped, they skipped at the same place.
    pub(super) fn is_confirmed_by(&mut self, other: &Identity) -> bool {
        if self.entries != other.entries {
            return false;
        }
        self.equal += 1;
        self.doubtful.retain(|gap| other.gaps().binary_search(gap).is_ok());
        true
    }

    pub(super) fn is_proven(&self) -> bool {
        self.doubtful.is_empty() || self.equal >= EQUAL_READINGS
    }
}

/// What a reading consists of, without what counts by itself.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// A number for each entry, in order: its table's hash and its handle. Of elements a hash, sorted
    entries: Vec<u64>,
    /// The same, sorted
    sorted: Vec<u64>,
    /// How many entries there were at the end of each part
    ends: Vec<usize>,
    /// Whether the last part is so full that the kernel may have ended it for that
    is_full: bool,
    /// The table that is read, and of rules the chain and the last one's handle
    chain: Vec<u8>,
    previous: u64,
    /// A hash of the table that is read: each table has handles of its own
    table: u64,
    /// Whether a rule does not follow the one before it. A chain that is read once more begins with a rule that does not, or
    /// with its first one, which occurs twice
    torn: bool,
}

impl Identity {
    pub(super) fn add(&mut self, query: &Query<'_>, received: &Received, window: usize) -> Result<(), Error> {
        for message in received.messages() {
            let message = message?;
            match query {
                Query::Rules { .. } => self.add_rule(&message)?,
                Query::Elements { .. } => self.add_elements(&message)?,
                _ => self.add_object(&message)?,
            }
        }
        // The elements' last part may be an empty list.
        if self.ends.last() == Some(&self.entries.len()) {
            return Ok(());
        }
        self.ends.push(self.entries.len());
        // No entry is larger than half of what is received at once.
        self.is_full = received.as_bytes().len() > window / 2;
        Ok(())
    }

    fn add_rule(&mut self, message: &Message<'_>) -> Result<(), DecodeError> {
        let (mut table, mut chain): (&[u8], &[u8]) = (&[], &[]);
        let (mut handle, mut position) = (0, 0);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_RULE_TABLE => table = attribute.value,
                uapi::NFTA_RULE_CHAIN => chain = attribute.value,
                uapi::NFTA_RULE_HANDLE => handle = attribute.be64()?,
                uapi::NFTA_RULE_POSITION => position = attribute.be64()?,
                _ => {}
            }
        }
        self.enter(message.family.number(), table, chain);
        self.torn |= position != self.previous;
        self.previous = handle;
        self.entries.push(self.table.wrapping_add(handle));
        Ok(())
    }

    /// What follows is of this chain; of no chain where it is empty.
    fn enter(&mut self, family: u8, table: &[u8], chain: &[u8]) {
        if !self.is_of_chain(family, table, chain) {
            self.chain.clear();
            [&[family], table, &[0], chain].iter().for_each(|part| self.chain.extend_from_slice(part));
            self.table = hash(&self.chain[..=table.len()]);
            self.previous = 0;
        }
    }

    /// Whether this is the chain whose rules are read.
    fn is_of_chain(&self, family: u8, table: &[u8], chain: &[u8]) -> bool {
        let table_and_chain = self.chain.strip_prefix(&[family]).and_then(|names| names.strip_prefix(table));
        table_and_chain.and_then(|rest| rest.strip_prefix(&[0])) == Some(chain)
    }

    /// A table, or something of one.
    fn add_object(&mut self, message: &Message<'_>) -> Result<(), DecodeError> {
        let handle_attribute = message.handle_attribute();
        let (mut table, mut handle): (&[u8], _) = (&[], None);
        for attribute in message.attributes {
            let attribute = attribute?;
            if attribute.kind == Message::TABLE {
                table = attribute.value;
            } else if Some(attribute.kind) == handle_attribute {
                handle = Some(attribute.be64()?);
            }
        }
        self.enter(message.family.number(), table, &[]);
        let attribute = handle_attribute.unwrap_or_default();
        let handle = handle.ok_or(DecodeError::Missing { attribute })?;
        self.entries.push(self.table.wrapping_add(handle));
        Ok(())
    }

    fn add_elements(&mut self, message: &Message<'_>) -> Result<(), DecodeError> {
        for attribute in message.attributes {
            let attribute = attribute?;
            if attribute.kind == uapi::NFTA_SET_ELEM_LIST_ELEMENTS {
                for element in attribute.nested() {
                    self.entries.extend(element_hash(&element?)?);
                }
            }
        }
        Ok(())
    }

    /// Whether nothing occurs twice, and rules follow each other.
    pub(super) fn finish(&mut self, query: &Query<'_>) -> bool {
        // Handles mostly ascend.
        if self.entries.is_sorted_by(|one, next| one < next) {
            return !self.torn;
        }
        self.sorted.clone_from(&self.entries);
        self.sorted.sort_unstable();
        let twice = self.sorted.windows(2).any(|pair| pair[0] == pair[1]);
        if matches!(query, Query::Elements { .. }) {
            // A set's elements have no order.
            self.entries.clone_from(&self.sorted);
        }
        !twice && !self.torn
    }

    /// Nothing yet, in the same memory.
    pub(super) fn cleared(mut self) -> Self {
        let Self { entries, sorted, ends, is_full, chain, previous, table, torn } = &mut self;
        entries.clear();
        sorted.clear();
        ends.clear();
        chain.clear();
        (*is_full, *previous, *table, *torn) = (false, 0, 0, false);
        self
    }

    /// In how many parts it came so far.
    pub(super) fn parts(&self) -> usize {
        self.ends.len()
    }

    /// Whether the kernel had no reason to make a second part.
    pub(super) fn is_in_one_part(&self) -> bool {
        self.ends.len() <= 1 && !self.is_full
    }

    /// After how many entries some may have been skipped.
    fn gaps(&self) -> &[usize] {
        let last = usize::from(!self.is_full);
        &self.ends[..self.ends.len().saturating_sub(last)]
    }
}

/// What makes an element the one that it is. None for one that times out, which may go at any time.
fn element_hash(element: &Attr<'_>) -> Result<Option<u64>, DecodeError> {
    let mut hasher = DefaultHasher::new();
    for attribute in element.nested() {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_SET_ELEM_TIMEOUT | uapi::NFTA_SET_ELEM_EXPIRATION => return Ok(None),
            uapi::NFTA_SET_ELEM_KEY | uapi::NFTA_SET_ELEM_KEY_END | uapi::NFTA_SET_ELEM_FLAGS => {
                (attribute.kind, attribute.value).hash(&mut hasher);
            }
            _ => {}
        }
    }
    Ok(Some(hasher.finish()))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::RECEIVE_BUFFER;
    use crate::{AttrWriter, Family, Text, message};

    const RULES: Query<'_> = Query::Rules { table: Some(Text::new("t")), chain: None };
    const SETS: Query<'_> = Query::Sets { table: Some(Text::new("t")) };
    const ELEMENTS: Query<'_> = Query::Elements { table: Text::new("t"), set: Text::new("s") };

    /// A datagram of messages, each with the attributes that `fill` writes.
    fn datagram<T: Copy>(kind: u8, entries: &[T], fill: impl Fn(&mut AttrWriter, T)) -> Received {
        let mut writer = AttrWriter::default();
        for &entry in entries {
            let start = message::begin(&mut writer, kind, 0, Family::Inet);
            fill(&mut writer, entry);
            message::end(&mut writer, start);
        }
        Received::new(writer.into_buffer(), 0)
    }

    /// Rules by chain, handle and the handle before.
    fn rules(rules: &[(&str, u64, u64)]) -> Received {
        rules_of("t", rules)
    }

    fn rules_of(table: &str, rules: &[(&str, u64, u64)]) -> Received {
        datagram(uapi::NFT_MSG_NEWRULE, rules, |writer, (chain, handle, position)| {
            writer.put_str(uapi::NFTA_RULE_TABLE, table);
            writer.put_str(uapi::NFTA_RULE_CHAIN, chain);
            writer.put_be64(uapi::NFTA_RULE_HANDLE, handle);
            if position != 0 {
                writer.put_be64(uapi::NFTA_RULE_POSITION, position);
            }
        })
    }

    /// Sets by their handles.
    fn sets(handles: &[u64]) -> Received {
        datagram(uapi::NFT_MSG_NEWSET, handles, |writer, handle| {
            writer.put_str(uapi::NFTA_SET_TABLE, "t");
            writer.put_be64(uapi::NFTA_SET_HANDLE, handle);
        })
    }

    /// Elements by key and timeout.
    fn elements(elements: &[(u32, u64)]) -> Received {
        datagram(uapi::NFT_MSG_NEWSETELEM, &[elements], |writer, elements| {
            writer.nest(uapi::NFTA_SET_ELEM_LIST_ELEMENTS, |writer| {
                for &(key, timeout) in elements {
                    writer.nest(uapi::NFTA_LIST_ELEM, |writer| {
                        writer.nest(uapi::NFTA_SET_ELEM_KEY, |writer| {
                            writer.put(uapi::NFTA_DATA_VALUE, &key.to_be_bytes());
                        });
                        if timeout != 0 {
                            writer.put_be64(uapi::NFTA_SET_ELEM_TIMEOUT, timeout);
                        }
                    });
                }
            });
        })
    }

    /// What parts come to, and whether nothing is wrong with them.
    fn identity(query: &Query<'_>, parts: &[Received], window: usize) -> (Identity, bool) {
        let mut identity = Identity::default();
        parts.iter().for_each(|part| identity.add(query, part, window).unwrap());
        let sound = identity.finish(query);
        (identity, sound)
    }

    fn is_sound(query: &Query<'_>, parts: &[Received]) -> bool {
        identity(query, parts, RECEIVE_BUFFER).1
    }

    #[test]
    fn rules_follow_each_other() {
        assert!(is_sound(&RULES, &[]));
        let whole = [("a", 7, 0), ("a", 9, 7), ("a", 8, 9), ("b", 10, 0), ("b", 11, 10)];
        assert!(is_sound(&RULES, &[rules(&whole)]));
        assert!(is_sound(&RULES, &[rules(&whole[..2]), rules(&whole[2..])]));
        // A gap in a chain, and at its beginning.
        assert!(!is_sound(&RULES, &[rules(&whole[..1]), rules(&whole[2..])]));
        assert!(!is_sound(&RULES, &[rules(&whole[1..])]));
        assert!(!is_sound(&RULES, &[rules(&whole[..3]), rules(&whole[4..])]));
        // Repeated: the last one, and whole chains.
        assert!(!is_sound(&RULES, &[rules(&whole), rules(&whole[4..])]));
        assert!(!is_sound(&RULES, &[rules(&whole), rules(&whole[3..])]));
        assert!(!is_sound(&RULES, &[rules(&whole), rules(&whole)]));
        // The tail of a chain, and a whole one: nothing of it shows.
        assert!(is_sound(&RULES, &[rules(&whole[..2]), rules(&whole[3..])]));
        assert!(is_sound(&RULES, &[rules(&whole[..3])]));
    }

    #[test]
    fn each_table_has_handles_of_its_own() {
        let whole = [("a", 7, 0), ("a", 9, 7), ("b", 10, 0)];
        let (one, other) = (|| rules_of("t", &whole), || rules_of("u", &whole));
        assert!(is_sound(&RULES, &[one(), other()]));
        assert!(!is_sound(&RULES, &[one(), other(), one()]));
    }

    #[test]
    fn names_and_keys_occur_once() {
        assert!(is_sound(&SETS, &[sets(&[1, 2]), sets(&[3])]));
        assert!(!is_sound(&SETS, &[sets(&[1, 2]), sets(&[2, 3])]));
        assert!(is_sound(&ELEMENTS, &[elements(&[(1, 0), (2, 0)]), elements(&[(3, 0)])]));
        assert!(!is_sound(&ELEMENTS, &[elements(&[(1, 0), (2, 0)]), elements(&[(2, 0)])]));
        // What times out does not matter.
        assert!(is_sound(&ELEMENTS, &[elements(&[(1, 0), (2, 5)]), elements(&[(2, 4)])]));
    }

    /// Whether the first reading is proven by the others.
    fn agree(readings: &[&Identity]) -> bool {
        let Identity { entries, ends, is_full, .. } = readings[0];
        let first = Identity {
            entries: entries.clone(),
            ends: ends.clone(),
            is_full: *is_full,
            ..Identity::default()
        };
        let mut believed = Believed::new(Dump::default(), first);
        readings[1..].iter().all(|other| believed.is_confirmed_by(other)) && believed.is_proven()
    }

    #[test]
    fn readings_prove_each_other_where_their_parts_end_elsewhere() {
        let full = RECEIVE_BUFFER;
        let read = |parts: &[Received]| identity(&SETS, parts, full).0;
        let three = read(&[sets(&[1, 2, 3])]);
        assert!(three.is_in_one_part());
        let (one_two, two_one) = (read(&[sets(&[1]), sets(&[2, 3])]), read(&[sets(&[1, 2]), sets(&[3])]));
        assert!(!one_two.is_in_one_part());
        assert!(agree(&[&one_two, &two_one]) && agree(&[&two_one, &one_two]) && agree(&[&three, &one_two]));
        // Three prove each other where two of them do not.
        let one_one_one = read(&[sets(&[1]), sets(&[2]), sets(&[3])]);
        assert!(!agree(&[&one_one_one, &one_two]) && !agree(&[&one_one_one, &two_one]));
        assert!(agree(&[&one_one_one, &one_two, &two_one]));
        // Both may have skipped something after the first; four that are equal are believed.
        assert!(!agree(&[&one_two, &one_two, &one_two]) && agree(&[&one_two; 4]));
        assert!(!agree(&[&one_two, &one_two]));
        assert!(!agree(&[&one_two, &read(&[sets(&[1, 2]), sets(&[4])])]));
        assert!(!agree(&[&one_two, &read(&[sets(&[1, 2])])]));
        // Elements have no order.
        let elements = |parts: &[&[(u32, u64)]]| {
            let parts: Vec<_> = parts.iter().map(|part| elements(part)).collect();
            identity(&ELEMENTS, &parts, full).0
        };
        let (one, other) =
            (elements(&[&[(1, 0)], &[(2, 0), (3, 0)]]), elements(&[&[(3, 0), (2, 0)], &[(1, 0)]]));
        assert!(agree(&[&one, &other]));
    }

    /// The kernel may have ended the only part because it was full, and skipped all that was to follow.
    #[test]
    fn a_full_part_may_not_be_the_last() {
        let part = || vec![sets(&[1, 2, 3])];
        let length = part()[0].as_bytes().len();
        let (roomy, _) = identity(&SETS, &part(), 2 * length);
        let (full, _) = identity(&SETS, &part(), 2 * length - 1);
        assert!(roomy.is_in_one_part() && !full.is_in_one_part());
        assert!(agree(&[&roomy, &full]) && !agree(&[&full, &full]));
        // The empty list at the end of a set's elements does not change that.
        let parts = || vec![elements(&[(1, 0), (2, 0)]), elements(&[])];
        let (full, _) = identity(&ELEMENTS, &parts(), parts()[0].as_bytes().len());
        assert!(!full.is_in_one_part());
    }
}

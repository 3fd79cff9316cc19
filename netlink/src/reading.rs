//! Readings that nothing is missing from.
//!
//! A dump's position is a count of the entries before it, those of a transaction in preparation included. When that is
//! aborted (a mere check, or a refused batch, by anybody and on any table), the count shifts between two parts of the dump
//! without a new generation and without `NLM_F_DUMP_INTR`, and the next part repeats entries or skips some
//! (`nf_tables_dump_rules` and `nf_tables_dump_setelem` in net/netfilter/nf_tables_api.c, Linux 6.18). So a reading
//! is believed only where it is proven:
//!
//! - Nothing in it occurs twice, and each rule names the one before it in its chain (`NFTA_RULE_POSITION`, absent for the
//!   first).
//! - A dump in one part can only repeat entries at its end, never skip some, and needs no more. One of several
//!   parts is repeated in parts of other sizes until they agree. What a reading skips begins where one of its parts begins;
//!   readings that have no beginning of a part in common cannot skip the same.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::thread;
use std::time::{Duration, Instant};

use crate::Text;
use crate::socket::{RECEIVE_BUFFER, WITNESS_BUFFERS};
use crate::{
    Attr, Chain, DecodeError, Dump, ElementList, Error, Family, Flowtable, Message, Object, ObjectKind,
    Query, Received, Rule, Set, SetFlags, Socket, Table, uapi,
};

/// How long one dump is repeated within one generation.
const PROOF_LIMIT: Duration = Duration::from_secs(2);

/// How many times one dump is repeated at least, however long it takes.
const ATTEMPTS: usize = 8;

/// How many equal readings in a row are believed whose parts begin at the same entry somewhere.
const EQUAL_READINGS: usize = 4;

/// Reads the ruleset within one generation; see [`Socket::consistent`].
#[derive(Debug)]
pub struct Reader<'s> {
    socket: &'s mut Socket,
    generation: u32,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(socket: &'s mut Socket, generation: u32) -> Self {
        Self { socket, generation }
    }

    /// The generation that is read.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Everything that the query asks for, each once: proven.
    ///
    /// Elements of a set that packets fill, or that time out, come and go without a new generation: ask for those with
    /// [`Reader::read_unproven`], see [`SetFlags::is_volatile`].
    ///
    /// # Errors
    /// The kernel refuses, such as with ENOENT for what does not exist; [`Error::GenerationChanged`] when the ruleset
    /// changed meanwhile, or no reading could be proven for two seconds.
    pub fn read(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        let started = Instant::now();
        let mut believed: Option<Believed> = None;
        for attempt in 0.. {
            match &mut believed {
                None => {
                    let read = self.attempt(family, query)?;
                    if let Some((dump, identity)) = read {
                        if identity.is_in_one_part() {
                            return Ok(dump);
                        }
                        believed = Some(Believed::new(dump, identity));
                    }
                }
                Some(ours) => {
                    let window = WITNESS_BUFFERS[attempt % WITNESS_BUFFERS.len()];
                    let other = match self.witness(family, query, window)? {
                        Some(theirs) => Some(theirs),
                        None => self.attempt(family, query)?.map(|(_, identity)| identity),
                    };
                    match other.map(|other| ours.is_confirmed_by(&other)) {
                        Some(true) if ours.is_proven() => return Ok(std::mem::take(&mut ours.dump)),
                        // One of the two is wrong.
                        Some(false) => believed = None,
                        Some(true) | None => {}
                    }
                }
            }
            if attempt >= ATTEMPTS && started.elapsed() > PROOF_LIMIT {
                break;
            }
            // The second reading comes at once: mostly nobody disturbs.
            if attempt > 0 {
                pause(started);
            }
        }
        Err(Error::GenerationChanged)
    }

    /// One reading, if nothing is wrong with it by itself.
    fn attempt(&mut self, family: Family, query: Query<'_>) -> Result<Option<(Dump, Identity)>, Error> {
        let (mut dump, mut identity) = (Dump::default(), Identity::default());
        self.socket.dump(family, query, |received| {
            identity.add(&query, &received, RECEIVE_BUFFER)?;
            Ok(dump.keep(received))
        })?;
        Ok(identity.finish(&query).then_some((dump, identity)))
    }

    /// The same in parts of another size; nothing where that is not possible, or something is wrong with it.
    fn witness(
        &mut self,
        family: Family,
        query: Query<'_>,
        window: usize,
    ) -> Result<Option<Identity>, Error> {
        let Some(witness) = self.socket.witness(self.generation, window) else { return Ok(None) };
        let mut identity = Identity::default();
        let dumped = witness.dump(family, query, |received| {
            identity.add(&query, &received, window)?;
            Ok(received.into_buffer())
        });
        match dumped {
            Ok(()) => Ok(identity.finish(&query).then_some(identity)),
            Err(Error::GenerationChanged) => Err(Error::GenerationChanged),
            // It only confirms: what it cannot do is no error.
            Err(_) => Ok(None),
        }
    }

    /// As [`Socket::read_unproven`].
    ///
    /// # Errors
    /// As [`Socket::read_unproven`].
    pub fn read_unproven(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        self.socket.read_unproven(family, query)
    }
}

impl SetFlags {
    /// Whether elements come and go without a new generation: packets add them, or they time out.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        self.contains(Self::EVAL) || self.contains(Self::TIMEOUT)
    }
}

/// Keeps two readers, or a reader and a checker, from staying in step.
fn pause(started: Instant) {
    // What the clock's last digits say differs from process to process.
    thread::sleep(Duration::from_micros(u64::from(started.elapsed().subsec_nanos() % 500)));
}

/// A reading that nothing is wrong with by itself.
struct Believed {
    dump: Dump,
    entries: Vec<u64>,
    /// After how many entries all readings so far may have skipped some
    doubtful: Vec<usize>,
    /// How many readings are equal
    equal: usize,
}

impl Believed {
    fn new(dump: Dump, identity: Identity) -> Self {
        let doubtful = identity.gaps().to_vec();
        Self { dump, entries: identity.entries, doubtful, equal: 1 }
    }

    /// Whether the other reading is equal. What both skipped, they skipped at the same place.
    fn is_confirmed_by(&mut self, other: &Identity) -> bool {
        if self.entries != other.entries {
            return false;
        }
        self.equal += 1;
        self.doubtful.retain(|gap| other.gaps().binary_search(gap).is_ok());
        true
    }

    fn is_proven(&self) -> bool {
        self.doubtful.is_empty() || self.equal >= EQUAL_READINGS
    }
}

/// What a reading consists of, without what counts by itself.
#[derive(Debug, Default)]
struct Identity {
    /// A handle or a hash for each entry, in order; of elements sorted
    entries: Vec<u64>,
    /// How many entries there were at the end of each part
    ends: Vec<usize>,
    /// Whether the last part is so full that the kernel may have ended it for that
    is_full: bool,
    /// The chain that rules are read of, and the last rule's handle
    chain: Vec<u8>,
    previous: u64,
    /// Hashes of the chains whose rules were read
    chains: HashSet<u64>,
    /// Whether a rule does not follow the one before it
    torn: bool,
}

impl Identity {
    fn add(&mut self, query: &Query<'_>, received: &Received, window: usize) -> Result<(), Error> {
        for message in received.messages() {
            let message = message?;
            match query {
                Query::Rules { .. } => self.add_rule(&message)?,
                Query::Elements { .. } => self.add_elements(&message)?,
                Query::Tables | Query::Table { .. } => {
                    self.add_name(&message, &[uapi::NFTA_TABLE_NAME])?;
                }
                Query::Chains | Query::Chain { .. } => {
                    self.add_name(&message, &[uapi::NFTA_CHAIN_TABLE, uapi::NFTA_CHAIN_NAME])?;
                }
                Query::Sets { .. } | Query::Set { .. } => {
                    self.add_name(&message, &[uapi::NFTA_SET_TABLE, uapi::NFTA_SET_NAME])?;
                }
                Query::Objects { .. } => {
                    let name = [uapi::NFTA_OBJ_TABLE, uapi::NFTA_OBJ_NAME, uapi::NFTA_OBJ_TYPE];
                    self.add_name(&message, &name)?;
                }
                Query::Flowtables { .. } => {
                    self.add_name(&message, &[uapi::NFTA_FLOWTABLE_TABLE, uapi::NFTA_FLOWTABLE_NAME])?;
                }
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
        let place = [&[message.family.number()], table, &[0], chain].concat();
        if self.chain != place {
            self.torn |= !self.chains.insert(hash(&place));
            (self.chain, self.previous) = (place, 0);
        }
        self.torn |= position != self.previous;
        self.previous = handle;
        self.entries.push(handle);
        Ok(())
    }

    fn add_name(&mut self, message: &Message<'_>, name: &[u16]) -> Result<(), DecodeError> {
        let mut hasher = DefaultHasher::new();
        message.family.number().hash(&mut hasher);
        for attribute in message.attributes {
            let attribute = attribute?;
            if name.contains(&attribute.kind) {
                (attribute.kind, attribute.value).hash(&mut hasher);
            }
        }
        self.entries.push(hasher.finish());
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
    fn finish(&mut self, query: &Query<'_>) -> bool {
        let mut sorted = self.entries.clone();
        sorted.sort_unstable();
        let twice = sorted.windows(2).any(|pair| pair[0] == pair[1]);
        if matches!(query, Query::Elements { .. }) {
            // A set's elements have no order.
            self.entries = sorted;
        }
        !twice && !self.torn
    }

    /// Whether the kernel had no reason to make a second part.
    fn is_in_one_part(&self) -> bool {
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

impl Socket {
    /// What the query asks for, each once: proven, and of one generation.
    ///
    /// # Errors
    /// Those of [`Reader::read`]; [`Error::GenerationChanged`] when no reading could be proven for 10 seconds.
    pub fn read(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        self.consistent(|reader| reader.read(family, query)).map(|(_, dump)| dump)
    }

    /// One reading as it came, without a proof: entries may be missing, or be there twice. For sets whose elements come
    /// and go without a new generation, see [`SetFlags::is_volatile`].
    ///
    /// # Errors
    /// The kernel refuses; [`Error::GenerationChanged`] when the ruleset changed meanwhile.
    pub fn read_unproven(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        let mut dump = Dump::default();
        self.dump(family, query, |received| Ok(dump.keep(received)))?;
        Ok(dump)
    }
}

/// The objects of a reading, decoded.
macro_rules! typed_readings {
    ($reader:ty) => {
        impl $reader {
            /// Hands every table of a family, or of all with [`Family::Unspec`], to `each`.
            ///
            /// # Errors
            /// Those of `each` and of `read`.
            pub fn tables(
                &mut self,
                family: Family,
                each: impl FnMut(Table<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Tables)?, Table::decode, each)
            }

            /// Hands every chain of a family, or of all with [`Family::Unspec`], to `each`.
            ///
            /// # Errors
            /// As `tables`.
            pub fn chains(
                &mut self,
                family: Family,
                each: impl FnMut(Chain<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Chains)?, Chain::decode, each)
            }

            /// Hands every rule of a table to `each`, chain by chain, in the order of evaluation. None if there is no such table.
            ///
            /// # Errors
            /// As `tables`.
            pub fn rules<'n>(
                &mut self,
                family: Family,
                table: impl Into<Text<'n>>,
                each: impl FnMut(Rule<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                let query = Query::Rules { table: Some(table.into()), chain: None };
                hand_out(&self.read(family, query)?, Rule::decode, each)
            }

            /// Hands every set of a table to `each`, anonymous ones included.
            ///
            /// # Errors
            /// As `tables`; ENOENT if there is no such table.
            pub fn sets<'n>(
                &mut self,
                family: Family,
                table: impl Into<Text<'n>>,
                each: impl FnMut(Set<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Sets { table: Some(table.into()) })?, Set::decode, each)
            }

            /// Hands the elements of a set to `each`.
            ///
            /// # Errors
            /// As `tables`; ENOENT if there is no such set.
            pub fn elements<'n>(
                &mut self,
                family: Family,
                table: impl Into<Text<'n>>,
                set: impl Into<Text<'n>>,
                each: impl FnMut(ElementList<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(
                    &self.read(family, Query::Elements { table: table.into(), set: set.into() })?,
                    ElementList::decode,
                    each,
                )
            }

            /// Hands every object of a table, or of all tables, of one kind, or of all kinds, to `each`.
            ///
            /// # Errors
            /// As `tables`.
            pub fn objects(
                &mut self,
                family: Family,
                table: Option<Text<'_>>,
                kind: Option<ObjectKind>,
                each: impl FnMut(Object<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Objects { table, kind })?, Object::decode, each)
            }

            /// Hands every flowtable of a table, or of all tables, to `each`.
            ///
            /// # Errors
            /// As `tables`.
            pub fn flowtables(
                &mut self,
                family: Family,
                table: Option<Text<'_>>,
                each: impl FnMut(Flowtable<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Flowtables { table })?, Flowtable::decode, each)
            }
        }
    };
}

typed_readings!(Reader<'_>);
typed_readings!(Socket);

fn hand_out<'d, T>(
    dump: &'d Dump,
    decode: impl Fn(&Message<'d>) -> Result<T, DecodeError>,
    mut each: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    dump.decode(decode).try_for_each(|object| each(object?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttrWriter, message};

    const RULES: Query<'_> = Query::Rules { table: Some(Text::new("t")), chain: None };
    const SETS: Query<'_> = Query::Sets { table: Some(Text::new("t")) };
    const ELEMENTS: Query<'_> = Query::Elements { table: Text::new("t"), set: Text::new("s") };

    /// A datagram of messages, each with the attributes that `fill` writes.
    fn datagram<T: Copy>(entries: &[T], fill: impl Fn(&mut AttrWriter, T)) -> Received {
        let mut writer = AttrWriter::default();
        for &entry in entries {
            let start = message::begin(&mut writer, uapi::NFT_MSG_NEWRULE, 0, Family::Inet);
            fill(&mut writer, entry);
            message::end(&mut writer, start);
        }
        Received::new(writer.into_buffer(), 0)
    }

    /// Rules by chain, handle and the handle before.
    fn rules(rules: &[(&str, u64, u64)]) -> Received {
        datagram(rules, |writer, (chain, handle, position)| {
            writer.put_str(uapi::NFTA_RULE_TABLE, "t");
            writer.put_str(uapi::NFTA_RULE_CHAIN, chain);
            writer.put_be64(uapi::NFTA_RULE_HANDLE, handle);
            if position != 0 {
                writer.put_be64(uapi::NFTA_RULE_POSITION, position);
            }
        })
    }

    fn sets(names: &[&str]) -> Received {
        datagram(names, |writer, name| {
            writer.put_str(uapi::NFTA_SET_TABLE, "t");
            writer.put_str(uapi::NFTA_SET_NAME, name);
        })
    }

    /// Elements by key and timeout.
    fn elements(elements: &[(u32, u64)]) -> Received {
        datagram(&[elements], |writer, elements| {
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
    fn names_and_keys_occur_once() {
        assert!(is_sound(&SETS, &[sets(&["a", "b"]), sets(&["c"])]));
        assert!(!is_sound(&SETS, &[sets(&["a", "b"]), sets(&["b", "c"])]));
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
        let three = read(&[sets(&["a", "b", "c"])]);
        assert!(three.is_in_one_part());
        let (one_two, two_one) =
            (read(&[sets(&["a"]), sets(&["b", "c"])]), read(&[sets(&["a", "b"]), sets(&["c"])]));
        assert!(!one_two.is_in_one_part());
        assert!(agree(&[&one_two, &two_one]) && agree(&[&two_one, &one_two]) && agree(&[&three, &one_two]));
        // Three prove each other where two of them do not.
        let one_one_one = read(&[sets(&["a"]), sets(&["b"]), sets(&["c"])]);
        assert!(!agree(&[&one_one_one, &one_two]) && !agree(&[&one_one_one, &two_one]));
        assert!(agree(&[&one_one_one, &one_two, &two_one]));
        // Both may have skipped something after the first; four that are equal are believed.
        assert!(!agree(&[&one_two, &one_two, &one_two]) && agree(&[&one_two; 4]));
        assert!(!agree(&[&one_two, &one_two]));
        assert!(!agree(&[&one_two, &read(&[sets(&["a", "b"]), sets(&["d"])])]));
        assert!(!agree(&[&one_two, &read(&[sets(&["a", "b"])])]));
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
        let part = || vec![sets(&["a", "b", "c"])];
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

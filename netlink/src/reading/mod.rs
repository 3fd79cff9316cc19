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
//!   readings that have no beginning of a part in common cannot skip the same, not even at the same time. So the repetition
//!   of a long dump begins with it, on a second thread.

mod identity;
mod typed;

use std::thread;
use std::time::{Duration, Instant};

use self::identity::{Believed, Identity};
use crate::socket::{RECEIVE_BUFFER, WITNESS_BUFFERS};
use crate::{Dump, Error, Family, Query, SetFlags, Socket};

/// How long one dump is repeated within one generation.
const PROOF_LIMIT: Duration = Duration::from_secs(2);

/// From how many parts on a dump is repeated on a second thread: it begins so much later, and saves more than a thread costs.
const PARTS_FOR_TWO: usize = 4;

/// How many times one dump is repeated at least, however long it takes.
const ATTEMPTS: usize = 8;

/// What was read, and what it consists of.
type Reading = (Dump, Identity);

/// Reads the ruleset within one generation; see [`Socket::consistent`].
#[derive(Debug)]
pub struct Reader<'s> {
    socket: &'s mut Socket,
    generation: u32,
    /// The memory of the last one that is not needed any more
    spare: Identity,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(socket: &'s mut Socket, generation: u32) -> Self {
        Self { socket, generation, spare: Identity::default() }
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
        let (mut started, mut believed): (_, Option<Believed>) = (None, None);
        for attempt in 0.. {
            let window = WITNESS_BUFFERS[attempt % WITNESS_BUFFERS.len()];
            let other = match &believed {
                None => {
                    let (ours, theirs) = self.attempt_by_two(family, query, window)?;
                    if let Some((dump, identity)) = ours {
                        if identity.is_in_one_part() {
                            self.spare = identity.cleared();
                            return Ok(dump);
                        }
                        believed = Some(Believed::new(dump, identity));
                    }
                    theirs
                }
                Some(_) => match self.witness(family, query, window)? {
                    Some(theirs) => Some(theirs),
                    None => self.attempt(family, query)?.map(|(_, identity)| identity),
                },
            };
            if let (Some(ours), Some(other)) = (&mut believed, &other) {
                match ours.is_confirmed_by(other) {
                    true if ours.is_proven() => return Ok(std::mem::take(&mut ours.dump)),
                    true => {}
                    // One of the two is wrong.
                    false => believed = None,
                }
            }
            let started = *started.get_or_insert_with(Instant::now);
            if attempt >= ATTEMPTS && started.elapsed() > PROOF_LIMIT {
                break;
            }
            // The second reading follows at once: usually there is no other writer.
            if attempt > 0 {
                pause(started);
            }
        }
        Err(Error::GenerationChanged)
    }

    /// One reading, if nothing is wrong with it by itself.
    fn attempt(&mut self, family: Family, query: Query<'_>) -> Result<Option<Reading>, Error> {
        attempt(self.socket, family, query, Identity::default(), |_| {})
    }

    /// As [`Reader::attempt`], and of a long dump the [witness](Reader::witness) to it at the same time.
    fn attempt_by_two(
        &mut self,
        family: Family,
        query: Query<'_>,
        window: usize,
    ) -> Result<(Option<Reading>, Option<Identity>), Error> {
        let generation = self.generation;
        let can_open = self.socket.is_opened_here();
        let spare = std::mem::take(&mut self.spare);
        thread::scope(|scope| {
            let mut second = None;
            let ours = attempt(self.socket, family, query, spare, |identity| {
                if can_open && second.is_none() && identity.parts() == PARTS_FOR_TWO {
                    second = Socket::open_witness(generation, window).and_then(|mut witness| {
                        let repeat = move || testify(&mut witness, family, query, window);
                        thread::Builder::new().spawn_scoped(scope, repeat).ok()
                    });
                }
            })?;
            let theirs = match second.map(thread::ScopedJoinHandle::join) {
                Some(Ok(theirs)) => theirs?,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => None,
            };
            Ok((ours, theirs))
        })
    }

    /// The same in parts of another size; nothing where that is not possible, or something is wrong with it.
    fn witness(
        &mut self,
        family: Family,
        query: Query<'_>,
        window: usize,
    ) -> Result<Option<Identity>, Error> {
        let Some(witness) = self.socket.witness(self.generation, window) else { return Ok(None) };
        testify(witness, family, query, window)
    }

    /// As [`Socket::read_unproven`].
    ///
    /// # Errors
    /// As [`Socket::read_unproven`].
    pub fn read_unproven(&mut self, family: Family, query: Query<'_>) -> Result<Dump, Error> {
        self.socket.read_unproven(family, query)
    }
}

/// `each` sees what there is after each part.
fn attempt(
    socket: &mut Socket,
    family: Family,
    query: Query<'_>,
    mut identity: Identity,
    mut each: impl FnMut(&Identity),
) -> Result<Option<Reading>, Error> {
    let mut dump = Dump::default();
    socket.dump(family, query, |received| {
        identity.add(&query, &received, RECEIVE_BUFFER)?;
        each(&identity);
        Ok(dump.keep(received))
    })?;
    Ok(identity.finish(&query).then_some((dump, identity)))
}

fn testify(
    witness: &mut Socket,
    family: Family,
    query: Query<'_>,
    window: usize,
) -> Result<Option<Identity>, Error> {
    let mut identity = Identity::default();
    let dumped = witness.dump(family, query, |received| {
        identity.add(&query, &received, window)?;
        Ok(received.into_buffer())
    });
    match dumped {
        Ok(()) => Ok(identity.finish(&query).then_some(identity)),
        Err(Error::GenerationChanged) => Err(Error::GenerationChanged),
        // It only confirms, so its failure is ignored.
        Err(_) => Ok(None),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Chain, Position, Rule, Table, expr};

    #[test]
    fn a_long_dump_is_repeated_while_it_is_read() {
        const RULES: usize = 2_000;
        let query = Query::Rules { table: None, chain: None };
        meshwire_testkit::in_new_namespace(|| {
            let mut socket = Socket::open().unwrap();
            let mut batch = Batch::new();
            batch.add_table(&Table::new(Family::Inet, "t"));
            batch.add_chain(&Chain::new(Family::Inet, "t", "c"));
            for _ in 0..RULES {
                let rule = Rule::new(Family::Inet, "t", "c");
                batch.add_rule(&rule, Position::Append, &[expr::Counter::default().into()]);
            }
            socket.commit(&mut batch).unwrap();
            let generation = socket.generation().unwrap();
            let by_two = |socket: &mut Socket, query| {
                let mut reader = Reader::new(socket, generation);
                let (ours, theirs) = reader.attempt_by_two(Family::Inet, query, WITNESS_BUFFERS[0]).unwrap();
                (ours.unwrap(), theirs)
            };
            let ((dump, identity), theirs) = by_two(&mut socket, query);
            assert!(dump.datagrams() > PARTS_FOR_TWO && dump.messages().count() == RULES);
            assert!(Believed::new(dump, identity).is_confirmed_by(&theirs.unwrap()));
            // A short one is not.
            let ((dump, _), theirs) = by_two(&mut socket, Query::Chains);
            assert!(dump.messages().count() == 1 && theirs.is_none());
            // Another thread may be in another namespace, so it does without.
            thread::scope(|scope| {
                scope.spawn(|| {
                    assert!(by_two(&mut socket, query).1.is_none());
                    assert_eq!(socket.read(Family::Inet, query).unwrap().messages().count(), RULES);
                });
            });
        });
    }
}

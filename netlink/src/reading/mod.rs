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

mod identity;
mod typed;

use std::thread;
use std::time::{Duration, Instant};

use self::identity::{Believed, Identity};
use crate::socket::{RECEIVE_BUFFER, WITNESS_BUFFERS};
use crate::{Dump, Error, Family, Query, SetFlags, Socket};

/// How long one dump is repeated within one generation.
const PROOF_LIMIT: Duration = Duration::from_secs(2);

/// How many times one dump is repeated at least, however long it takes.
const ATTEMPTS: usize = 8;

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
            // The second reading follows at once: usually there is no other writer.
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
            // It only confirms, so its failure is ignored.
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

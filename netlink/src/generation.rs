//! Which generation of the ruleset it is, and reading all of one.

use std::time::{Duration, Instant};

use crate::{Batch, DecodeError, Error, Family, Reader, Socket, uapi};

/// How long a read is started over because the ruleset changes under it.
const CONSISTENT_READ_LIMIT: Duration = Duration::from_secs(10);

impl Socket {
    /// The number of the ruleset's generation. Every transaction in the network namespace makes a new one.
    ///
    /// # Errors
    /// No privilege (EPERM), or a reply that cannot be understood.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let mut generation = None;
        self.request(
            uapi::NFT_MSG_GETGEN,
            0,
            Family::Unspec,
            |_| {},
            |message| {
                for attribute in message.attributes {
                    let attribute = attribute?;
                    if attribute.kind == uapi::NFTA_GEN_ID {
                        generation = Some(attribute.be32()?);
                    }
                }
                Ok(())
            },
        )?;
        generation.ok_or(Error::Decode(DecodeError::Missing { attribute: uapi::NFTA_GEN_ID }))
    }

    /// Runs `read` until everything that it reads is of one generation; returns that, too.
    ///
    /// A batch that [requires](Batch::require_generation) this generation is refused where the ruleset has changed since.
    ///
    /// # Errors
    /// Those of `read`; [`Error::GenerationChanged`] when the ruleset kept changing, or readings could not be
    /// proven, for 10 seconds.
    pub fn consistent<T>(
        &mut self,
        read: impl FnMut(&mut Reader<'_>) -> Result<T, Error>,
    ) -> Result<(u32, T), Error> {
        self.consistent_within(CONSISTENT_READ_LIMIT, read)
    }

    /// As [`Socket::consistent`], trying for this long and not for 10 seconds.
    ///
    /// # Errors
    /// As [`Socket::consistent`].
    pub fn consistent_within<T>(
        &mut self,
        limit: Duration,
        mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Error>,
    ) -> Result<(u32, T), Error> {
        let started = Instant::now();
        loop {
            let generation = self.generation()?;
            if self.stands_still(generation)? {
                match read(&mut Reader::new(self, generation)) {
                    Err(Error::GenerationChanged) => {}
                    // What one dump showed may be gone in the next: an error, too, counts only where nothing changed.
                    outcome if self.generation()? == generation => {
                        return outcome.map(|value| (generation, value));
                    }
                    _ => {}
                }
            }
            if started.elapsed() > limit {
                return Err(Error::GenerationChanged);
            }
        }
    }

    /// Whether this is the generation, and no transaction is under way.
    ///
    /// A commit counts the generation up first, then makes its objects valid, and takes the old ones out of their lists
    /// last (`nf_tables_commit` in net/netfilter/nf_tables_api.c, Linux 6.18). A dump in between sees the new generation
    /// at both its ends, but old objects. A batch waits until the others are done, and one without objects makes no new
    /// generation. At the end of a reading the number alone is enough, because a commit counts it up first.
    fn stands_still(&mut self, generation: u32) -> Result<bool, Error> {
        let mut batch = Batch::new();
        batch.require_generation(generation);
        match self.commit(&mut batch) {
            Ok(_) => Ok(true),
            Err(Error::GenerationChanged) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

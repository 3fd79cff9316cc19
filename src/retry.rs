//! Doing something again while others change the ruleset at the same time.

use std::time::{Duration, Instant};

use nftwire::Error;

/// How long that goes on.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// An error that may be nothing but bad timing.
pub(crate) trait LostRace {
    /// Whether another process was faster, so that it can be done again from the beginning.
    fn is_lost_race(&self) -> bool;
}

impl LostRace for Error {
    fn is_lost_race(&self) -> bool {
        matches!(self, Self::GenerationChanged)
    }
}

/// Does it again while others change the ruleset in between, with a pause that keeps two of us apart.
pub(crate) fn retry<T, E: LostRace>(attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    retry_for(LIMIT, attempt)
}

/// As [`retry`], for this long.
pub(crate) fn retry_for<T, E: LostRace>(
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.is_lost_race() && started.elapsed() < limit => {
                // What the clock's last digits say differs from process to process.
                let jitter = started.elapsed().subsec_nanos() % 1_000;
                std::thread::sleep(Duration::from_micros(u64::from(jitter)));
            }
            result => return result,
        }
    }
}

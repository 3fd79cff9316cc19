//! When a request is made again, and until when.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::error::{ApiError, Fault, Remedy};

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All attempts together
    pub total: Duration,
    /// One attempt
    pub attempt: Duration,
}

/// How long the token, or the certificate, may be refused while no node agent runs to renew it. With the attempts
/// themselves it has to be below the two seconds that a pod may wait for that.
const REFUSED: Duration = Duration::from_millis(1200);
/// Between two looks whether the token is a new one.
const RENEWAL: Duration = Duration::from_millis(150);
/// After the first failure of another kind; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What makes attempts.
pub(super) trait Attempts<T> {
    /// One attempt, which may take this long.
    fn attempt(&self, limit: Duration) -> Result<T, Fault>;

    /// Reads the kubeconfig again; whether it is another one.
    fn renew(&mut self) -> bool;
}

/// Makes attempts until one succeeds or none can help any more.
pub(super) fn retry<T>(
    limits: Limits,
    agent_replies: impl Fn() -> bool,
    attempts: &mut impl Attempts<T>,
) -> Result<T, ApiError> {
    let started = Instant::now();
    let mut refused_since = None;
    let mut pause = FIRST_PAUSE;
    let mut count = 0;
    let mut telling = None;
    loop {
        count += 1;
        let limit = limits.attempt.min(limits.total.saturating_sub(started.elapsed()));
        let fault = match attempts.attempt(limit) {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        // The last attempt has little time left: that it took too long says less than what the ones before met with.
        let give_up = |fault, telling: Option<Fault>| {
            let fault = if matches!(fault, Fault::Timeout { .. }) { telling.unwrap_or(fault) } else { fault };
            Err(ApiError { fault, attempts: count, elapsed: started.elapsed() })
        };
        let wait = match fault.remedy() {
            Remedy::None => return give_up(fault, telling),
            Remedy::NewKubeconfig if attempts.renew() => {
                refused_since = None;
                Duration::ZERO
            }
            Remedy::NewKubeconfig => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() + RENEWAL > REFUSED && !agent_replies() {
                    return give_up(fault, telling);
                }
                RENEWAL
            }
            Remedy::Wait(asked) => {
                let wait = asked.unwrap_or_else(|| jittered(pause));
                pause = (2 * pause).min(LONGEST_PAUSE);
                wait
            }
        };
        if started.elapsed() + wait >= limits.total {
            return give_up(fault, telling);
        }
        if !matches!(fault, Fault::Timeout { .. }) {
            telling = Some(fault);
        }
        sleep(wait);
    }
}

/// Between three quarters of it and all of it: what the clock's last digits say differs from process to process.
fn jittered(pause: Duration) -> Duration {
    let digits = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos() % 1024);
    pause - pause * digits / 4096
}

//! When a request is made again, and until when.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{ApiError, Fault, Remedy};

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All attempts together
    pub total: Duration,
    /// One attempt
    pub attempt: Duration,
}

/// How long the token, or the certificate, may be refused while no node agent is there to renew it. With the attempts
/// themselves it has to be below the two seconds that a pod may wait for that.
const REFUSED: Duration = Duration::from_millis(1200);
/// Between two looks whether the token is a new one.
const RENEWAL: Duration = Duration::from_millis(150);
/// After the first failure of another kind; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Makes attempts until one succeeds or none can help any more. Each is given how long it may take, and whether it is
/// another one.
pub(super) fn retry<T>(
    limits: Limits,
    agent_replies: impl Fn() -> bool,
    mut attempt: impl FnMut(Duration, bool) -> Result<T, Fault>,
) -> Result<T, ApiError> {
    let started = Instant::now();
    let mut refused_since = None;
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let fault =
            match attempt(limits.attempt.min(limits.total.saturating_sub(started.elapsed())), attempts > 1) {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
        let give_up = |fault| Err(ApiError { fault, attempts, elapsed: started.elapsed() });
        let wait = match fault.remedy() {
            Remedy::None => return give_up(fault),
            Remedy::NewKubeconfig => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() + RENEWAL > REFUSED && !agent_replies() {
                    return give_up(fault);
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
            return give_up(fault);
        }
        sleep(wait);
    }
}

/// Between three quarters of it and all of it: what the clock's last digits say differs from process to process.
fn jittered(pause: Duration) -> Duration {
    let digits =
        std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos() % 1024);
    pause - pause * digits / 4096
}

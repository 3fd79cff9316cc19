//! Pods made of network namespaces, the command under test run in them, and traffic that shows where it arrived.
//!
//! Links and addresses are set up over rtnetlink and users are taken on by a thread, so that the tests also run where
//! there is no other program at all.

mod age;
pub(crate) mod ambient;
mod arrival;
mod client;
mod intercept;
pub(crate) mod linkerd;
mod network;
pub(crate) mod nft;
mod owner;
mod pod;
#[path = "../../common/program.rs"]
mod program;
mod segment;
mod server;
mod users;

pub(crate) use client::{Client, Outcome, captured, straight};
pub(crate) use intercept::{ISTIO_ARGS, Intercept, intercept};
pub(crate) use meshwire_testkit::{Namespace, full, link, oracle, privileged, say, skip};
pub(crate) use network::{network, of_the_command, settle};
pub(crate) use owner::owned_table;
pub(crate) use pod::{Addresses, BOTH, Pod, User, V4, V6};
pub(crate) use program::{GIVEN, program};
pub(crate) use server::Server;
pub(crate) use users::{Users, outside};

use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Tests that keep all processors busy, and depend on when something happens, take turns: else one starves the other.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many times as long as on a machine of its own a program takes here to start: 1 or more. Emulated machines are slow, and
/// so are busy ones; timeouts that mean "soon" are to be multiplied by it.
pub(crate) fn slowness() -> u32 {
    /// What it takes, generously.
    const USUAL: Duration = Duration::from_millis(10);
    static SLOWNESS: OnceLock<u32> = OnceLock::new();
    *SLOWNESS.get_or_init(|| {
        let one = || {
            let started = Instant::now();
            Command::new(program()).arg("--version").output().unwrap();
            started.elapsed()
        };
        let fastest = (0..3).map(|_| one()).min().unwrap_or(USUAL);
        u32::try_from(fastest.as_millis() / USUAL.as_millis()).unwrap().clamp(1, 60)
    })
}

//! Waits for changes of the node's own ruleset.
//!
//! Only there: a socket in a pod's namespace would keep it alive.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nftwire::NamespaceError;
use nftwire::events::{Event, Events, Group};
use nix::sched::{CloneFlags, setns};

use super::host;
use super::netns::{Netns, NetnsError};
use super::state::Writer;

/// How often it is checked whether anybody still listens.
const ALIVE: Duration = Duration::from_secs(5);

/// Something about the node's ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was changed; by whom, if the kernel said so
    Change(Option<Writer>),
    /// Nothing, for a while
    Nothing,
}

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread. It ends when `seen` returns false.
pub(super) fn start(netns: Netns, seen: impl Fn(Seen) -> bool + Send + 'static) -> io::Result<()> {
    let run = move || {
        while let Err(error) = watch(&netns, &seen) {
            tracing::error!(target: "cni-agent", "cannot watch the node's ruleset, which is read every 30 s anyway: {error}");
            thread::sleep(PAUSE);
            // Something may have been missed.
            if !seen(Seen::Change(None)) {
                return;
            }
        }
    };
    thread::Builder::new().name("host-events".to_owned()).spawn(run)?;
    Ok(())
}

fn watch(netns: &Netns, seen: &impl Fn(Seen) -> bool) -> Result<(), NetnsError> {
    setns(netns.fd.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| NamespaceError::Enter(errno.into()))?;
    let mut events = Events::open(&[Group::Ruleset])?;
    loop {
        let what = match events.next(Some(ALIVE))? {
            Some(Event::Generation { writer, writer_name, .. }) => {
                let name = writer_name.map(|name| String::from_utf8_lossy(&name).into_owned());
                Seen::Change(name.map(|name| Writer { name, thread: writer }))
            }
            Some(Event::Missed) => Seen::Change(None),
            // What a transaction did comes before its generation.
            Some(_) => continue,
            None => Seen::Nothing,
        };
        let is_own = matches!(&what, Seen::Change(Some(writer)) if writer.name == host::THREAD);
        if !is_own && !seen(what) {
            return Ok(());
        }
    }
}

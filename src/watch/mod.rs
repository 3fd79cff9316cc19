//! What becomes of an interception while others may change it.
//!
//! A [`Watcher`] subscribes to the kernel's events, and compares what it holds with what is desired: after every change of
//! the tables or of the network that are compared, as soon as nothing more has happened for a moment, and every now and
//! then without an event, because not every change makes one. It changes nothing; repair is for others.
//!
//! ```no_run
//! use meshwire::mesh::istio::sidecar::Sidecar;
//! use meshwire::watch::{Options, Stop, Watcher};
//!
//! fn watch(sidecar: &Sidecar) -> Result<(), meshwire::watch::WatchError> {
//!     let mut watcher = Watcher::start(sidecar.interception(), Options::default())?;
//!     while let Some(report) = watcher.next(&Stop::default())? {
//!         println!("{report}");
//!     }
//!     Ok(())
//! }
//! ```

mod change;
mod differences;
mod report;
mod sources;
mod touches;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nftwire::{Socket, io_text};

use self::differences::{Entries, Window};
use self::sources::Sources;
use crate::diagnostic::{Explain, Explanation};
use crate::interception::Interception;
use crate::network::{RouteError, RouteSocket};
use crate::verify::{Differences, VerifyError, verify_possible, verify_within};
pub use change::{ChangedObject, Changes, Writer};
pub use report::{Occasion, Report};

/// When a watcher looks, and at what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long nothing may happen before it looks, so that a change in two steps counts as one
    pub quiet: Duration,
    /// A difference that lasts longer than this is reported: a look without an event begins so early that it ends within
    /// this time after the one before began
    pub period: Duration,
    /// Whether a mesh's rules of iptables count as a difference. On a node they may be in use
    pub leftovers: bool,
}

impl Default for Options {
    /// 100 milliseconds, 30 seconds, and leftovers count: for a pod.
    fn default() -> Self {
        Self { quiet: Duration::from_millis(100), period: Duration::from_secs(30), leftovers: true }
    }
}

/// What ends the wait for a report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop<'f> {
    /// It ends when this can be read: a signalfd(2), an eventfd(2), the end of a pipe
    pub readable: Option<BorrowedFd<'f>>,
    /// It ends when nobody reads any more what is written here
    pub closed: Option<BorrowedFd<'f>>,
}

/// Why a watch ends by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The kernel's events cannot be received
    #[error("cannot receive the events of nf_tables: {0}")]
    Events(nftwire::Error),
    /// The events of the network cannot be received
    #[error("cannot receive the events of routes and addresses: {}", io_text(.0))]
    RouteEvents(io::Error),
    /// Waiting failed
    #[error("cannot wait for events: {}", io_text(.0))]
    Wait(io::Error),
    /// The current state cannot be compared with the desired one
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl From<nftwire::Error> for WatchError {
    fn from(error: nftwire::Error) -> Self {
        Self::Verify(error.into())
    }
}

impl From<RouteError> for WatchError {
    fn from(error: RouteError) -> Self {
        Self::Verify(error.into())
    }
}

impl Explain for WatchError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Events(error) => error.explanation(),
            Self::RouteEvents(error) | Self::Wait(error) => error.explanation(),
            Self::Verify(error) => error.explanation(),
        }
    }
}

/// Where no quiet moment comes, what several looks have seen counts. A difference that lasts for a period lasts for all of
/// one of these parts of it, and some time is left for the looks themselves: with looks as long as they may be, two parts in a
/// row take two thirds of a period.
const WINDOWS: u32 = 4;
/// The part of a period for which a look may seek a proof.
const LOOK_LIMIT: u32 = 12;
/// The part of a period that is kept free for a look without an event, at least.
const RESERVE: u32 = 8;
/// How often it looks in such a part.
const LOOKS: u32 = 8;
/// How often at least, where looks take so long that the time is over before.
const FEW_LOOKS: u32 = 3;

/// A watch under way, in the network namespace of the thread that started it, which it keeps alive.
pub struct Watcher {
    desired: Interception,
    options: Options,
    sources: Sources,
    nft: Socket,
    routes: RouteSocket,
    /// What happened since the last report
    changes: Changes,
    /// What was reported to differ
    reported: Entries,
    /// When the look began by which it last was certain what differs; none before the first look
    looked: Option<Instant>,
    /// How long the last look took
    took: Duration,
    /// What was seen since then while changes went on
    window: Window,
}

/// What a look comes to.
enum Look {
    Differs(Entries),
    /// Others changed the ruleset, or parts of it, again and again
    Unproven,
}

impl Watcher {
    /// Subscribes. The first report says what differs now.
    ///
    /// # Errors
    /// The kernel cannot be asked; EPERM without CAP_NET_ADMIN over the network namespace.
    pub fn start(desired: Interception, options: Options) -> Result<Self, WatchError> {
        let sources = Sources::open()?;
        let (mut nft, mut routes) = (Socket::open()?, RouteSocket::open()?);
        // Asked once: the question is a check, which pods that carry traffic feel.
        let desired = match verify_possible(&desired, &mut nft, &mut routes) {
            Ok(possible) if possible.without_fib => desired.without_fib().unwrap_or(desired),
            _ => desired,
        };
        Ok(Self {
            desired,
            options,
            sources,
            nft,
            routes,
            changes: Changes::default(),
            reported: Entries::default(),
            looked: None,
            took: Duration::ZERO,
            window: Window::default(),
        })
    }

    /// Whether nothing differed at the last report.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.reported.is_empty()
    }

    /// Waits for something to report; `None` when it was stopped.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn next(&mut self, stop: &Stop<'_>) -> Result<Option<Report>, WatchError> {
        loop {
            if let Some(report) = self.look_if_due()? {
                return Ok(Some(report));
            }
            let deadline = self.deadline();
            if self.sources.wait(deadline, stop, &mut self.changes, &self.desired)?.is_stopped() {
                return Ok(None);
            }
        }
    }

    /// When to look, whatever happens before.
    fn deadline(&self) -> Instant {
        let Some(looked) = self.looked else { return Instant::now() };
        match self.changes.last {
            Some(last) => (last + self.options.quiet).min(self.next_look_in_turmoil(looked)),
            // A look that proved nothing is repeated soon, but not at once.
            None => (looked + self.reread_after()).max(self.next_look_in_turmoil(looked)),
        }
    }

    /// How long after the beginning of a look the next one begins without an event: what came right after it read is seen when
    /// the next one ends.
    fn reread_after(&self) -> Duration {
        let period = self.options.period;
        period.saturating_sub((2 * self.took).max(period / RESERVE)).max(period / 2)
    }

    /// Where changes go on and on, a difference counts that several looks have seen.
    fn next_look_in_turmoil(&self, looked: Instant) -> Instant {
        let start = self.changes.first.map_or(looked, |first| first.max(looked));
        self.window.last().unwrap_or(start) + self.options.period / (WINDOWS * LOOKS)
    }

    fn look_if_due(&mut self) -> Result<Option<Report>, WatchError> {
        let Some(looked) = self.looked else { return self.look_first() };
        let now = Instant::now();
        if now < self.deadline() {
            return Ok(None);
        }
        let is_quiet = self.changes.last.is_none_or(|last| now >= last + self.options.quiet);
        let before = self.changes.last;
        if self.window.looks() == 0 {
            self.changes.touches.clear();
        }
        let look = self.look()?;
        // In turmoil no look is certain, and time matters.
        let patience = if is_quiet { self.options.quiet } else { Duration::ZERO };
        let is_heard = self.hear_of_what_was_read(patience)?;
        let is_certain = is_quiet && is_heard && self.changes.last == before;
        match look {
            Look::Differs(found) if is_certain => Ok(self.conclude(now, found)),
            // It is looked at again when that is over; a window that is full says something nevertheless.
            look => Ok(self.conclude_from_window(look, now.max(looked))),
        }
    }

    /// What differs at the beginning; what happened before it is known.
    fn look_first(&mut self) -> Result<Option<Report>, WatchError> {
        let began = Instant::now();
        let generation = self.nft.generation()?;
        let Look::Differs(found) = self.look()? else { return Ok(None) };
        self.hear_of_what_was_read(self.options.quiet)?;
        self.changes.forget_up_to(generation);
        self.looked = Some(began);
        self.reported = found.clone();
        let changes = Changes::default();
        let (appeared, resolved) = (found.clone(), Entries::default());
        Ok(Some(Report { occasion: Occasion::Start, changes, appeared, resolved, present: found }))
    }

    /// Adds what the last look may have seen; false if its events do not come.
    fn hear_of_what_was_read(&mut self, patience: Duration) -> Result<bool, WatchError> {
        let generation = self.nft.generation()?;
        self.sources.hear_of(generation, patience, &mut self.changes, &self.desired)
    }

    fn look(&mut self) -> Result<Look, WatchError> {
        let began = Instant::now();
        let compared = self.compare();
        self.took = began.elapsed();
        match compared {
            Ok(differences) => Ok(Look::Differs(Entries::new(&differences))),
            Err(VerifyError::Read(nftwire::Error::GenerationChanged)) => Ok(Look::Unproven),
            Err(VerifyError::Route(RouteError::Interrupted { .. })) => Ok(Look::Unproven),
            Err(error) => Err(error.into()),
        }
    }

    fn compare(&mut self) -> Result<Differences, VerifyError> {
        let limit = self.options.period / LOOK_LIMIT;
        verify_within(limit, self.options.leftovers, &self.desired, &mut self.nft, &mut self.routes)
    }

    /// It was quiet, and this is what differs, by a look that began then.
    fn conclude(&mut self, began: Instant, found: Entries) -> Option<Report> {
        self.looked = Some(began);
        self.window.clear();
        let changes = std::mem::take(&mut self.changes);
        let (appeared, resolved) = (found.without(&self.reported), self.reported.without(&found));
        self.reported = found.clone();
        let occasion = match (changes.is_empty(), appeared.is_empty() && resolved.is_empty()) {
            (true, true) => return None,
            (true, false) => Occasion::Reread,
            (false, _) => Occasion::Change,
        };
        Some(Report { occasion, changes, appeared, resolved, present: found })
    }

    /// It was not quiet: what every look of a while has seen differs, and what none has seen does not.
    fn conclude_from_window(&mut self, look: Look, at: Instant) -> Option<Report> {
        let found = match look {
            Look::Differs(found) => Some(found),
            Look::Unproven => None,
        };
        self.window.push(at, found);
        if self.window.looks() < LOOKS
            && (self.window.looks() < FEW_LOOKS || self.window.elapsed() < self.options.period / WINDOWS)
        {
            return None;
        }
        self.looked = Some(at);
        let window = std::mem::take(&mut self.window);
        let changes = self.changes.take();
        let touches = &changes.touches;
        let Some((always, sometimes)) = window.always_and_sometimes() else {
            let (appeared, resolved, present) = Default::default();
            return Some(Report { occasion: Occasion::Unread, changes, appeared, resolved, present });
        };
        let appeared = always.without(&self.reported).filter(|entry| !touches.may_end(entry));
        let resolved = self.reported.without(&sometimes).filter(|entry| !touches.may_cause(entry));
        self.reported = self.reported.without(&resolved).and(&appeared);
        let present = self.reported.clone();
        Some(Report { occasion: Occasion::Turmoil, changes, appeared, resolved, present })
    }
}

//! Work inside network namespaces, one or many at once.
//!
//! ```no_run
//! use meshwire::apply::{ApplyError, Counters};
//! use meshwire::mesh::istio::ambient::PodInterception;
//! use meshwire::netns::{Namespace, in_each, inside};
//!
//! fn intercept(pids: &[u32]) -> Vec<Result<(), ApplyError>> {
//!     let interception = PodInterception { dns: true, ..PodInterception::default() }.interception();
//!     let prepared = interception.prepare();
//!     in_each(pids, |&pid| {
//!         let pod = Namespace::from_pid(pid)?;
//!         inside(&pod, |nft, routes| prepared.apply(nft, routes, Counters::Keep))?;
//!         Ok(())
//!     })
//! }
//! ```

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nftwire::Socket;
pub use nftwire::{Namespace, NamespaceError};

use crate::network::{RouteError, RouteSocket};

/// How many threads work at the same time at most.
const MOST_THREADS: usize = 64;

/// How long a fourth of the threads are given to begin another piece. Work that takes the processor's time is faster than
/// that. Work that deletes something is not: it waits for an RCU grace period, and more threads can wait at once.
const PATIENCE: Duration = Duration::from_millis(4);

/// Does `work` with both sockets inside the namespace, on a thread that ends with it; the caller stays where it is.
///
/// The sockets are closed when it returns: an open one would keep the namespace of a deleted pod, and its devices,
/// alive.
///
/// # Errors
/// Those of entering, of opening the sockets, and of `work`.
pub fn inside<T: Send, E>(
    namespace: &Namespace,
    work: impl FnOnce(&mut Socket, &mut RouteSocket) -> Result<T, E> + Send,
) -> Result<T, E>
where
    E: Send + From<NamespaceError> + From<nftwire::Error> + From<RouteError>,
{
    inside_with(namespace, RouteSocket::open, work)
}

/// As [`inside`], with a socket for routes that is opened there so.
pub(crate) fn inside_with<T: Send, E>(
    namespace: &Namespace,
    open: impl FnOnce() -> Result<RouteSocket, RouteError> + Send,
    work: impl FnOnce(&mut Socket, &mut RouteSocket) -> Result<T, E> + Send,
) -> Result<T, E>
where
    E: Send + From<NamespaceError> + From<nftwire::Error> + From<RouteError>,
{
    let work = || work(&mut Socket::open()?, &mut open()?);
    if ENDS_WITH_ITS_WORK.get() {
        namespace.enter_for_good()?;
        return work();
    }
    namespace.enter(work)?
}

thread_local! {
    /// Whether the thread is one of [`in_each`], and may be left in any namespace. So no thread starts another one, which
    /// fails where all that a container may have (its limit of PIDs) are waiting for that.
    static ENDS_WITH_ITS_WORK: Cell<bool> = const { Cell::new(false) };
}

/// The namespace that a text names: a process by its number, a file by its path, or anything else by the name that
/// `ip netns` gives it, in `/run/netns`.
///
/// # Errors
/// [`NamespaceError::NoProcess`], or as [`Namespace::from_path`].
pub fn named(text: &str) -> Result<Namespace, NamespaceError> {
    match text.parse() {
        Ok(pid) if text.bytes().all(|byte| byte.is_ascii_digit()) => Namespace::from_pid(pid),
        _ if text.contains('/') => Namespace::from_path(text),
        _ => Namespace::from_path(Path::new("/run/netns").join(text)),
    }
}

/// Does `work` with each of the items, several at once, and returns the results in the items' order.
///
/// It begins with as many threads as there are processors: more of them only wait for each other, in the kernel and for the
/// heap. Where the work itself waits, it doubles their number, up to 64.
pub fn in_each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let take = || {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, work(item)))
        };
        std::iter::from_fn(take).collect::<Vec<_>>()
    };
    let caller = thread::current();
    let helper = || {
        ENDS_WITH_ITS_WORK.set(true);
        let results = some();
        caller.unpark();
        results
    };
    let most = items.len().min(MOST_THREADS);
    let mut wanted = thread::available_parallelism().map_or(1, usize::from).min(most);
    let mut results = thread::scope(|scope| {
        let start = || thread::Builder::new().spawn_scoped(scope, helper).ok();
        let mut helpers: Vec<_> = std::iter::from_fn(start).take(wanted).collect();
        // Where no more threads can be had, those that exist do it all.
        while helpers.len() == wanted && wanted < most {
            let begun = next.load(Ordering::Relaxed);
            thread::park_timeout(PATIENCE);
            let now = next.load(Ordering::Relaxed);
            if now >= items.len() {
                break;
            }
            if now - begun < helpers.len().div_ceil(4) {
                wanted = most.min(2 * wanted);
                helpers.extend(std::iter::from_fn(start).take(wanted - helpers.len()));
            }
        }
        // The caller's own thread works only where no other one can be had: what enters a namespace here starts one.
        let mut results = if helpers.is_empty() { some() } else { Vec::new() };
        for helper in helpers {
            results.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled = in_each(&items, |item| 2 * item);
        assert_eq!(doubled, items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        assert!(in_each(&[] as &[u32], |item| *item).is_empty());
    }

    #[test]
    fn work_that_waits_gets_more_threads() {
        let (waiting, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        in_each(&[(); 256], |()| {
            most.fetch_max(1 + waiting.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            // Nothing is done before there are enough of them, however long that takes on a busy machine.
            let started = Instant::now();
            while most.load(Ordering::Relaxed) < MOST_THREADS && started.elapsed() < Duration::from_secs(20) {
                thread::sleep(PATIENCE);
            }
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
        assert_eq!(most.into_inner(), MOST_THREADS);
    }
}

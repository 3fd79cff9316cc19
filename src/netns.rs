//! Work inside network namespaces, one or many at once.
//!
//! ```no_run
//! use meshwire::apply::{ApplyError, Counters};
//! use meshwire::mesh::istio::ambient::PodInterception;
//! use meshwire::netns::{Namespace, in_each, inside};
//!
//! fn intercept(pids: &[u32]) -> Vec<Result<(), ApplyError>> {
//!     let interception = PodInterception { dns: true, ..PodInterception::default() }.interception();
//!     in_each(pids, |&pid| {
//!         let pod = Namespace::from_pid(pid)?;
//!         inside(&pod, |nft, routes| interception.apply(nft, routes, Counters::Keep))?;
//!         Ok(())
//!     })
//! }
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nftwire::Socket;
pub use nftwire::{Namespace, NamespaceError};

use crate::network::{RouteError, RouteSocket};

/// How many pieces of work are done at the same time. The work is the kernel's, and it does that of different namespaces
/// side by side; where something is deleted each piece mostly waits, for a grace period of RCU.
const CONCURRENT: usize = 64;

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
    namespace.enter(|| work(&mut Socket::open()?, &mut RouteSocket::open()?))?
}

/// Does `work` with each of the items, many at once, and returns the results in the items' order.
pub fn in_each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let take = || {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, work(item)))
        };
        std::iter::from_fn(take).collect::<Vec<_>>()
    };
    let mut results = thread::scope(|scope| {
        let helpers = 1..items.len().min(CONCURRENT);
        // Where no more threads can be had, those that are there do it all.
        let helpers: Vec<_> =
            helpers.map_while(|_| thread::Builder::new().spawn_scoped(scope, some).ok()).collect();
        let mut results = some();
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
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled = in_each(&items, |item| 2 * item);
        assert_eq!(doubled, items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        assert!(in_each(&[] as &[u32], |item| *item).is_empty());
    }
}

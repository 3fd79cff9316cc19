//! What `ip` says that the kernel holds.

use std::thread;
use std::time::{Duration, Instant};

use super::Namespace;

/// Every address, policy rule and route of the namespace, one a line, but for those that a link brings with it.
pub(crate) fn network(namespace: &Namespace) -> Vec<String> {
    // In this order: a route comes an instant after its address is in use.
    let listings = [settled(namespace), ip(namespace, &["-6"], "rule\nroute show table all\n")];
    let lines = listings.iter().flat_map(|listing| listing.lines());
    // Those come and go for seconds after the link is up.
    lines.filter(|line| !line.contains("fe80:") && !line.contains("ff00::/8")).map(str::to_owned).collect()
}

/// Waits until the addresses of `lo` are in use: a new one gets its route when a worker of the kernel has seen that `lo` needs no
/// duplicate detection.
///
/// # Panics
///
/// When that takes too long.
pub(crate) fn settle(namespace: &Namespace) {
    settled(namespace);
}

/// The addresses then, and what `ip` says of IPv4.
fn settled(namespace: &Namespace) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let listing = ip(namespace, &[], "address\nrule\nroute show table all root 0.0.0.0/0\n");
        if !listing.lines().any(|line| line.contains(": lo ") && line.contains("tentative")) {
            return listing;
        }
        assert!(Instant::now() < deadline, "an address is still tentative");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of [`network`] that the command is the reason for, when its mark is 1337 and its table 133; without the
/// rules' priorities, which depend on what else exists.
pub(crate) fn of_the_command(network: &[String]) -> Vec<String> {
    let ours = |line: &&String| [" ::6", "fwmark 0x539", "table 133"].iter().any(|word| line.contains(word));
    let lines = network.iter().filter(ours).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.map(|line| line.split_once(": ").map_or(line.clone(), |(_number, rest)| rest.to_owned())).collect()
}

/// What `ip` says to these lines, by one process.
fn ip(namespace: &Namespace, options: &[&str], lines: &str) -> String {
    namespace.feed(&[&["ip", "-o", "-batch", "-"], options].concat(), lines)
}

//! What `ip` says that the kernel holds.

use std::thread;
use std::time::{Duration, Instant};

use super::Namespace;

/// Every address, policy rule and route of the namespace, one a line, but for those that a link brings with it.
pub(crate) fn network(namespace: &Namespace) -> Vec<String> {
    settle(namespace);
    let listings = ["-o address", "-4 rule", "-6 rule", "-4 route show table all", "-6 route show table all"];
    let listings = listings.map(|words| ip(namespace, words));
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
    let deadline = Instant::now() + Duration::from_secs(20);
    while ip(namespace, "-6 address show dev lo").contains("tentative") {
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

fn ip(namespace: &Namespace, words: &str) -> String {
    let argv: Vec<_> = ["ip"].into_iter().chain(words.split_whitespace()).collect();
    namespace.command(&argv)
}

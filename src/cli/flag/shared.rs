//! The flags that several commands have: one definition each, with the same words everywhere.

use nft_ruleset::optimize::Counting;

use super::{Flag, Given, UsageError, Values};

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Output {
    Text,
    Json,
}

/// The flag's name, also where a command has formats of its own.
pub(in crate::cli) const OUTPUT_NAME: &str = "output";

pub(in crate::cli) static OUTPUT: Flag<Output> = Flag::text(
    OUTPUT_NAME,
    "FORMAT",
    || Output::Text,
    |given| given.choice(&[("text", Output::Text), ("json", Output::Json)]),
)
.help("Format of the result")
.show(|_| "text".to_owned())
.choices(&["text", "json"]);

pub(in crate::cli) static CHECK: Flag<bool> =
    Flag::switch("check").help("Let the kernel validate everything, and apply nothing");

pub(in crate::cli) static PLAN: Flag<bool> =
    Flag::switch("plan").help("Show what would change in the kernel, and change nothing");

pub(in crate::cli) static KEEP_COUNTERS: Flag<bool> =
    Flag::switch("keep-counters").help("Leave rules that do not change in place, with their counters");

pub(in crate::cli) const ALLOW_HOST_NETWORK_VARIABLE: &str = "MESHWIRE_ALLOW_HOST_NETWORK";

pub(in crate::cli) static ALLOW_HOST_NETWORK: Flag<bool> = Flag::switch("allow-host-network")
    .environment(&[ALLOW_HOST_NETWORK_VARIABLE])
    .help("Work in the machine's own network namespace, as on a virtual machine of the mesh");

pub(in crate::cli) static OPTIMIZE: Flag<bool> = Flag::switch("optimize")
    .help("Replace rules that differ in one value by one lookup, at the same cost for any number of them");

pub(in crate::cli) static ELEMENT_COUNTERS: Flag<bool> = Flag::switch("element-counters")
    .help("With --optimize: a counter for each element of a set, not one for the rule");

const NETNS_NAME: &str = "netns";
const NETNS_VALUE: &str = "PATH|PID|NAME";
const NETNS_HELP: &str = "The network namespace: a file, a process in it, or its name for `ip netns`";
const NETNS_DEFAULT: &str = "here";

pub(in crate::cli) static NETNS: Flag<Option<Given>> =
    Flag::text(NETNS_NAME, NETNS_VALUE, || None, |given| Ok(Some(given.clone())))
        .help(NETNS_HELP)
        .show(|_| NETNS_DEFAULT.to_owned());

/// The same for commands that work in several; see [`Values::each`].
pub(in crate::cli) static EACH_NETNS: Flag<Vec<Given>> =
    Flag::list(NETNS_NAME, NETNS_VALUE, |given| Ok(vec![given.clone()]))
        .help(NETNS_HELP)
        .show(|_| NETNS_DEFAULT.to_owned());

impl Output {
    /// As a log and some results are asked for, before it is known that all settings are right.
    pub(in crate::cli) fn is_json(values: &Values<'_>) -> bool {
        values.read(&OUTPUT) == Ok(Self::Json)
    }
}

/// Whether the rules are optimized, and what counts in them then.
pub(in crate::cli) fn optimization(values: &Values<'_>) -> Result<Option<Counting>, UsageError> {
    let by_element = values.given(&ELEMENT_COUNTERS);
    let counts = values.read(&ELEMENT_COUNTERS)?;
    match (values.read(&OPTIMIZE)?, by_element.filter(|_| counts)) {
        (true, Some(_)) => Ok(Some(Counting::ByElement)),
        (true, None) => Ok(Some(Counting::ByRule)),
        (false, Some(given)) => Err(given.fault("it has no effect without --optimize")),
        (false, None) => Ok(None),
    }
}

//! The flags of Linkerd's command, and a few of our own.

use std::ops::RangeInclusive;

use nft_ruleset::IpPrefix;

use crate::cli::flag::shared;
use crate::cli::flag::value::{listening_port, network, number, port, port_range};
use crate::cli::flag::{Flag, Flags, Given, UsageError};
use crate::cli::lockdown;
use crate::cli::log::{Level, Log};
use crate::mesh::value::ValueError;

pub(in crate::cli) static FLAGS: Flags = &[
    &INCOMING_PROXY_PORT,
    &OUTGOING_PROXY_PORT,
    &PROXY_UID,
    &PROXY_GID,
    &PORTS_TO_REDIRECT,
    &INBOUND_PORTS_TO_IGNORE,
    &OUTBOUND_PORTS_TO_IGNORE,
    &SUBNETS_TO_IGNORE,
    &IPV6,
    &SIMULATE,
    &shared::NETNS,
    &CLOSE_WAIT_TIMEOUT,
    &LOG_FORMAT,
    &LOG_LEVEL,
    &USE_WAIT_FLAG,
    &IPTABLES_MODE,
    &FIREWALL_BIN_PATH,
    &FIREWALL_SAVE_BIN_PATH,
    &CLEANUP_ONLY,
    &shared::CHECK,
    #[cfg(feature = "tools")]
    &shared::PLAN,
    &shared::KEEP_COUNTERS,
    &shared::OPTIMIZE,
    &shared::ELEMENT_COUNTERS,
    &shared::OUTPUT,
    &shared::ALLOW_HOST_NETWORK,
    &lockdown::LOCKDOWN,
];

pub(super) static INCOMING_PROXY_PORT: Flag<Option<u16>> =
    Flag::number("incoming-proxy-port", "PORT", || None, |given| given.one(listening_port).map(Some))
        .short('p')
        .help("Port of the proxy to which inbound TCP is redirected (required)");

pub(super) static OUTGOING_PROXY_PORT: Flag<Option<u16>> =
    Flag::number("outgoing-proxy-port", "PORT", || None, |given| given.one(listening_port).map(Some))
        .short('o')
        .help("Port of the proxy to which outbound TCP is redirected (required)");

pub(super) static PROXY_UID: Flag<Option<u32>> =
    Flag::number("proxy-uid", "UID", || None, |given| given.one(owner))
        .short('u')
        .help("User whose traffic is left alone, the proxy's; none if not above 0")
        .show(owner_text);

pub(super) static PROXY_GID: Flag<Option<u32>> =
    Flag::number("proxy-gid", "GID", || None, |given| given.one(owner))
        .short('g')
        .help("Group whose traffic is left alone, the proxy's; none if not above 0")
        .show(owner_text);

// As with Linkerd, an empty item is not a port, and not a network.
pub(super) static PORTS_TO_REDIRECT: Flag<Vec<u16>> =
    Flag::list("ports-to-redirect", "PORTS", |given| given.full_list(port))
        .short('r')
        .help("Inbound ports that are redirected")
        .show(|_| "all".to_owned());

pub(super) static INBOUND_PORTS_TO_IGNORE: Flag<Vec<RangeInclusive<u16>>> =
    Flag::list("inbound-ports-to-ignore", "PORTS", |given| given.list(port_range))
        .help("Inbound ports, and ranges of them such as 8000-8080, that are left alone");

pub(super) static OUTBOUND_PORTS_TO_IGNORE: Flag<Vec<RangeInclusive<u16>>> =
    Flag::list("outbound-ports-to-ignore", "PORTS", |given| given.list(port_range))
        .help("Outbound ports, and ranges of them such as 8000-8080, that are left alone");

pub(super) static SUBNETS_TO_IGNORE: Flag<Vec<IpPrefix>> =
    Flag::list("subnets-to-ignore", "CIDRS", |given| given.full_list(network))
        .help("Networks from which inbound traffic of any protocol is left alone")
        .empty_is_none();

pub(super) static IPV6: Flag<bool> = Flag::switch("ipv6").help("Rules for IPv6, too").on_by_default();

pub(super) static SIMULATE: Flag<bool> =
    Flag::switch("simulate").help("Print the ruleset and touch nothing; needs no privilege");

/// In seconds; 0 leaves it.
pub(super) static CLOSE_WAIT_TIMEOUT: Flag<u32> =
    Flag::number("timeout-close-wait-secs", "SECONDS", || 0, |given| given.one(number))
        .help("Set net.netfilter.nf_conntrack_tcp_timeout_close_wait before any rule; 0 leaves it")
        .shown();

/// As with Linkerd, whatever else is given is plain.
pub(super) static LOG_FORMAT: Flag<Log> = Flag::text(
    "log-format",
    "FORMAT",
    || Log::Plain,
    |given| Ok(if given.text == "json" { Log::Json } else { Log::Plain }),
)
.choices(&["plain", "json"])
.help("Format of log lines")
.show(|_| "plain".to_owned());

pub(super) static LOG_LEVEL: Flag<Level> = Flag::text("log-level", "LEVEL", || Level::Info, level)
    .choices(&["panic", "fatal", "error", "warn", "info", "debug", "trace"])
    .help("Log lines at least this important")
    .show(|_| "info".to_owned());

pub(super) static USE_WAIT_FLAG: Flag<bool> =
    Flag::switch("use-wait-flag").short('w').help("Accepted and ignored");

/// Whether one is asked for, as with the next two.
pub(super) static IPTABLES_MODE: Flag<bool> = Flag::text(
    "iptables-mode",
    "MODE",
    || false,
    |given| given.choice(&[("legacy", true), ("nft", true), ("plain", true)]),
)
.choices(&["legacy", "nft", "plain"])
.help("Accepted; no iptables is used here")
.empty_is_none();

pub(super) static FIREWALL_BIN_PATH: Flag<bool> = Flag::text(
    "firewall-bin-path",
    "NAME",
    || false,
    |given| given.choice(&[("iptables-legacy", true), ("iptables-nft", true), ("iptables", true)]),
)
.choices(&["iptables-legacy", "iptables-nft", "iptables"])
.help("Accepted; no iptables is used here")
.empty_is_none();

pub(super) static FIREWALL_SAVE_BIN_PATH: Flag<bool> =
    Flag::text("firewall-save-bin-path", "NAME", || false, |_| Ok(true))
        .help("Accepted; no iptables is used here")
        .empty_is_none();

pub(super) static CLEANUP_ONLY: Flag<bool> =
    Flag::switch("cleanup-only").help("Remove all rules of an earlier run");

/// A number above 0; any other one names no user.
fn owner(text: &str) -> Result<Option<u32>, ValueError> {
    match text.strip_prefix('-').map(number) {
        Some(Ok(_)) => Ok(None),
        _ => number(text).map(|id| (id > 0).then_some(id)),
    }
}

fn owner_text(owner: &Option<u32>) -> String {
    owner.map_or_else(|| "-1".to_owned(), |id| id.to_string())
}

/// Those of Linkerd's logger (logrus).
fn level(given: &Given) -> Result<Level, UsageError> {
    match given.text.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => Ok(Level::Error),
        "warn" | "warning" => Ok(Level::Warn),
        "info" | "debug" | "trace" => Ok(Level::Info),
        _ => {
            let names = ["panic", "fatal", "error", "warn", "info", "debug", "trace"];
            Err(given.none_of(names.into_iter()))
        }
    }
}

/// For the end of the help.
pub(super) const LISTS: &str =
    "Lists are comma separated; a repeated flag extends its list. An empty --netns is ignored.";

/// For the end of the help of what applies.
pub(super) const NOTES: &str = "\
As Linkerd's injector calls it:
  meshwire proxy-init --incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 \
--inbound-ports-to-ignore 4190,4191

Needs CAP_NET_ADMIN in the pod's network namespace, where it runs; --simulate needs no capability.
Exit codes: 0 done; 1 failed, and no rule was changed; 2 wrong usage.";

//! The flags of Linkerd's command, and a few of our own.

use crate::cli::lockdown;
use crate::cli::place;
use crate::cli::profile;
use crate::cli::settings::Setting;

const fn text(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting::text(name, None, value, &[], help)
}

const fn number(name: &'static str, short: char, value: &'static str, help: &'static str) -> Setting {
    Setting::number(name, Some(short), value, &[], help)
}

pub(super) const SETTINGS: &[Setting] = &[
    number(
        "incoming-proxy-port",
        'p',
        "PORT",
        "Port of the proxy to which inbound TCP is redirected (required)",
    ),
    number(
        "outgoing-proxy-port",
        'o',
        "PORT",
        "Port of the proxy to which outbound TCP is redirected (required)",
    ),
    number(
        "proxy-uid",
        'u',
        "UID",
        "User whose traffic is left alone, the proxy's; none if not above 0 [default: -1]",
    ),
    number(
        "proxy-gid",
        'g',
        "GID",
        "Group whose traffic is left alone, the proxy's; none if not above 0 [default: -1]",
    ),
    Setting::list(
        "ports-to-redirect",
        Some('r'),
        "PORTS",
        "Inbound ports that are redirected [default: all]",
    ),
    Setting::list(
        "inbound-ports-to-ignore",
        None,
        "PORTS",
        "Inbound ports, and ranges of them such as 8000-8080, that are left alone",
    ),
    Setting::list(
        "outbound-ports-to-ignore",
        None,
        "PORTS",
        "Outbound ports, and ranges of them such as 8000-8080, that are left alone",
    ),
    Setting::list(
        "subnets-to-ignore",
        None,
        "CIDRS",
        "Networks from which inbound traffic of any protocol is left alone",
    ),
    Setting::switch("ipv6", None, &[], "Rules for IPv6, too [default: true]"),
    Setting::switch("simulate", None, &[], "Print the ruleset and touch nothing; needs no privilege"),
    text(place::NETNS, "PATH", "Work in the network namespace that this file stands for"),
    Setting::number(
        "timeout-close-wait-secs",
        None,
        "SECONDS",
        &[],
        "Set net.netfilter.nf_conntrack_tcp_timeout_close_wait before any rule; 0 leaves it [default: 0]",
    ),
    text("log-format", "FORMAT", "Format of log lines: plain or json [default: plain]"),
    text(
        "log-level",
        "LEVEL",
        "Log lines at least this important: panic, fatal, error, warn, info, debug or trace [default: info]",
    ),
    Setting::switch("use-wait-flag", Some('w'), &[], "Accepted; means nothing here"),
    text("iptables-mode", "MODE", "Accepted (legacy, nft, plain); no iptables is used here"),
    text(
        "firewall-bin-path",
        "NAME",
        "Accepted (iptables-legacy, iptables-nft, iptables); no iptables is used here",
    ),
    text("firewall-save-bin-path", "NAME", "Accepted; no iptables is used here"),
    Setting::switch("cleanup-only", None, &[], "Remove all rules of an earlier run"),
    profile::CHECK,
    profile::KEEP_COUNTERS,
    profile::OPTIMIZE,
    profile::ELEMENT_COUNTERS,
    profile::OUTPUT,
    profile::ALLOW_HOST_NETWORK,
    lockdown::SETTING,
];

/// For the end of the help.
pub(super) const LISTS: &str = "Lists are comma separated; a list that is given more than once goes on.";

/// For the end of the help of what applies.
pub(super) const NOTES: &str = "\
As Linkerd's injector calls it:
  meshwire proxy-init --incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 \
--inbound-ports-to-ignore 4190,4191

Needs CAP_NET_ADMIN in the pod's network namespace, where it runs; see --simulate for a look without.
Exit codes: 0 done; 1 failed, and no rule was changed; 2 wrong usage.";

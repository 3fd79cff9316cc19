//! The flags and variables of Istio's command, and a few of our own.

use std::ops::RangeInclusive;
use std::time::Duration;

use nft_ruleset::{IpPrefix, Ipv4Prefix};

use crate::cli::accounts;
use crate::cli::flag::shared;
use crate::cli::flag::value::{duration, listening_port, network, number};
use crate::cli::flag::{Flag, Flags, Given, UsageError};
use crate::cli::lockdown;
use crate::mesh::istio::sidecar::{Interface, Mode, ServiceCidr, Sidecar};
use crate::mesh::value::{self, ValueError};

pub(in crate::cli) static FLAGS: Flags = &[
    &ENVOY_PORT,
    &INBOUND_CAPTURE_PORT,
    &INBOUND_TUNNEL_PORT,
    &PROXY_UID,
    &PROXY_GID,
    &MODE,
    &INBOUND_PORTS,
    &INBOUND_PORTS_EXCLUDE,
    &EXCLUDE_INTERFACES,
    &SERVICE_CIDR,
    &SERVICE_CIDR_EXCLUDE,
    &OUTBOUND_PORTS,
    &OUTBOUND_PORTS_EXCLUDE,
    &VIRTUAL_INTERFACES,
    &TPROXY_MARK,
    &TPROXY_ROUTE_TABLE,
    &DRY_RUN,
    &PROBE_PORT,
    &PROBE_TIMEOUT,
    &SKIP_RULE_APPLY,
    &RUN_VALIDATION,
    &REDIRECT_DNS,
    &CAPTURE_ALL_DNS,
    &DROP_INVALID,
    &DUAL_STACK,
    &NETWORK_NAMESPACE,
    &CLEANUP_ONLY,
    &NATIVE_NFTABLES,
    &CNI_MODE,
    &RECONCILE,
    &FORCE_APPLY,
    &FORCE_IPTABLES_BINARY,
    &LOG_AS_JSON,
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

/// What the environment alone can say.
pub(super) static VARIABLES: Flags = &[&LOOPBACK_CIDR, &OWNER_GROUPS, &OWNER_GROUPS_EXCLUDE, &ENVOY_USER];

/// The proxy's uid where it has no name here.
const DEFAULT_PROXY_UID: u32 = 1337;

pub(super) static ENVOY_PORT: Flag<u16> =
    Flag::number("envoy-port", "PORT", || Sidecar::default().envoy_port, |given| given.one(listening_port))
        .short('p')
        .help("Port of the proxy to which outbound TCP is redirected")
        .shown();

pub(super) static INBOUND_CAPTURE_PORT: Flag<u16> = Flag::number(
    "inbound-capture-port",
    "PORT",
    || Sidecar::default().inbound_capture_port,
    |given| given.one(listening_port),
)
.short('z')
.environment(&["INBOUND_CAPTURE_PORT"])
.help("Port of the proxy to which inbound TCP is redirected")
.shown();

pub(super) static INBOUND_TUNNEL_PORT: Flag<u16> = Flag::number(
    "inbound-tunnel-port",
    "PORT",
    || Sidecar::default().inbound_tunnel_port,
    |given| given.one(listening_port),
)
.short('e')
.environment(&["INBOUND_TUNNEL_PORT"])
.help("Port of the mesh's tunnel, whose inbound TCP is left alone")
.shown();

/// None: those of [`ENVOY_USER`].
pub(super) static PROXY_UID: Flag<Option<Vec<u32>>> = Flag::text(
    "proxy-uid",
    "UIDS",
    || None,
    |given| given.list(|item| account(item, "user", accounts::uid)).map(Some),
)
.repeated()
.short('u')
.environment(&["PROXY_UID"])
.help("Users whose traffic is left alone, the proxy's")
.show(|_| {
    let (variable, user) = (ENVOY_USER.name(), ENVOY_USER_NAME);
    format!("that of the user named by {variable} ({user}), else {DEFAULT_PROXY_UID}")
})
.empty_is_none();

/// None: the same as the proxy's uids.
pub(super) static PROXY_GID: Flag<Option<Vec<u32>>> =
    Flag::text("proxy-gid", "GIDS", || None, |given| given.list(group).map(Some))
        .repeated()
        .short('g')
        .environment(&["PROXY_GID"])
        .help("Groups whose traffic is left alone, the proxy's")
        .show(|_| format!("the value of --{}", PROXY_UID.name()))
        .empty_is_none();

pub(super) static MODE: Flag<Mode> =
    Flag::text("istio-inbound-interception-mode", "MODE", || Sidecar::default().mode, mode)
        .short('m')
        .environment(&["ISTIO_INBOUND_INTERCEPTION_MODE"])
        .choices(&["REDIRECT", "TPROXY"])
        .help("How inbound TCP gets to the proxy")
        .show(|mode| mode_name(*mode).to_owned());

/// None: no port is intercepted.
pub(super) static INBOUND_PORTS: Flag<Option<Ports>> = Flag::text(
    "istio-inbound-ports",
    "PORTS",
    || None,
    |given| {
        if given.is_wildcard() {
            Ok(Some(Ports::All))
        } else {
            given.list(ports).map(|ports| Some(Ports::Only(ports)))
        }
    },
)
.repeated()
.short('b')
.environment(&["ISTIO_INBOUND_PORTS"])
.help("Inbound ports that are intercepted, or * for all")
.show(|_| "none".to_owned());

pub(super) static INBOUND_PORTS_EXCLUDE: Flag<Vec<RangeInclusive<u16>>> =
    Flag::text("istio-local-exclude-ports", "PORTS", Vec::new, |given| given.list(ports))
        .repeated()
        .short('d')
        .environment(&["ISTIO_LOCAL_EXCLUDE_PORTS"])
        .help("Inbound ports that are left alone where all others are intercepted");

pub(super) static EXCLUDE_INTERFACES: Flag<Vec<Interface>> =
    Flag::text("istio-exclude-interfaces", "INTERFACES", Vec::new, |given| given.list(interface))
        .repeated()
        .short('c')
        .environment(&["ISTIO_EXCLUDE_INTERFACES"])
        .help("Interfaces whose traffic is left alone");

pub(super) static SERVICE_CIDR: Flag<ServiceCidr> =
    Flag::text("istio-service-cidr", "CIDRS", || Sidecar::default().service_cidr, service_cidr)
        .repeated()
        .short('i')
        .environment(&["ISTIO_SERVICE_CIDR"])
        .help("Networks to which outbound traffic is intercepted, or * for all")
        .show(|_| "none".to_owned());

pub(super) static SERVICE_CIDR_EXCLUDE: Flag<Vec<IpPrefix>> =
    Flag::text("istio-service-exclude-cidr", "CIDRS", Vec::new, excluded_networks)
        .repeated()
        .short('x')
        .environment(&["ISTIO_SERVICE_EXCLUDE_CIDR"])
        .help("Networks to which outbound traffic is left alone");

pub(super) static OUTBOUND_PORTS: Flag<Vec<RangeInclusive<u16>>> =
    Flag::text("istio-outbound-ports", "PORTS", Vec::new, |given| given.list(ports))
        .repeated()
        .short('q')
        .environment(&["ISTIO_OUTBOUND_PORTS"])
        .help("Outbound ports that are intercepted wherever they lead to");

pub(super) static OUTBOUND_PORTS_EXCLUDE: Flag<Vec<RangeInclusive<u16>>> =
    Flag::text("istio-local-outbound-ports-exclude", "PORTS", Vec::new, |given| given.list(ports))
        .repeated()
        .short('o')
        .environment(&["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"])
        .help("Outbound ports that are left alone, TCP and UDP");

pub(super) static VIRTUAL_INTERFACES: Flag<Vec<Interface>> =
    Flag::text("kube-virt-interfaces", "INTERFACES", Vec::new, |given| given.list(interface))
        .repeated()
        .short('k')
        .environment(&["KUBE_VIRT_INTERFACES"])
        .help("Interfaces of virtual machines: what comes in there is treated as outbound");

pub(super) static TPROXY_MARK: Flag<u32> = Flag::number(
    "istio-inbound-tproxy-mark",
    "MARK",
    || Sidecar::default().tproxy_mark,
    |given| given.one(mark),
)
.short('t')
.environment(&["ISTIO_INBOUND_TPROXY_MARK"])
.help("Mark on inbound packets with TPROXY")
.shown();

pub(super) static TPROXY_ROUTE_TABLE: Flag<u32> = Flag::number(
    "istio-inbound-tproxy-route-table",
    "TABLE",
    || Sidecar::default().tproxy_route_table,
    |given| given.one(route_table),
)
.short('r')
.environment(&["ISTIO_INBOUND_TPROXY_ROUTE_TABLE"])
.help("Routing table for marked packets with TPROXY")
.shown();

pub(super) static DRY_RUN: Flag<bool> = Flag::switch("dry-run")
    .short('n')
    .environment(&["DRY_RUN"])
    .help("Print the ruleset and touch nothing; needs no privilege");

pub(super) static PROBE_PORT: Flag<u16> =
    Flag::number("iptables-probe-port", "PORT", || 15002, |given| given.one(listening_port))
        .environment(&["IPTABLES_PROBE_PORT"])
        .help("Port that the validation connects to")
        .shown();

pub(super) static PROBE_TIMEOUT: Flag<Duration> =
    Flag::number("probe-timeout", "DURATION", || Duration::from_secs(5), |given| given.one(duration))
        .environment(&["PROBE_TIMEOUT"])
        .help("How long the validation tries")
        .show(|timeout| humantime::format_duration(*timeout).to_string());

pub(super) static SKIP_RULE_APPLY: Flag<bool> = Flag::switch("skip-rule-apply")
    .environment(&["SKIP_RULE_APPLY"])
    .help("Change nothing; with --run-validation only validate");

pub(super) static RUN_VALIDATION: Flag<bool> = Flag::switch("run-validation")
    .environment(&["RUN_VALIDATION"])
    .help("Prove by a connection that traffic is intercepted; exit with 126 if it is not");

pub(super) static REDIRECT_DNS: Flag<bool> = Flag::switch("redirect-dns")
    .environment(&["ISTIO_META_DNS_CAPTURE", "REDIRECT_DNS"])
    .help("Redirect DNS to the agent at port 15053: what goes to the servers in /etc/resolv.conf");

pub(super) static CAPTURE_ALL_DNS: Flag<bool> = Flag::switch("capture-all-dns")
    .environment(&["CAPTURE_ALL_DNS"])
    .help("With --redirect-dns: all that goes to port 53");

pub(super) static DROP_INVALID: Flag<bool> = Flag::switch("drop-invalid")
    .environment(&["INVALID_DROP", "DROP_INVALID"])
    .help("Drop packets that connection tracking finds invalid");

pub(super) static DUAL_STACK: Flag<bool> = Flag::switch("dual-stack")
    .environment(&["ISTIO_DUAL_STACK", "DUAL_STACK"])
    .help("Rules for IPv6 as soon as any address is IPv6, not only if the first one is");

pub(super) static NETWORK_NAMESPACE: Flag<Option<Given>> =
    Flag::text("network-namespace", "PATH|PID|NAME", || None, |given| Ok(Some(given.clone())))
        .environment(&["NETWORK_NAMESPACE"])
        .help("The network namespace: a file, a process in it, or its name for `ip netns`")
        .empty_is_none();

pub(in crate::cli) static CLEANUP_ONLY: Flag<bool> = Flag::switch("cleanup-only")
    .environment(&["CLEANUP_ONLY"])
    .help("Remove all rules, routes and addresses of the sidecar");

pub(super) static NATIVE_NFTABLES: Flag<bool> = Flag::switch("native-nftables")
    .environment(&["NATIVE_NFTABLES"])
    .help(
        "Exactly the rules of Istio's native backend: without IPv6 they still intercept some of it, --drop-invalid is for TCP \
         alone, and captured DNS cuts off guests in the pod",
    );

pub(super) static CNI_MODE: Flag<bool> =
    Flag::switch("cni-mode").environment(&["CNI_MODE"]).help("Accepted and ignored");

pub(super) static RECONCILE: Flag<bool> = Flag::switch("reconcile")
    .environment(&["RECONCILE"])
    .help("Accepted; every run is a reconciliation here");

pub(super) static FORCE_APPLY: Flag<bool> = Flag::switch("force-apply")
    .environment(&["FORCE_APPLY"])
    .help("Accepted; every run is a reconciliation here");

/// Whether one is asked for.
pub(super) static FORCE_IPTABLES_BINARY: Flag<bool> = Flag::text(
    "force-iptables-binary",
    "VARIANT",
    || false,
    |given| given.choice(&[("legacy", true), ("nft", true)]),
)
.environment(&["FORCE_IPTABLES_BINARY"])
.choices(&["legacy", "nft"])
.help("Accepted; no iptables is used here")
.empty_is_none();

pub(super) static LOG_AS_JSON: Flag<bool> = Flag::switch("log_as_json")
    .help("Log lines in JSON; other --log_* flags of Istio are accepted and ignored");

pub(super) static LOOPBACK_CIDR: Flag<Ipv4Prefix> = Flag::variable(
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    || Sidecar::default().loopback_v4,
    |given| given.one(loopback_network),
)
.help("loopback network of IPv4, /8 to /32")
.shown();

/// None: all.
pub(super) static OWNER_GROUPS: Flag<Option<Vec<u32>>> =
    Flag::variable("ISTIO_OUTBOUND_OWNER_GROUPS", || None, owner_groups)
        .help("groups whose outbound traffic is intercepted, or * for all")
        .show(|_| "*".to_owned());

pub(super) static OWNER_GROUPS_EXCLUDE: Flag<Vec<u32>> =
    Flag::variable("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", Vec::new, |given| given.list(group))
        .help("groups whose outbound traffic is left alone where all others are intercepted");

const ENVOY_USER_NAME: &str = "istio-proxy";

pub(super) static ENVOY_USER: Flag<String> =
    Flag::variable("ENVOY_USER", || ENVOY_USER_NAME.to_owned(), |given| Ok(given.text.clone()))
        .help("the proxy's user, for --proxy-uid")
        .show(|_| ENVOY_USER_NAME.to_owned());

/// What of the inbound ports is intercepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ports {
    All,
    Only(Vec<RangeInclusive<u16>>),
}

/// The proxy's uid by its user's name. As with Istio, a file that cannot be read is a user that does not exist, but that is
/// worth a warning.
pub(super) fn uid_of(user: &str, warnings: &mut Vec<String>) -> u32 {
    let uid = accounts::uid(user).unwrap_or_else(|error| {
        warnings.push(format!(
            "the proxy's uid is taken to be {DEFAULT_PROXY_UID}: cannot look up the user {user:?}: {error}"
        ));
        None
    });
    uid.unwrap_or(DEFAULT_PROXY_UID)
}

/// A number, or a name that is looked up.
fn account(item: &str, what: &str, look_up: fn(&str) -> std::io::Result<Option<u32>>) -> Result<u32, String> {
    if item.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(item).map_err(|fault| fault.to_string());
    }
    match look_up(item) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(format!("there is no {what} {item:?} here, and it is not a number")),
        Err(error) => Err(format!("cannot look up the {what} {item:?}: {error}")),
    }
}

/// Ports, a range of them, or the name of a service: Istio hands them on to iptables and nft, which take all of these.
fn ports(item: &str) -> Result<RangeInclusive<u16>, ValueError> {
    value::ports(item, accounts::service)
}

fn group(item: &str) -> Result<u32, String> {
    account(item, "group", accounts::gid)
}

const MODES: [(&str, Mode); 2] = [("REDIRECT", Mode::Redirect), ("TPROXY", Mode::Tproxy)];

fn mode(given: &Given) -> Result<Mode, UsageError> {
    if given.text.is_empty() { Ok(Mode::Redirect) } else { given.choice(&MODES) }
}

fn mode_name(mode: Mode) -> &'static str {
    MODES.into_iter().find(|(_, named)| *named == mode).map_or("", |(name, _)| name)
}

/// A packet's mark; 0 is that of packets that nobody marked.
fn mark(text: &str) -> Result<u32, String> {
    match number(text).map_err(|fault| fault.to_string())? {
        0 => Err("mark 0 is that of all packets".to_owned()),
        mark => Ok(mark),
    }
}

/// A routing table of our own: not unspec, default, main or local (rtnetlink(7), `rtm_table`).
fn route_table(text: &str) -> Result<u32, String> {
    match number(text).map_err(|fault| fault.to_string())? {
        table @ (0 | 253..=255) => Err(format!("table {table} is one of the system's own")),
        table => Ok(table),
    }
}

fn service_cidr(given: &Given) -> Result<ServiceCidr, UsageError> {
    if given.is_wildcard() { Ok(ServiceCidr::All) } else { given.list(network).map(ServiceCidr::Only) }
}

fn excluded_networks(given: &Given) -> Result<Vec<IpPrefix>, UsageError> {
    if given.is_wildcard() {
        return Err(given.fault("* would exclude all traffic: name the networks, or leave it out"));
    }
    given.list(network)
}

fn owner_groups(given: &Given) -> Result<Option<Vec<u32>>, UsageError> {
    if given.is_wildcard() {
        return Ok(None);
    }
    given.list(group).map(Some)
}

fn interface(item: &str) -> Result<Interface, String> {
    item.parse().map_err(|error| format!("{item:?}: {error}"))
}

fn loopback_network(text: &str) -> Result<Ipv4Prefix, String> {
    let network = network(text).map_err(|fault| fault.to_string())?;
    let is_loopback = network.address().is_loopback() && network.length() >= 8;
    is_loopback
        .then(|| Ipv4Prefix::try_from(network.truncated()).ok())
        .flatten()
        .ok_or_else(|| format!("{text:?} is not a loopback network of IPv4 (127.0.0.0/8 or a part of it)"))
}

/// For the end of the help.
pub(super) const LISTS: &str = "Lists are comma separated. A flag wins over its environment variable.";

/// For the end of the help of what applies.
pub(super) const NOTES: &str = "\
As Istio's injector calls it; without -b nothing that comes in is intercepted, without -i and -q nothing that goes out:
  meshwire istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020

Needs CAP_NET_ADMIN in the pod's network namespace, where it runs; --dry-run needs no capability.
Exit codes: 0 done; 1 failed, and nothing was changed; 2 wrong usage; 126 traffic is not intercepted.";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mesh::istio::sidecar::pod::INIT_VARIABLES;

    /// The node agent reports these of an init container, and no others.
    #[test]
    fn all_variables_of_istios_command_are_named() {
        let flags = FLAGS.iter().flat_map(|flag| flag.definition().environment);
        let alone = VARIABLES.iter().map(|variable| &variable.definition().name);
        let read: BTreeSet<_> = flags.chain(alone).filter(|name| !name.starts_with("MESHWIRE_")).collect();
        assert_eq!(read, INIT_VARIABLES.iter().collect());
    }
}

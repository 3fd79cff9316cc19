//! From what was given to what it means: after this, nothing is a text that could be wrong.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::cli::profile::{self, Action, Output};
use crate::cli::settings::{Given, UsageError, Values, duration, listening_port, network, number, port};
use crate::cli::{accounts, lockdown, resolv_conf};
use crate::mesh::istio::sidecar::{
    DnsCapture, InboundPorts, Interface, Mode, OwnerGroups, ServiceCidr, Sidecar,
};
use nft_ruleset::optimize::Counting;

/// The proxy's uid where it has no name here.
const DEFAULT_PROXY_UID: u32 = 1337;

/// What changes least comes first.
const SWITCHES: &[(&str, Action)] = &[
    ("dry-run", Action::Print),
    ("skip-rule-apply", Action::Nothing),
    ("check", Action::Check),
    ("cleanup-only", Action::Remove),
];

/// What the command is to do.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) action: Action,
    /// Everything but `ipv6`, which the addresses in the namespace decide
    pub(super) sidecar: Sidecar,
    pub(super) validation: Option<Probe>,
    pub(super) dual_stack: bool,
    pub(super) allow_host_network: bool,
    /// Whether the process gives up what it does not need
    pub(super) lockdown: bool,
    pub(super) network_namespace: Option<Given>,
    pub(super) output: Output,
    pub(super) optimize: Option<Counting>,
    /// What the user should know of what was given
    pub(super) warnings: Vec<String>,
}

/// How interception is proved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) port: u16,
    pub(super) timeout: Duration,
}

impl Options {
    pub(super) fn new(values: &Values<'_>) -> Result<Self, UsageError> {
        let mut warnings = Vec::new();
        if let Some(given) = values.get("force-iptables-binary") {
            match given.text.as_str() {
                "" => {}
                "legacy" | "nft" => {
                    warnings.push("--force-iptables-binary is ignored: no iptables is used here".to_owned());
                }
                other => return Err(given.fault(format_args!("{other:?} is neither legacy nor nft"))),
            }
        }
        let run_validation = values.switch("run-validation")?;
        let probe = Probe {
            port: values.parsed("iptables-probe-port", 15002, |given| given.one(listening_port))?,
            timeout: values.parsed("probe-timeout", Duration::from_secs(5), |given| given.one(duration))?,
        };
        // Accepted for Istio's sake; only their values can be wrong.
        for name in ["cni-mode", "reconcile", "force-apply"] {
            values.switch(name)?;
        }
        Ok(Self {
            action: profile::action(values, SWITCHES)?,
            validation: run_validation.then_some(probe),
            dual_stack: values.switch("dual-stack")?,
            allow_host_network: values.switch("allow-host-network")?,
            lockdown: lockdown::desired(values)?,
            network_namespace: values.not_empty("network-namespace"),
            output: values.parsed("output", Output::Text, profile::output)?,
            optimize: profile::optimization(values)?,
            sidecar: sidecar(values, &mut warnings)?,
            warnings,
        })
    }
}

fn sidecar(values: &Values<'_>, warnings: &mut Vec<String>) -> Result<Sidecar, UsageError> {
    let default = Sidecar::default();
    let listening = |name, default| values.parsed(name, default, |given| given.one(listening_port));
    let proxy_uids = proxy_uids(values)?;
    let proxy_gids = match values.not_empty("proxy-gid") {
        Some(given) => given.list(|item| account(item, "group", accounts::gid))?,
        None => proxy_uids.clone(),
    };
    let outbound_ports = values.list("istio-outbound-ports", port)?;
    Ok(Sidecar {
        envoy_port: listening("envoy-port", default.envoy_port)?,
        inbound_capture_port: listening("inbound-capture-port", default.inbound_capture_port)?,
        inbound_tunnel_port: listening("inbound-tunnel-port", default.inbound_tunnel_port)?,
        proxy_uids,
        proxy_gids,
        mode: values.parsed("istio-inbound-interception-mode", default.mode, mode)?,
        tproxy_mark: values
            .parsed("istio-inbound-tproxy-mark", default.tproxy_mark, |given| given.one(mark))?,
        tproxy_route_table: values.parsed(
            "istio-inbound-tproxy-route-table",
            default.tproxy_route_table,
            |given| given.one(table),
        )?,
        inbound_ports: inbound_ports(values)?,
        outbound_ports,
        outbound_ports_exclude: values.list("istio-local-outbound-ports-exclude", port)?,
        service_cidr: values.parsed("istio-service-cidr", default.service_cidr, service_cidr)?,
        service_cidr_exclude: values.parsed(
            "istio-service-exclude-cidr",
            default.service_cidr_exclude,
            excluded_networks,
        )?,
        owner_groups: owner_groups(values, warnings)?,
        virtual_interfaces: values.list("kube-virt-interfaces", interface)?,
        exclude_interfaces: values.list("istio-exclude-interfaces", interface)?,
        dns: dns(values, warnings)?,
        drop_invalid: values.switch("drop-invalid")?,
        ipv6: false,
        native_nftables: values.switch("native-nftables")?,
        loopback_v4: values
            .variable("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR")
            .map_or(Ok(default.loopback_v4), |given| given.one(loopback_network))?,
    })
}

fn proxy_uids(values: &Values<'_>) -> Result<Vec<u32>, UsageError> {
    if let Some(given) = values.not_empty("proxy-uid") {
        return given.list(|item| account(item, "user", accounts::uid));
    }
    let user = values.variable("ENVOY_USER").map_or_else(|| "istio-proxy".to_owned(), |given| given.text);
    // As with Istio, a file that cannot be read is a user that is not there.
    Ok(vec![accounts::uid(&user).ok().flatten().unwrap_or(DEFAULT_PROXY_UID)])
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

fn mode(given: &Given) -> Result<Mode, UsageError> {
    match given.text.as_str() {
        "" | "REDIRECT" => Ok(Mode::Redirect),
        "TPROXY" => Ok(Mode::Tproxy),
        other => Err(given.fault(format_args!("{other:?} is neither REDIRECT nor TPROXY"))),
    }
}

/// A packet's mark; 0 is that of packets that nobody marked.
fn mark(text: &str) -> Result<u32, String> {
    match number(text).map_err(|fault| fault.to_string())? {
        0 => Err("mark 0 is that of all packets".to_owned()),
        mark => Ok(mark),
    }
}

/// A routing table of our own: not unspec, default, main or local (rtnetlink(7), `rtm_table`).
fn table(text: &str) -> Result<u32, String> {
    match number(text).map_err(|fault| fault.to_string())? {
        table @ (0 | 253..=255) => Err(format!("table {table} is one of the system's own")),
        table => Ok(table),
    }
}

fn inbound_ports(values: &Values<'_>) -> Result<InboundPorts, UsageError> {
    let except = values.list("istio-local-exclude-ports", port)?;
    match values.get("istio-inbound-ports") {
        Some(given) if given.is_wildcard() => Ok(InboundPorts::AllExcept(except)),
        Some(given) => given.list(port).map(InboundPorts::Only),
        None => Ok(InboundPorts::Only(Vec::new())),
    }
}

fn service_cidr(given: &Given) -> Result<ServiceCidr, UsageError> {
    if given.is_wildcard() { Ok(ServiceCidr::All) } else { given.list(network).map(ServiceCidr::Only) }
}

fn excluded_networks(given: &Given) -> Result<Vec<IpNet>, UsageError> {
    if given.is_wildcard() {
        return Err(given.fault("* would exclude all traffic: name the networks, or leave it out"));
    }
    given.list(network)
}

fn owner_groups(values: &Values<'_>, warnings: &mut Vec<String>) -> Result<OwnerGroups, UsageError> {
    let group = |item: &str| account(item, "group", accounts::gid);
    let except = values
        .variable("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE")
        .map_or(Ok(Vec::new()), |given| given.list(group))?;
    let Some(given) = values.variable("ISTIO_OUTBOUND_OWNER_GROUPS").filter(|given| !given.is_wildcard())
    else {
        return Ok(OwnerGroups::AllExcept(except));
    };
    let groups = given.list(group)?;
    if groups.is_empty() {
        warnings.push(
            "ISTIO_OUTBOUND_OWNER_GROUPS is empty: nobody's outbound traffic is intercepted".to_owned(),
        );
    }
    if groups.len() > OwnerGroups::MAX {
        let (found, max) = (groups.len(), OwnerGroups::MAX);
        return Err(given.fault(format_args!("{found} groups are more than one rule can hold ({max})")));
    }
    Ok(OwnerGroups::Only(groups))
}

fn interface(item: &str) -> Result<Interface, String> {
    item.parse().map_err(|error| format!("{item:?}: {error}"))
}

fn dns(values: &Values<'_>, warnings: &mut Vec<String>) -> Result<Option<DnsCapture>, UsageError> {
    let capture_all = values.switch("capture-all-dns")?;
    let Some(given) = values.get("redirect-dns") else { return Ok(None) };
    if !given.boolean()? {
        return Ok(None);
    }
    if capture_all {
        return Ok(Some(DnsCapture::All));
    }
    let servers: Vec<IpAddr> = resolv_conf::name_servers().map_err(|error| {
        let fault = format!("the servers are in {}, which cannot be read", resolv_conf::PATH);
        given.failure(&fault, &error, "mount that file, or capture all DNS with --capture-all-dns")
    })?;
    if servers.is_empty() {
        warnings.push(format!(
            "DNS is not redirected: {} has no server, and --capture-all-dns is not set",
            resolv_conf::PATH
        ));
        return Ok(None);
    }
    Ok(Some(DnsCapture::Servers(servers)))
}

fn loopback_network(text: &str) -> Result<Ipv4Net, String> {
    match network(text).map_err(|fault| fault.to_string())? {
        IpNet::V4(network) if network.addr().is_loopback() && network.prefix_len() >= 8 => {
            Ok(network.trunc())
        }
        _ => Err(format!("{text:?} is not a loopback network of IPv4 (127.0.0.0/8 or a part of it)")),
    }
}

#[cfg(test)]
mod tests;

//! From what was given to what it means: after this, nothing is a text that could be wrong.

use std::net::IpAddr;
use std::time::Duration;

use super::flags::{self, Ports};
use crate::cli::action::{self, Action};
use crate::cli::flag::shared::{self, Output};
use crate::cli::flag::{Flag, Given, UsageError, Values};
use crate::cli::{lockdown, resolv_conf};
use crate::mesh::istio::sidecar::{DnsCapture, InboundPorts, OwnerGroups, Sidecar};
use nft_ruleset::optimize::Counting;

/// What changes least comes first.
const SWITCHES: &[(&Flag<bool>, Action)] = &[
    (&flags::DRY_RUN, Action::Print),
    (&flags::SKIP_RULE_APPLY, Action::Nothing),
    #[cfg(feature = "tools")]
    (&shared::PLAN, Action::Plan),
    (&shared::CHECK, Action::Check),
    (&flags::CLEANUP_ONLY, Action::Remove),
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
        let mut warnings = values.ignored_variables(flags::FLAGS);
        if values.read(&flags::FORCE_IPTABLES_BINARY)? {
            warnings.push("--force-iptables-binary is ignored: no iptables is used here".to_owned());
        }
        let run_validation = values.read(&flags::RUN_VALIDATION)?;
        let probe =
            Probe { port: values.read(&flags::PROBE_PORT)?, timeout: values.read(&flags::PROBE_TIMEOUT)? };
        // Accepted for Istio's sake; only their values can be wrong.
        for flag in [&flags::CNI_MODE, &flags::RECONCILE, &flags::FORCE_APPLY] {
            values.read(flag)?;
        }
        Ok(Self {
            action: action::action(values, SWITCHES)?,
            validation: run_validation.then_some(probe),
            dual_stack: values.read(&flags::DUAL_STACK)?,
            allow_host_network: values.read(&shared::ALLOW_HOST_NETWORK)?,
            lockdown: values.read(&lockdown::LOCKDOWN)?,
            network_namespace: values.read(&flags::NETWORK_NAMESPACE)?,
            output: values.read(&shared::OUTPUT)?,
            optimize: shared::optimization(values)?,
            sidecar: sidecar(values, &mut warnings)?,
            warnings,
        })
    }
}

fn sidecar(values: &Values<'_>, warnings: &mut Vec<String>) -> Result<Sidecar, UsageError> {
    let proxy_uids = match values.read(&flags::PROXY_UID)? {
        Some(uids) => uids,
        None => vec![flags::uid_of(&values.read(&flags::ENVOY_USER)?, warnings)],
    };
    Ok(Sidecar {
        envoy_port: values.read(&flags::ENVOY_PORT)?,
        inbound_capture_port: values.read(&flags::INBOUND_CAPTURE_PORT)?,
        inbound_tunnel_port: values.read(&flags::INBOUND_TUNNEL_PORT)?,
        proxy_gids: values.read(&flags::PROXY_GID)?.unwrap_or_else(|| proxy_uids.clone()),
        proxy_uids,
        mode: values.read(&flags::MODE)?,
        tproxy_mark: values.read(&flags::TPROXY_MARK)?,
        tproxy_route_table: values.read(&flags::TPROXY_ROUTE_TABLE)?,
        inbound_ports: inbound_ports(values)?,
        outbound_ports: values.read(&flags::OUTBOUND_PORTS)?,
        outbound_ports_exclude: values.read(&flags::OUTBOUND_PORTS_EXCLUDE)?,
        service_cidr: values.read(&flags::SERVICE_CIDR)?,
        service_cidr_exclude: values.read(&flags::SERVICE_CIDR_EXCLUDE)?,
        owner_groups: owner_groups(values, warnings)?,
        virtual_interfaces: values.read(&flags::VIRTUAL_INTERFACES)?,
        exclude_interfaces: values.read(&flags::EXCLUDE_INTERFACES)?,
        dns: dns(values, warnings)?,
        drop_invalid: values.read(&flags::DROP_INVALID)?,
        ipv6: false,
        native_nftables: values.read(&flags::NATIVE_NFTABLES)?,
        loopback_v4: values.read(&flags::LOOPBACK_CIDR)?,
    })
}

fn inbound_ports(values: &Values<'_>) -> Result<InboundPorts, UsageError> {
    let except = values.read(&flags::INBOUND_PORTS_EXCLUDE)?;
    Ok(match values.read(&flags::INBOUND_PORTS)? {
        Some(Ports::All) => InboundPorts::AllExcept(except),
        Some(Ports::Only(ports)) => InboundPorts::Only(ports),
        None => InboundPorts::Only(Vec::new()),
    })
}

fn owner_groups(values: &Values<'_>, warnings: &mut Vec<String>) -> Result<OwnerGroups, UsageError> {
    let except = values.read(&flags::OWNER_GROUPS_EXCLUDE)?;
    let Some(groups) = values.read(&flags::OWNER_GROUPS)? else {
        return Ok(OwnerGroups::AllExcept(except));
    };
    if groups.is_empty() {
        let variable = flags::OWNER_GROUPS.name();
        warnings.push(format!("{variable} is empty: nobody's outbound traffic is intercepted"));
    }
    Ok(OwnerGroups::Only(groups))
}

fn dns(values: &Values<'_>, warnings: &mut Vec<String>) -> Result<Option<DnsCapture>, UsageError> {
    let capture_all = values.read(&flags::CAPTURE_ALL_DNS)?;
    let redirected = values.read(&flags::REDIRECT_DNS)?;
    let Some(given) = values.given(&flags::REDIRECT_DNS).filter(|_| redirected) else { return Ok(None) };
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

#[cfg(test)]
mod tests;

//! A sidecar's settings from its pod's annotations: what Istio's CNI plugin reads where no init container may run.
//!
//! Names, defaults and their order are those of istio/istio cni/pkg/plugin (sidecar_redirect.go, sidecar_intercept.go), at
//! 86c9f01fd735.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use nft_ruleset::IpPrefix;

use super::{
    DnsCapture, InboundPorts, Interface, InterfaceError, Mode, PASSTHROUGH_V6, ServiceCidr, Sidecar,
};
use crate::mesh::pod::{Container, Pod};
use crate::mesh::value::{ValueError, boolean, network, port};

/// The container of Istio's proxy, and the init container where it is a native sidecar.
pub const PROXY: &str = "istio-proxy";
/// The init container that makes the rules where the plugin does not.
pub const INIT: &str = "istio-init";
/// Istio's injector writes it on each pod that gets a sidecar.
pub const STATUS: &str = "sidecar.istio.io/status";
/// The label, or the annotation, that turns injection off and on.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// The init container that Istio's CNI plugin leaves in a pod to see whether it worked. It has the arguments of [`INIT`].
pub const VALIDATION: &str = "istio-validation";
/// The variables of [`INIT`] and [`VALIDATION`] that their program reads.
pub const INIT_VARIABLES: [&str; 38] = [
    "CAPTURE_ALL_DNS",
    "CLEANUP_ONLY",
    "CNI_MODE",
    "DROP_INVALID",
    "DRY_RUN",
    "DUAL_STACK",
    "ENVOY_USER",
    "FORCE_APPLY",
    "FORCE_IPTABLES_BINARY",
    "INBOUND_CAPTURE_PORT",
    "INBOUND_TUNNEL_PORT",
    "INVALID_DROP",
    "IPTABLES_PROBE_PORT",
    "ISTIO_DUAL_STACK",
    "ISTIO_EXCLUDE_INTERFACES",
    "ISTIO_INBOUND_INTERCEPTION_MODE",
    "ISTIO_INBOUND_PORTS",
    "ISTIO_INBOUND_TPROXY_MARK",
    "ISTIO_INBOUND_TPROXY_ROUTE_TABLE",
    "ISTIO_LOCAL_EXCLUDE_PORTS",
    "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",
    "ISTIO_META_DNS_CAPTURE",
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    "ISTIO_OUTBOUND_OWNER_GROUPS",
    "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
    "ISTIO_OUTBOUND_PORTS",
    "ISTIO_SERVICE_CIDR",
    "ISTIO_SERVICE_EXCLUDE_CIDR",
    "KUBE_VIRT_INTERFACES",
    "NATIVE_NFTABLES",
    "NETWORK_NAMESPACE",
    "PROBE_TIMEOUT",
    "PROXY_GID",
    "PROXY_UID",
    "RECONCILE",
    "REDIRECT_DNS",
    "RUN_VALIDATION",
    "SKIP_RULE_APPLY",
];
/// The variables of [`PROXY`] that decide about the rules.
pub const PROXY_VARIABLES: [&str; 4] =
    ["DISABLE_ENVOY", "ISTIO_META_DNS_CAPTURE", "INVALID_DROP", "ISTIO_DUAL_STACK"];
/// Inbound ports of the proxy's own that are never captured: merged metrics, readiness, metrics.
const OWN_PORTS: [u16; 3] = [15020, 15021, 15090];

/// The names of the annotations.
pub mod annotation {
    /// REDIRECT or TPROXY
    pub const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
    /// `*` or networks
    pub const INCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
    /// Networks
    pub const EXCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
    /// `*` or ports
    pub const INCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeInboundPorts";
    /// Ports
    pub const EXCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
    /// Ports
    pub const INCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
    /// Ports
    pub const EXCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
    /// Interfaces
    pub const EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
    /// Interfaces
    pub const REROUTE_VIRTUAL_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";
    /// Interfaces; the older name
    pub const KUBEVIRT_INTERFACES: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";
    /// All of them
    pub const ALL: [&str; 10] = [
        INTERCEPTION_MODE,
        INCLUDE_OUTBOUND_IP_RANGES,
        EXCLUDE_OUTBOUND_IP_RANGES,
        INCLUDE_INBOUND_PORTS,
        EXCLUDE_INBOUND_PORTS,
        INCLUDE_OUTBOUND_PORTS,
        EXCLUDE_OUTBOUND_PORTS,
        EXCLUDE_INTERFACES,
        REROUTE_VIRTUAL_INTERFACES,
        KUBEVIRT_INTERFACES,
    ];
}

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing
    Leave(Leave),
    /// Its traffic is intercepted
    Intercept(Box<PodSidecar>),
}

/// Why a pod is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leave {
    /// Its init container makes the rules
    InitContainer,
    /// DISABLE_ENVOY is set
    EnvoyDisabled,
    /// It has no proxy
    NoProxy,
    /// Its proxy is not a sidecar: a gateway's, for example
    NotASidecar,
    /// Its label or annotation turns injection off
    InjectionOff,
    /// Istio's injector did not write its annotation
    NotInjected,
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InitContainer => "excluded due to being already injected with istio-init container",
            Self::EnvoyDisabled => "excluded due to DISABLE_ENVOY on istio-proxy",
            Self::NoProxy => "excluded because it does not have istio-proxy container",
            Self::NotASidecar => "excluded because its istio-proxy is not a sidecar",
            Self::InjectionOff => "excluded due to sidecar.istio.io/inject",
            Self::NotInjected => "excluded due to not containing sidecar annotation",
        })
    }
}

/// The settings of a pod that is intercepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSidecar {
    /// Everything but `ipv6`, which the addresses in the namespace decide
    pub sidecar: Sidecar,
    /// Whether any IPv6 address turns IPv6 on
    pub dual_stack: bool,
    /// Variables of the proxy that are not understood, and count as off
    pub ignored: Vec<(&'static str, ValueError)>,
}

impl PodSidecar {
    /// The settings in a namespace with these addresses; `None` if no address decides about IPv6.
    #[must_use]
    pub fn with_addresses(self, addresses: impl Iterator<Item = IpAddr>) -> Option<Sidecar> {
        let address = deciding_address(addresses, self.dual_stack)?;
        Some(Sidecar { ipv6: address.is_ipv6(), ..self.sidecar })
    }
}

/// An annotation whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {fault}")]
pub struct AnnotationError {
    /// Its name
    pub annotation: &'static str,
    /// What is wrong with its value
    pub fault: Fault,
}

/// What is wrong with an annotation's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not a value of its kind
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Not an interception mode
    #[error("{0:?} is neither REDIRECT nor TPROXY")]
    Mode(String),
    /// Not an interface
    #[error("{name:?}: {error}")]
    Interface {
        /// The name
        name: String,
        /// What is wrong with it
        error: InterfaceError,
    },
    /// `*` where it has no meaning
    #[error("`*` is not allowed here: name the {0}")]
    Wildcard(&'static str),
}

/// The address that decides whether there are rules for IPv6: the pod's first one, with dual stack its first IPv6 address
/// if it has any. The addresses are those of all interfaces of the namespace, in the order of
/// [`interface_addresses`](crate::network::RouteSocket::interface_addresses).
pub fn deciding_address(addresses: impl Iterator<Item = IpAddr>, dual_stack: bool) -> Option<IpAddr> {
    let of_the_pod: Vec<_> = addresses
        .map(|address| address.to_canonical())
        // An earlier run has added the passthrough address, which says nothing about the pod.
        .filter(|address| !is_local(*address) && *address != PASSTHROUGH_V6)
        .collect();
    let v6 = of_the_pod.iter().find(|address| dual_stack && address.is_ipv6());
    v6.or(of_the_pod.first()).copied()
}

/// Loopback or link local.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

/// What the pod's specification asks for.
///
/// # Errors
/// An annotation's value cannot be used.
pub fn decide(pod: &Pod) -> Result<Decision, AnnotationError> {
    match proxy(pod) {
        Ok(proxy) => Ok(Decision::Intercept(Box::new(settings(pod, proxy)?))),
        Err(leave) => Ok(Decision::Leave(leave)),
    }
}

/// The proxy's container, where the pod is to be intercepted.
fn proxy(pod: &Pod) -> Result<&Container, Leave> {
    if pod.container(INIT).is_some() {
        return Err(Leave::InitContainer);
    }
    let proxy = pod.container(PROXY).ok_or(Leave::NoProxy)?;
    if proxy.switch("DISABLE_ENVOY") == Ok(true) {
        return Err(Leave::EnvoyDisabled);
    }
    if let [first, second, ..] = &proxy.args[..]
        && first == "proxy"
        && second != "sidecar"
    {
        return Err(Leave::NotASidecar);
    }
    let inject = pod.label(INJECT).or(pod.annotation(INJECT));
    if inject.is_some_and(|text| boolean(text) == Ok(false)) {
        return Err(Leave::InjectionOff);
    }
    match pod.annotation(STATUS) {
        Some(_) => Ok(proxy),
        None => Err(Leave::NotInjected),
    }
}

fn settings(pod: &Pod, proxy: &Container) -> Result<PodSidecar, AnnotationError> {
    let mut ignored = Vec::new();
    let mut switch = |name| {
        proxy.switch(name).unwrap_or_else(|fault| {
            ignored.push((name, fault));
            false
        })
    };
    let id = |given: Option<u32>| given.filter(|&id| id != 0);
    let default = Sidecar::default();
    let sidecar = Sidecar {
        proxy_uids: id(proxy.run_as_user).map_or(default.proxy_uids, |uid| vec![uid]),
        proxy_gids: id(proxy.run_as_group).map_or(default.proxy_gids, |gid| vec![gid]),
        mode: read(pod, annotation::INTERCEPTION_MODE, "REDIRECT", mode)?,
        inbound_ports: inbound_ports(pod)?,
        outbound_ports: read(pod, annotation::INCLUDE_OUTBOUND_PORTS, "", ports)?,
        outbound_ports_exclude: read(pod, annotation::EXCLUDE_OUTBOUND_PORTS, "15020", ports)?,
        service_cidr: read(pod, annotation::INCLUDE_OUTBOUND_IP_RANGES, "*", |text| match text {
            "*" => Ok(ServiceCidr::All),
            text => networks(text).map(ServiceCidr::Only),
        })?,
        service_cidr_exclude: read(pod, annotation::EXCLUDE_OUTBOUND_IP_RANGES, "", networks)?,
        virtual_interfaces: match pod.annotation(annotation::REROUTE_VIRTUAL_INTERFACES) {
            Some(_) => read(pod, annotation::REROUTE_VIRTUAL_INTERFACES, "", interfaces)?,
            None => read(pod, annotation::KUBEVIRT_INTERFACES, "", interfaces)?,
        },
        exclude_interfaces: read(pod, annotation::EXCLUDE_INTERFACES, "", interfaces)?,
        dns: switch("ISTIO_META_DNS_CAPTURE").then_some(DnsCapture::All),
        drop_invalid: switch("INVALID_DROP"),
        ..Sidecar::default()
    };
    let dual_stack = switch("ISTIO_DUAL_STACK");
    Ok(PodSidecar { sidecar, dual_stack, ignored })
}

/// An annotation's value, or the default of one that the pod lacks. One that is empty is empty.
fn read<T>(
    pod: &Pod,
    annotation: &'static str,
    default: &str,
    parse: impl FnOnce(&str) -> Result<T, Fault>,
) -> Result<T, AnnotationError> {
    let text = pod.annotation(annotation).unwrap_or(default);
    parse(text).map_err(|fault| AnnotationError { annotation, fault })
}

fn inbound_ports(pod: &Pod) -> Result<InboundPorts, AnnotationError> {
    let mut except = read(pod, annotation::EXCLUDE_INBOUND_PORTS, "15020", ports)?;
    except.extend(OWN_PORTS.map(|port| port..=port));
    let mut seen = Vec::with_capacity(except.len());
    for port in except {
        if !seen.contains(&port) {
            seen.push(port);
        }
    }
    read(pod, annotation::INCLUDE_INBOUND_PORTS, "*", |text| match text.trim() {
        "*" => Ok(InboundPorts::AllExcept(seen)),
        text => ports(text).map(InboundPorts::Only),
    })
}

fn mode(text: &str) -> Result<Mode, Fault> {
    match text {
        "REDIRECT" => Ok(Mode::Redirect),
        "TPROXY" => Ok(Mode::Tproxy),
        other => Err(Fault::Mode(other.to_owned())),
    }
}

/// Ports, with white space around them; empty items do not count. Istio checks that they are numbers here, so that neither
/// ranges nor services come through.
fn ports(text: &str) -> Result<Vec<RangeInclusive<u16>>, Fault> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| match item {
            "*" => Err(Fault::Wildcard("ports")),
            item => Ok(port(item).map(|port| port..=port)?),
        })
        .collect()
}

/// Networks, without white space around them; with Istio, too, `a, b` is an error.
fn networks(text: &str) -> Result<Vec<IpPrefix>, Fault> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let items = text.split(',');
    items
        .map(|item| match item {
            "*" => Err(Fault::Wildcard("networks")),
            item => Ok(network(item)?),
        })
        .collect()
}

fn interfaces(text: &str) -> Result<Vec<Interface>, Fault> {
    let items = text.split(',').filter(|item| !item.is_empty());
    items
        .map(|name| name.parse().map_err(|error| Fault::Interface { name: name.to_owned(), error }))
        .collect()
}

#[cfg(test)]
mod tests;

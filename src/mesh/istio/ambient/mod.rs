//! Ambient interception: what Istio's node agent programs for the pods of its node, so that ztunnel, which listens
//! inside each of them, gets their traffic.
//!
//! [`PodInterception`] is for a pod's network namespace, [`HostInterception`] for the node's own: the kubelet probes the
//! pods in plain text, so on the node its probes get a source address by which the pods know them. The rules, and their
//! order inside each chain, are those of Istio's native nftables backend.

mod host;
mod pod;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use host::{HostInterception, PROBES_V4, PROBES_V6};
pub use pod::PodInterception;

/// The table for addresses: in a pod the one that redirects, on the node the one that probes pass. It has the same name
/// in both, which are never the same namespace.
pub const NAT_TABLE: &str = "istio-ambient-nat";

/// The source address of the kubelet's probes, unless it is configured.
pub const PROBE_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
/// The same for IPv6.
pub const PROBE_V6: Ipv6Addr = Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff);

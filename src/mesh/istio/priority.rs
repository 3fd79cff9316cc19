//! When the base chains in a pod run: at the priorities of Istio's own, and why these (`enum nf_ip_hook_priorities` in
//! linux/netfilter_ipv4.h).

/// Before connection tracking looks a packet up (-200), for that happens in the zone that these chains set; the place of
/// iptables' table raw (-300), from which on nothing else of the kernel's own comes first.
pub(crate) const RAW: i32 = -300;

/// After connection tracking (-200), whose state and mark these chains compare and set; before addresses are translated
/// (-100), so that what is dropped or handed to a transparent socket is never redirected; on the way out, a packet whose
/// mark changes is routed anew before its destination is translated.
pub(crate) const MANGLE: i32 = -150;

/// Where destinations are translated (`NF_IP_PRI_NAT_DST`): the first chain that translates a connection's decides for its
/// whole life. What a tool in the pod makes later at the same priority, such as docker for a published port, runs first
/// and keeps its connections, exactly as with Istio's own rules. Earlier would take them away from it; later would lose
/// the pod's own to any such tool.
pub(crate) const NAT: i32 = -100;

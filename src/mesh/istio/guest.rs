//! DNS of guests: virtual machines and containers whose queries a pod forwards, masqueraded, such as those of KubeVirt and
//! of docker in a pod.
//!
//! Where DNS is intercepted, Istio puts what comes from port 53 into zone 1 of connection tracking, for the sake of the
//! replies to its own agent or to ztunnel. The reply to a guest comes from there, too, but its query went through the pod
//! in zone 0: connection tracking does not find the one for the other, and the reply never gets the guest's address
//! (istio/istio#54689). So a query that is forwarded goes into the same zone as its reply.
//!
//! Forwarded is what is not for an address of this pod. Without that condition, the queries to a DNS server in the pod would
//! go to zone 1 and its replies, which the pod itself sends, would stay in zone 0: a stateful filter drops them. Only UDP is
//! put into zones, so TCP needs nothing of this.
//!
//! A server that the guest has published on another port of the pod stays cut off, by Istio's own rule: the replies to its
//! clients come from port 53 on their way through, while the queries went to that other port.

use nft_ruleset::selector::Fib;
use nft_ruleset::{Data, Op, Rule, Selector};

/// `RTN_LOCAL` of linux/rtnetlink.h, host order.
const LOCAL: u32 = 2;

/// `fib daddr type != local`: packets that this host forwards, before they are routed. For a kernel that has no `fib` see
/// [`Interception::without_fib`](crate::interception::Interception::without_fib).
pub(super) fn to_elsewhere(rule: Rule) -> Rule {
    rule.matches(Selector::Fib(Fib::DADDR_TYPE), Op::Ne, Data::ne32(LOCAL))
}

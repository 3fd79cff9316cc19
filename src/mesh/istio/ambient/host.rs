//! The node's own network namespace: the kubelet's probes leave with an address by which pods know them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{NAT_TABLE, PROBE_V4, PROBE_V6};
use crate::interception::Interception;
use crate::network::Network;
use nft_ruleset::statement::NatKind;
use nft_ruleset::{
    Chain, ChainKind, DataType, Family, Field, Hook, IP_DADDR, IP6_DADDR, Op, Operand, Rule, Ruleset,
    Selector, Set, Table,
};

/// The set of the pods' IPv4 addresses; each element's comment is the pod's UID.
pub const PROBES_V4: &str = "istio-inpod-probes-v4";
/// The same for IPv6.
pub const PROBES_V6: &str = "istio-inpod-probes-v6";

/// A node's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterception {
    /// The uid that the kubelet has, see [`kubelet`](crate::kubelet)
    pub kubelet_uid: u32,
    /// Whether there are rules for IPv6
    pub ipv6: bool,
    /// The source address that probes get
    pub probe_v4: Ipv4Addr,
    /// The same for IPv6
    pub probe_v6: Ipv6Addr,
}

impl HostInterception {
    /// The usual settings, without IPv6.
    #[must_use]
    pub fn new(kubelet_uid: u32) -> Self {
        Self { kubelet_uid, ipv6: false, probe_v4: PROBE_V4, probe_v6: PROBE_V6 }
    }

    /// The ruleset of these settings; the sets are empty.
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        let v6 = self.ipv6.then_some((IP6_DADDR, PROBES_V6, self.probe_v6.into()));
        let families: Vec<(Field, &str, IpAddr)> =
            [(IP_DADDR, PROBES_V4, self.probe_v4.into())].into_iter().chain(v6).collect();
        let rules = families.iter().map(|&(daddr, set, probe)| {
            Rule::new()
                .tcp()
                .skuid(Op::Eq, self.kubelet_uid)
                .compare(Selector::Payload(daddr), Op::Eq, Operand::SetName(set.to_owned()))
                .counter()
                .nat(NatKind::Source, probe)
        });
        let mut table = table(rules.collect());
        table.sets.truncate(families.len());
        Ruleset { tables: vec![table] }
    }

    /// All that is desired of the kernel.
    #[must_use]
    pub fn interception(&self) -> Interception {
        let ruleset = self.ruleset();
        Interception { ruleset, ..Self::nothing() }
    }

    /// That nothing is desired any more of what any settings make.
    #[must_use]
    pub fn nothing() -> Interception {
        Interception {
            ruleset: Ruleset::default(),
            network: Network::default(),
            owned: Ruleset { tables: vec![table(Vec::new())] },
            owned_network: Network::default(),
        }
    }
}

/// The table with both sets, which others fill.
fn table(rules: Vec<Rule>) -> Table {
    let chain = Chain::at_hook("postrouting", ChainKind::Nat, Hook::PostRouting, 100, rules);
    let sets = vec![Set::new(PROBES_V4, DataType::Ipv4Addr), Set::new(PROBES_V6, DataType::Ipv6Addr)];
    Table { sets, ..Table::with_chains(Family::Inet, NAT_TABLE, [chain]) }
}

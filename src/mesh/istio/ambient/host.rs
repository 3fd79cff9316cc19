//! The node's own network namespace: the kubelet's probes leave with an address by which pods know them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{NAT_TABLE, PROBE_V4, PROBE_V6};
use crate::interception::Interception;
use crate::mesh::with_bridges;
use nft_ruleset::statement::NatKind;
use nft_ruleset::{
    Chain, ChainKind, Data, DataType, Family, Field, Hook, IP_DADDR, IP6_DADDR, Op, Operand, Rule, Ruleset,
    Selector, Set, Table,
};

/// The set of the pods' IPv4 addresses; each element's comment is the pod's UID.
pub const PROBES_V4: &str = "istio-inpod-probes-v4";
/// The same for IPv6.
pub const PROBES_V6: &str = "istio-inpod-probes-v6";

/// The base chain, unless it has to be exactly Istio's.
const CHAIN: &str = "istio-probes";
/// Source addresses are translated at 100 (`NF_IP_PRI_NAT_SRC`), and the first chain that gives a connection one decides.
/// Of chains with equal priority the younger one runs first, so at 100 a network plugin that makes its chain anew, such as
/// one that masquerades what goes to pods, would take the probes. No other translation that is known here is before it.
const PRIORITY: i32 = 99;
/// The same in Istio's native backend.
const NATIVE: (&str, i32) = ("postrouting", 100);

/// A node's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterception {
    /// The uids that the kubelet has, see [`kubelet`](crate::kubelet); none: no rule
    pub kubelet_uids: Vec<u32>,
    /// Whether there are rules for IPv6
    pub ipv6: bool,
    /// The source address that probes get
    pub probe_v4: Ipv4Addr,
    /// The same for IPv6
    pub probe_v6: Ipv6Addr,
    /// Exactly the chain of Istio's native backend, which another one of the same priority can come before
    pub native_nftables: bool,
}

impl HostInterception {
    /// The usual settings, without IPv6.
    #[must_use]
    pub fn new(kubelet_uids: impl Into<Vec<u32>>) -> Self {
        Self {
            kubelet_uids: kubelet_uids.into(),
            ipv6: false,
            probe_v4: PROBE_V4,
            probe_v6: PROBE_V6,
            native_nftables: false,
        }
    }

    /// The ruleset of these settings; the sets are empty.
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        self.with_chains([self.native_nftables])
    }

    /// All that is desired of the kernel.
    pub fn interception(&self) -> Interception {
        // The new chain before the old one goes: in between, connections would keep the node's own address for life.
        let handover = self.with_chains([self.native_nftables, !self.native_nftables]);
        Interception { ruleset: self.ruleset(), handover, ..Self::nothing() }
    }

    /// An empty desired state, which removes what any settings make.
    pub fn nothing() -> Interception {
        let owned = Ruleset { tables: vec![table([false, true].map(|native| chain(native, Vec::new())))] };
        Interception { owned: with_bridges(&owned), ..Interception::default() }
    }

    fn with_chains<const N: usize>(&self, native: [bool; N]) -> Ruleset {
        let mut table = table(native.map(|native| chain(native, self.rules())));
        table.sets.truncate(self.families().count());
        Ruleset { tables: vec![table] }
    }

    fn families(&self) -> impl Iterator<Item = (Field, &'static str, IpAddr)> {
        let v6 = self.ipv6.then_some((IP6_DADDR, PROBES_V6, self.probe_v6.into()));
        [(IP_DADDR, PROBES_V4, self.probe_v4.into())].into_iter().chain(v6)
    }

    fn rules(&self) -> Vec<Rule> {
        let uids: BTreeSet<_> = self.kubelet_uids.iter().copied().collect();
        let uids: Vec<_> = uids.into_iter().map(Data::ne32).collect();
        let uids = match uids.as_slice() {
            [] => return Vec::new(),
            [uid] => Operand::Data(uid.clone()),
            _ => Operand::Set(uids),
        };
        let rule = |(daddr, set, probe): (Field, &str, IpAddr)| {
            Rule::new()
                .tcp()
                .compare(Selector::SKUID, Op::Eq, uids.clone())
                .compare(Selector::Payload(daddr), Op::Eq, Operand::SetName(set.to_owned().into()))
                .counter()
                .nat(NatKind::Source, probe)
        };
        self.families().map(rule).collect()
    }
}

fn chain(native: bool, rules: Vec<Rule>) -> Chain {
    let (name, priority) = if native { NATIVE } else { (CHAIN, PRIORITY) };
    Chain::at_hook(name, ChainKind::Nat, Hook::PostRouting, priority, rules)
}

/// The table with both sets, which others fill.
fn table<const N: usize>(chains: [Chain; N]) -> Table {
    let sets = vec![Set::new(PROBES_V4, DataType::Ipv4Addr), Set::new(PROBES_V6, DataType::Ipv6Addr)];
    Table { sets, ..Table::with_chains(Family::Inet, NAT_TABLE, chains) }
}

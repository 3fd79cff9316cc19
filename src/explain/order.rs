//! Which base chains a packet meets at a hook, and in which order.

use std::cmp::Reverse;

use nft_ruleset::{BaseChain, Chain, ChainKind, Family, Hook, Ruleset, Table};
use nftwire::uapi;

/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC` (linux/netfilter_ipv4.h): where all nat chains of a hook run, one after the
/// other, whatever their own priorities are (`nf_nat_register_fn`, net/netfilter/nf_nat_core.c).
const NAT_DST: i32 = -100;
const NAT_SRC: i32 = 100;

/// A base chain at a hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtHook<'r> {
    pub(super) table: &'r Table,
    pub(super) chain: &'r Chain,
    pub(super) base: BaseChain,
    /// The priority at which it runs
    pub(super) runs_at: i32,
}

/// The base chains that packets of this family meet at the hook, in the order in which they run: the lowest priority
/// first; of equal ones the younger first, which later handles show (nf_hook_entries_grow, net/netfilter/core.c).
pub(super) fn chains(ruleset: &Ruleset, family: Family, hook: Hook) -> Vec<AtHook<'_>> {
    let mut chains: Vec<_> = ruleset
        .tables
        .iter()
        .filter(|table| table.family == Family::Inet || table.family == family)
        .filter(|table| table.flags & uapi::NFT_TABLE_F_DORMANT == 0)
        .flat_map(|table| table.chains.iter().map(move |chain| (table, chain)))
        .filter_map(|(table, chain)| {
            let base = chain.base.filter(|base| base.hook == hook)?;
            Some(AtHook { table, chain, base, runs_at: runs_at(base) })
        })
        .collect();
    chains
        .sort_by_key(|at| (at.runs_at, at.base.priority, Reverse(at.table.handle), Reverse(at.chain.handle)));
    chains
}

fn runs_at(base: BaseChain) -> i32 {
    match (base.kind, base.hook) {
        (ChainKind::Nat, Hook::PreRouting | Hook::LocalOut) => NAT_DST,
        (ChainKind::Nat, _) => NAT_SRC,
        _ => base.priority,
    }
}

/// Base chains with rules that are at no hook of IPv4 or IPv6: of devices, bridges and ARP.
pub(super) fn unseen(ruleset: &Ruleset) -> Vec<(&Table, &Chain)> {
    let seen = |table: &Table, base: BaseChain| {
        let family = matches!(table.family, Family::Inet | Family::Ipv4 | Family::Ipv6);
        table.family == Family::Arp || family && base.hook <= Hook::PostRouting
    };
    let chains = ruleset.tables.iter().flat_map(|table| table.chains.iter().map(move |chain| (table, chain)));
    chains
        .filter(|(table, chain)| !chain.rules.is_empty() && chain.base.is_some_and(|base| !seen(table, base)))
        .collect()
}

//! All that is desired once more, in tables of other names, while the old rules go and the new ones come.
//!
//! It takes that where a base chain has to go, because another version of the rules has another one in its place. And it
//! takes that with TPROXY: two sets of its rules do not do the same twice. The first one marks what comes in, and the second
//! one takes the mark for that of the proxy's own connection, and saves it in the connection, whose replies are then routed
//! to this host. So the bridge comes after the old rules, and leaves alone what is given to a transparent socket already.

use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::plan::{Counters, Plan, PlanError};
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Chain, ChainKind, Data, Hook, Name, Op, Rule, Ruleset, Selector, Statement, Table};
use nftwire::expr::SocketKey;
use nftwire::{Error, Family, Socket};

use super::settings;
use crate::interception::Interception;
use crate::mesh::{bridge_name, bridges, is_bridge};

/// A base chain: its table's family and name, and its own name.
pub(super) type BaseChainName = (Family, Name, Name);

/// Whether the rules give packets to a transparent socket, and which mark these get.
pub(super) fn tproxy_mark(interception: &Interception) -> Option<u32> {
    let chains = interception.ruleset.tables.iter().flat_map(|table| &table.chains);
    let mut rules = chains.flat_map(|chain| &chain.rules);
    let is_tproxy = |rule: &&Rule| rule.statements.iter().any(|part| matches!(part, Statement::Tproxy(_)));
    rules.find(is_tproxy).and_then(|rule| settings::of_rule(rule).0.first().copied())
}

/// The tables of the interception under their other names, with filters after the existing ones.
pub(super) fn ruleset(interception: &Interception) -> Ruleset {
    let mark = tproxy_mark(interception);
    let mut ruleset = interception.ruleset.clone();
    for table in &mut ruleset.tables {
        table.name = bridge_name(&table.name);
        for chain in &mut table.chains {
            let Some(base) = &mut chain.base else { continue };
            if base.kind == ChainKind::Filter && base.hook == Hook::PreRouting {
                base.priority += 1;
                // Connection tracking comes before the filters that look at its marks, and after those that set zones.
                if let Some(mark) = mark.filter(|_| base.priority > CONNTRACK) {
                    chain.rules.insert(0, given_to_a_transparent_socket(mark).accept());
                }
            }
        }
    }
    ruleset
}

/// `NF_IP_PRI_CONNTRACK` (linux/netfilter_ipv4.h)
const CONNTRACK: i32 = -200;

/// What has the mark, and a transparent socket that takes it: unlike what the proxy itself sends over `lo` with that
/// mark.
fn given_to_a_transparent_socket(mark: u32) -> Rule {
    let transparent = Selector::Socket(SocketKey::Transparent, 0);
    Rule::new().mark(Op::Eq, mark).matches(transparent, Op::Eq, Data::new(&[1]))
}

/// All tables that a run may have left, of these settings and of others: if it was killed, they still exist.
pub(super) fn owned(interception: &Interception) -> Owned {
    let tables = interception.owned.tables().filter(|(_, name)| is_bridge(name));
    let tables = tables.map(|(family, name)| Table::new(family, name.clone())).collect();
    Owned::default().and(&Ruleset { tables }).and(&bridges(&interception.ruleset))
}

/// The same without the bridges, for as long as one is needed.
pub(super) fn without(interception: &Interception) -> Interception {
    Interception { owned: interception.owned.clone().without(is_bridge), ..interception.clone() }
}

/// The existing base chains that go, with all that their table filters or translates, before the new ones are seen.
pub(super) fn leaving(nft: &mut Socket, interception: &Interception) -> Result<Vec<BaseChainName>, Error> {
    let snapshot = Snapshot::read(nft, Scope::Desired(interception.desired()), Depth::Chains)?;
    let mut leaving = Vec::new();
    for table in snapshot.ruleset()?.tables {
        let desired = interception.ruleset.tables.iter();
        let desired = desired.filter(|desired| desired.family == table.family && desired.name == table.name);
        let desired: Vec<_> = desired.flat_map(|table| &table.chains).collect();
        for chain in table.chains.iter().filter(|chain| chain.base.is_some()) {
            if !desired.iter().any(|desired| is_same(chain, desired)) {
                leaving.push((table.family, table.name.clone(), chain.name.clone()));
            }
        }
    }
    Ok(leaving)
}

/// Whether the chain can stay: its name, and what cannot be changed.
fn is_same(chain: &Chain, desired: &Chain) -> bool {
    let fixed = |chain: &Chain| chain.base.map(|base| (base.kind, base.hook, base.priority));
    chain.name == desired.name && fixed(chain) == fixed(desired)
}

/// Makes these tables hold this, and nothing else; an empty ruleset removes them.
pub(super) fn commit(nft: &mut Socket, ruleset: &Ruleset, owned: &Owned) -> Result<(), PlanError> {
    let plan = Plan::read(nft, Desired::new(ruleset, owned))?;
    if plan.replaces() || !ruleset.tables.is_empty() {
        nft.commit(plan.transaction(Counters::Reset)?.batch())?;
    }
    Ok(())
}

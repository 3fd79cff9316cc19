//! An interception that is applied in many network namespaces.

use std::sync::OnceLock;

use nft_ruleset::plan::{Goal, Shared};
use nft_ruleset::validate::structure;

use super::ApplyError;
use crate::interception::Interception;

/// An [`Interception`] for many network namespaces: what depends on none of them, such as the bytes of its first transaction, is
/// made once, by the first run that needs it. Threads can share one.
#[derive(Debug)]
pub struct Prepared<'a> {
    interception: &'a Interception,
    /// What the runs have in common; `None` for a single one, which saves nothing by it
    shared: Option<Shared<'a>>,
    /// Set when it was validated
    is_valid: OnceLock<()>,
}

impl Interception {
    /// The same, to be [applied](Prepared::apply) in many network namespaces.
    #[must_use]
    pub fn prepare(&self) -> Prepared<'_> {
        Prepared { shared: Some(Shared::new(self.desired())), ..Prepared::once(self) }
    }
}

impl<'a> Prepared<'a> {
    /// For a single run.
    pub(crate) fn once(interception: &'a Interception) -> Self {
        Self { interception, shared: None, is_valid: OnceLock::new() }
    }

    /// What is applied.
    pub fn interception(&self) -> &'a Interception {
        self.interception
    }

    pub(super) fn goal(&self) -> Goal<'_> {
        self.shared.as_ref().map_or_else(|| self.interception.desired().into(), Goal::from)
    }

    /// Validates all but what making a transaction validates.
    pub(super) fn validate(&self) -> Result<(), ApplyError> {
        if self.is_valid.get().is_none() {
            structure(&self.interception.ruleset)?;
            self.is_valid.get_or_init(|| ());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use nft_ruleset::Rule;
    use nft_ruleset::plan::{Comparison, Counters, Plan};
    use nftwire::{Batch, Socket};

    use super::*;
    use crate::mesh::istio::ambient::PodInterception;
    use crate::network::{Network, RouteError, RouteSocket};

    /// Each takes the allocator's lock, for which the threads of many namespaces wait. That what is equal in all of them is
    /// decoded again takes five times as many.
    #[test]
    fn a_run_that_changes_nothing_allocates_little() {
        let pod = PodInterception { ipv6: true, dns: true, ..PodInterception::default() }.interception();
        let prepared = pod.prepare();
        meshwire_testkit::in_new_namespace(|| {
            meshwire_testkit::link::up("lo");
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            let mut counts = Vec::new();
            for _ in 0..4 {
                let run = || assert!(prepared.apply(&mut nft, &mut routes, Counters::Keep).is_ok());
                counts.push(allocation_counter::measure(run).count_total);
            }
            assert!(counts[2] <= 100 && counts[2] == counts[3], "{counts:?}");
        });
    }

    /// A reading that is like one that held what is desired is not looked at: it must not be taken for right where it is not.
    #[test]
    fn whatever_differs_is_seen_and_repaired() {
        if !meshwire_testkit::oracle("nft") {
            return;
        }
        let pod = PodInterception { ipv6: true, dns: true, ..PodInterception::default() }.interception();
        let pod = Interception { network: Network::default(), ..pod };
        let prepared = pod.prepare();
        let table = &pod.ruleset.tables[0];
        let chains = || table.chains.iter().filter(|chain| !chain.rules.is_empty());
        let (base, other) =
            (chains().find(|chain| chain.base.is_some()).unwrap(), &pod.ruleset.tables[1].chains[0]);
        let (here, there) = (format!("{table}"), format!("{}", pod.ruleset.tables[1]));
        let name = &base.name;
        let damages = [
            format!("add rule {here} {name} accept"),
            format!("insert rule {here} {name} counter"),
            format!("flush chain {here} {name}"),
            format!("flush table {here}"),
            format!("flush chain {there} {}", other.name),
            format!("delete table {there}"),
            format!("add chain {here} more"),
            format!("add chain {here} more {{ type filter hook input priority 7; }}"),
            format!("add chain {here} {name} {{ policy drop; }}"),
            format!("add set {here} more {{ type ipv4_addr; }}"),
            format!("add counter {here} more"),
            format!("add table {here} {{ flags dormant; }}"),
        ];
        meshwire_testkit::in_new_namespace(|| {
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            let mut apply =
                |nft: &mut Socket| prepared.apply(nft, &mut routes, Counters::Keep).unwrap().commit.messages;
            let holds = |nft: &mut Socket| {
                let compared = Plan::compare_for(nft, prepared.goal(), Duration::from_secs(5)).unwrap();
                let is_held = matches!(compared, Comparison::Held { .. });
                assert_eq!(is_held, Plan::read(nft, pod.desired()).unwrap().is_empty());
                is_held
            };
            apply(&mut nft);
            assert!(apply(&mut nft) == 0 && holds(&mut nft));
            for damage in &damages {
                let mut command = Command::new("nft");
                assert!(meshwire_testkit::finish(command.arg(damage), "").status.success(), "{damage}");
                assert!(!holds(&mut nft), "{damage}");
                assert!(apply(&mut nft) > 0 && holds(&mut nft), "{damage}");
                // All handles are others now.
                assert_eq!(apply(&mut nft), 0, "{damage}");
            }
        });
    }

    /// Nothing is sent where the rules are in force, but what they need is looked at.
    #[test]
    fn what_the_rules_need_is_restored_or_an_error() {
        if !meshwire_testkit::oracle("ip") {
            return;
        }
        let pod = PodInterception { dns: true, ..PodInterception::default() }.interception();
        let (rule, route) = (&pod.network.rules[0], pod.network.routes[0]);
        let prepared = pod.prepare();
        meshwire_testkit::in_new_namespace(|| {
            meshwire_testkit::link::up("lo");
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            let mut apply = |routes: &mut RouteSocket| {
                prepared.apply(&mut nft, routes, Counters::Keep).map(|applied| applied.commit.messages)
            };
            assert!(apply(&mut routes).unwrap() > 0);
            routes.remove_rule(rule).unwrap();
            routes.remove_local_route(route).unwrap();
            assert_eq!(apply(&mut routes).unwrap(), 0);
            assert!(routes.has_rule(rule).unwrap() && routes.has_local_route(route).unwrap());
            // Somebody else's route is in its place: what was restored before that is known goes again.
            routes.remove_rule(rule).unwrap();
            routes.remove_local_route(route).unwrap();
            let table = route.table.to_string();
            let mut command = Command::new("ip");
            command.args(["route", "add", "unreachable", "default", "table", &table]);
            assert!(meshwire_testkit::finish(&mut command, "").status.success());
            let error = apply(&mut routes).unwrap_err();
            assert!(matches!(error, ApplyError::Route(RouteError::ForeignDefaultRoute { .. })), "{error}");
            assert!(!routes.has_rule(rule).unwrap());
        });
    }

    /// With and without existing tables, and before any route is added.
    #[test]
    fn what_cannot_be_compiled_is_named_and_changes_nothing() {
        let pod = PodInterception { dns: true, ..PodInterception::default() }.interception();
        let mut wrong = pod.clone();
        let rules =
            &mut wrong.ruleset.tables[0].chains.iter_mut().rev().find(|chain| !chain.rules.is_empty());
        let rules = &mut rules.as_mut().unwrap().rules;
        rules.push(Rule::new().counter().comment("c".repeat(128)));
        let place = format!("rule {} of ", rules.len());
        meshwire_testkit::in_new_namespace(|| {
            meshwire_testkit::link::up("lo");
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            for _ in 0..2 {
                for counters in [Counters::Reset, Counters::Keep] {
                    let generation = nft.generation().unwrap();
                    let error = wrong.prepare().apply(&mut nft, &mut routes, counters).unwrap_err();
                    assert!(matches!(error, ApplyError::Invalid(_)), "{error}");
                    assert!(error.to_string().starts_with(&place), "{error}");
                    assert_eq!(nft.generation().unwrap(), generation);
                }
                assert!(!routes.has_rule(&pod.network.rules[0]).unwrap());
                pod.apply(&mut nft, &mut routes, Counters::Keep).unwrap();
                pod.network.remove(&mut routes, &mut Network::default()).unwrap();
            }
        });
    }

    #[test]
    fn every_namespace_gets_what_a_single_one_gets() {
        let pod = PodInterception { ipv6: true, dns: true, ..PodInterception::default() }.interception();
        // Routes need links that are up.
        let pod = Interception { network: Network::default(), ..pod };
        let prepared = pod.prepare();
        let in_a_namespace = || {
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            let messages = |counters, routes: &mut RouteSocket, nft: &mut Socket| {
                let messages = prepared.apply(nft, routes, counters).unwrap().commit.messages;
                assert!(Plan::read(nft, pod.desired()).unwrap().is_empty());
                messages
            };
            let first = messages(Counters::Keep, &mut routes, &mut nft);
            let again = messages(Counters::Keep, &mut routes, &mut nft);
            let table = &pod.ruleset.tables[0];
            let chain = table.chains.iter().find(|chain| !chain.rules.is_empty()).unwrap();
            let mut damage = Batch::new();
            damage.flush_chain(table.family, &table.name, &chain.name);
            nft.commit(&mut damage).unwrap();
            let repaired = messages(Counters::Keep, &mut routes, &mut nft);
            assert!(again == 0 && 0 < repaired && repaired < first, "{first}, {again}, {repaired}");
            // All rules are new.
            assert!(messages(Counters::Reset, &mut routes, &mut nft) >= first);
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| meshwire_testkit::in_new_namespace(in_a_namespace));
            }
        });
    }
}

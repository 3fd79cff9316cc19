//! The tables and chains that the rules go into.

use crate::ruleset::{BaseChain, Chain, ChainKind, Family, Hook, Policy, Rule, Ruleset, Table};

/// All tables and chains that some settings need, empty.
#[must_use]
pub fn layout() -> Ruleset {
    Rules::default().into_ruleset()
}

#[derive(Default)]
pub(super) struct Rules {
    pub(super) nat: Nat,
    pub(super) mangle: Mangle,
    pub(super) raw: Raw,
}

#[derive(Default)]
pub(super) struct Nat {
    pub(super) prerouting: Vec<Rule>,
    pub(super) output: Vec<Rule>,
    pub(super) inbound: Vec<Rule>,
    pub(super) redirect: Vec<Rule>,
    pub(super) in_redirect: Vec<Rule>,
    pub(super) istio_output: Vec<Rule>,
    pub(super) output_dns: Vec<Rule>,
}

#[derive(Default)]
pub(super) struct Mangle {
    pub(super) prerouting: Vec<Rule>,
    pub(super) output: Vec<Rule>,
    pub(super) divert: Vec<Rule>,
    pub(super) tproxy: Vec<Rule>,
    pub(super) inbound: Vec<Rule>,
    pub(super) drop: Vec<Rule>,
}

#[derive(Default)]
pub(super) struct Raw {
    pub(super) prerouting: Vec<Rule>,
    pub(super) output: Vec<Rule>,
    pub(super) inbound: Vec<Rule>,
    pub(super) output_dns: Vec<Rule>,
}

impl Rules {
    /// Istio's iptables backend, the default, never touches IPv6 when it is off; its native backend leaves rules
    /// without an address family that do (istio/istio#58249). Who swaps one for the other must not lose traffic.
    pub(super) fn leave_ipv6_alone(&mut self) {
        for chain in [
            &mut self.nat.prerouting,
            &mut self.nat.output,
            &mut self.mangle.prerouting,
            &mut self.mangle.output,
            &mut self.raw.prerouting,
            &mut self.raw.output,
        ] {
            if !chain.is_empty() {
                chain.insert(0, Rule::new().ipv6().counter().returns());
            }
        }
    }

    pub(super) fn into_ruleset(self) -> Ruleset {
        let Self { nat, mangle, raw } = self;
        Ruleset {
            tables: vec![
                table(
                    "istio-proxy-nat",
                    [
                        base("prerouting", ChainKind::Nat, Hook::PreRouting, -100, nat.prerouting),
                        base("output", ChainKind::Nat, Hook::LocalOut, -100, nat.output),
                        regular("istio-inbound", nat.inbound),
                        regular("istio-redirect", nat.redirect),
                        regular("istio-in-redirect", nat.in_redirect),
                        regular("istio-output", nat.istio_output),
                        regular("istio-output-dns", nat.output_dns),
                    ],
                ),
                table(
                    "istio-proxy-mangle",
                    [
                        base("prerouting", ChainKind::Filter, Hook::PreRouting, -150, mangle.prerouting),
                        base("output", ChainKind::Route, Hook::LocalOut, -150, mangle.output),
                        regular("istio-divert", mangle.divert),
                        regular("istio-tproxy", mangle.tproxy),
                        regular("istio-inbound", mangle.inbound),
                        regular("istio-drop", mangle.drop),
                    ],
                ),
                table(
                    "istio-proxy-raw",
                    [
                        base("prerouting", ChainKind::Filter, Hook::PreRouting, -300, raw.prerouting),
                        base("output", ChainKind::Filter, Hook::LocalOut, -300, raw.output),
                        regular("istio-inbound", raw.inbound),
                        regular("istio-output-dns", raw.output_dns),
                    ],
                ),
            ],
        }
    }
}

fn table(name: &str, chains: impl Into<Vec<Chain>>) -> Table {
    Table { chains: chains.into(), ..Table::new(Family::Inet, name) }
}

fn base(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    let base = BaseChain { kind, hook, priority, policy: Policy::Accept };
    Chain { name: name.to_owned(), base: Some(base), rules, ..Chain::default() }
}

fn regular(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.to_owned(), rules, ..Chain::default() }
}

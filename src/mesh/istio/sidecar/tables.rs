//! The tables and chains that the rules go into.

use nft_ruleset::{BaseChain, Chain, ChainKind, Family, Hook, Policy, Rule, Ruleset, Table};

use crate::mesh::istio::priority;

const NAT: &str = "istio-proxy-nat";
const MANGLE: &str = "istio-proxy-mangle";
const RAW: &str = "istio-proxy-raw";

/// All tables that some settings need, empty.
#[must_use]
pub fn owned() -> Ruleset {
    Ruleset { tables: [NAT, MANGLE, RAW].map(|name| Table::new(Family::Inet, name)).into() }
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

    /// The chains that have rules, in the tables that have chains.
    pub(super) fn into_ruleset(self) -> Ruleset {
        use ChainKind::{Filter, Nat, Route};
        let Self { nat, mangle, raw } = self;
        let base = |kind, hook, priority| Some(BaseChain { kind, hook, priority, policy: Policy::Accept });
        let tables = [
            table(
                NAT,
                [
                    ("prerouting", base(Nat, Hook::PreRouting, priority::NAT), nat.prerouting),
                    ("output", base(Nat, Hook::LocalOut, priority::NAT), nat.output),
                    ("istio-inbound", None, nat.inbound),
                    ("istio-redirect", None, nat.redirect),
                    ("istio-in-redirect", None, nat.in_redirect),
                    ("istio-output", None, nat.istio_output),
                    ("istio-output-dns", None, nat.output_dns),
                ],
            ),
            table(
                MANGLE,
                [
                    ("prerouting", base(Filter, Hook::PreRouting, priority::MANGLE), mangle.prerouting),
                    ("output", base(Route, Hook::LocalOut, priority::MANGLE), mangle.output),
                    ("istio-divert", None, mangle.divert),
                    ("istio-tproxy", None, mangle.tproxy),
                    ("istio-inbound", None, mangle.inbound),
                    ("istio-drop", None, mangle.drop),
                ],
            ),
            table(
                RAW,
                [
                    ("prerouting", base(Filter, Hook::PreRouting, priority::RAW), raw.prerouting),
                    ("output", base(Filter, Hook::LocalOut, priority::RAW), raw.output),
                    ("istio-inbound", None, raw.inbound),
                    ("istio-output-dns", None, raw.output_dns),
                ],
            ),
        ];
        Ruleset { tables: tables.into_iter().filter(|table| !table.chains.is_empty()).collect() }
    }
}

fn table<const N: usize>(name: &str, chains: [(&str, Option<BaseChain>, Vec<Rule>); N]) -> Table {
    let with_rules = chains.into_iter().filter(|(.., rules)| !rules.is_empty());
    let chains =
        with_rules.map(|(name, base, rules)| Chain { name: name.into(), base, rules, ..Chain::default() });
    Table { chains: chains.collect(), ..Table::new(Family::Inet, name) }
}

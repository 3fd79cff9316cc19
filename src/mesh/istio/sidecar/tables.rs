//! The tables and chains that the rules go into.

use nft_ruleset::{Chain, ChainKind, Family, Hook, Rule, Ruleset, Table};

use crate::mesh::istio::priority;

/// All tables and chains that some settings need, empty.
#[must_use]
pub fn owned() -> Ruleset {
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
                Table::with_chains(
                    Family::Inet,
                    "istio-proxy-nat",
                    [
                        Chain::at_hook(
                            "prerouting",
                            ChainKind::Nat,
                            Hook::PreRouting,
                            priority::NAT,
                            nat.prerouting,
                        ),
                        Chain::at_hook("output", ChainKind::Nat, Hook::LocalOut, priority::NAT, nat.output),
                        Chain::regular("istio-inbound", nat.inbound),
                        Chain::regular("istio-redirect", nat.redirect),
                        Chain::regular("istio-in-redirect", nat.in_redirect),
                        Chain::regular("istio-output", nat.istio_output),
                        Chain::regular("istio-output-dns", nat.output_dns),
                    ],
                ),
                Table::with_chains(
                    Family::Inet,
                    "istio-proxy-mangle",
                    [
                        Chain::at_hook(
                            "prerouting",
                            ChainKind::Filter,
                            Hook::PreRouting,
                            priority::MANGLE,
                            mangle.prerouting,
                        ),
                        Chain::at_hook(
                            "output",
                            ChainKind::Route,
                            Hook::LocalOut,
                            priority::MANGLE,
                            mangle.output,
                        ),
                        Chain::regular("istio-divert", mangle.divert),
                        Chain::regular("istio-tproxy", mangle.tproxy),
                        Chain::regular("istio-inbound", mangle.inbound),
                        Chain::regular("istio-drop", mangle.drop),
                    ],
                ),
                Table::with_chains(
                    Family::Inet,
                    "istio-proxy-raw",
                    [
                        Chain::at_hook(
                            "prerouting",
                            ChainKind::Filter,
                            Hook::PreRouting,
                            priority::RAW,
                            raw.prerouting,
                        ),
                        Chain::at_hook(
                            "output",
                            ChainKind::Filter,
                            Hook::LocalOut,
                            priority::RAW,
                            raw.output,
                        ),
                        Chain::regular("istio-inbound", raw.inbound),
                        Chain::regular("istio-output-dns", raw.output_dns),
                    ],
                ),
            ],
        }
    }
}

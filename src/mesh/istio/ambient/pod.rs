//! A pod's network namespace: its traffic goes by way of ztunnel, whose sockets are inside the pod.
//!
//! ztunnel marks its own packets, and they pass. It answers the connections that it takes in from the addresses that
//! they were made to, so the replies have to come back to it although these addresses are none of its socket's: the
//! connection gets a mark, the replies get the packets' mark of it, and a route brings marked packets to this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{NAT_TABLE, PROBE_V4, PROBE_V6};
use crate::interception::Interception;
use crate::mesh::istio::guest::to_elsewhere;
use crate::mesh::istio::interface::{Interface, iifname};
use crate::mesh::istio::priority;
use crate::mesh::with_bridges;
use crate::network::{self, LocalRoute, Network, PolicyRule};
use nft_ruleset::{
    Chain, ChainKind, DataType, Expression, Family, Hook, Op, Operator, Rule, Ruleset, Selector, Statement,
    TCP_DPORT, Table, Target, UDP_DPORT, UDP_SPORT, Verdict,
};
use nftwire::Data;
use nftwire::Name;

/// The port at which ztunnel takes what leaves the pod.
const OUTBOUND_PORT: u16 = 15001;
/// The port at which ztunnel takes plain text that comes in.
const INBOUND_PORT: u16 = 15006;
/// The port of the mesh's tunnel, HBONE, to which other nodes connect.
const TUNNEL_PORT: u16 = 15008;
/// The port at which ztunnel answers DNS.
const DNS_PORT: u16 = 15053;
/// The mark of ztunnel's own packets.
const ZTUNNEL_MARK: u32 = 0x539;
/// The mark of connections that ztunnel opened, and of the packets that answer in them.
const REPLY_MARK: u32 = 0x111;
/// The bits of a mark that count.
const MARK_MASK: u32 = 0xfff;
/// The routing table that brings replies to this host.
const ROUTE_TABLE: u32 = 100;
/// The place of the rule that leads there.
const RULE_PRIORITY: u32 = 32764;

/// A pod's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInterception {
    /// Whether there are rules for IPv6
    pub ipv6: bool,
    /// Whether DNS goes to ztunnel: what the pod says, or else what the mesh does
    pub dns: bool,
    /// Whether inbound traffic is left alone, as for a gateway
    pub ingress: bool,
    /// Interfaces whose inbound traffic, from a virtual machine, is treated as outbound
    pub virtual_interfaces: Vec<Interface>,
    /// The source address of the kubelet's probes, which are left alone
    pub probe_v4: Ipv4Addr,
    /// The same for IPv6
    pub probe_v6: Ipv6Addr,
    /// Exactly the rules of Istio's native backend: with them, UDP DNS of guests is lost where DNS is intercepted
    pub native_nftables: bool,
}

impl Default for PodInterception {
    fn default() -> Self {
        Self {
            ipv6: false,
            dns: false,
            ingress: false,
            virtual_interfaces: Vec::new(),
            probe_v4: PROBE_V4,
            probe_v6: PROBE_V6,
            native_nftables: false,
        }
    }
}

impl PodInterception {
    /// The ruleset of these settings: only tables and chains that have something in them, or are jumped to.
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        let mut rules = Rules::default();
        rules.mangle.jump_from_both();
        rules.nat.jump_from_both();
        self.virtual_interfaces(&mut rules.nat);
        rules.mangle.istio_prerouting.push(
            masked(Rule::new(), Selector::MARK, Op::Eq, ZTUNNEL_MARK)
                .counter()
                .set(Target::CT_MARK, reply_mark_in(Selector::CT_MARK)),
        );
        self.probes(&mut rules.nat);
        if !self.ingress {
            self.inbound(&mut rules.nat);
        }
        rules.mangle.istio_output.push(
            masked(Rule::new(), Selector::CT_MARK, Op::Eq, REPLY_MARK)
                .counter()
                .set(Target::MARK, Selector::CT_MARK),
        );
        if self.dns {
            self.dns(&mut rules);
        }
        self.outbound(&mut rules.nat);
        rules.into_ruleset()
    }

    /// What the rules need besides: packets that answer ztunnel stay on this host.
    #[must_use]
    pub fn network(&self) -> Network {
        let v6 = self.ipv6.then_some(network::Family::V6);
        network([network::Family::V4].into_iter().chain(v6))
    }

    /// All that is desired of the kernel.
    pub fn interception(&self) -> Interception {
        Interception { ruleset: self.ruleset(), network: self.network(), ..Self::nothing() }
    }

    /// An empty desired state, which removes what any settings make.
    pub fn nothing() -> Interception {
        let owned = Rules::default().into_tables();
        Interception {
            owned: with_bridges(&owned),
            owned_network: network([network::Family::V4, network::Family::V6]),
            ..Interception::default()
        }
    }

    fn virtual_interfaces(&self, nat: &mut Chains) {
        for interface in &self.virtual_interfaces {
            nat.istio_prerouting.push(iifname(interface).tcp().counter().redirect(OUTBOUND_PORT));
            nat.istio_prerouting.push(iifname(interface).tcp().counter().returns());
        }
    }

    fn probes(&self, nat: &mut Chains) {
        let v6 = self.ipv6.then_some(self.probe_v6.into());
        for probe in [IpAddr::from(self.probe_v4)].into_iter().chain(v6) {
            if !self.ingress {
                nat.istio_prerouting.push(Rule::new().tcp().saddr(Op::Eq, probe).counter().accept());
            }
            nat.istio_output.push(Rule::new().tcp().daddr(Op::Eq, probe).counter().accept());
        }
    }

    fn inbound(&self, nat: &mut Chains) {
        for loopback in self.loopbacks() {
            let elsewhere = Rule::new().daddr(Op::Ne, loopback).port(TCP_DPORT, Op::Ne, TUNNEL_PORT);
            nat.istio_prerouting.push(not_ztunnels(elsewhere).counter().redirect(INBOUND_PORT));
        }
    }

    fn dns(&self, rules: &mut Rules) {
        rules.raw.jump_from_both();
        let query = not_ztunnels(Rule::new().matches(Selector::OIFNAME, Op::Ne, Data::interface("lo")));
        rules.nat.istio_output.push(query.port(UDP_DPORT, Op::Eq, 53).counter().redirect(DNS_PORT));
        for loopback in self.loopbacks() {
            let query = Rule::new().daddr(Op::Ne, loopback).port(TCP_DPORT, Op::Eq, 53);
            rules.nat.istio_output.push(not_ztunnels(query).counter().redirect(DNS_PORT));
        }
        // The pod's queries and those that ztunnel sends for them have the same addresses and ports: a zone keeps
        // connection tracking from taking the one for the other.
        let ztunnels_zone = || Data::ne16(1);
        let query = masked(Rule::new().port(UDP_DPORT, Op::Eq, 53), Selector::MARK, Op::Eq, ZTUNNEL_MARK);
        rules.raw.istio_output.push(query.counter().set(Target::CT_ZONE, ztunnels_zone()));
        let answer = not_ztunnels(Rule::new().port(UDP_SPORT, Op::Eq, 53));
        rules.raw.istio_prerouting.push(answer.counter().set(Target::CT_ZONE, ztunnels_zone()));
        if !self.native_nftables {
            let guests_query = not_ztunnels(Rule::new().port(UDP_DPORT, Op::Eq, 53));
            let guests_query = to_elsewhere(guests_query).counter();
            rules.raw.istio_prerouting.push(guests_query.set(Target::CT_ZONE, ztunnels_zone()));
        }
    }

    fn outbound(&self, nat: &mut Chains) {
        let reply = masked(Rule::new().tcp(), Selector::MARK, Op::Eq, REPLY_MARK);
        nat.istio_output.push(reply.counter().accept());
        for loopback in self.loopbacks() {
            nat.istio_output.push(Rule::new().oifname("lo").daddr(Op::Ne, loopback).counter().accept());
        }
        for loopback in self.loopbacks() {
            let elsewhere = Rule::new().tcp().daddr(Op::Ne, loopback);
            nat.istio_output.push(not_ztunnels(elsewhere).counter().redirect(OUTBOUND_PORT));
        }
    }

    /// The loopback addresses of the families that there are rules for.
    fn loopbacks(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [Ipv4Addr::LOCALHOST.into()].into_iter().chain(self.ipv6.then_some(Ipv6Addr::LOCALHOST.into()))
    }
}

/// The rules by the tables and chains that they go into.
#[derive(Default)]
struct Rules {
    nat: Chains,
    mangle: Chains,
    raw: Chains,
}

#[derive(Default)]
struct Chains {
    prerouting: Vec<Rule>,
    output: Vec<Rule>,
    istio_prerouting: Vec<Rule>,
    istio_output: Vec<Rule>,
}

impl Chains {
    fn jump_from_both(&mut self) {
        self.prerouting.push(Rule::new().jump("istio-prerouting"));
        self.output.push(Rule::new().jump("istio-output"));
    }

    fn into_table(self, name: &str, kinds: [ChainKind; 2], priority: i32) -> Table {
        let [inbound, outbound] = kinds;
        Table::with_chains(
            Family::Inet,
            name,
            [
                Chain::at_hook("prerouting", inbound, Hook::PreRouting, priority, self.prerouting),
                Chain::at_hook("output", outbound, Hook::LocalOut, priority, self.output),
                Chain::regular("istio-prerouting", self.istio_prerouting),
                Chain::regular("istio-output", self.istio_output),
            ],
        )
    }
}

impl Rules {
    fn into_ruleset(self) -> Ruleset {
        let mut ruleset = self.into_tables();
        for table in &mut ruleset.tables {
            let jumps: Vec<_> =
                table.chains.iter().flat_map(|chain| &chain.rules).flat_map(targets).collect();
            table.chains.retain(|chain| !chain.rules.is_empty() || jumps.contains(&chain.name));
        }
        ruleset.tables.retain(|table| !table.chains.is_empty());
        ruleset
    }

    fn into_tables(self) -> Ruleset {
        use ChainKind::{Filter, Nat, Route};
        Ruleset {
            tables: vec![
                self.nat.into_table(NAT_TABLE, [Nat, Nat], priority::NAT),
                self.mangle.into_table("istio-ambient-mangle", [Filter, Route], priority::MANGLE),
                self.raw.into_table("istio-ambient-raw", [Filter, Filter], priority::RAW),
            ],
        }
    }
}

fn targets(rule: &Rule) -> impl Iterator<Item = Name> {
    rule.statements.iter().filter_map(|statement| match statement {
        Statement::Verdict(Verdict::Jump(chain)) => Some(chain.clone()),
        _ => None,
    })
}

/// `meta mark & 0xfff != 0x539`
fn not_ztunnels(rule: Rule) -> Rule {
    masked(rule, Selector::MARK, Op::Ne, ZTUNNEL_MARK)
}

/// `meta mark & 0xfff == MARK`, or of the connection's mark, or with `!=`
fn masked(rule: Rule, selector: Selector, op: Op, value: u32) -> Rule {
    let masked = Expression::binary(selector.into(), Operator::And, mark(MARK_MASK));
    rule.test(masked, op, mark(value))
}

/// `ct mark & 0xfffff000 | 0x111`
fn reply_mark_in(selector: Selector) -> Expression {
    let rest = Expression::binary(selector.into(), Operator::And, mark(!MARK_MASK));
    Expression::binary(rest, Operator::Or, mark(REPLY_MARK))
}

fn mark(value: u32) -> Expression {
    Expression::constant(DataType::Mark, Data::ne32(value))
}

fn network(families: impl IntoIterator<Item = network::Family>) -> Network {
    let mut network = Network { skip_if_ipv6_disabled: true, ..Network::default() };
    for family in families {
        let (mark, mask, priority) = (REPLY_MARK, Some(MARK_MASK), Some(RULE_PRIORITY));
        network.rules.push(PolicyRule { family, mark, mask, priority, table: ROUTE_TABLE });
        network.routes.push(LocalRoute { family, table: ROUTE_TABLE });
    }
    network
}

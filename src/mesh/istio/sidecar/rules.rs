//! The rules of a sidecar, chain by chain, in Istio's order.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use nft_ruleset::{
    Data, Family, IpPrefix, Op, Operand, Rule, Ruleset, Selector, TCP_DPORT, Target, UDP_DPORT, UDP_SPORT,
};
use nftwire::expr::CtKey;

use super::tables::{Mangle, Nat, Raw, Rules};
use super::{
    DNS_PORT, DnsCapture, InboundPorts, Interface, Mode, OUTBOUND_MARK, OwnerGroups, PASSTHROUGH_V4,
    PASSTHROUGH_V6, ServiceCidr, Sidecar,
};
use crate::mesh::istio::guest::to_elsewhere;
use crate::mesh::istio::interface::iifname;

/// Up to this many groups are compared one by one, as Istio has it: with two expressions each, and two more for the
/// counter and the verdict, a rule of them has the 128 that the kernel takes (`NFT_RULE_MAXEXPRS`). More are a set.
const GROUPS_COMPARED: usize = 63;

impl Sidecar {
    /// The ruleset of these settings: only tables and chains that have something in them.
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        let mut rules = Rules::default();
        self.skip_interfaces(&mut rules);
        if self.drop_invalid {
            // Istio's iptables backend, the default, drops invalid packets of any protocol; its native backend only TCP.
            let packets = if self.native_nftables { Rule::new().tcp() } else { Rule::new() };
            rules.mangle.prerouting.push(packets.ct_state(CtKey::STATE_INVALID).counter().jump("istio-drop"));
            rules.mangle.drop.push(Rule::new().counter().drop());
        }
        self.redirects(&mut rules.nat);
        self.inbound(&mut rules);
        self.outbound_exceptions(&mut rules.nat);
        self.owners(&mut rules.nat);
        self.owner_groups(&mut rules.nat);
        if let Some(dns) = self.dns.as_ref().filter(|_| self.captures_dns()) {
            self.dns(dns, &mut rules);
        }
        self.outbound(&mut rules.nat);
        if self.mode == Mode::Tproxy {
            self.tproxy_marks(&mut rules.mangle);
        }
        if !self.ipv6 && !self.native_nftables {
            rules.leave_ipv6_alone();
        }
        rules.into_ruleset()
    }

    fn skip_interfaces(&self, rules: &mut Rules) {
        for interface in &self.exclude_interfaces {
            rules.nat.prerouting.push(iifname(interface).counter().returns());
            rules.nat.output.push(oifname(interface).counter().returns());
            if self.mode == Mode::Tproxy {
                rules.mangle.prerouting.push(iifname(interface).counter().returns());
                rules.mangle.output.push(oifname(interface).counter().returns());
            }
        }
        for interface in &self.virtual_interfaces {
            rules.nat.prerouting.insert(0, iifname(interface).counter().returns());
        }
    }

    fn redirects(&self, nat: &mut Nat) {
        nat.inbound.push(tcp_dport(self.inbound_tunnel_port).counter().returns());
        nat.redirect.push(Rule::new().tcp().counter().redirect(self.envoy_port));
        nat.in_redirect.push(Rule::new().tcp().counter().redirect(self.inbound_capture_port));
    }

    fn inbound(&self, rules: &mut Rules) {
        if self.inbound_ports == InboundPorts::Only(Vec::new()) {
            return;
        }
        match self.mode {
            Mode::Redirect => self.inbound_redirect(&mut rules.nat),
            Mode::Tproxy => self.inbound_tproxy(&mut rules.mangle),
        }
    }

    fn inbound_redirect(&self, nat: &mut Nat) {
        nat.prerouting.push(Rule::new().tcp().counter().jump("istio-inbound"));
        match &self.inbound_ports {
            InboundPorts::AllExcept(ports) => {
                nat.inbound.extend(ports.iter().map(|ports| tcp_dports(ports).counter().returns()));
                nat.inbound.push(Rule::new().tcp().counter().jump("istio-in-redirect"));
            }
            InboundPorts::Only(ports) => {
                nat.inbound
                    .extend(ports.iter().map(|ports| tcp_dports(ports).counter().jump("istio-in-redirect")));
            }
        }
    }

    fn inbound_tproxy(&self, mangle: &mut Mangle) {
        let mark = || Data::ne32(self.tproxy_mark);
        mangle.divert.push(Rule::new().counter().set(Target::MARK, mark()));
        mangle.divert.push(Rule::new().counter().accept());
        for (family, loopback) in self.loopbacks() {
            mangle.tproxy.push(
                Rule::new()
                    .tcp()
                    .daddr(Op::Ne, loopback)
                    .tproxy(family, self.inbound_capture_port)
                    .set(Target::MARK, mark())
                    .counter()
                    .accept(),
            );
        }
        mangle.prerouting.push(Rule::new().tcp().counter().jump("istio-inbound"));
        let established = || Rule::new().tcp().ct_state(CtKey::STATE_ESTABLISHED | CtKey::STATE_RELATED);
        match &self.inbound_ports {
            InboundPorts::AllExcept(ports) => {
                mangle.inbound.extend(ports.iter().map(|ports| tcp_dports(ports).counter().returns()));
                mangle.inbound.push(established().counter().jump("istio-divert"));
                mangle.inbound.push(Rule::new().tcp().counter().jump("istio-tproxy"));
            }
            InboundPorts::Only(ports) => {
                for ports in ports {
                    let divert = established().ports(TCP_DPORT, std::slice::from_ref(ports));
                    mangle.inbound.push(divert.counter().jump("istio-divert"));
                    mangle.inbound.push(tcp_dports(ports).counter().jump("istio-tproxy"));
                }
            }
        }
    }

    fn outbound_exceptions(&self, nat: &mut Nat) {
        nat.output.push(Rule::new().counter().jump("istio-output"));
        for ports in &self.outbound_ports_exclude {
            nat.istio_output.push(tcp_dports(ports).counter().returns());
            let udp = Rule::new().ports(UDP_DPORT, std::slice::from_ref(ports));
            nat.istio_output.push(udp.counter().returns());
        }
        let passthrough =
            |address: IpAddr| Rule::new().oifname("lo").saddr(Op::Eq, address).counter().returns();
        nat.istio_output.push(passthrough(PASSTHROUGH_V4.into()));
        if self.ipv6 {
            nat.istio_output.push(passthrough(PASSTHROUGH_V6.into()));
        }
    }

    /// The proxy's own traffic.
    fn owners(&self, nat: &mut Nat) {
        let dns_and_tunnel = Operand::Set(vec![Data::be16(53), Data::be16(self.inbound_tunnel_port)]);
        let tunnel = Operand::Data(Data::be16(self.inbound_tunnel_port));
        let uid_ports = if self.captures_dns() { &dns_and_tunnel } else { &tunnel };
        for &uid in &self.proxy_uids {
            self.owner(nat, uid_ports, |rule, op| rule.skuid(op, uid));
        }
        for &gid in &self.proxy_gids {
            self.owner(nat, &tunnel, |rule, op| rule.skgid(op, gid));
        }
    }

    fn owner(&self, nat: &mut Nat, not_ports: &Operand, owner: impl Fn(Rule, Op) -> Rule) {
        // The app calls itself by its service's address: app => proxy (client) => proxy (server) => app.
        for (_, loopback) in self.loopbacks() {
            let to_itself = Rule::new().oifname("lo").tcp().daddr(Op::Ne, loopback);
            let to_itself = to_itself.compare(Selector::Payload(TCP_DPORT), Op::Ne, not_ports.clone());
            nat.istio_output.push(owner(to_itself, Op::Eq).counter().jump("istio-in-redirect"));
        }
        // The app calls itself by a loopback address: not by way of the proxy, unless that is asked for.
        if !self.includes_loopback() {
            let from_app = Rule::new().oifname("lo");
            let from_app = if self.captures_dns() { from_app.port(TCP_DPORT, Op::Ne, 53) } else { from_app };
            nat.istio_output.push(owner(from_app, Op::Ne).counter().returns());
        }
        nat.istio_output.push(owner(Rule::new(), Op::Eq).counter().returns());
    }

    fn includes_loopback(&self) -> bool {
        match &self.service_cidr {
            ServiceCidr::All => false,
            ServiceCidr::Only(networks) => {
                networks.iter().any(|network| network.address().to_canonical().is_loopback())
            }
        }
    }

    fn owner_groups(&self, nat: &mut Nat) {
        match &self.owner_groups {
            OwnerGroups::AllExcept(groups) => nat
                .istio_output
                .extend(groups.iter().map(|&group| Rule::new().skgid(Op::Eq, group).counter().returns())),
            OwnerGroups::Only(groups) => {
                let others = match groups.len() {
                    ..=GROUPS_COMPARED => {
                        groups.iter().fold(Rule::new(), |rule, &group| rule.skgid(Op::Ne, group))
                    }
                    _ => {
                        let groups: BTreeSet<_> = groups.iter().copied().collect();
                        let groups = groups.into_iter().map(Data::ne32).collect();
                        Rule::new().compare(Selector::SKGID, Op::Ne, Operand::Set(groups))
                    }
                };
                nat.istio_output.push(others.counter().returns());
            }
        }
    }

    fn dns(&self, dns: &DnsCapture, rules: &mut Rules) {
        rules.raw.output.push(Rule::new().counter().jump("istio-output-dns"));
        rules.nat.istio_output.push(Rule::new().counter().jump("istio-output-dns"));
        let servers = match dns {
            DnsCapture::All => vec![None],
            DnsCapture::Servers(servers) => self.of_known_family(servers),
        };
        for field in [TCP_DPORT, UDP_DPORT] {
            rules.nat.output_dns.extend(
                servers
                    .iter()
                    .map(|&server| to_server(server).port(field, Op::Eq, 53).counter().redirect(DNS_PORT)),
            );
        }
        // Queries to the agent and queries of the agent have the same addresses and ports once they are redirected:
        // zones keep connection tracking from taking the one for the other.
        for &uid in &self.proxy_uids {
            zones(&mut rules.raw, |rule| rule.skuid(Op::Eq, uid));
        }
        for &gid in &self.proxy_gids {
            zones(&mut rules.raw, |rule| rule.skgid(Op::Eq, gid));
        }
        rules.raw.prerouting.push(Rule::new().counter().jump("istio-inbound"));
        for server in servers {
            let query = with_address(udp_dport(53), server, Rule::daddr);
            rules.raw.output_dns.push(query.counter().set(Target::CT_ZONE, Data::ne16(2)));
            let answer = Rule::new().port(UDP_SPORT, Op::Eq, 53);
            let answer = with_address(answer, server, Rule::saddr);
            rules.raw.inbound.push(answer.counter().set(Target::CT_ZONE, Data::ne16(1)));
            if !self.native_nftables {
                let query = with_address(udp_dport(53), server, Rule::daddr);
                rules.raw.inbound.push(to_elsewhere(query).counter().set(Target::CT_ZONE, Data::ne16(1)));
            }
        }
    }

    fn outbound(&self, nat: &mut Nat) {
        for (_, loopback) in self.loopbacks() {
            nat.istio_output.push(Rule::new().daddr(Op::Eq, loopback).counter().returns());
        }
        for network in self.networks(&self.service_cidr_exclude) {
            nat.istio_output.push(Rule::new().daddr(Op::Eq, network).counter().returns());
        }
        for ports in &self.outbound_ports {
            nat.istio_output.push(tcp_dports(ports).counter().jump("istio-redirect"));
        }
        match &self.service_cidr {
            ServiceCidr::All => {
                nat.istio_output.push(Rule::new().counter().jump("istio-redirect"));
                for interface in &self.virtual_interfaces {
                    nat.prerouting.insert(0, iifname(interface).counter().jump("istio-redirect"));
                }
            }
            ServiceCidr::Only(networks) => {
                for network in self.networks(networks) {
                    for interface in &self.virtual_interfaces {
                        let rule = iifname(interface).daddr(Op::Eq, network);
                        nat.prerouting.insert(0, rule.counter().jump("istio-redirect"));
                    }
                    let rule = Rule::new().daddr(Op::Eq, network);
                    nat.istio_output.push(rule.counter().jump("istio-redirect"));
                }
            }
        }
    }

    fn tproxy_marks(&self, mangle: &mut Mangle) {
        let marked = || Rule::new().tcp().mark(Op::Eq, self.tproxy_mark);
        mangle.prerouting.push(marked().counter().set(Target::CT_MARK, Selector::MARK));
        let from_proxy = Rule::new().oifname("lo").tcp().mark(Op::Eq, self.tproxy_mark);
        mangle.output.push(from_proxy.counter().returns());
        for &uid in &self.proxy_uids {
            self.mark_outbound(mangle, |rule| rule.skuid(Op::Eq, uid));
        }
        for &gid in &self.proxy_gids {
            self.mark_outbound(mangle, |rule| rule.skgid(Op::Eq, gid));
        }
        let replies = Rule::new().tcp().matches(Selector::CT_MARK, Op::Eq, Data::ne32(self.tproxy_mark));
        mangle.output.push(replies.counter().set(Target::MARK, Selector::CT_MARK));

        let passthrough =
            |address: IpAddr| Rule::new().iifname("lo").tcp().saddr(Op::Eq, address).counter().returns();
        insert(&mut mangle.inbound, 0, marked().counter().returns());
        insert(&mut mangle.inbound, 1, passthrough(PASSTHROUGH_V4.into()));
        if self.ipv6 {
            insert(&mut mangle.inbound, 1, passthrough(PASSTHROUGH_V6.into()));
        }
        let not_outbound = Rule::new().iifname("lo").tcp().mark(Op::Ne, OUTBOUND_MARK);
        insert(&mut mangle.inbound, 2, not_outbound.counter().returns());
    }

    fn mark_outbound(&self, mangle: &mut Mangle, owner: impl Fn(Rule) -> Rule) {
        for (_, loopback) in self.loopbacks() {
            let rule = owner(Rule::new().oifname("lo").tcp().daddr(Op::Ne, loopback));
            mangle.output.push(rule.counter().set(Target::MARK, Data::ne32(OUTBOUND_MARK)));
        }
    }

    /// The loopback networks of the families that there are rules for.
    fn loopbacks(&self) -> impl Iterator<Item = (Family, IpPrefix)> + use<> {
        let v6 = self.ipv6.then(|| (Family::Ipv6, IpPrefix::from(Ipv6Addr::LOCALHOST)));
        std::iter::once((Family::Ipv4, self.loopback_v4.into())).chain(v6)
    }

    /// The networks of the families that there are rules for, IPv4 first.
    fn networks(&self, networks: &[IpPrefix]) -> Vec<IpPrefix> {
        let v4 = networks.iter().filter(|network| network.address().is_ipv4());
        let v6 = networks.iter().filter(|network| self.ipv6 && network.address().is_ipv6());
        v4.chain(v6).copied().collect()
    }

    /// The servers of the families that there are rules for, IPv4 first. Packets to `::ffff:192.0.2.1` are IPv4.
    pub(super) fn of_known_family(&self, servers: &[IpAddr]) -> Vec<Option<IpAddr>> {
        let servers = servers.iter().map(IpAddr::to_canonical);
        let (v4, v6): (Vec<_>, Vec<_>) = servers.partition(IpAddr::is_ipv4);
        let v6 = v6.into_iter().filter(|_| self.ipv6);
        v4.into_iter().chain(v6).map(Some).collect()
    }
}

fn oifname(interface: &Interface) -> Rule {
    Rule::new().matches(Selector::OIFNAME, Op::Eq, interface.as_data())
}

fn tcp_dport(port: u16) -> Rule {
    Rule::new().port(TCP_DPORT, Op::Eq, port)
}

fn udp_dport(port: u16) -> Rule {
    Rule::new().port(UDP_DPORT, Op::Eq, port)
}

fn tcp_dports(ports: &RangeInclusive<u16>) -> Rule {
    Rule::new().ports(TCP_DPORT, std::slice::from_ref(ports))
}

fn to_server(server: Option<IpAddr>) -> Rule {
    with_address(Rule::new(), server, Rule::daddr)
}

fn with_address(rule: Rule, address: Option<IpAddr>, field: fn(Rule, Op, IpPrefix) -> Rule) -> Rule {
    match address {
        Some(address) => field(rule, Op::Eq, address.into()),
        None => rule,
    }
}

fn zones(raw: &mut Raw, owner: impl Fn(Rule) -> Rule) {
    let agents_query = owner(Rule::new().port(UDP_DPORT, Op::Eq, 53));
    raw.output_dns.push(agents_query.counter().set(Target::CT_ZONE, Data::ne16(1)));
    let agents_answer = owner(Rule::new().port(UDP_SPORT, Op::Eq, DNS_PORT));
    raw.output_dns.push(agents_answer.counter().set(Target::CT_ZONE, Data::ne16(2)));
}

/// Before the rule with this number, or at the end where there are fewer.
fn insert(rules: &mut Vec<Rule>, index: usize, rule: Rule) {
    rules.insert(index.min(rules.len()), rule);
}

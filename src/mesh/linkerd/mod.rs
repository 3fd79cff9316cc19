//! Linkerd: what its `proxy-init` programs in a pod.
//!
//! The rules, their order and their comments are those that Linkerd gives iptables and ip6tables, in one table for both
//! address families. Where iptables needs a rule for each 15 ports, one set holds them all.

pub mod pod;

use std::ops::RangeInclusive;

use nft_ruleset::IpPrefix;

use crate::interception::Interception;
use crate::mesh::{are_all_networks, are_all_ports, with_bridges};
use nft_ruleset::nft::compile::COMMENT_MAX;
use nft_ruleset::{BaseChain, Chain, ChainKind, Family, Hook, Op, Policy, Rule, Ruleset, TCP_DPORT, Table};

/// The name of the table, of whatever family.
const TABLE: &str = "linkerd-proxy-init";
/// The chain for inbound packets.
const INBOUND: &str = "proxy-init-redirect";
/// The chain for outbound packets.
const OUTBOUND: &str = "proxy-init-output";

/// A pod's settings. The names are those of Linkerd's flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyInit {
    /// Inbound TCP goes here
    pub incoming_proxy_port: u16,
    /// Outbound TCP goes here
    pub outgoing_proxy_port: u16,
    /// The proxy's uid: its traffic is left alone
    pub proxy_uid: Option<u32>,
    /// The proxy's gid: its traffic is left alone
    pub proxy_gid: Option<u32>,
    /// Inbound ports that are redirected; all, if there are none
    pub ports_to_redirect: Vec<u16>,
    /// Inbound ports that are left alone
    pub inbound_ports_to_ignore: Vec<RangeInclusive<u16>>,
    /// Outbound ports that are left alone
    pub outbound_ports_to_ignore: Vec<RangeInclusive<u16>>,
    /// Networks from which inbound packets are left alone, whatever their protocol
    pub subnets_to_ignore: Vec<IpPrefix>,
    /// Whether there are rules for IPv6
    pub ipv6: bool,
}

impl ProxyInit {
    /// The ruleset of these settings: one table.
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        let family = if self.ipv6 { Family::Inet } else { Family::Ipv4 };
        let jump = |chain, comment| vec![commented(Rule::new().counter().jump(chain), comment)];
        Ruleset {
            tables: vec![table(
                family,
                [
                    jump(INBOUND, "install-proxy-init-prerouting"),
                    jump(OUTBOUND, "install-proxy-init-output"),
                    self.inbound(),
                    self.outbound(),
                ],
            )],
        }
    }

    /// All that is desired of the kernel.
    pub fn interception(&self) -> Interception {
        Interception { ruleset: self.ruleset(), ..nothing() }
    }

    /// Whether these settings intercept nothing at all.
    #[must_use]
    pub fn intercepts_nothing(&self) -> bool {
        let ignored = |port: &u16| self.inbound_ports_to_ignore.iter().any(|range| range.contains(port));
        let inbound = match self.ports_to_redirect.as_slice() {
            [] => !are_all_ports(&self.inbound_ports_to_ignore),
            ports => !ports.iter().all(ignored),
        };
        let inbound = inbound && !are_all_networks(&self.subnets_to_ignore, self.ipv6);
        !inbound && are_all_ports(&self.outbound_ports_to_ignore)
    }

    /// The networks that are left out, as there are no rules for their family.
    pub fn left_out_subnets(&self) -> impl Iterator<Item = &IpPrefix> {
        self.subnets_to_ignore.iter().filter(|subnet| !self.has_rules_for(subnet))
    }

    fn has_rules_for(&self, subnet: &IpPrefix) -> bool {
        self.ipv6 || subnet.address().is_ipv4()
    }

    fn inbound(&self) -> Vec<Rule> {
        let redirect = |rule: Rule| rule.counter().redirect(self.incoming_proxy_port);
        let mut rules = Vec::from_iter(to_ignored_ports(&self.inbound_ports_to_ignore));
        for subnet in self.subnets_to_ignore.iter().filter(|subnet| self.has_rules_for(subnet)) {
            let from = Rule::new().saddr(Op::Eq, *subnet).counter().returns();
            rules.push(commented(from, &format!("ignore-subnet-{subnet}")));
        }
        if self.ports_to_redirect.is_empty() {
            rules.push(commented(redirect(Rule::new().tcp()), "redirect-all-incoming-to-proxy-port"));
        }
        for &port in &self.ports_to_redirect {
            let to_port = redirect(Rule::new().port(TCP_DPORT, Op::Eq, port));
            rules.push(commented(to_port, &format!("redirect-port-{port}-to-proxy-port")));
        }
        rules
    }

    fn outbound(&self) -> Vec<Rule> {
        let ignored = |rule: Rule, comment| commented(rule.counter().returns(), comment);
        let uid = self.proxy_uid.map(|uid| ignored(Rule::new().skuid(Op::Eq, uid), "ignore-proxy-user-id"));
        let gid = self.proxy_gid.map(|gid| ignored(Rule::new().skgid(Op::Eq, gid), "ignore-proxy-group-id"));
        let mut rules: Vec<_> = uid.into_iter().chain(gid).collect();
        rules.push(ignored(Rule::new().oifname("lo"), "ignore-loopback"));
        rules.extend(to_ignored_ports(&self.outbound_ports_to_ignore));
        let redirect = Rule::new().tcp().counter().redirect(self.outgoing_proxy_port);
        rules.push(commented(redirect, "redirect-all-outgoing-to-proxy-port"));
        rules
    }
}

/// What is desired of the kernel where nothing is to be intercepted any more.
pub fn nothing() -> Interception {
    Interception { owned: with_bridges(&owned()), ..Interception::default() }
}

/// All tables and chains that some settings need, empty: with IPv6 and without.
#[must_use]
pub fn owned() -> Ruleset {
    Ruleset { tables: [Family::Inet, Family::Ipv4].map(|family| table(family, Default::default())).into() }
}

/// A table with the rules of its chains: both base chains, then those for inbound and for outbound packets.
fn table(family: Family, rules: [Vec<Rule>; 4]) -> Table {
    // The place of iptables' table nat, in which Linkerd's own rules are: the first chain that translates a connection's
    // destination decides for its whole life, and the later made of two with equal priority runs first.
    let base = |hook| Some(BaseChain { kind: ChainKind::Nat, hook, priority: -100, policy: Policy::Accept });
    let chains = [
        ("prerouting", base(Hook::PreRouting)),
        ("output", base(Hook::LocalOut)),
        (INBOUND, None),
        (OUTBOUND, None),
    ];
    let chain =
        |((name, base), rules): ((&str, _), _)| Chain { name: name.into(), base, rules, ..Chain::default() };
    Table { chains: chains.into_iter().zip(rules).map(chain).collect(), ..Table::new(family, TABLE) }
}

/// Leaves alone what goes to any of these ports.
fn to_ignored_ports(ports: &[RangeInclusive<u16>]) -> Option<Rule> {
    if ports.is_empty() {
        return None;
    }
    // As iptables writes them, in the order in which they were given.
    let names: Vec<_> = ports
        .iter()
        .map(|range| match range.start() == range.end() {
            true => range.start().to_string(),
            false => format!("{}:{}", range.start(), range.end()),
        })
        .collect();
    let rule = Rule::new().ports(TCP_DPORT, ports).counter().returns();
    Some(commented(rule, &format!("ignore-port-{}", names.join(","))))
}

/// With the comment that Linkerd gives the same rule. A list of ports that is longer than a comment may be is cut
/// after one of them.
fn commented(rule: Rule, comment: &str) -> Rule {
    const MORE: &str = ",...";
    const MAX: usize = COMMENT_MAX - 1;
    let comment = format!("proxy-init/{comment}");
    if comment.len() <= MAX {
        return rule.comment(&comment);
    }
    let end = comment[..=MAX - MORE.len()].rfind(',').unwrap_or(MAX - MORE.len());
    rule.comment(format!("{}{MORE}", &comment[..end]))
}

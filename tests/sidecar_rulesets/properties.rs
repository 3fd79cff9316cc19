//! What holds for any settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use meshwire::mesh::istio::sidecar::{self, DnsCapture, InboundPorts, Interface, Mode};
use meshwire::mesh::istio::sidecar::{OwnerGroups, ServiceCidr, Sidecar};
use nft_ruleset::IpPrefix;
use nft_ruleset::nft::compile::compile;
use nft_ruleset::nft::json;
use nft_ruleset::validate::validate;
use nft_ruleset::{Chain, Rule, Ruleset, Statement, Table};
use nftwire::Expr;
use nftwire::expr::{CmpOp, MetaKey, PayloadBase};
use proptest::collection::vec;
use proptest::prelude::*;

fn sidecars() -> impl Strategy<Value = Sidecar> {
    (ports_and_owners(), inbound(), outbound(), dns(), any::<[bool; 3]>(), 8_u8..=32).prop_map(
        |(base, inbound, outbound, dns, [drop_invalid, ipv6, native_nftables], length)| Sidecar {
            mode: inbound.mode,
            tproxy_mark: inbound.tproxy_mark,
            inbound_ports: inbound.inbound_ports,
            virtual_interfaces: inbound.virtual_interfaces,
            exclude_interfaces: inbound.exclude_interfaces,
            outbound_ports: outbound.outbound_ports,
            outbound_ports_exclude: outbound.outbound_ports_exclude,
            service_cidr: outbound.service_cidr,
            service_cidr_exclude: outbound.service_cidr_exclude,
            owner_groups: outbound.owner_groups,
            dns,
            drop_invalid,
            ipv6,
            native_nftables,
            loopback_v4: IpPrefix::new(Ipv4Addr::LOCALHOST.into(), length)
                .unwrap()
                .truncated()
                .try_into()
                .unwrap(),
            ..base
        },
    )
}

fn ports_and_owners() -> impl Strategy<Value = Sidecar> {
    (any::<[u16; 3]>(), vec(any::<u32>(), 0..4), vec(any::<u32>(), 0..4)).prop_map(
        |([envoy_port, inbound_capture_port, inbound_tunnel_port], proxy_uids, proxy_gids)| Sidecar {
            envoy_port,
            inbound_capture_port,
            inbound_tunnel_port,
            proxy_uids,
            proxy_gids,
            ..super::default_sidecar()
        },
    )
}

fn inbound() -> impl Strategy<Value = Sidecar> {
    let mode = prop_oneof![Just(Mode::Redirect), Just(Mode::Tproxy)];
    let ports = prop_oneof![ports().prop_map(InboundPorts::AllExcept), ports().prop_map(InboundPorts::Only)];
    (mode, any::<u32>(), ports, vec(interface(), 0..3), vec(interface(), 0..3)).prop_map(
        |(mode, tproxy_mark, inbound_ports, virtual_interfaces, exclude_interfaces)| Sidecar {
            mode,
            tproxy_mark,
            inbound_ports,
            virtual_interfaces,
            exclude_interfaces,
            ..super::default_sidecar()
        },
    )
}

fn outbound() -> impl Strategy<Value = Sidecar> {
    let cidr = prop_oneof![Just(ServiceCidr::All), vec(network(), 0..4).prop_map(ServiceCidr::Only)];
    let groups = prop_oneof![
        vec(any::<u32>(), 0..4).prop_map(OwnerGroups::AllExcept),
        vec(any::<u32>(), 0..=200).prop_map(OwnerGroups::Only)
    ];
    (ports(), ports(), cidr, vec(network(), 0..4), groups).prop_map(
        |(outbound_ports, outbound_ports_exclude, service_cidr, service_cidr_exclude, owner_groups)| {
            Sidecar {
                outbound_ports,
                outbound_ports_exclude,
                service_cidr,
                service_cidr_exclude,
                owner_groups,
                ..super::default_sidecar()
            }
        },
    )
}

fn dns() -> impl Strategy<Value = Option<DnsCapture>> {
    let servers = vec(address(), 0..4).prop_map(DnsCapture::Servers);
    proptest::option::of(prop_oneof![Just(DnsCapture::All), servers])
}

fn ports() -> impl Strategy<Value = Vec<RangeInclusive<u16>>> {
    let range = |(first, more): (u16, u16)| first..=first.saturating_add(more);
    vec((any::<u16>(), prop_oneof![Just(0_u16), any::<u16>()]).prop_map(range), 0..4)
}

fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into());
    prop_oneof![v4, any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into())]
}

fn network() -> impl Strategy<Value = IpPrefix> {
    (address(), 0_u8..=128).prop_map(|(address, length)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpPrefix::new(address, length % (longest + 1)).unwrap()
    })
}

fn interface() -> impl Strategy<Value = Interface> {
    "[a-z][a-z0-9.@_-]{0,13}[*]?".prop_map(|name| name.parse().unwrap())
}

fn chains(ruleset: &Ruleset) -> impl Iterator<Item = (&Table, &Chain)> {
    ruleset.tables.iter().flat_map(|table| table.chains.iter().map(move |chain| (table, chain)))
}

fn rules(ruleset: &Ruleset) -> impl Iterator<Item = (&Table, &Rule)> {
    chains(ruleset).flat_map(|(table, chain)| chain.rules.iter().map(move |rule| (table, rule)))
}

/// Whether the expressions compare the value of this key with `number` before the one with this index.
fn known_before(expressions: &[Expr<'_>], index: usize, key: MetaKey, numbers: &[u8]) -> bool {
    expressions[..index].windows(2).any(|pair| match pair {
        [Expr::Meta(meta), Expr::Cmp(cmp)] => {
            meta.key == key
                && cmp.op == CmpOp::Eq
                && matches!(cmp.data.as_bytes(), &[number] if numbers.contains(&number))
        }
        _ => false,
    })
}

proptest! {
    #[test]
    fn it_is_a_ruleset_that_the_kernel_takes(sidecar in sidecars()) {
        prop_assert_eq!(validate(&sidecar.ruleset()), Ok(()));
    }

    #[test]
    fn nothing_is_empty(sidecar in sidecars()) {
        let ruleset = sidecar.ruleset();
        prop_assert!(ruleset.tables.iter().all(|table| !table.chains.is_empty()));
        prop_assert!(chains(&ruleset).all(|(_, chain)| !chain.rules.is_empty()));
    }

    #[test]
    fn every_rule_fits_and_counts_once(sidecar in sidecars()) {
        for (table, rule) in rules(&sidecar.ruleset()) {
            prop_assert!(compile(table.family, rule, 1).unwrap().expressions.len() <= 128);
            let counters = rule.statements.iter().filter(|statement| matches!(statement, Statement::Counter(_)));
            prop_assert_eq!(counters.count(), 1, "{}", rule);
        }
    }

    /// In the family inet, four bytes of an IPv6 header must not be taken for an IPv4 address.
    #[test]
    fn no_header_is_read_before_its_protocol_is_known(sidecar in sidecars()) {
        let (v4_and_v6, tcp_and_udp) = ([2, 10], [6, 17]);
        for (table, rule) in rules(&sidecar.ruleset()) {
            let expressions = compile(table.family, rule, 1).unwrap().expressions;
            for (index, expression) in expressions.iter().enumerate() {
                let Expr::Payload(payload) = expression else { continue };
                let known = match payload.base {
                    PayloadBase::Network => known_before(&expressions, index, MetaKey::NfProto, &v4_and_v6),
                    _ => known_before(&expressions, index, MetaKey::L4Proto, &tcp_and_udp),
                };
                prop_assert!(known, "expression {} of {}", index + 1, rule);
            }
        }
    }

    #[test]
    fn a_rule_is_a_line(sidecar in sidecars()) {
        let ruleset = sidecar.ruleset();
        let text = ruleset.to_string();
        let base_chains = chains(&ruleset).filter(|(_, chain)| chain.base.is_some()).count();
        let inside = text.lines().filter(|line| line.starts_with("\t\t"));
        prop_assert_eq!(inside.count(), ruleset.rule_count() + base_chains);
        let ends = |end| text.lines().filter(|line| line.ends_with(end) && !line.starts_with("\t\t")).count();
        prop_assert_eq!((ends("{"), ends("}")), (ruleset.tables.len() + ruleset.chain_count(), ends("{")));
        for (_, rule) in rules(&ruleset) {
            let line = rule.to_string();
            prop_assert!(!line.contains(['\n', '\t']) && !line.contains("  ") && line.trim() == line, "{:?}", line);
        }
    }

    #[test]
    fn text_and_json_have_the_same_objects(sidecar in sidecars()) {
        let ruleset = sidecar.ruleset();
        let json: serde_json::Value = serde_json::from_str(&json::ruleset(&ruleset, &Default::default())).unwrap();
        let objects = json["nftables"].as_array().expect("a list of objects");
        let count = |kind| objects.iter().filter(|object| object.get(kind).is_some()).count();
        prop_assert_eq!(count("table"), ruleset.tables.len());
        prop_assert_eq!(count("chain"), ruleset.chain_count());
        prop_assert_eq!(count("rule"), ruleset.rule_count());
    }

    /// What is not desired any more is found by the owned, so nothing may be outside of it.
    #[test]
    fn every_table_is_among_the_owned(sidecar in sidecars()) {
        let owned = sidecar::owned();
        for table in sidecar.ruleset().tables {
            prop_assert!(owned.tables.iter().any(|other| other.is_same_table(&table)), "{}", table);
        }
    }

    #[test]
    fn without_ipv6_no_rule_reads_its_header(sidecar in sidecars()) {
        let sidecar = Sidecar { ipv6: false, ..sidecar };
        for (_, rule) in rules(&sidecar.ruleset()) {
            prop_assert!(!format!(" {rule} ").contains(" ip6 "), "{}", rule);
        }
        prop_assert!(sidecar.network().loopback_addresses.is_empty());
    }

    #[test]
    fn without_ipv6_it_passes_every_base_chain_first(sidecar in sidecars()) {
        let native = Sidecar { ipv6: false, native_nftables: true, ..sidecar };
        let mut ruleset = Sidecar { native_nftables: false, ..native.clone() }.ruleset();
        for chain in ruleset.tables.iter_mut().flat_map(|table| &mut table.chains) {
            if chain.base.is_some() {
                prop_assert_eq!(chain.rules.remove(0).to_string(), "meta nfproto ipv6 counter return");
            }
            chain.rules.retain(|rule| !rule.to_string().contains(" fib "));
        }
        // What else departs from Istio's native backend.
        let native = native.ruleset().to_string();
        let native = native.replace("meta l4proto tcp ct state invalid", "ct state invalid");
        prop_assert_eq!(ruleset.to_string(), native);
    }

    #[test]
    fn what_the_network_needs_is_among_what_it_may_need(sidecar in sidecars()) {
        let (network, possible) = (sidecar.network(), sidecar.owned_network());
        prop_assert_eq!(network.without(&possible), meshwire::network::Network::default());
    }
}

//! What is measured with: rules and elements by their number, and a namespace that ends with the process.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::net::{IpAddr, Ipv4Addr};

use meshwire::mesh::istio::sidecar::{ServiceCidr, Sidecar};
use nft_ruleset::IpPrefix;
use nft_ruleset::{Chain, Family, Op, Rule, Ruleset, TCP_DPORT, Table};
use nftwire::{Batch, Data, Element, Socket};

/// How many rules or elements.
pub(crate) const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
/// The table and its chain, which no packet enters.
pub(crate) const TABLE: &str = "bench";
pub(crate) const CHAIN: &str = "rules";

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number)
}

/// `ip daddr A tcp dport P counter return`, each with its own address.
pub(crate) fn rules(count: u32) -> Vec<Rule> {
    let rule = |number| {
        Rule::new()
            .daddr(Op::Eq, IpAddr::from(address(number)))
            .port(TCP_DPORT, Op::Eq, 443)
            .counter()
            .returns()
    };
    (0..count).map(rule).collect()
}

/// These rules in a chain.
pub(crate) fn ruleset(rules: Vec<Rule>) -> Ruleset {
    let chain = Chain { name: CHAIN.into(), rules, ..Chain::default() };
    Ruleset { tables: vec![Table { chains: vec![chain], ..Table::new(Family::Inet, TABLE) }] }
}

/// Addresses, as elements of a set.
pub(crate) fn elements(count: u32) -> Vec<Element<'static>> {
    (0..count).map(|number| Element::new(Data::from(address(number)))).collect()
}

/// `add rule …` of iptables-nft-restore.
pub(crate) fn iptables(count: u32) -> String {
    let rule = |number| format!("-A {CHAIN} -d {}/32 -p tcp -m tcp --dport 443 -j RETURN\n", address(number));
    format!("*filter\n:{CHAIN} - [0:0]\n{}COMMIT\n", (0..count).map(rule).collect::<String>())
}

/// Removes everything; the kernel's deferred work is over when the socket is closed.
pub(crate) fn clear() {
    let mut socket = Socket::open().unwrap();
    let mut batch = Batch::new();
    let tables = |table: nftwire::Table<'_>| {
        batch.del_table(table.family, table.name);
        Ok(())
    };
    socket.tables(Family::Unspec, tables).unwrap();
    socket.commit(&mut batch).unwrap();
}

/// Istio's sidecar with so many excluded networks, none next to another; 127.0.0.2 is neither excluded nor included.
pub(crate) fn excluding(count: u32) -> Ruleset {
    let network =
        |number: u32| IpPrefix::new((0x0a00_0000_u32 + (number << 8)).to_be_bytes().into(), 25).unwrap();
    let sidecar = Sidecar {
        service_cidr: ServiceCidr::Only(vec!["127.9.0.0/16".parse().unwrap()]),
        service_cidr_exclude: (0..count).map(network).collect(),
        ..Sidecar::default()
    };
    sidecar.ruleset()
}

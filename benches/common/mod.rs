//! What is measured with: rules and elements by their number, and a namespace that ends with the process.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

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

/// One run, and how long it took.
type Measure<'c> = Box<dyn FnMut() -> Duration + 'c>;

/// Contenders that are measured in turns, so that what else the machine does meets all of them.
pub(crate) struct Turns<'c> {
    title: String,
    contenders: Vec<(&'static str, Measure<'c>)>,
}

/// How often they are measured, and how often that is repeated for medians whose 95 % intervals are within 5 %.
const RUNS: usize = 11;
const ROUNDS: usize = 4;

impl<'c> Turns<'c> {
    pub(crate) fn new(title: String) -> Self {
        Self { title, contenders: Vec::new() }
    }

    /// One that measures itself.
    pub(crate) fn add(&mut self, name: &'static str, run: impl FnMut() -> Duration + 'c) {
        self.contenders.push((name, Box::new(run)));
    }

    /// Measures all, and prints their medians, by the first one's.
    pub(crate) fn run(mut self) {
        let mut times = vec![Vec::new(); self.contenders.len()];
        for _ in 0..ROUNDS {
            for _ in 0..RUNS {
                for ((_, run), times) in self.contenders.iter_mut().zip(&mut times) {
                    times.push(run());
                }
            }
            times.iter_mut().for_each(|times| times.sort_unstable());
            if times.iter().all(|times| uncertainty(times) <= 0.05) {
                break;
            }
        }
        println!("{}", self.title);
        let mut first = None;
        for ((name, _), times) in self.contenders.iter().zip(times) {
            let median = times[times.len() / 2];
            let ratio = median.as_secs_f64() / first.get_or_insert(median).as_secs_f64();
            let uncertainty = uncertainty(&times) * 100.0;
            let stable = if uncertainty <= 5.0 { "" } else { "  NOT STABLE" };
            let runs = times.len();
            println!(
                "  {name:<30}{median:>12.1?}  {ratio:>8.2}  ± {uncertainty:.0} % of {runs} runs{stable}"
            );
        }
    }
}

/// How far from the median the farther end of its 95 % confidence interval is, by the median: the ends are the times whose
/// ranks are 0.98 times the square root of their number away from the middle.
fn uncertainty(sorted: &[Duration]) -> f64 {
    let (middle, away) = (sorted.len() / 2, (sorted.len() * 96 / 100).isqrt() + 1);
    let seconds = |index: usize| sorted[index.min(sorted.len() - 1)].as_secs_f64();
    let median = seconds(middle);
    (median - seconds(middle.saturating_sub(away))).max(seconds(middle + away) - median) / median
}

//! What `verify` and runs that keep rules take, compared with the same dumps received and thrown away: processor time of one
//! thread, which work that others do does not change, the kernel's part included. In a namespace that ends with the process; needs
//! root.
//!
//! `cargo bench --bench keeping`

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the benchmark")]

mod common;

use std::process::Command;
use std::time::Duration;

use meshwire::apply::Counters;
use meshwire::interception::Interception;
use meshwire::mesh::istio::ambient::{NAT_TABLE, PodInterception};
use meshwire::mesh::istio::sidecar::Sidecar;
use meshwire::network::RouteSocket;
use meshwire::verify::verify;
use nft_ruleset::{Family, IpPrefix, Name, Rule};
use nftwire::{Batch, Query, Socket};
use nix::time::{ClockId, clock_gettime};

use common::{CHAIN, TABLE, Turns, clear, rules, ruleset};

/// Small rulesets are too fast to be measured one by one.
const AT_A_TIME: u32 = 10;

/// How much processor time of this thread `work` takes, once.
fn time(mut work: impl FnMut()) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = now();
    (0..AT_A_TIME).for_each(|_| work());
    (now() - before) / AT_A_TIME
}

/// One request, as often as a proof takes it: twice where the reply has several parts.
fn receive(socket: &mut Socket, family: Family, query: Query<'_>) {
    for _ in 0..2 {
        let mut parts = 0;
        let received = socket.dump(family, query, |received| {
            parts += 1;
            Ok(received.into_buffer())
        });
        received.unwrap();
        if parts < 2 {
            return;
        }
    }
}

/// What a reading of these tables asks for, received and not looked at.
fn raw(socket: &mut Socket, interception: &Interception) {
    let mut tables = interception.ruleset.tables.iter();
    let family = tables.next().map_or(Family::Unspec, |table| table.family);
    let family = if tables.all(|table| table.family == family) { family } else { Family::Unspec };
    for query in [
        Query::Tables,
        Query::Chains,
        Query::Objects { table: None, kind: None },
        Query::Flowtables { table: None },
    ] {
        receive(socket, family, query);
    }
    for table in &interception.ruleset.tables {
        let name = Some(table.name.as_text());
        receive(socket, table.family, Query::Sets { table: name });
        receive(socket, table.family, Query::Rules { table: name, chain: None });
    }
}

/// The interception with one more rule at the end of a chain.
fn longer(interception: &Interception, table: &str, chain: &str) -> Interception {
    let mut longer = interception.clone();
    let tables = &mut longer.ruleset.tables;
    let chains = tables.iter_mut().find(|is| is.name == table).map(|table| &mut table.chains).unwrap();
    let chain = chains.iter_mut().find(|is| is.name == chain).unwrap();
    let comment = Some(Name::from("another"));
    chain.rules.push(Rule { comment, ..chain.rules.last().unwrap().clone() });
    longer
}

fn compare(title: &str, interception: &Interception, table: &str, chain: &str) {
    clear();
    let longer = longer(interception, table, chain);
    let apply = |interception: &Interception, counters| {
        let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
        interception.apply(&mut nft, &mut routes, counters).unwrap();
    };
    apply(interception, Counters::Reset);
    let mut turns = Turns::new(format!("{title}, {} rules", interception.ruleset.rule_count()));
    turns.add("dumps alone", || {
        let mut socket = Socket::open().unwrap();
        time(|| raw(&mut socket, interception))
    });
    turns.add("verify", || {
        let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
        time(|| assert!(verify(interception, &mut nft, &mut routes).unwrap().is_empty()))
    });
    turns.add("a run that changes nothing", || {
        let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
        time(|| drop(interception.apply(&mut nft, &mut routes, Counters::Keep).unwrap()))
    });
    turns.run();
    let mut turns = Turns::new(format!("{title}, one rule more or less"));
    turns.add("dumps twice and a commit", || {
        let mut socket = Socket::open().unwrap();
        let mut batch = Batch::new();
        let (mut is_longer, table) = (false, &interception.ruleset.tables[0]);
        let time = time(|| {
            raw(&mut socket, interception);
            batch.clear();
            // A chain that comes and goes costs the kernel what a rule does.
            let (family, name) = (table.family, table.name.as_text());
            match is_longer {
                false => batch.add_chain(&nftwire::Chain::new(family, name, "another")),
                true => batch.del_chain(family, name, "another"),
            };
            socket.commit(&mut batch).unwrap();
            raw(&mut socket, interception);
            is_longer = !is_longer;
        });
        assert!(!is_longer);
        time
    });
    turns.add("a run that keeps the others", || {
        let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
        let mut is_longer = false;
        let time = time(|| {
            is_longer = !is_longer;
            let desired = if is_longer { &longer } else { interception };
            let applied = desired.apply(&mut nft, &mut routes, Counters::Keep).unwrap();
            assert!(!applied.lost_counters && applied.commit.messages > 0);
        });
        assert!(!is_longer);
        time
    });
    turns.run();
}

fn sidecar(excluded: u8) -> Interception {
    let network = |number| IpPrefix::new([10, number, 0, 0].into(), 16).unwrap();
    Sidecar { service_cidr_exclude: (0..excluded).map(network).collect(), ..Sidecar::default() }
        .interception()
}

fn main() {
    meshwire_testkit::enter_new();
    // Routes to this host need it.
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    compare("sidecar", &sidecar(0), "istio-proxy-nat", "istio-output");
    compare("sidecar", &sidecar(250), "istio-proxy-nat", "istio-output");
    let pod = PodInterception { ipv6: true, dns: true, ..PodInterception::default() };
    compare("ambient pod", &pod.interception(), NAT_TABLE, "istio-output");
    let many = Interception { ruleset: ruleset(rules(10_000)), ..Interception::default() };
    compare("long chain", &many, TABLE, CHAIN);
}

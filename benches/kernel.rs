//! How long the kernel takes to load rules and elements and to dump them, and how long everything around it: in a network
//! namespace that ends with the process. Needs root; contenders that are not installed are left out.
//!
//! `cargo bench --bench kernel`

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the benchmark")]

mod common;

use std::hint::black_box;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::nft::compile::compile;
use nft_ruleset::nft::{json, print};
use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::{Family, Ruleset};
use nftwire::{Batch, Chain, ElementList, Position, Query, Set, Socket, Table};

use common::{CHAIN, SIZES, TABLE, Turns, clear, elements, excluding, iptables, rules, ruleset};

const FAMILY: Family = Family::Inet;
/// Connections are too short to be measured one by one.
const CONNECTIONS: u32 = 200;

/// Measures `work` on an open socket, with nothing loaded before.
fn loading<'c, T>(
    turns: &mut Turns<'c>,
    name: &'static str,
    mut prepare: impl FnMut() -> T + 'c,
    mut work: impl FnMut(&mut Socket, &mut T) + 'c,
) {
    turns.add(name, move || {
        clear();
        let (mut socket, mut prepared) = (Socket::open().unwrap(), prepare());
        let started = Instant::now();
        work(&mut socket, &mut prepared);
        started.elapsed()
    });
}

fn process(turns: &mut Turns<'_>, name: &'static str, input: &str) {
    let mut command: Vec<_> = name.split(' ').collect();
    if command[0] == "meshwire" {
        command[0] = env!("CARGO_BIN_EXE_meshwire");
    }
    let is_installed = Command::new(command[0]).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_installed {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(input.as_bytes()).unwrap();
    loading(
        turns,
        name,
        || (),
        move |_, ()| {
            let input = Stdio::from(file.reopen().unwrap());
            let status = Command::new(command[0]).args(&command[1..]).stdin(input).status();
            assert!(status.unwrap().success());
        },
    );
}

/// The rules in one batch, by the wire crate alone.
fn encoded(batch: &mut Batch, compiled: &[Vec<nftwire::Expr<'_>>]) {
    batch.add_table(&Table::new(FAMILY, TABLE));
    batch.add_chain(&Chain::new(FAMILY, TABLE, CHAIN));
    let rule = nftwire::Rule::new(FAMILY, TABLE, CHAIN);
    for expressions in compiled {
        batch.add_rule(&rule, Position::Append, expressions);
    }
}

fn commit_rules() {
    for size in SIZES {
        let rules = rules(size);
        let compiled: Vec<_> =
            rules.iter().map(|rule| compile(FAMILY, rule, 1).unwrap().expressions).collect();
        let ready = || {
            let mut batch = Batch::new();
            encoded(&mut batch, &compiled);
            batch
        };
        let mut buffer = ready();
        let ruleset = ruleset(rules.clone());
        let mut turns = Turns::new(format!("commit {size} rules"));
        loading(&mut turns, "floor", ready, |socket, batch| {
            socket.commit(batch).unwrap();
        });
        loading(
            &mut turns,
            "encode and commit",
            || (),
            |socket, ()| {
                buffer.clear();
                encoded(&mut buffer, &compiled);
                socket.commit(&mut buffer).unwrap();
            },
        );
        loading(&mut turns, "compile, encode and commit", || (), |socket, ()| update(socket, &ruleset));
        process(&mut turns, "nft -f -", &ruleset.to_string());
        process(&mut turns, "meshwire nft -f -", &ruleset.to_string());
        process(&mut turns, "nft -j -f -", &json::ruleset(&ruleset, &print::Options::default()).to_string());
        process(&mut turns, "iptables-nft-restore --noflush", &iptables(size));
        turns.run();
    }
}

fn commit_elements() {
    for size in SIZES {
        let elements = elements(size);
        let fill = |batch: &mut Batch| {
            batch.add_table(&Table::new(FAMILY, TABLE));
            batch.add_set(&Set { id: 1, key_type: 7, ..Set::new(FAMILY, TABLE, "s", 4) });
            batch.add_elements(&ElementList::new(FAMILY, TABLE, "s", 1), &elements);
        };
        let ready = || {
            let mut batch = Batch::new();
            fill(&mut batch);
            batch
        };
        let mut turns = Turns::new(format!("commit {size} elements"));
        loading(&mut turns, "floor", ready, |socket, batch| {
            socket.commit(batch).unwrap();
        });
        loading(&mut turns, "encode and commit", Batch::new, |socket, batch| {
            fill(batch);
            socket.commit(batch).unwrap();
        });
        turns.run();
    }
}

fn dump() {
    for size in SIZES {
        clear();
        load(&ruleset(rules(size)));
        let (mut raw, mut decoding) = (Socket::open().unwrap(), Socket::open().unwrap());
        let mut turns = Turns::new(format!("dump {size} rules"));
        turns.add("received", move || {
            let query = Query::Rules { table: Some(TABLE.into()), chain: None };
            let started = Instant::now();
            raw.dump(FAMILY, query, |received| Ok(received.into_buffer())).unwrap();
            started.elapsed()
        });
        turns.add("decoded", move || {
            let mut expressions = 0;
            let count = |rule: nftwire::Rule<'_>| {
                expressions += rule.expressions().filter_map(Result::ok).count();
                Ok(())
            };
            let started = Instant::now();
            decoding.rules(FAMILY, Some(TABLE.into()), count).unwrap();
            black_box(expressions);
            started.elapsed()
        });
        turns.run();
    }
}

fn update(socket: &mut Socket, ruleset: &Ruleset) {
    let owned = Owned::default();
    let limit = Duration::from_secs(2);
    let plan = Plan::read_for(socket, Desired::new(ruleset, &owned), Counters::Reset, limit).unwrap();
    socket.commit(plan.transaction(Counters::Reset).unwrap().batch()).unwrap();
}

fn load(ruleset: &Ruleset) {
    let mut socket = Socket::open().unwrap();
    update(&mut socket, ruleset);
}

fn excluded_networks() {
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let count = 10_000;
    let (none, plain) = (excluding(0), excluding(count));
    let optimized = optimize(&plain, Counting::ByRule);
    let by_element = optimize(&plain, Counting::ByElement);

    let owned = Owned::default();
    let desired = Desired::new(&optimized, &owned);
    let ready = || Plan::from_nothing(desired).unwrap().transaction(Counters::Reset).unwrap();
    let mut turns = Turns::new(format!("load {count} excluded networks"));
    loading(&mut turns, "floor, optimized", ready, |socket, transaction| {
        socket.commit(transaction.batch()).unwrap();
    });
    let optimizing = |socket: &mut Socket, (): &mut ()| update(socket, &optimize(&plain, Counting::ByRule));
    loading(&mut turns, "optimized", || (), optimizing);
    for (name, ruleset) in [("optimized, element counters", &by_element), ("plain", &plain)] {
        loading(&mut turns, name, || (), move |_, ()| load(ruleset));
    }
    process(&mut turns, "nft -f -", &plain.to_string());
    turns.run();

    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let mut turns = Turns::new(format!("{CONNECTIONS} connections over lo"));
    for (name, ruleset) in [
        ("without exclusions", &none),
        ("optimized", &optimized),
        ("element counters", &by_element),
        ("plain", &plain),
    ] {
        let listener = &listener;
        turns.add(name, move || {
            clear();
            load(ruleset);
            let started = Instant::now();
            for _ in 0..CONNECTIONS {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (server, _) = listener.accept().unwrap();
                // The end that closes first keeps the port for a while: the listener's, of which there is one.
                drop(server);
                drop(client);
            }
            started.elapsed()
        });
    }
    turns.run();
}

fn main() {
    meshwire_testkit::enter_new();
    commit_rules();
    commit_elements();
    dump();
    excluded_networks();
}

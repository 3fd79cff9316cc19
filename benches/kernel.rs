//! How long the kernel takes to load rules and elements and to dump them, and how long everything around it: in a network
//! namespace that ends with the process. Needs root; contenders that are not installed are left out.
//!
//! `cargo bench --bench kernel`

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the benchmark")]

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::nft::compile::compile;
use nft_ruleset::nft::{json, print};
use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::{Family, Ruleset};
use nftwire::{Batch, Chain, ElementList, Position, Query, Set, Socket, Table};

use common::{CHAIN, SIZES, TABLE, clear, elements, excluding, iptables, rules, ruleset};

const FAMILY: Family = Family::Inet;

/// Measures `work` on an open socket, with nothing loaded before.
fn loading<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    mut prepare: impl FnMut() -> T,
    mut work: impl FnMut(&mut Socket, &mut T),
) {
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|runs| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..runs {
                clear();
                let (mut socket, mut prepared) = (Socket::open().unwrap(), prepare());
                let started = Instant::now();
                work(&mut socket, &mut prepared);
                elapsed += started.elapsed();
            }
            elapsed
        });
    });
}

fn process(group: &mut BenchmarkGroup<'_, WallTime>, size: u32, command: &[&str], input: &str) {
    let is_there = Command::new(command[0]).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(input.as_bytes()).unwrap();
    loading(
        group,
        BenchmarkId::new(command.join(" "), size),
        || (),
        |_, ()| {
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

fn commit_rules(criterion: &mut Criterion) {
    meshwire_testkit::enter_new();
    let mut group = criterion.benchmark_group("commit rules");
    for size in SIZES {
        let rules = rules(size);
        let compiled: Vec<_> =
            rules.iter().map(|rule| compile(FAMILY, rule, 1).unwrap().expressions).collect();
        let ready = || {
            let mut batch = Batch::new();
            encoded(&mut batch, &compiled);
            batch
        };
        loading(&mut group, BenchmarkId::new("floor", size), ready, |socket, batch| {
            socket.commit(batch).unwrap();
        });
        let mut buffer = ready();
        loading(
            &mut group,
            BenchmarkId::new("encode and commit", size),
            || (),
            |socket, ()| {
                buffer.clear();
                encoded(&mut buffer, &compiled);
                socket.commit(&mut buffer).unwrap();
            },
        );
        let ruleset = ruleset(rules.clone());
        loading(
            &mut group,
            BenchmarkId::new("compile, encode and commit", size),
            || (),
            |socket, ()| {
                update(socket, &ruleset);
            },
        );
        process(&mut group, size, &["nft", "-f", "-"], &ruleset.to_string());
        let json = json::ruleset(&ruleset, &print::Options::default()).to_string();
        process(&mut group, size, &["nft", "-j", "-f", "-"], &json);
        process(&mut group, size, &["iptables-nft-restore", "--noflush"], &iptables(size));
    }
    group.finish();
}

fn commit_elements(criterion: &mut Criterion) {
    meshwire_testkit::enter_new();
    let mut group = criterion.benchmark_group("commit elements");
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
        loading(&mut group, BenchmarkId::new("floor", size), ready, |socket, batch| {
            socket.commit(batch).unwrap();
        });
        loading(&mut group, BenchmarkId::new("encode and commit", size), Batch::new, |socket, batch| {
            fill(batch);
            socket.commit(batch).unwrap();
        });
    }
    group.finish();
}

fn dump(criterion: &mut Criterion) {
    meshwire_testkit::enter_new();
    let mut group = criterion.benchmark_group("dump rules");
    for size in SIZES {
        clear();
        let ruleset = ruleset(rules(size));
        let mut socket = Socket::open().unwrap();
        update(&mut socket, &ruleset);
        group.bench_function(BenchmarkId::new("received", size), |bencher| {
            let query = Query::Rules { table: Some(TABLE.into()), chain: None };
            bencher.iter(|| socket.dump(FAMILY, query, |received| Ok(received.into_buffer())).unwrap());
        });
        group.bench_function(BenchmarkId::new("decoded", size), |bencher| {
            bencher.iter(|| {
                let mut expressions = 0;
                let count = |rule: nftwire::Rule<'_>| {
                    expressions += rule.expressions().filter_map(Result::ok).count();
                    Ok(())
                };
                socket.rules(FAMILY, TABLE, count).unwrap();
                expressions
            });
        });
    }
    group.finish();
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

fn excluded_networks(criterion: &mut Criterion) {
    meshwire_testkit::enter_new();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let count = 10_000;
    let (none, plain) = (excluding(0), excluding(count));
    let optimized = optimize(&plain, Counting::ByRule);
    let by_element = optimize(&plain, Counting::ByElement);

    let mut group = criterion.benchmark_group("load excluded networks");
    let owned = Owned::default();
    let desired = Desired::new(&optimized, &owned);
    let ready = || Plan::from_nothing(desired).unwrap().transaction(Counters::Reset).unwrap();
    loading(&mut group, BenchmarkId::new("floor, optimized", count), ready, |socket, transaction| {
        socket.commit(transaction.batch()).unwrap();
    });
    let optimizing = |socket: &mut Socket, (): &mut ()| {
        let optimized = optimize(&plain, Counting::ByRule);
        update(socket, &optimized);
    };
    loading(&mut group, BenchmarkId::new("optimized", count), || (), optimizing);
    for (name, ruleset) in [("optimized, element counters", &by_element), ("plain", &plain)] {
        loading(&mut group, BenchmarkId::new(name, count), || (), |_, ()| load(ruleset));
    }
    process(&mut group, count, &["nft", "-f", "-"], &plain.to_string());
    group.finish();

    let mut group = criterion.benchmark_group("connect over lo");
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    for (name, ruleset) in [
        ("without exclusions", &none),
        ("optimized", &optimized),
        ("element counters", &by_element),
        ("plain", &plain),
    ] {
        clear();
        load(ruleset);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let client = TcpStream::connect(address).unwrap();
                let (server, _) = listener.accept().unwrap();
                // The end that closes first keeps the port for a while: the listener's, of which there is one.
                drop(server);
                drop(client);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = commit_rules, commit_elements, dump, excluded_networks
}
criterion_main!(benches);

//! How fast a ruleset becomes bytes and bytes become a ruleset, without a kernel.
//!
//! `cargo bench --bench pure`

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the benchmark")]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use netlink_bindings::nftables::{Nfgenmsg, OpNewruleDo};
use nft_ruleset::Family;
use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::nft::compile::compile;
use nft_ruleset::nft::decompile::{Decompiler, Sets};
use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::plan::{Counters, Plan};
use nftwire::{AttrReader, AttrWriter, Batch, ElementList, Expr, Message, Position, uapi};

use common::{CHAIN, SIZES, TABLE, elements, excluding, rules, ruleset};

const FAMILY: Family = Family::Inet;

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for size in SIZES {
        let rules = rules(size);
        let compiled: Vec<_> =
            rules.iter().map(|rule| compile(FAMILY, rule, 1).unwrap().expressions).collect();
        let chain = nftwire::Rule::new(FAMILY, TABLE, CHAIN);
        let mut batch = Batch::new();
        let mut fill = || {
            batch.clear();
            for expressions in &compiled {
                batch.add_rule(&chain, Position::Append, expressions);
            }
            batch.len()
        };
        let bytes = fill();
        let allocated = allocation_counter::measure(|| {
            fill();
        });
        assert_eq!(allocated.count_total, 0, "a warm batch allocates");
        println!("{size} rules: {bytes} bytes, no allocation when warm");
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::new("rules", size), |bencher| bencher.iter(&mut fill));
        group.bench_function(BenchmarkId::new("rules, netlink-bindings", size), |bencher| {
            let mut buffer = Vec::new();
            bencher.iter(|| {
                buffer.clear();
                (0..size).for_each(|number| by_netlink_bindings(&mut buffer, number));
                black_box(buffer.len())
            });
        });
        let elements = elements(size);
        group.bench_function(BenchmarkId::new("elements", size), |bencher| {
            let mut batch = Batch::new();
            bencher.iter(|| {
                batch.clear();
                batch.add_elements(&ElementList::new(FAMILY, TABLE, "s", 0), &elements);
                black_box(batch.len())
            });
        });
    }
    group.finish();
}

/// The same rule, and no message around it.
fn by_netlink_bindings(buffer: &mut Vec<u8>, number: u32) {
    let header = Nfgenmsg { nfgen_family: FAMILY.number(), ..Nfgenmsg::default() };
    let list = OpNewruleDo::encode_request(buffer, &header)
        .push_table(c"bench")
        .push_chain(c"rules")
        .nested_expressions();
    macro_rules! load {
        ($list:expr, meta $key:expr) => {
            $list.nested_elem().nested_data_meta().push_key($key).push_dreg(1).end_nested().end_nested()
        };
        ($list:expr, payload $base:expr, $offset:expr, $len:expr) => {
            $list
                .nested_elem()
                .nested_data_payload()
                .push_dreg(1)
                .push_base($base)
                .push_offset($offset)
                .push_len($len)
                .end_nested()
                .end_nested()
        };
        ($list:expr, cmp $value:expr) => {
            $list
                .nested_elem()
                .nested_data_cmp()
                .push_sreg(1)
                .push_op(0)
                .nested_data()
                .push_value($value)
                .end_nested()
                .end_nested()
                .end_nested()
        };
    }
    let list = load!(list, meta 15);
    let list = load!(list, cmp & [2]);
    let list = load!(list, payload 1, 16, 4);
    let list = load!(list, cmp & (0x0a00_0000 + number).to_be_bytes());
    let list = load!(list, meta 16);
    let list = load!(list, cmp & [6]);
    let list = load!(list, payload 2, 2, 2);
    let list = load!(list, cmp & 443_u16.to_be_bytes());
    let list =
        list.nested_elem().nested_data_counter().push_bytes(0).push_packets(0).end_nested().end_nested();
    let back = uapi::NFT_RETURN.cast_unsigned();
    list.nested_elem()
        .nested_data_immediate()
        .push_dreg(0)
        .nested_data()
        .nested_verdict()
        .push_code(back)
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested();
}

/// A rule as the kernel dumps it.
fn received(expressions: &[Expr<'_>]) -> Vec<u8> {
    let mut writer = AttrWriter::default();
    writer.put_str(uapi::NFTA_RULE_TABLE, TABLE);
    writer.put_str(uapi::NFTA_RULE_CHAIN, CHAIN);
    writer.put_be64(uapi::NFTA_RULE_HANDLE, 7);
    writer.nest(uapi::NFTA_RULE_EXPRESSIONS, |writer| {
        for expression in expressions {
            expression.encode(writer);
        }
    });
    writer.into_buffer()
}

fn model(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("model");
    for size in SIZES {
        let rules = rules(size);
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::new("compile", size), |bencher| {
            bencher.iter(|| {
                for rule in &rules {
                    black_box(compile(FAMILY, rule, 1).unwrap());
                }
            });
        });
        let messages: Vec<_> =
            rules.iter().map(|rule| received(&compile(FAMILY, rule, 1).unwrap().expressions)).collect();
        let message = |bytes| Message {
            kind: uapi::NFT_MSG_NEWRULE,
            family: FAMILY,
            generation: 0,
            attributes: AttrReader::new(bytes),
        };
        group.bench_function(BenchmarkId::new("decode", size), |bencher| {
            bencher.iter(|| {
                for bytes in &messages {
                    let rule = nftwire::Rule::decode(&message(bytes)).unwrap();
                    black_box(rule.expressions().filter_map(Result::ok).count());
                }
            });
        });
        group.bench_function(BenchmarkId::new("decode and decompile", size), |bencher| {
            let sets = Sets::new();
            let mut decompiler = Decompiler::new(FAMILY, &sets);
            bencher.iter(|| {
                for bytes in &messages {
                    let rule = nftwire::Rule::decode(&message(bytes)).unwrap();
                    black_box(decompiler.rule(&rule).unwrap());
                }
            });
        });
        let ruleset = ruleset(rules);
        group.bench_function(BenchmarkId::new("optimize", size), |bencher| {
            bencher.iter(|| black_box(optimize(&ruleset, Counting::ByRule)));
        });
    }
    group.finish();
}

fn excluded_networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("excluded networks");
    for size in SIZES {
        let plain = excluding(size);
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::new("optimize", size), |bencher| {
            bencher.iter(|| black_box(optimize(&plain, Counting::ByRule)));
        });
        let optimized = optimize(&plain, Counting::ByRule);
        group.bench_function(BenchmarkId::new("compile and encode", size), |bencher| {
            let owned = Owned::default();
            let desired = Desired::new(&optimized, &owned);
            let transaction = || Plan::from_nothing(desired).unwrap().transaction(Counters::Reset).unwrap();
            bencher.iter(|| black_box(transaction().batch().len()));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = encode, model, excluded_networks
}
criterion_main!(benches);

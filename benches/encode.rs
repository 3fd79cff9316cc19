//! How fast a ruleset becomes bytes, without a kernel: the model compiled, and expressions encoded.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the benchmark")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meshwire::ruleset::compile::compile;
use meshwire::ruleset::{Family, Op, Rule, TCP_DPORT};
use nftwire::{Batch, Place};

const RULES: u32 = 1_000;

/// `ip daddr A tcp dport P counter return`, each with its own address.
fn rules() -> Vec<Rule> {
    (0..RULES)
        .map(|number| {
            let address = std::net::IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
            Rule::new().daddr(Op::Eq, address).port(TCP_DPORT, Op::Eq, 443).counter().returns()
        })
        .collect()
}

fn encode(criterion: &mut Criterion) {
    let rules = rules();
    let compiled: Vec<_> =
        rules.iter().map(|rule| compile(Family::Inet, rule, 1).unwrap().expressions).collect();
    let mut group = criterion.benchmark_group("rules");
    group.throughput(Throughput::Elements(RULES.into()));
    group.bench_function("compile", |bencher| {
        bencher.iter(|| {
            for rule in &rules {
                black_box(compile(Family::Inet, rule, 1).unwrap());
            }
        });
    });
    group.bench_function("encode", |bencher| {
        let chain = nftwire::Rule::new(Family::Inet, "bench", "output");
        let mut batch = Batch::new();
        bencher.iter(|| {
            batch.clear();
            for expressions in &compiled {
                batch.add_rule(&chain, Place::Append, expressions);
            }
            black_box(batch.len())
        });
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);

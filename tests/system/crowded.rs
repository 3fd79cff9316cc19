//! Somebody fills one of our tables with rules: a run that keeps rules does not read them, as the kernel takes quadratic time
//! for that, and all of them go.

use std::fs;
use std::time::Duration;

use meshwire::apply::{Applied, Counters};
use meshwire::interception::Interception;
use meshwire::mesh::istio::ambient::{NAT_TABLE, PodInterception};
use meshwire::network::RouteSocket;
use meshwire::verify::verify;
use nft_ruleset::Family;
use nftwire::expr::Counter;
use nftwire::{Batch, Position, Query, Received, Rule, Socket};

use crate::harness::{Namespace, oracle, privileged, say};

const CHAIN: &str = "istio-prerouting";

/// Enough that one dump takes far longer than emptying the table.
const MANY: usize = 60_000;
/// Few enough to be compared.
const SOME: usize = 5_000;

fn fill(count: usize) {
    let mut batch = Batch::new();
    for _ in 0..count {
        batch.add_rule(
            &Rule::new(Family::Inet, NAT_TABLE, CHAIN),
            Position::Append,
            &[Counter::default().into()],
        );
    }
    Socket::open().unwrap().commit(&mut batch).unwrap();
}

/// How long this thread has been on a processor, the kernel's work for it included (proc(5)): what else runs does not count.
fn worked() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

fn keep(pod: &Interception) -> (Applied, Duration) {
    let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
    let before = worked();
    let applied = pod.apply(&mut nft, &mut routes, Counters::Keep).unwrap();
    (applied, worked() - before)
}

/// All rules, received and thrown away.
fn raw_dump() -> Duration {
    let mut nft = Socket::open().unwrap();
    let query = Query::Rules { table: Some(NAT_TABLE.into()), chain: None };
    let throw_away = |received: Received| Ok(received.into_buffer());
    let before = worked();
    nft.dump(Family::Inet, query, throw_away).unwrap();
    worked() - before
}

#[test]
fn a_filled_table_is_emptied_without_reading_it() {
    if !(privileged() && oracle("nft")) {
        return;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2"]);
    let pod = PodInterception { ipv6: true, dns: true, ..PodInterception::default() }.interception();
    namespace.run(|| keep(&pod));
    let whole = namespace.command(&["nft", "-s", "list", "ruleset"]);
    let is_whole = || {
        let differences = namespace
            .run(|| verify(&pod, &mut Socket::open().unwrap(), &mut RouteSocket::open().unwrap()).unwrap());
        assert!(differences.is_empty(), "{differences}");
        assert_eq!(namespace.command(&["nft", "-s", "list", "ruleset"]), whole);
    };

    namespace.run(|| fill(SOME));
    let (applied, _) = namespace.run(|| keep(&pod));
    assert!(applied.warnings().is_empty(), "{:?}", applied.warnings());
    is_whole();

    namespace.run(|| fill(MANY));
    let dump = namespace.run(raw_dump);
    let (applied, run) = namespace.run(|| keep(&pod));
    say(&format!("{MANY} rules of others: one raw dump {dump:.1?}, a run that keeps rules {run:.1?}"));
    // A run that read them worked longer than two dumps: it proves what it reads by a second reading.
    assert!(run < dump, "a run took {run:?}, a dump {dump:?}");
    let [(family, table)] = &applied.emptied[..] else { panic!("{:?}", applied.emptied) };
    assert_eq!((*family, table.to_string()), (Family::Inet, NAT_TABLE.to_owned()));
    let [warning] = &applied.warnings()[..] else { panic!("{:?}", applied.warnings()) };
    assert!(
        warning.starts_with(&format!("table inet {NAT_TABLE} held ")) && warning.contains("count from zero"),
        "{warning}"
    );
    is_whole();

    // What is desired is kept from then on.
    let (applied, _) = namespace.run(|| keep(&pod));
    assert!(applied.warnings().is_empty(), "{:?}", applied.warnings());
    is_whole();
}

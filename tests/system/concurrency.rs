//! Runs that keep rules, and readings, while others only check rulesets and send what is refused: nothing of that changes
//! the kernel's state, and nothing of it may lose a rule, show a difference, or be an error.
//!
//! About half a minute in CI; with `MESHWIRE_TEST_FULL=1`, 20,000 runs and 5,000 readings.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meshwire::apply::Counters;
use meshwire::interception::Interception;
use meshwire::mesh::istio::ambient::{HostInterception, NAT_TABLE, PROBES_V4, PodInterception};
use meshwire::mesh::istio::sidecar::Sidecar;
use meshwire::network::RouteSocket;
use meshwire::probes::{self, PodUid};
use meshwire::verify::verify;
use nft_ruleset::Family;
use nft_ruleset::IpPrefix;
use nft_ruleset::listing;
use nft_ruleset::nft::print::Options;
use nft_ruleset::snapshot::Scope;
use nftwire::expr::Counter;
use nftwire::{Batch, Chain, Data, Element, ElementList, Position, Rule, Set, Socket, Table};

use crate::harness::{Namespace, full, oracle, privileged, say};

/// How long each scenario takes where it is not run in full.
const IN_CI: Duration = Duration::from_secs(6);
const AT_HOME: Duration = Duration::from_secs(4);

/// Keeping runs of each of the four scenarios, and readings of each, in full.
const RUNS: usize = 5_000;
const READINGS: usize = 1_250;

/// The table that only those who disturb use. It is older than all others, so that what is prepared in it is counted
/// before all rules.
const OTHER: &str = "other";

/// A table to disturb next to ours, and nothing else.
fn namespace() -> Option<Namespace> {
    if !(privileged() && oracle("nft")) {
        return None;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2"]);
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Inet, OTHER));
    batch.add_chain(&Chain::new(Family::Inet, OTHER, "c"));
    namespace.run(|| Socket::open().unwrap().commit(&mut batch).unwrap());
    Some(namespace)
}

/// A batch that the kernel refuses after it has prepared all of it: rules, chains, sets and elements.
fn refused(table: &str, chain: &str, set: Option<&str>, count: u32) -> Batch {
    let mut batch = Batch::new();
    for number in 0..count {
        let rule = Rule::new(Family::Inet, table, chain);
        batch.add_rule(&rule, Position::Prepend, &[Counter::default().into()]);
        batch.add_chain(&Chain::new(Family::Inet, table, &format!("new-{number}")));
        let id = batch.take_set_id();
        batch.add_set(&Set { id, ..Set::new(Family::Inet, table, &format!("new-{number}"), 4) });
    }
    if let Some(set) = set {
        let keys = (0..50 * count).map(|key| Element::new(Data::from(Ipv4Addr::from(0xac10_0000 + key))));
        let keys: Vec<_> = keys.collect();
        batch.add_elements(&ElementList::new(Family::Inet, table, set, 0), &keys);
    }
    batch.del_table(Family::Inet, "nowhere");
    batch
}

/// Who disturbs: two that check, `nft` and us, and two that are refused, in our table and in another one.
struct Disturbance<'a> {
    namespace: &'a Namespace,
    check: &'a Interception,
    table: &'a str,
    chain: &'a str,
    set: Option<&'a str>,
}

impl Disturbance<'_> {
    /// Does `work` at the same time; returns how many attempts they made.
    fn during<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let (done, attempts) = (AtomicBool::new(false), AtomicUsize::new(0));
        let again = |attempt: &mut dyn FnMut()| {
            while !done.load(Ordering::Relaxed) {
                attempt();
                attempts.fetch_add(1, Ordering::Relaxed);
            }
        };
        // They end even where the work panics.
        struct End<'d>(&'d AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let text = self.check.ruleset.to_string();
        let result = thread::scope(|scope| {
            let (again, text) = (&again, text.as_str());
            scope.spawn(move || {
                self.namespace.run(|| {
                    let mut nft = Socket::open().unwrap();
                    again(&mut || assert!(!self.check.check(&mut nft).unwrap().lost_counters));
                });
            });
            scope.spawn(move || self.namespace.run(|| again(&mut || check_by_nft(text))));
            for (table, chain, set, count) in [(self.table, self.chain, self.set, 7), (OTHER, "c", None, 20)]
            {
                scope.spawn(move || {
                    self.namespace.run(|| {
                        let (mut nft, mut batch) =
                            (Socket::open().unwrap(), refused(table, chain, set, count));
                        again(&mut || drop(nft.commit(&mut batch).unwrap_err()));
                    });
                });
            }
            let _end = End(&done);
            work()
        });
        (result, attempts.load(Ordering::Relaxed))
    }
}

fn check_by_nft(text: &str) {
    let mut nft = Command::new("nft").args(["-c", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

/// Does `run` so often or so long, and says how often that was: a few times on any machine.
fn repeat(what: &str, times: usize, mut run: impl FnMut(usize)) {
    let limit = if std::env::var_os("CI").is_some() { IN_CI } else { AT_HOME };
    let started = Instant::now();
    let mut done = 0;
    while if full() { done < times } else { done <= 3 || started.elapsed() < limit } {
        run(done);
        done += 1;
    }
    say(&format!("{what}: {done} in {:.1?}", started.elapsed()));
}

/// What nft lists, without counts.
fn listed_by_nft(namespace: &Namespace) -> String {
    namespace.command(&["nft", "-s", "list", "ruleset"])
}

/// Applies again and again what exists but for one rule, which every other run has; then lists and verifies again and again.
fn keeping(what: &str, interception: &Interception, table: &str, chain: &str) {
    let Some(namespace) = namespace() else { return };
    let longer = with_another_rule(interception, table, chain);
    let apply = |interception: &Interception, counters| {
        namespace.run(|| {
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            interception.apply(&mut nft, &mut routes, counters).unwrap()
        })
    };
    apply(interception, Counters::Reset);
    let whole = listed_by_nft(&namespace);
    let text = || namespace.run(|| list(&mut Socket::open().unwrap()));
    let ours = text();
    let disturbance = Disturbance { namespace: &namespace, check: interception, table, chain, set: None };
    let ((), attempts) = disturbance.during(|| {
        repeat(&format!("{what}, runs"), RUNS, |run| {
            let desired = if run.is_multiple_of(2) { &longer } else { interception };
            let applied = apply(desired, Counters::Keep);
            assert!(!applied.lost_counters && applied.commit.messages > 0, "run {run}");
        });
        let _ = apply(interception, Counters::Keep);
        assert_eq!(text(), ours);
        repeat(&format!("{what}, readings"), READINGS, |run| {
            assert_eq!(text(), ours, "reading {run}");
            let differences = namespace.run(|| {
                let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
                verify(interception, &mut nft, &mut routes).unwrap()
            });
            assert!(differences.is_empty(), "reading {run}: {differences}");
        });
    });
    say(&format!("{what}: during {attempts} checks and refused batches"));
    assert_eq!(listed_by_nft(&namespace), whole);
}

/// The same with one rule more at the end of the chain.
fn with_another_rule(interception: &Interception, table: &str, chain: &str) -> Interception {
    let mut longer = interception.clone();
    let tables = &mut longer.ruleset.tables;
    let chains = tables.iter_mut().find(|is| is.name == table).map(|table| &mut table.chains).unwrap();
    let rules = chains.iter_mut().find(|is| is.name == chain).map(|chain| &mut chain.rules).unwrap();
    let another = nft_ruleset::Rule { comment: Some("another".into()), ..rules.last().unwrap().clone() };
    rules.push(another);
    longer
}

fn list(nft: &mut Socket) -> String {
    let options = Options { stateless: true, handles: true, ..Options::default() };
    listing::text(nft, Scope::Family(Family::Unspec), options).unwrap().unwrap()
}

fn sidecar(excluded: u8) -> Interception {
    let networks =
        (0..excluded).map(|number| IpPrefix::new(Ipv4Addr::new(10, number, 0, 0).into(), 16).unwrap());
    let settings = Sidecar { service_cidr_exclude: networks.collect(), ..Sidecar::default() };
    settings.interception()
}

#[test]
fn a_sidecar_of_17_rules() {
    keeping("sidecar", &sidecar(0), "istio-proxy-nat", "istio-output");
}

#[test]
fn a_sidecar_of_267_rules() {
    keeping("large sidecar", &sidecar(250), "istio-proxy-nat", "istio-output");
}

#[test]
fn an_ambient_pod() {
    let pod = PodInterception { ipv6: true, dns: true, ..PodInterception::default() };
    keeping("ambient pod", &pod.interception(), NAT_TABLE, "istio-output");
}

#[test]
fn four_thousand_probes() {
    const PROBES: u32 = 4_000;
    const CHANGED: u32 = 20;
    let Some(namespace) = namespace() else { return };
    let host = HostInterception::new([0]);
    namespace.run(|| host.apply(&mut Socket::open().unwrap()).unwrap());
    let address = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
    let pod = PodUid::new("a").unwrap();
    // Two sets that differ at both ends.
    let desired = |run: usize| {
        let from = if run.is_multiple_of(2) { 0 } else { CHANGED };
        (from..from + PROBES).map(|number| (address(number), pod)).collect::<Vec<_>>()
    };
    let sync = |run| namespace.run(|| probes::sync(&mut Socket::open().unwrap(), desired(run)).unwrap());
    let there = || namespace.run(|| probes::list(&mut Socket::open().unwrap()).unwrap());
    sync(0);
    let check = host.interception();
    let chain = check.ruleset.tables[0].chains[0].name.to_string();
    let disturbance = Disturbance {
        namespace: &namespace,
        check: &check,
        table: NAT_TABLE,
        chain: &chain,
        set: Some(PROBES_V4),
    };
    let mut last = 0;
    let ((), attempts) = disturbance.during(|| {
        repeat("probes, syncs", RUNS, |run| {
            let synced = sync(run + 1);
            let changes = (synced.added, synced.changed, synced.removed);
            assert_eq!(changes, (CHANGED as usize, 0, CHANGED as usize), "run {run}");
            last = run + 1;
        });
        let whole: BTreeSet<_> = desired(last).into_iter().map(|(address, _)| address).collect();
        repeat("probes, lists", READINGS, |run| {
            let there: BTreeSet<_> = there().into_iter().map(|probe| probe.address).collect();
            assert!(there == whole, "reading {run}: {} addresses", there.len());
        });
    });
    say(&format!("probes: during {attempts} checks and refused batches"));
    let listing = namespace.command(&["nft", "list", "set", "inet", NAT_TABLE, PROBES_V4]);
    assert_eq!(listing.matches("comment \"a\"").count(), PROBES as usize);
}

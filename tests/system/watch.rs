//! `meshwire watch` while others change what it watches. `nft` and `ip` change it, as an intruder or an operator would.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nftwire::{Batch, Chain, Family, Socket};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{
    Intercept, Namespace, full, oracle, owned_table, privileged, program, say, slowness, turn,
};

const PERIOD: Duration = Duration::from_secs(2);
const SETTINGS: [&str; 7] = ["-u", "1337", "-i", "*", "-b", "*", "--dual-stack"];
const TPROXY: [&str; 9] = ["-u", "1337", "-i", "*", "-b", "*", "--dual-stack", "-m", "TPROXY"];

/// A watch that has made its first report.
struct Watch {
    child: Child,
    reports: Receiver<Value>,
}

impl Watch {
    fn start(namespace: &Namespace, settings: &[&str], output: &str) -> Self {
        let mut child = namespace.run(|| {
            let mut command = Command::new(program());
            command.args(["watch", "--period", "2s", "istio-iptables", "--output", output]).args(settings);
            command.env_clear().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        });
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, reports) = channel();
        thread::spawn(move || {
            for line in lines {
                let line = line.unwrap();
                let report = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
        Self { child, reports }
    }

    fn json(namespace: &Namespace, settings: &[&str]) -> Self {
        let watch = Self::start(namespace, settings, "json");
        let first = watch.next();
        assert_eq!((&first["occasion"], &first["equal"]), (&"start".into(), &true.into()), "{first}");
        watch
    }

    /// The next report; one comes within two periods, or not at all.
    #[track_caller]
    fn next(&self) -> Value {
        self.reports.recv_timeout(2 * PERIOD + Duration::from_secs(20) * slowness()).unwrap()
    }

    /// Whether this long nothing is reported.
    #[track_caller]
    fn is_silent_for(&self, time: Duration) {
        match self.reports.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            report => panic!("{report:?}"),
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// The exit code after a signal, which comes until the process has ended: timeout(1) sends two.
    fn end(mut self, signal: Signal) -> Option<i32> {
        loop {
            self.signal(signal);
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pod(settings: &[&str]) -> Option<Namespace> {
    if !(privileged() && oracle("nft") && oracle("ip")) {
        return None;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2", "fd00::2"]);
    apply(&namespace, settings);
    Some(namespace)
}

fn apply(namespace: &Namespace, settings: &[&str]) {
    Intercept::new(settings).apply(namespace);
}

fn nft(namespace: &Namespace, text: &str) {
    namespace.feed(&["nft", "-f", "-"], text);
}

fn ip(namespace: &Namespace, command: &str) {
    let words: Vec<_> = ["ip"].into_iter().chain(command.split(' ')).collect();
    namespace.command(&words);
}

/// The handle of the first rule of a chain, and the rule in the form in which nft adds it again.
fn first_rule(namespace: &Namespace, table: &str, chain: &str) -> (String, String) {
    let listing = namespace.command(&["nft", "-a", "-s", "list", "chain", "inet", table, chain]);
    let rule = listing.lines().find(|line| line.contains(" # handle ") && !line.contains('{')).unwrap();
    let (rule, handle) = rule.trim().split_once(" # handle ").unwrap();
    (handle.to_owned(), rule.to_owned())
}

fn texts<'r>(report: &'r Value, list: &str, key: &str) -> Vec<&'r str> {
    let list = report[list].as_array().unwrap().iter();
    list.map(|entry| entry[key].as_str().unwrap_or_default()).collect()
}

#[test]
fn a_lost_rule_its_writer_and_its_return_are_reported() {
    let Some(namespace) = pod(&SETTINGS) else { return };
    let watch = Watch::json(&namespace, &SETTINGS);
    let (handle, rule) = first_rule(&namespace, "istio-proxy-nat", "istio-output");
    nft(&namespace, &format!("delete rule inet istio-proxy-nat istio-output handle {handle}"));
    let lost = watch.next();
    assert_eq!((&lost["occasion"], &lost["equal"]), (&"change".into(), &false.into()), "{lost}");
    assert_eq!(lost["appeared"], lost["differences"]);
    let entry = &lost["appeared"][0];
    assert_eq!((&entry["difference"], &entry["chain"]), (&"missing".into(), &"istio-output".into()));
    assert_eq!(entry["desired"], rule.as_str());
    assert_eq!(lost["writers"][0]["name"], "nft");
    assert!(lost["writers"][0]["thread"].as_u64().is_some_and(|thread| thread > 0));
    let changed = &lost["changed"][0];
    assert_eq!(
        (&changed["object"], &changed["deleted"], &changed["count"]),
        (&"rule".into(), &true.into(), &1.into())
    );

    apply(&namespace, &SETTINGS);
    let back = watch.next();
    assert_eq!((&back["equal"], &back["resolved"]), (&true.into(), &lost["appeared"]), "{back}");
    assert_eq!(back["differences"], Value::Array(Vec::new()));
    watch.is_silent_for(2 * PERIOD);
    assert_eq!(watch.end(Signal::SIGTERM), Some(0));
}

#[test]
fn every_kind_of_drift_is_reported() {
    let Some(namespace) = pod(&TPROXY) else { return };
    let watch = Watch::json(&namespace, &TPROXY);
    let policy = "chain inet istio-proxy-mangle prerouting { policy drop; }";
    let chain = "add chain inet istio-proxy-mangle theirs { type filter hook output priority 0; }";
    let set = "add set inet istio-proxy-nat theirs { type ipv4_addr; elements = { 10.0.0.7 }; }";
    for (what, change) in [("chain", policy), ("chain", chain), ("set", set)] {
        nft(&namespace, change);
        let report = watch.next();
        assert_eq!(report["equal"], false, "{change}: {report}");
        assert_eq!(texts(&report, "appeared", "object"), [what], "{change}: {report}");
    }
    nft(&namespace, "add element inet istio-proxy-nat theirs { 10.0.0.8 }");
    let element = watch.next();
    assert_eq!(element["appeared"], Value::Array(Vec::new()), "{element}");
    assert_eq!(
        (&element["changed"][0]["object"], &element["changed"][0]["name"]),
        (&"element".into(), &"theirs".into())
    );

    nft(&namespace, "flush ruleset");
    let flushed = watch.next();
    assert!(texts(&flushed, "differences", "object").iter().all(|object| *object == "table"), "{flushed}");
    apply(&namespace, &TPROXY);
    let back = watch.next();
    assert_eq!(back["equal"], true, "{back}");

    // The network makes its own events.
    for change in ["rule del fwmark 1337", "-6 route flush table 133"] {
        ip(&namespace, change);
        let report = watch.next();
        assert_eq!(texts(&report, "appeared", "object"), ["network"], "{change}: {report}");
        assert_eq!(report["network_changed"], true);
    }
    assert_eq!(watch.end(Signal::SIGINT), Some(3));
}

/// The kernel removes a table with its owner without an event.
#[test]
fn what_makes_no_event_is_seen_within_the_period() {
    let Some(namespace) = pod(&SETTINGS) else { return };
    let watch = Watch::json(&namespace, &SETTINGS);
    let Some(owner) = owned_table(&namespace, "istio-proxy-mangle") else { return };
    let report = watch.next();
    assert_eq!(texts(&report, "appeared", "difference"), ["extra"], "{report}");
    drop(owner);
    let started = Instant::now();
    let back = watch.next();
    assert_eq!((&back["occasion"], &back["equal"]), (&"reread".into(), &true.into()), "{back}");
    assert_eq!((&back["resolved"], &back["changed"]), (&report["appeared"], &Value::Array(Vec::new())));
    say(&format!("seen after {:?}", started.elapsed()));
}

/// In the middle of what others do, the queue of events is full, and some are lost.
#[test]
fn lost_events_are_reported_and_what_they_were_about_is_read() {
    let Some(namespace) = pod(&TPROXY) else { return };
    let watch = Watch::json(&namespace, &TPROXY);
    let started = Instant::now();
    watch.signal(Signal::SIGSTOP);
    let many: String = (0..60_000)
        .map(|rule| format!("add rule inet noise c ip daddr 10.0.0.{} counter\n", rule % 256))
        .collect();
    nft(&namespace, &format!("add table inet noise\nadd chain inet noise c\n{many}"));
    let (handle, _) = first_rule(&namespace, "istio-proxy-nat", "istio-output");
    nft(&namespace, &format!("delete rule inet istio-proxy-nat istio-output handle {handle}"));
    watch.signal(Signal::SIGCONT);
    let report = watch.next();
    assert_eq!((&report["events_lost"], &report["equal"]), (&true.into(), &false.into()), "{report}");
    say(&format!("{:?} with 60,000 rules that others added", started.elapsed()));
}

#[test]
fn a_change_in_two_steps_counts_as_one_and_not_as_drift() {
    let Some(namespace) = pod(&SETTINGS) else { return };
    let watch = Watch::json(&namespace, &SETTINGS);
    let (rounds, mut slow) = (if full() { 100 } else { 5 }, 0);
    for _ in 0..rounds {
        let pause = Duration::from_millis(50);
        let took = namespace.run(|| in_two_steps(&mut Socket::open().unwrap(), "istio-proxy-nat", pause));
        let mut report = watch.next();
        // On a busy machine the pause can be longer than the quiet that it takes: then it is two changes.
        if took >= Duration::from_millis(90) {
            while report["equal"] == false {
                report = watch.next();
            }
            slow += 1;
            continue;
        }
        assert_eq!(
            (&report["equal"], &report["appeared"]),
            (&true.into(), &Value::Array(Vec::new())),
            "{report}"
        );
        assert_eq!(report["writers"].as_array().unwrap().len(), 2, "{report}");
    }
    say(&format!("{slow} of {rounds} were too slow for one"));
    watch.is_silent_for(2 * PERIOD);
}

/// A chain comes that is not desired, and goes after this time; returns how long both took.
fn in_two_steps(nft: &mut Socket, table: &str, pause: Duration) -> Duration {
    let started = Instant::now();
    let mut batch = Batch::new();
    batch.add_chain(&Chain::new(Family::Inet, table, "half"));
    nft.commit(&mut batch).unwrap();
    thread::sleep(pause);
    let mut batch = Batch::new();
    batch.del_chain(Family::Inet, table, "half");
    nft.commit(&mut batch).unwrap();
    started.elapsed()
}

/// Others write without a pause: six on tables of their own, and two that add a chain to ours and take it away.
#[test]
fn among_eight_writers_only_lasting_differences_are_reported() {
    let _turn = turn();
    let Some(namespace) = pod(&TPROXY) else { return };
    let watch = Watch::json(&namespace, &TPROXY);
    let (ended, slowest) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut halves = 0;
    let rounds = if full() { 20 } else { 3 };
    let commits: Vec<usize> = thread::scope(|scope| {
        let (namespace, ended, slowest) = (&namespace, &ended, &slowest);
        let writers: Vec<_> =
            (0..8).map(|writer| scope.spawn(move || write(namespace, writer, ended, slowest))).collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..rounds {
                drift_and_repair(namespace, &watch, &mut halves);
            }
        }));
        ended.store(true, Ordering::Relaxed);
        let commits = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        commits
    });
    say(&format!("commits of the writers: {commits:?}"));
    thread::sleep(PERIOD);
    for report in watch.reports.try_iter() {
        assert!(without_halves(&report, &mut halves).is_empty(), "{report}");
        assert!(report["equal"] == true || halves > 0, "{report}");
    }
    // On a busy machine both steps can take longer than they may.
    let slowest = slowest.into_inner();
    assert!(
        halves == 0 || slowest >= 90,
        "{halves} halves of changes, whose steps took at most {slowest} ms"
    );
    assert_eq!(watch.end(Signal::SIGTERM), Some(0));
}

/// Something changes, and stays so until it is reported, and nothing else is. Then it changes back, which is reported, too.
fn drift_and_repair(namespace: &Namespace, watch: &Watch, halves: &mut usize) {
    let started = Instant::now();
    nft(namespace, "chain inet istio-proxy-mangle prerouting { policy drop; }");
    let mut wait = |list: &str| {
        loop {
            let report = watch.next();
            for appeared in without_halves(&report, halves) {
                assert_eq!(
                    (&appeared["object"], &appeared["chain"]),
                    (&"chain".into(), &"prerouting".into()),
                    "{report}"
                );
            }
            if report[list].as_array().unwrap().iter().any(|entry| entry["chain"] == "prerouting") {
                return;
            }
            assert!(
                started.elapsed() < 4 * PERIOD + Duration::from_secs(40) * slowness(),
                "{list}: {report}"
            );
        }
    };
    wait("appeared");
    let seen = started.elapsed();
    nft(namespace, "chain inet istio-proxy-mangle prerouting { policy accept; }");
    wait("resolved");
    say(&format!("a drift that was seen after {seen:?} and its repair after {:?}", started.elapsed()));
}

/// What appeared, but for changes in two steps that were seen half done, which are counted.
fn without_halves<'r>(report: &'r Value, halves: &mut usize) -> Vec<&'r Value> {
    let appeared = report["appeared"].as_array().unwrap().iter();
    let (half, others): (Vec<_>, Vec<_>) = appeared.partition(|entry| entry["chain"] == "half");
    *halves += half.len();
    others
}

/// Commits until it ends; returns how often.
fn write(namespace: &Namespace, writer: usize, ended: &AtomicBool, slowest: &AtomicU64) -> usize {
    let mut commits = 0;
    while !ended.load(Ordering::Relaxed) {
        match writer {
            6 | 7 => {
                let table = ["istio-proxy-nat", "istio-proxy-mangle"][writer - 6];
                let pause = Duration::from_millis(5);
                let took = namespace.run(|| in_two_steps(&mut Socket::open().unwrap(), table, pause));
                slowest.fetch_max(took.as_millis().try_into().unwrap(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
            _ => nft(namespace, &format!("add table inet t{writer}\ndelete table inet t{writer}")),
        }
        commits += 1;
    }
    commits
}

#[test]
fn it_ends_when_nobody_reads_and_speaks_to_people() {
    let Some(namespace) = pod(&SETTINGS) else { return };
    let watch = Watch::start(&namespace, &SETTINGS, "text");
    let Value::String(first) = watch.next() else { panic!() };
    assert!(first.ends_with("Z equal: rules, routes and addresses are as the settings want them"), "{first}");
    nft(&namespace, "delete table inet istio-proxy-nat");
    let lines: Vec<_> = (0..4).map(|_| watch.next().as_str().unwrap().to_owned()).collect();
    assert!(lines[0].contains("Z different: 1 difference"), "{lines:?}");
    drop(watch);
    let script = format!(
        "{} watch istio-iptables {} 2>/dev/null | head -n 1",
        program().display(),
        SETTINGS.map(|word| format!("'{word}'")).join(" ")
    );
    let started = Instant::now();
    assert!(namespace.command(&["sh", "-c", &script]).contains("different: 1 difference"));
    assert!(started.elapsed() < Duration::from_secs(20));
}

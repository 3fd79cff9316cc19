//! Many writers on one namespace: each one's last word stands, and none of them hears of the others.
//!
//! For 3 seconds; for 60 with MESHWIRE_TEST_FULL in the environment.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::nft::{Parts, meaning};
use crate::harness::{Namespace, full, network, of_the_command, oracle, privileged, say};

/// What the sidecar's writers want, all of it in the same tables. Between two of them, routes come and go.
const SIDECARS: [&str; 4] = [
    "-u 1337 -b * -i *",
    "-u 1337 -b * -i * -m TPROXY --dual-stack --redirect-dns --capture-all-dns --drop-invalid",
    "-u 1337 -b 80,443 -i 10.0.0.0/8 -m TPROXY --keep-counters",
    "--cleanup-only",
];

/// What the others want: tables of their own, in two versions that take turns. The last one's comes and
/// goes.
const OTHERS: [fn(usize) -> String; 4] = [
    |run| {
        format!(
            "table inet first {{}}; flush table inet first; table inet first {{ chain c {{ tcp dport {} accept; }}; }}",
            1 + run % 2
        )
    },
    |run| {
        format!(
            "table ip second {{}}; delete table ip second; table ip second {{ set s {{ type inet_service; elements = {{ {} }}; }}; }}",
            1 + run % 2
        )
    },
    |run| {
        let rules = format!("ip daddr 10.0.{}.0/24 counter; ", run % 2).repeat(50);
        format!(
            "table inet third {{}}; flush table inet third; table inet third {{ chain output {{ type filter hook output priority 7; {rules} }}; }}"
        )
    },
    |run| match run % 2 {
        0 => "add table inet fourth; add map inet fourth m { type inet_service : verdict; }".to_owned(),
        _ => "delete table inet fourth".to_owned(),
    },
];

#[test]
fn eight_writers_at_once() {
    if !oracle("nft") || !oracle("ip") || !privileged() {
        return;
    }
    let seconds = if full() { 60 } else { 3 };
    let namespace = place();
    let alone = SIDECARS.map(|args| {
        let namespace = place();
        succeeded(namespace.output(&mut meshwire(args), ""));
        (ours(&namespace), of_the_command(&network(&namespace)))
    });

    let ended = AtomicBool::new(false);
    let runs: Vec<usize> = thread::scope(|scope| {
        let (namespace, ended) = (&namespace, &ended);
        let sidecars = SIDECARS
            .map(|args| scope.spawn(move || repeat(namespace, ended, |_| (meshwire(args), String::new()))));
        let others = OTHERS.map(|text| {
            let command = move |run| {
                let mut nft = Command::new("nft");
                nft.args(["-f", "-"]);
                (nft, text(run))
            };
            scope.spawn(move || repeat(namespace, ended, command))
        });
        thread::sleep(Duration::from_secs(seconds));
        ended.store(true, Ordering::Relaxed);
        sidecars.into_iter().chain(others).map(|writer| writer.join().unwrap()).collect()
    });
    say(&format!("{} runs of 8 writers in {seconds} s: {runs:?}", runs.iter().sum::<usize>()));

    let held = meaning(&namespace);
    for (text, run) in OTHERS[..3].iter().zip(&runs[SIDECARS.len()..]) {
        let alone = Namespace::new();
        alone.feed(&["nft", "-f", "-"], &text(run - 1));
        for (name, part) in meaning(&alone) {
            assert_eq!(held.get(&name), Some(&part), "{name} after {run} runs");
        }
    }
    // The fourth one's has come or gone with its last run.
    assert_eq!(held.contains_key("table inet fourth"), runs[7] % 2 == 1);
    let found = (ours(&namespace), of_the_command(&network(&namespace)));
    assert!(alone.contains(&found), "nobody's word: {found:#?}");
}

/// Two of them at a time, so that one's last word can be told from the other's.
#[test]
fn of_two_sidecars_settings_one_is_there_as_a_whole() {
    if !oracle("nft") || !oracle("ip") || !privileged() {
        return;
    }
    let rounds = if full() { 400 } else { 25 };
    let namespace = place();
    let alone = SIDECARS.map(|args| {
        let namespace = place();
        succeeded(namespace.output(&mut meshwire(args), ""));
        (ours(&namespace), of_the_command(&network(&namespace)))
    });
    let mut last = [0; SIDECARS.len()];
    for round in 0..rounds {
        let pair = [round % 4, (round + 1 + round / 4 % 3) % 4];
        thread::scope(|scope| {
            for index in pair {
                let namespace = &namespace;
                scope.spawn(move || succeeded(namespace.output(&mut meshwire(SIDECARS[index]), "")));
            }
        });
        let found = (ours(&namespace), of_the_command(&network(&namespace)));
        let whose = pair.iter().find(|index| alone[**index] == found);
        let Some(&whose) = whose else { panic!("round {round}, {pair:?}: {found:#?}") };
        last[whose] += 1;
    }
    say(&format!("whose word was the last, in {rounds} rounds of two: {last:?}"));
}

fn place() -> Namespace {
    Namespace::with_addresses(&["10.0.0.2", "fd00::2"])
}

fn meshwire(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwire"));
    command.arg("istio-iptables").args(args.split_whitespace()).env_clear().stdin(Stdio::null());
    command
}

/// Runs commands until the time is over; returns how many.
fn repeat(namespace: &Namespace, ended: &AtomicBool, command: impl Fn(usize) -> (Command, String)) -> usize {
    let mut runs = 0;
    while !ended.load(Ordering::Relaxed) {
        let (mut command, input) = command(runs);
        let started = Instant::now();
        succeeded(namespace.output(&mut command, &input));
        assert!(started.elapsed() < Duration::from_secs(10), "{command:?} took {:?}", started.elapsed());
        runs += 1;
    }
    runs
}

#[track_caller]
fn succeeded(output: Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// The tables of the sidecar.
fn ours(namespace: &Namespace) -> Parts {
    let mut parts = meaning(namespace);
    parts.retain(|name, _| name.contains(" istio-proxy-"));
    parts
}

//! Many writers on one namespace: each one's last word holds, and none of them hears of the others.
//!
//! For 3 seconds; for 60 with MESHWIRE_TEST_FULL in the environment.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::{Chain, Family, Rule, Ruleset, Table};
use nftwire::Socket;

use crate::harness::nft::{Parts, assert_same, meaning};
use crate::harness::{Namespace, full, network, of_the_command, oracle, privileged, program, say, turn};

/// What the sidecar's writers want, all of it in the same tables. Between two of them, routes come and go.
const SIDECARS: [&str; 4] = [
    "istio-iptables -u 1337 -b * -i *",
    "istio-iptables -u 1337 -b * -i * -m TPROXY --dual-stack --redirect-dns --capture-all-dns --drop-invalid",
    "istio-iptables -u 1337 -b 80,443 -i 10.0.0.0/8 -m TPROXY --keep-counters",
    "istio-iptables --cleanup-only",
];
/// How many of them write at a time, next to the others; the last one would leave little to look at.
const AT_ONCE: usize = 3;

/// The rules of a sidecar, and its routes and addresses.
type Left = (Parts, Vec<String>);

/// The command of a run, by the run's number, and what it reads.
type Run = fn(usize) -> (Command, String);

/// What the others want: the names of tables of their own, and what they write there, in two versions that take turns.
const OTHERS: [(&str, Run); 5] = [
    ("linkerd-proxy-init", |run| {
        let ignored = ["25,3306", "4000-4999"][run % 2];
        let args = format!("proxy-init -p 4143 -o 4140 -u 2102 --inbound-ports-to-ignore {ignored}");
        (meshwire(&args), String::new())
    }),
    ("istio-ambient", |run| {
        (meshwire(["ambient pod apply --ipv6 --dns", "ambient pod remove"][run % 2]), String::new())
    }),
    ("first", |run| {
        let rules = format!("ip daddr 10.0.{}.0/24 counter; ", run % 2).repeat(50);
        nft(&format!(
            "table inet first {{}}; flush table inet first; \
             table inet first {{ chain output {{ type filter hook output priority 7; {rules} }}; }}"
        ))
    }),
    ("second", |run| {
        let elements = ["1, 2, 3", "3, 4"][run % 2];
        nft(&format!(
            "table ip second {{}}; delete table ip second; \
             table ip second {{ set s {{ type inet_service; elements = {{ {elements} }}; }}; }}"
        ))
    }),
    ("third", |run| {
        let verb = ["add", "delete"][run % 2];
        nft(&format!("add table inet third; {verb} table inet third"))
    }),
];

#[test]
fn eight_writers_at_once() {
    let _turn = turn();
    if !oracle("nft") || !oracle("ip") || !privileged() {
        return;
    }
    let seconds = if full() { 60 } else { 3 };
    let namespace = place();
    let alone = sidecars_alone();
    let ended = AtomicBool::new(false);
    let (runs, locked): (Vec<usize>, Vec<bool>) = thread::scope(|scope| {
        let (namespace, ended) = (&namespace, &ended);
        let sidecars: Vec<_> = SIDECARS[..AT_ONCE]
            .iter()
            .map(|args| scope.spawn(move || repeat(namespace, ended, |_| (meshwire(args), String::new()))))
            .collect();
        let others: Vec<_> = OTHERS
            .iter()
            .map(|(_, command)| scope.spawn(move || repeat(namespace, ended, command)))
            .collect();
        thread::sleep(Duration::from_secs(seconds));
        ended.store(true, Ordering::Relaxed);
        sidecars.into_iter().chain(others).map(|writer| writer.join().unwrap()).collect()
    });
    say(&format!("{} runs of {} writers in {seconds} s: {runs:?}", runs.iter().sum::<usize>(), runs.len()));

    for ((name, command), run) in OTHERS.iter().zip(&runs[AT_ONCE..]) {
        let alone = place();
        let (mut command, input) = command(run - 1);
        succeeded(&alone.output(&mut command, &input));
        assert_same(&format!("{name} after {run} runs"), &of(name, &namespace), &of(name, &alone));
    }
    // Of those that share their tables, each ended after the others had begun, so any of them can be the last.
    let (found, locked) = (of_the_sidecar(&namespace), locked.iter().all(|locked| *locked));
    assert!(alone[..AT_ONCE].iter().any(|alone| is_left(&found, alone, locked)), "{locked}: {found:#?}");
}

/// Two of them at a time, so that one's last word can be distinguished from the other's.
#[test]
fn of_two_sidecars_settings_one_is_there_as_a_whole() {
    let _turn = turn();
    if !oracle("nft") || !oracle("ip") || !privileged() {
        return;
    }
    let rounds = if full() { 400 } else { 25 };
    let namespace = place();
    let alone = sidecars_alone();
    let mut last = [0; SIDECARS.len()];
    for round in 0..rounds {
        let pair = [round % 4, (round + 1 + round / 4 % 3) % 4];
        let locked = thread::scope(|scope| {
            let namespace = &namespace;
            let run = |index: usize| {
                let output = namespace.output(&mut meshwire(SIDECARS[index]), "");
                succeeded(&output);
                had_lock(&output)
            };
            let writers = pair.map(|index| scope.spawn(move || run(index)));
            writers.map(|writer| writer.join().unwrap()).iter().all(|locked| *locked)
        });
        let found = of_the_sidecar(&namespace);
        let whose = pair.iter().find(|index| is_left(&found, &alone[**index], locked));
        let Some(&whose) = whose else { panic!("round {round}, {pair:?}: {found:#?}") };
        last[whose] += 1;
    }
    say(&format!("whose word was the last, in {rounds} rounds of two: {last:?}"));
}

/// Everything that another writer can add between the reading and the commit of a plan that rewrites, and that the commit keeps.
#[test]
fn what_comes_in_between_is_found_after_a_rewriting() {
    if !oracle("nft") || !privileged() {
        return;
    }
    let chains = ["one", "two"].map(|name| Chain::regular(name, vec![Rule::new().counter()]));
    let table = Table { chains: chains.into(), ..Table::new(Family::Inet, "desired") };
    let desired = Ruleset { tables: vec![table] };
    let owned = Owned::default().and(&Ruleset { tables: vec![Table::new(Family::Inet, "owned")] });
    let desired = Desired::new(&desired, &owned);
    for others in [
        "add chain inet desired three",
        "add chain inet desired three { type filter hook input priority 0; policy accept; }",
        "add set inet desired three { type inet_service; }",
        "add counter inet desired three",
        "add table inet owned",
    ] {
        let namespace = Namespace::new();
        let change = |text: &str| {
            succeeded(&namespace.output(Command::new("nft").arg("-f").arg("-"), &format!("{text}\n")));
        };
        let mut nft = namespace.run(|| Socket::open().unwrap());
        let send = |nft: &mut Socket, plan: &Plan<'_>| {
            nft.commit(plan.transaction(Counters::Reset).unwrap().batch()).unwrap();
        };
        let first = Plan::rewrite(&mut nft, desired).unwrap();
        send(&mut nft, &first);
        let before = Plan::rewrite(&mut nft, desired).unwrap();
        assert!(!before.has_undesired());

        change(others);
        send(&mut nft, &before);
        let after = Plan::rewrite(&mut nft, desired).unwrap();
        assert!(after.has_undesired(), "{others}");
        send(&mut nft, &after);
        assert!(!Plan::rewrite(&mut nft, desired).unwrap().has_undesired(), "{others}");
        assert_eq!(Plan::read(&mut nft, desired).unwrap().differences().unwrap(), []);
    }
}

fn place() -> Namespace {
    Namespace::with_addresses(&["10.0.0.2", "fd00::2"])
}

fn nft(text: &str) -> (Command, String) {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]);
    (command, text.to_owned())
}

fn meshwire(args: &str) -> Command {
    let mut command = Command::new(program());
    command.args(args.split_whitespace()).env_clear().stdin(Stdio::null());
    command
}

/// Runs commands until the time is over, and one at least; returns how many, and whether all [had the lock](had_lock).
fn repeat(
    namespace: &Namespace,
    ended: &AtomicBool,
    command: impl Fn(usize) -> (Command, String),
) -> (usize, bool) {
    let (mut runs, mut locked) = (0, true);
    loop {
        let (mut command, input) = command(runs);
        let output = namespace.output(&mut command, &input);
        succeeded(&output);
        locked &= had_lock(&output);
        runs += 1;
        if ended.load(Ordering::Relaxed) {
            return (runs, locked);
        }
    }
}

#[track_caller]
fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// Whether the run had the lock that keeps its rules and routes together. On a slow machine it can wait in vain: it gives up
/// after one second, and says so.
fn had_lock(output: &Output) -> bool {
    !String::from_utf8_lossy(&output.stderr).contains("done without waiting for others")
}

/// Whether what is found is what a run alone leaves: all of it, or its rules where not every run had the lock.
fn is_left((rules, network): &Left, alone: &Left, locked: bool) -> bool {
    rules == &alone.0 && (!locked || network == &alone.1)
}

/// What each of the sidecar's settings leaves where nobody else writes.
fn sidecars_alone() -> [Left; SIDECARS.len()] {
    SIDECARS.map(|args| {
        let namespace = place();
        succeeded(&namespace.output(&mut meshwire(args), ""));
        of_the_sidecar(&namespace)
    })
}

fn of_the_sidecar(namespace: &Namespace) -> Left {
    (of("istio-proxy-", namespace), of_the_command(&network(namespace)))
}

/// The tables whose names begin so.
fn of(name: &str, namespace: &Namespace) -> Parts {
    let mut parts = meaning(namespace);
    parts.retain(|part, _| part.split(' ').nth(2).is_some_and(|table| table.starts_with(name)));
    parts
}

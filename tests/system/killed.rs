//! Nothing is half-done: not by a run that is killed, at whatever moment, and not by one that the kernel refuses.
//!
//! 170 runs are killed; 2,000 with MESHWIRE_TEST_FULL in the environment.

use std::hint;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meshwire::apply::{ApplyError, Counters};
use meshwire::interception::Interception;
use meshwire::network::{self, Change, Network, PolicyRule, RouteSocket};
use nft_ruleset::desired::Owned;
use nft_ruleset::{BaseChain, Chain, ChainKind, Data, Family, Hook, Policy, Rule, Ruleset, Table, Target};
use nftwire::Name;
use nftwire::Socket;
use nftwire::expr::CtKey;
use nix::sys::signal::Signal;

use crate::harness::nft::{Parts, assert_same, meaning};
use crate::harness::{
    Intercept, Namespace, full, network, of_the_command, oracle, owned_table, privileged, program, say,
};

const REDIRECT: &str = "-u 1337 -b * -i *";
const EVERYTHING: &str =
    "-u 1337 -b * -i * -m TPROXY --dual-stack --redirect-dns --capture-all-dns --drop-invalid";

#[test]
fn a_killed_run_leaves_the_old_or_the_new_ruleset() {
    let clean_up = "--cleanup-only";
    let keep = |args: &str| format!("{args} --keep-counters");
    let networks: Vec<_> = (0..3_000).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect();
    let many = format!("-u 1337 -b * -i * -x {}", networks.join(","));
    // Each of them twice: with the other CPUs at rest, and with all of them busy.
    let pairs = [
        ([REDIRECT.to_owned(), EVERYTHING.to_owned()], [30, 350]),
        ([keep(REDIRECT), keep(EVERYTHING)], [20, 250]),
        ([clean_up.to_owned(), EVERYTHING.to_owned()], [20, 250]),
        ([many, EVERYTHING.to_owned()], [15, 150]),
    ];
    let mut chance = Chance(0x6d65_7368_7769_7265);
    let mut total = 0;
    for (settings, runs) in pairs {
        let runs = runs[usize::from(full())];
        let Some(victim) = Victim::new(&settings) else { return };
        let name =
            settings.each_ref().map(|setting| setting.chars().take(40).collect::<String>()).join(" / ");
        let (mut before, mut after) = (0, 0);
        for busy in [false, true] {
            let outcomes = if busy {
                besides_work(|| victim.kill(runs, &mut chance))
            } else {
                victim.kill(runs, &mut chance)
            };
            total += runs;
            say(&format!("{outcomes:?}, others busy: {busy}: {name}"));
            before += outcomes.killed_before;
            after += outcomes.killed_after;
        }
        assert!(before > 0 && after > 0, "{name}");
    }
    say(&format!("{total} runs, and the old or the new ruleset after each of them"));
}

/// Does something while all CPUs but one have other work.
fn besides_work<T>(something: impl FnOnce() -> T) -> T {
    /// Also by a panic, for which the others would be waited for for ever.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let others = thread::available_parallelism().map_or(1, |cpus| cpus.get().max(2) - 1);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&done);
        for _ in 0..others {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        something()
    })
}

#[test]
fn a_refused_ruleset_leaves_everything_as_it_was() {
    let Some(namespace) = place() else { return };
    intercept(REDIRECT).apply(&namespace);
    // A table that belongs to another process cannot be changed.
    let Some(owner) = owned_table(&namespace, "istio-proxy-mangle") else { return };
    let before = everything(&namespace);
    assert!(of_the_command(&before.1).is_empty());
    for flags in [&[][..], &["--keep-counters"], &["--check"]] {
        let output = intercept(EVERYTHING).with(flags).run(&namespace);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {stderr}");
        assert!(stderr.contains("the kernel refused"), "{flags:?}: {stderr}");
        assert_eq!(everything(&namespace), before, "{flags:?}");
    }
    drop(owner);
    intercept(EVERYTHING).apply(&namespace);
    assert!(!of_the_command(&network(&namespace)).is_empty());
}

#[test]
fn a_refused_rule_is_named_and_only_what_the_run_added_is_taken_back() {
    let Some(namespace) = place() else { return };
    // The model allows it, but nobody can set the state of a connection.
    let refused = Rule::new().counter().set(Target::Ct(CtKey::State), Data::ne32(1));
    let desired = |rule: Rule| Ruleset {
        tables: vec![
            table("first", vec![Rule::new().counter()]),
            table("second", vec![Rule::new().counter().accept(), rule]),
        ],
    };
    let owned = Ruleset { tables: vec![table("first", vec![]), table("second", vec![])] };
    let mut needed = Network { loopback_addresses: vec!["::6".parse().unwrap()], ..Network::default() };
    needed.add_marked_to_local(network::Family::V4, 1337, 133);
    needed.add_marked_to_local(network::Family::V6, 1337, 133);
    let interception = |rule| Interception {
        owned: Owned::with_kept_sets(&owned),
        ruleset: desired(rule),
        network: needed.clone(),
        ..Interception::default()
    };
    let apply = |interception: &Interception, counters| {
        namespace.run(|| {
            interception.apply(&mut Socket::open().unwrap(), &mut RouteSocket::open().unwrap(), counters)
        })
    };
    let there =
        PolicyRule { family: network::Family::V4, mark: 1337, mask: None, priority: None, table: 133 };
    assert_eq!(namespace.run(|| RouteSocket::open()?.add_rule(&there)).unwrap(), Change::Made);

    // Into nothing, and over an older one.
    for _ in 0..2 {
        let before = everything(&namespace);
        for counters in [Counters::Reset, Counters::Keep] {
            match apply(&interception(refused.clone()), counters) {
                Err(ApplyError::Refused { subject: Some(subject), refusal, .. }) => {
                    assert_eq!(
                        subject.to_string(),
                        "rule 2 of output in inet second (\"counter ct state set invalid\")"
                    );
                    assert_eq!(refusal.location.expression, Some((2, "ct".to_owned())));
                    assert_eq!(
                        (subject.chain.as_ref().and_then(Name::to_str), subject.rule.map(|(index, _)| index)),
                        (Some("output"), Some(1))
                    );
                }
                result => panic!("{result:?}"),
            }
            assert_eq!(everything(&namespace), before);
        }
        apply(&interception(Rule::new().drop()), Counters::Reset).unwrap();
    }
}

/// A pod's namespace, for the tests that compare what `nft` and `ip` say. None where one of them is missing.
fn place() -> Option<Namespace> {
    (oracle("nft") && oracle("ip") && privileged())
        .then(|| Namespace::with_addresses(&["10.0.0.2", "fd00::2"]))
}

/// Everything that the command could change, with handles and counters. As text: nft 1.0.6 cannot show in JSON that a
/// table has an owner.
fn everything(namespace: &Namespace) -> (String, Vec<String>) {
    (namespace.command(&["nft", "-a", "list", "ruleset"]), network(namespace))
}

fn intercept(args: &str) -> Intercept {
    Intercept::new(&args.split_whitespace().collect::<Vec<_>>())
}

fn table(name: &str, rules: Vec<Rule>) -> Table {
    let base =
        BaseChain { kind: ChainKind::Filter, hook: Hook::LocalOut, priority: 0, policy: Policy::Accept };
    let chain = Chain { name: "output".into(), base: Some(base), rules, ..Chain::default() };
    Table { chains: vec![chain], ..Table::new(Family::Inet, name) }
}

/// A pod in which two settings take turns, by runs that are killed.
struct Victim<'a> {
    namespace: Namespace,
    settings: &'a [String; 2],
    /// What complete runs leave.
    complete: [Held; 2],
    /// How long they took.
    durations: [Duration; 2],
}

/// What the kernel holds.
#[derive(Default)]
struct Held {
    ruleset: Parts,
    /// What the rules need to work.
    network: Vec<String>,
}

/// How runs ended.
#[derive(Debug, Default)]
struct Outcomes {
    killed_before: u32,
    killed_after: u32,
    finished: u32,
}

impl<'a> Victim<'a> {
    /// A pod with the second setting.
    fn new(settings: &'a [String; 2]) -> Option<Self> {
        let mut victim = Self {
            namespace: place()?,
            settings,
            complete: Default::default(),
            durations: [Duration::ZERO; 2],
        };
        // In the second round each setting replaces the other one, as it will from then on.
        for index in [0, 1, 0, 1] {
            victim.durations[index] = victim.complete(index);
            victim.complete[index] = victim.held();
        }
        Some(victim)
    }

    fn held(&self) -> Held {
        Held { ruleset: meaning(&self.namespace), network: of_the_command(&network(&self.namespace)) }
    }

    fn kill(&self, runs: u32, chance: &mut Chance) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let mut current = 1;
        let mut spans = self.durations;
        for run in 0..runs {
            let next = 1 - current;
            // Half of them early, the others at any time.
            let exponent = if run % 2 == 0 { 1 } else { 3 };
            let delay = spans[next].mul_f64(chance.fraction().powi(exponent));
            let was_killed = self.kill_after(next, delay);
            let held = self.held();
            let (old, new) = (&self.complete[current], &self.complete[next]);
            // The span follows what runs take, which depends on what else the machine has to do.
            let (outcome, change) = match (held.ruleset == new.ruleset, was_killed) {
                (true, true) => (&mut outcomes.killed_after, 1.0),
                (true, false) => (&mut outcomes.finished, 0.9),
                (false, _) => (&mut outcomes.killed_before, 1.05),
            };
            *outcome += 1;
            spans[next] = spans[next].mul_f64(change);
            if held.ruleset == new.ruleset {
                current = next;
            } else {
                assert!(was_killed, "run {run} has changed nothing");
                assert_same(&format!("run {run}, killed after {delay:?}"), &held.ruleset, &old.ruleset);
            }
            let missing = |line: &&String| !held.network.contains(line);
            let missing: Vec<_> = self.complete[current].network.iter().filter(missing).collect();
            assert!(missing.is_empty(), "run {run}, killed after {delay:?}: {missing:?}");
        }
        outcomes
    }

    /// Runs the command to its end, and returns how long it took.
    fn complete(&self, setting: usize) -> Duration {
        self.namespace.run(|| {
            let started = Instant::now();
            assert!(self.command(setting).status().unwrap().success());
            started.elapsed()
        })
    }

    /// Runs the command for this long; false if it came to its end before.
    fn kill_after(&self, setting: usize, delay: Duration) -> bool {
        let status = self.namespace.run(|| {
            let mut child = self.command(setting).spawn().unwrap();
            thread::sleep(delay);
            child.kill().unwrap();
            child.wait().unwrap()
        });
        assert!(status.success() || status.signal() == Some(Signal::SIGKILL as i32), "{status}");
        !status.success()
    }

    fn command(&self, setting: usize) -> Command {
        let mut command = Command::new(program());
        command.arg("istio-iptables").args(self.settings[setting].split_whitespace()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Numbers that look like chance and are the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// A signal that asks a process to end waits until the run is over: either nothing has begun, or all of it is done.
#[test]
fn a_run_that_is_asked_to_end_does_all_or_nothing() {
    if !privileged() || !oracle("ip") || !oracle("nft") {
        return;
    }
    let argv: Vec<_> = EVERYTHING.split_whitespace().filter(|word| *word != "--redirect-dns").collect();
    let (mut nothing, mut everything) = (0, 0);
    let left = |namespace: &Namespace| {
        let tables = namespace.command(&["nft", "list", "tables"]).lines().count();
        (tables, of_the_command(&network(namespace)).len())
    };
    let whole = Namespace::with_addresses(&["10.0.0.2", "fd00::2"]);
    let started = Instant::now();
    crate::harness::intercept(&whole, &argv);
    // What a run takes, which depends on what else the machine has to do: it follows what becomes of the runs.
    let mut span = started.elapsed();
    let whole = left(&whole);
    for round in 0..60_u32 {
        let namespace = Namespace::with_addresses(&["10.0.0.2", "fd00::2"]);
        let mut child = namespace.run(|| {
            let mut command = Command::new(program());
            command.arg("istio-iptables").args(&argv).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        });
        thread::sleep(span.mul_f64(f64::from(round % 10) / 10.0));
        let signal = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP][usize::try_from(round).unwrap() % 3];
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        // It may have ended already.
        let _ = nix::sys::signal::kill(pid, signal);
        child.wait().unwrap();
        match left(&namespace) {
            (0, 0) => (nothing, span) = (nothing + 1, span.mul_f64(1.1)),
            all if all == whole => (everything, span) = (everything + 1, span.mul_f64(0.9)),
            half => panic!("after {signal} in round {round}: {half:?}"),
        }
    }
    say(&format!("asked to end: {nothing} runs had done nothing, {everything} everything"));
    assert!(everything > 0);
}

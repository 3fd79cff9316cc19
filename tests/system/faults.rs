//! Every system call of a run, made to fail in turn: what comes of it is all, nothing, or said.
//!
//! strace puts the errors in. By default each call fails once, with errors that take turns from call to call; with
//! MESHWIRE_TEST_FULL in the environment, each call fails with each of them.

use std::fs;
use std::process::{Command, Output};

use crate::harness::nft::{Parts, meaning};
use crate::harness::{Intercept, Namespace, full, network, oracle, privileged, say};
use crate::image::static_build;

const REDIRECT: &str = "-u 1337 -b * -i *";
const EVERYTHING: &str =
    "-u 1337 -b * -i * -m TPROXY --dual-stack --redirect-dns --capture-all-dns --drop-invalid";

/// What calls fail with. The last one only those that can be interrupted.
const ERRORS: [&str; 5] = ["EPERM", "ENOMEM", "ENOBUFS", "EAGAIN", "EINTR"];
/// Calls that a signal can interrupt, among those that a run makes (signal(7)).
const INTERRUPTIBLE: [&str; 6] = ["openat", "poll", "read", "write", "sendto", "recvfrom"];
/// Two do not come back, so they cannot fail. Three are how the heap grows: brk answers with an address whatever happens, and a
/// program that gets no memory is ended by its allocator; what that leaves, `killed` looks at. The last one has an answer for a few
/// bytes from when the machine has booted (getrandom(2)); std's maps take that for granted.
const NEVER_FAIL: [&str; 6] = ["execve", "exit_group", "brk", "mmap", "mremap", "getrandom"];

/// What a run starts from, and its arguments.
const SCENARIOS: [(Option<&str>, &str); 8] = [
    (None, REDIRECT),
    (None, EVERYTHING),
    (None, "-u 1337 -b * -i * -m TPROXY --lockdown"),
    (Some(REDIRECT), EVERYTHING),
    (Some(EVERYTHING), REDIRECT),
    (Some(REDIRECT), "-u 1337 -b * -i * -m TPROXY --dual-stack --keep-counters"),
    (Some(EVERYTHING), "-u 1337 -b 80 -i * -m TPROXY --check"),
    (Some(EVERYTHING), "--cleanup-only"),
];

/// What a run may say where its rules exist, but not everything that belongs to it: that it is so.
const DONE: [&str; 2] = ["applied, but", "removed, but"];
/// What a run says that does not know what it has done.
const UNKNOWN: [&str; 3] =
    ["the transaction was sent, but", "may have been done", "what was added before could not be removed"];

#[test]
fn every_system_call_that_fails_leaves_all_or_nothing() {
    if !oracle("nft") || !oracle("ip") || !oracle("strace") || !privileged() {
        return;
    }
    let mut outcomes = Outcomes::default();
    for (before, args) in SCENARIOS {
        let mut scenario = Scenario::new(before, args);
        for (number, call) in scenario.calls().into_iter().enumerate() {
            for (turn, error) in ERRORS.into_iter().enumerate() {
                let legal = error != "EINTR" || INTERRUPTIBLE.contains(&call.name.as_str());
                if legal && (full() || turn == number % ERRORS.len()) {
                    scenario.fail(&call, error, &mut outcomes);
                }
            }
        }
    }
    say(&format!("system calls made to fail: {outcomes:?}"));
    assert!(outcomes.nothing > 0 && outcomes.all > 0 && outcomes.said > 0, "{outcomes:?}");
}

/// From one moment on, every call of a kind fails: nothing can be taken back then, and it has to be said.
#[test]
fn system_calls_that_keep_failing_are_reported() {
    if !oracle("nft") || !oracle("ip") || !oracle("strace") || !privileged() {
        return;
    }
    let mut outcomes = Outcomes::default();
    for (before, args) in [(None, EVERYTHING), (Some(EVERYTHING), REDIRECT)] {
        let mut scenario = Scenario::new(before, args);
        let network = ["socket", "bind", "setsockopt", "sendto", "recvfrom"];
        let calls = scenario.calls();
        for call in calls.iter().filter(|call| network.contains(&call.name.as_str())) {
            let call = Call { on: true, ..call.clone() };
            scenario.fail(&call, "EPERM", &mut outcomes);
        }
    }
    say(&format!("system calls made to fail from some moment on: {outcomes:?}"));
}

/// How runs ended.
#[derive(Debug, Default)]
struct Outcomes {
    /// Failed, and left everything as it was
    nothing: u32,
    /// Did everything: the call does not matter
    all: u32,
    /// Failed, and said what it has done, or that this is not known
    said: u32,
    /// Ended otherwise than with an error message, before the program's own first call
    started: u32,
    /// Did not make the call this time
    absent: u32,
}

/// One call of a run.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    /// Its number among those of the same name, from 1
    number: usize,
    /// Whether the program itself has begun
    begun: bool,
    /// Whether all of the same name fail from it on
    on: bool,
}

/// What the kernel holds.
#[derive(Clone, PartialEq)]
struct Held {
    rules: Parts,
    network: Vec<String>,
}

struct Scenario {
    before: Option<&'static str>,
    args: &'static str,
    namespace: Namespace,
    held_before: Held,
    held_after: Held,
}

impl Scenario {
    fn new(before: Option<&'static str>, args: &'static str) -> Self {
        let namespace = Self::prepare(before);
        let held_before = held(&namespace);
        intercept(args).apply(&namespace);
        let held_after = held(&namespace);
        Self { before, args, namespace: Self::prepare(before), held_before, held_after }
    }

    fn prepare(before: Option<&str>) -> Namespace {
        let namespace = Namespace::with_addresses(&["10.0.0.2", "fd00::2"]);
        if let Some(before) = before {
            intercept(before).apply(&namespace);
        }
        namespace
    }

    /// The calls of a run that nothing happens to, in order.
    fn calls(&mut self) -> Vec<Call> {
        let (output, trace) = self.run(&[]);
        assert!(output.status.success(), "{}: {}", self.args, stderr(&output));
        self.namespace = Self::prepare(self.before);
        let mut calls: Vec<Call> = Vec::new();
        for line in trace.lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            let number = calls.iter().filter(|call| call.name == name).count() + 1;
            let begun = name == "socket" || calls.last().is_some_and(|call| call.begun);
            calls.push(Call { name: name.to_owned(), number, begun, on: false });
        }
        calls.retain(|call| !NEVER_FAIL.contains(&call.name.as_str()));
        calls
    }

    /// Runs it under strace, with these options besides; returns what strace has written, too.
    fn run(&self, options: &[String]) -> (Output, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command.args(["-a", "1", "-s", "0", "-o"]).arg(file.path()).args(options);
        command.arg(static_build()).arg("istio-iptables").args(self.args.split_whitespace()).env_clear();
        let output = self.namespace.output(&mut command, "");
        (output, fs::read_to_string(file.path()).unwrap())
    }

    /// Makes a call fail, and looks at what comes of it.
    fn fail(&mut self, call: &Call, error: &str, outcomes: &mut Outcomes) {
        let Call { name, number, begun, on } = call;
        let more = if *on { "+" } else { "" };
        let what = format!("{} after {:?}: {name} {number}{more}: {error}", self.args, self.before);
        let inject = format!("inject={name}:error={error}:when={number}{more}");
        let (output, trace) = self.run(&["-e".to_owned(), inject]);
        let text = stderr(&output);
        let last = text.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
        let held = held(&self.namespace);
        let as_before = held == self.held_before;
        let what = format!("{what}: {}: {text}", output.status);

        if output.status.success() {
            assert_same(&what, &held, &self.held_after);
            *(if trace.contains("(INJECTED)") { &mut outcomes.all } else { &mut outcomes.absent }) += 1;
        } else if !begun {
            assert_same(&what, &held, &self.held_before);
            outcomes.started += 1;
        } else {
            assert_eq!(output.status.code(), Some(1), "{what}");
            assert!(last.starts_with("error: "), "{what}");
            let says = |phrases: &[&str]| phrases.iter().any(|phrase| last.contains(phrase));
            if says(&DONE) {
                assert!(held.rules == self.held_after.rules, "{what}");
                outcomes.said += 1;
            } else if says(&UNKNOWN) {
                let (rules, before, after) = (&held.rules, &self.held_before.rules, &self.held_after.rules);
                assert!(rules == before || rules == after, "{what}");
                // The routes that either of them needs.
                let needed = if rules == after { &self.held_after } else { &self.held_before };
                let missing: Vec<_> =
                    needed.network.iter().filter(|line| !held.network.contains(line)).collect();
                assert!(missing.is_empty(), "{what}: {missing:?}");
                outcomes.said += 1;
            } else {
                assert_same(&what, &held, &self.held_before);
                outcomes.nothing += 1;
            }
        }
        if !as_before {
            self.namespace = Self::prepare(self.before);
        }
    }
}

#[track_caller]
fn assert_same(what: &str, left: &Held, right: &Held) {
    crate::harness::nft::assert_same(what, &left.rules, &right.rules);
    assert_eq!(left.network, right.network, "{what}");
}

fn held(namespace: &Namespace) -> Held {
    Held { rules: meaning(namespace), network: network(namespace) }
}

fn intercept(args: &str) -> Intercept {
    Intercept::new(&args.split_whitespace().collect::<Vec<_>>())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

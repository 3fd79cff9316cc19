//! `meshwire trace` compared with real connections.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Pod, V4, captured, nft, oracle, program};

/// A trace under way, which has its table already.
struct Trace {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Trace {
    fn start(pod: &Pod, args: &str) -> Self {
        let mut child = pod.namespace.run(|| {
            let mut command = Command::new(program());
            command.arg("trace").args(args.split_whitespace()).stdout(Stdio::piped());
            command.spawn().unwrap()
        });
        let lines = BufReader::new(child.stdout.take().unwrap());
        wait_for(|| {
            assert_eq!(child.try_wait().unwrap(), None, "the trace ended early");
            tables(pod).contains("table inet meshwire-trace")
        });
        Self { child, lines }
    }

    /// All that it prints, and its exit code.
    fn finish(mut self) -> (String, Option<i32>) {
        let mut text = String::new();
        for line in self.lines.lines() {
            text += &(line.unwrap() + "\n");
        }
        (text, self.child.wait().unwrap().code())
    }
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "it takes too long");
        thread::sleep(Duration::from_millis(5));
    }
}

fn tables(pod: &Pod) -> String {
    pod.namespace.command(&["nft", "list", "tables"])
}

fn intercepted() -> Option<Pod> {
    if !oracle("nft") {
        return None;
    }
    Pod::intercepted(&["-b", "*", "-i", "*"])
}

#[test]
fn a_flow_is_shown_with_its_rules_in_both_directions() {
    let Some(pod) = intercepted() else { return };
    let before = nft::meaning(&pod.namespace);
    let trace = Trace::start(&pod, "--dport 80 --count 1 --timeout 20s");
    assert_eq!(pod.app().tcp(V4.peer(80)), captured(15001, V4.peer(80)));
    let (text, code) = trace.finish();
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<_> = text.lines().collect();
    let find = |part: &str| {
        let found = lines.iter().position(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part} in\n{text}"))
    };
    let way = [
        find(" > 10.0.0.1:80 [syn] out by eth0"),
        find("inet istio-proxy-nat output: counter jump istio-output -> jump istio-output"),
        find("istio-redirect: meta l4proto tcp counter redirect to :15001 -> accept"),
        find(" > 127.0.0.1:15001 [syn] in by lo"),
        // The reply comes from the proxy, and from the server as far as the client sees.
        find("1 < tcp 127.0.0.1:15001 > 10.0.0.2:"),
        find("1 < tcp 10.0.0.1:80 > 10.0.0.2:"),
    ];
    assert!(way.is_sorted(), "{text}");
    assert_eq!(nft::meaning(&pod.namespace), before);
}

#[test]
fn other_flows_and_what_others_trace_are_left_out() {
    let Some(pod) = intercepted() else { return };
    let theirs = "table inet theirs { chain c { type filter hook output priority -500; tcp dport 81 meta nftrace set 1; }\n}";
    let loaded = pod.namespace.output(Command::new("nft").args(["-f", "-"]), theirs);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let trace = Trace::start(&pod, "--dport 80 --to 10.1.0.1 --count 1 --timeout 20s");
    for to in [V4.peer(81), V4.peer(80), V4.elsewhere(80)] {
        assert_eq!(pod.app().tcp(to), captured(15001, to));
    }
    let (text, code) = trace.finish();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(" > 10.1.0.1:80 [syn]"), "{text}");
    assert!(!text.contains("10.0.0.1:81") && !text.contains("10.0.0.1:80"), "{text}");
}

#[test]
fn datagrams_are_shown_once_a_flow_with_their_replies() {
    let Some(pod) = Pod::intercepted(&["-i", "*"]).filter(|_| oracle("nft")) else { return };
    // The first flow's reply may take longer than the last flow's packets are waited for.
    let trace = Trace::start(&pod, "--protocol udp --dport 80 --count 2 --timeout 20s");
    for _ in 0..2 {
        pod.app().udp(V4.peer(80));
    }
    let (text, code) = trace.finish();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 > udp 10.0.0.2:") && text.contains("1 < udp 10.0.0.1:80 > 10.0.0.2:"), "{text}");
}

#[test]
fn nothing_is_left_of_a_trace_that_is_killed_or_saw_nothing() {
    let Some(pod) = intercepted() else { return };
    let before = tables(&pod);
    let mut trace = Trace::start(&pod, "--timeout 60s");
    trace.child.kill().unwrap();
    trace.child.wait().unwrap();
    // The kernel removes the table when it closes the socket, which may come a moment after the process.
    wait_for(|| tables(&pod) == before);
    let saw_nothing =
        pod.namespace.output(Command::new(program()).args(["trace", "--dport", "9", "--timeout", "1s"]), "");
    assert_eq!((saw_nothing.stdout.as_slice(), saw_nothing.status.code()), (&b""[..], Some(4)));
}

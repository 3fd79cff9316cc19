//! What all commands have in common: how they name a namespace, take lists, write their results, and say what is wrong.

use std::fs::{self, File};
use std::io::{self, Read};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::nft::objects;
use crate::harness::{Intercept, Namespace, intercept, oracle, owned_table, program};
use crate::settings::Setting;

/// Commands that write a result, and how they end.
const RESULTS: [(&str, i32); 25] = [
    ("list ruleset", 0),
    ("list tables", 0),
    ("list ruleset --counters", 0),
    ("list ruleset --output json", 0),
    ("graph", 0),
    ("doctor --profile linkerd", 0),
    ("istio-iptables -b *", 0),
    ("istio-iptables -b * --check", 0),
    ("istio-iptables -b * --dry-run", 0),
    ("verify istio-iptables -b *", 0),
    ("verify istio-iptables -b * -i *", 3),
    ("explain --uid 1000 --to 198.51.100.1:80", 4),
    ("proxy-init -p 4143 -o 4140", 0),
    ("proxy-init -p 4143 -o 4140 --simulate", 0),
    ("proxy-init --cleanup-only", 0),
    ("ambient pod apply --allow-host-network", 0),
    ("ambient pod remove", 0),
    ("ambient host apply --kubelet-uid 0", 0),
    ("ambient probes add 10.0.0.1 --pod-uid a", 0),
    ("ambient probes list", 0),
    ("reset counters", 0),
    ("istio-iptables --cleanup-only", 0),
    ("--help", 0),
    ("--version", 0),
    ("explain --help", 0),
];

/// Runs the program with this as its standard output.
fn with_stdout(namespace: &Namespace, args: &str, stdout: impl Into<Stdio> + Send) -> (Option<i32>, String) {
    let args: Vec<_> = args.split(' ').collect();
    namespace.run(|| {
        let mut command = Command::new(program());
        command.args(&args).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let Output { status, stderr, .. } = command.spawn().unwrap().wait_with_output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    })
}

#[test]
fn a_closed_pipe_is_not_an_error_in_any_command() {
    let Some(namespace) = Setting::namespace() else { return };
    for (command, code) in RESULTS {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let (ended, stderr) = with_stdout(&namespace, command, writer);
        assert_eq!((ended, stderr.contains("error")), (Some(code), false), "{command}: {stderr}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_in_every_command() {
    let Some(namespace) = Setting::namespace() else { return };
    intercept(&namespace, &["-b", "*"]);
    for (command, _) in RESULTS {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, stderr) = with_stdout(&namespace, command, full);
        let text = "cannot write the result to standard output: ENOSPC: No space left on device";
        assert_eq!((code, stderr.contains(text)), (Some(1), true), "{command}: {stderr}");
    }
}

#[test]
fn counters_that_cannot_be_written_are_not_lost() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") {
        return;
    }
    for (format, reading) in [("text", "packets 7 bytes 8"), ("json", "\"packets\":7")] {
        namespace.feed(&["nft", "-f", "-"], "table ip t { chain c { counter packets 7 bytes 8; }; }");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, stderr) = with_stdout(&namespace, &format!("reset counters --output {format}"), full);
        assert_eq!((code, stderr.contains(reading)), (Some(1), true), "{stderr}");
        assert!(namespace.command(&["nft", "list", "ruleset"]).contains("packets 0 bytes 0"));
        namespace.command(&["nft", "flush", "ruleset"]);
    }
}

fn run(namespace: &Namespace, args: &str) -> (Option<i32>, String, String) {
    let args: Vec<_> = args.split(' ').collect();
    let Output { status, stdout, stderr } = Intercept::command_line(&args).run(namespace);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_does_not_exist_cannot_be_listed() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") {
        return;
    }
    namespace.feed(&["nft", "-f", "-"], "table ip t { chain c { }; set s { type ipv4_addr; }; }");
    for (missing, name) in [
        ("table ip other", "table ip other"),
        ("table inet t", "table inet t"),
        ("chain ip t other", "chain other of table ip t"),
        ("chain ip other c", "chain c of table ip other"),
        ("set ip t other", "set other of table ip t"),
    ] {
        for options in
            ["", " --counters", " --stateless", " --handles", " --output json", " --counters --output json"]
        {
            let (code, stdout, stderr) = run(&namespace, &format!("list {missing}{options}"));
            assert_eq!((code, stdout.as_str()), (Some(1), ""), "{missing}{options}");
            assert!(stderr.contains(&format!("{name} does not exist")), "{stderr}");
        }
    }
    for present in ["table ip t", "chain ip t c", "set ip t s"] {
        assert_eq!(run(&namespace, &format!("list {present} --counters")).0, Some(0), "{present}");
    }
}

/// Commands with a flag that names a namespace.
const WITH_NAMESPACE: [&str; 19] = [
    "migrate istio-iptables -b * --network-namespace",
    "migrate ambient pod --netns",
    "watch istio-iptables -b * --network-namespace",
    "watch ambient pod --netns",
    "list --netns",
    "graph --netns",
    "doctor --netns",
    "reset counters --netns",
    "explain --to 10.0.0.1:80 --netns",
    "trace --timeout 1s --netns",
    "istio-iptables -b * --network-namespace",
    "istio-iptables --cleanup-only --network-namespace",
    "verify istio-iptables -b * --network-namespace",
    "proxy-init -p 4143 -o 4140 --netns",
    "ambient pod apply --netns",
    "ambient pod remove --netns",
    "ambient host apply --kubelet-uid 0 --netns",
    "ambient probes list --netns",
    "verify ambient pod --netns",
];

#[test]
fn a_namespace_that_does_not_exist_is_reported_as_that() {
    let Some(namespace) = Setting::namespace() else { return };
    // Above PID_MAX_LIMIT (include/linux/threads.h).
    let no_process = "4194305";
    for command in WITH_NAMESPACE {
        for (typo, text) in [
            ("meshwire-typo", "there is no network namespace /run/netns/meshwire-typo"),
            ("/proc/self/ns/nett", "there is no network namespace /proc/self/ns/nett"),
            ("/etc/meshwire", "/etc/meshwire is not a namespace"),
            ("/proc/self/ns/uts", "the file is not a network namespace"),
            (no_process, "there is no process 4194305"),
        ] {
            let (code, stdout, stderr) = run(&namespace, &format!("{command} {typo}"));
            assert_eq!((code, stdout.as_str()), (Some(1), ""), "{command} {typo}: {stderr}");
            assert!(stderr.contains(text), "{command}: {stderr}");
            assert!(!stderr.contains("deleted") && !stderr.contains("gone"), "{command}: {stderr}");
        }
    }
}

#[test]
fn repeated_flags_extend_a_list() {
    let Some(namespace) = Setting::namespace() else { return };
    let istio = "istio-iptables -b * -i * --redirect-dns --capture-all-dns --dry-run";
    for (command, flag, one, other) in [
        (istio, "--istio-inbound-ports", "80", "81"),
        (istio, "--istio-local-exclude-ports", "80", "90-99"),
        (istio, "--istio-service-cidr", "10.0.0.0/8", "172.16.0.0/12"),
        (istio, "--istio-service-exclude-cidr", "10.1.0.0/16", "10.2.0.0/16"),
        (istio, "--istio-outbound-ports", "443", "8443"),
        (istio, "--istio-local-outbound-ports-exclude", "22", "23"),
        (istio, "--istio-exclude-interfaces", "eth1", "eth2"),
        (istio, "--kube-virt-interfaces", "eth1", "eth2"),
        (istio, "--proxy-uid", "1", "2"),
        (istio, "--proxy-gid", "1", "2"),
        ("proxy-init -p 4143 -o 4140 --simulate", "--ports-to-redirect", "80", "81"),
        ("proxy-init -p 4143 -o 4140 --simulate", "--inbound-ports-to-ignore", "80", "90-99"),
        ("proxy-init -p 4143 -o 4140 --simulate", "--outbound-ports-to-ignore", "80", "90-99"),
        ("proxy-init -p 4143 -o 4140 --simulate", "--subnets-to-ignore", "10.0.0.0/8", "172.16.0.0/12"),
        ("ambient pod apply --dry-run", "--virtual-interface", "eth1", "eth2"),
        ("ambient host apply --dry-run", "--kubelet-uid", "0", "1000"),
    ] {
        // The wildcards above are values of the same lists, and nothing can be added to them.
        let command = match flag {
            "--istio-inbound-ports" => command.replace("-b * ", ""),
            "--istio-service-cidr" => command.replace("-i * ", ""),
            _ => command.to_owned(),
        };
        let twice = run(&namespace, &format!("{command} {flag} {one} {flag} {other}"));
        assert_eq!(twice, run(&namespace, &format!("{command} {flag} {one},{other}")), "{flag}");
        assert_ne!(twice, run(&namespace, &format!("{command} {flag} {other}")), "{flag}");
        assert_eq!(twice.0, Some(0), "{flag}: {}", twice.2);
    }
    for (flag, text) in [("-b", "\"*\" is neither a port"), ("-i", "\"*\" is not a network")] {
        let (code, _, stderr) = run(&namespace, &format!("istio-iptables --dry-run {flag} * {flag} 80"));
        assert!(code == Some(2) && stderr.contains(text), "{flag}: {stderr}");
    }
}

#[test]
fn where_the_result_is_json_wrong_usage_is_too() {
    let Some(namespace) = Setting::namespace() else { return };
    for command in [
        "istio-iptables --output json -p x",
        "istio-iptables -p x --output=json",
        "istio-iptables --output json --bogus",
        "verify istio-iptables --output json -p x",
        "proxy-init --output json",
        "proxy-init --output json --bogus",
        "ambient pod apply --output json --bogus",
        "ambient pod apply --probe-ipv4 x --output json",
        "ambient host apply --output json --kubelet-uid x",
        "ambient probes add --output json",
        "ambient probes sync --output json",
        "bench --output json --runs 0",
        "bench --bogus --output json",
        "doctor --output json --profile x",
        "explain --output json",
        "list --output json bogus",
        "list table inet --output json",
        "reset counters --output json table x y",
        "trace --output json --dport x",
        "node status --output json x",
        "bogus --output json",
    ] {
        let (code, stdout, stderr) = run(&namespace, command);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command}: {stderr}");
        let line: Value = serde_json::from_str(&stderr).unwrap_or_else(|_| panic!("{command}: {stderr}"));
        assert_eq!(line["level"], "error", "{command}");
        assert!(line["error"]["text"].is_string(), "{command}: {stderr}");
    }
}

#[test]
fn a_run_that_intercepts_nothing_says_so() {
    let Some(namespace) = Setting::namespace() else { return };
    let says = |args: &str| {
        let (code, _, stderr) = run(&namespace, args);
        assert_eq!(code, Some(0), "{args}: {stderr}");
        stderr.contains("warn: nothing is intercepted: ")
    };
    let everything = "proxy-init -p 4143 -o 4140 --outbound-ports-to-ignore 1-65535";
    for nothing in [
        "istio-iptables",
        "istio-iptables --check",
        "istio-iptables -m TPROXY -d 80",
        "istio-iptables -i fd00::/8",
        "istio-iptables -i * -x 0.0.0.0/1,128.0.0.0/1",
        "istio-iptables -b * -d 1-65535",
        "istio-iptables -i * -o 0-65535",
        &format!("{everything} --inbound-ports-to-ignore 1-65535"),
        &format!("{everything} --subnets-to-ignore 0.0.0.0/0 --ipv6=false"),
        &format!("{everything} --ports-to-redirect 80 --inbound-ports-to-ignore 80"),
    ] {
        assert!(says(nothing), "{nothing}");
    }
    for something in [
        "istio-iptables -b 80",
        "istio-iptables -i fd00::/8 -q 80",
        "istio-iptables -i 10.0.0.0/8",
        "istio-iptables -i * -x 0.0.0.0/1",
        "istio-iptables --redirect-dns --capture-all-dns",
        "istio-iptables -b * -d 1-65534",
        everything,
        "proxy-init -p 4143 -o 4140 --subnets-to-ignore 0.0.0.0/0",
        "istio-iptables --cleanup-only",
    ] {
        assert!(!says(something), "{something}");
    }
}

#[test]
fn a_dry_run_does_not_ask_the_kernel() {
    let Some(namespace) = Setting::namespace() else { return };
    for command in [
        "istio-iptables -b * --dry-run --check",
        "istio-iptables -b * --check --dry-run",
        "proxy-init -p 4143 -o 4140 --simulate --check",
        "ambient pod apply --dry-run --check",
        "ambient host apply --kubelet-uid 0 --dry-run --check",
    ] {
        let (code, stdout, stderr) = run(&namespace, command);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command}");
        assert!(stderr.contains("--check: it asks the kernel, which a dry run does not"), "{stderr}");
    }
}

#[test]
fn a_check_of_the_cleanup_checks_the_cleanup() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") {
        return;
    }
    intercept(&namespace, &["-b", "*", "-i", "*"]);
    let before = objects(&namespace);
    let (code, stdout, _) = run(&namespace, "istio-iptables --check --cleanup-only");
    assert_eq!((code, stdout.starts_with("valid: bytes ")), (Some(0), true), "{stdout}");
    assert_eq!(objects(&namespace), before);
    // Of what cannot be removed, the cleanup is not valid; the rules themselves would be, in the table that they need.
    let (code, _, stderr) = run(&namespace, "istio-iptables --cleanup-only");
    assert_eq!(code, Some(0), "{stderr}");
    let Some(_owner) = owned_table(&namespace, "istio-proxy-mangle") else { return };
    let (code, _, stderr) = run(&namespace, "istio-iptables --check --cleanup-only");
    assert!(code == Some(1) && stderr.contains("inet istio-proxy-mangle"), "{stderr}");
}

#[test]
fn the_benchmark_looks_at_its_file_before_it_measures() {
    let Some(namespace) = Setting::namespace() else { return };
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing/plot.svg");
    // A thousand runs take minutes: longer than a command may take here.
    for (plot, errno) in [(nowhere.as_path(), "ENOENT"), (folder.path(), "EISDIR")] {
        let plot = plot.to_str().unwrap();
        let output = namespace.output(
            Command::new(program()).args(["bench", "--runs", "1000", "--sizes", "10000", "--plot", plot]),
            "",
        );
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{stderr}");
        assert!(stderr.starts_with(&format!("error: cannot write {plot}: {errno}: ")), "{stderr}");
    }
    let plot = folder.path().join("plot.svg");
    fs::write(&plot, "x".repeat(100_000)).unwrap();
    let args = ["bench", "--runs", "1", "--sizes", "10", "--plot", plot.to_str().unwrap()];
    let output = namespace.output(Command::new(program()).args(args), "");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("warn: --runs 1 is too few to see how noisy this machine is"), "{stderr}");
    let mut picture = String::new();
    File::open(&plot).unwrap().read_to_string(&mut picture).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
}

#[test]
fn numbers_that_are_none_are_named() {
    let Some(namespace) = Setting::namespace() else { return };
    for (args, text) in [
        ("trace --dport x", "--dport: \"x\" is not a port (0 to 65535)"),
        ("trace --to x", "--to: \"x\" is not an IP address"),
        ("trace --count x", "--count: \"x\" is not a number from 0 to 4294967295"),
        ("explain --to 10.0.0.1:80 --uid x", "--uid: \"x\" is not a number from 0 to 4294967295"),
        ("explain --to 10.0.0.1:80 --gid -1", "--gid: \"-1\" is not a number from 0 to 4294967295"),
        ("ambient probes remove x", "\"x\" is not an IP address"),
    ] {
        let (code, stdout, stderr) = run(&namespace, args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args}");
        assert!(stderr.contains(text), "{args}: {stderr}");
    }
}

/// Paths of the commands below this one that have an option of this name.
fn with_option(command: &clap::Command, path: &[&str], option: &str, found: &mut Vec<String>) {
    if command.get_arguments().any(|argument| argument.get_long() == Some(option)) {
        found.push(path.join(" "));
    }
    for command in command.get_subcommands() {
        with_option(command, &[path, &[command.get_name()]].concat(), option, found);
    }
}

#[test]
fn each_command_with_a_format_reports_wrong_usage_in_it() {
    let Some(namespace) = Setting::namespace() else { return };
    let mut commands = Vec::new();
    with_option(&meshwire::cli::command(), &[], "output", &mut commands);
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands.iter().filter(|command| *command != "graph") {
        let (code, stdout, stderr) = run(&namespace, &format!("{command} --output json --bogus"));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command}: {stderr}");
        assert!(serde_json::from_str::<Value>(&stderr).is_ok(), "{command}: {stderr}");
    }
}

#[test]
fn no_command_is_forgotten() {
    let mut commands = Vec::new();
    for option in ["netns", "network-namespace"] {
        with_option(&meshwire::cli::command(), &[], option, &mut commands);
    }
    // Each of them is here itself, or another one of its kind.
    let known = |command: &str| {
        let first = |line: &str| line.split(' ').next().map(str::to_owned);
        WITH_NAMESPACE.iter().any(|line| first(line) == first(command))
    };
    let missing: Vec<_> = commands.iter().filter(|command| !known(command)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

//! The demo as a newcomer runs it: with root, without, and where it is forbidden. Always quick, and gone afterwards.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong here fails the test"
)]

#[path = "common/program.rs"]
mod program;

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use meshwire_testkit::skip;
use nix::unistd::geteuid;
use program::program;

/// An environment variable by which the processes of a demo are known.
const MARK: &str = "MESHWIRE_DEMO_TEST";

#[test]
fn root_sees_the_proxy_dial_on() {
    if !geteuid().is_root() {
        skip("it needs root");
        return;
    }
    let output = run(Command::new(program()).arg("demo"));
    let text = text(&output.stdout);
    assert!(output.status.success(), "{}", self::text(&output.stderr));
    assert_lines(
        &text,
        &[
            "outside 203.0.113.10 ───── 203.0.113.2 pod ┬ app (port 8080, uid 1000)",
            "└ proxy (ports 15001 and 15006, uid 1337)",
            "1 table, 6 chains, 20 rules; # bytes, one commit, # ms",
            "Out: the app calls the outside",
            "the app connects 203.0.113.2:# → 203.0.113.10:80",
            "it arrives at 127.0.0.1:15001, the proxy",
            "original destination 203.0.113.10:80, as the kernel reports it to the proxy (SO_ORIGINAL_DST)",
            "the proxy dials on 203.0.113.2:# → 203.0.113.10:80, the outside",
            "the app gets \"hello from the outside\"",
            "In: the outside calls the app",
            "the outside connects 203.0.113.10:# → 203.0.113.2:8080",
            "it arrives at 203.0.113.2:15006, the proxy",
            "original destination 203.0.113.2:8080, as the kernel reports it to the proxy (SO_ORIGINAL_DST)",
            "the proxy dials on 127.0.0.6:# → 203.0.113.2:8080, the app",
            "the outside gets \"hello from the app\"",
            "chain prerouting (nat, hook prerouting, priority -100)",
            "1 meta l4proto tcp counter jump istio-inbound",
            "chain output (nat, hook output, priority -100)",
            "3 counter jump istio-output",
            "chain istio-inbound",
            "tcp dport 15008 counter return",
            "1 meta l4proto tcp counter jump istio-in-redirect",
            "chain istio-redirect",
            "1 meta l4proto tcp counter redirect to :15001",
            "chain istio-in-redirect",
            "1 meta l4proto tcp counter redirect to :15006",
            "chain istio-output",
            "1 oifname \"lo\" ip saddr 127.0.0.6 counter return",
            "1 meta skuid 1337 counter return",
            "meta skgid 1337 counter return",
            "1 counter jump istio-redirect",
        ],
    );
    assert!(!text.contains("single uid"), "{text}");
}

#[test]
fn without_root_the_proxy_answers_by_itself() {
    // By descriptor: the build's folder may be closed to other users.
    let file = File::open(program()).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if geteuid().is_root() {
        command.uid(1000).gid(1000);
    }
    let output = run(command.arg("demo"));
    let errors = text(&output.stderr);
    if errors.contains("may not make user namespaces") {
        {
            skip(&errors);
            return;
        }
    }
    assert!(output.status.success(), "{errors}");
    assert_lines(
        &text(&output.stdout),
        &[
            "outside 203.0.113.10 ───── 203.0.113.2 pod ┬ app (port 8080)",
            "└ proxy (ports 15001 and 15006)",
            "the app connects 203.0.113.2:# → 203.0.113.10:80",
            "it arrives at 127.0.0.1:15001, the proxy",
            "original destination 203.0.113.10:80, as the kernel reports it to the proxy (SO_ORIGINAL_DST)",
            "the app gets \"hello from the proxy\"",
            "the outside connects 203.0.113.10:# → 203.0.113.2:8080",
            "it arrives at 203.0.113.2:15006, the proxy",
            "original destination 203.0.113.2:8080, as the kernel reports it to the proxy (SO_ORIGINAL_DST)",
            "the outside gets \"hello from the proxy\"",
            "There is a single uid here, so the rules cannot distinguish the proxy from the app: the proxy answers by itself",
            "and never dials on. As root both have a uid of their own: sudo meshwire demo",
            "1 meta l4proto tcp counter jump istio-inbound",
            "1 counter jump istio-output",
            "1 meta l4proto tcp counter redirect to :15001",
            "1 meta l4proto tcp counter redirect to :15006",
            "1 counter jump istio-redirect",
        ],
    );
}

/// Root of a user namespace that allows no further ones, without its capabilities.
#[test]
fn where_user_namespaces_are_forbidden_it_says_by_what() {
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces && \
                  exec setpriv --bounding-set=-all --inh-caps=-all \"$0\" demo";
    let arguments = ["--user", "--map-root-user", "sh", "-c", forbid];
    let output = run(Command::new("unshare").args(arguments).arg(program()));
    let errors = text(&output.stderr);
    if errors.contains("unshare failed") {
        {
            skip(&errors);
            return;
        }
    }
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(text(&output.stdout), "");
    assert!(errors.starts_with("error: this user may not make user namespaces here (unshare: "), "{errors}");
    assert!(errors.contains("user.max_user_namespaces is 0"), "{errors}");
    assert!(errors.lines().nth(1).unwrap().starts_with("help: root lacks CAP_SYS_ADMIN"), "{errors}");
    assert_eq!(errors.lines().count(), 2, "{errors}");
}

/// Runs the command, and sees that it was quick and that nothing is left of it.
fn run(command: &mut Command) -> Output {
    let mark = format!("{} {:?}", process::id(), thread::current().id());
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    command.current_dir(&folder).env("TMPDIR", folder.path()).env("HOME", folder.path()).env(MARK, &mark);

    let named_before = named_namespaces();
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let elapsed = started.elapsed();

    // Far more than it takes, for the machine can be busy, or emulated.
    assert!(elapsed < Duration::from_secs(30), "{elapsed:?}");
    // A namespace lives by a process, a mount or a descriptor.
    assert_eq!(processes_with(&format!("{MARK}={mark}")), Vec::<String>::new());
    assert_eq!(named_namespaces(), named_before);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a file is left");
    output
}

fn processes_with(variable: &str) -> Vec<String> {
    let is_marked = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes.filter(|process| is_marked(process)).map(|process| process.display().to_string()).collect()
}

/// The network namespaces that are held by a mount.
fn named_namespaces() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|mount| mount.contains(" net:[")).map(str::to_owned).collect()
}

/// The text has these lines in this order, with any white space, and any number at `#`.
fn assert_lines(text: &str, expected: &[&str]) {
    let mut lines = text.lines();
    for expected in expected {
        assert!(
            lines.any(|line| is_like(line, expected)),
            "{expected:?} is missing or out of order:\n{text}"
        );
    }
}

fn is_like(line: &str, expected: &str) -> bool {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = line.as_str();
    for (index, part) in expected.split('#').enumerate() {
        if index > 0 {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        }
        match rest.strip_prefix(part) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

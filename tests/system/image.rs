//! The program as an image carries it: one static file in an empty root, that opens nothing, sends one batch, and takes
//! less time than `nft`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nft_ruleset::Family;
use nftwire::uapi::NFNL_MSG_BATCH_BEGIN;
use nftwire::{Batch, Socket, Table};
use nix::libc::NETLINK_NETFILTER;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

use crate::harness::{GIVEN, ISTIO_ARGS, Intercept, Namespace, oracle, privileged, program, say};
use crate::linkerd_invocation::CHART;

/// With everything that the kernel can be asked for.
const TPROXY_ARGS: [&str; 10] =
    ["-u", "1337", "-m", "TPROXY", "-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"];

/// How often each contender runs, at least.
const ROUNDS: usize = 21;

/// The system calls of a first run, the heap's not counted.
const FIRST_RUN: usize = 30;
/// The heap's: the allocator with which musl is built grows by 64 KiB, glibc's by about twice as much.
const HEAP: usize = 4;

#[test]
fn it_runs_in_an_empty_root() {
    let Some(namespace) = place() else { return };
    for (name, command) in [("meshwire", &["istio-iptables"][..]), ("istio-iptables", &[])] {
        let root = tempfile::tempdir().unwrap();
        meshwire_testkit::copy_executable(static_build(), &root.path().join(name));
        for args in [&ISTIO_ARGS[..], &TPROXY_ARGS, &["--cleanup-only"]] {
            let output = run_in_root(&namespace, root.path(), name, &[command, args].concat());
            let [stdout, stderr] =
                [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            assert!(output.status.success(), "{name} {args:?}: {}: {stderr}", output.status);
            let done = if args == ["--cleanup-only"] { "removed: " } else { "applied: " };
            assert!(stdout.starts_with(done), "{name} {args:?}: {stdout}");
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}

#[test]
fn linkerds_init_container_runs_in_an_empty_root_too() {
    let Some(namespace) = place() else { return };
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("linkerd2-proxy-init");
    meshwire_testkit::copy_executable(static_build(), &program);
    for (args, done) in [(&CHART[..], "applied: "), (&["--cleanup-only"], "removed: ")] {
        let output = run_in_root(&namespace, root.path(), "linkerd2-proxy-init", args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.starts_with(done.as_bytes()));
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn it_opens_no_file_and_sends_one_batch() {
    let Some(namespace) = place() else { return };
    if !oracle("strace") {
        return;
    }
    // Into nothing, over its own, and back to nothing.
    let istio = [&ISTIO_ARGS[..], &TPROXY_ARGS, &TPROXY_ARGS, &ISTIO_ARGS, &["--cleanup-only", "-u", "1337"]]
        .map(|args| [&["istio-iptables"], args].concat());
    let linkerd = [&CHART[..], &CHART[1..], &["--cleanup-only"]].map(|args| [&["proxy-init"], args].concat());
    for (index, args) in [&istio[..], &linkerd].concat().into_iter().enumerate() {
        let mut calls = system_calls(&namespace, &args);
        let named = |names: &[&str]| -> Vec<_> {
            calls.iter().filter(|call| names.contains(&call.split('(').next().unwrap())).collect()
        };
        // glibc's start-up code asks where the stack of the main thread is; and legacy iptables' tables, which no netlink
        // message says, are looked for.
        let opened = named(&["open", "openat", "openat2", "creat"]);
        let expected = [
            "\"/proc/self/maps\"",
            "\"/proc/self/net/ip_tables_names\"",
            "\"/proc/self/net/ip6_tables_names\"",
        ];
        let is_expected = |call: &&String| expected.iter().any(|file| call.contains(file));
        assert!(opened.iter().all(is_expected), "{args:?}: {opened:#?}");
        let started = named(&["execve", "execveat", "fork", "vfork", "clone", "clone3"]);
        assert!(started.is_empty(), "{args:?}: {started:#?}");

        let netfilter = format!(", {NETLINK_NETFILTER:#x}) = ");
        let sockets: Vec<_> =
            named(&["socket"]).iter().filter_map(|call| call.split_once(&netfilter)).collect();
        let [(_, socket)] = sockets[..] else { panic!("{args:?}: {calls:#?}") };
        let (receiver, begin) = (format!("({socket}, "), format!("nlmsg_type={NFNL_MSG_BATCH_BEGIN:#x},"));
        // One that holds nothing but its two ends changes nothing: it waits until nobody else is changing anything.
        let holds_objects = |call: &str| call.matches("nlmsg_type=").count() > 2;
        let batches = named(&["sendto", "sendmsg", "sendmmsg", "write", "writev"])
            .iter()
            .filter(|call| call.contains(&receiver) && call.contains(&begin) && holds_objects(call))
            .count();
        assert_eq!(batches, 1, "{args:?}: {calls:#?}");
        // Looking at the clock is none where user space can read it, musl knows a thread's number without asking, and a kernel
        // that is too old is warned of.
        let uncounted = ["clock_gettime(", "gettid("];
        calls.retain(|call| {
            !uncounted.iter().any(|name| call.starts_with(name)) && !call.contains("\"warn: this kernel is ")
        });
        assert!(calls.len() < 160, "{calls:#?}");
        // Its own, between what the C library and Rust do before and after it; of a first run with the usual settings.
        let own = calls.iter().skip_while(|call| !call.starts_with("geteuid("));
        let own = own.take_while(|call| !call.starts_with("sigaltstack("));
        // How often the heap grows depends on the allocator and on how large its steps are, and not on what a run asks the
        // kernel: it is counted by itself, so that neither can hide in the other.
        let of_heap = |call: &&String| {
            ["brk(", "mmap(", "mremap(", "munmap("].iter().any(|name| call.starts_with(name))
        };
        let (heap, own): (Vec<_>, Vec<_>) = own.partition(of_heap);
        let (heap, own) = (heap.len(), own.len());
        say(&format!(
            "{} system calls, {own} of its own, {heap} of the heap: {}",
            calls.len(),
            args.join(" ")
        ));
        // docs/benchmark.md says what each of them is for.
        assert!(index > 0 || own <= FIRST_RUN, "{own} system calls: {calls:#?}");
        assert!(index > 0 || heap <= HEAP, "{heap} system calls of the heap: {calls:#?}");
    }
}

#[test]
fn it_is_faster_than_nft() {
    let Some(namespace) = place() else { return };
    if !oracle("nft") {
        return;
    }
    // As on a node where other pods are: the kernel's hooks and its connection tracking are on already.
    let other = place().unwrap();
    Intercept::new(&["-i", "*", "-b", "*"]).apply(&other);

    let ours = [&["istio-iptables"], &ISTIO_ARGS[..]].concat();
    let printed = Intercept::new(&ISTIO_ARGS).with(&["--dry-run"]).apply(&namespace);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, printed).unwrap();
    let contenders = [
        (static_build().to_path_buf(), ours),
        (PathBuf::from("nft"), vec!["-f", file.path().to_str().unwrap()]),
    ];
    let mut nft = namespace.run(Socket::open).unwrap();
    let mut times = [Vec::new(), Vec::new()];
    // The shortest times: what else the machine has to do makes the others longer, and not all of them alike. Where it is so much
    // that even the shortest ones do not tell, more rounds do.
    let is_told = |[ours, theirs]: &[Vec<Duration>; 2]| ours.iter().min() < theirs.iter().min();
    for round in 0..10 * ROUNDS {
        if round >= ROUNDS && is_told(&times) {
            break;
        }
        for ((program, args), times) in contenders.iter().zip(&mut times) {
            clean_up(&mut nft);
            times.push(namespace.run(|| time(program, args)));
        }
    }
    let rounds = times[0].len();
    let [ours, theirs] = times.map(|mut times| {
        times.sort_unstable();
        (times[rounds / 2], times[0])
    });
    let ratio = theirs.0.as_secs_f64() / ours.0.as_secs_f64();
    say(&format!(
        "median of {rounds}: meshwire {:.2?}, nft -f {:.2?}, {ratio:.1} times as long",
        ours.0, theirs.0
    ));
    assert!(ours.1 < theirs.1, "{ours:?} and {theirs:?}");
}

fn place() -> Option<Namespace> {
    privileged().then(|| Namespace::with_addresses(&["10.0.0.2"]))
}

/// The release build, as it is shipped, made once. Where the tests do not run where they were built, it is what they were
/// given.
pub(crate) fn static_build() -> &'static Path {
    static BUILD: OnceLock<PathBuf> = OnceLock::new();
    BUILD.get_or_init(|| {
        if std::env::var_os(GIVEN).is_some() {
            return program();
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
        let started = Instant::now();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/build");
        let output = Command::new(script).arg("--out").arg(&folder).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let program = folder.join("meshwire");
        let kilobytes = fs::metadata(&program).unwrap().len() / 1000;
        say(&format!("release build: {kilobytes} kB, after {:.0?}", started.elapsed()));
        program
    })
}

/// Runs the program where there is nothing but itself.
fn run_in_root(namespace: &Namespace, root: &Path, program: &str, args: &[&str]) -> Output {
    namespace.run(|| {
        // Of this thread alone.
        unshare(CloneFlags::CLONE_FS).unwrap();
        chroot(root).unwrap();
        chdir("/").unwrap();
        // Pipes, as there is no /dev/null.
        Command::new(format!("/{program}")).args(args).env_clear().stdin(Stdio::piped()).output().unwrap()
    })
}

/// The system calls of a run, from the first one of the program itself on. Constants are numbers in it.
fn system_calls(namespace: &Namespace, args: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-a", "1", "-X", "raw", "-o"]).arg(&trace).arg(static_build()).args(args);
    let output = namespace.output(&mut command, "");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    let calls = trace.lines().filter(|line| line.contains('(')).skip(1);
    calls.map(str::to_owned).collect()
}

/// Takes away what a run has left, and lets the kernel finish with it.
fn clean_up(nft: &mut Socket) {
    let name = "istio-proxy-nat";
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Inet, name));
    batch.del_table(Family::Inet, name);
    nft.commit(&mut batch).unwrap();
    thread::sleep(Duration::from_millis(20));
}

/// The time from the start of a program to its end.
pub(crate) fn time(program: &Path, args: &[&str]) -> Duration {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().unwrap();
    let elapsed = started.elapsed();
    assert!(status.success(), "{}: {status}", program.display());
    elapsed
}

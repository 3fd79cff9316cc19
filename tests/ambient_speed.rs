//! How long many pods take, compared with nft in each of them, and how long the probe set takes, compared with the kernel alone.
//!
//! `cargo test --release --test ambient_speed -- --ignored --nocapture --test-threads 1`, as root with nft.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the run")]

use std::fmt::Write as _;
use std::io::{Seek, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshwire::mesh::istio::ambient::{HostInterception, PodInterception};
use meshwire_testkit::Namespace;
use nftwire::{Batch, Element, ElementList, Family, Socket, userdata};

const MESHWIRE: &str = env!("CARGO_BIN_EXE_meshwire");
const PODS: usize = 250;
const ADDRESSES: u32 = 100_000;
/// Of each kind, in turns; the shortest ones count, so that what else the machine does counts least.
const RUNS: usize = 7;

fn run(command: &mut Command) {
    let output = command.stdout(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

#[test]
#[ignore = "a measurement: needs a release build and a quiet machine"]
fn many_pods_beside_nft_in_each() {
    let ruleset =
        PodInterception { ipv6: true, dns: true, ..PodInterception::default() }.ruleset().to_string();
    let mut text = tempfile::NamedTempFile::new().unwrap();
    text.write_all(ruleset.as_bytes()).unwrap();
    // With `lo` up, which IPv6 routes need.
    let (theirs, ours): (Vec<_>, Vec<_>) = (0..PODS).map(|_| (Namespace::new(), Namespace::new())).unzip();
    let nft = timed(|| {
        for pod in &theirs {
            pod.run(|| run(Command::new("nft").arg("-f").arg(text.path())));
        }
    });
    let command = |what: &[&str]| {
        let mut command = Command::new(MESHWIRE);
        command.args(["ambient", "pod"]).args(what);
        for pod in &ours {
            command.arg("--netns").arg(pod.path());
        }
        timed(|| run(&mut command))
    };
    let apply = command(&["apply", "--dns", "--ipv6"]);
    let (again, remove) = (command(&["apply", "--dns", "--ipv6"]), command(&["remove"]));
    let ratio = apply.as_secs_f64() / nft.as_secs_f64();
    println!(
        "{PODS} pods: nft -f in each {nft:.1?}, meshwire {apply:.1?} ({:.1} %); again {again:.1?}, removed {remove:.1?}",
        100.0 * ratio
    );
    assert!(ratio < 0.1);
}

#[test]
#[ignore = "a measurement: needs a release build and a quiet machine"]
fn the_probe_set_against_the_kernels_own_time() {
    let pods: Vec<(Ipv4Addr, String)> = (0..ADDRESSES)
        .map(|number| ((0x0a00_0000 + number).into(), format!("{number:08x}-0000-4000-8000-{number:012x}")))
        .collect();
    let mut lines = String::new();
    for (address, uid) in &pods {
        writeln!(lines, "{address} {uid}").unwrap();
    }
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(lines.as_bytes()).unwrap();
    let mut batch = batch(&pods);

    let (mut kernel, mut command, mut bytes) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..RUNS {
        let commit = node().run(|| Socket::open().unwrap().commit(&mut batch).unwrap());
        (kernel, bytes) = (kernel.min(commit.elapsed), commit.bytes);
        input.rewind().unwrap();
        let stdin = input.try_clone().unwrap();
        let sync = || timed(|| run(Command::new(MESHWIRE).args(["ambient", "probes", "sync"]).stdin(stdin)));
        command = command.min(node().run(sync));
    }
    let ratio = command.as_secs_f64() / kernel.as_secs_f64();
    println!(
        "{ADDRESSES} addresses, {bytes} bytes: the kernel alone {kernel:.1?}, the command from start to end {command:.1?} \
         ({ratio:.2} ×)"
    );
    assert!(ratio < 1.3);
}

/// A namespace with the host's rules and an empty set.
fn node() -> Namespace {
    let node = Namespace::new();
    node.run(|| HostInterception::new([0]).apply(&mut Socket::open().unwrap()).unwrap());
    node
}

fn batch(pods: &[(Ipv4Addr, String)]) -> Batch {
    let comments: Vec<_> = pods.iter().map(|(_, uid)| userdata::with_comment(uid).unwrap()).collect();
    let elements = pods.iter().zip(&comments);
    let elements =
        elements.map(|((address, _), userdata)| Element { userdata, ..Element::new((*address).into()) });
    let mut batch = Batch::new();
    let list = ElementList::new(Family::Inet, "istio-ambient-nat", "istio-inpod-probes-v4", 0);
    batch.add_elements(&list, elements);
    batch
}

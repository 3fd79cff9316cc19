//! How long `meshwire list ruleset` takes and how much memory, compared with a raw dump and nft.
//!
//! `cargo test --release --test listing_speed -- --ignored --nocapture`, as root with nft.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the run")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use meshwire_testkit::{enter_new, in_thread};
use nftwire::{Family, Query, Socket};

/// Of each kind; the medians are shown.
const RUNS: usize = 11;

#[test]
#[ignore = "a measurement: needs a release build and a quiet machine"]
fn listings_beside_raw_dumps_and_nft() {
    let rulesets = [
        ("10,000 rules", rules(10_000)),
        ("100,000 rules", rules(100_000)),
        ("100,000 elements", set(100_000)),
    ];
    for (name, ruleset) in rulesets {
        in_thread(|| {
            enter_new();
            load(&ruleset);
            measure(name);
        });
    }
}

fn measure(name: &str) {
    let meshwire = [env!("CARGO_BIN_EXE_meshwire"), "list", "ruleset"];
    let json = [env!("CARGO_BIN_EXE_meshwire"), "list", "ruleset", "--output", "json"];
    let nothing = [env!("CARGO_BIN_EXE_meshwire"), "--version"];
    let nft = ["nft", "list", "ruleset"];
    // In turns, so that what else the machine does meets all of them.
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..RUNS {
        times[0].push(timed(raw_dump));
        times[1].push(timed(|| run(&meshwire)));
        times[2].push(timed(|| run(&nothing)));
        times[3].push(timed(|| run(&nft)));
        times[4].push(timed(|| run(&json)));
    }
    let [raw, ours, start, theirs, as_json] = times.map(median);
    let json_peak = peak(&json);
    let ratio = (as_json - start).as_secs_f64() / (ours - start).as_secs_f64();
    println!(
        "{name}: raw dump in this process {raw:.1?}, meshwire {ours:.1?} ({:.2} × raw; {:.2} × without the {start:.1?} \
         that it takes to start), nft {theirs:.1?} ({:.2} × meshwire); peak memory: meshwire {} KiB, nft {} KiB",
        ours.as_secs_f64() / raw.as_secs_f64(),
        (ours - start).as_secs_f64() / raw.as_secs_f64(),
        theirs.as_secs_f64() / ours.as_secs_f64(),
        peak(&meshwire),
        peak(&nft),
    );
    println!(
        "{name} as JSON: {as_json:.1?} ({ratio:.2} × the text, without the start), peak memory {json_peak} KiB"
    );
    assert!(ratio < 2.0, "JSON takes {ratio:.2} times as long as the text");
    if name.ends_with("elements") {
        assert!(json_peak < 64 << 10, "{json_peak} KiB");
    }
}

/// Every rule and every element, received and thrown away.
fn raw_dump() {
    let mut socket = Socket::open().unwrap();
    let throw_away = |received: nftwire::Received| Ok(received.into_buffer());
    socket.dump(Family::Ipv4, Query::Rules { table: Some("t".into()), chain: None }, throw_away).unwrap();
    socket.dump(Family::Ipv4, Query::Elements { table: "t".into(), set: "s".into() }, throw_away).unwrap();
}

fn run(command: &[&str]) {
    assert!(Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).status().unwrap().success());
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The high-water mark of the memory that the command used (VmHWM in proc_pid_status(5)), looked at
/// all the time.
fn peak(command: &[&str]) -> u64 {
    let mut child = Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).spawn().unwrap();
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        thread::sleep(Duration::from_micros(500));
    }
    peak
}

fn rules(count: u32) -> String {
    let mut ruleset = "table ip t {\nset s { type ipv4_addr; }\nchain c {\n".to_owned();
    for number in 0..count {
        let [_, b, c, d] = number.to_be_bytes();
        let _ = writeln!(ruleset, "ip daddr 10.{b}.{c}.{d} tcp dport {} counter return", number % 65_535 + 1);
    }
    ruleset + "}\n}\n"
}

fn set(count: u32) -> String {
    let elements = (0..count).map(|number| {
        let [_, b, c, d] = number.to_be_bytes();
        format!("10.{b}.{c}.{d}")
    });
    let elements: Vec<_> = elements.collect();
    format!(
        "table ip t {{\nset s {{ type ipv4_addr; elements = {{ {} }}; }}\nchain c {{ }}\n}}\n",
        elements.join(", ")
    )
}

fn load(ruleset: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

//! `meshwire reset counters` on what nft has loaded.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use meshwire::reset::{CounterLocation, Readings, ResetError, replace_rules, reset_counters};
use nftwire::{Error, Family, Socket};
use nftwire::{Version, release};
use serde_json::Value;

use crate::harness::{Namespace, oracle, privileged, program, skip};

/// Counters in rules of many shapes, and what no reset of counters may touch.
const RULESET: &str = r#"table inet t {
	counter web {
		packets 3 bytes 180
	}

	counter dns {
		packets 5 bytes 300
	}

	set named {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 192.0.2.1 }
	}

	chain used {
		tcp dport 1 counter packets 1 bytes 40 accept
		tcp dport { 80, 443 } counter packets 2 bytes 80 accept comment "a set of its own"
		ip saddr { 10.0.0.0/8, 192.0.2.1-192.0.2.9 } counter packets 3 bytes 120
		ip daddr . tcp dport { 10.0.0.1 . 80, 10.0.0.2-10.0.0.9 . 8080-8090 } counter packets 4 bytes 160 drop
		ip saddr @named counter packets 5 bytes 200
		tcp dport vmap { 22 : accept, 1000-2000 : jump other, 2001-3000 : drop } counter packets 6 bytes 240
		counter packets 7 bytes 280 meta mark set tcp dport map { 80 : 0x00000001, 443 : 0x00000002 } counter packets 8 bytes 320
		counter name tcp dport map { 53 : "dns", 80 : "web" } counter packets 9 bytes 360
		tcp dport 9
	}

	chain other {
		quota over 1000 bytes used 600 bytes counter packets 10 bytes 400
		tcp dport 2
	}
}
table ip second {
	chain c {
		counter packets 11 bytes 440 limit rate 5/second
	}
}
"#;

/// The packets of all counters in rules of the first table, in order.
const PACKETS: [u64; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

fn loaded() -> Option<Namespace> {
    if !(privileged() && oracle("nft")) {
        return None;
    }
    let namespace = Namespace::new();
    namespace.feed(&["nft", "-f", "-"], RULESET);
    assert_eq!(listing(&namespace), listed(RULESET));
    Some(namespace)
}

fn listing(namespace: &Namespace) -> Vec<String> {
    listed(&namespace.command(&["nft", "list", "ruleset"]))
}

fn listed(text: &str) -> Vec<String> {
    let lines =
        text.lines().map(|line| line.replace("limit rate 5/second burst 5 packets", "limit rate 5/second"));
    // nft breaks the lines of long sets, and shows elements of several fields in the kernel's order.
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.contains(" . ")).collect()
}

/// The lines with all counters of these numbers of packets at zero.
fn zeroed(lines: Vec<String>, packets: &[u64]) -> Vec<String> {
    let mut lines = lines;
    for packets in packets {
        let bytes = if *packets == 3 { vec![120, 180] } else { vec![packets * 40, packets * 60] };
        for bytes in bytes {
            let counter = format!("packets {packets} bytes {bytes}");
            for line in &mut lines {
                if line.ends_with(&counter) {
                    *line = line.replace(&counter, "packets 0 bytes 0");
                }
                *line = line.replace(&format!("{counter} "), "packets 0 bytes 0 ");
            }
        }
    }
    lines
}

fn run(namespace: &Namespace, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program());
    let output = namespace.output(command.args(["reset", "counters"]).args(args), "");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn of_rules(readings: &Readings) -> Vec<u64> {
    let rules = readings.0.iter().filter(|reading| matches!(reading.location, CounterLocation::Rule { .. }));
    rules.map(|reading| reading.packets).collect()
}

#[test]
fn one_table() {
    let Some(namespace) = loaded() else { return };
    let before = listing(&namespace);
    let (code, stdout, stderr) = run(&namespace, &["table", "inet", "t"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(listing(&namespace), zeroed(before, &PACKETS), "{stdout}");
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[0], "table inet t");
    assert!(lines.contains(&"  counter web: packets 3 bytes 180"), "{stdout}");
    let rule = "  chain used rule 1: packets 1 bytes 40 (tcp dport 1 counter accept)";
    assert!(lines.contains(&rule), "{stdout}");
    let rule = "  chain other rule 1: packets 10 bytes 400 (quota over 1000 bytes counter)";
    assert!(lines.contains(&rule), "{stdout}");
    assert_eq!(lines[lines.len() - 1], "reset: 12 counters");
    let (_, again, _) = run(&namespace, &["table", "inet", "t"]);
    let counted =
        again.lines().filter(|line| line.contains(": packets") && !line.contains("packets 0 bytes 0"));
    assert_eq!(counted.count(), 0, "{again}");
}

#[test]
fn all_tables_as_json_in_another_namespace() {
    let Some(namespace) = loaded() else { return };
    let elsewhere = Namespace::new();
    let (code, stdout, stderr) = run(&elsewhere, &["--netns", &namespace.path(), "--output", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    let counters = json["counters"].as_array().unwrap();
    assert_eq!(counters.len(), 13, "{stdout}");
    let last = &counters[12];
    assert_eq!(
        (&last["family"], &last["table"], &last["chain"]),
        (&"ip".into(), &"second".into(), &"c".into())
    );
    assert_eq!((&last["rule"], &last["packets"], &last["bytes"]), (&1.into(), &11.into(), &440.into()));
    assert!(counters.iter().any(|counter| counter["name"] == "dns" && counter["packets"] == 5));
    let left = namespace.command(&["nft", "list", "ruleset"]);
    assert!(!left.contains("packets 11 "), "{left}");
}

/// Whether the kernel is this version of Linux or a later one.
fn is_since(major: u16, minor: u16) -> bool {
    Version::of_release(&release()).unwrap() >= Version::new(major, minor)
}

#[test]
fn counters_of_elements() {
    if !(privileged() && oracle("nft")) {
        return;
    }
    let can = is_since(6, 5);
    let namespace = Namespace::new();
    let ruleset = "table inet t {
        set plain { type ipv4_addr; counter; elements = { 10.0.0.1 counter packets 3 bytes 30, 10.0.0.2 }; }
        set ranges { type ipv4_addr; flags interval; counter; elements = { 10.1.0.0/16 counter packets 4 bytes 40 }; }
        map verdicts { type inet_service : verdict; counter; elements = { 80 counter packets 5 bytes 50 : accept }; }
        set opened { type ipv4_addr; quota 1000 bytes counter; elements = { 10.0.0.1 }; }
    }";
    let mut load = Command::new("nft");
    let loaded = namespace.output(load.args(["-f", "-"]), ruleset);
    if !loaded.status.success() {
        skip("this kernel's sets take a single statement (Linux 5.11 and later take more)");
        return;
    }
    let (code, stdout, stderr) = run(&namespace, &[]);
    assert_eq!(code, 0, "{stderr}");
    let expected = "table inet t\n  set plain element 10.0.0.1: packets 3 bytes 30\n  \
                    set plain element 10.0.0.2: packets 0 bytes 0\n  \
                    set ranges element 10.1.0.0/16: packets 4 bytes 40\n  \
                    set verdicts element 80: packets 5 bytes 50\nreset: 4 counters\n";
    assert_eq!(stdout, if can { expected } else { "reset: 0 counters\n" });
    let left = namespace.command(&["nft", "list", "ruleset"]);
    let counted = left.split("packets ").skip(1).filter(|rest| !rest.starts_with("0 ")).count();
    assert_eq!(counted, if can { 0 } else { 3 }, "{left}");
}

/// What kernels before 6.2 get.
#[test]
fn rules_replaced_by_themselves() {
    let Some(namespace) = loaded() else { return };
    let before = listing(&namespace);
    let readings = namespace.run(|| {
        let mut readings = Readings::default();
        let mut socket = Socket::open().unwrap();
        replace_rules(&mut socket, Family::Inet, &"t".into(), &mut readings).unwrap();
        readings
    });
    assert_eq!(of_rules(&readings), PACKETS);
    let mut expected = zeroed(before, &PACKETS);
    // The named ones are left alone, of which only one has numbers of packets and bytes that no rule has.
    let named: Vec<_> = (0..expected.len()).filter(|index| expected[*index] == "packets 0 bytes 0").collect();
    expected[named[0]] = "packets 3 bytes 180".to_owned();
    expected[named[1]] = "packets 5 bytes 300".to_owned();
    assert_eq!(listing(&namespace), expected);
    let sets = namespace.command(&["nft", "list", "ruleset"]);
    assert!(sets.contains("10.0.0.1 . 80") && sets.contains("10.0.0.2-10.0.0.9 . 8080-8090"), "{sets}");
}

#[test]
fn the_same_readings_both_ways() {
    let (Some(first), Some(second)) = (loaded(), loaded()) else { return };
    let table = Some((Family::Inet, "t".into()));
    let ours = first.run(|| {
        let mut readings = Readings::default();
        reset_counters(&mut Socket::open().unwrap(), table, &mut readings).unwrap();
        readings
    });
    let replaced = second.run(|| {
        let mut readings = Readings::default();
        replace_rules(&mut Socket::open().unwrap(), Family::Inet, &"t".into(), &mut readings).unwrap();
        readings
    });
    let rules: Vec<_> = ours
        .0
        .iter()
        .filter(|reading| matches!(reading.location, CounterLocation::Rule { .. }))
        .cloned()
        .collect();
    assert_eq!(rules, replaced.0);
}

#[test]
fn while_another_process_changes_the_ruleset() {
    let Some(namespace) = loaded() else { return };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                let change =
                    "add table ip third; add rule inet t used tcp dport 3 counter; delete table ip third";
                namespace.feed(&["nft", "-f", "-"], change);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut packets = 0;
        loop {
            let is_alone = done.load(Ordering::Relaxed);
            let mut readings = Readings::default();
            let reset = namespace.run(|| reset_counters(&mut Socket::open().unwrap(), None, &mut readings));
            packets += of_rules(&readings).iter().sum::<u64>();
            match reset {
                // Kernels before 6.2 get rules replaced; where the others never pause for as long as that takes, it
                // gives up.
                Err(ResetError::Netlink(Error::GenerationChanged)) if !is_alone && !is_since(6, 2) => {}
                reset => reset.unwrap_or_else(|error| panic!("{error}")),
            }
            if is_alone {
                break;
            }
        }
        // Each was read once, whatever came in between.
        assert_eq!(packets, PACKETS.iter().sum::<u64>() + 11);
    });
}

#[test]
fn failures_and_wrong_usage() {
    let Some(namespace) = loaded() else { return };
    let (code, stdout, stderr) = run(&namespace, &["table", "inet", "nothing"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("there is no table inet nothing"), "{stderr}");
    for args in [&["table", "inte", "t"][..], &["table", "inet"], &["--output", "xml"], &["chain"]] {
        assert_eq!(run(&namespace, args).0, 2, "{args:?}");
    }
    let (code, _, stderr) = run(&namespace, &["--netns", "/nowhere"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("/nowhere"), "{stderr}");
    assert_eq!(listing(&namespace), listed(RULESET));
}

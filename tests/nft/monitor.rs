//! What happens to a ruleset, as both report it: while it happens, and as the echo of what was loaded.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::harness::{Nft, can_run, inside, text};

/// How long a program may take to report something.
const PATIENCE: Duration = Duration::from_secs(20);

const TEXTS: &[&str] = &[
    "add table ip t
    add chain ip t c { type filter hook input priority 0; policy drop; }
    add chain ip t d
    add set ip t s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 1.1.1.1 }; }
    add map ip t m { type inet_service : verdict; elements = { 80 : accept, 81 : drop }; }
    add counter ip t n { packets 1 bytes 2; }
    add quota ip t q { 25 mbytes; }
    add limit ip t l { rate 1/second; }
    add rule ip t c tcp dport { 22, 80-90 } counter accept comment \"x\"
    insert rule ip t c ip saddr @s drop
    add rule ip t c tcp dport vmap @m
    add rule ip t c ether saddr . ip saddr { 08:00:27:40:f7:09 . 192.168.56.10-192.168.56.12 } counter name n
    delete quota ip t q\n",
    "add element ip t s { 2.2.2.2-2.2.2.9, 3.0.0.0/9 }\ndelete element ip t m { 80 : accept }\n",
    // The kernel reports elements in the order of the text, and those that a flush removes downwards.
    "add set ip t r { type inet_service; flags interval; }
    add element ip t r { 1024-65535 }
    add element ip t r { 100-200, 20-30 }
    add set ip t h { type ipv4_addr; }
    add element ip t h { 9.9.9.9, 1.1.1.1 }\n",
    "flush set ip t r\nadd element ip t r { 0-10 }\ndelete element ip t h { 9.9.9.9 }\n",
    "add element ip t r { 50-60 }\ndelete element ip t r { 0-10 }\n",
    "flush chain ip t d\nadd rule ip t d accept\n",
    "flush chain ip t c\nflush chain ip t d\ndelete chain ip t d\ndelete counter ip t n\n",
];

/// A program that monitors into a file, and is ended with the test.
struct Monitor {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Monitor {
    fn start(nft: Nft, arguments: &[&str]) -> Self {
        let output = tempfile::NamedTempFile::new().unwrap();
        let stdout: Stdio = File::create(output.path()).unwrap().into();
        let child = nft.command().arg("monitor").args(arguments).stdout(stdout).spawn().unwrap();
        Self { child, output }
    }

    fn said(&self) -> String {
        fs::read_to_string(Path::new(self.output.path())).unwrap()
    }

    fn waits_for(&self, word: &str) -> bool {
        !self.said().contains(word)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Loads a marker again and again until all monitors have reported it: a table, and what else one reports that is asked for less.
fn mark(monitors: &[Monitor], marker: &str) {
    let start = Instant::now();
    while monitors.iter().any(|monitor| monitor.waits_for(marker)) {
        assert!(start.elapsed() < PATIENCE, "no monitor reports {marker}");
        Nft::Theirs.load(&format!(
            "add table arp {marker}
            add chain arp {marker} c
            add rule arp {marker} c drop
            add set arp {marker} s {{ type mark; }}
            add element arp {marker} s {{ 1 }}
            delete table arp {marker}\n"
        ));
        thread::sleep(Duration::from_millis(20));
    }
}

/// Both report the same, without who did it.
#[test]
fn events_are_nfts() {
    if !can_run() {
        return;
    }
    inside(|| {
        for arguments in [&[][..], &["new", "rules"], &["destroy"], &["elements"], &["json"]] {
            let all = arguments.is_empty() || arguments == ["json"];
            let monitors = [Monitor::start(Nft::Theirs, arguments), Monitor::start(Nft::Ours, arguments)];
            mark(&monitors, "begin");
            for text in TEXTS {
                assert!(Nft::Theirs.load(text).status.success(), "{text}");
            }
            mark(&monitors, "end");
            // nft reports objects only where it reports everything.
            let object = |line: &&str| {
                all || !["counter", "quota", "limit"].iter().any(|kind| line.split(' ').nth(1) == Some(kind))
            };
            let kept = |said: String| {
                said.lines().filter(object).map(|line| format!("{line}\n")).collect::<String>()
            };
            let [theirs, ours] = monitors.map(|monitor| kept(lines(&monitor.said())));
            assert_eq!(ours, theirs, "{arguments:?}");
            assert!(theirs.lines().count() > 2, "{arguments:?}: {theirs}");
            Nft::Theirs.load("flush ruleset\n");
        }
    });
}

/// What is reported of the table that the test is about; JSON with its keys in one order.
fn lines(said: &str) -> String {
    // nft reports the end of anonymous sets, but not their beginning.
    let about = |line: &&str| {
        !line.starts_with('#')
            && !line.contains("arp")
            && !line.contains("delete set ip t __set")
            && !line.contains("\"name\": \"__set")
    };
    let lines =
        said.lines().filter(about).map(|line| match serde_json::from_str::<serde_json::Value>(line) {
            // nft makes up what an object that is gone had.
            Ok(mut json) => {
                if let Some(gone) = json.get_mut("delete").and_then(serde_json::Value::as_object_mut) {
                    for (_, object) in gone.iter_mut() {
                        for field in ["bytes", "used", "inv", "packets", "expr"] {
                            object.as_object_mut().unwrap().remove(field);
                        }
                    }
                }
                format!("{json}\n")
            }
            Err(_) => format!("{}\n", line.trim_end()),
        });
    lines.collect()
}

/// What was added comes back as the kernel has it, with handles, and only that.
#[test]
fn an_echo_has_what_was_added() {
    if !can_run() {
        return;
    }
    let said = |nft: Nft, arguments: &[&str], text: &str| {
        inside(|| {
            assert!(
                nft.load("add table inet t; add chain inet t c; add rule inet t c drop;\n").status.success()
            );
            let output = nft.feed(&[arguments, &["-f", "-"]].concat(), text);
            assert!(output.status.success(), "{}", self::text(&output.stderr));
            self::text(&output.stdout)
        })
    };
    let rules = "add rule inet t c tcp dport { 1, 2 } accept\ninsert rule inet t c counter\ndelete rule inet t c handle 2\n";
    for arguments in [&["-e"][..], &["-e", "-a"]] {
        let (theirs, ours) = (said(Nft::Theirs, arguments, rules), said(Nft::Ours, arguments, rules));
        assert_eq!(lines(&ours), lines(&theirs), "{arguments:?}");
        assert_eq!(ours.lines().count(), 2, "{ours}");
    }
    // Of a rule that is replaced, its end, too.
    let replaced =
        "add chain inet t d\nadd rule inet t d drop\nreplace rule inet t c handle 2 accept comment \"x\"\n";
    let (theirs, ours) = (said(Nft::Theirs, &["-e"], replaced), said(Nft::Ours, &["-e"], replaced));
    assert_eq!(lines(&ours), lines(&theirs));
    assert!(ours.contains("delete rule inet t c handle 2\nadd rule inet t c "), "{ours}");
    let json = said(Nft::Ours, &["-e", "-j"], "add rule inet t c accept\n");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["nftables"][0]["add"]["rule"]["handle"], 3);
    let checked = said(Nft::Ours, &["-e", "-c"], "add rule inet t c accept\n");
    assert_eq!(checked, "");
}

/// A reader that has gone ends it; what it cannot report is refused.
#[test]
fn a_monitor_refuses_what_it_cannot_report() {
    if !can_run() {
        return;
    }
    inside(|| {
        let event = Nft::Ours.run(&["monitor", "nosuch"]);
        assert_eq!(event.status.code(), Some(1));
        assert!(text(&event.stderr).contains("invalid event"), "{}", text(&event.stderr));
    });
}

const TRACED: &str = "table inet t {
	chain r { ip saddr 1.1.1.1 return; udp dport 99 counter drop; }
	chain out {
		type filter hook output priority filter
		meta mark set 0x7 oif lo meta nftrace set 1 jump r
	}
	chain in { type filter hook input priority filter; meta mark 0x7 tcp dport 9 accept; }
}
table ip u {
	chain c { type filter hook input priority 10; policy drop; tcp dport 9 counter accept; }
}
";

/// What traces of such packets say.
const PARTS: [&str; 5] =
    ["packet: iif \"lo\"", "verdict jump r", "policy drop", "tcp flags == syn", "@th,64,8 0x78"];

/// What is said of the packet of each of the last traces that both saw, by its number.
fn traces(said: &str) -> BTreeMap<String, String> {
    let mut traces = BTreeMap::<String, String>::new();
    for line in said.lines() {
        let id = line.split(' ').nth(2).unwrap_or_default();
        let trace = traces.entry(id.to_owned()).or_default();
        // nft shows the counters of rules as they were when it started.
        let counts = |word: &&str| !word.bytes().all(|byte| byte.is_ascii_digit());
        let is_rule = line.contains(" rule ");
        let words = line.split(' ').filter(|word| !is_rule || counts(word));
        trace.push_str(&words.collect::<Vec<_>>().join(" "));
        trace.push('\n');
    }
    traces
}

/// Both say the same of the way of traced packets: TCP and UDP, IPv4 and IPv6.
#[test]
fn traces_are_nfts() {
    if !can_run() {
        return;
    }
    inside(|| {
        assert!(Nft::Ours.load(TRACED).status.success());
        let monitors = [Nft::Theirs, Nft::Ours].map(|nft| Monitor::start(nft, &["trace"]));
        let seen = || [0, 1].map(|index| traces(&monitors[index].said()));
        let start = Instant::now();
        // What a monitor saw first may have begun before it looked.
        let mut early: Option<[BTreeMap<String, String>; 2]> = None;
        let alike = loop {
            // Refused: nothing listens, and the chain drops.
            let _ =
                std::net::TcpStream::connect_timeout(&([127, 0, 0, 1], 9).into(), Duration::from_millis(50));
            let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
            let _ = socket.send_to(b"x", "[::1]:99");
            thread::sleep(Duration::from_millis(300));
            let [theirs, ours] = seen();
            let Some([first_of_theirs, first_of_ours]) = &early else {
                if !theirs.is_empty() && !ours.is_empty() {
                    early = Some([theirs, ours]);
                }
                assert!(start.elapsed() < PATIENCE, "{}\n{}", monitors[0].said(), monitors[1].said());
                continue;
            };
            let is_late = |id: &String| !first_of_theirs.contains_key(id) && !first_of_ours.contains_key(id);
            let common: Vec<_> = theirs
                .into_iter()
                .filter(|(id, _)| is_late(id))
                .filter_map(|(id, theirs)| Some((theirs, ours.get(&id)?.clone())))
                .collect();
            // One of them may have said less of the last packet so far.
            let is_whole = common.iter().all(|(theirs, ours)| theirs == ours)
                && PARTS.iter().all(|part| common.iter().any(|(_, ours)| ours.contains(part)));
            if common.len() > 6 && is_whole || start.elapsed() > PATIENCE {
                break common;
            }
        };
        assert!(alike.len() > 6, "{}\n{}", monitors[0].said(), monitors[1].said());
        for (theirs, ours) in &alike {
            assert_eq!(ours, theirs);
        }
        for part in PARTS {
            assert!(alike.iter().any(|(_, ours)| ours.contains(part)), "{part}: {alike:?}");
        }
    });
}

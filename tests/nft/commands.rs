//! Commands and options besides those that load.

use std::fs;
use std::process::Command;

use crate::harness::{Nft, can_run, inside, state, text};
use crate::program::program;

const RULESET: &str = "table inet t {
	counter n { packets 3 bytes 4; }
	set s { type ipv4_addr; elements = { 1.1.1.1, 2.2.2.2 } }
	set p { type inet_service; flags interval; elements = { 10-20, 30 } }
	chain c {
		type filter hook input priority filter; policy accept;
		ip saddr @s counter packets 1 bytes 2 accept
		tcp dport @p drop
	}
	chain d { }
	chain names {
		meta l4proto tcp ct state new,established accept
		icmp type { echo-request, 77 } ip dscp af11 drop
		tcp flags syn drop
		ip protocol udp meta pkttype broadcast fib daddr type local accept
	}
}
table ip u { }
";

/// Both list the same of the same state.
#[test]
fn listings_are_nfts() {
    if !can_run() {
        return;
    }
    inside(|| {
        assert!(Nft::Theirs.load(RULESET).status.success());
        for line in [
            "list ruleset",
            "list ruleset inet",
            "list tables",
            "list tables ip",
            "list table inet t",
            "list chain inet t c",
            "list chains",
            "list chains inet",
            "list sets",
            "list sets inet",
            "list set inet t s",
            "list counters",
            "list counter inet t n",
            "list counters table inet t",
            "-s list ruleset",
            "-a list chain inet t c",
            "-n list ruleset",
            "-y list ruleset",
            "-p list chain inet t names",
            "-n list chain inet t names",
            "-t list ruleset",
            "-t list set inet t s",
            "-j list counters",
            "get element inet t s { 1.1.1.1 }",
            "get element inet t p { 15 }",
        ] {
            let arguments: Vec<_> = line.split(' ').collect();
            let (theirs, ours) = (Nft::Theirs.run(&arguments), Nft::Ours.run(&arguments));
            if line.starts_with("-j") {
                let objects = |output: &[u8]| {
                    let json: serde_json::Value = serde_json::from_slice(output).unwrap();
                    json["nftables"].as_array().unwrap()[1..].to_vec()
                };
                assert_eq!(objects(&ours.stdout), objects(&theirs.stdout), "{line}");
            } else {
                assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{line}: {}", text(&ours.stderr));
            }
            assert_eq!(ours.status.code(), theirs.status.code(), "{line}");
        }
    });
}

#[test]
fn a_check_changes_nothing() {
    if !can_run() {
        return;
    }
    inside(|| {
        let before = state();
        assert!(Nft::Ours.feed(&["-c", "-f", "-"], RULESET).status.success());
        assert_eq!(state(), before);
        assert!(!Nft::Ours.feed(&["--check", "-f", "-"], "add chain inet nosuch c\n").status.success());
    });
}

#[test]
fn counters_are_shown_and_reset() {
    if !can_run() {
        return;
    }
    inside(|| {
        assert!(
            Nft::Ours.load("add table ip t\nadd counter ip t n { packets 3 bytes 4; }\n").status.success()
        );
        let shown = text(&Nft::Ours.run(&["reset", "counter", "ip", "t", "n"]).stdout);
        assert!(shown.contains("packets 3 bytes 4"), "{shown}");
        let shown = text(&Nft::Theirs.run(&["list", "counters"]).stdout);
        assert!(shown.contains("packets 0 bytes 0"), "{shown}");
    });
}

#[test]
fn destroy_needs_nothing_to_exist() {
    if !can_run() {
        return;
    }
    inside(|| {
        assert!(Nft::Ours.load("destroy table ip nosuch\nadd table ip t\n").status.success());
        assert!(Nft::Ours.load("destroy chain ip t nosuch\ndestroy set ip t nosuch\n").status.success());
        assert!(Nft::Ours.load("destroy table ip t\n").status.success());
        assert_eq!(text(&Nft::Theirs.run(&["list", "ruleset"]).stdout), "");
    });
}

#[test]
fn the_name_of_the_program_is_enough() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("nft");
    std::os::unix::fs::symlink(fs::canonicalize(program()).unwrap(), &link).unwrap();
    let run = |arguments: &[&str]| Command::new(&link).args(arguments).output().unwrap();
    assert!(text(&run(&["--version"]).stdout).starts_with("nftables v1.0.6 (meshwire "));
    inside(|| {
        assert!(run(&["add", "table", "ip", "t"]).status.success());
        assert_eq!(text(&run(&["list", "tables"]).stdout), "table ip t\n");
        assert_eq!(run(&["no such"]).status.code(), Some(1));
    });
}

#[test]
fn files_are_included_by_patterns() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("main.nft"), "include \"one.nft\"\ntable ip t {\n\tinclude \"rules/*.nft\"\n}\n").unwrap();
    fs::write(path("one.nft"), "define port = 80\n").unwrap();
    fs::create_dir(path("rules")).unwrap();
    fs::write(path("rules/a.nft"), "chain c { tcp dport $port accept; }\n").unwrap();
    fs::write(path("rules/b.nft"), "chain d { tcp dport $given drop; }\n").unwrap();
    let (directory, main) = (folder.path().to_str().unwrap().to_owned(), path("main.nft"));
    let state_of = |nft: Nft| {
        inside(|| {
            let output = nft.run(&["-I", &directory, "-D", "given=22", "-f", main.to_str().unwrap()]);
            assert!(output.status.success(), "{nft:?}: {}", text(&output.stderr));
            state()
        })
    };
    assert_eq!(state_of(Nft::Ours), state_of(Nft::Theirs));
}

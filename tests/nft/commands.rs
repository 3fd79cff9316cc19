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
            "get element inet t p { 15-17, 12 }",
            "get element inet t p { 30, 10-20 }",
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

const NAMES: &str = "table inet t {
	set s {
		type inet_service
		timeout 1h30m
		elements = { 22, 80 }
	}
	chain c {
		tcp dport 22 meta skuid 0 meta skgid 0 ip saddr 127.0.0.1
		tcp dport 22-80 meta skuid 0-3
		tcp dport vmap { 22 : drop, 80-90 : accept }
		meta time \"2020-01-01 10:00:00\" meta hour \"10:00\" meta day Monday
		ip saddr 127.0.0.0/8 ct expiration 1h1m
		ip saddr . tcp dport { 127.0.0.1 . 22 }
		tcp dport 80 dnat ip to 127.0.0.1:80
	}
}
";

/// Names that the system has for numbers, and numbers in place of durations.
#[test]
fn names_and_numbers_are_nfts() {
    if !can_run() {
        return;
    }
    inside(|| {
        assert!(Nft::Theirs.load(NAMES).status.success());
        for option in ["-S", "-N", "-u", "-T", "-n", "-SNuT"] {
            let arguments = [option, "list", "chain", "inet", "t", "c"];
            let (theirs, ours) = (Nft::Theirs.run(&arguments), Nft::Ours.run(&arguments));
            assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{option}: {}", text(&ours.stderr));
        }
        // The protocols of objects keep their names.
        let objects = "table ip u {
\tct timeout t { protocol udp; l3proto ip; policy = { unreplied : 15, replied : 12 }; }
\tct expectation e { protocol tcp; dport 5432; timeout 1h; size 12; l3proto ip; }
}\n";
        assert!(Nft::Theirs.load(objects).status.success());
        for option in ["-n", "-p", "-y", "-a"] {
            let arguments = [option, "list", "table", "ip", "u"];
            let (theirs, ours) = (Nft::Theirs.run(&arguments), Nft::Ours.run(&arguments));
            assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{option}: {}", text(&ours.stderr));
            assert!(text(&ours.stdout).contains("protocol udp"));
        }
        assert!(text(&Nft::Ours.run(&["-n", "-j", "list", "table", "ip", "u"]).stdout).contains("\"udp\""));
        let arguments = ["-ST", "-s", "list", "set", "inet", "t", "s"];
        let head = |nft: Nft| {
            let shown = text(&nft.run(&arguments).stdout);
            shown.lines().take_while(|line| !line.contains("elements")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(head(Nft::Ours), head(Nft::Theirs));
    });
}

/// What `describe` says, but for the order of names, and for numbers that nft shows with their bytes turned around.
#[test]
fn descriptions_are_nfts() {
    if !can_run() {
        return;
    }
    for what in [
        "tcp dport",
        "ip saddr",
        "ip6 flowlabel",
        "tcp flags",
        "ct state",
        "ct status",
        "ct label",
        "meta mark",
        "meta l4proto",
        "meta iifname",
        "meta nfproto",
        "meta skuid",
        "meta day",
        "iif",
        "vlan id",
        "osf name",
        "socket mark",
        "fib daddr type",
        "numgen inc mod 2",
        "jhash ip saddr mod 2",
        "icmp type",
        "ipv4_addr",
        "ct_state",
        "inet_service",
        "ifname",
        "ether_addr",
        "fib_addrtype",
        "realm",
        "verdict",
        "ip saddr eth",
    ] {
        let line = format!("describe {what}");
        let arguments: Vec<_> = line.split(' ').collect();
        let said = |nft: Nft| {
            let output = nft.run(&arguments);
            let shown = text(&output.stdout);
            let mut lines: Vec<_> = shown.lines().map(str::to_owned).collect();
            lines.sort();
            (output.status.code(), lines)
        };
        assert_eq!(said(Nft::Ours), said(Nft::Theirs), "{what}");
    }
    let said = text(&Nft::Ours.run(&["describe", "ether_type"]).stdout);
    assert!(said.contains("0x86dd"), "{said}");
}

/// A table that belongs to the process is gone with it, and stays as long as the process lives.
#[test]
fn a_table_goes_with_its_owner() {
    if !can_run() {
        return;
    }
    inside(|| {
        let owned = "add table ip x { flags owner; }\n";
        assert!(Nft::Ours.load(owned).status.success());
        assert_eq!(text(&Nft::Theirs.run(&["list", "tables"]).stdout), "");
        let session = Nft::Ours.feed(&["-i"], &format!("{owned}add chain ip x c\nlist table ip x\n"));
        let shown = text(&session.stdout);
        assert!(
            shown.contains("flags owner") && shown.contains("chain c"),
            "{shown}{}",
            text(&session.stderr)
        );
    });
}

/// Rules that differ in one value become one, and it is said which.
#[test]
fn rules_become_fewer() {
    if !can_run() {
        return;
    }
    let many = "table ip t {\n\tchain c {\n\t\tip saddr 1.1.1.1 accept\n\t\tip saddr 2.2.2.2 accept\n\t\tudp dport 53 drop\n\t}\n}\n";
    let few = "table ip t {\n\tchain c {\n\t\tip saddr { 1.1.1.1, 2.2.2.2 } accept\n\t\tudp dport 53 drop\n\t}\n}\n";
    let (state_of_few, (state_of_many, said)) = (
        inside(|| {
            assert!(Nft::Theirs.load(few).status.success());
            state()
        }),
        inside(|| {
            let output = Nft::Ours.feed(&["-o", "-f", "-"], many);
            assert!(output.status.success(), "{}", text(&output.stderr));
            (state(), text(&output.stdout))
        }),
    );
    assert_eq!(state_of_many, state_of_few);
    assert!(said.starts_with("Merging:\n/dev/stdin:3:3-25: ip saddr 1.1.1.1 accept\n"), "{said}");
    assert!(said.ends_with("into:\n\tip saddr { 1.1.1.1, 2.2.2.2 } accept\n"), "{said}");
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

/// A set that a rule made by itself is a meter, and no set.
#[test]
fn meters_are_listed() {
    if !can_run() {
        return;
    }
    inside(|| {
        let meter =
            "add table ip t; add set ip t s { type ipv4_addr; flags dynamic; size 9; }; add chain ip t c
            add rule ip t c tcp dport 80 meter f size 1024 { ip saddr limit rate 10/second }\n";
        assert!(Nft::Ours.load(meter).status.success());
        for arguments in [&["list", "meters"][..], &["list", "meter", "ip", "t", "f"], &["list", "sets"]] {
            let [theirs, ours] = [Nft::Theirs, Nft::Ours].map(|nft| text(&nft.run(arguments).stdout));
            assert_eq!(ours, theirs);
            assert!(ours.contains("1024") == arguments[1].starts_with("meter"), "{ours}");
        }
        assert!(
            text(&Nft::Ours.run(&["-j", "list", "meters"]).stdout)
                .contains(r#"{"meter": {"family": "ip", "name": "f""#)
        );
        assert_eq!(Nft::Ours.run(&["list", "set", "ip", "t", "f"]).status.code(), Some(1));
    });
}

/// nft shows keys of no known length by what belongs to a set, and values of a map's own by both of its halves.
#[test]
fn nft_lists_maps_of_raw_bytes() {
    if !can_run() {
        return;
    }
    let map = "table inet t {\n\tchain c {\n\t\tudp length . @th,160,128 vmap { 47-63 . 0xe373135363130333131303735353203 : accept }\n\t}\n}\n";
    inside(|| {
        assert!(Nft::Ours.load(map).status.success());
        assert_eq!(text(&Nft::Theirs.run(&["list", "ruleset"]).stdout), map);
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

//! What is said of texts that are wrong.

use crate::harness::{Nft, can_run, inside, text};

const TABLE: &str =
    "add table inet t; add chain inet t c { type filter hook input priority 0; }; add chain inet t d\n";

/// Of these, both say the same, carets included.
const SAME: &[&str] = &[
    "add rule inet t c tcp dport 70000",
    "add rule inet t c ip saddr 1.2.3.4.5",
    "add rule inet t c tcp dport",
    "add rule inet t c ip saddr 10.0.0.0/33",
    "add rule inet t c tcp dport 90-80",
    "add rule inet t c ip saddr $x",
    "add rule inet nosuch c accept",
    "add rule inet t nosuch accept",
    "add rule inet t c accept accept",
    "add rule inet t c ip saddr 1.2.3.4 ip6 saddr ::1",
    "add rule inet t c udp dport 1 meta l4proto tcp tcp dport 80",
    "add rule inet t c meta l4proto udp meta l4proto tcp udp dport 80",
    "add rule inet t c ip protocol udp meta l4proto tcp tcp dport 80",
    "add rule inet t c meta l4proto { tcp, udp } meta l4proto tcp tcp dport 1",
    "add rule inet t c iif nosuch",
    "add rule inet t c meta skuid nosuchuser",
    "add rule inet t c meta nosuch 1",
    "add rule inet t c dnat to 1.2.3.4",
    "add rule inet t c redirect to :80",
    "add rule inet t c tcp dport nosuchservice",
    "add rule inet t c ct state nosuch",
    "add rule inet t c tcp flags nosuch",
    "add rule inet t c log prefix",
    "add rule inet t c counter packets x",
    "add rule inet t c reject with icmp type nosuch",
    "add rule inet t c index 7 accept",
    "add rule inet t c dup to lo",
    "add rule inet t c dup to 1.2.3.4 device lo",
    "add rule inet t c fwd to lo",
    "add rule inet t c @nh,1",
    "add rule inet t c ether saddr 00:11:22",
    "add chain inet t x { type nosuch hook input priority 0; }",
    "add chain inet t x { type filter hook nosuch priority 0; }",
    "add chain inet t x { type filter hook input priority nosuch; }",
    "add chain inet t x { type filter hook input priority srcnat; }",
    "add set inet t s { type ipv4_addr; elements = { 1.1.1.0/24 } }",
    "add set inet t s { type ipv4_addr; auto-merge; }",
    "add table inet t2 }",
    "add element inet t nosuch { 1.1.1.1 }",
    "create table inet t",
    "create chain inet t c",
    "delete table inet nosuch",
    "delete chain inet t nosuch",
    "delete rule inet t c handle 99",
    "delete table",
    "flush chain inet t nosuch",
    "rename chain inet t nosuch x",
    "replace rule inet t c handle 99 accept",
    "list table inet nosuch",
    "list chain inet t nosuch",
    "list set inet t nosuch",
    "include \"nosuch\"",
    "add rule inet t c iifname \"a\"-\"b\"",
    "add rule inet t c meta mark set tcp dport",
    "add rule inet t c ip saddr set meta mark",
    "add rule inet t c meta mark set ip id",
    "table inet t { comment \"a\"; comment \"b\"; }",
    "table inet t { chain x { comment \"a\"; comment \"b\"; }; }",
    "table inet t { set x { type ipv4_addr; comment \"a\"; comment \"b\"; }; }",
    "add element inet t x { 1.1.1.1 comment \"a\" comment \"b\" }",
    "define x =",
    "add",
    "add rule",
];

/// Sets, each with an element.
const SETS: &str = "add set inet t s { type ipv4_addr; elements = { 1.1.1.1 } ; }
    add set inet t i { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } ; }
    add map inet t m { type ipv4_addr : verdict; elements = { 1.1.1.1 : drop } ; }
    add map inet t v { type ipv4_addr : inet_service; elements = { 1.1.1.1 : 80 } ; }
    add set inet t o { type ipv4_addr . inet_service; size 2; }
";

/// As [`SAME`], of elements: the one is named that is wrong.
const ELEMENTS: &[&str] = &[
    "create element inet t s { 2.2.2.2, 1.1.1.1, 3.3.3.3 }",
    "delete element inet t s { 1.1.1.1, 4.4.4.4 }",
    "add element inet t m { 2.2.2.2 : drop, 1.1.1.1 : accept }",
    "add element inet t m { 2.2.2.2 : jump nosuch, 3.3.3.3 : drop }",
    "add element inet t v { 2.2.2.2 : 8, 1.1.1.1 : 81 }",
    "create element inet t v { 2.2.2.2 : 8, 1.1.1.1 comment \"x\" : 80 }",
    "create element inet t i { 12.0.0.0/8, 10.0.0.0/8 }",
    "add element inet t o { 1.1.1.1 . 1, 1.1.1.1 . 2, 1.1.1.1 . 3 }",
    "delete element inet t o { 1.1.1.1 . 5 }",
    "flush set inet t v",
    "flush map inet t s",
    "flush meter inet t s",
    "flush set inet t nosuch",
    "table inet t { map m { type ipv4_addr : verdict; elements = { 9.9.9.9 : accept, 1.1.1.1 : accept } ; }; }",
    "add element inet t i { 11.0.0.0/8, 10.1.0.0/16 }",
    "add element inet t i { 10.0.0.0/7 }",
    "add element inet t i { 12.0.0.0/8,  10.0.0.0/8, 10.1.0.0/16 }",
    "add element inet t i { 11.0.0.0/8, 11.1.0.0/16 }",
    "add element inet t i { 11.1.0.0/16, 11.0.0.0/8 }",
    "add set inet t k { type ipv4_addr; flags interval; elements = { 1.0.0.0/8, 1.2.3.4 } ; }",
];

#[test]
fn errors_are_nfts() {
    assert_same_errors(TABLE, SAME);
}

#[test]
fn errors_about_elements_are_nfts() {
    assert_same_errors(&format!("{TABLE}{SETS}"), ELEMENTS);
}

#[track_caller]
fn assert_same_errors(before: &str, lines: &[&str]) {
    if !can_run() {
        return;
    }
    let mut wrong = String::new();
    for line in lines {
        let said = |nft: Nft| {
            inside(|| {
                assert!(Nft::Theirs.load(before).status.success());
                let output = nft.load(&format!("{line}\n"));
                (output.status.code(), text(&output.stderr))
            })
        };
        let (theirs, ours) = (said(Nft::Theirs), said(Nft::Ours));
        if theirs != ours {
            wrong.push_str(&format!("nft:  {theirs:?}\nours: {ours:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What is wrong with a text's grammar is said before all else, also of rules that are read last.
#[test]
fn errors_of_grammar_come_first() {
    let block = |rules: &str| {
        let right = "ip saddr 1.2.3.4 counter accept\n".repeat(20);
        format!("table inet t {{\nchain c {{\n{right}{rules}{right}}}\n}}\n")
    };
    let unknown = "tcp dport 70000\nip saddr 1.2.3.4 drop\n".repeat(3);
    assert_same_errors("", &[&block(&unknown)]);
    if !can_run() {
        return;
    }
    inside(|| {
        let text_with = format!("{unknown}tcp dport\n{unknown}counter packets\n");
        let output = Nft::Ours.load(&block(&text_with));
        let shown = "/dev/stdin:29:10-10: Error: syntax error, unexpected newline\ntcp dport\n         ^\n\
            /dev/stdin:36:16-16: Error: syntax error, unexpected newline, expecting number\n\
            counter packets\n               ^\n";
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), shown.to_owned()));
        assert_eq!(text(&Nft::Theirs.run(&["list", "ruleset"]).stdout), "");
    });
}

/// A set that the kernel holds is looked up: one of another type would match other bytes than those that are meant.
#[test]
fn sets_of_another_type_are_refused() {
    if !can_run() {
        return;
    }
    inside(|| {
        let sets = "add set inet t s { type ipv4_addr; }; add map inet t m { type ipv4_addr : verdict; }
            add map inet t v { type ipv4_addr : mark; flags dynamic; size 9; }; add map inet t a { type ipv4_addr : ipv4_addr; }
            add map inet t w { type ipv4_addr : ipv4_addr . inet_service; flags dynamic; size 9; }\n";
        assert!(Nft::Theirs.load(&format!("{TABLE}{sets}")).status.success());
        for line in [
            "add rule inet t c ip6 daddr @s drop",
            "add rule inet t c tcp dport @s drop",
            "add rule inet t c ip6 daddr vmap @m",
            "add rule inet t c update @s { ip6 saddr }",
            "add rule inet t c update @s { numgen inc mod 4 . ip saddr }",
            "add rule inet t c update @s { ip id }",
            "add rule inet t c update @v { ip saddr : tcp dport }",
            "add rule inet t c update @w { ip saddr : ip daddr . meta mark }",
            "add rule inet t c update @w { ip saddr : ip daddr }",
            "add rule inet t c meta mark set tcp dport",
            "add rule inet t c meta mark set ip id",
            "add rule inet t c meta mark set ip saddr map @a",
            "add rule inet t c ct mark set meta priority",
            "add rule inet t c ip saddr set meta mark",
            "add rule inet t c tcp dport set ip saddr",
            "add rule inet t c ct zone set meta mark",
        ] {
            let (theirs, ours) =
                (Nft::Theirs.load(&format!("{line}\n")), Nft::Ours.load(&format!("{line}\n")));
            assert_eq!(ours.status.code(), Some(1), "{line}");
            assert_eq!(theirs.status.code(), Some(1), "{line}");
            assert!(text(&ours.stderr).contains("datatype mismatch"), "{line}: {}", text(&ours.stderr));
        }
        assert!(Nft::Ours.load("add rule inet t c ip daddr @s drop\n").status.success());
    });
}

#[test]
fn every_error_of_a_file_is_reported() {
    if !can_run() {
        return;
    }
    let bad = "add table inet t\nadd chain inet t c { type filter hook nosuch priority 0; }\n\
        add rule inet t c tcp dport 70000\nadd rule inet t c iif nosuch\n";
    let said = inside(|| text(&Nft::Ours.load(bad).stderr));
    let places: Vec<_> = said.lines().filter(|line| line.starts_with("/dev/stdin:")).collect();
    assert_eq!(places.len(), 3, "{said}");
    for (place, line) in places.iter().zip(["2:", "3:", "4:"]) {
        assert!(place.starts_with(&format!("/dev/stdin:{line}")), "{said}");
    }
}

/// What cannot be loaded faithfully is refused at its place, and nothing of the text is applied.
#[test]
fn a_text_that_is_refused_changes_nothing() {
    if !can_run() {
        return;
    }
    let texts = [
        "add table ip x\nadd rule inet t c jump { accept; tcp dport 70000; }\n",
        "add table ip x\nadd chain netdev n c { flags offload; }\n",
        "add table ip x\nadd rule inet t nosuch accept\n",
        "add table ip x { flags nosuch; }\n",
    ];
    for bad in texts {
        inside(|| {
            assert!(Nft::Theirs.load(TABLE).status.success());
            let before = crate::harness::state();
            let output = Nft::Ours.load(bad);
            assert_eq!(output.status.code(), Some(1), "{bad}");
            assert!(text(&output.stderr).starts_with("/dev/stdin:"), "{}", text(&output.stderr));
            assert_eq!(crate::harness::state(), before, "{bad}");
        });
    }
}

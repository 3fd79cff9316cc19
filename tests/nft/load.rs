//! What both leave in the kernel.

use std::fs;
use std::path::Path;

use crate::harness::{Nft, assert_same, can_run, inside, loaded, say, text};

const TABLE: &str = "add table inet t
add chain inet t c { type filter hook input priority filter; policy drop; }
add chain inet t n { type nat hook output priority -100; }
add chain inet t d
";

/// Headers of the link layer in tables of network protocols, and the size of sets that never change.
const TEXTS_OF_THEIR_OWN: &[&str] = &[
    "add table ip t; add chain ip t c; add rule ip t c vlan id 1 ip saddr 1.1.1.1\n",
    "add table ip6 t; add chain ip6 t c; add rule ip6 t c vlan id 1 vlan pcp 3 ip6 saddr ::1\n",
    "add table ip t; add set ip t s { type inet_proto; }; add set ip t u { type pkt_type; }; add set ip t v { type ct_dir; }\n",
    "add table inet t; add set inet t s { type mark; flags interval; }; add chain inet t c; add rule inet t c meta mark @s\n",
    "add table inet t; add map inet t m { type uid : verdict; flags interval; }; add chain inet t c; add rule inet t c meta skuid vmap @m\n",
    "table inet t {\nset s { typeof meta length; flags interval; elements = { 100-200 }\n}\nchain c { meta length @s\n}\n}\n",
    "add table inet t; add set inet t s { type ipv4_addr . mark; flags interval; }; add chain inet t c; add rule inet t c ip saddr . ct mark @s drop\n",
    "add table ip t; add map ip t m { type mark : inet_proto; }; add map ip t n { type boolean : nf_proto; }\n",
    "add table inet t; add set inet t s { typeof meta l4proto; }; add set inet t u { typeof meta nfproto; }\n",
    "add table ip t; add chain ip t c; add rule ip t c ether saddr 00:11:22:33:44:55\n",
    "table ip t {\nmap m { type ipv4_addr : ipv4_addr . inet_service; flags dynamic; size 9\n}\nchain c {\n\
     update @m { ip saddr : 10.0.0.1 . 80 }\ntcp sport 1 update @m { ip saddr : ip daddr . tcp dport }\n}\n}\n",
    "table ip t {\nmap m { type ipv4_addr : mark; size 9; timeout 6m\n}\nset s { type ipv4_addr; size 9; timeout 6m\n}\n\
     chain c {\nupdate @m { ip saddr : 0x2 }\nupdate @s { ip saddr }\n}\n}\n",
    "add table ip t; add set ip t s { type ipv4_addr; flags constant; elements = { 1.1.1.1, 2.2.2.2, 2.2.2.2 }; }\n",
    "add table ip t; add set ip t s { type ipv4_addr; flags constant, interval; elements = { 1.1.1.0/24, 9.9.9.9 }; }\n",
];

/// Variables inside of a text.
#[test]
fn a_prefix_names_variables() {
    if !can_run() {
        return;
    }
    let text = "define a = \"state\"\ndefine b = \"match, logging\"\ntable ip t {\nchain c {\nlog prefix \"invalid $a $b:\"\n\
        log prefix \"$a\"\n}\n}\n";
    assert_same(&[text]);
}

#[test]
fn several_commas_are_one() {
    if !can_run() {
        return;
    }
    assert_same(&["table ip t {\nchain c {\ntcp dport { 1,, 2, 3,, } accept\n}\n}\n"]);
}

/// The kernel swaps pairs of bytes: of three it would leave over one. nft 1.0.6 swaps none, so that the mark's bytes are turned
/// around.
#[test]
fn three_bytes_do_not_change_their_order() {
    if !can_run() {
        return;
    }
    let refused = loaded(Nft::Ours, &["table ip6 t {\nchain c {\nmeta mark set ip6 flowlabel\n}\n}\n"]);
    assert!(refused.as_ref().is_err_and(|error| error.contains("an odd number of bytes")), "{refused:?}");
    assert_same(&["table ip6 t {\nchain c {\nmeta mark set ip6 flowlabel map { 5 : 6 }\n}\n}\n"]);
}

#[test]
fn link_layers_and_constant_sets() {
    if !can_run() {
        return;
    }
    TEXTS_OF_THEIR_OWN.iter().for_each(|text| assert_same(&[text]));
}

/// A set of keys of one byte keeps the order in which they came, and several flags are not sorted when they are listed.
#[test]
fn short_keys_stay_in_the_order_of_the_text() {
    if !can_run() {
        return;
    }
    let flags = "add table ip t\nadd set ip t s { type tcp_flag; elements = { ack | urg, fin | ack | urg, ack, \
                 fin | psh | ack, fin | ack, ack | urg, syn }; }\nadd element ip t s { fin | urg, fin | psh }\n";
    let [theirs, ours] = [Nft::Theirs, Nft::Ours].map(|nft| {
        inside(|| {
            assert!(nft.load(flags).status.success());
            text(&Nft::Theirs.run(&["list", "ruleset"]).stdout)
        })
    });
    assert_eq!(ours, theirs);
    assert!(ours.contains("fin | ack, fin | psh | ack, fin | ack | urg"), "{ours}");
}

/// Long sets are evaluated and sent some elements at a time, with words alone kept in another way than all others; ranges of one
/// field are not, because they may become one. An element is repeated far from its first time.
#[test]
fn long_sets_leave_the_same_state() {
    if !can_run() {
        return;
    }
    let each = |format: &dyn Fn(u32, u32) -> String| -> String {
        let elements: Vec<_> = (0..9_000_u32).chain([5, 8_999]).map(|i| format(i >> 8, i & 0xff)).collect();
        elements.join(",\n")
    };
    let sets = [
        ("set", "ipv4_addr", each(&|high, low| format!("10.0.{high}.{low}"))),
        ("set", "mark", each(&|high, low| format!("{}", high << 8 | low))),
        ("set", "ipv4_addr; flags interval", each(&|high, low| format!("10.{high}.{low}.0/24"))),
        ("set", "ipv4_addr; flags interval; auto-merge", each(&|high, low| format!("10.{high}.{low}.0/24"))),
        ("set", "ipv4_addr . inet_service", each(&|high, low| format!("10.0.{high}.{low} . 80"))),
        (
            "set",
            "ipv4_addr . inet_service; flags interval",
            each(&|high, low| format!("10.0.{high}.{low} . {}-{}", low + 1, low + 2)),
        ),
        ("map", "ipv4_addr : verdict", each(&|high, low| format!("10.0.{high}.{low} : drop"))),
        // The first are words, the others are not.
        (
            "set",
            "ipv4_addr; timeout 1d",
            format!("9.9.9.9, {}, 8.8.8.8 comment \"x\", 7.7.7.7", each(&|h, l| format!("10.0.{h}.{l}"))),
        ),
    ];
    for (kind, of, elements) in sets {
        let declared = format!("add table ip t; add {kind} ip t s {{ type {of}; }}\n");
        assert_same(&[&declared, &format!("add element ip t s {{ {elements} }}\n")]);
        assert_same(&[&format!(
            "table ip t {{\n{kind} s {{\ntype {of}\nelements = {{ {elements} }}\n}}\n}}\n"
        )]);
    }
}

/// What a text adds to a set of ranges depends on what the set has by then: not on what the text has flushed or deleted before.
#[test]
fn ranges_meet_those_that_the_text_has_left() {
    if !can_run() {
        return;
    }
    let table = |of: &str, elements: &str| {
        format!(
            "table ip t {{\nset s {{\ntype ipv4_addr\nflags interval\n{of}elements = {{ {elements} }}\n}}\n}}\n"
        )
    };
    for of in ["", "auto-merge\n"] {
        let (before, after) = (table(of, "10.0.0.0/8, 12.0.0.1"), table(of, "10.0.0.0/9, 12.0.0.0/16"));
        for emptied in [
            "flush ruleset\n",
            "flush ruleset ip\n",
            "delete table ip t\n",
            "flush set ip t s\n",
            "delete set ip t s\n",
        ] {
            assert_same(&[&before, &format!("{emptied}{after}")]);
        }
        assert_same(&[&before, "flush set ip t s\nadd element ip t s { 10.10.10.10, 12.0.0.0/8 }\n"]);
    }
    let merged = table("auto-merge\n", "10.0.0.0/8, 12.0.0.1");
    assert_same(&[&merged, "delete element ip t s { 10.0.0.0/8 }\nadd element ip t s { 10.0.0.0/9 }\n"]);
    // Those that one text adds by several commands are not merged with each other, but match the same.
    let neighbours: String =
        (0..4).map(|part| format!("add element ip t s {{ 11.{part}.0.0/16 }}\n")).collect();
    let state = loaded(Nft::Ours, &[&merged, &neighbours, "add element ip t s { 9.0.0.0/8 }\n"]);
    assert!(state.is_ok(), "{state:?}");
}

/// Rules of the chain `c`.
const RULES: &[&str] = &[
    "accept",
    "ip dscp & 3 != 0",
    "ip dscp | 1 == 1",
    "ip dscp & 3 . tcp dport { 1 . 1 }",
    "ip ecn & 1 ^ 1 == 1",
    "vlan id & 3 | 4 == 1",
    "vlan id & 7 { 1, 2 }",
    "vlan pcp & 3 == 1",
    "ip6 flowlabel & 0xf0000 == 0x10000",
    "meta mark set ip dscp & 3 map { 1 : 2 }",
    "counter",
    "counter packets 1 bytes 2 drop",
    "tcp dport 80 accept",
    "tcp dport ssh accept",
    "tcp dport 80-90 accept",
    "tcp dport { 22, 80-90, 443 } accept",
    "tcp dport != { 22, 23 } drop",
    "udp sport 53 return",
    "ip saddr 10.0.0.0/8 drop",
    "ip saddr 10.1.2.3/8 drop",
    "ip saddr 10.0.0.1/12 drop",
    "ip daddr != 127.0.0.1/32 jump d",
    "ip daddr { 1.1.1.1, 2.2.2.2 } counter",
    "ip daddr { 10.0.0.0/8, 192.168.0.0/16, 172.16.0.1-172.16.0.9 } drop",
    "ip6 saddr fe80::/10 drop",
    "ip6 daddr { ::1, fd00::/8 } accept",
    "iifname \"lo\" accept",
    "iifname eth0 oifname != \"eth1\" goto d",
    "meta l4proto tcp accept",
    "meta l4proto { tcp, udp } accept",
    "meta nfproto ipv6 drop",
    "meta skuid 1337 return",
    "meta skuid root return",
    "meta skgid != 1337 return",
    "meta mark 0x10 accept",
    "meta mark & 0xff == 0x10 jump d",
    "meta mark and 0xff == 16 jump d",
    "meta mark set 0x10",
    "meta mark set 1 accept",
    "ct mark set 7",
    "ct mark set meta mark",
    "meta mark set ct mark",
    "ct state established,related accept",
    "ct state new accept",
    "ct state { established, related } accept",
    "tcp flags syn drop",
    "tcp flags == syn drop",
    "tcp dport vmap { 22 : accept, 80 : jump d, 443 : drop }",
    "ip saddr 1.2.3.4 tcp dport 80 accept comment \"a comment\"",
    "meta l4proto tcp tcp dport 80 accept",
    "ip protocol tcp accept",
    "meter a size 8192 { ip saddr timeout 30s counter }",
    "meter b { ip saddr . tcp dport limit rate over 10/second } drop",
    "meter c { meta iif . ip6 saddr timeout 600s counter }",
    "rt0 addr[1] ::1",
    "vlan id 1",
    "@th,16,16 { 80, 443 } drop",
    "@th,0,16 vmap { ssh : accept, 80-90 : drop }",
    "@th,0,16 . @th,16,16 { 1 . 2 } drop",
    "@th,8,16 { 3, 4 } drop",
    "@nh,0,16 { 3, 4 } drop",
    "meta protocol ip accept",
];

#[test]
fn rules_leave_the_same_state() {
    if !can_run() {
        return;
    }
    for rule in RULES {
        assert_same(&[TABLE, &format!("add rule inet t c {rule}\n")]);
    }
}

/// Several commands, blocks, variables and comments.
const TEXTS: &[&[&str]] = &[
    &[
        "table inet t {\n\tchain c {\n\t\ttype filter hook input priority 0; policy drop;\n\t\ttcp dport 80 accept\n\t}\n}\n",
    ],
    &["table t { chain d { accept; }; chain c { jump d; }; }\n"],
    &[
        "define web = { 80, 443 }\ndefine net = 10.0.0.0/8\ntable inet t { chain c { ip saddr $net tcp dport $web accept; }; }\n",
    ],
    &[
        "# nothing\nadd table ip t # more\nadd chain ip t c \\\n { type filter hook forward priority mangle + 5; }\n",
    ],
    &[
        "table ip t { set s { type ipv4_addr; elements = { 1.1.1.1, 2.2.2.2 } }; chain c { ip saddr @s drop; }; }\n",
    ],
    &["table ip6 t { set s { type ipv6_addr; flags interval; elements = { fd00::/8, ::1 } }; }\n"],
    &[TABLE, "insert rule inet t c drop\nadd rule inet t c accept\n"],
    &[
        TABLE,
        "add rule inet t c counter\n",
        "insert rule inet t c index 0 drop\nadd rule inet t c index 1 return\n",
    ],
    &[
        TABLE,
        "add rule inet t c counter\nadd rule inet t c index 0 accept\ninsert rule inet t c index 1 drop\n",
    ],
    &[
        TABLE,
        "add rule inet t d accept\nadd rule inet t c jump d\n",
        "flush chain inet t c\nrename chain inet t d e\n",
    ],
    &[TABLE, "delete chain inet t d\ncreate table ip x\ndelete table ip x\n"],
    &[TABLE, "flush ruleset\nadd table arp a\n"],
    &[TABLE, "flush ruleset ip\nflush table inet t\n"],
    // What is said of an existing chain changes only that.
    &[TABLE, "add chain inet t c { type filter hook input priority filter; }\n"],
    &[TABLE, "add chain inet t c { policy accept; }\n"],
    &[
        "add table ip t\nadd set ip t s { type inet_service; flags interval; }\n",
        "add element ip t s { 10-20 }\n",
        "add element ip t s { 30, 40-50 }\n",
        "delete element ip t s { 10-20 }\n",
    ],
    &[
        "add table ip t\nadd set ip t s { type ipv4_addr; flags interval; auto-merge; }\n",
        "add element ip t s { 10.0.0.0/25 }\n",
        "add element ip t s { 10.0.0.128/25 }\n",
    ],
    &[
        "add table ip t\nadd set ip t s { type ipv4_addr; }\nadd element ip t s { 1.1.1.1, 1.1.1.2 }\n",
        "delete element ip t s { 1.1.1.1 }\n",
    ],
    &["add table ip t { comment \"a table\"; }\nadd chain ip t c { comment \"a chain\"; }\n"],
    &[
        "table ip t { counter n { packets 1 bytes 2; }; quota q { over 10 mbytes; }; limit l { rate 5/minute burst 7 packets; }; }\n",
    ],
    // What all packets of the family are is not matched, except at the end of a rule.
    &[
        "table ip t { chain c { meta protocol ip accept; meta protocol { ip } counter; meta protocol ip; }; }\n",
        "add rule ip t c meta protocol ip6 accept\nadd rule ip t c meta protocol != ip accept\n",
        "add rule ip t c meta mark 1 meta protocol ip tcp dport 80 meta protocol == ip\n",
        "add table ip6 t\nadd chain ip6 t c\n",
        "add rule ip6 t c meta protocol ip6 tcp dport 80 accept\nadd rule ip6 t c meta protocol ip accept\n",
    ],
    &["table netdev t { chain c { type filter hook ingress device eth0 priority 0; meta mark 1 drop; }; }\n"],
];

#[test]
fn texts_leave_the_same_state() {
    if !can_run() {
        return;
    }
    for texts in TEXTS {
        assert_same(texts);
    }
}

/// As Istio writes a sidecar's rules, in its own words.
const SIDECAR: &str = "add table inet mesh-nat
add chain inet mesh-nat prerouting { type nat hook prerouting priority -100 ; }
add chain inet mesh-nat output { type nat hook output priority -100 ; }
add chain inet mesh-nat inbound
add chain inet mesh-nat out-redirect
add chain inet mesh-nat in-redirect
add chain inet mesh-nat out
add rule inet mesh-nat inbound meta l4proto tcp tcp dport 15008 counter return
add rule inet mesh-nat out-redirect meta l4proto tcp counter redirect to :15001
add rule inet mesh-nat in-redirect meta l4proto tcp counter redirect to :15006
add rule inet mesh-nat prerouting meta l4proto tcp counter jump inbound
add rule inet mesh-nat output counter jump out
add rule inet mesh-nat inbound meta l4proto tcp tcp dport 22 counter return
add rule inet mesh-nat inbound meta l4proto tcp counter jump in-redirect
add rule inet mesh-nat out oifname \"lo\" ip saddr 127.0.0.6/32 counter return
add rule inet mesh-nat out oifname \"lo\" ip daddr != 127.0.0.1/32 tcp dport != { 53, 15008 } meta skuid 1337 counter jump in-redirect
add rule inet mesh-nat out oifname \"lo\" meta skuid != 1337 counter return
add rule inet mesh-nat out meta skgid 1337 counter return
add rule inet mesh-nat out ip daddr 127.0.0.1/32 counter return
add rule inet mesh-nat out counter jump out-redirect
";

#[test]
fn a_sidecars_rules_leave_the_same_state() {
    if can_run() {
        assert_same(&[SIDECAR]);
    }
}

/// The state without what nft 1.0.6 does twice: in a table's block it evaluates a rule twice, and shifts a field of a few
/// bits in a concatenation each time, which then matches nothing.
fn shifted_once(state: &str) -> String {
    let end = "sreg2: None } })";
    let starts = state.match_indices("Bitwise(Bitwise {").map(|(start, _)| &state[start..]);
    let shifts = starts.filter_map(|rest| rest.find(end).map(|at| &rest[..at + end.len()]));
    let mut once = state.to_owned();
    for shift in shifts.filter(|shift| shift.contains("Other { op: 2, ")) {
        once = once.replace(&format!("{shift} {shift}"), shift);
    }
    once
}

/// A text loads as nft loads it, or is refused: it never becomes something else. Listings of the corpus that load do so
/// again.
#[test]
fn the_corpus_leaves_the_same_state_or_is_refused() {
    if !can_run() {
        return;
    }
    let folders = ["tests/corpus/statements", "tests/corpus/foreign"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let (mut same, mut refused, mut wrong) = (0, 0, String::new());
    for path in entries.map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&path).unwrap();
        let Ok(theirs) = loaded(Nft::Theirs, &[&text]) else { continue };
        match loaded(Nft::Ours, &[&text]) {
            Ok(ours) if ours == theirs || ours == shifted_once(&theirs) => {
                same += 1;
                reloads(&path, &text, &mut wrong);
            }
            Ok(ours) => wrong.push_str(&first_difference(&path, &shifted_once(&theirs), &ours)),
            Err(error) => {
                refused += 1;
                assert!(error.contains("Error: "), "{}: {error}", path.display());
            }
        }
    }
    say(&format!("of the corpus {same} leave the same state, {refused} are refused"));
    assert!(wrong.is_empty(), "{wrong}");
    assert!(same > 0, "nothing of the corpus loads");
}

/// What we list of it loads again into the same state, or, as with a set whose ranges have become one, into the other
/// one that nft makes of the same listing.
fn reloads(path: &Path, source: &str, wrong: &mut String) {
    let (before, listing) = inside(|| {
        Nft::Ours.load(source);
        (crate::harness::state(), text(&Nft::Ours.run(&["list", "ruleset"]).stdout))
    });
    match loaded(Nft::Ours, &[&listing]) {
        Ok(after) if after == before => {}
        Ok(after) => {
            let theirs = loaded(Nft::Theirs, &[&listing]);
            let alike = |theirs: &String| *theirs == after || shifted_once(theirs) == after;
            if !theirs.as_ref().is_ok_and(alike) {
                wrong.push_str(&first_difference(path, theirs.as_ref().unwrap_or(&before), &after));
            }
        }
        Err(error) => wrong.push_str(&format!("{}: its listing is refused: {error}\n", path.display())),
    }
}

fn first_difference(path: &Path, theirs: &str, ours: &str) -> String {
    let pair = theirs.lines().zip(ours.lines()).find(|(theirs, ours)| theirs != ours);
    let (theirs, ours) = pair.unwrap_or(("another number of lines", ""));
    format!("{}:\n  nft:  {theirs}\n  ours: {ours}\n", path.display())
}

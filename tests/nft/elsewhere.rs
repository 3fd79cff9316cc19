//! What one namespace holds, read and applied in another: all of it arrives, whatever kind it is of.

use meshwire::apply::Counters;
use meshwire::interception::Interception;
use meshwire::network::RouteSocket;
use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::plan::Plan;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{
    Chain, Family, Flowtable, Object, ObjectData, Policy, Ruleset, SetOrigin, Table, Userdata,
};
use nftwire::Socket;
use serde_json::Value as Json;

use crate::harness::{Nft, can_run, inside, state, text};

/// Tables, objects, sets and maps with all that they can have.
const TEXTS: &[&str] = &[
    "table inet sleeping {
        comment \"does nothing yet\"
        flags dormant
        chain out {
            comment \"of the table\"
            type filter hook output priority filter; policy drop;
            counter packets 5 bytes 300 accept comment \"of the rule\"
        }
    }",
    "table inet objects {
        counter web { comment \"of the counter\"
            packets 7 bytes 900 }
        quota month { over 10 mbytes used 3 kbytes }
        limit slow { rate 5/second burst 7 packets }
        limit fast { rate over 1 mbytes/minute burst 4 kbytes }
        ct helper files { type \"ftp\" protocol tcp; l3proto ip; }
        ct timeout patient { protocol tcp; l3proto ip; policy = { established: 100, close_wait: 4 }; }
        ct expectation later { protocol udp; dport 9876; timeout 2m; size 12; l3proto ip; }
        synproxy shield { mss 1460
            wscale 7
            timestamp sack-perm
        }
        map counted { type inet_service : counter; elements = { 80 : \"web\" } }
        chain in {
            type filter hook input priority 0;
            counter name \"web\"
            quota name \"month\" drop
            limit name \"slow\" accept
            limit name \"fast\" drop
            counter name tcp dport map @counted
            tcp dport 22 counter packets 1 bytes 2 quota over 5 mbytes used 2 kbytes drop
        }
    }",
    "table inet own_chains {
        chain other { counter packets 1 bytes 40 accept; }
        chain in {
            comment \"of the chain\"
            type filter hook input priority 0;
            tcp dport 22 jump { ip saddr 10.0.0.1 counter packets 4 bytes 160 accept; ip saddr { 10.0.0.2, 10.0.0.3 } drop; jump other; }
            goto { counter packets 2 bytes 80; tcp dport vmap { 80 : jump other, 443 : drop }; return; }
            udp dport { 53, 5353 } jump { accept comment \"of a rule in it\"; }
        }
    }",
    "table netdev ingress {
        chain eth0in { type filter hook ingress device \"eth0\" priority -500; policy accept;
            ip saddr 10.0.0.0/8 counter packets 1 bytes 40 drop
        }
        chain both { type filter hook ingress devices = { eth0, eth1 } priority 5; policy drop; }
    }",
    "table ip sets {
        set plain { type ipv4_addr; elements = { 10.0.0.2, 10.0.0.1 } }
        set fixed { type inet_service; flags constant; elements = { 22, 80 } }
        set ranges { type ipv4_addr; flags interval; comment \"of the set\"; elements = { 10.0.0.0/8, 192.168.1.5-192.168.1.9, 255.255.255.0/24 } }
        set touching { type inet_service; flags interval; elements = { 1-3, 4-6, 8 } }
        set merging { type inet_service; flags interval; auto-merge; elements = { 1-3, 4-6, 8 } }
        set pairs { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 80, 10.0.0.2 . 443 } }
        set boxes { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/24 . 80-90, 10.0.1.1 . 443 } }
        set timed { type ipv4_addr; timeout 1h; gc-interval 10m; elements = { 10.0.0.1, 10.0.0.2 timeout 2h } }
        set timed_ranges { type ipv4_addr; flags interval, timeout; elements = { 10.0.0.0/24 timeout 3h comment \"soon\" } }
        set small { type ipv4_addr; flags interval; policy memory; size 100; elements = { 10.0.0.1 } }
        set counting { type ipv4_addr; counter; elements = { 10.0.0.1 counter packets 3 bytes 180 comment \"busy\", 10.0.0.2 counter packets 0 bytes 0 } }
        set limited { type ipv4_addr; flags dynamic; size 65535; limit rate 5/second burst 9 packets; }
        set both { type ipv4_addr; flags dynamic; size 1000; limit rate 5/second burst 9 packets counter; }
        set links { type ifname; elements = { \"eth0\", \"lo\" } }
        set host_order { type mark; flags interval; elements = { 0x10-0x1f, 0x100 } }
        set of_field { typeof ip saddr . tcp dport . meta mark; flags interval; elements = { 10.0.0.1 . 80 . 0x7, 10.1.0.0/16 . 1-1024 . 0x1 } }
        set of_option { typeof ct original ip saddr . @th,16,16; elements = { 10.0.0.1 . 80 } }
        set of_vlan { typeof vlan id; elements = { 4, 100 } }
        set wild { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
        chain out { type filter hook output priority 0;
            ip saddr . tcp dport . meta mark @of_field counter packets 1 bytes 1
            meta mark @host_order drop
            ip daddr . tcp dport @boxes drop
            add @limited { ip saddr limit rate 5/second burst 9 packets } accept
            ip daddr . tcp dport { 10.0.0.0/24 . 1-5, 10.2.0.1 . 80 } drop
        }
    }",
    "table ip maps {
        map values { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1, 443 : 10.0.0.2 } }
        map ranges { type ipv4_addr : mark; flags interval; elements = { 10.0.0.0/8 : 0x1, 192.168.0.0/16 : 0x2, * : 0x3 } }
        map spans { type ipv4_addr : interval ipv4_addr; flags interval; elements = { 10.0.0.0/8 : 10.1.0.1-10.1.0.9 } }
        map pairs { type ipv4_addr . inet_service : ipv4_addr . inet_service; elements = { 10.0.0.1 . 80 : 10.0.0.2 . 8080 } }
        map verdicts { type inet_service : verdict; comment \"of the map\"; elements = { 22 : jump a, 80 : goto b, 443 : drop } }
        map boxes { type ipv4_addr . inet_service : verdict; flags interval; elements = { 10.0.0.0/24 . 80-90 : accept, * : jump a } }
        map counting { type inet_service : verdict; counter; elements = { 22 counter packets 2 bytes 120 : accept } }
        map touching { type inet_service : verdict; flags interval; elements = { 1-3 : accept, 4-6 : drop, 7-65535 : jump a } }
        map timed { type inet_service : mark; timeout 1d; elements = { 22 timeout 2d : 0x9 } }
        map of_fields { typeof tcp dport : meta mark; elements = { 22 : 0x1 } }
        chain a { }
        chain b { accept; }
        chain out { type filter hook output priority 0;
            tcp dport vmap @verdicts
            ip daddr . tcp dport vmap @boxes
            meta mark set ip daddr map @ranges
            tcp dport vmap { 1-5 : jump a, 7 : goto b }
            ip daddr . tcp dport vmap { 10.0.0.0/24 . 1-5 : drop }
        }
        chain to { type nat hook output priority -100;
            dnat to tcp dport map @values
            dnat ip addr . port to ip daddr . tcp dport map @pairs
        }
    }",
];

/// As nft lists it, object by object, without what the kernel alone decides: handles, and when elements expire.
fn listed() -> Vec<String> {
    let output = Nft::Theirs.run(&["-j", "list", "ruleset"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut json: Json = serde_json::from_slice(&output.stdout).unwrap();
    without(&mut json, &["handle", "expires"]);
    json["nftables"].as_array().unwrap().iter().map(Json::to_string).collect()
}

fn without(json: &mut Json, keys: &[&str]) {
    match json {
        Json::Object(object) => {
            object.retain(|key, _| !keys.contains(&key.as_str()));
            object.values_mut().for_each(|value| without(value, keys));
        }
        Json::Array(list) => list.iter_mut().for_each(|value| without(value, keys)),
        _ => {}
    }
}

/// The kernel's own words, a line for each object. The order of devices means nothing.
pub(crate) fn held() -> Vec<String> {
    let devices =
        |line: &str| line.replace("[Name(\"eth1\"), Name(\"eth0\")]", "[Name(\"eth0\"), Name(\"eth1\")]");
    state().lines().map(devices).collect()
}

fn read() -> Ruleset {
    let mut socket = Socket::open().unwrap();
    Snapshot::read(&mut socket, Scope::Family(Family::Unspec), Depth::All).unwrap().ruleset().unwrap()
}

/// Without what goes by itself: when elements expire.
pub(crate) fn still(mut ruleset: Ruleset) -> Ruleset {
    for set in ruleset.tables.iter_mut().flat_map(|table| &mut table.sets) {
        set.origin = SetOrigin::default();
        for details in set.elements.iter_mut().filter_map(|element| element.details.as_mut()) {
            details.expires = 0;
        }
    }
    ruleset
}

/// The first line that differs says more than all of them.
#[track_caller]
pub(crate) fn assert_same(before: &[String], now: &[String]) {
    for (before, now) in before.iter().zip(now) {
        assert_eq!(now, before);
    }
    assert_eq!(now.len(), before.len());
}

#[test]
fn everything_that_is_read_arrives() {
    if !can_run() {
        return;
    }
    for nft in TEXTS {
        let (ruleset, as_listed, as_held) = inside(|| {
            let output = Nft::Theirs.load(nft);
            assert!(output.status.success(), "{nft}: {}", text(&output.stderr));
            (read(), listed(), held())
        });
        let interception = Interception { ruleset, ..Interception::default() };
        inside(|| {
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            // There is one of everything, however often it is applied.
            for counters in [Counters::Reset, Counters::Reset, Counters::Keep] {
                let before = still(read());
                interception.apply(&mut nft, &mut routes, counters).unwrap();
                assert_same(&as_listed, &listed());
                assert_same(&as_held, &held());
                let plan = Plan::read(&mut nft, interception.desired()).unwrap();
                assert_eq!(plan.differences().unwrap(), []);
                assert!(plan.is_empty());
                // With their handles: nothing was replaced that is equal.
                assert!(counters == Counters::Reset || before == still(read()));
            }
            interception.remove(&mut nft, &mut routes).unwrap();
            assert_eq!(read(), Ruleset::default());
        });
    }
}

/// Whether anything differs is seen without what differs being read: both say the same of every part of a table.
#[test]
fn what_is_empty_has_no_differences() {
    if !can_run() {
        return;
    }
    type Change = (&'static str, fn(&mut Table));
    let changes: &[Change] = &[
        ("nothing", |_| {}),
        ("flags", |table| table.flags ^= 1),
        ("comment", |table| table.comment = Some("another".into())),
        ("userdata", |table| table.userdata = Userdata::read(b"\x63\x01a")),
        ("one object less", |table| drop(table.objects.pop())),
        ("an object's comment", |table| {
            table.objects.iter_mut().for_each(|object| object.comment = Some("other".into()));
        }),
        ("an object's name", |table| {
            table.objects.iter_mut().for_each(|object| object.name = "other".into());
        }),
        ("one set less", |table| drop(table.sets.pop())),
        ("one set's size", |table| table.sets.iter_mut().for_each(|set| set.size ^= 1)),
        ("one element less", |table| table.sets.iter_mut().for_each(|set| drop(set.elements.pop()))),
        ("one chain less", |table| drop(table.chains.pop())),
        ("one chain more", |table| table.chains.push(Chain { name: "more".into(), ..Chain::default() })),
        ("a chain's comment", |table| table.chains[0].comment = Some("other".into())),
        ("a chain's devices", |table| table.chains[0].devices.push("lo".into())),
        ("policies", |table| {
            for base in table.chains.iter_mut().filter_map(|chain| chain.base.as_mut()) {
                base.policy = if base.policy == Policy::Drop { Policy::Accept } else { Policy::Drop };
            }
        }),
        ("one rule less", |table| table.chains.iter_mut().for_each(|chain| drop(chain.rules.pop()))),
        ("one rule twice", |table| {
            table.chains.iter_mut().for_each(|chain| chain.rules.extend(chain.rules.first().cloned()));
        }),
        ("one rule of a rule's chain less", |table| {
            table.anonymous.iter_mut().for_each(|chain| drop(chain.rules.pop()));
        }),
        ("another table", |table| table.name = "another".into()),
    ];
    let (mut same, mut changed) = (0, 0);
    for nft in TEXTS {
        inside(|| {
            assert!(Nft::Theirs.load(nft).status.success());
            let (ruleset, mut socket) = (read(), Socket::open().unwrap());
            for (name, change) in changes {
                let mut desired = ruleset.clone();
                change(&mut desired.tables[0]);
                for set in desired.tables.iter_mut().flat_map(|table| &mut table.sets) {
                    set.origin = SetOrigin::Written;
                }
                let owned = Owned::default().and(&ruleset).and(&desired);
                let Ok(plan) = Plan::read(&mut socket, Desired::new(&desired, &owned)) else { continue };
                let differences = plan.differences().unwrap();
                assert_eq!(plan.is_empty(), differences.is_empty(), "{name}: {differences:?}");
                *(if plan.is_empty() { &mut same } else { &mut changed }) += 1;
            }
            // What is to go is a difference, too.
            let (nothing, owned) = (Ruleset::default(), Owned::default().and(&ruleset));
            assert!(!Plan::read(&mut socket, Desired::new(&nothing, &owned)).unwrap().is_empty());
        });
    }
    assert!(same >= TEXTS.len() && changed > 10 * TEXTS.len(), "{same} and {changed}");
}

/// A set that is not declared dynamic and that a rule fills has a size that it was not made with, and could not be.
#[test]
fn a_set_that_rules_fill_arrives() {
    if !can_run() {
        return;
    }
    let (ruleset, as_held) = inside(|| {
        for text in [
            "table ip t {
                set filled { type ipv4_addr . ipv4_addr; elements = { 10.0.0.1 . 10.0.0.2 } }
                map emptied { type ipv4_addr : mark; }
                set sized { type ipv4_addr; size 65535; }
                chain c { ip saddr @sized accept; }
            }",
            "add rule ip t c add @filled { ip saddr . ip daddr }",
            "add rule ip t c tcp dport 80 jump { delete @emptied { ip saddr : 0x1 }; }",
        ] {
            let output = Nft::Theirs.load(text);
            assert!(output.status.success(), "{text}: {}", self::text(&output.stderr));
        }
        (read(), held())
    });
    let mut written = ruleset.clone();
    for set in &mut written.tables[0].sets {
        (set.size, set.origin) = (if set.name == "sized" { 65_535 } else { 0 }, SetOrigin::Written);
    }
    assert_eq!(ruleset.tables[0].sets.iter().map(|set| set.size).collect::<Vec<_>>(), [65_535; 3]);
    for ruleset in [ruleset, written] {
        inside(|| {
            let interception = Interception { ruleset, ..Interception::default() };
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            for counters in [Counters::Reset, Counters::Keep] {
                let before = still(read());
                interception.apply(&mut nft, &mut routes, counters).unwrap();
                assert_same(&as_held, &held());
                let plan = Plan::read(&mut nft, interception.desired()).unwrap();
                assert_eq!(plan.differences().unwrap(), []);
                assert!(counters == Counters::Reset || before == still(read()));
            }
        });
    }
}

/// Kernels without nft_flow_offload or without SELinux are common, and so is one that has both.
#[test]
fn what_the_kernel_lacks_is_refused_by_name() {
    if !can_run() {
        return;
    }
    let flowtable = Flowtable {
        name: "fast".into(),
        handle: 0,
        priority: 0,
        devices: vec!["eth0".into(), "lo".into()],
        flags: 0,
    };
    let secmark = Object {
        name: "mark".into(),
        handle: 0,
        comment: None,
        userdata: Userdata::default(),
        data: ObjectData::Secmark("system_u:object_r:ssh_packet_t:s0".into()),
    };
    let table = Table::new(Family::Inet, "t");
    let tables = [
        (Table { flowtables: vec![flowtable], ..table.clone() }, "flowtable fast in inet t"),
        (Table { objects: vec![secmark], ..table }, "secmark mark in inet t"),
    ];
    for (table, name) in tables {
        let ruleset = Ruleset { tables: vec![table] };
        let text = ruleset.to_string();
        let theirs = inside(|| Nft::Theirs.load(&text).status.success().then(held));
        inside(|| {
            let interception = Interception { ruleset, ..Interception::default() };
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            match (interception.apply(&mut nft, &mut routes, Counters::Reset), theirs) {
                (Ok(_), Some(theirs)) => assert_same(&theirs, &held()),
                (Err(error), None) => {
                    assert!(error.to_string().contains(name), "{error}");
                    assert_eq!(read(), Ruleset::default());
                }
                (ours, theirs) => panic!("{name}: {ours:?} and {theirs:?}"),
            }
        });
    }
}

/// A change of a set's elements keeps the rules that use it; comments, which the kernel never changes, come with what they
/// belong to; and a rule goes with the chain that belongs to it.
#[test]
fn what_differs_is_mended_and_the_rest_stays() {
    if !can_run() {
        return;
    }
    let table = |comment: &str, chain: &str, elements: &str, own: &str| {
        format!(
            "table inet t {{ comment \"{comment}\"
                set s {{ type inet_service; flags interval; elements = {{ {elements} }}; }}
                map m {{ type inet_service : verdict; elements = {{ 22 : jump other }}; }}
                chain other {{ comment \"{chain}\"
                    counter packets 1 bytes 40; }}
                chain in {{ type filter hook input priority 0; policy accept;
                    tcp dport @s counter packets 7 bytes 300 accept;
                    tcp dport vmap @m;
                    tcp dport 80 jump {{ counter packets 2 bytes 90; {own}; }}; }}; }}"
        )
    };
    let ruleset_of = |text: &str| {
        inside(|| {
            let output = Nft::Theirs.load(text);
            assert!(output.status.success(), "{text}: {}", self::text(&output.stderr));
            read()
        })
    };
    let first = ruleset_of(&table("one", "a", "22, 80-90", "accept"));
    for (comment, chain, elements, own, kept) in [
        ("one", "a", "22, 80-91", "accept", 4),
        ("one", "a", "22", "drop", 3),
        ("one", "b", "22", "drop", 0),
        ("two", "b", "22", "drop", 0),
    ] {
        let ruleset = ruleset_of(&table(comment, chain, elements, own));
        inside(|| {
            let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
            let interception = |ruleset| Interception { ruleset, ..Interception::default() };
            interception(first.clone()).apply(&mut nft, &mut routes, Counters::Reset).unwrap();
            let wanted = interception(ruleset);
            let plan = Plan::read(&mut nft, wanted.desired()).unwrap();
            assert_ne!(plan.differences().unwrap(), [], "{comment} {chain} {elements} {own}");
            assert!(!plan.is_empty(), "{comment} {chain} {elements} {own}");
            let transaction = plan.transaction(Counters::Keep).unwrap();
            assert_eq!(transaction.kept_rules(), kept, "{comment} {chain} {elements} {own}");
            wanted.apply(&mut nft, &mut routes, Counters::Keep).unwrap();
            let plan = Plan::read(&mut nft, wanted.desired()).unwrap();
            assert_eq!(plan.differences().unwrap(), [], "{comment} {chain} {elements} {own}");
            let there = read();
            assert_eq!(there.tables[0].comment, Some(comment.into()));
            let other = there.tables[0].chains.iter().find(|chain| chain.name == "other");
            assert_eq!(other.unwrap().comment, Some(chain.into()));
        });
    }
}

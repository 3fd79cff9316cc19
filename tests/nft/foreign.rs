//! What nft has loaded, as both list it, and as we load our own listing again.

use crate::harness::{Nft, can_run, inside, state, text};

/// Rulesets that nft 1.0.6 loads and lists correctly.
const LISTED: &[&str] = &[
    // Traffic classes, in every place where a class may be.
    "table ip t {
        chain c {
            meta priority aabb:0
            meta priority { 1:0, 0:1 }
            meta priority set mark map { 1 : 1:0, 2 : 0:1 }
            meta priority none
            meta priority set root
            meta priority set none
            meta priority set 0xffff
            meta priority set aabb:bbaa
            meta priority & 0xff 1-5
        }
    }",
    // Ranges of what is masked: the operator is present unless the byte order was converted.
    "table ip t {
        chain c {
            meta mark & 0xff == 0x1-0x5
            meta mark & 0xff != 0x1-0x5
            ct mark & 0xf0 == 0x10-0x20
            tcp dport & 0xff 1-5
            ip length & 0xff 3-7
            meta mark & 0xff > 0x5
        }
    }",
    // Chains that belong to a rule.
    "table ip t {
        chain d { }
        chain c {
            iifname \"lo\" jump { counter accept; }
            goto { tcp dport 80 drop; }
            tcp dport vmap { 80 : jump d }
            tcp dport { 1, 2 } jump {
                ip saddr { 1.1.1.1, 2.2.2.2 } jump d
                meta mark set 1 comment \"inside\"
                drop
            }
        }
    }",
    "table inet t { chain c { type filter hook input priority 0; meta l4proto tcp jump { tcp dport 22 accept; }; }; }",
];

/// The text and the JSON are nft's, and the text loads again into the same state.
#[test]
fn foreign_states_are_listed_as_nft_lists_them() {
    if !can_run() {
        return;
    }
    for ruleset in LISTED {
        let (before, listing) = inside(|| {
            let loaded = Nft::Theirs.load(ruleset);
            assert!(loaded.status.success(), "{ruleset}: {}", text(&loaded.stderr));
            let lists = |nft: Nft| text(&nft.run(&["list", "ruleset"]).stdout);
            assert_eq!(lists(Nft::Ours), lists(Nft::Theirs), "{ruleset}");
            let json = |nft: Nft| {
                let json = nft.run(&["-j", "list", "ruleset"]).stdout;
                let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
                json["nftables"].as_array().unwrap()[1..].to_vec()
            };
            let (ours, theirs) = (json(Nft::Ours), json(Nft::Theirs));
            assert_eq!(ours, theirs, "{ruleset}");
            (state(), lists(Nft::Ours))
        });
        let after = crate::harness::loaded(Nft::Ours, &[&listing]);
        assert_eq!(after.as_ref(), Ok(&before), "{listing}");
    }
}

/// Only the chain that is asked for is shown, with the chains that its rules have.
#[test]
fn one_chain_is_listed_with_the_chains_of_its_rules() {
    if !can_run() {
        return;
    }
    inside(|| {
        let ruleset = "table ip t { chain d { accept; }; chain c { jump { tcp dport { 1, 2 } drop; }; }; }";
        assert!(Nft::Ours.load(ruleset).status.success());
        for line in ["list chain ip t c", "list chain ip t d", "list chains"] {
            let arguments: Vec<_> = line.split(' ').collect();
            let (theirs, ours) = (Nft::Theirs.run(&arguments), Nft::Ours.run(&arguments));
            let theirs = text(&theirs.stdout);
            // nft names them among all chains.
            let named = |line: &str| line.starts_with("\tchain __chain");
            let mut lines = theirs.lines();
            let mut expected = String::new();
            while let Some(line) = lines.next() {
                if named(line) {
                    lines.next();
                } else {
                    expected.push_str(&format!("{line}\n"));
                }
            }
            assert_eq!(text(&ours.stdout), expected, "{line}");
        }
    });
}

/// nft 1.0.6 lists a mask and a number that are compared by size as a prefix, which it cannot load: ours loads.
#[test]
fn a_comparison_with_an_address_is_not_a_prefix() {
    if !can_run() {
        return;
    }
    let (before, listing) = inside(|| {
        let ruleset = "table ip t { chain c { ip saddr & 255.255.255.0 > 1.1.1.0; }; }";
        assert!(Nft::Theirs.load(ruleset).status.success());
        (state(), text(&Nft::Ours.run(&["list", "ruleset"]).stdout))
    });
    assert!(listing.contains("ip saddr & 255.255.255.0 > 1.1.1.0"), "{listing}");
    assert_eq!(crate::harness::loaded(Nft::Ours, &[&listing]).as_ref(), Ok(&before));
}

/// Of the key whose address has no family of its own nft 1.0.6 takes the bytes that are compared for the address's last ones.
#[test]
fn the_beginning_of_a_connections_address_is_a_prefix() {
    if !can_run() {
        return;
    }
    let listing = inside(|| {
        let ruleset =
            "table ip t { chain c { ct reply daddr 10.0.0.0/24; ct original ip saddr 192.168.0.0/16; }; }";
        assert!(Nft::Theirs.load(ruleset).status.success());
        text(&Nft::Ours.run(&["list", "ruleset"]).stdout)
    });
    assert!(listing.contains("ct reply ip daddr 10.0.0.0/24\n"), "{listing}");
    assert!(listing.contains("ct original ip saddr 192.168.0.0/16\n"), "{listing}");
}

/// Values of a map that are ranges of several fields; traffic classes in sets that have names.
#[test]
fn maps_are_listed_as_nft_lists_them() {
    if !can_run() {
        return;
    }
    inside(|| {
        let ruleset = "table ip t {
            map a { type ipv4_addr : interval ipv4_addr . inet_service; elements = { 1.1.1.1 : 2.2.2.2-2.2.2.5 . 80, 3.3.3.3 : 10.0.0.0/8 . 1-9 }; }
            set s { typeof meta priority; elements = { 1:0, 0:1 }; }
            map m { type mark : classid; elements = { 1 : 1:0, 2 : 0:1 }; }
            chain c {
                meta priority @s
                meta priority set mark map @m
                meta l4proto tcp dnat ip to ip saddr map { 1.1.1.1 : 3.3.3.3-3.3.3.5 . 80-81 }
                meta l4proto tcp dnat ip to ip saddr map @a
            }
        }";
        assert!(Nft::Theirs.load(ruleset).status.success());
        for arguments in [&["list", "ruleset"][..], &["list", "map", "ip", "t", "a"]] {
            let lists = |nft: Nft| text(&nft.run(arguments).stdout);
            assert_eq!(lists(Nft::Ours), lists(Nft::Theirs));
        }
        let json = text(&Nft::Ours.run(&["-j", "list", "map", "ip", "t", "a"]).stdout);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let value = &json["nftables"][1]["map"]["elem"][0][1];
        assert_eq!(*value, serde_json::json!({ "concat": [{ "range": ["2.2.2.2", "2.2.2.5"] }, 80] }));
    });
}

/// Numbers of a header in a set of a rule's own, which we load without a word about their byte order.
#[test]
fn numbers_in_network_order_are_listed_as_they_were_loaded() {
    if !can_run() {
        return;
    }
    let rules = "table ip t { chain c { tcp sequence { 33, 55 } drop; meta length { 33, 55 } drop; esp spi { 100, 200-300 } drop; meta mark { 1, 2 } drop; ip saddr { 1.1.1.1 } icmp id { 1, 2 } drop; }; }";
    let (before, listing) = inside(|| {
        assert!(Nft::Ours.load(rules).status.success());
        let lists = |nft: Nft| text(&nft.run(&["list", "ruleset"]).stdout);
        assert_eq!(lists(Nft::Ours), lists(Nft::Theirs));
        (state(), lists(Nft::Ours))
    });
    assert!(listing.contains("tcp sequence { 33, 55 }"), "{listing}");
    assert_eq!(crate::harness::loaded(Nft::Ours, &[&listing]).as_ref(), Ok(&before));
}

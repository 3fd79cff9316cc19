//! What the command leaves in the kernel, whatever existed before. `nft` and `ip` are the judges.

use crate::harness::nft::{assert_same, bytecode, fabric, meaning, objects};
use crate::harness::{Intercept, Namespace, intercept, network, of_the_command, oracle};
use crate::settings::{self, Setting, clean_up};

/// Everything that the command could change.
fn everything(namespace: &Namespace) -> (Vec<serde_json::Value>, Vec<String>) {
    (objects(namespace), network(namespace))
}

/// A namespace for the tests here. None where privileges or a judge are missing.
fn place() -> Option<Namespace> {
    (oracle("nft") && oracle("ip")).then(Setting::namespace)?
}

fn tables(namespace: &Namespace) -> Vec<String> {
    let listing = namespace.command(&["nft", "list", "tables"]);
    listing.lines().map(|line| line.trim_start_matches("table ").to_owned()).collect()
}

/// Loads text as `nft -f` does.
fn load(namespace: &Namespace, text: &str) {
    namespace.feed(&["nft", "-f", "-"], text);
}

// Whatever the setting.

#[test]
fn nft_makes_the_same_of_what_is_printed() {
    if place().is_none() {
        return;
    }
    for setting in settings::some() {
        let ours = setting.fresh();
        let (by_text, by_json) = (Namespace::new(), Namespace::new());
        by_text.feed(&["nft", "-f", "-"], &setting.printed("text"));
        by_json.feed(&["nft", "-j", "-f", "-"], &setting.printed("json"));
        for (what, theirs) in [("text", by_text), ("JSON", by_json)] {
            // nft 1.0.6 writes an element's counter as JSON, and does not read it.
            if what == "JSON" && setting.args.contains("--element-counters") {
                continue;
            }
            let what = format!("{} as {what}", setting.args);
            assert_same(&what, &meaning(&ours), &meaning(&theirs));
            assert_same(&what, &bytecode(&ours), &bytecode(&theirs));
        }
    }
}

#[test]
fn a_second_run_changes_nothing() {
    if place().is_none() {
        return;
    }
    for setting in settings::some() {
        let namespace = setting.fresh();
        let (before, network_before) = (fabric(&namespace), network(&namespace));
        setting.command().apply(&namespace);
        assert_same(setting.args, &fabric(&namespace), &before);
        assert_eq!(network(&namespace), network_before, "{}", setting.args);
    }
}

#[test]
fn a_run_after_others_leaves_what_a_run_alone_leaves() {
    let Some(namespace) = place() else { return };
    // Each setting after its neighbours on either side, and after one far away.
    let settings = settings::some();
    let count = settings.len();
    let order = (0..count).chain((0..count).rev()).chain((0..count).map(|index| index * 7 % count));
    let alone = settings.iter().map(|setting| {
        let namespace = setting.fresh();
        (meaning(&namespace), bytecode(&namespace), of_the_command(&network(&namespace)))
    });
    let alone: Vec<_> = alone.collect();
    for index in order {
        let setting = settings[index];
        setting.command().apply(&namespace);
        assert_same(setting.args, &meaning(&namespace), &alone[index].0);
        assert_same(setting.args, &bytecode(&namespace), &alone[index].1);
        // A run knows the mark and the table of earlier ones only if they are its own.
        if !setting.args.contains("-t ") {
            assert_eq!(of_the_command(&network(&namespace)), alone[index].2, "{}", setting.args);
        }
    }
}

#[test]
fn a_clean_up_leaves_what_was_there_before_the_first_run() {
    let Some(namespace) = place() else { return };
    let before = everything(&namespace);
    for setting in settings::some() {
        setting.command().apply(&namespace);
        let marks: Vec<_> =
            setting.args.split_whitespace().skip_while(|word| *word != "-t").take(4).collect();
        for _ in 0..2 {
            clean_up(&namespace, &marks);
            assert_eq!(everything(&namespace), before, "{}", setting.args);
        }
    }
}

// Tables, chains, routes and addresses that a setting needs, and the next one does not.

#[test]
fn tables_go_that_nothing_needs_any_more() {
    let Some(namespace) = place() else { return };
    for (args, desired) in [
        ("-b * -i * --redirect-dns --capture-all-dns", &["inet istio-proxy-nat", "inet istio-proxy-raw"][..]),
        ("-b * -i *", &["inet istio-proxy-nat"]),
        ("-b * -i * -m TPROXY", &["inet istio-proxy-mangle", "inet istio-proxy-nat"]),
        ("-b * -i * -m REDIRECT", &["inet istio-proxy-nat"]),
        ("-b * --drop-invalid", &["inet istio-proxy-mangle", "inet istio-proxy-nat"]),
        ("", &["inet istio-proxy-nat"]),
    ] {
        intercept(&namespace, &args.split_whitespace().collect::<Vec<_>>());
        let mut found = tables(&namespace);
        found.sort_unstable();
        assert_eq!(found, desired, "{args}");
    }
}

#[test]
fn policy_routing_and_the_address_are_there_once() {
    const SIX: &str = "inet6 ::6/128 scope global";
    let rules = ["from all fwmark 0x539 lookup 133"; 2];
    let route_v4 = "local default dev lo table 133 scope host";
    let route_v6 = "local default dev lo table 133 metric 1024 pref medium";
    for (args, addresses, wanted_rules, wanted_routes) in [
        ("-b * -m REDIRECT", 0, 0, &[][..]),
        ("-b * -m REDIRECT --dual-stack", 1, 0, &[]),
        ("-b * -m TPROXY", 0, 1, &[route_v4]),
        ("-b * -m TPROXY --dual-stack", 1, 2, &[route_v4, route_v6]),
        ("-m TPROXY --dual-stack", 1, 0, &[]),
    ] {
        let Some(namespace) = place() else { return };
        for _ in 0..3 {
            intercept(&namespace, &args.split_whitespace().collect::<Vec<_>>());
        }
        let found = of_the_command(&network(&namespace));
        let having = |word: &str| found.iter().filter(|line| line.contains(word)).collect::<Vec<_>>();
        assert_eq!(having(SIX).len(), addresses, "{args}: {found:?}");
        assert_eq!(having("fwmark"), rules[..wanted_rules].iter().collect::<Vec<_>>(), "{args}");
        assert_eq!(having("table 133"), wanted_routes, "{args}");
    }
}

// What others left in our tables.

#[test]
fn base_chains_of_another_kind_are_replaced() {
    let args = ["-b", "*", "-i", "*", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns"];
    let Some(alone) = place() else { return };
    intercept(&alone, &args);
    for (table, chains) in [
        ("nat", "chain output { type nat hook output priority 0; }"),
        ("nat", "chain output { type filter hook output priority -100; policy drop; }"),
        ("nat", "chain output { type nat hook postrouting priority -100; }"),
        ("nat", "chain output { type nat hook output priority -100; policy drop; }"),
        ("nat", "chain output { counter accept; }; chain other { jump output; }"),
        ("nat", "chain istio-output { type nat hook output priority -100; }"),
        ("nat", "chain istio-output { jump istio-inbound; }; chain istio-inbound { counter; }"),
        ("mangle", "chain output { type filter hook output priority -150; }"),
        ("mangle", "chain prerouting { type filter hook prerouting priority 7; policy drop; }"),
        ("raw", "chain prerouting { type filter hook input priority -300; counter drop; }"),
        ("raw", "flags dormant; chain output { type filter hook output priority -300; }"),
    ] {
        for keep in [&[][..], &["--keep-counters"]] {
            let namespace = place().unwrap();
            load(&namespace, &format!("table inet istio-proxy-{table} {{ {chains}; }}"));
            intercept(&namespace, &[&args, keep].concat());
            let mut left = meaning(&namespace);
            left.remove("chain inet istio-proxy-nat other");
            assert_same(chains, &left, &meaning(&alone));
        }
    }
}

#[test]
fn a_chain_that_others_refer_to_goes_too() {
    let Some(namespace) = place() else { return };
    let args = ["-b", "*", "-i", "10.0.0.0/8"];
    intercept(&namespace, &[&args[..], &["--redirect-dns", "--capture-all-dns"]].concat());
    load(
        &namespace,
        "table inet istio-proxy-nat {
            map m { type inet_service : verdict; elements = { 53 : jump istio-output-dns }; }
            chain other { tcp dport vmap @m; jump istio-output-dns; }
        }",
    );
    intercept(&namespace, &args);
    let found = meaning(&namespace);
    assert!(!found.contains_key("chain inet istio-proxy-nat istio-output-dns"), "{found:?}");
}

// What others have next to our rules.

#[test]
fn the_tables_of_others_stay_untouched() {
    let Some(namespace) = place() else { return };
    // As iptables-nft has them, by family and name, and neighbours whose names are like ours.
    load(
        &namespace,
        "table ip nat {
            chain PREROUTING { type nat hook prerouting priority -100; }
            chain OUTPUT { type nat hook output priority -100; tcp dport 81 counter jump ISTIO_OUTPUT; }
            chain ISTIO_OUTPUT { counter packets 3 bytes 180 return; }
        }
        table ip mangle { chain OUTPUT { type route hook output priority -150; }; }
        table ip istio-proxy-nat { chain output { type nat hook output priority -99; counter; }; }
        table inet istio-proxy-nat2 { chain istio-output { counter; }; set s { type ipv4_addr; }; }
        table inet other {
            map m { type inet_service : verdict; elements = { 22 : accept, 23 : jump c }; }
            chain c { ip saddr { 192.0.2.1, 192.0.2.7 } counter; }
            chain input { type filter hook input priority 0; policy accept; tcp dport vmap @m; }
        }",
    );
    let before = everything(&namespace);
    for args in
        ["-b * -i * --dual-stack", "-m TPROXY -b * --redirect-dns --capture-all-dns", "--keep-counters"]
    {
        intercept(&namespace, &args.split_whitespace().collect::<Vec<_>>());
        let of_others: Vec<_> = objects(&namespace).into_iter().filter(|object| !is_ours(object)).collect();
        assert_eq!(of_others, before.0, "{args}");
    }
    // But for what iptables has left of a mesh, see `leftovers`.
    clean_up(&namespace, &[]);
    let after = everything(&namespace);
    let of_istio = |object: &&serde_json::Value| object.to_string().contains("ISTIO_OUTPUT");
    assert_eq!(after.0.iter().filter(of_istio).count(), 0);
    let others = before.0.iter().filter(|object| !of_istio(object)).collect::<Vec<_>>();
    assert_eq!(after.0.iter().collect::<Vec<_>>(), others);
    assert_eq!(after.1, before.1);
}

/// Whether the object is in one of our tables, or is one.
fn is_ours(object: &serde_json::Value) -> bool {
    let content = object.as_object().unwrap().values().next().unwrap();
    let table = content.get("table").unwrap_or(&content["name"]).as_str().unwrap();
    content["family"] == "inet"
        && ["nat", "mangle", "raw"].iter().any(|name| table == format!("istio-proxy-{name}"))
}

#[test]
fn policy_routing_of_others_stays() {
    let Some(namespace) = place() else { return };
    for words in [
        "ip rule add fwmark 0x539/0xfff lookup 133 pref 100",
        "ip rule add fwmark 1337 lookup 134 pref 101",
        "ip rule add from 10.0.0.2 fwmark 1337 lookup 133 pref 102",
        "ip -6 rule add fwmark 1336 lookup 133 pref 103",
        "ip route add 192.0.2.0/24 dev lo table 133",
        "ip -6 address add ::7/128 dev lo",
    ] {
        namespace.command(&words.split_whitespace().collect::<Vec<_>>());
    }
    let before = network(&namespace);
    intercept(&namespace, &["-m", "TPROXY", "-b", "*", "--dual-stack"]);
    let with_ours = network(&namespace);
    assert!(before.iter().all(|line| with_ours.contains(line)), "{with_ours:#?}");
    clean_up(&namespace, &[]);
    assert_eq!(network(&namespace), before);
}

// Runs that only look.

#[test]
fn runs_that_only_look_change_nothing() {
    let Some(namespace) = place() else { return };
    let args = ["-b", "*", "-i", "*", "-m", "TPROXY", "--dual-stack"];
    let looks = ["--dry-run", "--check", "--skip-rule-apply"];
    // Where nothing is, and where something else is.
    for prepare in [None, Some(["--redirect-dns", "--capture-all-dns"])] {
        if let Some(args) = prepare {
            intercept(&namespace, &args);
        }
        let before = everything(&namespace);
        for look in looks {
            intercept(&namespace, &[&args[..], &[look]].concat());
            assert_eq!(everything(&namespace), before, "{look}");
            intercept(&namespace, &[look, "--cleanup-only"]);
            assert_eq!(everything(&namespace), before, "{look} --cleanup-only");
        }
    }
}

#[test]
fn a_check_passes_whatever_passes() {
    let Some(namespace) = place() else { return };
    for setting in settings::some() {
        setting.command().with(&["--check"]).apply(&namespace);
    }
    assert!(tables(&namespace).is_empty());
}

#[test]
fn a_printed_ruleset_can_stand_in_for_a_run() {
    let Some(namespace) = place() else { return };
    let args = ["-b", "*", "-i", "*", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns"];
    let printed = Intercept::new(&args).with(&["--dry-run"]).apply(&namespace);
    load(&namespace, &printed);
    let before = objects(&namespace);
    // Not even a counter distinguishes nft's rules from ours.
    intercept(&namespace, &[&args[..], &["--keep-counters"]].concat());
    assert_eq!(objects(&namespace), before);
}

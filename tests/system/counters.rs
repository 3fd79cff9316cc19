//! `--keep-counters`: rules that do not change stay where they are, and go on counting.

use std::collections::BTreeMap;
use std::thread;

use serde_json::Value;

use crate::harness::nft::{assert_same, bytecode, meaning, objects};
use crate::harness::{Intercept, Namespace, Pod, V4, captured, intercept, oracle, privileged};
use crate::settings::{self, Setting};

/// A rule as it is in its chain.
#[derive(Clone, Debug, PartialEq)]
struct Counted {
    handle: u64,
    packets: u64,
    bytes: u64,
    /// What it does, without its counter's values
    meaning: String,
}

/// The rules of each chain, in order.
type Chains = BTreeMap<String, Vec<Counted>>;

fn rules(namespace: &Namespace) -> Chains {
    let mut chains = Chains::new();
    for object in objects(namespace) {
        let Some(rule) = object.get("rule") else { continue };
        let mut statements = rule["expr"].as_array().unwrap().clone();
        let counter = statements.iter_mut().find_map(|statement| statement.get_mut("counter")).unwrap();
        let count = |what| counter[what].as_u64().unwrap();
        let (packets, bytes) = (count("packets"), count("bytes"));
        *counter = Value::Null;
        let handle = rule["handle"].as_u64().unwrap();
        let meaning = Value::from(statements).to_string();
        let chain = format!("{} {}", rule["table"], rule["chain"]);
        chains.entry(chain).or_default().push(Counted { handle, packets, bytes, meaning });
    }
    chains
}

/// What the command prints, with a count of its own in each counter.
fn with_counts(printed: &str) -> String {
    let count = |(number, line): (usize, &str)| {
        line.replacen("counter", &format!("counter packets {} bytes {}", number + 1, 100 * (number + 1)), 1)
            + "\n"
    };
    printed.lines().enumerate().map(count).collect()
}

/// How many items the longest common run of both, with gaps, has.
fn longest_common(left: &[Counted], right: &[Counted]) -> usize {
    let mut lengths = vec![0; right.len() + 1];
    for item in left {
        let mut diagonal = 0;
        for (index, other) in right.iter().enumerate() {
            let above = lengths[index + 1];
            let longest =
                if item.meaning == other.meaning { diagonal + 1 } else { above.max(lengths[index]) };
            (diagonal, lengths[index + 1]) = (above, longest);
        }
    }
    lengths[right.len()]
}

/// All rules that can stay did, as they are, and the others are new.
#[track_caller]
fn assert_kept(what: &str, before: &Chains, after: &Chains) {
    for (chain, after) in after {
        let before = before.get(chain).map_or(&[][..], Vec::as_slice);
        let (kept, new): (Vec<_>, Vec<_>) =
            after.iter().partition(|rule| before.iter().any(|old| old.handle == rule.handle));
        assert!(kept.iter().all(|rule| before.contains(rule)), "{what}: {chain}: {before:#?} {after:#?}");
        assert!(new.iter().all(|rule| (rule.packets, rule.bytes) == (0, 0)), "{what}: {chain}: {new:#?}");
        assert_eq!(kept.len(), longest_common(before, after), "{what}: {chain}: {before:#?} {after:#?}");
    }
}

/// Numbers that look random, the same ones on every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Some of the items, in any order, as a list.
    fn some(&mut self, items: &[&str]) -> String {
        let mut items: Vec<_> = items.iter().filter(|_| self.below(2) == 0).copied().collect();
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
        items.join(",")
    }
}

/// A setting that has much in common with the next one, and nothing in the same place.
fn random_args(random: &mut Random) -> Vec<String> {
    let ports = ["22", "80", "443", "3306", "8080", "9000"];
    let networks =
        ["10.0.0.0/8", "10.1.0.0/16", "172.16.0.0/12", "fd00:1::/48", "192.0.2.7/32", "fd00:2::7/128"];
    let mut args = Vec::new();
    for (flag, items) in [
        ("-d", &ports[..]),
        ("-o", &ports),
        ("-q", &ports),
        ("-x", &networks),
        ("-u", &["1337", "0", "7", "1000"]),
        ("-g", &["1337", "5"]),
        ("-c", &["eth1", "eth2", "cali*"]),
        ("-k", &["tap0", "tap1"]),
    ] {
        args.extend([flag.to_owned(), random.some(items)]);
    }
    let networks = random.some(&networks);
    args.extend(["-i".to_owned(), if random.below(3) == 0 { "*".to_owned() } else { networks }]);
    let inbound = random.some(&ports);
    args.extend(["-b".to_owned(), if random.below(3) == 0 { inbound } else { "*".to_owned() }]);
    let switches =
        ["--dual-stack", "--redirect-dns", "--capture-all-dns", "--drop-invalid", "--native-nftables"];
    args.extend(switches.iter().filter(|_| random.below(2) == 0).map(ToString::to_string));
    args.extend(["-m".to_owned(), ["REDIRECT", "TPROXY"][random.below(2)].to_owned()]);
    args
}

#[test]
fn any_edit_leaves_what_a_fresh_run_leaves_and_keeps_what_it_can() {
    let (Some(edited), Some(fresh)) = (Setting::namespace(), Setting::namespace()) else { return };
    if !oracle("nft") {
        return;
    }
    let mut random = Random(0x6d65_7368_7769_7265);
    let mut printed = String::new();
    for step in 0..60 {
        if step % 4 == 0 {
            edited.feed(&["nft", "-f", "-"], &format!("flush ruleset\n{}", with_counts(&printed)));
        }
        let args = random_args(&mut random);
        let command = || {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            Intercept::new(&args).etc("resolv.conf", "nameserver 10.96.0.10\nnameserver fd00::a\n")
        };
        let what = format!("step {step}: {}", args.join(" "));
        let before = rules(&edited);
        command().with(&["--keep-counters"]).apply(&edited);
        assert_kept(&what, &before, &rules(&edited));

        fresh.command(&["nft", "flush", "ruleset"]);
        command().apply(&fresh);
        assert_same(&what, &meaning(&edited), &meaning(&fresh));
        assert_same(&what, &bytecode(&edited), &bytecode(&fresh));
        printed = command().with(&["--dry-run"]).apply(&fresh);
    }
}

#[test]
fn the_same_setting_again_changes_nothing_at_all() {
    if !oracle("nft") {
        return;
    }
    for setting in settings::some() {
        let Some(namespace) = Setting::namespace() else { return };
        namespace.feed(&["nft", "-f", "-"], &with_counts(&setting.printed("text")));
        let before = objects(&namespace);
        setting.command().with(&["--keep-counters"]).apply(&namespace);
        assert_eq!(objects(&namespace), before, "{}", setting.args);
    }
}

#[test]
fn packets_that_were_counted_stay_counted_until_a_run_without_the_flag() {
    let args = ["-i", "*", "-b", "*"];
    let Some(pod) = Pod::intercepted(&args) else { return };
    if !oracle("nft") {
        return;
    }
    let count = |chain: &str, statement: &str| {
        let chains = rules(&pod.namespace);
        let rule = chains[&format!("\"istio-proxy-nat\" \"{chain}\"")]
            .iter()
            .find(|rule| rule.meaning.contains(statement))
            .unwrap_or_else(|| panic!("{chains:#?}"))
            .clone();
        (rule.packets, rule.bytes)
    };
    let redirected = || count("istio-redirect", "15001");
    for _ in 0..3 {
        assert_eq!(pod.app().tcp(V4.peer(80)), captured(15001, V4.peer(80)));
    }
    // The first packet of each connection: 20 bytes of IP and 40 of TCP with its options.
    assert_eq!(redirected(), (3, 180));

    pod.intercept(&[&args[..], &["-o", "22", "-p", "15001", "--keep-counters"]].concat());
    assert_eq!(redirected(), (3, 180));
    assert_eq!(count("istio-output", "\"right\":22"), (0, 0));
    assert_eq!(pod.app().tcp(V4.peer(80)), captured(15001, V4.peer(80)));
    assert_eq!(redirected(), (4, 240));

    pod.intercept(&args);
    assert_eq!(redirected(), (0, 0));
}

#[test]
fn what_is_foreign_in_our_tables_goes() {
    if !privileged() || !oracle("nft") {
        return;
    }
    let setting = settings::ALL[1];
    let printed = setting.printed("text");
    for foreign in [
        "chain other { counter; }",
        "chain other { type filter hook input priority 0; policy drop; tcp dport 22 counter accept; }",
        "chain other { jump another; }; chain another { counter; }",
        "chain other { goto istio-redirect; }; chain output { counter jump other; }",
        "chain output { counter jump istio-output; }",
        "chain istio-output { ip daddr 192.0.2.1 counter drop; }",
        "chain istio-output { tcp dport { 1, 2 } counter drop; tcp dport vmap { 3 : accept, 4-9 : drop } counter; }",
        "chain istio-output { counter return comment \"mine\"; log prefix \"x\" limit rate 1/second counter; }",
        "set s { type ipv4_addr; elements = { 192.0.2.1 }; }; chain output { ip daddr @s counter drop; }",
        "set s { type ipv4_addr . inet_service; flags interval, timeout; elements = { 192.0.2.1 . 1-7 timeout 1h }; }",
        "map m { type inet_service : verdict; elements = { 22 : jump other }; }; chain other { tcp dport vmap @m; }",
        "map m { type inet_service : verdict; elements = { 22 : jump istio-redirect }; }",
        "chain output {\n tcp dport 22 jump {\n counter\n }\n }",
        "chain other {\n tcp dport 22 jump {\n counter accept\n }\n }",
        "counter seen { packets 7 bytes 8 }; chain other { counter name seen; }",
        "quota most { over 1 mbytes }; chain output { quota name \"most\"; }",
    ] {
        let Some(namespace) = Setting::namespace() else { return };
        namespace.feed(&["nft", "-f", "-"], &with_counts(&printed));
        let (before, ours) = (meaning(&namespace), rules(&namespace));
        namespace.feed(&["nft", "-f", "-"], &format!("table inet istio-proxy-nat {{\n{foreign}\n}}"));
        assert_ne!(meaning(&namespace), before, "{foreign}");
        setting.command().with(&["--keep-counters"]).apply(&namespace);
        assert_same(foreign, &meaning(&namespace), &before);
        assert_eq!(rules(&namespace), ours, "{foreign}");

        namespace.feed(&["nft", "-f", "-"], &format!("table inet istio-proxy-nat {{\n{foreign}\n}}"));
        setting.command().apply(&namespace);
        assert_same(foreign, &meaning(&namespace), &before);
    }
}

#[test]
fn others_may_change_their_rules_at_the_same_time() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") {
        return;
    }
    let args = ["-b", "*", "-i", "*"];
    intercept(&namespace, &args);
    let before = objects(&namespace);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for _ in 0..60 {
                namespace.feed(&["nft", "-f", "-"], "add table ip busy\nadd chain ip busy c");
                namespace.feed(&["nft", "-f", "-"], "delete table ip busy");
            }
        });
        while !busy.is_finished() {
            intercept(&namespace, &[&args[..], &["--keep-counters"]].concat());
        }
    });
    assert_eq!(objects(&namespace), before);
}

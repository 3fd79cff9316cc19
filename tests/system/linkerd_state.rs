//! What `meshwire proxy-init` leaves in the kernel, whatever existed before. `nft` is the judge.

use serde_json::{Value, json};

use crate::harness::nft::{assert_same, bytecode, fabric, meaning, objects};
use crate::harness::{Intercept, Namespace, oracle, privileged};

/// Ways to call the command that between them make every rule.
const SETTINGS: [&str; 12] = [
    "",
    "--ipv6=false",
    "-u 2102 -g 2103",
    "-u 2102 --ipv6=false --inbound-ports-to-ignore 4190,4191,4567,4568 --outbound-ports-to-ignore 4567,4568",
    "-r 80 -r 443,8080 --inbound-ports-to-ignore 443",
    "--inbound-ports-to-ignore 25-27 --outbound-ports-to-ignore 0-65535",
    "--inbound-ports-to-ignore 25-27,24,28,80 --outbound-ports-to-ignore 0,1,65535",
    "--inbound-ports-to-ignore 0-10,65530-65535,9-20 --outbound-ports-to-ignore 22",
    "--subnets-to-ignore 10.0.0.0/8,192.168.1.0/25,192.0.2.1/32,0.0.0.0/0",
    "--subnets-to-ignore fd00::/8,2001:db8::/33,fe80::1/128,::/0,10.1.2.3/8",
    "--ipv6=false --subnets-to-ignore fd00::/8,10.0.0.0/8 -r 80",
    "-u 2102 --inbound-ports-to-ignore 4190,4191,4567,4568,25,587,3306,4444,5432,6379,9300,11211,1,2,3,4,5,6,7,8,9,10 \
     --outbound-ports-to-ignore 443,6443",
];

fn place() -> Option<Namespace> {
    (privileged() && oracle("nft")).then(Namespace::new)
}

fn command(setting: &str, more: &[&str]) -> Intercept {
    let args: Vec<_> = ["-p", "4143", "-o", "4140"].into_iter().chain(setting.split_whitespace()).collect();
    Intercept::linkerd(&args).with(more)
}

fn fresh(setting: &str) -> Namespace {
    let namespace = Namespace::new();
    command(setting, &[]).apply(&namespace);
    namespace
}

#[test]
fn nft_makes_the_same_of_what_is_printed_and_lists_it_so() {
    if place().is_none() {
        return;
    }
    for setting in SETTINGS {
        let ours = fresh(setting);
        let printed = |format| command(setting, &["--simulate", "--output", format]).apply(&Namespace::new());
        let (by_text, by_json) = (Namespace::new(), Namespace::new());
        by_text.feed(&["nft", "-f", "-"], &printed("text"));
        by_json.feed(&["nft", "-j", "-f", "-"], &printed("json"));
        for theirs in [by_text, by_json] {
            assert_same(setting, &meaning(&ours), &meaning(&theirs));
            assert_same(setting, &bytecode(&ours), &bytecode(&theirs));
        }
        assert_eq!(ours.command(&["nft", "--stateless", "list", "ruleset"]), printed("text"), "{setting}");
    }
}

#[test]
fn a_run_after_others_leaves_what_a_run_alone_leaves() {
    let Some(namespace) = place() else { return };
    let alone = SETTINGS.map(|setting| {
        let namespace = fresh(setting);
        (meaning(&namespace), bytecode(&namespace))
    });
    let count = SETTINGS.len();
    for index in (0..count).chain((0..count).rev()).chain((0..count).map(|index| index * 5 % count)) {
        for counters in [&[][..], &["--keep-counters"]] {
            command(SETTINGS[index], counters).apply(&namespace);
            assert_same(SETTINGS[index], &meaning(&namespace), &alone[index].0);
            assert_same(SETTINGS[index], &bytecode(&namespace), &alone[index].1);
        }
        let before = fabric(&namespace);
        command(SETTINGS[index], &[]).apply(&namespace);
        assert_same(SETTINGS[index], &fabric(&namespace), &before);
    }
}

#[test]
fn a_clean_up_leaves_the_tables_of_others_alone() {
    let Some(namespace) = place() else { return };
    namespace.feed(&["nft", "-f", "-"], "table inet other { chain c { tcp dport 80 drop; }; }");
    let before = objects(&namespace);
    for setting in SETTINGS {
        command(setting, &[]).apply(&namespace);
        for _ in 0..2 {
            Intercept::linkerd(&["--cleanup-only"]).apply(&namespace);
            assert_eq!(objects(&namespace), before, "{setting}");
        }
    }
}

#[test]
fn looking_changes_nothing() {
    let Some(namespace) = place() else { return };
    for setting in SETTINGS {
        for look in ["--simulate", "--check"] {
            command(setting, &[look]).apply(&namespace);
            assert!(objects(&namespace).is_empty(), "{setting} {look}");
        }
    }
    command("", &[]).apply(&namespace);
    let before = objects(&namespace);
    for look in ["--simulate", "--check"] {
        command("-r 80 --ipv6=false", &[look]).apply(&namespace);
        command("--cleanup-only", &[look]).apply(&namespace);
        assert_eq!(objects(&namespace), before);
    }
}

#[test]
fn verify_finds_what_differs() {
    let Some(namespace) = place() else { return };
    let verify = |setting: &str| {
        let args = ["verify", "proxy-init", "-p", "4143", "-o", "4140"];
        let args: Vec<_> = args.into_iter().chain(setting.split_whitespace()).collect();
        let output = Intercept::command_line(&args).run(&namespace);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(verify("--cleanup-only").0, 0);
    for setting in SETTINGS {
        command(setting, &[]).apply(&namespace);
        let (code, stdout) = verify(setting);
        assert_eq!(code, 0, "{setting}: {stdout}");
        assert_eq!(verify("--cleanup-only").0, 3, "{setting}");
    }
    command("-u 2102", &[]).apply(&namespace);
    let (code, stdout) = verify("-u 2103");
    assert_eq!(code, 3);
    assert_eq!(
        stdout,
        "different (- desired, + found, ~ found in another form):\n\
         \x20 table inet linkerd-proxy-init\n\
         \x20   chain proxy-init-output\n\
         -     1: meta skuid 2103 counter return comment \"proxy-init/ignore-proxy-user-id\"\n\
         +     1: meta skuid 2102 counter return comment \"proxy-init/ignore-proxy-user-id\"\n"
    );
    // The table of the other family is one too many.
    namespace.feed(&["nft", "-f", "-"], "table ip linkerd-proxy-init { chain c { }; }");
    let (code, stdout) = verify("-u 2102");
    assert_eq!(code, 3);
    assert!(stdout.contains("\n+ table ip linkerd-proxy-init (1 chain"), "{stdout}");
}

#[test]
fn a_thousand_ports_and_two_hundred_ranges_are_one_match_in_each_direction() {
    let Some(namespace) = place() else { return };
    let ports: Vec<u16> = (0..1_000).map(|number| 2 * number + 1).collect();
    let ranges: Vec<(u16, u16)> =
        (0..200).map(|number| (10_000 + 50 * number, 10_020 + 50 * number)).collect();
    let texts = ranges.iter().map(|(first, last)| format!("{first}-{last}"));
    let list = texts.chain(ports.iter().map(ToString::to_string)).collect::<Vec<_>>().join(",");
    let lists = ["--inbound-ports-to-ignore", &list, "--outbound-ports-to-ignore", &list];
    command("", &lists).apply(&namespace);

    let objects = objects(&namespace);
    let rules = |chain: &str| -> Vec<&Value> {
        let rules = objects.iter().filter_map(|object| object.get("rule"));
        rules.filter(|rule| rule["chain"] == chain).collect()
    };
    let expected: Vec<Value> = ports
        .iter()
        .map(|port| json!(port))
        .chain(ranges.iter().map(|(first, last)| json!({ "range": [first, last] })))
        .collect();
    for (chain, others) in [("proxy-init-redirect", 1), ("proxy-init-output", 2)] {
        let rules = rules(chain);
        let sets: Vec<_> =
            rules.iter().filter_map(|rule| rule["expr"][0]["match"]["right"].get("set")).collect();
        assert_eq!((rules.len(), sets.len()), (others + 1, 1), "{chain}");
        assert_eq!(*sets[0], Value::from(expected.clone()), "{chain}");
    }
    let printed = command("", &lists).with(&["--simulate"]).apply(&Namespace::new());
    assert_eq!(namespace.command(&["nft", "--stateless", "list", "ruleset"]), printed);
    let verified = [&["verify", "proxy-init", "-p", "4143", "-o", "4140"], &lists[..]].concat();
    Intercept::command_line(&verified).apply(&namespace);
}

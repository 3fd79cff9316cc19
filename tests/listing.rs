//! `meshwire list` against nft's own listing of the same kernel state.
//!
//! Every file in `tests/corpus` is loaded into a network namespace of its own. `statements` has rules over all that nft
//! knows, `foreign` what other software loads, `iptables` rules that iptables-nft makes, and what of them is shown in
//! other words than nft's.
//!
//! With MESHWIRE_TEST_FULL in the environment, more rules are listed, and more often while they change.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, io, thread};

use meshwire_testkit::{enter_new, full, in_thread, oracle, privileged, say};
use program::program;
use serde_json::Value as Json;

/// What the files of the corpus name.
const DEVICES: &str =
    "ip link set lo up; ip link add eth0 type veth peer name eth1; ip link add br0 type bridge";

/// Of rules that nft 1.0.6 makes something else of when it loads its own listing: the shift of a field inside a byte
/// as one more operation, and sets of flags that it does not compare, in any order.
const UNSTABLE: [&str; 2] = ["ip dscp >> 2", "syn | ack"];

#[test]
fn every_ruleset_is_listed_as_nft_lists_it() {
    if !can_run() {
        return;
    }
    let mut wrong = String::new();
    // The parts only of every nth where it takes long, as for the other tests.
    let every = env::var("MESHWIRE_TEST_EVERY").map_or(1, |every| every.parse().unwrap());
    for (index, file) in corpus().iter().enumerate() {
        inside(|| {
            if load(file) {
                compare_whole(file, &mut wrong);
                if index % every == 0 {
                    compare_parts(file, &mut wrong);
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn rules_of_iptables_nft_are_listed_as_nft_lists_them() {
    if !can_run() || !oracle("iptables-nft") {
        return;
    }
    let known = fs::read_to_string("tests/corpus/iptables/different.txt").unwrap();
    let lines = |tag| known.lines().filter_map(move |line| Some(line.strip_prefix(tag)?.trim().to_owned()));
    let known: BTreeSet<_> = lines("  nft: ").zip(lines("  here: ")).collect();
    let (mut rules, mut different) = (0, 0);
    for file in scripts() {
        inside(|| {
            let output = Command::new("sh").arg(&file).output().unwrap();
            if !output.stderr.is_empty() {
                say(&format!("not all of {} loads here: {}", file.display(), text(&output.stderr)));
            }
            let (theirs, ours) = (run("nft", &["list", "ruleset"]), list(&["ruleset"]));
            assert_eq!(theirs.lines().count(), ours.lines().count(), "{}", file.display());
            for (theirs, ours) in theirs.lines().zip(ours.lines()) {
                rules += usize::from(theirs.contains("counter packets"));
                if theirs != ours {
                    different += 1;
                    let pair = (theirs.trim().to_owned(), ours.trim().to_owned());
                    assert!(known.contains(&pair), "{}: {pair:#?}", file.display());
                }
            }
        });
    }
    say(&format!("{rules} rules of iptables-nft, {different} in other words than nft's, as listed"));
}

#[test]
fn every_listing_loads_again_into_an_equal_ruleset() {
    if !can_run() {
        return;
    }
    let mut wrong = String::new();
    for file in corpus() {
        let Some(first) = inside(|| load(&file).then(|| still(&list(&["ruleset"])))) else { continue };
        let second = inside(|| {
            feed("nft", &["-f", "-"], &first);
            still(&list(&["ruleset"]))
        });
        let is_stable = |line: &&str| !UNSTABLE.iter().any(|part| line.contains(part));
        let [first, second] =
            [first, second].map(|text| text.lines().filter(is_stable).map(unbraced).collect::<String>());
        difference(&file, "reloaded", &first, &second, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_large_set_takes_little_memory_as_json() {
    if !can_run() {
        return;
    }
    inside(|| {
        let elements: Vec<_> = (0..100_000_u32).map(|number| Ipv4Addr::from(number).to_string()).collect();
        let set = format!("type ipv4_addr; elements = {{ {} }};", elements.join(", "));
        feed("nft", &["-f", "-"], &format!("table ip t {{ set s {{ {set} }}; }}"));
        let mut child = Command::new(program())
            .args(["list", "ruleset", "--output", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It writes once it has everything, and waits for a reader.
        let mut listed = vec![0];
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut listed).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        output.read_to_end(&mut listed).unwrap();
        assert!(child.wait().unwrap().success());
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        say(&format!("JSON of 100,000 elements: {} bytes, peak memory {kib} KiB", listed.len()));
        assert!(kib < 64 << 10, "{kib} KiB");
        let listed: Json = serde_json::from_slice(&listed).unwrap();
        assert_eq!(listed["nftables"][2]["set"]["elem"].as_array().unwrap().len(), 100_000);
    });
}

/// So many rules that several threads write them, each of which begins in the middle of a chain.
#[test]
fn many_rules_are_listed_as_nft_lists_them() {
    if !can_run() {
        return;
    }
    inside(|| {
        let mut ruleset = "table inet t {\n".to_owned();
        for chain in 0..3 {
            writeln!(ruleset, "chain c{chain} {{").unwrap();
            for rule in 0..if full() { 2_500 } else { 800 } {
                let address = Ipv4Addr::from(0x0a00_0000 + rule);
                writeln!(ruleset, "ip daddr {address} tcp dport {{ {}, 9 }} counter return", rule + 10)
                    .unwrap();
            }
            ruleset.push_str("}\n");
        }
        feed("nft", &["-f", "-"], &(ruleset + "}\n"));
        let sum = |text: &str| text.lines().count();
        let (theirs, ours) = (run("nft", &["list", "ruleset"]), list(&["ruleset"]));
        assert!(theirs == ours, "{} lines of nft, {} of ours", sum(&theirs), sum(&ours));
        let theirs = objects(&run("nft", &["-j", "list", "ruleset"]).parse().unwrap());
        let ours = objects(&list(&["ruleset", "--output", "json"]).parse().unwrap());
        assert!(theirs == ours, "{} lines of nft, {} of ours", sum(&theirs), sum(&ours));
    });
}

#[test]
fn a_listing_during_writes_is_one_generation() {
    if !can_run() {
        return;
    }
    inside(|| {
        let rulesets = [1, 2].map(generation);
        feed("nft", &["-f", "-"], &rulesets[0]);
        let whole = rulesets.each_ref().map(|_| String::new());
        let whole = whole.into_iter().zip(&rulesets).map(|(_, ruleset)| {
            feed("nft", &["-f", "-"], ruleset);
            run("nft", &["list", "ruleset"])
        });
        let whole: Vec<_> = whole.collect();

        // One process that commits many times: nft takes one transaction a line.
        let mut writer =
            Command::new("nft").arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = writer.stdin.take().unwrap();
        let lines = rulesets.map(|ruleset| ruleset.replace('\n', "; ").replace("{;", "{") + "\n");
        let rounds = if full() { 1_000 } else { 250 };
        let feeder = thread::spawn(move || {
            (0..rounds).for_each(|round| input.write_all(lines[round % 2].as_bytes()).unwrap());
        });
        let mut seen = [0, 0];
        while writer.try_wait().unwrap().is_none() {
            let listed = list(&["ruleset"]);
            let generation = whole.iter().position(|whole| *whole == listed);
            seen[generation.unwrap_or_else(|| panic!("a mix of generations:\n{listed}"))] += 1;
        }
        feeder.join().unwrap();
        say(&format!("listings of each generation while it was rewritten: {seen:?}"));
        // Which of the two a listing falls on is chance.
        assert!(seen[0] + seen[1] > 10, "too few to tell: {seen:?}");
    });
}

#[test]
fn what_is_missing_is_named() {
    if !can_run() {
        return;
    }
    inside(|| {
        run("nft", &["add table inet t"]);
        for (part, name) in [
            (&["table", "ip", "t"][..], "table ip t"),
            (&["chain", "inet", "t", "c"], "chain c of table inet t"),
            (&["set", "inet", "t", "s"], "set s of table inet t"),
        ] {
            let output = meshwire(part);
            assert_eq!(output.status.code(), Some(1), "{part:?}");
            let help = "help: `meshwire list ruleset` shows every table\n";
            assert_eq!(text(&output.stderr), format!("error: {name} does not exist\n{help}"));
            assert!(output.stdout.is_empty());
        }
        assert_eq!(meshwire(&["table", "ipx", "t"]).status.code(), Some(2));
        assert_eq!(meshwire(&["--netns", "/nowhere"]).status.code(), Some(1));
    });
}

#[test]
fn without_privilege_the_capability_is_named() {
    if !can_run() {
        return;
    }
    inside(|| {
        // The program is copied to where another user may run it.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("meshwire");
        meshwire_testkit::copy_executable(&program(), &copy);
        run("chmod", &["-R", "go+rx", folder.path().to_str().unwrap()]);
        let mut command = Command::new(&copy);
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        let output = command.args(["list", "ruleset"]).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        let expected = "error: cannot read the ruleset: the kernel refused the request: EPERM: Operation not permitted\n\
                        help: CAP_NET_ADMIN is needed in ";
        assert!(error.starts_with(expected) && error.lines().count() == 2, "{error}");
    });
}

#[test]
fn alone_it_lists_the_tables_of_the_meshes() {
    if !can_run() {
        return;
    }
    inside(|| {
        feed(
            "nft",
            &["-f", "-"],
            "table inet istio-proxy-nat { chain c { }; }; table ip linkerd-proxy-init { }",
        );
        let owned = run("nft", &["list", "ruleset"]);
        run("nft", &["add table ip other"]);
        assert_eq!(list(&[]), owned);
        assert_eq!(list(&["tables"]), run("nft", &["list", "tables"]));
        assert_eq!(list(&["tables", "-a"]), run("nft", &["-a", "list", "tables"]));
        // From another namespace, by a process that is in this one.
        let mut inhabitant = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = inhabitant.id().to_string();
        let listings = [pid.clone(), format!("/proc/{pid}/ns/net")]
            .map(|netns| inside(|| list(&["tables", "--netns", &netns])));
        inhabitant.kill().unwrap();
        inhabitant.wait().unwrap();
        assert_eq!(listings, [list(&["tables"]), list(&["tables"])]);
    });
}

#[test]
fn counters_that_moved_come_busiest_first() {
    if !can_run() {
        return;
    }
    inside(|| {
        let rules = "table inet t { chain c { type filter hook output priority 0; counter packets 7 bytes 70 accept; \
                     tcp dport 1 counter; ip ttl 3 counter packets 9 bytes 10 drop; }; }";
        feed("nft", &["-f", "-"], rules);
        let listed = list(&["ruleset", "--counters"]);
        let lines: Vec<_> =
            listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "packets bytes table, chain and rule",
            "9 10 inet t c 3 ip ttl 3 counter drop",
            "7 70 inet t c 1 counter accept",
        ];
        assert_eq!(lines, expected);
        let moved: Json =
            serde_json::from_str(&list(&["--output", "json", "--counters", "ruleset"])).unwrap();
        assert_eq!(moved["nftables"][1]["rule"]["expr"][1]["counter"]["packets"], 9);
    });
}

/// Whole rulesets, in every form.
fn compare_whole(file: &Path, wrong: &mut String) {
    for flags in [&[][..], &["-s"], &["-a"], &["-s", "-a"]] {
        let ours = list(&[&["ruleset"], flags].concat());
        let theirs = run("nft", &[flags, &["list", "ruleset"]].concat());
        difference(file, &flags.join(" "), &still(&theirs), &still(&ours), wrong);
    }
    let ours = list(&["ruleset", "--output", "json"]);
    let theirs = run("nft", &["-j", "list", "ruleset"]);
    difference_of_json(file, &theirs, &ours, wrong);
}

/// Each table, chain and set alone.
fn compare_parts(file: &Path, wrong: &mut String) {
    let all: Json = serde_json::from_str(&list(&["ruleset", "--output", "json"])).unwrap();
    for object in all["nftables"].as_array().unwrap() {
        let named =
            ["table", "chain", "set", "map"].into_iter().find_map(|kind| Some((kind, object.get(kind)?)));
        let Some((kind, object)) = named else { continue };
        let mut part: Vec<_> =
            ["family", "table", "name"].iter().filter_map(|key| object.get(*key)?.as_str()).collect();
        part.insert(0, kind);
        let theirs = run("nft", &[&["list"], part.as_slice()].concat());
        part[0] = if kind == "map" { "set" } else { kind };
        let ours = list(&part);
        difference(file, &part.join(" "), &still(&theirs), &still(&ours), wrong);
        part.extend(["--output", "json"]);
        let ours = list(&part);
        part.truncate(part.len() - 2);
        part[0] = kind;
        let theirs = run("nft", &[&["-j", "list"], part.as_slice()].concat());
        difference_of_json(file, &theirs, &ours, wrong);
    }
}

/// Two rulesets that differ in every rule.
fn generation(number: usize) -> String {
    let mut ruleset = "flush ruleset\n".to_owned();
    for table in 0..3 {
        let _ = write!(
            ruleset,
            "table inet t{table} {{\nset s {{\ntype ipv4_addr\nelements = {{ 10.0.0.{number} }}\n}}\n"
        );
        for chain in 0..4 {
            let _ = writeln!(ruleset, "chain c{chain} {{");
            for port in 1..20 {
                let _ = writeln!(ruleset, "ip daddr 10.0.{number}.0/24 tcp dport {port} counter return");
            }
            ruleset.push_str("}\n");
        }
        ruleset.push_str("}\n");
    }
    ruleset
}

/// Notes the first lines that differ.
fn difference(file: &Path, what: &str, theirs: &str, ours: &str, wrong: &mut String) {
    if theirs == ours {
        return;
    }
    let _ = writeln!(
        wrong,
        "{} {what}: {} lines, nft {}",
        file.display(),
        ours.lines().count(),
        theirs.lines().count()
    );
    let pairs = theirs.lines().zip(ours.lines()).filter(|(theirs, ours)| theirs != ours);
    for (theirs, ours) in pairs.take(5) {
        let _ = writeln!(wrong, "  nft:  {theirs}\n  ours: {ours}");
    }
}

fn difference_of_json(file: &Path, theirs: &str, ours: &str, wrong: &mut String) {
    // nft shows freed memory as the flags of a dormant table, and what it shows may not even be JSON.
    let Ok(parsed) = serde_json::from_str::<Json>(theirs) else {
        return say(&format!("skipped the JSON of {}: what nft gives is none", file.display()));
    };
    let tables = parsed["nftables"].as_array().unwrap().iter().filter_map(|object| object.get("table"));
    if tables.clone().all(|table| table.get("flags").is_none()) {
        // Byte by byte, an object a line.
        let lines = |text: &str| still_objects(text).replace("}}, {", "}},\n{");
        return difference(file, "json", &lines(theirs), &lines(ours), wrong);
    }
    let (theirs, ours) = (objects(&parsed), objects(&serde_json::from_str(ours).unwrap()));
    difference(file, "json by value", &theirs, &ours, wrong);
}

/// The text without who wrote it, and without the time that runs.
fn still_objects(text: &str) -> String {
    let (before, rest) = text.split_once(r#""release_name": ""#).unwrap();
    let mut kept = before.to_owned();
    let mut rest = rest.split_once('"').unwrap().1;
    while let Some((before, from)) = rest.split_once(r#", "expires": "#) {
        kept.push_str(before);
        rest = from.trim_start_matches(|character: char| character.is_ascii_digit());
    }
    kept + rest
}

/// The objects, one a line, without nft's version, what nft gets wrong, and the time that runs.
fn objects(listing: &Json) -> String {
    let objects = listing["nftables"].as_array().unwrap().iter().cloned();
    let lines = objects.filter(|object| object.get("metainfo").is_none()).map(|mut object| {
        if let Some(table) = object.get_mut("table").and_then(Json::as_object_mut) {
            table.remove("flags");
        }
        drop_expires(&mut object);
        format!("{object}\n")
    });
    lines.collect()
}

fn drop_expires(json: &mut Json) {
    match json {
        Json::Object(members) => {
            members.remove("expires");
            members.values_mut().for_each(drop_expires);
        }
        Json::Array(values) => values.iter_mut().for_each(drop_expires),
        _ => {}
    }
}

/// The text without the time that runs while both look.
fn still(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(" expires ") {
        kept.push_str(&rest[..start]);
        rest = &rest[start + " expires ".len()..];
        rest = rest.trim_start_matches(|character: char| character.is_ascii_alphanumeric());
    }
    kept + rest
}

/// The line without braces around a single value: nft drops them when it loads its own listing of a range.
fn unbraced(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let word = |index: usize| words.get(index).copied();
    let kept = words.iter().enumerate().filter(|(index, _)| {
        let opens = word(*index) == Some("{") && word(index + 2) == Some("}");
        let closes = word(*index) == Some("}") && *index > 1 && word(index - 2) == Some("{");
        !opens && !closes
    });
    kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ") + "\n"
}

/// The files, in the order of their names.
fn corpus() -> Vec<PathBuf> {
    let folders = ["tests/corpus/statements", "tests/corpus/foreign"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 20, "the corpus exists");
    files
}

/// Those of iptables-nft.
fn scripts() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("tests/corpus/iptables").unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
}

/// Whether this kernel and this nft know all that is in the file. What they do not know is said, with nft's words and the
/// line that it means.
fn load(file: &Path) -> bool {
    let output = Command::new("nft").arg("-f").arg(file).output().unwrap();
    if !output.status.success() {
        let error = text(&output.stderr);
        let mut lines = error.lines();
        let reason =
            lines.next().and_then(|line| line.split_once("Error: ")).map_or("", |(_, reason)| reason);
        say(&format!("left out {}: {reason}: {}", file.display(), lines.next().unwrap_or_default().trim()));
    }
    output.status.success()
}

/// Runs the closure in a fresh network namespace, with devices.
fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    in_thread(|| {
        enter_new();
        run("sh", &["-c", DEVICES]);
        work()
    })
}

fn meshwire(arguments: &[&str]) -> Output {
    Command::new(program()).arg("list").args(arguments).output().unwrap()
}

/// What `meshwire list` prints.
fn list(arguments: &[&str]) -> String {
    succeeded(&format!("list {arguments:?}"), &meshwire(arguments))
}

/// What the command prints.
fn run(program: &str, arguments: &[&str]) -> String {
    succeeded(&format!("{program} {arguments:?}"), &Command::new(program).args(arguments).output().unwrap())
}

/// As [`run`], with a standard input.
fn feed(program: &str, arguments: &[&str], input: &str) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let output = Command::new(program).args(arguments).stdin(file).output().unwrap();
    succeeded(&format!("{program} {arguments:?} of\n{input}"), &output);
}

fn succeeded(command: &str, output: &Output) -> String {
    assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether all tests can run that look at the kernel and at nft's listing of it.
///
/// # Panics
/// Under CI, where they have to.
fn can_run() -> bool {
    privileged() && oracle("nft")
}

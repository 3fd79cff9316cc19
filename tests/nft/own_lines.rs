//! nftables' own test lines: each that the kernel takes from nft is read, compiled again and loaded into another namespace,
//! where it has to be the same expressions, or is rejected by name.
//!
//! `MESHWIRE_NFT_TESTS=nftables/tests/py cargo test --test nft own_lines -- --ignored --nocapture`, with the source of any version.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Family, Origin, Ruleset};
use nftwire::Socket;

use crate::elsewhere::{assert_same, held};
use crate::harness::{Nft, can_run, inside, say};

/// Devices that the lines name, next to those of every namespace here.
const MORE_DEVICES: &str = "ip link add dummy0 type veth peer name dummy1";

/// A table of a file: what makes it, what is declared in it, and where rules go.
struct Place {
    setup: String,
    declarations: Vec<String>,
    chain: String,
    rules: Vec<String>,
}

/// Each table and chain of a file, with the file's rules.
fn places(text: &str) -> Vec<Place> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let chains: BTreeMap<_, _> = lines().filter_map(|line| line.strip_prefix(':')?.split_once(';')).collect();
    let rules: Vec<_> = lines()
        .map(|line| line.trim_start_matches('-'))
        .filter(|line| !line.starts_with([':', '*', '!', '?', '%']))
        .filter_map(|line| Some(line.split_once(';')?.0.trim().to_owned()))
        .filter(|rule| !rule.is_empty())
        .collect();
    let mut places = Vec::new();
    for line in lines().filter_map(|line| line.strip_prefix('*')) {
        let mut parts = line.split(';');
        let (Some(family), Some(table), Some(names)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let table = format!("{family} {table}");
        let of_chain = |name: &str| format!("add chain {table} {name} {{ {}; }}\n", chains[name]);
        let setup = format!("add table {table}\n{}", names.split(',').map(of_chain).collect::<String>());
        let declarations: Vec<_> = lines().filter_map(|line| declaration(&table, line)).collect();
        places.extend(names.split(',').map(|chain| Place {
            setup: setup.clone(),
            declarations: declarations.clone(),
            chain: format!("{table} {chain}"),
            rules: rules.clone(),
        }));
    }
    places
}

/// `!set type …`, `?set elements`, `%object type …`, as commands of nft's.
fn declaration(table: &str, line: &str) -> Option<String> {
    let (kind, line) = line.split_at_checked(1)?;
    let line = line.rsplit_once(';').map_or(line, |(line, _)| line);
    let (name, rest) = line.split_once(' ')?;
    let rest = rest.trim();
    match kind {
        "!" => {
            let given = rest.starts_with("type ") || rest.starts_with("typeof ");
            let rest = format!("{}{rest}", if given { "" } else { "type " });
            let rest = rest.replace("; flags", " flags").replace(" flags", "; flags");
            let rest = rest.replace("; timeout", " timeout").replace(" timeout", "; timeout");
            let word = if rest.contains(" : ") { "map" } else { "set" };
            Some(format!("add {word} {table} {name} {{ {rest}; }}\n"))
        }
        "?" if rest.starts_with('{') => Some(format!("add element {table} {name} {rest}\n")),
        "?" => Some(format!("add element {table} {name} {{ {rest} }}\n")),
        "%" => {
            let rest = rest.strip_prefix("type ")?;
            let words = if rest.starts_with("ct ") { 2 } else { 1 };
            let mut parts = rest.splitn(words + 1, ' ');
            let kind: Vec<_> = parts.by_ref().take(words).collect();
            let body = match parts.next().unwrap_or_default().trim() {
                body if body.is_empty() || body.starts_with('{') => body.to_owned(),
                body => format!("{{ {body}; }}"),
            };
            Some(format!("add {} {table} {name} {body}\n", kind.join(" ")))
        }
        _ => None,
    }
}

#[derive(Default)]
struct Counts {
    taken: usize,
    /// By the statements that were made of them
    by_statements: usize,
    /// By the expressions that they were read from
    by_expressions: usize,
    rejected: BTreeMap<String, Vec<String>>,
}

fn devices() {
    let output = Command::new("sh").args(["-c", MORE_DEVICES]).output().unwrap();
    assert!(output.status.success());
}

fn read() -> Ruleset {
    let mut socket = Socket::open().unwrap();
    Snapshot::read(&mut socket, Scope::Family(Family::Unspec), Depth::All).unwrap().ruleset().unwrap()
}

/// Why the first rule that is rejected is, with its number, if one is.
fn rejection(ruleset: &Ruleset) -> Option<(usize, String)> {
    let rules = ruleset.tables[0].chains.iter().flat_map(|chain| &chain.rules).count();
    (0..rules).find_map(|number| {
        let mut alone = ruleset.clone();
        let chain = alone.tables[0].chains.iter_mut().find(|chain| !chain.rules.is_empty())?;
        chain.rules = vec![chain.rules.swap_remove(number)];
        let owned = Owned::default().and(&alone);
        let plan = Plan::from_nothing(Desired::new(&alone, &owned)).ok()?;
        plan.transaction(Counters::Reset).err().map(|error| (number, error.to_string()))
    })
}

/// Loads what nft can, and compares it with what is loaded elsewhere.
fn measure(file: &Path, place: &Place, counts: &mut Counts) {
    inside(|| {
        devices();
        if !Nft::Theirs.load(&place.setup).status.success() {
            return;
        }
        for declaration in &place.declarations {
            Nft::Theirs.load(declaration);
        }
        for rule in &place.rules {
            Nft::Theirs.load(&format!("add rule {} {rule}\n", place.chain));
        }
        let mut ruleset = read();
        counts.taken += ruleset.rule_count();
        while let Some((number, reason)) = rejection(&ruleset).or_else(|| refusal(&ruleset, &held())) {
            let chain = ruleset.tables[0].chains.iter().find(|chain| !chain.rules.is_empty()).unwrap();
            let rule = &chain.rules[number];
            counts.rejected.entry(reason).or_default().push(format!("{}: {rule}", file.display()));
            let delete = format!("delete rule {} handle {}\n", place.chain, rule.handle);
            assert!(Nft::Theirs.load(&delete).status.success());
            ruleset = read();
        }
        for rule in ruleset.tables[0].chains.iter().flat_map(|chain| &chain.rules) {
            match rule.origin {
                Origin::Written => counts.by_statements += 1,
                _ => counts.by_expressions += 1,
            }
        }
    });
}

/// Loads it elsewhere, where it is to be the same, and returns why the kernel refused a rule, if it did.
fn refusal(ruleset: &Ruleset, as_held: &[String]) -> Option<(usize, String)> {
    inside(|| {
        devices();
        let mut socket = Socket::open().unwrap();
        let owned = Owned::default().and(ruleset);
        let plan = Plan::read(&mut socket, Desired::new(ruleset, &owned)).unwrap();
        let mut transaction = plan.transaction(Counters::Reset).unwrap();
        match socket.commit(transaction.batch()) {
            Ok(_) => {
                assert_same(as_held, &held());
                None
            }
            Err(nftwire::Error::Refused(refusal)) => {
                let subject = refusal.message.and_then(|message| transaction.subject(message)).unwrap();
                let (rule, _) = subject.rule.as_ref().unwrap_or_else(|| panic!("{subject}: {refusal:?}"));
                Some((*rule, format!("the kernel refused it: {}", refusal.reason())))
            }
            Err(error) => panic!("{error}"),
        }
    })
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "t") {
            found.push(path);
        }
    }
}

#[test]
#[ignore = "needs nftables' own tests, which are not part of this repository"]
fn own_lines() {
    assert!(can_run());
    let folder = std::env::var("MESHWIRE_NFT_TESTS").unwrap();
    let mut found = Vec::new();
    files(Path::new(&folder), &mut found);
    found.sort();
    let mut counts = Counts::default();
    for file in &found {
        for place in places(&String::from_utf8_lossy(&fs::read(file).unwrap())) {
            measure(file, &place, &mut counts);
        }
    }
    let rejected: usize = counts.rejected.values().map(Vec::len).sum();
    for (reason, rules) in &counts.rejected {
        say(&format!("{} rejected: {reason}\n  {}", rules.len(), rules.join("\n  ")));
    }
    say(&format!(
        "{} rules: {} the same by their statements, {} by the expressions that they were read from, {rejected} rejected by name",
        counts.taken, counts.by_statements, counts.by_expressions
    ));
    assert_eq!(counts.taken, counts.by_statements + counts.by_expressions + rejected);
    assert!(counts.taken > 4_000, "{folder} has no tests");
}

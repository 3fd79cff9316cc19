//! What is listed, against nft's own listing of the same kernel state.
//!
//! Every `*.nft` file below `tests/corpus` (or the folder that `CORPUS` names) is loaded by nft into a network
//! namespace of its own; then nft's text and JSON are compared with ours. Reported is how many lines and objects are
//! equal, file by file.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io, thread};

use meshwire::ruleset::print::{Options, Printer};
use meshwire::ruleset::{Family, Ruleset, json, listing};
use nix::net::if_::if_nameindex;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value as Json;

/// What the files of the corpus name.
const DEVICES: &str =
    "ip link set lo up; ip link add eth0 type veth peer name eth1; ip link add br0 type bridge";

#[test]
fn every_ruleset_is_listed_as_nft_lists_it() {
    let files = corpus();
    let can_run = nix::unistd::geteuid().is_root() && Command::new("nft").arg("-v").output().is_ok();
    if files.is_empty() || !can_run {
        assert!(env::var_os("CI").is_none(), "it needs root, nft and a corpus");
        say("skipped: it needs root, nft and a corpus");
        return;
    }
    let mut different = 0;
    for file in &files {
        different += thread::scope(|scope| scope.spawn(|| compare(file)).join()).unwrap();
    }
    assert_eq!(different, 0, "lines and objects that differ");
}

/// How many lines and objects of the file's ruleset are listed differently.
fn compare(file: &Path) -> usize {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    run("sh", &["-c", DEVICES]);
    run("nft", &["-f", file.to_str().unwrap()]);
    let mut socket = nftwire::Socket::open().unwrap();
    let ruleset = listing::read(&mut socket, Family::Unspec).unwrap();
    let interfaces: HashMap<_, _> = if_nameindex()
        .unwrap()
        .iter()
        .map(|interface| (interface.index(), interface.name().to_str().unwrap().to_owned()))
        .collect();
    let options = Options { interfaces: Some(&interfaces), ..Options::default() };
    let lines = compare_text(&ruleset, options);
    let objects = compare_json(&ruleset, options);
    let name = file.file_name().unwrap().display();
    say(&format!("{name}: {} of {} lines, {} of {} objects", lines.0, lines.1, objects.0, objects.1));
    lines.1 - lines.0 + objects.1 - objects.0
}

fn compare_text(ruleset: &Ruleset, options: Options<'_>) -> (usize, usize) {
    let mut ours = String::new();
    Printer { out: &mut ours, options }.ruleset(ruleset);
    let theirs = run("nft", &["list", "ruleset"]);
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (ours.lines().map(still).collect(), theirs.lines().map(still).collect());
    if ours.len() != theirs.len() {
        say(&format!("{} lines instead of {}", ours.len(), theirs.len()));
    }
    let equal = count(&theirs, &ours, Clone::clone);
    (equal, theirs.len().max(ours.len()))
}

fn compare_json(ruleset: &Ruleset, options: Options<'_>) -> (usize, usize) {
    let ours = json::ruleset(ruleset, &options);
    // nft shows freed memory as the flags of a dormant table, and what it shows may not even be JSON.
    let theirs = run("nft", &["-j", "list", "ruleset"]);
    let Ok(theirs) = serde_json::from_str::<Json>(&theirs) else { return (0, 0) };
    let objects = |json: &Json| -> Vec<Json> {
        let objects = json["nftables"].as_array().unwrap().iter();
        objects.filter(|object| object.get("metainfo").is_none()).cloned().map(comparable).collect()
    };
    let (ours, theirs) = (objects(&ours), objects(&theirs));
    let equal = count(&theirs, &ours, ToString::to_string);
    (equal, theirs.len().max(ours.len()))
}

/// How many are equal; says which are not.
fn count<T: PartialEq>(theirs: &[T], ours: &[T], show: impl Fn(&T) -> String) -> usize {
    let pairs = theirs.iter().zip(ours);
    let (equal, different): (Vec<_>, Vec<_>) = pairs.partition(|(theirs, ours)| theirs == ours);
    for (theirs, ours) in different {
        say(&format!("  nft:  {}\n  ours: {}", show(theirs), show(ours)));
    }
    equal.len()
}

/// The line without the time that runs while both look.
fn still(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let runs = |index: usize| index > 0 && words[index - 1] == "expires";
    let kept = words.iter().enumerate().filter(|(index, _)| !runs(*index)).map(|(_, word)| *word);
    kept.collect::<Vec<_>>().join(" ")
}

/// The object without what nft gets wrong, and without the time that runs.
fn comparable(mut object: Json) -> Json {
    if let Some(table) = object.get_mut("table").and_then(Json::as_object_mut) {
        table.remove("flags");
    }
    drop_expires(&mut object);
    object
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

/// The rulesets, in the order of their names.
fn corpus() -> Vec<PathBuf> {
    let folder = env::var_os("CORPUS").map_or("tests/corpus".into(), PathBuf::from);
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        // What nft or the kernel refuses is kept there.
        let refused = path.file_name().is_some_and(|name| name == "statements-unsupported");
        if path.is_dir() && !refused {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "nft") {
            files.push(path);
        }
    }
}

/// What the command prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Past what libtest captures.
fn say(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

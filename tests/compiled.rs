//! What nft leaves in the kernel, read and compiled again: the same expressions, or a rejection by name.
//!
//! Every ruleset of `tests/corpus` is loaded by nft in a network namespace of its own. The numbers of rules that become
//! other expressions, or are rejected, are checked in, by kind, and may only fall. `MESHWIRE_RULESETS` names a folder with further rulesets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, thread};

use nft_ruleset::nft::compile::{NotCompiled, compile_in};
use nft_ruleset::nft::decompile::Decompiler;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Family, Table};
use nftwire::{Expr, Socket, expr};
use nix::sched::{CloneFlags, unshare};

/// What the files of the corpus name.
const DEVICES: &str =
    "ip link set lo up; ip link add eth0 type veth peer name eth1; ip link add br0 type bridge";
const REJECTED: &str = "tests/corpus/rejected.txt";

#[derive(Default)]
struct Count {
    same: usize,
    rejected: BTreeMap<String, usize>,
    differing: usize,
    different: String,
}

#[test]
fn what_is_read_compiles_to_the_same_expressions() {
    if !is_root() || Command::new("nft").arg("-v").output().is_err() {
        assert!(env::var_os("CI").is_none(), "root and nft are needed");
        println!("skipped: root and nft are needed");
        return;
    }
    let mut count = Count::default();
    let measures = env::var_os("MESHWIRE_RULESETS");
    let folders = match &measures {
        Some(folder) => vec![PathBuf::from(folder)],
        None => ["statements", "foreign"].map(|folder| PathBuf::from("tests/corpus").join(folder)).to_vec(),
    };
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files {
        let of_file = thread::scope(|scope| scope.spawn(|| compare(&file)).join().unwrap());
        count.same += of_file.same;
        of_file
            .rejected
            .into_iter()
            .for_each(|(kind, rules)| *count.rejected.entry(kind).or_default() += rules);
        count.differing += of_file.differing;
        count.different.push_str(&of_file.different);
    }
    let head = format!("{} other expressions than the kernel's\n", count.differing);
    let rejected = count.rejected.iter().fold(head, |mut text, (kind, rules)| {
        let _ = writeln!(text, "{rules} {kind}");
        text
    });
    println!("{} rules compile to the same expressions; rejected:\n{rejected}", count.same);
    if let Some(folder) = measures {
        fs::write(PathBuf::from(folder).with_extension("different"), &count.different).unwrap();
        return;
    }
    if env::var_os("UPDATE_REJECTED").is_some() {
        fs::write(REJECTED, &rejected).unwrap();
    }
    assert_eq!(fs::read_to_string(REJECTED).unwrap(), rejected, "{}", count.different);
}

/// Loads a file in a namespace of this thread's own, and compares each rule.
fn compare(file: &std::path::Path) -> Count {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    Command::new("sh").args(["-c", DEVICES]).output().unwrap();
    Command::new("nft").arg("-f").arg(file).output().unwrap();
    let mut socket = Socket::open().unwrap();
    let mut count = Count::default();
    let snapshot = Snapshot::read(&mut socket, Scope::Family(Family::Unspec), Depth::All).unwrap();
    let ruleset = snapshot.ruleset().unwrap();
    for (table, read) in ruleset.tables.iter().zip(snapshot.tables()) {
        let sets = read.decompiled_sets().unwrap();
        let mut decompiler = Decompiler::new(table.family, &sets);
        for rule in read.rules().decode(nftwire::Rule::decode) {
            let rule = rule.unwrap();
            let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>().unwrap();
            count.rule(table, &expressions, &decompiler.rule(&rule).unwrap());
        }
    }
    count
}

impl Count {
    fn rule(&mut self, table: &Table, expressions: &[Expr<'_>], rule: &nft_ruleset::Rule) {
        match compile_in(table, rule, 1) {
            Err(error) => *self.rejected.entry(kind(&error)).or_default() += 1,
            Ok(compiled) => {
                let [theirs, ours] = [expressions, &compiled.expressions].map(|list| {
                    list.iter()
                        .map(comparable)
                        .map(|expression| format!("{expression:?}"))
                        .collect::<Vec<_>>()
                });
                if theirs == ours {
                    self.same += 1;
                } else {
                    self.differing += 1;
                    let _ = writeln!(self.different, "{table}: {rule}");
                    for line in theirs.iter().filter(|line| !ours.contains(line)) {
                        let _ = writeln!(self.different, "    kernel {line}");
                    }
                    for line in ours.iter().filter(|line| !theirs.contains(line)) {
                        let _ = writeln!(self.different, "    ours   {line}");
                    }
                }
            }
        }
    }
}

/// Without the names and numbers that the kernel gives to sets of a rule's own.
fn comparable<'e>(expression: &Expr<'e>) -> Expr<'e> {
    match expression {
        Expr::Lookup(lookup) => {
            let own = lookup.set.as_bytes().starts_with(b"__");
            let set = if own { "__set".into() } else { lookup.set };
            expr::Lookup { set, set_id: 0, ..*lookup }.into()
        }
        other => other.clone(),
    }
}

fn kind(error: &NotCompiled) -> String {
    error.to_string()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

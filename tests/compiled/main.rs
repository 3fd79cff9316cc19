//! What nft leaves in the kernel, read and compiled again: the same expressions, or a rejection by name.
//!
//! Every ruleset of `tests/corpus` is loaded by nft in a network namespace of its own. None may become other expressions
//! silently. Two numbers are checked in, and may only fall: of rules that only compile to the same because what they were
//! read from is kept, and of those that are rejected, by kind. `MESHWIRE_RULESETS` names a folder with further rulesets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, thread};

use meshwire_testkit::{oracle, privileged};
use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::nft::compile::{NotCompiled, compile_in};
use nft_ruleset::nft::print::{Options, Printer};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Family, Origin, Rule, Ruleset, Table, Text};
use nftwire::{Expr, Socket, expr};
use nix::sched::{CloneFlags, unshare};

mod random;

/// What the files of the corpus name.
const DEVICES: &str =
    "ip link set lo up; ip link add eth0 type veth peer name eth1; ip link add br0 type bridge";
const REJECTED: &str = "tests/corpus/rejected.txt";

#[derive(Default)]
struct Count {
    same: usize,
    /// Of these, those whose statements say less than the expressions
    kept: usize,
    rejected: BTreeMap<String, usize>,
    differing: usize,
    different: String,
}

#[test]
fn what_is_read_compiles_to_the_same_expressions() {
    if !can_run() {
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
        count.kept += of_file.kept;
        of_file
            .rejected
            .into_iter()
            .for_each(|(kind, rules)| *count.rejected.entry(kind).or_default() += rules);
        count.differing += of_file.differing;
        count.different.push_str(&of_file.different);
    }
    let head = format!("{} compile only to what they were read from\n", count.kept);
    let rejected = count.rejected.iter().fold(head, |mut text, (kind, rules)| {
        let _ = writeln!(text, "{rules} {kind}");
        text
    });
    println!(
        "{} rules compile to the same expressions, {} to others; {rejected}",
        count.same, count.differing
    );
    if let Some(folder) = measures {
        fs::write(PathBuf::from(folder).with_extension("different"), &count.different).unwrap();
        return;
    }
    assert_eq!(count.differing, 0, "{}", count.different);
    if env::var_os("UPDATE_REJECTED").is_some() {
        fs::write(REJECTED, &rejected).unwrap();
    }
    assert_eq!(fs::read_to_string(REJECTED).unwrap(), rejected);
}

#[test]
fn a_rule_without_the_kernels_defaults_is_the_same_rule() {
    if !can_run() {
        return;
    }
    let load = || {
        enter();
        // nft shows the same for `meta l4proto tcp tcp dport 22`.
        let rule = "table ip t { chain c { ip protocol tcp tcp dport 22 drop; meta l4proto tcp tcp dport 22 drop; }; }";
        assert!(Command::new("nft").arg(rule).status().unwrap().success());
        read()
    };
    let snapshot = thread::scope(|scope| scope.spawn(load).join().unwrap());
    let (loadable, listed) = (snapshot.ruleset().unwrap(), snapshot.listed().unwrap());
    let [kept, written] = &loadable.tables[0].chains[0].rules[..] else { panic!("{loadable:?}") };
    assert_eq!(kept.statements, written.statements);
    assert_eq!(written.origin, Origin::Written);
    let table = &loadable.tables[0];
    assert_eq!((expressions(table, kept), expressions(table, written)), (Ok(5), Ok(5)));
    let first = |rule| match &compile_in(table, rule, 1).unwrap().expressions[0] {
        expression @ (Expr::Payload(_) | Expr::Meta(_)) => expression.name().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((first(kept), first(written)), ("payload".to_owned(), "meta".to_owned()));

    let other = Rule { comment: Some("other".into()), ..kept.clone() };
    assert_eq!(expressions(table, &other), Ok(5));
    let mut other = kept.clone();
    other.statements.pop();
    assert_eq!(expressions(table, &other), Err(NotCompiled::Inexact));
    other.origin = Origin::Written;
    assert_eq!(expressions(table, &other), Ok(4));
    assert_eq!(expressions(table, &listed.tables[0].chains[0].rules[1]), Err(NotCompiled::Listed));
}

/// How many expressions the rule compiles to.
fn expressions(table: &Table, rule: &Rule) -> Result<usize, NotCompiled> {
    compile_in(table, rule, 1).map(|compiled| compiled.expressions.len())
}

/// Loads a file in a namespace of this thread's own, and compares each rule.
fn compare(file: &std::path::Path) -> Count {
    enter();
    Command::new("nft").arg("-f").arg(file).output().unwrap();
    let mut count = Count::default();
    let snapshot = read();
    let ruleset = snapshot.ruleset().unwrap();
    count.ruleset(&snapshot, &ruleset);
    count
}

/// Puts the thread into a network namespace of its own, with the devices.
fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    Command::new("sh").args(["-c", DEVICES]).output().unwrap();
}

fn read() -> Snapshot {
    Snapshot::read(&mut Socket::open().unwrap(), Scope::Family(Family::Unspec), Depth::All).unwrap()
}

/// Loads what was read into another namespace, which then holds the same, as we and nft read it.
fn circle(first: &Snapshot, ruleset: &Ruleset) {
    let listed_by_nft = || {
        let output = Command::new("nft").args(["-s", "list", "ruleset"]).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(before) = listed_by_nft() else { return println!("nft fails at its own rules") };
    let interfaces = HashMap::from([(1, "lo".to_owned())]);
    let options = Options { stateless: true, interfaces: Some(&interfaces), ..Options::default() };
    let mut shown = String::new();
    Printer { out: &mut shown, options }.ruleset(&first.listed().unwrap());
    enter();
    let owned = Owned::default();
    let plan = Plan::from_nothing(Desired::new(ruleset, &owned)).unwrap();
    let mut transaction = plan.transaction(Counters::Reset).unwrap();
    let committed = Socket::open().unwrap().commit(transaction.batch());
    assert!(committed.is_ok(), "{committed:?}\n{shown}");
    let second = read();
    for (first, second) in first.tables().iter().zip(second.tables()) {
        let [first, second] = [first, second].map(|table| {
            let rules = table.rules().decode(nftwire::Rule::decode).map(|rule| {
                let expressions = rule
                    .unwrap()
                    .expressions()
                    .filter_map(|expression| Some(format!("{:?}", comparable(&expression.unwrap())?)));
                expressions.collect::<Vec<_>>()
            });
            rules.collect::<Vec<_>>()
        });
        assert_eq!(first.len(), second.len());
        for (first, second) in first.iter().zip(&second) {
            assert_eq!(first, second);
        }
    }
    // Of some fields nft 1.0.6 shows nonsense, in its own rules, too.
    let known: HashSet<_> = before.lines().chain(shown.lines()).collect();
    let after = listed_by_nft().unwrap();
    let other: Vec<_> = after.lines().filter(|line| !known.contains(line)).collect();
    assert!(other.is_empty(), "nft lists something else:\n{}\n{before}", other.join("\n"));
}

impl Count {
    fn ruleset(&mut self, snapshot: &Snapshot, ruleset: &Ruleset) {
        for (table, read) in ruleset.tables.iter().zip(snapshot.tables()) {
            let rules: BTreeMap<_, _> =
                table.chains.iter().flat_map(|chain| &chain.rules).map(|rule| (rule.handle, rule)).collect();
            for rule in read.rules().decode(nftwire::Rule::decode) {
                let rule = rule.unwrap();
                // Chains that belong to a rule are part of it.
                let Some(model) = rules.get(&rule.handle) else { continue };
                let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>().unwrap();
                self.rule(table, &expressions, model);
            }
        }
    }

    fn rule(&mut self, table: &Table, expressions: &[Expr<'_>], rule: &Rule) {
        match compile_in(table, rule, 1) {
            Err(error) => *self.rejected.entry(error.to_string()).or_default() += 1,
            Ok(compiled) => {
                let difference = difference(expressions, &compiled.expressions);
                if difference.is_empty() {
                    self.same += 1;
                } else {
                    self.differing += 1;
                    let _ = writeln!(self.different, "silently: {table}: {rule}\n{difference}");
                }
                if let Origin::Kernel(_) = rule.origin {
                    self.kept += 1;
                    let written = Rule { origin: Origin::Written, ..rule.clone() };
                    let why = match compile_in(table, &written, 1) {
                        Ok(compiled) => self::difference(expressions, &compiled.expressions),
                        Err(error) => format!("    {error}\n"),
                    };
                    let _ = writeln!(self.different, "{table}: {rule}\n{why}");
                }
            }
        }
    }
}

/// The expressions that only one side has; all of both, where only their order differs.
fn difference(theirs: &[Expr<'_>], ours: &[Expr<'_>]) -> String {
    let [theirs, ours] = [theirs, ours].map(|list| {
        list.iter().filter_map(comparable).map(|expression| format!("{expression:?}")).collect::<Vec<_>>()
    });
    if theirs == ours {
        return String::new();
    }
    let mut difference = String::new();
    for (side, these, others) in [("kernel", &theirs, &ours), ("ours  ", &ours, &theirs)] {
        for line in these.iter().filter(|line| !others.contains(line) || these.len() == others.len()) {
            let _ = writeln!(difference, "    {side} {line}");
        }
    }
    difference
}

/// Without the names and numbers that the kernel gives to sets of a rule's own, and without what does nothing.
fn comparable<'e>(expression: &Expr<'e>) -> Option<Expr<'e>> {
    let unnumbered = |set: Text<'e>| if set.as_bytes().starts_with(b"__") { "__set".into() } else { set };
    Some(match expression {
        Expr::Byteorder(byteorder) if byteorder.does_nothing() => return None,
        Expr::Lookup(lookup) => expr::Lookup { set: unnumbered(lookup.set), set_id: 0, ..*lookup }.into(),
        Expr::Objref(expr::Objref::Map { sreg, set, .. }) => {
            expr::Objref::Map { sreg: *sreg, set: unnumbered(*set), set_id: 0 }.into()
        }
        other => other.clone(),
    })
}

/// Whether the kernel and nft can be asked.
///
/// # Panics
/// Under CI, where they have to.
fn can_run() -> bool {
    privileged() && oracle("nft")
}

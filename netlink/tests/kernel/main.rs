//! What the kernel makes of what this crate sends, each test in a network namespace that it makes for itself.
//!
//! They need root, and `nft` where a test compares with it. Without, they fail when CI is in the environment, and
//! otherwise say on standard error that they did not happen.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod dumps;
mod oracle;
mod places;
mod privileges;
mod readings;
mod refusals;
mod replies;
mod sizes;
mod transactions;

use std::process::Command;

use nftwire::{
    BaseChain, Batch, Chain, Data, Element, ElementData, ElementList, Error, Expr, Family, Hook, Policy,
    Position, Refusal, Rule, Set, Socket, Table, Verdict, expr,
};

const FAMILY: Family = Family::Inet;
/// The table of most tests.
const TABLE: &str = "mesh";
/// Its base chain.
const INPUT: &str = "input";

/// A batch of [`TABLE`] with the base chain [`INPUT`].
fn table_and_chain() -> Batch {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(FAMILY, TABLE));
    batch.add_chain(&base_chain(INPUT, "filter", Hook::LocalIn, 0));
    batch
}

fn base_chain<'a>(name: &'a str, kind: &'a str, hook: Hook, priority: i32) -> Chain<'a> {
    let base = BaseChain { kind, hook, priority, policy: Some(Policy::Accept) };
    Chain { base: Some(base), ..Chain::new(FAMILY, TABLE, name) }
}

fn rule(chain: &str) -> Rule<'_> {
    Rule::new(FAMILY, TABLE, chain)
}

fn verdict(verdict: Verdict<'_>) -> Expr<'_> {
    expr::Immediate::Verdict(verdict).into()
}

/// Commits and answers with the refusal that has to come.
#[track_caller]
fn refused(socket: &mut Socket, batch: &mut Batch) -> Refusal {
    match socket.commit(batch) {
        Err(Error::Refused(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}

/// The names of all tables.
fn tables(socket: &mut Socket) -> Vec<String> {
    let mut names = Vec::new();
    socket
        .tables(Family::Unspec, |table| {
            names.push(table.name.to_string());
            Ok(())
        })
        .unwrap();
    names
}

/// The handle and the name of the first expression of every rule of a chain.
fn rules(socket: &mut Socket, chain: &str) -> Vec<(u64, String)> {
    let mut rules = Vec::new();
    socket
        .rules(FAMILY, Some(TABLE.into()), |rule| {
            if rule.chain == chain {
                let first = rule.expressions().next().transpose()?;
                rules.push((rule.handle, first.map_or("", |expression| expression.name()).to_owned()));
            }
            Ok(())
        })
        .unwrap();
    rules
}

/// What `nft` prints in the namespace that the thread is in.
fn nft(arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("nft").args(arguments).output() else {
        return meshwire_testkit::skipped("there is no nft to compare with");
    };
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Keys of four bytes from 0 on.
fn keys(count: u32) -> Vec<Element<'static>> {
    (0..count).map(|key| Element::new(Data::new(&key.to_be_bytes()))).collect()
}

/// How many elements a set holds.
fn count(socket: &mut Socket, set: &str) -> usize {
    let mut count = 0;
    socket
        .elements(FAMILY, TABLE, set, |list| {
            count += list.elements().count();
            Ok(())
        })
        .unwrap();
    count
}

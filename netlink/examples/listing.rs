//! What a network namespace holds: tables, their rules, and each rule's expressions.
//!
//! `cargo run --example listing -- PID` looks into the namespace of that process, for which it needs root, and changes
//! nothing there. Without an argument it makes a namespace of its own, with one chain in it.

use std::error::Error;

use nftwire::expr::Counter;
use nftwire::{Batch, Chain, Family, Namespace, Position, Rule, Socket, Table};
use nix::sched::{CloneFlags, unshare};

fn main() -> Result<(), Box<dyn Error>> {
    let mut socket = match std::env::args().nth(1) {
        Some(process) => Socket::open_in(&Namespace::from_pid(process.parse()?)?)?,
        None => own_namespace()?,
    };
    // All dumps are of one generation of the ruleset, or they are read again.
    let (generation, lines) = socket.consistent(|socket| {
        let (mut tables, mut lines) = (Vec::new(), Vec::new());
        socket.tables(Family::Unspec, |table| {
            tables.push((table.family, table.name.to_name()));
            Ok(())
        })?;
        for (family, name) in tables {
            lines.push(format!("table {family} {name}"));
            socket.rules(family, Some((&name).into()), |rule| {
                let names = rule.expressions().map(|expression| Ok(expression?.name().to_owned()));
                let names = names.collect::<Result<Vec<_>, nftwire::Error>>()?.join(", ");
                lines.push(format!("  chain {}, rule {}: {names}", rule.chain, rule.handle));
                Ok(())
            })?;
        }
        Ok(lines)
    })?;
    println!("generation {generation}");
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

/// A socket in a new namespace that holds a table, a chain and a rule.
fn own_namespace() -> Result<Socket, Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Inet, "example"));
    batch.add_chain(&Chain::new(Family::Inet, "example", "seen"));
    batch.add_rule(
        &Rule::new(Family::Inet, "example", "seen"),
        Position::Append,
        &[Counter::default().into()],
    );
    let mut socket = Socket::open()?;
    socket.commit(&mut batch)?;
    Ok(socket)
}

//! What a refusal contains: which object of the batch, which expression of the rule, and the kernel's reason. Nothing of the
//! batch is applied.
//!
//! It works in a network namespace of its own, which ends with it, and needs no root where user namespaces are allowed:
//! `cargo run --example refused`

use std::error::Error;

use nftwire::expr::{Counter, Lookup, Meta, MetaKey};
use nftwire::{Batch, Chain, Family, Position, Register, Rule, Socket, Table, expr::Access};
use nix::sched::{CloneFlags, unshare};

fn main() -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;

    let (family, table) = (Family::Inet, "guard");
    let mut batch = Batch::new();
    batch.add_table(&Table::new(family, table));
    batch.add_chain(&Chain::new(family, table, "input"));
    let expressions = [
        Counter::default().into(),
        Meta { key: MetaKey::Mark, access: Access::Load(Register::R1) }.into(),
        // There is no such set.
        Lookup { set: "banned".into(), set_id: 0, sreg: Register::R1, dreg: None, inverted: false }.into(),
    ];
    batch.add_rule(&Rule::new(family, table, "input"), Position::Append, &expressions);

    let mut socket = Socket::open()?;
    match socket.commit(&mut batch) {
        Err(nftwire::Error::Refused(refusal)) => println!("{refusal}"),
        other => return Err(format!("expected a refusal, not {other:?}").into()),
    }
    let mut tables = 0;
    socket.tables(Family::Unspec, |_| {
        tables += 1;
        Ok(())
    })?;
    println!("{tables} tables are there");
    Ok(())
}

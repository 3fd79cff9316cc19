//! A table, a set, a chain and a rule in one transaction: the kernel takes all of it or nothing.
//!
//! It works in a network namespace of its own, which ends with it, and needs no root where user namespaces are allowed:
//! `cargo run --example atomic`

use std::error::Error;

use nftwire::expr::{Counter, Immediate, Lookup, Payload, PayloadAction, PayloadBase};
use nftwire::{
    BaseChain, Batch, Chain, Data, Element, ElementList, Family, Hook, Position, Register, Rule, Set,
};
use nftwire::{Socket, Table, Verdict};
use nix::sched::{CloneFlags, unshare};

fn main() -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;

    // nft: table ip guard { set banned { … } chain input { … ip saddr @banned counter drop } }
    let (family, table) = (Family::Ipv4, "guard");
    let mut batch = Batch::new();
    batch.add_table(&Table::new(family, table));
    let id = batch.take_set_id();
    batch.add_set(&Set { id, ..Set::new(family, table, "banned", 4) });
    let banned = [[192, 0, 2, 1], [198, 51, 100, 7]].map(|address| Element::new(Data::new(&address)));
    batch.add_elements(&ElementList::new(family, table, "banned", id), &banned);
    let base = BaseChain { kind: "filter", hook: Hook::LocalIn, priority: 0, policy: None };
    batch.add_chain(&Chain { base: Some(base), ..Chain::new(family, table, "input") });
    // Bytes 12 to 15 of an IPv4 header are its source address.
    let action = PayloadAction::Load(Register::R1);
    let expressions = [
        Payload { base: PayloadBase::Network, offset: 12, len: 4, action }.into(),
        Lookup { set: "banned".into(), set_id: id, sreg: Register::R1, dreg: None, inverted: false }.into(),
        Counter::default().into(),
        Immediate::Verdict(Verdict::Drop).into(),
    ];
    batch.add_rule(&Rule::new(family, table, "input"), Position::Append, &expressions);
    let commit = Socket::open()?.commit(&mut batch)?;

    println!("{} objects in {} bytes, one commit, {:?}", commit.messages, commit.bytes, commit.elapsed);
    Ok(())
}

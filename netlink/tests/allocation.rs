//! A warm batch does not allocate: a refill uses what the first one has allocated.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use nftwire::expr::{
    Access, Bitwise, Cmp, CmpOp, Counter, Immediate, Lookup, Meta, MetaKey, Operation, Redir,
};
use nftwire::{
    BaseChain, Batch, Chain, Data, Element, ElementData, ElementList, Expr, Family, Hook, Policy, Position,
    Register, Rule, Set, SetFlags, Socket, Table, Verdict,
};

const FAMILY: Family = Family::Inet;

/// A mesh's transaction in small: everything that a batch can hold.
fn fill(batch: &mut Batch) {
    batch.add_table(&Table::new(FAMILY, "mesh"));
    batch.flush_table(FAMILY, "mesh");
    let base = BaseChain { kind: "nat", hook: Hook::LocalOut, priority: -100, policy: Some(Policy::Accept) };
    batch.add_chain(&Chain { base: Some(base), ..Chain::new(FAMILY, "mesh", "output") });
    batch.add_chain(&Chain::new(FAMILY, "mesh", "redirect"));
    let id = batch.take_set_id();
    batch.add_set(&Set { id, flags: SetFlags::MAP, ..Set::new(FAMILY, "mesh", "__map%d", 4) });
    let elements: [Element<'_>; 64] = std::array::from_fn(|number| {
        let data = Some(ElementData::Verdict(Verdict::Jump("redirect".into())));
        Element { data, ..Element::new(Data::new(&[10, 0, 0, u8::try_from(number).unwrap()])) }
    });
    batch.add_elements(&ElementList::new(FAMILY, "mesh", "__map%d", id), &elements);
    batch.del_elements(&ElementList::new(FAMILY, "mesh", "__map%d", id), &elements);
    for port in 15_000..15_100 {
        batch.add_rule(&Rule::new(FAMILY, "mesh", "output"), Position::Append, &expressions(id, port));
    }
    batch.del_rule(FAMILY, "mesh", "output", 7);
    batch.del_set(FAMILY, "mesh", "old");
    batch.del_chain(FAMILY, "mesh", "old");
    batch.del_table(FAMILY, "old");
}

fn expressions(set_id: u32, port: u16) -> [Expr<'static>; 8] {
    let (sreg, dreg) = (Register::R1, Register::R1);
    let operation = Operation::MaskXor { mask: Data::ne32(0xff), xor: Data::zero(4) };
    [
        Meta { key: MetaKey::OifName, access: Access::Load(dreg) }.into(),
        Cmp { sreg, op: CmpOp::Neq, data: Data::interface("lo") }.into(),
        Bitwise { sreg, dreg, len: 4, operation }.into(),
        Lookup { set: "__map%d".into(), set_id, sreg, dreg: Some(Register::VERDICT), inverted: false }.into(),
        Counter::default().into(),
        Immediate::Value { dreg, data: Data::be16(port) }.into(),
        Redir { proto_min: Some(sreg), proto_max: Some(sreg), flags: 2 }.into(),
        Immediate::Verdict(Verdict::Jump("redirect".into())).into(),
    ]
}

#[test]
fn a_warm_batch_does_not_allocate() {
    let mut batch = Batch::new();
    let cold = allocation_counter::measure(|| fill(&mut batch));
    assert!(cold.count_total > 0, "the counter counts nothing");
    let (messages, bytes) = (batch.messages(), batch.len());

    for _ in 0..3 {
        let warm = allocation_counter::measure(|| {
            batch.clear();
            fill(&mut batch);
        });
        assert_eq!((warm.count_total, warm.bytes_total), (0, 0));
        assert_eq!((batch.messages(), batch.len()), (messages, bytes));
    }
}

#[test]
fn a_batch_that_requires_a_generation_does_not_allocate_either() {
    let mut batch = Batch::new();
    batch.require_generation(1);
    fill(&mut batch);
    let warm = allocation_counter::measure(|| {
        batch.clear();
        batch.require_generation(2);
        fill(&mut batch);
    });
    assert_eq!(warm.count_total, 0);
}

/// Nor does the socket that sends it and reads the answers.
#[test]
fn a_warm_commit_does_not_allocate() {
    meshwire_testkit::in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = Batch::new();
        let mut fill = |socket: &mut Socket| {
            batch.clear();
            batch.add_table(&Table::new(FAMILY, "mesh"));
            batch.add_chain(&Chain::new(FAMILY, "mesh", "output"));
            batch.flush_table(FAMILY, "mesh");
            let accept = [Immediate::Verdict(Verdict::Accept).into()];
            batch.add_rule(&Rule::new(FAMILY, "mesh", "output"), Position::Append, &accept);
            socket.commit(&mut batch).map(drop)
        };
        fill(&mut socket).unwrap();
        let mut outcome = Ok(());
        let warm = allocation_counter::measure(|| outcome = fill(&mut socket));
        outcome.unwrap();
        assert_eq!(warm.count_total, 0);
    });
}

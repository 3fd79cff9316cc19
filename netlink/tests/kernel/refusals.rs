//! A refusal names the message, the attribute and the expression that it concerns.

use nftwire::{Location, SetFlags, uapi};
use nix::errno::Errno;

use super::*;
use meshwire_testkit::in_new_namespace;

const ENOENT: i32 = Errno::ENOENT as i32;

fn lookup(set: &str) -> Expr<'_> {
    let sreg = nftwire::Register::R1;
    expr::Lookup { set: set.into(), set_id: 0, sreg, dreg: None, inverted: false }.into()
}

fn load_mark() -> Expr<'static> {
    let access = expr::Access::Load(nftwire::Register::R1);
    expr::Meta { key: expr::MetaKey::Mark, access }.into()
}

fn counter() -> Expr<'static> {
    expr::Counter::default().into()
}

#[track_caller]
fn assert_expression(refusal: &Refusal, message: usize, errno: Errno, index: usize, name: &str) {
    let expression = Some((index, name.to_owned()));
    let location = Location {
        attribute: Some((uapi::NFTA_RULE_EXPRESSIONS, "expressions")),
        expression,
        ..Location::default()
    };
    assert_eq!(
        (refusal.message, Errno::from_raw(refusal.errno), &refusal.location),
        (Some(message), errno, &location)
    );
}

/// The refusal of a batch whose third message is a rule of these expressions in a chain at prerouting.
fn refused_rule(expressions: &[Expr<'_>]) -> Refusal {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(FAMILY, TABLE));
    batch.add_chain(&base_chain(INPUT, "filter", Hook::PreRouting, 0));
    batch.add_rule(&rule(INPUT), Position::Append, expressions);
    batch.add_chain(&Chain::new(FAMILY, TABLE, "after"));
    let mut socket = Socket::open().unwrap();
    let refusal = refused(&mut socket, &mut batch);
    assert!(tables(&mut socket).is_empty());
    refusal
}

#[test]
fn a_lookup_in_an_unknown_set() {
    in_new_namespace(|| {
        let refusal = refused_rule(&[counter(), counter(), lookup("nowhere"), counter()]);
        assert_expression(&refusal, 2, Errno::ENOENT, 2, "lookup");
        assert_eq!(
            refusal.to_string(),
            "the kernel refused message 2 of the transaction, expression 3 (lookup): ENOENT: No such file or directory"
        );
    });
}

#[test]
fn a_jump_to_an_unknown_chain() {
    in_new_namespace(|| {
        let refusal = refused_rule(&[counter(), verdict(Verdict::Jump("nowhere".into()))]);
        assert_expression(&refusal, 2, Errno::ENOENT, 1, "immediate");
    });
}

#[test]
fn an_expression_that_the_kernel_does_not_know() {
    in_new_namespace(|| {
        let unknown = expr::Unknown { name: "meshwire_has_none", attributes: &[] };
        let refusal = refused_rule(&[counter(), Expr::Unknown(unknown)]);
        assert_expression(&refusal, 2, Errno::ENOENT, 1, "meshwire_has_none");
    });
}

#[test]
fn a_value_that_is_not_valid() {
    in_new_namespace(|| {
        // An operation on no bytes.
        let (sreg, dreg) = (nftwire::Register::R1, nftwire::Register::R1);
        let operation = expr::Operation::MaskXor { mask: Data::zero(0), xor: Data::zero(0) };
        let bitwise = expr::Bitwise { sreg, dreg, len: 0, operation };
        let refusal = refused_rule(&[counter(), load_mark(), bitwise.into()]);
        assert_expression(&refusal, 2, Errno::EINVAL, 2, "bitwise");
    });
}

/// Whether a statement fits its chain is looked at when all is committed, once more rule by rule: the refusal names the
/// rule and nothing inside it.
#[test]
fn a_statement_in_a_chain_of_the_wrong_type() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_rule(&rule(INPUT), Position::Append, &[counter()]);
        batch.add_rule(&rule(INPUT), Position::Append, &[counter(), expr::Redir::default().into()]);
        batch.add_rule(&rule(INPUT), Position::Append, &[counter()]);
        let refusal = refused(&mut socket, &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(3), Errno::EOPNOTSUPP as i32));
        assert_eq!(refusal.location, Location::default());
        assert!(tables(&mut socket).is_empty());
    });
}

/// A check sees as much where the table exists. Not all kernels see it in a new table.
#[test]
fn a_check_of_a_statement_in_a_chain_of_the_wrong_type() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        socket.commit(&mut table_and_chain()).unwrap();
        let mut batch = table_and_chain();
        batch.add_rule(&rule(INPUT), Position::Append, &[expr::Redir::default().into()]);
        let Err(Error::Refused(refusal)) = socket.check(&mut batch) else { panic!("not refused") };
        assert_eq!((refusal.message, refusal.errno), (Some(2), Errno::EOPNOTSUPP as i32));
        assert!(rules(&mut socket, INPUT).is_empty());
    });
}

#[test]
fn a_chain_in_an_unknown_table() {
    in_new_namespace(|| {
        let mut batch = Batch::new();
        batch.add_table(&Table::new(FAMILY, TABLE));
        batch.add_chain(&Chain::new(FAMILY, "nowhere", "c"));
        let refusal = refused(&mut Socket::open().unwrap(), &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(1), ENOENT));
        let location = Location { attribute: Some((uapi::NFTA_CHAIN_TABLE, "table")), ..Location::default() };
        assert_eq!(refusal.location, location);
        assert_eq!(
            refusal.to_string(),
            "the kernel refused message 1 of the transaction, attribute 1 (table): ENOENT: No such file or directory"
        );
    });
}

#[test]
fn what_is_deleted_twice() {
    in_new_namespace(|| {
        let mut batch = table_and_chain();
        batch.del_chain(FAMILY, TABLE, "nowhere");
        let mut socket = Socket::open().unwrap();
        let refusal = refused(&mut socket, &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(2), ENOENT));
        let mut batch = table_and_chain();
        batch.del_rule(FAMILY, TABLE, INPUT, 4711);
        let refusal = refused(&mut socket, &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(2), ENOENT));
        assert_eq!(refusal.location.attribute, Some((uapi::NFTA_RULE_HANDLE, "handle")));
        let mut batch = table_and_chain();
        batch.del_set(FAMILY, TABLE, "nowhere");
        let refusal = refused(&mut socket, &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(2), ENOENT));
        assert_eq!(refusal.location.attribute, Some((uapi::NFTA_SET_NAME, "name")));
        let mut batch = Batch::new();
        batch.del_table(FAMILY, "nowhere");
        let refusal = refused(&mut socket, &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(0), ENOENT));
    });
}

#[test]
fn a_chain_of_an_unknown_type() {
    in_new_namespace(|| {
        let mut batch = table_and_chain();
        batch.add_chain(&base_chain("odd", "meshwire", Hook::LocalIn, 0));
        let refusal = refused(&mut Socket::open().unwrap(), &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(2), ENOENT));
    });
}

#[test]
fn the_first_of_several_refusals() {
    in_new_namespace(|| {
        let mut batch = table_and_chain();
        for set in ["first", "second", "third"] {
            batch.add_rule(&rule(INPUT), Position::Append, &[lookup(set)]);
            batch.add_chain(&Chain::new(FAMILY, "nowhere", set));
        }
        let refusal = refused(&mut Socket::open().unwrap(), &mut batch);
        assert_expression(&refusal, 2, Errno::ENOENT, 0, "lookup");
    });
}

/// Message number `k` is refused, wherever it is, in a batch that is larger than one read of answers.
#[test]
fn every_message_is_told_by_its_number() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        for k in [2, 3, 17, 500, 999] {
            let mut batch = table_and_chain();
            for message in 2..1000 {
                let set = if message == k { "nowhere" } else { "set" };
                if message == 2 && k != 2 {
                    batch.add_set(&Set { id: 1, ..Set::new(FAMILY, TABLE, "set", 4) });
                } else {
                    batch.add_rule(&rule(INPUT), Position::Append, &[load_mark(), lookup(set)]);
                }
            }
            assert_eq!(batch.messages(), 1000);
            let refusal = refused(&mut socket, &mut batch);
            assert_expression(&refusal, k, Errno::ENOENT, 1, "lookup");
        }
    });
}

/// More refusals than the receive buffer holds: what was lost makes no success of it, and the first is among the rest.
#[test]
fn more_refusals_than_the_socket_holds() {
    in_new_namespace(|| {
        let mut batch = table_and_chain();
        for _ in 0..20_000 {
            batch.add_rule(&rule(INPUT), Position::Append, &[lookup("nowhere")]);
        }
        let refusal = refused(&mut Socket::open().unwrap(), &mut batch);
        assert_expression(&refusal, 2, Errno::ENOENT, 0, "lookup");
    });
}

/// The answer does not repeat a message that would not fit into the receive buffer.
#[test]
fn a_refusal_of_a_large_message() {
    in_new_namespace(|| {
        let mut batch = table_and_chain();
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "nowhere", 0), keys(3_000));
        assert_eq!(batch.messages(), 3);
        assert!(batch.len() > 40_000);
        let refusal = refused(&mut Socket::open().unwrap(), &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(2), ENOENT));
    });
}

#[test]
fn a_name_that_is_too_long_fails_with_the_kernels_errno() {
    in_new_namespace(|| {
        let name = "n".repeat(uapi::NFT_NAME_MAXLEN);
        let mut batch = table_and_chain();
        batch.add_chain(&Chain::new(FAMILY, TABLE, &name));
        let refusal = refused(&mut Socket::open().unwrap(), &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(2), Errno::ERANGE as i32));
        // Up to 6.12 the kernel does not report which one it was; 6.18 does.
        let with_attribute = "the kernel refused message 2 of the transaction, attribute 3 (name): ERANGE: Math result not representable \
                    (Attribute failed policy validation)";
        let without =
            "the kernel refused message 2 of the transaction: ERANGE: Math result not representable";
        let (attribute, said) = (refusal.location.attribute, refusal.to_string());
        let of_each = [(Some((uapi::NFTA_CHAIN_NAME, "name")), with_attribute), (None, without)];
        assert!(of_each.contains(&(attribute, said.as_str())), "{attribute:?}: {said}");
        batch.clear();
        batch.add_table(&Table::new(FAMILY, &name[1..]));
        Socket::open().unwrap().commit(&mut batch).unwrap();
    });
}

#[test]
fn more_expressions_than_a_rule_may_hold() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let expressions = vec![counter(); uapi::NFT_RULE_MAXEXPRS + 1];
        let mut batch = table_and_chain();
        batch.add_rule(&rule(INPUT), Position::Append, &expressions);
        let refusal = refused(&mut socket, &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(2), Errno::EINVAL as i32));
        assert_eq!(refusal.location, Location::default());
        let mut batch = table_and_chain();
        batch.add_rule(&rule(INPUT), Position::Append, &expressions[1..]);
        socket.commit(&mut batch).unwrap();
    });
}

/// A loop is reported with the rule that closes it.
#[test]
fn a_loop_of_jumps() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_chain(&Chain::new(FAMILY, TABLE, "loop"));
        batch.add_rule(&rule(INPUT), Position::Append, &[verdict(Verdict::Jump("loop".into()))]);
        batch.add_rule(&rule("loop"), Position::Append, &[verdict(Verdict::Jump("loop".into()))]);
        let refusal = refused(&mut socket, &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(4), Errno::EMLINK as i32));
        assert_eq!(refusal.location, Location::default());
        assert!(tables(&mut socket).is_empty());
    });
}

#[test]
fn an_element_of_the_wrong_length() {
    in_new_namespace(|| {
        let mut batch = table_and_chain();
        batch.add_set(&Set { id: 1, ..Set::new(FAMILY, TABLE, "s", 4) });
        let elements = [Element::new(Data::zero(4)), Element::new(Data::zero(5))];
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "s", 1), &elements);
        let refusal = refused(&mut Socket::open().unwrap(), &mut batch);
        assert_eq!((refusal.message, refusal.errno), (Some(3), Errno::EINVAL as i32));
        assert_eq!(refusal.location.attribute, Some((uapi::NFTA_SET_ELEM_LIST_ELEMENTS, "elements")));
    });
}

#[test]
fn a_set_that_exists_with_other_flags() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let set = Set { id: 1, ..Set::new(FAMILY, TABLE, "s", 4) };
        let mut batch = table_and_chain();
        batch.add_set(&set);
        socket.commit(&mut batch).unwrap();
        batch.clear();
        batch.add_set(&Set { flags: SetFlags::INTERVAL, ..set });
        match socket.commit(&mut batch) {
            Err(Error::Refused(refusal)) => assert_eq!(refusal.message, Some(0)),
            // Before 6.2 (commit f6594c372afd) it was taken, and changed nothing.
            Ok(_) => socket
                .sets(FAMILY, Some(TABLE.into()), |set| {
                    assert_eq!(set.flags, SetFlags::default());
                    Ok(())
                })
                .unwrap(),
            Err(error) => panic!("{error}"),
        }
    });
}

/// What was refused does not disturb what comes next over the same socket.
#[test]
fn the_socket_works_on_after_a_refusal() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.del_chain(FAMILY, TABLE, "nowhere");
        refused(&mut socket, &mut batch);
        socket.commit(&mut table_and_chain()).unwrap();
        assert_eq!(tables(&mut socket), [TABLE]);
    });
}

//! Where rules go, and what goes away.

use super::*;
use meshwire_testkit::in_new_namespace;

fn counter(packets: u64) -> [Expr<'static>; 1] {
    [expr::Counter { packets, bytes: 0 }.into()]
}

/// The counters of a chain's rules, in order, and their handles.
fn counters(socket: &mut Socket) -> Vec<(u64, u64)> {
    let mut read = Vec::new();
    socket
        .rules(FAMILY, Some(TABLE.into()), |rule| {
            for expression in rule.expressions() {
                let Expr::Counter(counter) = expression? else { panic!("no counter") };
                read.push((counter.packets, rule.handle));
            }
            Ok(())
        })
        .unwrap();
    read
}

fn order(socket: &mut Socket) -> Vec<u64> {
    counters(socket).iter().map(|&(packets, _)| packets).collect()
}

fn handle(socket: &mut Socket, of: u64) -> u64 {
    counters(socket).iter().find(|&&(packets, _)| packets == of).unwrap().1
}

#[test]
fn places_in_a_chain() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        for packets in [1, 2, 3] {
            batch.add_rule(&rule(INPUT), Position::Append, &counter(packets));
        }
        socket.commit(&mut batch).unwrap();
        assert_eq!(order(&mut socket), [1, 2, 3]);
        let second = handle(&mut socket, 2);

        batch.clear();
        batch.add_rule(&rule(INPUT), Position::Prepend, &counter(0));
        batch.add_rule(&rule(INPUT), Position::Before(second), &counter(10));
        batch.add_rule(&rule(INPUT), Position::After(second), &counter(20));
        batch.add_rule(&rule(INPUT), Position::Append, &counter(4));
        socket.commit(&mut batch).unwrap();
        assert_eq!(order(&mut socket), [0, 1, 10, 2, 20, 3, 4]);

        batch.clear();
        batch.add_rule(&rule(INPUT), Position::Replace(second), &counter(22));
        let last = handle(&mut socket, 4);
        batch.del_rule(FAMILY, TABLE, INPUT, last);
        socket.commit(&mut batch).unwrap();
        assert_eq!(order(&mut socket), [0, 1, 10, 22, 20, 3]);

        batch.clear();
        batch.flush_table(FAMILY, TABLE);
        socket.commit(&mut batch).unwrap();
        assert!(counters(&mut socket).is_empty());
        assert_eq!(tables(&mut socket), [TABLE]);
    });
}

/// One batch: what exists is removed, what is desired is added, whether anything existed or not.
#[test]
fn a_ruleset_is_replaced_in_one_batch() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        for packets in [1, 2] {
            let mut batch = table_and_chain();
            batch.flush_table(FAMILY, TABLE);
            batch.add_chain(&Chain::new(FAMILY, TABLE, "old"));
            batch.del_chain(FAMILY, TABLE, "old");
            batch.add_rule(&rule(INPUT), Position::Append, &counter(packets));
            batch.add_table(&Table::new(FAMILY, "old"));
            batch.del_table(FAMILY, "old");
            socket.commit(&mut batch).unwrap();
            assert_eq!(order(&mut socket), [packets]);
            assert_eq!(tables(&mut socket), [TABLE]);
        }
    });
}

#[test]
fn sets_and_elements_come_and_go() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        let id = batch.take_set_id();
        batch.add_set(&Set { id, ..Set::new(FAMILY, TABLE, "s", 4) });
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "s", id), keys(3));
        socket.commit(&mut batch).unwrap();
        assert_eq!(count(&mut socket, "s"), 3);

        // An element is replaced, absent or present: added, deleted, added.
        let one = keys(1);
        let list = ElementList::new(FAMILY, TABLE, "s", 0);
        batch.clear();
        batch.add_elements(&list, &one);
        batch.del_elements(&list, &one);
        batch.add_elements(&list, &one);
        batch.del_elements(&list, &keys(3)[1..]);
        socket.commit(&mut batch).unwrap();
        assert_eq!(count(&mut socket, "s"), 1);

        batch.clear();
        batch.del_set(FAMILY, TABLE, "s");
        socket.commit(&mut batch).unwrap();
        let gone = socket.elements(FAMILY, TABLE, "s", |_| Ok(()));
        assert!(
            matches!(gone, Err(Error::Refused(refusal)) if refusal.errno == nix::errno::Errno::ENOENT as i32)
        );
    });
}

/// An anonymous set: the set, its elements and the rule in one batch, under a name that the kernel gives.
#[test]
fn an_anonymous_map_of_verdicts() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_chain(&Chain::new(FAMILY, TABLE, "other"));
        let id = batch.take_set_id();
        let flags = nftwire::SetFlags::ANONYMOUS | nftwire::SetFlags::CONSTANT | nftwire::SetFlags::MAP;
        let set = Set { id, flags, data_type: 0xffff_ff00, ..Set::new(FAMILY, TABLE, "__map%d", 4) };
        batch.add_set(&set);
        let data = Some(ElementData::Verdict(Verdict::Goto("other".into())));
        let element = Element { data, ..Element::new(Data::ne32(1337)) };
        batch.add_elements(&ElementList::new(FAMILY, TABLE, set.name, id), std::slice::from_ref(&element));
        let (sreg, dreg) = (nftwire::Register::R1, Some(nftwire::Register::VERDICT));
        let mark = expr::Meta { key: expr::MetaKey::Mark, access: expr::Access::Load(sreg) };
        let lookup = expr::Lookup { set: set.name, set_id: id, sreg, dreg, inverted: false };
        batch.add_rule(&rule(INPUT), Position::Append, &[mark.into(), lookup.into()]);
        socket.commit(&mut batch).unwrap();

        let mut names = Vec::new();
        socket
            .sets(FAMILY, Some(TABLE.into()), |read| {
                assert_eq!((read.flags, read.key_len, read.data_type), (flags, 4, 0xffff_ff00));
                names.push(read.name.to_name());
                Ok(())
            })
            .unwrap();
        assert_eq!(names, ["__map0"]);
        let mut seen = 0;
        socket
            .elements(FAMILY, TABLE, "__map0", |list| {
                for read in list.elements() {
                    assert_eq!(read?, element);
                    seen += 1;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 1);
        socket
            .rules(FAMILY, Some(TABLE.into()), |rule| {
                // The dump has its present name, and no number.
                let expected = expr::Lookup { set: "__map0".into(), set_id: 0, ..lookup };
                assert_eq!(rule.expressions().nth(1), Some(Ok(expected.into())));
                Ok(())
            })
            .unwrap();
    });
}

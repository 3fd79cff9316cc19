//! Large transactions: elements over several messages, a send buffer that has to grow, lengths that cannot be encoded.

use super::*;
use meshwire_testkit::in_new_namespace;

/// What the kernel takes of one transaction without being asked for a larger buffer.
const DEFAULT_SEND_BUFFER: usize = 212_960;

fn set() -> Set<'static> {
    Set { id: 1, ..Set::new(FAMILY, TABLE, "s", 4) }
}

#[test]
fn a_hundred_thousand_elements_in_one_commit() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_set(&set());
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "s", 1), keys(100_000));
        assert!(batch.len() > 10 * DEFAULT_SEND_BUFFER / 2);
        // The table, its chain, the set, and many messages of elements.
        assert!(batch.messages() > 20);
        let commit = socket.commit(&mut batch).unwrap();
        assert_eq!(commit.messages, batch.messages());
        assert_eq!(count(&mut socket, "s"), 100_000);

        batch.clear();
        batch.del_elements(&ElementList::new(FAMILY, TABLE, "s", 0), keys(99_999));
        socket.commit(&mut batch).unwrap();
        let mut left = Vec::new();
        socket
            .elements(FAMILY, TABLE, "s", |list| {
                for element in list.elements() {
                    left.push(element?.key);
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(left, [Data::new(&99_999u32.to_be_bytes())]);
    });
}

/// Ranges whose two ends land in two messages stay ranges.
#[test]
fn intervals_over_several_messages() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_set(&Set { flags: nftwire::SetFlags::INTERVAL, ..set() });
        let elements: Vec<_> = (0..20_000u32)
            .map(|end| Element {
                interval_end: end % 2 == 0,
                ..Element::new(Data::new(&(end * 16).to_be_bytes()))
            })
            .collect();
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "s", 1), &elements);
        assert!(batch.messages() > 5);
        socket.commit(&mut batch).unwrap();
        assert_eq!(count(&mut socket, "s"), elements.len());
    });
}

/// A batch of exactly `size` bytes, BATCH_END included: rules, padded with bytes for user space.
fn batch_of(size: usize) -> Batch {
    let mut batch = table_and_chain();
    let (batch_end, longest) = (20, nftwire::uapi::NFT_USERDATA_MAXLEN);
    let without_userdata = {
        let before = batch.len();
        batch.add_rule(&rule(INPUT), Position::Append, &[]);
        batch.len() - before + 4
    };
    loop {
        let left = size - batch_end - batch.len();
        if left == 0 {
            return batch;
        }
        // What is left for the rules after this one is nothing, or enough for one.
        let parts = left.div_ceil(without_userdata + longest);
        let userdata = (left / parts - without_userdata) / 4 * 4;
        let mut rule = rule(INPUT);
        rule.userdata = &[7; 256][..userdata];
        batch.add_rule(&rule, Position::Append, &[]);
    }
}

/// The largest batch that the default buffer takes, and one of four bytes more.
#[test]
fn a_send_buffer_that_grows() {
    in_new_namespace(|| {
        for size in [DEFAULT_SEND_BUFFER, DEFAULT_SEND_BUFFER + 4, 2_000_000] {
            let mut batch = batch_of(size);
            let commit = Socket::open().unwrap().commit(&mut batch).unwrap();
            assert_eq!(commit.bytes, size);
            let mut socket = Socket::open().unwrap();
            assert_eq!(rules(&mut socket, INPUT).len() + 2, commit.messages);
            let mut clean = Batch::new();
            clean.del_table(FAMILY, TABLE);
            socket.commit(&mut clean).unwrap();
        }
    });
}

/// More than SO_SNDBUF grants: SO_SNDBUFFORCE does, whatever net.core.wmem_max says.
#[test]
fn a_send_buffer_beyond_the_limit() {
    // Older kernels report it in the initial network namespace only.
    let Ok(limit) = std::fs::read_to_string("/proc/sys/net/core/wmem_max") else {
        meshwire_testkit::skip("net.core.wmem_max cannot be read");
        return;
    };
    let limit: usize = limit.trim().parse().unwrap();
    in_new_namespace(|| {
        let size = (2 * limit).next_multiple_of(4) + 1_000;
        assert_eq!(Socket::open().unwrap().commit(&mut batch_of(size)).unwrap().bytes, size);
    });
}

#[test]
fn a_socket_whose_send_buffer_has_grown_sends_small_and_larger_ones() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        for size in [300_000, 2_000, 600_000] {
            assert_eq!(socket.commit(&mut batch_of(size)).unwrap().bytes, size);
        }
    });
}

#[test]
fn an_attribute_that_is_too_long() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        let counters = vec![expr::Counter::default().into(); 2_000];
        batch.add_rule(&rule(INPUT), Position::Append, &counters);
        batch.add_chain(&Chain::new(FAMILY, TABLE, "after"));
        for _ in 0..2 {
            let Err(error) = socket.commit(&mut batch) else { panic!("committed") };
            assert!(matches!(error, Error::AttributeTooLong { message: 2 }), "{error:?}");
            assert_eq!(
                error.to_string(),
                "message 2 of the transaction has an attribute of more than 65,535 bytes"
            );
        }
        assert!(matches!(socket.check(&mut batch), Err(Error::AttributeTooLong { message: 2 })));
        assert!(tables(&mut socket).is_empty());
        // The batch can be used again.
        batch.clear();
        batch.add_table(&Table::new(FAMILY, TABLE));
        socket.commit(&mut batch).unwrap();
    });
}

/// A dump over many datagrams is complete and in order.
#[test]
fn a_dump_that_is_larger_than_the_receive_buffer() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        for packets in 0..5_000 {
            let counter = expr::Counter { packets, bytes: 0 }.into();
            batch.add_rule(&rule(INPUT), Position::Append, &[counter]);
        }
        socket.commit(&mut batch).unwrap();
        let mut read = Vec::new();
        socket
            .rules(FAMILY, Some(TABLE.into()), |rule| {
                for expression in rule.expressions() {
                    let Expr::Counter(counter) = expression? else { panic!("no counter") };
                    read.push(counter.packets);
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(read, (0..5_000).collect::<Vec<_>>());
    });
}

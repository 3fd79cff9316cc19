//! What was sent is read back, and a read that is torn apart says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nftwire::{DecodeError, Query, Reader, SetFlags, TableFlags};

use super::*;
use meshwire_testkit::in_new_namespace;

#[test]
fn tables_and_chains() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = Batch::new();
        let inet = Table { userdata: b"\x00\x05mesh\x00", ..Table::new(FAMILY, TABLE) };
        let dormant = Table { flags: TableFlags::DORMANT, ..Table::new(Family::Ipv6, "dormant") };
        batch.add_table(&inet);
        batch.add_table(&dormant);
        let base =
            BaseChain { kind: "filter", hook: Hook::Forward, priority: -7, policy: Some(Policy::Drop) };
        let chains = [
            Chain { base: Some(base), ..Chain::new(FAMILY, TABLE, "forward") },
            Chain::new(FAMILY, TABLE, "regular"),
            Chain::new(Family::Ipv6, "dormant", "größe"),
        ];
        chains.iter().for_each(|chain| batch.add_chain(chain));
        socket.commit(&mut batch).unwrap();

        let mut read = Vec::new();
        socket
            .tables(Family::Unspec, |table| {
                assert_ne!(table.handle, 0);
                let expected = if table.name == TABLE { inet } else { dormant };
                assert_eq!(Table { handle: 0, references: 0, ..table }, expected);
                read.push(table.name.to_name());
                Ok(())
            })
            .unwrap();
        assert_eq!(read, [TABLE, "dormant"]);

        let mut read = 0;
        socket
            .chains(Family::Unspec, |chain| {
                assert_ne!(chain.handle, 0);
                assert_eq!(Chain { handle: 0, references: 0, ..chain }, chains[read]);
                read += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(read, chains.len());
        // Of one family only.
        let mut names = Vec::new();
        socket
            .chains(Family::Ipv6, |chain| {
                names.push(chain.name.to_name());
                Ok(())
            })
            .unwrap();
        assert_eq!(names, ["größe"]);
    });
}

/// The kernel takes names that are empty, and what somebody else made has to be read.
#[test]
fn names_that_are_empty() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = Batch::new();
        batch.add_table(&Table::new(FAMILY, ""));
        batch.add_chain(&Chain::new(FAMILY, "", ""));
        batch.add_set(&Set { id: 1, ..Set::new(FAMILY, "", "", 4) });
        batch.add_elements(&ElementList::new(FAMILY, "", "", 1), keys(1));
        batch.add_rule(&Rule::new(FAMILY, "", ""), Position::Append, &[verdict(Verdict::Accept)]);
        socket.commit(&mut batch).unwrap();
        assert_eq!(tables(&mut socket), [""]);
        let mut seen = Vec::new();
        socket
            .chains(FAMILY, |chain| {
                seen.push(chain.name.len());
                Ok(())
            })
            .unwrap();
        socket
            .rules(FAMILY, None, |rule| {
                seen.push(rule.chain.len());
                Ok(())
            })
            .unwrap();
        socket
            .sets(FAMILY, None, |set| {
                seen.push(set.name.len());
                Ok(())
            })
            .unwrap();
        socket
            .elements(FAMILY, "", "", |list| {
                seen.extend(list.elements().map(|_| list.set.len()));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [0; 4]);
    });
}

#[test]
fn a_base_chain_without_a_policy_accepts_or_keeps_its_own() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut policies = Vec::new();
        for policy in [None, Some(Policy::Drop), None] {
            let base = BaseChain { kind: "filter", hook: Hook::LocalIn, priority: 0, policy };
            let mut batch = Batch::new();
            batch.add_table(&Table::new(FAMILY, TABLE));
            batch.add_chain(&Chain { base: Some(base), ..Chain::new(FAMILY, TABLE, INPUT) });
            socket.commit(&mut batch).unwrap();
            socket
                .chains(FAMILY, |chain| {
                    policies.push(chain.base.and_then(|base| base.policy));
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(policies, [Some(Policy::Accept), Some(Policy::Drop), Some(Policy::Drop)]);
    });
}

#[test]
fn sets() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        let comment = b"\x00\x04web\x00";
        let new = |name, key_len| Set::new(FAMILY, TABLE, name, key_len);
        let sets = [
            Set { id: 1, key_type: 7, flags: SetFlags::INTERVAL, userdata: comment, ..new("intervals", 4) },
            Set {
                id: 2,
                key_type: 13,
                flags: SetFlags::TIMEOUT,
                size: 100,
                timeout: 3_600_000,
                ..new("timed", 2)
            },
            Set { id: 3, flags: SetFlags::MAP, data_type: 7, data_len: 4, ..new("map", 64) },
            Set {
                id: 4,
                flags: SetFlags::INTERVAL | SetFlags::CONCAT,
                fields: vec![16, 2],
                ..new("concatenation", 20)
            },
        ];
        sets.iter().for_each(|set| batch.add_set(set));
        socket.commit(&mut batch).unwrap();
        let mut read = 0;
        socket
            .sets(FAMILY, Some(TABLE.into()), |set| {
                assert_ne!(set.handle, 0);
                // The id is the batch's own.
                let expected = Set { id: 0, ..sets[read].clone() };
                assert_eq!(Set { handle: 0, ..set }, expected);
                read += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(read, sets.len());
    });
}

#[test]
fn elements() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        let flags = SetFlags::MAP | SetFlags::TIMEOUT;
        batch.add_set(&Set { id: 1, flags, data_len: 16, ..Set::new(FAMILY, TABLE, "map", 4) });
        let element = Element {
            data: Some(ElementData::Value(Data::from(std::net::Ipv6Addr::LOCALHOST))),
            timeout: 60_000,
            userdata: b"\x00\x04web\x00",
            ..Element::new(Data::new(&[0, 80, 0, 0]))
        };
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "map", 1), std::slice::from_ref(&element));
        let flags = SetFlags::INTERVAL | SetFlags::CONCAT;
        batch.add_set(&Set { id: 2, flags, fields: vec![4, 4], ..Set::new(FAMILY, TABLE, "ranges", 8) });
        let range = Element { key_end: Some(Data::new(&[9; 8])), ..Element::new(Data::new(&[1; 8])) };
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "ranges", 2), std::slice::from_ref(&range));
        socket.commit(&mut batch).unwrap();

        let mut seen = 0;
        socket
            .elements(FAMILY, TABLE, "map", |list| {
                assert_eq!((list.family, list.table, list.set), (FAMILY, TABLE.into(), "map".into()));
                for read in list.elements() {
                    let read = read?;
                    assert!((1..=60_000).contains(&read.expiration), "{}", read.expiration);
                    assert_eq!(Element { expiration: 0, ..read }, element);
                    seen += 1;
                }
                Ok(())
            })
            .unwrap();
        socket
            .elements(FAMILY, TABLE, "ranges", |list| {
                for read in list.elements() {
                    assert_eq!(read?, range);
                    seen += 1;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 2);
    });
}

#[test]
fn unknown_objects() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut nothing = 0;
        socket
            .rules(FAMILY, Some("nowhere".into()), |_| {
                nothing += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(nothing, 0);
        for result in [
            socket.sets(FAMILY, Some("nowhere".into()), |_| Ok(())),
            socket.elements(FAMILY, "nowhere", "s", |_| Ok(())),
        ] {
            let Err(Error::Refused(refusal)) = result else { panic!("{result:?}") };
            assert_eq!((refusal.message, refusal.errno), (None, nix::errno::Errno::ENOENT as i32));
        }
        assert!(tables(&mut socket).is_empty());
    });
}

/// A ruleset whose dump takes several datagrams.
fn large(socket: &mut Socket) {
    let mut batch = table_and_chain();
    for _ in 0..5_000 {
        batch.add_rule(&rule(INPUT), Position::Append, &[expr::Counter::default().into()]);
    }
    socket.commit(&mut batch).unwrap();
}

/// The reader's own error ends the dump, and what is left of it does not come up later.
#[test]
fn a_reader_that_gives_up() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        large(&mut socket);
        let mut calls = 0;
        let given_up = socket.rules(FAMILY, Some(TABLE.into()), |_| {
            calls += 1;
            Err(Error::Decode(DecodeError::MessageLength))
        });
        assert!(matches!(given_up, Err(Error::Decode(DecodeError::MessageLength))), "{given_up:?}");
        assert_eq!(calls, 1);
        assert_eq!(socket.generation().unwrap(), Socket::open().unwrap().generation().unwrap());
        assert_eq!(rules(&mut socket, INPUT).len(), 5_000);
        socket.commit(&mut table_and_chain()).unwrap();
    });
}

#[test]
fn a_ruleset_that_changes_under_the_reader() {
    in_new_namespace(|| {
        let (mut ours, mut others) = (Socket::open().unwrap(), Socket::open().unwrap());
        large(&mut ours);
        let mut disturb = true;
        let query = Query::Rules { table: Some(TABLE.into()), chain: None };
        let read = ours.dump(FAMILY, query, |received| {
            if std::mem::take(&mut disturb) {
                others.commit(&mut table_and_chain())?;
            }
            Ok(received.into_buffer())
        });
        assert!(matches!(read, Err(Error::GenerationChanged)), "{read:?}");
        assert_eq!(rules(&mut ours, INPUT).len(), 5_000);
    });
}

/// A change between two dumps tears them apart just as well.
#[test]
fn a_ruleset_that_changes_between_two_reads() {
    in_new_namespace(|| {
        let (mut ours, mut others) = (Socket::open().unwrap(), Socket::open().unwrap());
        let mut attempts = 0;
        let (_, names) = ours
            .consistent(|reader| {
                attempts += 1;
                if attempts == 1 {
                    others.commit(&mut table_and_chain())?;
                }
                let tables = reader.read(Family::Unspec, Query::Tables)?;
                let names = tables.decode(Table::decode).map(|table| Ok(table?.name.to_string()));
                names.collect::<Result<Vec<_>, Error>>()
            })
            .unwrap();
        assert_eq!((attempts, names), (2, vec![TABLE.to_owned()]));
        // An error of the reader's own is no reason to try again.
        let mut attempts = 0;
        let failed = ours.consistent(|_| {
            attempts += 1;
            Err::<(), _>(Error::Unconfirmed)
        });
        assert!(matches!(failed, Err(Error::Unconfirmed)));
        assert_eq!(attempts, 1);
    });
}

/// While others replace the ruleset again and again, every consistent read is one of their transactions, whole.
#[test]
fn reads_among_transactions() {
    const RULES: usize = 400;
    let replace = |socket: &mut Socket, packets| {
        let mut batch = table_and_chain();
        batch.flush_table(FAMILY, TABLE);
        for _ in 0..RULES {
            batch.add_rule(&rule(INPUT), Position::Append, &[expr::Counter { packets, bytes: 0 }.into()]);
        }
        socket.commit(&mut batch).map(drop)
    };
    in_new_namespace(|| {
        let (mut ours, mut others) = (Socket::open().unwrap(), Socket::open().unwrap());
        replace(&mut others, 0).unwrap();
        let done = AtomicBool::new(false);
        let (read, replaced) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for packets in (1..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    replace(&mut others, packets)?;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok::<_, Error>(())
            });
            // A hundred, and more where a busy machine keeps the writer from writing meanwhile.
            let mut all: Vec<(u32, Vec<u64>)> = Vec::new();
            let read = loop {
                match ours.consistent(counters) {
                    Ok(one) => all.push(one),
                    Err(error) => break Err(error),
                }
                let (count, generations) = (all.len(), all[all.len() - 1].0 - all[0].0);
                if count >= 100 && (generations > 10 || count >= 10_000) {
                    break Ok(all);
                }
            };
            done.store(true, Ordering::Relaxed);
            (read, writer.join().unwrap())
        });
        replaced.unwrap();
        let read = read.unwrap();
        for (_, counters) in &read {
            assert_eq!(counters.len(), RULES);
            assert!(counters.iter().all(|packets| *packets == counters[0]), "{counters:?}");
        }
        let (first, last) = (read[0].0, read[read.len() - 1].0);
        assert!(first + 10 < last, "only generations {first} to {last}");
    });
}

fn counters(reader: &mut Reader<'_>) -> Result<Vec<u64>, Error> {
    let mut counters = Vec::new();
    reader.rules(FAMILY, Some(TABLE.into()), |rule| {
        for expression in rule.expressions() {
            let Expr::Counter(counter) = expression? else { panic!("no counter") };
            counters.push(counter.packets);
        }
        Ok(())
    })?;
    Ok(counters)
}

//! Readings next to transactions that are only prepared: checks and refused batches, which shift a dump's position without
//! a new generation.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nftwire::{Dump, Query, Reader};

use super::*;
use meshwire_testkit::in_new_namespace;

const OTHER: &str = "other";

/// What everybody reads: two chains of rules whose dump takes many parts, chains and sets that take several, and a set
/// of many elements.
const RULES: [(&str, u32); 2] = [("first", 700), ("second", 1_300)];
const MORE: u32 = 700;
const ELEMENTS: u32 = 4_000;

fn ruleset() -> Batch {
    let mut batch = Batch::new();
    // Older than the table that is read: what is prepared in it is counted before.
    batch.add_table(&Table::new(FAMILY, OTHER));
    batch.add_chain(&Chain::new(FAMILY, OTHER, "c"));
    batch.add_table(&Table::new(FAMILY, TABLE));
    for (chain, rules) in RULES {
        batch.add_chain(&Chain::new(FAMILY, TABLE, chain));
        for _ in 0..rules {
            batch.add_rule(&rule(chain), Position::Append, &[expr::Counter::default().into()]);
        }
    }
    for number in 0..MORE {
        batch.add_chain(&Chain::new(FAMILY, TABLE, &format!("chain-{number}")));
        let id = batch.take_set_id();
        batch.add_set(&Set { id, ..Set::new(FAMILY, TABLE, &format!("set-{number}"), 4) });
    }
    let id = batch.take_set_id();
    batch.add_set(&Set { id, ..Set::new(FAMILY, TABLE, "large", 4) });
    batch.add_elements(&ElementList::new(FAMILY, TABLE, "large", id), keys(ELEMENTS));
    batch
}

/// Adds to everything that is read, and to another table; the results are ignored.
fn addition(count: u32) -> Batch {
    let mut batch = Batch::new();
    for number in 0..count {
        for (table, chain) in [(OTHER, "c"), (TABLE, "first"), (TABLE, "second")] {
            let rule = Rule::new(FAMILY, table, chain);
            batch.add_rule(&rule, Position::Prepend, &[expr::Counter::default().into()]);
        }
        batch.add_chain(&Chain::new(FAMILY, OTHER, &format!("new-{number}")));
        let id = batch.take_set_id();
        batch.add_set(&Set { id, ..Set::new(FAMILY, TABLE, &format!("new-{number}"), 4) });
    }
    let new: Vec<_> =
        (0..20 * count).map(|key| Element::new(Data::new(&(1_000_000 + key).to_be_bytes()))).collect();
    batch.add_elements(&ElementList::new(FAMILY, TABLE, "large", 0), &new);
    batch
}

fn count<T>(
    dump: &Dump,
    decode: impl Fn(&nftwire::Message<'_>) -> Result<T, nftwire::DecodeError>,
) -> Result<usize, Error> {
    dump.messages().try_fold(0, |count, message| decode(&message?).map(|_| count + 1).map_err(Error::from))
}

/// How much of everything a reading finds.
fn census(reader: &mut Reader<'_>) -> Result<[usize; 4], Error> {
    let rules = reader.read(FAMILY, Query::Rules { table: Some(TABLE.into()), chain: None })?;
    let chains = reader.read(FAMILY, Query::Chains)?;
    let sets = reader.read(FAMILY, Query::Sets { table: Some(TABLE.into()) })?;
    let elements = reader.read(FAMILY, Query::Elements { table: TABLE.into(), set: "large".into() })?;
    let mut found = 0;
    for list in elements.decode(ElementList::decode) {
        found += list?.elements().count();
    }
    Ok([
        count(&rules, |message| Rule::decode(message).map(drop))?,
        count(&chains, |message| Chain::decode(message).map(drop))?,
        count(&sets, |message| Set::decode(message).map(drop))?,
        found,
    ])
}

/// The same without a proof, to see that there is something to prove.
fn raw(socket: &mut Socket) -> Result<usize, Error> {
    let mut rules = 0;
    socket.dump(FAMILY, Query::Rules { table: Some(TABLE.into()), chain: None }, |received| {
        rules += received.messages().count();
        Ok(received.into_buffer())
    })?;
    Ok(rules)
}

/// Two check, and two send what is refused, while one reads: every reading is complete.
#[test]
fn readings_beside_checks_and_refused_batches() {
    let seconds = if std::env::var_os("MESHWIRE_TEST_FULL").is_some() { 60 } else { 5 };
    let rules: u32 = RULES.iter().map(|(_, rules)| rules).sum();
    let whole = [rules, MORE + 3, MORE + 1, ELEMENTS].map(|count| count as usize);
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        socket.commit(&mut ruleset()).unwrap();
        let (done, attempts) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (done, attempts) = (&done, &attempts);
                scope.spawn(move || {
                    let mut socket = Socket::open().unwrap();
                    let mut batch = addition(3 + 4 * number);
                    if number % 2 == 1 {
                        batch.del_table(FAMILY, "nowhere");
                    }
                    while !done.load(Ordering::Relaxed) {
                        let outcome = socket.check(&mut batch);
                        assert_eq!(outcome.is_err(), number % 2 == 1, "{outcome:?}");
                        attempts.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let started = Instant::now();
            let (mut readings, mut unproven) = (0, 0);
            let read = loop {
                match socket.consistent(census) {
                    Ok((_, found)) if found == whole => {}
                    other => break other.map(|(_, found)| found),
                }
                unproven += usize::from(raw(&mut socket).ok() != Some(whole[0]));
                readings += 1;
                // Where others keep the machine busy it takes longer until there were enough of both.
                let is_enough = readings > 5 && attempts.load(Ordering::Relaxed) > 20;
                let limit = if is_enough { seconds } else { seconds + 60 };
                if started.elapsed() > Duration::from_secs(limit) {
                    break Ok(whole);
                }
            };
            done.store(true, Ordering::Relaxed);
            let attempts = attempts.load(Ordering::Relaxed);
            println!(
                "{readings} readings during {attempts} attempts; {unproven} of as many raw dumps were torn"
            );
            assert_eq!(read.unwrap(), whole, "after {readings} readings");
            assert!(readings > 5 && attempts > 20, "{readings} readings, {attempts} attempts");
        });
        // Nothing of all that was committed.
        assert_eq!(socket.consistent(census).unwrap().1, whole);
    });
}

/// The kernel names the rule before each but the first, whatever was inserted, replaced and deleted.
#[test]
fn each_rule_names_the_one_before_it() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_chain(&Chain::new(FAMILY, TABLE, "other"));
        for position in [Position::Append, Position::Append, Position::Prepend, Position::Append] {
            batch.add_rule(&rule(INPUT), position, &[expr::Counter::default().into()]);
            batch.add_rule(&rule("other"), position, &[]);
        }
        socket.commit(&mut batch).unwrap();
        let handles: Vec<_> = rules(&mut socket, INPUT).into_iter().map(|(handle, _)| handle).collect();
        let mut batch = Batch::new();
        batch.del_rule(FAMILY, TABLE, INPUT, handles[1]);
        batch.add_rule(&rule(INPUT), Position::Before(handles[0]), &[]);
        batch.add_rule(&rule(INPUT), Position::Replace(handles[2]), &[]);
        batch.add_rule(&rule(INPUT), Position::After(handles[3]), &[]);
        socket.commit(&mut batch).unwrap();

        let (mut chain, mut previous, mut seen) = (String::new(), 0, 0);
        socket
            .rules(FAMILY, Some(TABLE.into()), |rule| {
                if rule.chain != chain {
                    (chain, previous) = (rule.chain.to_string(), 0);
                }
                assert_eq!(rule.position, previous, "{chain}");
                (previous, seen) = (rule.handle, seen + 1);
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 9);
    });
}

/// One of many is asked for by its name.
#[test]
fn a_table_a_chain_and_a_set_by_name() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        socket.commit(&mut ruleset()).unwrap();
        let table = socket.read(FAMILY, Query::Table { table: TABLE.into() }).unwrap();
        assert_eq!(table.decode(Table::decode).next().unwrap().unwrap().name, TABLE);
        let chain =
            socket.read(FAMILY, Query::Chain { table: TABLE.into(), chain: "second".into() }).unwrap();
        assert_eq!(chain.decode(Chain::decode).next().unwrap().unwrap().name, "second");
        let set = socket.read(FAMILY, Query::Set { table: TABLE.into(), set: "set-7".into() }).unwrap();
        assert_eq!(
            set.decode(Set::decode).map(|set| set.unwrap().name.to_owned()).collect::<Vec<_>>(),
            ["set-7"]
        );
        for query in [
            Query::Table { table: "nowhere".into() },
            Query::Chain { table: TABLE.into(), chain: "nowhere".into() },
            Query::Set { table: TABLE.into(), set: "nowhere".into() },
        ] {
            let refused = socket.read(FAMILY, query);
            assert!(matches!(&refused, Err(Error::Refused(refusal)) if refusal.errno == 2), "{refused:?}");
        }
    });
}

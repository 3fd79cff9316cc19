//! Events as they come, each test in a network namespace that it makes for itself.
//!
//! They need root. Without, they fail when CI is in the environment, and otherwise say on standard error that they did
//! not happen.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::HashSet;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use meshwire_testkit::{in_new_namespace, skipped};
use nftwire::events::{Event, Events, Group, Trace, TraceKind};
use nftwire::expr::{Access, Counter, Immediate, Meta, MetaKey};
use nftwire::{
    BaseChain, Batch, Chain, Data, Family, Hook, Position, Register, Rule, Socket, Table, Verdict, uapi,
};

const FAMILY: Family = Family::Inet;
const TABLE: &str = "mesh";
const CHAIN: &str = "input";
/// Longer than anything here takes.
const LONG: Option<Duration> = Some(Duration::from_secs(20));

fn table() -> Batch {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(FAMILY, TABLE));
    batch.add_chain(&Chain::new(FAMILY, TABLE, CHAIN));
    batch
}

fn rules(count: u32) -> Batch {
    let mut batch = table();
    for _ in 0..count {
        batch.add_rule(&Rule::new(FAMILY, TABLE, CHAIN), Position::Append, &[Counter::default().into()]);
    }
    batch
}

/// The events up to the next generation: how many are new and deleted, and the generation.
fn transaction(events: &mut Events) -> (Vec<u8>, Vec<u8>, u32) {
    let (mut new, mut deleted) = (Vec::new(), Vec::new());
    loop {
        match events.next(LONG).unwrap().unwrap() {
            Event::New(record) => new.push(record.message().unwrap().kind),
            Event::Deleted(record) => deleted.push(record.message().unwrap().kind),
            Event::Generation { generation, .. } => return (new, deleted, generation),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn transactions_and_their_writer() {
    in_new_namespace(|| {
        let mut events = Events::open(&[Group::Ruleset]).unwrap();
        let mut socket = Socket::open().unwrap();
        assert!(events.next(Some(Duration::from_millis(20))).unwrap().is_none());

        socket.commit(&mut rules(2)).unwrap();
        let kinds =
            [uapi::NFT_MSG_NEWTABLE, uapi::NFT_MSG_NEWCHAIN, uapi::NFT_MSG_NEWRULE, uapi::NFT_MSG_NEWRULE];
        let generation = socket.generation().unwrap();
        assert_eq!(transaction(&mut events), (kinds.to_vec(), vec![], generation));

        // A check and a refused batch are not events.
        socket.check(&mut rules(1)).unwrap();
        let mut refused = rules(1);
        refused.del_table(FAMILY, "nowhere");
        socket.commit(&mut refused).unwrap_err();

        let mut batch = Batch::new();
        batch.flush_table(FAMILY, TABLE);
        let name = "a-writer".to_owned();
        let writer = thread::Builder::new().name(name.clone());
        thread::scope(|scope| {
            let committed = writer.spawn_scoped(scope, || {
                socket.commit(&mut batch).unwrap();
                nix::unistd::gettid().as_raw()
            });
            let thread = committed.unwrap().join().unwrap();
            for _ in 0..2 {
                let event = events.next(LONG).unwrap().unwrap();
                assert!(matches!(event, Event::Deleted(_)), "{event:?}");
            }
            let Event::Generation { generation: new, writer, writer_name } =
                events.next(LONG).unwrap().unwrap()
            else {
                panic!("no generation")
            };
            assert_eq!(new, generation + 1);
            assert_eq!(writer_name.as_deref(), Some(name.as_bytes()));
            // Inside of a PID namespace it is another number.
            assert!(writer.is_some(), "{thread}");
        });
    });
}

/// Subscribed before the first of them, nothing of what several writers do is missed.
#[test]
fn events_beside_writers() {
    const WRITERS: u32 = 3;
    const COMMITS: u32 = 200;
    in_new_namespace(|| {
        let mut events = Events::open(&[Group::Ruleset]).unwrap();
        Socket::open().unwrap().commit(&mut table()).unwrap();
        let (_, _, before) = transaction(&mut events);
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    let mut socket = Socket::open().unwrap();
                    let mut batch = Batch::new();
                    batch.add_rule(
                        &Rule::new(FAMILY, TABLE, CHAIN),
                        Position::Append,
                        &[Counter::default().into()],
                    );
                    for _ in 0..COMMITS {
                        socket.commit(&mut batch).unwrap();
                    }
                });
            }
            for generation in before + 1..=before + WRITERS * COMMITS {
                assert_eq!(transaction(&mut events), (vec![uapi::NFT_MSG_NEWRULE], vec![], generation));
            }
        });
        assert!(events.next(Some(Duration::ZERO)).unwrap().is_none());
    });
}

/// Where more happens than the queue holds, that is said, and what happens afterwards comes.
#[test]
fn a_queue_that_is_full() {
    in_new_namespace(|| {
        let mut events = Events::open_with_queue(&[Group::Ruleset], 16 * 1024).unwrap();
        let mut socket = Socket::open().unwrap();
        socket.commit(&mut rules(5_000)).unwrap();
        let (mut missed, mut new) = (0, 0);
        while let Some(event) = events.next(Some(Duration::from_millis(50))).unwrap() {
            match event {
                Event::Missed => missed += 1,
                Event::New(_) => new += 1,
                _ => {}
            }
        }
        assert!(missed >= 1 && new < 5_002, "missed {missed} times, {new} events");
        socket.commit(&mut rules(1)).unwrap();
        let (_, _, generation) = transaction(&mut events);
        assert_eq!(generation, socket.generation().unwrap());
    });
}

#[test]
fn the_way_of_a_traced_packet() {
    in_new_namespace(|| {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|status| status.success()) {
            return skipped("there is no ip to set the loopback interface up");
        }
        let mut events = Events::open(&[Group::Trace]).unwrap();
        let mut batch = Batch::new();
        batch.add_table(&Table::new(FAMILY, TABLE));
        let base = BaseChain { kind: "filter", hook: Hook::LocalIn, priority: 0, policy: None };
        batch.add_chain(&Chain { base: Some(base), ..Chain::new(FAMILY, TABLE, CHAIN) });
        batch.add_chain(&Chain::new(FAMILY, TABLE, "further"));
        let one = Immediate::Value { dreg: Register::R1, data: Data::new(&[1]) };
        let trace = Meta { key: MetaKey::NfTrace, access: Access::Store(Register::R1) };
        batch.add_rule(&Rule::new(FAMILY, TABLE, CHAIN), Position::Append, &[one.into(), trace.into()]);
        let jump = Immediate::Verdict(Verdict::Jump("further".into()));
        batch.add_rule(&Rule::new(FAMILY, TABLE, CHAIN), Position::Append, &[jump.into()]);
        let mut socket = Socket::open().unwrap();
        socket.commit(&mut batch).unwrap();

        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.send_to(b"hello", receiver.local_addr().unwrap()).unwrap();
        let started = Instant::now();
        let mut steps: Vec<(TraceKind, String, Option<String>, Option<u32>)> = Vec::new();
        let mut ids = HashSet::new();
        while !steps.iter().any(|(kind, ..)| *kind == TraceKind::Policy)
            && started.elapsed() < Duration::from_secs(20)
        {
            let Some(Event::Trace(record)) = events.next(LONG).unwrap() else { panic!("no trace") };
            let step = Trace::decode(&record.message().unwrap()).unwrap();
            assert_eq!((step.family, step.table), (FAMILY, TABLE.as_bytes()));
            // The interfaces and the headers come once.
            assert_eq!(step.iif, steps.is_empty().then_some(1));
            if steps.is_empty() {
                // IPv4 without options, UDP.
                assert_eq!((step.network_header[0], step.network_header[9]), (0x45, 17));
                let port = receiver.local_addr().unwrap().port().to_be_bytes();
                assert_eq!(step.transport_header[2..4], port);
            }
            ids.insert(step.id);
            let jump = match step.verdict {
                Some(Verdict::Jump(chain)) => Some(String::from_utf8_lossy(chain.as_bytes()).into_owned()),
                _ => None,
            };
            steps.push((step.kind, String::from_utf8_lossy(step.chain).into_owned(), jump, step.policy));
        }
        let step = |kind, chain: &str, jump: Option<&str>, policy| {
            (kind, chain.to_owned(), jump.map(str::to_owned), policy)
        };
        // What comes at the end of the other chain differs between kernels.
        assert_eq!(steps[0], step(TraceKind::Rule, CHAIN, None, None));
        assert_eq!(steps[1], step(TraceKind::Rule, CHAIN, Some("further"), None));
        assert_eq!(steps.last(), Some(&step(TraceKind::Policy, CHAIN, None, Some(1))));
        assert_eq!(ids.len(), 1);
        Some(())
    });
}

#[cfg(feature = "tokio")]
#[test]
fn events_for_tokio() {
    use nftwire::events::AsyncEvents;

    in_new_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut events = AsyncEvents::open(&[Group::Ruleset]).unwrap();
            let nothing = tokio::time::timeout(Duration::from_millis(20), events.next()).await;
            assert!(nothing.is_err());
            let mut socket = Socket::open().unwrap();
            let mut seen = 0;
            for generation in 1..=3 {
                socket.commit(&mut rules(100)).unwrap();
                loop {
                    match events.next().await.unwrap() {
                        Event::Generation { .. } => break,
                        Event::New(record) => {
                            seen += u32::from(record.message().unwrap().kind == uapi::NFT_MSG_NEWRULE);
                        }
                        other => panic!("{generation}: {other:?}"),
                    }
                }
            }
            assert_eq!(seen, 300);
        });
    });
}

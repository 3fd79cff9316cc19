//! What the kernel holds is read, by a dump that is decoded at once and by one that another thread decodes, and set to
//! zero; each test in a network namespace that it makes for itself.
//!
//! They need root, and `nft` where a test compares with it. Without, they fail when CI is in the environment, and
//! otherwise say on standard error that they did not happen.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::io;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use meshwire_testkit::{in_new_namespace, skipped};
use nftwire::expr::{
    Access, Counter, Immediate, Inner, InnerKind, Last, Meta, MetaKey, Payload, PayloadAction, PayloadBase,
};
use nftwire::{
    BaseChain, Batch, Chain, ChainFlags, Data, Device, ElementList, Error, Expr, Family, Hook, Object,
    ObjectData, ObjectKind, Position, Query, Register, Rule, Set, Socket, Table, Verdict, userdata,
};

const FAMILY: Family = Family::Inet;
const TABLE: &str = "mesh";
const CHAIN: &str = "input";

/// What `nft` prints; nothing where there is no `nft`.
fn nft(arguments: &[&str]) -> Option<String> {
    let output = match Command::new("nft").args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return skipped("there is no nft"),
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A table with one chain of `rules` rules, all of which say `number`.
fn numbered(rules: u32, number: u32) -> Batch {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(FAMILY, TABLE));
    batch.add_chain(&Chain::new(FAMILY, TABLE, CHAIN));
    batch.flush_table(FAMILY, TABLE);
    let value = Immediate::Value { dreg: Register::R1, data: Data::ne32(number) };
    let expressions = [value.into(), Counter::default().into(), Immediate::Verdict(Verdict::Return).into()];
    for _ in 0..rules {
        batch.add_rule(&Rule::new(FAMILY, TABLE, CHAIN), Position::Append, &expressions);
    }
    batch
}

/// The numbers of all rules, decoded by a thread of its own; buffers go to and fro.
fn dump_in_two_threads(socket: &mut Socket) -> Result<Vec<u32>, Error> {
    let (send, receive) = mpsc::sync_channel::<nftwire::Received>(4);
    let (give_back, free) = mpsc::channel();
    thread::scope(|scope| {
        let decoder = scope.spawn(move || {
            let mut numbers = Vec::new();
            for datagram in receive {
                for message in datagram.messages() {
                    let rule = Rule::decode(&message.unwrap()).unwrap();
                    let first = rule.expressions().next().unwrap().unwrap();
                    let Expr::Immediate(Immediate::Value { data, .. }) = first else { panic!("{first:?}") };
                    numbers.push(u32::from_ne_bytes(data.as_bytes().try_into().unwrap()));
                }
                let _ = give_back.send(datagram.into_buffer());
            }
            numbers
        });
        let query = Query::Rules { table: Some(TABLE.into()), chain: Some(CHAIN.into()) };
        let dumped = socket.dump(FAMILY, query, |datagram| {
            assert!(datagram.as_bytes().len() <= 32 * 1024);
            send.send(datagram).unwrap();
            Ok(free.try_recv().unwrap_or_default())
        });
        drop(send);
        let numbers = decoder.join().unwrap();
        dumped.map(|()| numbers)
    })
}

#[test]
fn rules_decoded_elsewhere() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        socket.commit(&mut numbered(2000, 7)).unwrap();
        assert_eq!(dump_in_two_threads(&mut socket).unwrap(), vec![7; 2000]);
        // As many as the other way.
        let mut rules = 0;
        socket
            .rules(FAMILY, Some(TABLE.into()), |_| {
                rules += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(rules, 2000);
    });
}

#[test]
fn an_error_in_the_middle_leaves_the_socket_usable() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        socket.commit(&mut numbered(2000, 7)).unwrap();
        let query = Query::Rules { table: None, chain: None };
        let raw = socket.dump(Family::Unspec, query, |_| Err(Error::Unconfirmed));
        assert!(matches!(raw, Err(Error::Unconfirmed)), "{raw:?}");
        let typed = socket.rules(FAMILY, Some(TABLE.into()), |_| Err(Error::Unconfirmed));
        assert!(matches!(typed, Err(Error::Unconfirmed)), "{typed:?}");
        assert!(socket.generation().unwrap() > 0);
        assert_eq!(dump_in_two_threads(&mut socket).unwrap().len(), 2000);
    });
}

#[test]
fn an_unknown_object_is_refused() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let query = Query::Elements { table: "none".into(), set: "none".into() };
        let refused = socket.dump(FAMILY, query, |_| panic!("a message"));
        assert!(matches!(&refused, Err(Error::Refused(refusal)) if refusal.errno == 2), "{refused:?}");
    });
}

fn counters(socket: &mut Socket, reset: bool) -> Vec<(String, u64)> {
    let mut counters = Vec::new();
    let mut each = |object: Object<'_>| {
        if let ObjectData::Counter(counter) = object.data {
            counters.push((object.name.to_string(), counter.packets));
        }
        Ok(())
    };
    let kind = Some(ObjectKind::Counter);
    if reset {
        socket.reset_objects(FAMILY, Some(TABLE.into()), kind, &mut each).unwrap();
    } else {
        socket.objects(FAMILY, Some(TABLE.into()), kind, &mut each).unwrap();
    }
    counters
}

#[test]
fn objects_and_their_reset() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = Batch::new();
        batch.add_table(&Table::new(FAMILY, TABLE));
        let comment = userdata::with_comment("hits").unwrap();
        let counter = ObjectData::Counter(Counter { bytes: 700, packets: 5 });
        batch.add_object(&Object { userdata: &comment, ..Object::new(FAMILY, TABLE, "k", counter) });
        socket.commit(&mut batch).unwrap();

        assert_eq!(counters(&mut socket, false), [("k".to_owned(), 5)]);
        assert_eq!(counters(&mut socket, true), [("k".to_owned(), 5)]);
        assert_eq!(counters(&mut socket, false), [("k".to_owned(), 0)]);
        socket
            .objects(Family::Unspec, None, None, |object| {
                assert_eq!((object.references, userdata::comment(object.userdata)), (0, Some("hits".into())));
                assert_ne!(object.handle, 0);
                Ok(())
            })
            .unwrap();

        let mut batch = Batch::new();
        batch.del_object(FAMILY, TABLE, ObjectKind::Counter, "k");
        socket.commit(&mut batch).unwrap();
        assert_eq!(counters(&mut socket, false), []);
    });
}

fn packets(socket: &mut Socket, reset: bool) -> Result<Vec<u64>, Error> {
    let mut packets = Vec::new();
    let each = |rule: Rule<'_>| {
        for expression in rule.expressions() {
            if let Expr::Counter(counter) = expression? {
                packets.push(counter.packets);
            }
        }
        Ok(())
    };
    if reset {
        socket.reset_rules(FAMILY, TABLE, Some(CHAIN.into()), each)?;
    } else {
        socket.rules(FAMILY, Some(TABLE.into()), each)?;
    }
    Ok(packets)
}

/// From 6.2 on.
#[test]
fn rules_and_their_reset() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = numbered(0, 0);
        let counter = Counter { bytes: 700, packets: 5 };
        batch.add_rule(&Rule::new(FAMILY, TABLE, CHAIN), Position::Append, &[counter.into()]);
        socket.commit(&mut batch).unwrap();
        assert_eq!(packets(&mut socket, false).unwrap(), [5]);
        match packets(&mut socket, true) {
            Ok(before) => assert_eq!(before, [5]),
            Err(Error::Refused(refusal)) if refusal.errno == 22 => {
                return skipped("this kernel cannot reset rules");
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(packets(&mut socket, false).unwrap(), [0]);
        Some(())
    });
}

#[test]
fn chains_at_devices() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = Batch::new();
        batch.add_table(&Table::new(Family::Netdev, TABLE));
        let comment = userdata::with_comment("in").unwrap();
        let base = BaseChain { kind: "filter", hook: Hook::from_number(0), priority: 3, policy: None };
        let chain = Chain {
            base: Some(base),
            devices: vec![Device::Name("lo".into())],
            userdata: &comment,
            ..Chain::new(Family::Netdev, TABLE, CHAIN)
        };
        batch.add_chain(&chain);
        socket.commit(&mut batch).unwrap();
        let mut chains = 0;
        socket
            .chains(Family::Netdev, |read| {
                assert_eq!((&read.devices, read.userdata), (&chain.devices, chain.userdata));
                assert_eq!((read.flags, read.counters, read.references), (ChainFlags::default(), None, 0));
                chains += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(chains, 1);
        socket
            .tables(Family::Netdev, |table| {
                assert_eq!((table.references, table.owner), (1, 0));
                Ok(())
            })
            .unwrap();
    });
}

/// What nft 1.0.6 has no statement for: the kernel takes it and dumps it.
#[test]
fn expressions_that_nft_cannot_write() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = numbered(0, 0);
        let payload = Payload {
            base: PayloadBase::Network,
            offset: 12,
            len: 4,
            action: PayloadAction::Load(Register::R1),
        };
        let inner = Inner {
            kind: InnerKind::Vxlan,
            flags: 0xf,
            header_size: 8,
            expression: Box::new(payload.into()),
        };
        let l4proto = Meta { key: MetaKey::L4Proto, access: Access::Load(Register::R1) };
        let expressions = [Last::default().into(), l4proto.into(), inner.into()];
        batch.add_rule(&Rule::new(FAMILY, TABLE, CHAIN), Position::Append, &expressions);
        match socket.commit(&mut batch) {
            Ok(_) => {}
            Err(Error::Refused(refusal)) if refusal.errno == nix::errno::Errno::ENOENT as i32 => {
                let (_, name) = refusal.location.expression.unwrap();
                meshwire_testkit::skip(&format!("this kernel has no expression {name}"));
                return;
            }
            Err(error) => panic!("{error}"),
        }
        let mut rules = 0;
        socket
            .rules(FAMILY, Some(TABLE.into()), |rule| {
                assert_eq!(rule.expressions().collect::<Result<Vec<_>, _>>()?, expressions);
                rules += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(rules, 1);
    });
}

/// What `nft` makes in one namespace, with everything that this crate has types for.
const RULESET: &str = r#"
table netdev edge {
    chain in {
        type filter hook ingress device "lo" priority 0; policy accept;
        fwd to "lo"
        dup to "lo"
    }
}
table inet mesh {
    comment "the mesh"
    counter hits { packets 3 bytes 9 comment "hi" }
    quota volume { over 10 mbytes used 1 kbytes }
    limit pace { rate 5/minute burst 7 packets }
    synproxy shield { mss 1460; wscale 7; timestamp; }
    ct helper files { type "ftp" protocol tcp; l3proto ip; }
    ct timeout patience { protocol tcp; l3proto ip; policy = { established: 100, close: 4 }; }
    ct expectation soon { protocol tcp; dport 9876; timeout 2m; size 12; l3proto ip; }
    set seen { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; gc-interval 10s; counter; }
    set fast { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; }
    set counted { type ipv4_addr; counter; elements = { 1.2.3.4 counter packets 1 bytes 2 comment "one" } }
    set typed { typeof ip saddr . tcp dport; flags interval; auto-merge; comment "c"; }
    map which { type inet_service : counter; elements = { 80 : "hits" } }
    map verdicts { type ipv4_addr : verdict; elements = { 1.2.3.4 : accept, * : drop } }
    chain regular { comment "for jumps"; }
    chain forward {
        type filter hook forward priority 0; policy drop;
        synproxy mss 1460 wscale 7 timestamp sack-perm
    }
    chain before {
        type filter hook prerouting priority -300; policy accept;
        notrack
        fib daddr type local accept
        fib saddr . iif oif missing drop
        osf name "Linux" accept
        ct helper set "files"
        ip saddr vmap @verdicts
    }
    chain output {
        type filter hook output priority 0; policy accept;
        meta length 100-200 accept
        meta mark set meta mark << 8
        ct count over 5 drop
        update @fast { ip saddr timeout 30s limit rate over 5/second } drop
        add @seen { ip saddr counter } accept
        tcp option maxseg size set rt mtu
        tcp option sack-permitted exists accept
        reset tcp option fastopen
        exthdr hbh exists accept
        ip option rr exists accept
        sctp chunk data exists accept
        meta mark set jhash ip saddr . ip daddr mod 8 seed 0xdeadbeef offset 100
        meta mark set symhash mod 4
        meta mark set numgen random mod 10 offset 3
        limit rate over 1 mbytes/minute burst 5 kbytes drop
        log prefix "dropped " level warn flags tcp sequence,options flags skuid
        log group 5 prefix "x" snaplen 64 queue-threshold 10
        counter name "hits"
        counter name tcp dport map @which
        quota over 500 bytes used 100 bytes drop
        quota name "volume" drop
        limit name "pace" accept
        rt classid 1 accept
        tcp dport vmap { 22 : jump regular, 25 : drop }
        ip protocol tcp reject with tcp reset
        reject with icmpx admin-prohibited comment "last"
    }
}
table ip copies {
    chain output {
        type filter hook output priority 0; policy accept;
        dup to 10.0.0.1
        dup to 10.0.0.1 device "lo"
        reject with icmp host-unreachable
    }
}
"#;

/// Reads everything and writes it into a batch.
fn copy(socket: &mut Socket) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    let mut tables = Vec::new();
    socket.tables(Family::Unspec, |table| {
        batch.add_table(&table);
        tables.push((table.family, table.name.to_name()));
        Ok(())
    })?;
    socket.objects(Family::Unspec, None, None, |object| {
        batch.add_object(&object);
        Ok(())
    })?;
    socket.chains(Family::Unspec, |chain| {
        batch.add_chain(&chain);
        Ok(())
    })?;
    for (family, table) in &tables {
        let mut sets = Vec::new();
        socket.sets(*family, Some(table.into()), |set| {
            let id = batch.take_set_id();
            batch.add_set(&Set { id, ..set.clone() });
            sets.push((set.name.to_name(), id));
            Ok(())
        })?;
        for (set, id) in sets {
            socket.elements(*family, table, &set, |list| {
                let elements: Vec<_> = list.elements().collect::<Result<_, _>>()?;
                batch.add_elements(&ElementList::new(*family, table, &set, id), &elements);
                Ok(())
            })?;
        }
        socket.rules(*family, Some(table.into()), |rule| {
            let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
            let known = |expression: &Expr<'_>| !matches!(expression, Expr::Unknown(_));
            assert!(expressions.iter().all(known), "{expressions:?}");
            batch.add_rule(&rule, Position::Append, &expressions);
            Ok(())
        })?;
    }
    Ok(batch)
}

/// A ruleset of nft's, read and written by this crate into another namespace, is the same ruleset to nft.
#[test]
fn a_ruleset_of_nfts_read_and_written() {
    in_new_namespace(|| {
        let loaded = Command::new("nft").arg(RULESET).output();
        if let Ok(output) = loaded
            && !output.status.success()
        {
            let errors = String::from_utf8_lossy(&output.stderr);
            let error = errors.lines().next().unwrap_or_default();
            return skipped(&format!("this kernel does not know all of the ruleset: {error}"));
        }
        let mut batch = copy(&mut Socket::open().unwrap()).unwrap();
        let theirs = nft(&["list", "ruleset"])?;
        assert!(theirs.lines().count() > 120, "{theirs}");
        let ours = in_new_namespace(|| {
            Socket::open().unwrap().commit(&mut batch).unwrap();
            nft(&["list", "ruleset"])
        });
        assert_eq!(ours??, theirs);
        Some(())
    });
}

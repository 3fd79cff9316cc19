//! `nft` sees in the kernel what was sent, and this crate sees what `nft` made.

use nftwire::expr::{
    Access, Bitwise, Cmp, CmpOp, Counter, Ct, CtKey, Immediate, Lookup, Masq, Meta, MetaKey, Nat, NatKind,
    Notrack, Operation, Payload, PayloadAction, PayloadBase, Range, Redir, Socket as SocketExpr, SocketKey,
    Tproxy,
};
use nftwire::{ChainFlags, Register, SetFlags, uapi};

use super::*;
use meshwire_testkit::in_new_namespace;

const R1: Register = Register::R1;
const R2: Register = Register::R2;

/// A rule: its chain, its expressions, and what `nft --debug=netlink` prints for it.
struct Case {
    chain: &'static str,
    sent: Vec<Expr<'static>>,
    nft: &'static [&'static str],
}

/// The chains of the cases: one of each kind that some expression needs.
fn chains() -> [Chain<'static>; 3] {
    [
        base_chain("mangle", "filter", Hook::PreRouting, -150),
        base_chain("before", "nat", Hook::PreRouting, -100),
        base_chain("after", "nat", Hook::PostRouting, 100),
    ]
}

fn load(key: MetaKey) -> Expr<'static> {
    Meta { key, access: Access::Load(R1) }.into()
}

fn tcp() -> [Expr<'static>; 2] {
    [load(MetaKey::L4Proto), Cmp { sreg: R1, op: CmpOp::Eq, data: Data::new(&[6]) }.into()]
}

fn value(register: u32, data: impl Into<Data>) -> Expr<'static> {
    Immediate::Value { dreg: Register::new(register), data: data.into() }.into()
}

fn bitwise(operation: Operation) -> Expr<'static> {
    Bitwise { sreg: R1, dreg: R1, len: 4, operation }.into()
}

fn values_and_verdicts() -> Vec<Case> {
    let range = |op| Range { sreg: R1, op, from: Data::be16(80), to: Data::be16(90) }.into();
    let port = Payload { base: PayloadBase::Transport, offset: 2, len: 2, action: PayloadAction::Load(R1) };
    let mask_xor = |mask, xor| Operation::MaskXor { mask: Data::ne32(mask), xor: Data::ne32(xor) };
    let shift = |op| Operation::Other { op, data: Some(Data::ne32(8)), sreg2: None };
    let ct = |key, direction, access| Ct { key, direction, access }.into();
    let [l4proto, is_tcp] = tcp();
    vec![
        Case {
            chain: "mangle",
            sent: vec![
                l4proto,
                is_tcp,
                port.into(),
                range(CmpOp::Neq),
                verdict(Verdict::Jump("other".into())),
            ],
            nft: &[
                "[ meta load l4proto => reg 1 ]",
                "[ cmp eq reg 1 0x00000006 ]",
                "[ payload load 2b @ transport header + 2 => reg 1 ]",
                "[ range neq reg 1 0x00005000 0x00005a00 ]",
                "[ immediate reg 0 jump -> other ]",
            ],
        },
        Case {
            chain: "mangle",
            sent: vec![
                load(MetaKey::Mark),
                bitwise(mask_xor(0xffff_ff00, 0x10)),
                bitwise(shift(1)),
                bitwise(shift(2)),
                Meta { key: MetaKey::Mark, access: Access::Store(R1) }.into(),
                ct(CtKey::Mark, None, Access::Store(R1)),
            ],
            nft: &[
                "[ meta load mark => reg 1 ]",
                "[ bitwise reg 1 = ( reg 1 & 0xffffff00 ) ^ 0x00000010 ]",
                "[ bitwise reg 1 = ( reg 1 << 0x00000008 ) ]",
                "[ bitwise reg 1 = ( reg 1 >> 0x00000008 ) ]",
                "[ meta set mark with reg 1 ]",
                "[ ct set mark with reg 1 ]",
            ],
        },
        Case {
            chain: "mangle",
            sent: vec![
                ct(CtKey::SrcIp, Some(0), Access::Load(R1)),
                Cmp { sreg: R1, op: CmpOp::Gte, data: Data::new(&[1, 2, 3, 4]) }.into(),
                Counter { packets: 5, bytes: 700 }.into(),
                verdict(Verdict::Goto("other".into())),
            ],
            nft: &[
                "[ ct load src_ip => reg 1 , dir original ]",
                "[ cmp gte reg 1 0x04030201 ]",
                "[ counter pkts 5 bytes 700 ]",
                "[ immediate reg 0 goto -> other ]",
            ],
        },
        Case {
            chain: "mangle",
            sent: vec![verdict(Verdict::Return), verdict(Verdict::Continue), verdict(Verdict::Break)],
            nft: &["[ immediate reg 0 return ]", "[ immediate reg 0 continue ]", "[ immediate reg 0 break ]"],
        },
        Case {
            chain: "mangle",
            sent: vec![verdict(Verdict::Drop), verdict(Verdict::Accept)],
            nft: &["[ immediate reg 0 drop ]", "[ immediate reg 0 accept ]"],
        },
        Case {
            chain: "mangle",
            sent: vec![
                load(MetaKey::IifName),
                Cmp { sreg: R1, op: CmpOp::Neq, data: Data::interface("lo") }.into(),
            ],
            nft: &[
                "[ meta load iifname => reg 1 ]",
                "[ cmp neq reg 1 0x00006f6c 0x00000000 0x00000000 0x00000000 ]",
            ],
        },
    ]
}

fn packets_and_sockets() -> Vec<Case> {
    let store = PayloadAction::Store { sreg: R1, csum_type: 1, csum_offset: 10, csum_flags: 1 };
    let payload = Payload { base: PayloadBase::Network, offset: 12, len: 4, action: store };
    let port = |dreg| {
        let action = PayloadAction::Load(Register::new(dreg));
        Payload { base: PayloadBase::Transport, offset: 2, len: 2, action }.into()
    };
    let lookup = |set, inverted| Lookup { set, set_id: 0, sreg: R1, dreg: None, inverted }.into();
    let map = |set, dreg| Lookup { set, set_id: 0, sreg: R1, dreg: Some(dreg), inverted: false }.into();
    let socket = |key| SocketExpr { key, level: None, dreg: R1 }.into();
    let [l4proto, is_tcp] = tcp();
    vec![
        Case {
            chain: "mangle",
            sent: vec![
                load(MetaKey::NfProto),
                Cmp { sreg: R1, op: CmpOp::Eq, data: Data::new(&[2]) }.into(),
                value(1, std::net::Ipv4Addr::new(1, 2, 3, 4)),
                payload.into(),
                Notrack.into(),
            ],
            nft: &[
                "[ meta load nfproto => reg 1 ]",
                "[ cmp eq reg 1 0x00000002 ]",
                "[ immediate reg 1 0x04030201 ]",
                "[ payload write reg 1 => 4b @ network header + 12 csum_type 1 csum_off 10 csum_flags 0x1 ]",
                "[ notrack ]",
            ],
        },
        Case {
            chain: "mangle",
            sent: vec![
                socket(SocketKey::Transparent),
                Cmp { sreg: R1, op: CmpOp::Eq, data: Data::new(&[1]) }.into(),
                socket(SocketKey::Mark),
                Cmp { sreg: R1, op: CmpOp::Lt, data: Data::ne32(1337) }.into(),
                socket(SocketKey::Wildcard),
                Cmp { sreg: R1, op: CmpOp::Eq, data: Data::new(&[0]) }.into(),
            ],
            nft: &[
                "[ socket load transparent => reg 1 ]",
                "[ cmp eq reg 1 0x00000001 ]",
                "[ socket load mark => reg 1 ]",
                "[ cmp lt reg 1 0x00000539 ]",
                "[ socket load wildcard => reg 1 ]",
                "[ cmp eq reg 1 0x00000000 ]",
            ],
        },
        Case {
            chain: "mangle",
            sent: vec![
                l4proto,
                is_tcp,
                value(1, std::net::Ipv6Addr::LOCALHOST),
                value(2, Data::be16(15_001)),
                Tproxy { family: Family::Ipv6, addr: Some(R1), port: Some(R2) }.into(),
            ],
            nft: &[
                "[ meta load l4proto => reg 1 ]",
                "[ cmp eq reg 1 0x00000006 ]",
                "[ immediate reg 1 0x00000000 0x00000000 0x00000000 0x01000000 ]",
                "[ immediate reg 2 0x0000993a ]",
                "[ tproxy ip6 addr reg 1 port reg 2 ]",
            ],
        },
        Case {
            chain: "mangle",
            sent: vec![
                load(MetaKey::Mark),
                lookup("marks".into(), false),
                lookup("marks".into(), true),
                map("values".into(), R2),
                // The port goes into the second four bytes of the first register.
                port(9),
                map("verdicts".into(), Register::VERDICT),
            ],
            nft: &[
                "[ meta load mark => reg 1 ]",
                "[ lookup reg 1 set marks 0x0 ]",
                "[ lookup reg 1 set marks 0x1 ]",
                "[ lookup reg 1 set values dreg 2 0x0 ]",
                "[ payload load 2b @ transport header + 2 => reg 9 ]",
                "[ lookup reg 1 set verdicts dreg 0 0x0 ]",
            ],
        },
    ]
}

fn translations() -> Vec<Case> {
    let ports = uapi::NF_NAT_RANGE_PROTO_SPECIFIED;
    let nat = Nat {
        kind: NatKind::Dnat,
        family: Family::Ipv4,
        addr_min: Some(R1),
        addr_max: Some(R1),
        proto_min: Some(R2),
        proto_max: Some(R2),
        flags: ports,
    };
    let snat = Nat { kind: NatKind::Snat, proto_min: None, proto_max: None, flags: 8, ..nat };
    vec![
        Case {
            chain: "before",
            sent: vec![
                value(1, Data::be16(15_006)),
                Redir { proto_min: Some(R1), proto_max: None, flags: ports }.into(),
            ],
            nft: &["[ immediate reg 1 0x00009e3a ]", "[ redir proto_min reg 1 proto_max reg 1 flags 0x2 ]"],
        },
        Case { chain: "before", sent: vec![Redir::default().into()], nft: &["[ redir ]"] },
        Case {
            chain: "before",
            sent: vec![value(1, std::net::Ipv4Addr::new(1, 2, 3, 4)), value(2, Data::be16(80)), nat.into()],
            nft: &[
                "[ immediate reg 1 0x04030201 ]",
                "[ immediate reg 2 0x00005000 ]",
                "[ nat dnat ip addr_min reg 1 addr_max reg 1 proto_min reg 2 proto_max reg 2 flags 0x3 ]",
            ],
        },
        Case {
            chain: "after",
            sent: vec![
                value(1, Data::be16(1024)),
                value(2, Data::be16(2048)),
                Masq { proto_min: Some(R1), proto_max: Some(R2), flags: 6 }.into(),
            ],
            nft: &[
                "[ immediate reg 1 0x00000004 ]",
                "[ immediate reg 2 0x00000008 ]",
                "[ masq proto_min reg 1 proto_max reg 2 flags 0x6 ]",
            ],
        },
        Case { chain: "after", sent: vec![Masq::default().into()], nft: &["[ masq ]"] },
        Case {
            chain: "after",
            sent: vec![value(1, std::net::Ipv4Addr::new(1, 2, 3, 4)), snat.into()],
            nft: &[
                "[ immediate reg 1 0x04030201 ]",
                "[ nat snat ip addr_min reg 1 addr_max reg 1 flags 0x9 ]",
            ],
        },
    ]
}

/// The expression as the kernel dumps it.
fn as_dumped(expression: Expr<'static>) -> Expr<'static> {
    match expression {
        // One port is a range of one.
        Expr::Redir(redir) => Redir { proto_max: redir.proto_max.or(redir.proto_min), ..redir }.into(),
        Expr::Masq(masq) => Masq { proto_max: masq.proto_max.or(masq.proto_min), ..masq }.into(),
        // An address is one more flag.
        Expr::Nat(nat) if nat.addr_min.is_some() => {
            Nat { flags: nat.flags | uapi::NF_NAT_RANGE_MAP_IPS, ..nat }.into()
        }
        other => other,
    }
}

fn with_sets() -> Batch {
    let mut batch = table_and_chain();
    batch.add_chain(&Chain::new(FAMILY, TABLE, "other"));
    chains().iter().for_each(|chain| batch.add_chain(chain));
    let set = |name, flags, data_type, data_len| Set {
        id: 1,
        flags,
        data_type,
        data_len,
        ..Set::new(FAMILY, TABLE, name, 4)
    };
    batch.add_set(&set("marks", SetFlags::default(), 0, 0));
    batch.add_set(&set("values", SetFlags::MAP, 7, 4));
    batch.add_set(&set("verdicts", SetFlags::MAP, 0xffff_ff00, 0));
    batch
}

#[test]
fn every_expression() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = with_sets();
        let cases: Vec<_> =
            [values_and_verdicts(), packets_and_sockets(), translations()].into_iter().flatten().collect();
        cases.iter().for_each(|case| batch.add_rule(&rule(case.chain), Position::Append, &case.sent));
        socket.commit(&mut batch).unwrap();

        let mut rest = cases.iter();
        socket
            .rules(FAMILY, Some(TABLE.into()), |rule| {
                let case = rest.next().unwrap();
                let expected: Vec<_> = case.sent.iter().cloned().map(as_dumped).collect();
                assert_eq!(
                    (rule.chain, rule.expressions().collect::<Result<Vec<_>, _>>()?),
                    (case.chain.into(), expected)
                );
                Ok(())
            })
            .unwrap();
        assert_eq!(rest.count(), 0);

        if cfg!(target_endian = "big") {
            return; // nft prints registers as numbers in host order.
        }
        let Some(listed) = nft(&["--debug=netlink", "list", "ruleset"]) else { return };
        let listed: Vec<_> = listed.lines().map(str::trim).filter(|line| line.starts_with("[ ")).collect();
        let expected: Vec<_> = cases.iter().flat_map(|case| case.nft).copied().collect();
        assert_eq!(listed, expected);
    });
}

/// AND, OR and XOR with a second register exist from 6.13 on.
#[test]
fn bitwise_with_two_registers() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        let load = |key, register| Meta { key, access: Access::Load(Register::new(register)) }.into();
        let and = bitwise(Operation::Other { op: 3, data: None, sreg2: Some(R2) });
        let sent = [load(MetaKey::Mark, 1), load(MetaKey::Iif, 2), and];
        batch.add_rule(&rule(INPUT), Position::Append, &sent);
        match socket.commit(&mut batch) {
            Ok(_) => socket
                .rules(FAMILY, Some(TABLE.into()), |rule| {
                    assert_eq!(rule.expressions().collect::<Result<Vec<_>, _>>()?, sent);
                    Ok(())
                })
                .unwrap(),
            Err(Error::Refused(refusal)) => {
                assert_eq!(refusal.location.expression, Some((2, "bitwise".to_owned())));
                meshwire_testkit::skip("this kernel has no bitwise operations with two registers");
            }
            Err(other) => panic!("{other}"),
        }
    });
}

/// A transaction of ours, as `nft` lists it.
#[test]
fn a_ruleset_in_nfts_words() {
    in_new_namespace(|| {
        let mut batch = Batch::new();
        batch.add_table(&Table { userdata: b"\x00\x05mesh\x00", ..Table::new(FAMILY, TABLE) });
        let base =
            BaseChain { kind: "nat", hook: Hook::LocalOut, priority: -100, policy: Some(Policy::Accept) };
        batch.add_chain(&Chain { base: Some(base), ..Chain::new(FAMILY, TABLE, "output") });
        batch.add_chain(&Chain::new(FAMILY, TABLE, "redirect"));
        // nft reads the byte order of keys out of the userdata: 0 is the key's, 2 is network order.
        let set =
            Set { id: 1, key_type: 13, userdata: &[0, 4, 2, 0, 0, 0], ..Set::new(FAMILY, TABLE, "ports", 2) };
        batch.add_set(&set);
        let elements = [Element::new(Data::be16(80)), Element::new(Data::be16(443))];
        batch.add_elements(&ElementList::new(FAMILY, TABLE, "ports", 1), &elements);
        let uid = Cmp { sreg: R1, op: CmpOp::Eq, data: Data::ne32(1337) };
        let back = [load(MetaKey::SkUid), uid.into(), Counter::default().into(), verdict(Verdict::Return)];
        let mut commented = rule("output");
        commented.userdata = b"\x00\x06proxy\x00";
        batch.add_rule(&commented, Position::Append, &back);
        let port =
            Payload { base: PayloadBase::Transport, offset: 2, len: 2, action: PayloadAction::Load(R1) };
        let lookup = Lookup { set: "ports".into(), set_id: 1, sreg: R1, dreg: None, inverted: false };
        let [l4proto, is_tcp] = tcp();
        let jump = [
            l4proto.clone(),
            is_tcp.clone(),
            port.into(),
            lookup.into(),
            verdict(Verdict::Jump("redirect".into())),
        ];
        batch.add_rule(&rule("output"), Position::Append, &jump);
        let flags = uapi::NF_NAT_RANGE_PROTO_SPECIFIED;
        let redirect = Redir { proto_min: Some(R1), proto_max: Some(R1), flags };
        let redirect = [l4proto, is_tcp, value(1, Data::be16(15_001)), redirect.into()];
        batch.add_rule(&rule("redirect"), Position::Append, &redirect);
        Socket::open().unwrap().commit(&mut batch).unwrap();

        let Some(listed) = nft(&["list", "ruleset"]) else { return };
        let expected = "\
table inet mesh {
	comment \"mesh\"
	set ports {
		type inet_service
		elements = { 80, 443 }
	}

	chain output {
		type nat hook output priority -100; policy accept;
		meta skuid 1337 counter packets 0 bytes 0 return comment \"proxy\"
		tcp dport @ports jump redirect
	}

	chain redirect {
		meta l4proto tcp redirect to :15001
	}
}
";
        assert_eq!(listed, expected);
    });
}

/// What `nft` makes in one namespace, with everything that this crate has types for and some that it has none for.
const RULESET: &str = r#"
table ip6 other { comment "mesh"; chain c { accept; }; }
table inet mesh {
    set addresses { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1 } }
    set timed { type inet_service; size 100; timeout 1h; elements = { 80 timeout 30m, 443 comment "web" } }
    set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0-10.0.0.255 . 80 } }
    map values { type inet_service : ipv4_addr; elements = { 80 : 1.2.3.4 } }
    map verdicts { type inet_service : verdict; elements = { 22 : jump regular, 25 : drop } }
    chain regular { }
    chain before {
        type nat hook prerouting priority -100; policy accept;
        ip daddr 10.0.0.0/9 accept
        ip protocol tcp redirect to :15006
        tcp dport 2 redirect to :1000-2000 random
        tcp dport 3 dnat ip to 1.2.3.4:80
        tcp dport 5 dnat ip to tcp dport map @values
        tcp dport vmap @verdicts
    }
    chain after {
        type nat hook postrouting priority 100; policy accept;
        meta l4proto tcp masquerade to :1024-2048 random
        ip daddr 1.1.1.1 snat ip to 1.2.3.4-1.2.3.9 persistent
    }
    chain mangle {
        type filter hook prerouting priority mangle; policy drop;
        meta mark set ct mark << 8
        ct state established,related accept
        ct original ip saddr 1.2.3.4 return
        iifname "lo" meta skuid 1337 counter packets 5 bytes 700 return comment "proxy"
        tcp dport != 80-90 goto regular
        ip saddr != @addresses ip saddr . tcp dport @pairs accept
        tcp dport { 80, 443 } accept
        tcp dport vmap { 22 : accept, 25 : drop }
        socket wildcard 0 socket mark 0x1 accept
        meta l4proto tcp tproxy to :15001
        ip saddr set 1.2.3.4 tcp dport set 8080
        notrack
        limit rate 10/second log prefix "mesh" fib daddr type local return
        ct mark 0x6f-0x14d accept
    }
}
"#;

/// Reads everything and writes it into a batch.
fn copy(socket: &mut Socket) -> Batch {
    let mut batch = Batch::new();
    let mut tables = Vec::new();
    socket
        .tables(Family::Unspec, |table| {
            batch.add_table(&table);
            tables.push((table.family, table.name.to_name()));
            Ok(())
        })
        .unwrap();
    socket
        .chains(Family::Unspec, |chain| {
            batch.add_chain(&chain);
            Ok(())
        })
        .unwrap();
    for (family, table) in &tables {
        let mut sets = Vec::new();
        socket
            .sets(*family, Some(table.into()), |set| {
                let id = batch.take_set_id();
                batch.add_set(&Set { id, ..set.clone() });
                sets.push((set.name.to_name(), id));
                Ok(())
            })
            .unwrap();
        for (set, id) in sets {
            socket
                .elements(*family, table, &set, |list| {
                    let elements: Vec<_> = list.elements().collect::<Result<_, _>>()?;
                    batch.add_elements(&ElementList::new(*family, table, &set, id), &elements);
                    Ok(())
                })
                .unwrap();
        }
        socket
            .rules(*family, Some(table.into()), |rule| {
                let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
                batch.add_rule(&rule, Position::Append, &expressions);
                Ok(())
            })
            .unwrap();
    }
    batch
}

/// A ruleset of nft's, read and written by this crate into another namespace, is the same ruleset to nft.
#[test]
fn a_ruleset_of_nfts_read_and_written() {
    let list = || {
        let listed = nft(&["--debug=netlink", "list", "ruleset"])?;
        // Handles, what is left of a timeout, and the order of a hash table's elements, which nft sorts further down.
        let passing = |line: &str| {
            ["inet ", "ip6 ", "\telement "].iter().any(|start| line.starts_with(start))
                || line.contains("expires")
        };
        Some(listed.lines().filter(|line| !passing(line)).map(str::to_owned).collect::<Vec<_>>())
    };
    in_new_namespace(|| {
        nft(&[RULESET])?;
        let mut batch = copy(&mut Socket::open().unwrap());
        let theirs = list()?;
        assert!(theirs.len() > 150, "{theirs:#?}");
        let ours = in_new_namespace(|| {
            Socket::open().unwrap().commit(&mut batch).unwrap();
            list()
        });
        assert_eq!(ours??, theirs);
        Some(())
    });
}

/// A chain that `nft` binds to a rule is distinguished from the others.
#[test]
fn a_chain_that_belongs_to_a_rule() {
    in_new_namespace(|| {
        nft(&["table inet mesh { chain regular { jump { accept; }; }; }"])?;
        let mut chains = Vec::new();
        Socket::open()
            .unwrap()
            .chains(FAMILY, |chain| {
                chains.push((
                    chain.name.as_bytes().starts_with(b"__chain"),
                    chain.flags.contains(ChainFlags::BINDING),
                ));
                Ok(())
            })
            .unwrap();
        chains.sort_unstable();
        assert_eq!(chains, [(false, false), (true, true)]);
        Some(())
    });
}

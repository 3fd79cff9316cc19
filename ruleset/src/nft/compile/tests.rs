use nftwire::SetFlags;
use nftwire::expr::{CtKey, PayloadBase};

use nftwire::Register;
use nftwire::expr::{
    Access, Bitwise, Cmp, CmpOp, Counter, Ct, Immediate, Lookup, Meta, MetaKey, Operation, Payload,
    PayloadAction, Redir, Tproxy,
};

use nftwire::{Device, Text};

use super::*;
use crate::model::option::{OptionField, OptionKind};
use crate::nft::decompile;
use crate::{DataType, Op, Operator, Selector};
use crate::{Element, IP6_DADDR, IpPrefix, Operand, Range, Set, SetValue, TCP_DPORT, Target, UDP_DPORT};

/// The comment next to each expression is what `nft --debug=netlink` shows for it, on a little endian machine.
#[track_caller]
fn compiles_in(family: Family, rule: &Rule, expressions: &[Expr<'_>]) {
    let first_set_id = 7;
    assert_eq!(compile(family, rule, first_set_id).unwrap().expressions, expressions, "{rule}");
}

#[track_caller]
fn compiles(rule: &Rule, expressions: &[Expr<'_>]) {
    compiles_in(Family::Inet, rule, expressions);
}

fn meta(key: MetaKey) -> Expr<'static> {
    Meta { key, access: Access::Load(Register::R1) }.into()
}

fn set_meta(key: MetaKey) -> Expr<'static> {
    Meta { key, access: Access::Store(Register::R1) }.into()
}

fn ct(key: CtKey) -> Expr<'static> {
    Ct { key, direction: None, access: Access::Load(Register::R1) }.into()
}

fn set_ct(key: CtKey) -> Expr<'static> {
    Ct { key, direction: None, access: Access::Store(Register::R1) }.into()
}

fn network(offset: u32, len: u32) -> Expr<'static> {
    let action = PayloadAction::Load(Register::R1);
    Payload { base: PayloadBase::Network, offset, len, action }.into()
}

fn transport(offset: u32, len: u32) -> Expr<'static> {
    let action = PayloadAction::Load(Register::R1);
    Payload { base: PayloadBase::Transport, offset, len, action }.into()
}

fn eq(data: &[u8]) -> Expr<'static> {
    Cmp { sreg: Register::R1, op: CmpOp::Eq, data: Data::new(data) }.into()
}

fn neq(data: &[u8]) -> Expr<'static> {
    Cmp { sreg: Register::R1, op: CmpOp::Neq, data: Data::new(data) }.into()
}

fn bitwise(mask: &[u8], xor: &[u8]) -> Expr<'static> {
    let len = u32::try_from(mask.len()).unwrap();
    let operation = Operation::MaskXor { mask: Data::new(mask), xor: Data::new(xor) };
    Bitwise { sreg: Register::R1, dreg: Register::R1, len, operation }.into()
}

fn immediate(data: &[u8]) -> Expr<'static> {
    Immediate::Value { dreg: Register::R1, data: Data::new(data) }.into()
}

fn verdict(verdict: nftwire::Verdict<'_>) -> Expr<'_> {
    Immediate::Verdict(verdict).into()
}

fn to(prefix: &str) -> Rule {
    Rule::new().daddr(Op::Eq, prefix.parse::<IpPrefix>().unwrap())
}

#[test]
fn a_port() {
    compiles(
        &Rule::new().port(TCP_DPORT, Op::Eq, 15008).counter().returns(),
        &[
            meta(MetaKey::L4Proto),            // [ meta load l4proto => reg 1 ]
            eq(&[6]),                          // [ cmp eq reg 1 0x00000006 ]
            transport(2, 2),                   // [ payload load 2b @ transport header + 2 => reg 1 ]
            eq(&[0x3a, 0xa0]),                 // [ cmp eq reg 1 0x0000a03a ]
            Counter::default().into(),         // [ counter pkts 0 bytes 0 ]
            verdict(nftwire::Verdict::Return), // [ immediate reg 0 return ]
        ],
    );
}

#[test]
fn whole_addresses() {
    compiles(
        &Rule::new().daddr(Op::Ne, "127.0.0.1/32".parse::<IpPrefix>().unwrap()),
        &[
            meta(MetaKey::NfProto), // [ meta load nfproto => reg 1 ]
            eq(&[2]),               // [ cmp eq reg 1 0x00000002 ]
            network(16, 4),         // [ payload load 4b @ network header + 16 => reg 1 ]
            neq(&[127, 0, 0, 1]),   // [ cmp neq reg 1 0x0100007f ]
        ],
    );
    compiles(
        &Rule::new().saddr(Op::Eq, "::6/128".parse::<IpPrefix>().unwrap()),
        &[
            meta(MetaKey::NfProto), // [ meta load nfproto => reg 1 ]
            eq(&[10]),              // [ cmp eq reg 1 0x0000000a ]
            network(8, 16),         // [ payload load 16b @ network header + 8 => reg 1 ]
            // [ cmp eq reg 1 0x00000000 0x00000000 0x00000000 0x06000000 ]
            eq(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]),
        ],
    );
}

#[test]
fn a_prefix_of_whole_bytes_loads_only_those() {
    compiles(
        &to("192.168.7.9/24"),
        &[
            meta(MetaKey::NfProto), // [ meta load nfproto => reg 1 ]
            eq(&[2]),               // [ cmp eq reg 1 0x00000002 ]
            network(16, 3),         // [ payload load 3b @ network header + 16 => reg 1 ]
            eq(&[192, 168, 7]),     // [ cmp eq reg 1 0x0007a8c0 ]
        ],
    );
    compiles(
        &to("2001:db8::/32"),
        &[
            meta(MetaKey::NfProto),        // [ meta load nfproto => reg 1 ]
            eq(&[10]),                     // [ cmp eq reg 1 0x0000000a ]
            network(24, 4),                // [ payload load 4b @ network header + 24 => reg 1 ]
            eq(&[0x20, 0x01, 0x0d, 0xb8]), // [ cmp eq reg 1 0xb80d0120 ]
        ],
    );
}

#[test]
fn any_other_prefix_is_masked() {
    compiles(
        &Rule::new().daddr(Op::Ne, "172.16.3.4/12".parse::<IpPrefix>().unwrap()),
        &[
            meta(MetaKey::NfProto), // [ meta load nfproto => reg 1 ]
            eq(&[2]),               // [ cmp eq reg 1 0x00000002 ]
            network(16, 4),         // [ payload load 4b @ network header + 16 => reg 1 ]
            // [ bitwise reg 1 = ( reg 1 & 0x0000f0ff ) ^ 0x00000000 ]
            bitwise(&[255, 240, 0, 0], &[0; 4]),
            neq(&[172, 16, 0, 0]), // [ cmp neq reg 1 0x000010ac ]
        ],
    );
    compiles(
        &to("2001:db8:8000::/33"),
        &[
            meta(MetaKey::NfProto), // [ meta load nfproto => reg 1 ]
            eq(&[10]),              // [ cmp eq reg 1 0x0000000a ]
            network(24, 16),        // [ payload load 16b @ network header + 24 => reg 1 ]
            // [ bitwise reg 1 = ( reg 1 & 0xffffffff 0x00000080 0x00000000 0x00000000 ) ^
            //   0x00000000 0x00000000 0x00000000 0x00000000 ]
            bitwise(&[255, 255, 255, 255, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0; 16]),
            // [ cmp eq reg 1 0xb80d0120 0x00000080 0x00000000 0x00000000 ]
            eq(&[0x20, 0x01, 0x0d, 0xb8, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ],
    );
    compiles(
        &to("0.0.0.0/0"),
        &[
            meta(MetaKey::NfProto),    // [ meta load nfproto => reg 1 ]
            eq(&[2]),                  // [ cmp eq reg 1 0x00000002 ]
            network(16, 4),            // [ payload load 4b @ network header + 16 => reg 1 ]
            bitwise(&[0; 4], &[0; 4]), // [ bitwise reg 1 = ( reg 1 & 0x00000000 ) ^ 0x00000000 ]
            eq(&[0; 4]),               // [ cmp eq reg 1 0x00000000 ]
        ],
    );
}

#[test]
fn an_interface_or_the_beginning_of_several() {
    compiles(
        &Rule::new().iifname("eth0"),
        &[
            meta(MetaKey::IifName), // [ meta load iifname => reg 1 ]
            // [ cmp eq reg 1 0x30687465 0x00000000 0x00000000 0x00000000 ]
            eq(b"eth0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ],
    );
    compiles(
        &Rule::new().matches(Selector::OIFNAME, Op::Eq, Data::new(b"eth")),
        &[
            meta(MetaKey::OifName), // [ meta load oifname => reg 1 ]
            eq(b"eth"),             // [ cmp eq reg 1 0x00687465 ]
        ],
    );
}

#[test]
fn owners_and_marks() {
    compiles(
        &Rule::new().skuid(Op::Ne, 1337).skgid(Op::Eq, 1337).mark(Op::Ne, 1338),
        &[
            meta(MetaKey::SkUid),         // [ meta load skuid => reg 1 ]
            neq(&1337_u32.to_ne_bytes()), // [ cmp neq reg 1 0x00000539 ]
            meta(MetaKey::SkGid),         // [ meta load skgid => reg 1 ]
            eq(&1337_u32.to_ne_bytes()),  // [ cmp eq reg 1 0x00000539 ]
            meta(MetaKey::Mark),          // [ meta load mark => reg 1 ]
            neq(&1338_u32.to_ne_bytes()), // [ cmp neq reg 1 0x0000053a ]
        ],
    );
}

#[test]
fn flags_of_a_connection() {
    compiles(
        &Rule::new().ct_state(CtKey::STATE_ESTABLISHED | CtKey::STATE_RELATED),
        &[
            ct(CtKey::State), // [ ct load state => reg 1 ]
            // [ bitwise reg 1 = ( reg 1 & 0x00000006 ) ^ 0x00000000 ]
            bitwise(&6_u32.to_ne_bytes(), &[0, 0, 0, 0]),
            neq(&[0, 0, 0, 0]), // [ cmp neq reg 1 0x00000000 ]
        ],
    );
}

#[test]
fn some_bits_of_a_mark() {
    let selector = Selector::MARK;
    let mark = |value| Expression::constant(DataType::Mark, Data::ne32(value));
    let low = Expression::binary(selector.into(), Operator::And, mark(0xfff));
    compiles(
        &Rule::new().test(low, Op::Eq, mark(0x539)),
        &[
            meta(MetaKey::Mark), // [ meta load mark => reg 1 ]
            // [ bitwise reg 1 = ( reg 1 & 0x00000fff ) ^ 0x00000000 ]
            bitwise(&0xfff_u32.to_ne_bytes(), &[0, 0, 0, 0]),
            eq(&0x539_u32.to_ne_bytes()), // [ cmp eq reg 1 0x00000539 ]
        ],
    );
    let kept = Expression::binary(selector.into(), Operator::And, mark(0xffff_00ff));
    let part = Expression::binary(kept, Operator::Or, mark(0x1200));
    compiles(
        &Rule::new().set(Target::MARK, part),
        &[
            meta(MetaKey::Mark), // [ meta load mark => reg 1 ]
            // [ bitwise reg 1 = ( reg 1 & 0xffff00ff ) ^ 0x00001200 ]
            bitwise(&0xffff_00ff_u32.to_ne_bytes(), &0x1200_u32.to_ne_bytes()),
            set_meta(MetaKey::Mark), // [ meta set mark with reg 1 ]
        ],
    );
}

#[test]
fn what_is_set() {
    compiles(
        &Rule::new().set(Target::MARK, Data::ne32(1337)).set(Target::CT_ZONE, Data::ne16(2)),
        &[
            immediate(&1337_u32.to_ne_bytes()), // [ immediate reg 1 0x00000539 ]
            set_meta(MetaKey::Mark),            // [ meta set mark with reg 1 ]
            immediate(&2_u16.to_ne_bytes()),    // [ immediate reg 1 0x00000002 ]
            set_ct(CtKey::Zone),                // [ ct set zone with reg 1 ]
        ],
    );
    compiles(
        &Rule::new().set(Target::CT_MARK, Selector::MARK).set(Target::MARK, Selector::CT_MARK),
        &[
            meta(MetaKey::Mark),     // [ meta load mark => reg 1 ]
            set_ct(CtKey::Mark),     // [ ct set mark with reg 1 ]
            ct(CtKey::Mark),         // [ ct load mark => reg 1 ]
            set_meta(MetaKey::Mark), // [ meta set mark with reg 1 ]
        ],
    );
}

#[test]
fn redirect_as_the_kernel_shows_it() {
    let redir = Redir {
        proto_min: Some(Register::R1),
        proto_max: Some(Register::R1),
        flags: uapi::NF_NAT_RANGE_PROTO_SPECIFIED,
    };
    compiles(
        &Rule::new().tcp().redirect(15001),
        &[
            meta(MetaKey::L4Proto),   // [ meta load l4proto => reg 1 ]
            eq(&[6]),                 // [ cmp eq reg 1 0x00000006 ]
            immediate(&[0x3a, 0x99]), // [ immediate reg 1 0x0000993a ]
            redir.into(),             // [ redir proto_min reg 1 proto_max reg 1 flags 0x2 ]
        ],
    );
}

#[test]
fn tproxy_of_a_family() {
    for family in [Family::Ipv4, Family::Ipv6] {
        let port = Some(Register::R1);
        compiles(
            &Rule::new().tproxy(family, 15006),
            &[
                immediate(&[0x3a, 0x9e]), // [ immediate reg 1 0x00009e3a ]
                // [ tproxy ip port reg 1 ], [ tproxy ip6 port reg 1 ]
                Tproxy { family, addr: None, port }.into(),
            ],
        );
    }
}

#[test]
fn verdicts() {
    compiles(&Rule::new().accept(), &[verdict(nftwire::Verdict::Accept)]); // [ immediate reg 0 accept ]
    compiles(&Rule::new().drop(), &[verdict(nftwire::Verdict::Drop)]); // [ immediate reg 0 drop ]
    compiles(&Rule::new().returns(), &[verdict(nftwire::Verdict::Return)]); // [ immediate reg 0 return ]
    // [ immediate reg 0 jump -> c ]
    compiles(&Rule::new().jump("c"), &[verdict(nftwire::Verdict::Jump("c".into()))]);
}

#[test]
fn a_set_of_ports_belongs_to_its_rule() {
    let ports = [15008, 53, 53].map(Data::be16).to_vec();
    let rule = Rule::new().compare(Selector::Payload(TCP_DPORT), Op::Ne, Operand::Set(ports));
    let compiled = compile(Family::Inet, &rule, 7).unwrap();
    let lookup = Lookup { set: "__set%d".into(), set_id: 7, sreg: Register::R1, dreg: None, inverted: true };
    let expressions = [
        meta(MetaKey::L4Proto), // [ meta load l4proto => reg 1 ]
        eq(&[6]),               // [ cmp eq reg 1 0x00000006 ]
        transport(2, 2),        // [ payload load 2b @ transport header + 2 => reg 1 ]
        lookup.into(),          // [ lookup reg 1 set __set%d 0x1 ]
    ];
    assert_eq!(compiled.expressions, expressions);
    let set = AnonymousSet {
        key_type: DataType::InetService.set_number(),
        fields: Vec::new(),
        values: None,
        key_len: 2,
        interval: false,
        verdicts: false,
        object: None,
        userdata: Vec::new(),
        meter: None,
        keys: [53, 15008].map(|port| SetKey::new(Data::be16(port), false)).to_vec(), // element 00003500, element 0000a03a
    };
    assert_eq!(compiled.sets, [set]);
}

#[test]
fn a_protocol_is_asked_for_once() {
    compiles(
        &to("10.0.0.1/32")
            .port(UDP_DPORT, Op::Eq, 53)
            .saddr(Op::Eq, "10.0.0.0/8".parse::<IpPrefix>().unwrap()),
        &[
            meta(MetaKey::NfProto), // [ meta load nfproto => reg 1 ]
            eq(&[2]),               // [ cmp eq reg 1 0x00000002 ]
            network(16, 4),         // [ payload load 4b @ network header + 16 => reg 1 ]
            eq(&[10, 0, 0, 1]),     // [ cmp eq reg 1 0x0100000a ]
            meta(MetaKey::L4Proto), // [ meta load l4proto => reg 1 ]
            eq(&[17]),              // [ cmp eq reg 1 0x00000011 ]
            transport(2, 2),        // [ payload load 2b @ transport header + 2 => reg 1 ]
            eq(&[0, 53]),           // [ cmp eq reg 1 0x00003500 ]
            network(12, 1),         // [ payload load 1b @ network header + 12 => reg 1 ]
            eq(&[10]),              // [ cmp eq reg 1 0x0000000a ]
        ],
    );
}

#[test]
fn a_protocol_that_the_rule_asks_for_is_not_asked_for_again() {
    let to_private = Operand::Prefix("fd00::/8".parse().unwrap());
    let rule = Rule::new().ipv6().tcp().compare(Selector::Payload(IP6_DADDR), Op::Eq, to_private);
    compiles(
        &rule.port(TCP_DPORT, Op::Eq, 80),
        &[
            meta(MetaKey::NfProto), // [ meta load nfproto => reg 1 ]
            eq(&[10]),              // [ cmp eq reg 1 0x0000000a ]
            meta(MetaKey::L4Proto), // [ meta load l4proto => reg 1 ]
            eq(&[6]),               // [ cmp eq reg 1 0x00000006 ]
            network(24, 1),         // [ payload load 1b @ network header + 24 => reg 1 ]
            eq(&[0xfd]),            // [ cmp eq reg 1 0x000000fd ]
            transport(2, 2),        // [ payload load 2b @ transport header + 2 => reg 1 ]
            eq(&[0, 80]),           // [ cmp eq reg 1 0x00005000 ]
        ],
    );
    let not_tcp = Rule::new().matches(Selector::L4PROTO, Op::Ne, Data::new(&[6]));
    compiles(
        &not_tcp.port(TCP_DPORT, Op::Eq, 80),
        &[
            meta(MetaKey::L4Proto), // [ meta load l4proto => reg 1 ]
            neq(&[6]),              // [ cmp neq reg 1 0x00000006 ]
            meta(MetaKey::L4Proto), // [ meta load l4proto => reg 1 ]
            eq(&[6]),               // [ cmp eq reg 1 0x00000006 ]
            transport(2, 2),        // [ payload load 2b @ transport header + 2 => reg 1 ]
            eq(&[0, 80]),           // [ cmp eq reg 1 0x00005000 ]
        ],
    );
}

#[test]
fn a_table_of_one_family_has_only_its_packets() {
    compiles_in(
        Family::Ipv4,
        &to("10.0.0.1/32").port(TCP_DPORT, Op::Eq, 80),
        &[
            network(16, 4),         // [ payload load 4b @ network header + 16 => reg 1 ]
            eq(&[10, 0, 0, 1]),     // [ cmp eq reg 1 0x0100000a ]
            meta(MetaKey::L4Proto), // [ meta load l4proto => reg 1 ]
            eq(&[6]),               // [ cmp eq reg 1 0x00000006 ]
            transport(2, 2),        // [ payload load 2b @ transport header + 2 => reg 1 ]
            eq(&[0, 80]),           // [ cmp eq reg 1 0x00005000 ]
        ],
    );
}

#[test]
fn ranges_in_a_set_are_the_ends_that_nft_makes_of_them() {
    let ports = |from, to| Expression::Range(Box::new(Range { from: port(from), to: port(to) }));
    let elements = [port(443), ports(1000, 1999), ports(2000, 65535), port(80)].map(Element::new);
    let right = Operand::Expression(Expression::Set(elements.to_vec()));
    let rule = Rule::new().compare(Selector::Payload(TCP_DPORT), Op::Eq, right);
    let compiled = compile(Family::Inet, &rule, 1).unwrap();
    let key = |port, end| SetKey::new(Data::be16(port), end);
    let mut keys =
        vec![key(0, true), key(80, false), key(81, true), key(443, false), key(444, true), key(1000, false)];
    // Nothing ends the last one.
    keys[5].details.get_or_insert_default().userdata =
        [1, 4].into_iter().chain(1_u32.to_ne_bytes()).collect();
    assert_eq!(
        compiled.sets,
        [AnonymousSet {
            key_type: DataType::InetService.set_number(),
            fields: Vec::new(),
            values: None,
            key_len: 2,
            interval: true,
            verdicts: false,
            object: None,
            userdata: Vec::new(),
            meter: None,
            keys
        }]
    );
}

fn port(port: u16) -> Expression {
    Expression::constant(DataType::InetService, Data::be16(port))
}

#[test]
fn a_comment_is_kept_as_nft_keeps_it() {
    let compiled =
        |text: &str| compile(Family::Inet, &Rule::new().accept().comment(text), 1).map(|c| c.userdata);
    assert_eq!(compiled("hi"), Ok(b"\0\x03hi\0".to_vec()));
    assert!(compiled(&"x".repeat(127)).is_ok());
    assert!(compiled(&"x".repeat(128)).is_err());
}

#[test]
fn what_only_can_be_shown_is_refused() {
    let unknown = Rule::new().then(Statement::Unknown("tunnel Tunnel { key: Id }".into()));
    let error = compile(Family::Inet, &unknown, 1).unwrap_err();
    assert_eq!(error, NotCompiled::Unknown("tunnel".into()));
    assert_eq!(error.to_string(), "cannot compile `tunnel`: this expression is not known");
}

// Sets with a name.

fn addresses(flags: u32, elements: &[&str]) -> Set {
    let element = |text: &&str| Element::new(Expression::network(text.parse::<IpPrefix>().unwrap()));
    Set { flags, elements: elements.iter().map(element).collect(), ..Set::new("s", DataType::Ipv4Addr) }
}

#[test]
fn a_set_of_single_values() {
    let set = named_set(&addresses(0, &["10.0.0.2/32", "10.0.0.1/32", "10.0.0.2/32"])).unwrap();
    let key_type = DataType::Ipv4Addr.set_number();
    assert_eq!((set.key_type, set.key_len, set.flags), (key_type, 4, SetFlags::default()));
    // As nft 1.0.6 has it: key_byte_order big endian.
    let byte_order = |number: u32| [&[0, 4][..], &number.to_ne_bytes()].concat();
    assert_eq!(set.userdata, byte_order(2));
    let key = |last| SetKey::new(Data::new(&[10, 0, 0, last]), false);
    assert_eq!(set.keys, [key(1), key(2)]);
    assert_eq!(named_set(&Set::new("s", DataType::Mark)).unwrap().userdata, byte_order(1));
}

/// With the flag every value is a range, also where all of them are single.
#[test]
fn a_set_of_ranges() {
    let key = |bytes: &[u8], end| SetKey::new(Data::new(bytes), end);
    let interval = SetFlags::INTERVAL.0;
    assert_eq!(
        named_set(&addresses(interval, &["10.0.0.0/8"])).unwrap().keys,
        [key(&[0; 4], true), key(&[10, 0, 0, 0], false), key(&[11, 0, 0, 0], true)]
    );
    assert_eq!(
        named_set(&addresses(interval, &["10.0.0.1/32"])).unwrap().keys,
        [key(&[0; 4], true), key(&[10, 0, 0, 1], false), key(&[10, 0, 0, 2], true)]
    );
}

#[test]
fn sets_that_only_can_be_shown() {
    let refused = |set: &Set| named_set(set).unwrap_err();
    let plain = |keys: &[&str]| addresses(0, keys);
    assert_eq!(refused(&plain(&["10.0.0.0/8"])), SetFault::NotInterval.into());
    // A set's elements lead nowhere, and a map's to what it is a map of.
    let mut map = Set { value: Some(SetValue::Verdict), ..plain(&["10.0.0.1/32"]) };
    map.elements[0].value = Some(Expression::Name("web".into()));
    assert_eq!(refused(&map), SetFault::Element.into());
    map.value = None;
    assert_eq!(refused(&map), SetFault::Element.into());
    let mut fields = plain(&[]);
    fields.key.types.push(fields.key.types[0]);
    fields.elements.push(Element::new(Expression::Concat(vec![Expression::constant(
        DataType::Ipv4Addr,
        Data::new(&[10, 0, 0, 1]),
    )])));
    assert_eq!(refused(&fields), SetFault::Fields.into());
    // nft writes it as the option's first field.
    let mut of_presence = plain(&[]);
    of_presence.key.expression = Some(Selector::Option(OptionField::presence_of(OptionKind::Tcp, 2)).into());
    assert_eq!(refused(&of_presence), SetFault::Typeof.into());
    let commented = |len| Set { comment: Some("c".repeat(len).into()), ..plain(&[]) };
    assert!(named_set(&commented(127)).is_ok());
    assert_eq!(refused(&commented(255)), SetFault::Userdata.into());
}

/// Without it nft 1.0.6 shows names of interfaces as empty texts.
#[test]
fn a_set_of_keys_in_host_order_names_its_byte_order() {
    let names = ["eth0", "eth1"]
        .map(|name| Element::new(Expression::constant(DataType::InterfaceName, Data::interface(name))));
    let right = Operand::Expression(Expression::Set(names.to_vec()));
    let rule = Rule::new().compare(Selector::IIFNAME, Op::Eq, right);
    let compiled = compile(Family::Inet, &rule, 1).unwrap();
    let [set] = compiled.sets.as_slice() else { panic!("{:?}", compiled.sets) };
    let host_order = [0, 4].into_iter().chain(1_u32.to_ne_bytes());
    assert_eq!(set.userdata, host_order.collect::<Vec<_>>());
}

/// Patterns, and names that look like them.
#[test]
fn devices_and_flowtables_compile_to_what_they_were_read_from() {
    let names: [&[u8]; 8] = [b"eth0", b"eth*", b"*", b"a\\", b"a\\*", b"a*\\", b"a*\\\\", b"caf\xe9"];
    let names = names.iter().map(|name| Text::from_bytes(name));
    let devices: Vec<_> = names.flat_map(|name| [Device::Name(name), Device::Prefix(name)]).collect();
    let mut seen = std::collections::HashSet::new();
    for device in &devices {
        let model = decompile::device(device);
        assert_eq!(table::device(&model), *device, "{model}");
        assert!(seen.insert(model), "{device:?}");
    }
    for (flags, priority, count) in [(0, 0, 0), (1, -1, 1), (3, i32::MIN, 16), (0x8000_0004, i32::MAX, 5)] {
        let wire = nftwire::Flowtable {
            flags: nftwire::FlowtableFlags(flags),
            priority,
            devices: devices[..count].to_vec(),
            ..nftwire::Flowtable::new(Family::Inet, "t", Text::from_bytes(b"\xff f"))
        };
        let model = decompile::flowtable(&wire);
        let mut compiled = table::flowtable(Family::Inet, "t".into(), &model);
        // The kernel binds them all, whatever their order.
        let mut sorted = wire.clone();
        sorted.devices.sort();
        compiled.devices.sort();
        assert_eq!(compiled, sorted);
    }
}

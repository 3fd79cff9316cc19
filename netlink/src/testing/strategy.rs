//! Strategies for everything that can be encoded.
//!
//! What borrows, borrows from a text and from bytes that live as long as the process.

use std::sync::LazyLock;

use proptest::option;
use proptest::prelude::*;

use crate::Text;
use crate::expr::{
    Access, Bitwise, Cmp, CmpOp, Counter, Ct, CtKey, Expr, Immediate, Lookup, Masq, Meta, MetaKey, Nat,
    NatKind, Operation, Payload, PayloadAction, PayloadBase, Range, Redir, Socket, SocketKey, Tproxy,
    Unknown,
};
use crate::{
    BaseChain, Chain, Data, Element, ElementData, Family, Hook, Policy, Register, Set, SetFlags, Table,
    TableFlags, Verdict, uapi,
};

static TEXT: LazyLock<String> =
    LazyLock::new(|| ('a'..='z').chain('0'..='9').chain("-_./%".chars()).cycle().take(1024).collect());
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=u8::MAX).cycle().step_by(7).take(1024).collect());

/// Names of up to 255 bytes; the kernel takes an empty one, too.
pub(super) fn name() -> impl Strategy<Value = Text<'static>> {
    word().prop_map(Text::new)
}

/// The kernel's own names, such as those of chain types.
pub(super) fn word() -> impl Strategy<Value = &'static str> {
    let ascii = (0..512usize, 1..uapi::NFT_NAME_MAXLEN).prop_map(|(from, len)| &TEXT[from..from + len]);
    prop_oneof![18 => ascii, 1 => Just(""), 1 => Just("größe-网格")]
}

/// Bytes that the kernel keeps for user space: none, or up to 256.
pub(super) fn userdata() -> impl Strategy<Value = &'static [u8]> {
    (0..512usize, 0..=uapi::NFT_USERDATA_MAXLEN).prop_map(|(from, len)| &BYTES[from..from + len])
}

pub(super) fn family() -> impl Strategy<Value = Family> {
    any::<u8>().prop_map(Family::from_number)
}

/// Mostly registers that there are.
pub(super) fn register() -> impl Strategy<Value = Register> {
    prop_oneof![4 => 0..=uapi::NFT_REG32_15, 1 => any::<u32>()].prop_map(Register::new)
}

/// Registers that hold values.
fn value_register() -> impl Strategy<Value = Register> {
    register().prop_filter("a register for values", |register| *register != Register::VERDICT)
}

/// Values of all lengths that registers hold.
pub(super) fn data() -> impl Strategy<Value = Data> {
    proptest::collection::vec(any::<u8>(), 0..=uapi::NFT_DATA_VALUE_MAXLEN)
        .prop_map(|bytes| Data::new(&bytes))
}

pub(super) fn verdict() -> impl Strategy<Value = Verdict<'static>> {
    const NAMED: [Verdict<'static>; 5] =
        [Verdict::Drop, Verdict::Accept, Verdict::Continue, Verdict::Break, Verdict::Return];
    prop_oneof![
        proptest::sample::select(&NAMED[..]).boxed(),
        name().prop_map(Verdict::Jump).boxed(),
        name().prop_map(Verdict::Goto).boxed(),
        // NF_STOLEN, NF_QUEUE with a number, …
        (2..i32::MAX).prop_map(|code| Verdict::Other(crate::OtherVerdict::new(code).unwrap())).boxed(),
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![register().prop_map(Access::Load), register().prop_map(Access::Store)]
}

fn operation() -> impl Strategy<Value = Operation> {
    let other = (1..9u32, option::of(data()), option::of(register()));
    prop_oneof![
        (data(), data()).prop_map(|(mask, xor)| Operation::MaskXor { mask, xor }),
        other.prop_map(|(op, data, sreg2)| Operation::Other { op, data, sreg2 }),
    ]
}

fn payload_action() -> impl Strategy<Value = PayloadAction> {
    let store = (register(), any::<u32>(), any::<u32>(), any::<u32>());
    prop_oneof![
        register().prop_map(PayloadAction::Load),
        store.prop_map(|(sreg, csum_type, csum_offset, csum_flags)| PayloadAction::Store {
            sreg,
            csum_type,
            csum_offset,
            csum_flags
        }),
    ]
}

fn ports() -> impl Strategy<Value = (Option<Register>, Option<Register>, u32)> {
    (option::of(register()), option::of(register()), any::<u32>())
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..40u32, 1 => any::<u32>()]
}

fn cmp_op() -> impl Strategy<Value = CmpOp> {
    number().prop_map(CmpOp::from_number)
}

fn bitwise() -> impl Strategy<Value = Bitwise> {
    (register(), register(), any::<u32>(), operation()).prop_map(|(sreg, dreg, len, operation)| Bitwise {
        sreg,
        dreg,
        len,
        operation,
    })
}

fn immediate() -> impl Strategy<Value = Immediate<'static>> {
    prop_oneof![
        (value_register(), data()).prop_map(|(dreg, data)| Immediate::Value { dreg, data }),
        verdict().prop_map(Immediate::Verdict),
    ]
}

fn lookup() -> impl Strategy<Value = Lookup<'static>> {
    (name(), any::<u32>(), register(), option::of(register()), any::<bool>())
        .prop_map(|(set, set_id, sreg, dreg, inverted)| Lookup { set, set_id, sreg, dreg, inverted })
}

fn nat() -> impl Strategy<Value = Nat> {
    let addresses = (option::of(register()), option::of(register()));
    (number(), family(), addresses, ports()).prop_map(
        |(kind, family, (addr_min, addr_max), (proto_min, proto_max, flags))| Nat {
            kind: NatKind::from_number(kind),
            family,
            addr_min,
            addr_max,
            proto_min,
            proto_max,
            flags,
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    (number(), any::<u32>(), any::<u32>(), payload_action()).prop_map(|(base, offset, len, action)| Payload {
        base: PayloadBase::from_number(base),
        offset,
        len,
        action,
    })
}

fn unknown() -> impl Strategy<Value = Unknown<'static>> {
    const NAMES: [&str; 8] = ["byteorders", "fibs", "limits", "log2", "no_track", "numgens", "queues", "x"];
    (proptest::sample::select(&NAMES[..]), userdata())
        .prop_map(|(name, attributes)| Unknown { name, attributes })
}

/// Any expression.
pub(super) fn expression() -> impl Strategy<Value = Expr<'static>> {
    let range = (register(), cmp_op(), data(), data());
    let socket = (number(), option::of(any::<u32>()), register());
    prop_oneof![
        bitwise().prop_map(Expr::from).boxed(),
        (register(), cmp_op(), data()).prop_map(|(sreg, op, data)| Cmp { sreg, op, data }.into()).boxed(),
        any::<(u64, u64)>().prop_map(|(bytes, packets)| Counter { bytes, packets }.into()).boxed(),
        (number(), option::of(any::<u8>()), access())
            .prop_map(|(key, direction, access)| Ct { key: CtKey::from_number(key), direction, access }.into())
            .boxed(),
        immediate().prop_map(Expr::from).boxed(),
        lookup().prop_map(Expr::from).boxed(),
        ports().prop_map(|(proto_min, proto_max, flags)| Masq { proto_min, proto_max, flags }.into()).boxed(),
        (number(), access())
            .prop_map(|(key, access)| Meta { key: MetaKey::from_number(key), access }.into())
            .boxed(),
        nat().prop_map(Expr::from).boxed(),
        payload().prop_map(Expr::from).boxed(),
        range.prop_map(|(sreg, op, from, to)| Range { sreg, op, from, to }.into()).boxed(),
        ports().prop_map(|(proto_min, proto_max, flags)| Redir { proto_min, proto_max, flags }.into()).boxed(),
        socket
            .prop_map(|(key, level, dreg)| Socket { key: SocketKey::from_number(key), level, dreg }.into())
            .boxed(),
        (family(), option::of(register()), option::of(register()))
            .prop_map(|(family, addr, port)| Tproxy { family, addr, port }.into())
            .boxed(),
        unknown().prop_map(Expr::Unknown).boxed(),
    ]
}

/// Lists of expressions, as a rule may hold them.
pub(super) fn expressions() -> impl Strategy<Value = Vec<Expr<'static>>> {
    proptest::collection::vec(expression(), 0..12)
}

pub(super) fn table() -> impl Strategy<Value = Table<'static>> {
    (family(), name(), any::<u32>(), userdata()).prop_map(|(family, name, flags, userdata)| Table {
        flags: TableFlags(flags),
        userdata,
        ..Table::new(family, name)
    })
}

fn base_chain() -> impl Strategy<Value = BaseChain<'static>> {
    let policy = option::of(prop_oneof![Just(Policy::Drop), Just(Policy::Accept)]);
    (word(), number(), any::<i32>(), policy).prop_map(|(kind, hook, priority, policy)| BaseChain {
        kind,
        hook: Hook::from_number(hook),
        priority,
        policy,
    })
}

pub(super) fn chain() -> impl Strategy<Value = Chain<'static>> {
    // A chain without a name is one that the kernel names, and has no attribute for it.
    let named = name().prop_filter("a name", |name| !name.as_bytes().is_empty());
    (family(), name(), named, option::of(base_chain()))
        .prop_map(|(family, table, name, base)| Chain { base, ..Chain::new(family, table, name) })
}

pub(super) fn set() -> impl Strategy<Value = Set<'static>> {
    let numbers = any::<(u32, u32, u32, u32, u32)>();
    let fields = proptest::collection::vec(any::<u32>(), 0..16);
    let rest = (any::<u64>(), userdata());
    (family(), (name(), name()), numbers, (any::<u32>(), any::<u32>()), fields, rest).prop_map(
        |(family, (table, name), (id, flags, key_type, key_len, size), data, fields, (timeout, userdata))| {
            let flags = SetFlags(flags);
            // A set that is not a map has no values.
            let (data_type, data_len) = if flags.contains(SetFlags::MAP) { data } else { (0, 0) };
            Set {
                id,
                flags,
                key_type,
                data_type,
                data_len,
                size,
                fields,
                timeout,
                userdata,
                ..Set::new(family, table, name, key_len)
            }
        },
    )
}

fn element() -> impl Strategy<Value = Element<'static>> {
    let value = prop_oneof![
        data().prop_map(ElementData::Value).boxed(),
        verdict().prop_map(ElementData::Verdict).boxed(),
    ];
    (data(), option::of(data()), any::<bool>(), option::of(value), any::<u64>(), userdata()).prop_map(
        |(key, key_end, interval_end, data, timeout, userdata)| Element {
            key_end,
            interval_end,
            data,
            timeout,
            userdata,
            ..Element::new(key)
        },
    )
}

/// Elements that fit into one message.
pub(super) fn elements() -> impl Strategy<Value = Vec<Element<'static>>> {
    proptest::collection::vec(element(), 1..20)
}

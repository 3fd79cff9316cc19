//! Everything that is written and read back, as strategies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use proptest::option;
use proptest::prelude::*;

use super::message;
use crate::Text;
use crate::expr::{
    Access, Byteorder, ByteorderOp, Connlimit, Counter, Dup, Dynset, DynsetOp, Expr, Exthdr, ExthdrOp, Fib,
    FibResult, FlowOffload, Fwd, Hash, HashKind, Inner, InnerKind, Last, Limit, LimitKind, Log, LogLevel,
    Match, Meta, MetaKey, Notrack, Numgen, NumgenKind, Objref, Osf, Queue, QueueNumber, Quota, Reject,
    RejectKind, Rt, RtKey, Synproxy, Target, Tunnel, TunnelKey, TunnelMode, Xfrm, XfrmKey,
};
use crate::{
    BaseChain, Chain, ChainFlags, CtExpect, CtHelper, CtTimeout, Data, Device, Element, ElementList, Family,
    Flowtable, FlowtableFlags, GeneveOption, Hook, Object, ObjectData, ObjectKind, Position, Register, Rule,
    Set, SetFlags, SetPolicy, Table, TableFlags, TunnelObject, TunnelOptions, uapi,
};

static TEXT: LazyLock<String> =
    LazyLock::new(|| ('a'..='z').chain('0'..='9').chain("-_./%".chars()).cycle().take(1024).collect());
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=u8::MAX).cycle().step_by(7).take(1024).collect());

/// A name that need not be UTF-8.
fn text() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![name().prop_map(Text::new), Just(Text::from_bytes(b"caf\xe9\x1b"))]
}

fn name() -> impl Strategy<Value = &'static str> {
    (0..512usize, 1..uapi::NFT_NAME_MAXLEN).prop_map(|(from, length)| &TEXT[from..from + length])
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    (0..512usize, 0..=uapi::NFT_USERDATA_MAXLEN).prop_map(|(from, length)| &BYTES[from..from + length])
}

fn family() -> impl Strategy<Value = Family> {
    any::<u8>().prop_map(Family::from_number)
}

fn register() -> impl Strategy<Value = Register> {
    prop_oneof![4 => 0..=uapi::NFT_REG32_15, 1 => any::<u32>()].prop_map(Register::new)
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..12u32, 1 => any::<u32>()]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![register().prop_map(Access::Load), register().prop_map(Access::Store)]
}

fn kind() -> impl Strategy<Value = ObjectKind> {
    number().prop_map(ObjectKind::from_number)
}

fn counter() -> impl Strategy<Value = Counter> {
    any::<(u64, u64)>().prop_map(|(bytes, packets)| Counter { bytes, packets })
}

/// What is sent of a quota, and received again: NFT_QUOTA_F_DEPLETED is only in dumps.
pub(super) fn quota_as_sent(quota: Quota) -> Quota {
    Quota { flags: quota.flags & !uapi::NFT_QUOTA_F_DEPLETED, ..quota }
}

fn quota() -> impl Strategy<Value = Quota> {
    any::<(u64, u32, u64)>()
        .prop_map(|(bytes, flags, consumed)| quota_as_sent(Quota { bytes, flags, consumed }))
}

fn connlimit() -> impl Strategy<Value = Connlimit> {
    any::<(u32, bool)>().prop_map(|(count, inverted)| Connlimit { count, inverted })
}

fn limit() -> impl Strategy<Value = Limit> {
    (number(), any::<(u64, u64, u32, bool)>()).prop_map(|(kind, (rate, unit, burst, inverted))| Limit {
        kind: LimitKind::from_number(kind),
        rate,
        unit,
        burst,
        inverted,
    })
}

fn synproxy() -> impl Strategy<Value = Synproxy> {
    any::<(u16, u8, u32)>().prop_map(|(mss, wscale, flags)| Synproxy { mss, wscale, flags })
}

/// Expressions that elements may have.
fn stateful() -> impl Strategy<Value = Expr<'static>> {
    prop_oneof![
        counter().prop_map(Expr::from).boxed(),
        quota().prop_map(Expr::from).boxed(),
        limit().prop_map(Expr::from).boxed(),
        connlimit().prop_map(Expr::from).boxed(),
        option::of(any::<u64>()).prop_map(|since| Last { since }.into()).boxed(),
    ]
}

fn several() -> impl Strategy<Value = Vec<Expr<'static>>> {
    proptest::collection::vec(stateful(), 0..4)
}

fn dynset() -> impl Strategy<Value = Dynset<'static>> {
    let registers = (register(), option::of(register()));
    (name(), any::<(u32, u64, bool)>(), number(), registers, several()).prop_map(
        |(set, (set_id, timeout, inverted), op, (key, data), expressions)| Dynset {
            set: set.into(),
            set_id,
            op: DynsetOp::from_number(op),
            key,
            data,
            timeout,
            inverted,
            expressions,
        },
    )
}

fn exthdr() -> impl Strategy<Value = Exthdr> {
    (number(), any::<(u8, u32, u32, bool)>(), option::of(access())).prop_map(
        |(op, (kind, offset, len, present), access)| Exthdr {
            op: ExthdrOp::from_number(op),
            kind,
            offset,
            len,
            present,
            access,
        },
    )
}

fn hash() -> impl Strategy<Value = Hash> {
    let numbers = (number(), any::<(u32, u32, u32)>(), option::of(any::<u32>()));
    (numbers, option::of(register()), register()).prop_map(
        |((kind, (len, modulus, offset), seed), sreg, dreg)| Hash {
            kind: HashKind::from_number(kind),
            sreg,
            len,
            dreg,
            modulus,
            seed,
            offset,
        },
    )
}

fn inner() -> impl Strategy<Value = Inner<'static>> {
    (number(), any::<(u32, u32)>(), number(), register()).prop_map(
        |(kind, (flags, header_size), key, dreg)| {
            let meta = Meta { key: MetaKey::from_number(key), access: Access::Load(dreg) };
            Inner {
                kind: InnerKind::from_number(kind),
                flags,
                header_size,
                expression: Box::new(meta.into()),
            }
        },
    )
}

fn log() -> impl Strategy<Value = Log<'static>> {
    let numbers =
        (any::<u32>(), option::of(any::<u16>()), option::of(any::<u32>()), option::of(any::<u16>()));
    (option::of(text()), option::of(number()), numbers).prop_map(
        |(prefix, level, (flags, group, snaplen, queue_threshold))| Log {
            prefix,
            level: level.map(LogLevel::from_number),
            flags,
            group,
            snaplen,
            queue_threshold,
        },
    )
}

fn objref() -> impl Strategy<Value = Objref<'static>> {
    prop_oneof![
        (kind(), name()).prop_map(|(kind, name)| Objref::Name { kind, name: name.into() }),
        (register(), name(), any::<u32>()).prop_map(|(sreg, set, set_id)| Objref::Map {
            sreg,
            set: set.into(),
            set_id
        }),
    ]
}

fn queue() -> impl Strategy<Value = Queue> {
    let number = prop_oneof![
        any::<(u16, u16)>().prop_map(|(first, total)| QueueNumber::Range { first, total }),
        register().prop_map(QueueNumber::Register),
    ];
    (number, any::<u16>()).prop_map(|(number, flags)| Queue { number, flags })
}

/// Expressions that read something into a register.
fn reading() -> impl Strategy<Value = Expr<'static>> {
    prop_oneof![
        (register(), register(), number(), any::<(u32, u32)>())
            .prop_map(|(sreg, dreg, op, (len, size))| {
                Byteorder { sreg, dreg, op: ByteorderOp::from_number(op), len, size }.into()
            })
            .boxed(),
        exthdr().prop_map(Expr::from).boxed(),
        (number(), any::<u32>(), register())
            .prop_map(|(result, flags, dreg)| {
                Fib { result: FibResult::from_number(result), flags, dreg }.into()
            })
            .boxed(),
        hash().prop_map(Expr::from).boxed(),
        inner().prop_map(Expr::from).boxed(),
        (number(), any::<(u32, u32)>(), register())
            .prop_map(|(kind, (modulus, offset), dreg)| {
                Numgen { kind: NumgenKind::from_number(kind), modulus, offset, dreg }.into()
            })
            .boxed(),
        (register(), any::<(u8, u32)>())
            .prop_map(|(dreg, (ttl, flags))| Osf { dreg, ttl, flags }.into())
            .boxed(),
        (number(), register())
            .prop_map(|(key, dreg)| Rt { key: RtKey::from_number(key), dreg }.into())
            .boxed(),
        (number(), option::of(number()), register())
            .prop_map(|(key, mode, dreg)| {
                Tunnel { key: TunnelKey::from_number(key), mode: mode.map(TunnelMode::from_number), dreg }
                    .into()
            })
            .boxed(),
        (number(), any::<(u8, u32)>(), register())
            .prop_map(|(key, (direction, number), dreg)| {
                Xfrm { key: XfrmKey::from_number(key), direction, number, dreg }.into()
            })
            .boxed(),
    ]
}

/// Expressions that do something.
fn acting() -> impl Strategy<Value = Expr<'static>> {
    let optional = || option::of(register());
    prop_oneof![
        (optional(), optional()).prop_map(|(addr, dev)| Dup { addr, dev }.into()).boxed(),
        dynset().prop_map(Expr::from).boxed(),
        name().prop_map(|flowtable| FlowOffload { flowtable: flowtable.into() }.into()).boxed(),
        (register(), optional(), option::of(family()))
            .prop_map(|(dev, addr, family)| Fwd { dev, addr, family }.into())
            .boxed(),
        log().prop_map(Expr::from).boxed(),
        Just(Notrack.into()).boxed(),
        objref().prop_map(Expr::from).boxed(),
        queue().prop_map(Expr::from).boxed(),
        (number(), option::of(any::<u8>()))
            .prop_map(|(kind, code)| Reject { kind: RejectKind::from_number(kind), code }.into())
            .boxed(),
        synproxy().prop_map(Expr::from).boxed(),
        (name(), any::<u32>(), bytes())
            .prop_map(|(name, revision, info)| Match { name, revision, info }.into())
            .boxed(),
        (name(), any::<u32>(), bytes())
            .prop_map(|(name, revision, info)| Target { name, revision, info }.into())
            .boxed(),
    ]
}

/// Any expression that this file is about.
pub(super) fn expression() -> impl Strategy<Value = Expr<'static>> {
    prop_oneof![stateful(), reading(), acting()]
}

fn object_data() -> impl Strategy<Value = ObjectData<'static>> {
    let l3proto = || option::of(any::<u16>());
    let policy = proptest::collection::vec((1..16u16, any::<u32>()), 0..12);
    prop_oneof![
        counter().prop_map(ObjectData::Counter).boxed(),
        quota().prop_map(ObjectData::Quota).boxed(),
        limit().prop_map(ObjectData::Limit).boxed(),
        connlimit().prop_map(ObjectData::Connlimit).boxed(),
        synproxy().prop_map(ObjectData::Synproxy).boxed(),
        (name(), l3proto(), any::<u8>())
            .prop_map(|(helper, l3proto, l4proto)| {
                ObjectData::CtHelper(CtHelper { helper: helper.into(), l3proto, l4proto })
            })
            .boxed(),
        (l3proto(), any::<u8>(), policy)
            .prop_map(|(l3proto, l4proto, policy)| {
                ObjectData::CtTimeout(CtTimeout { l3proto, l4proto, policy })
            })
            .boxed(),
        (l3proto(), any::<(u8, u16, u32, u8)>())
            .prop_map(|(l3proto, (l4proto, dport, timeout, size))| {
                ObjectData::CtExpect(CtExpect { l3proto, l4proto, dport, timeout, size })
            })
            .boxed(),
        text().prop_map(ObjectData::Secmark).boxed(),
        tunnel().prop_map(|tunnel| ObjectData::Tunnel(Box::new(tunnel))).boxed(),
        (11..20u32, bytes())
            .prop_map(|(kind, attributes)| {
                ObjectData::Unknown { kind: ObjectKind::from_number(kind), attributes }
            })
            .boxed(),
    ]
}

fn tunnel() -> impl Strategy<Value = TunnelObject> {
    let geneve = any::<(u16, u8, [u8; 8])>().prop_map(|(class, kind, data)| GeneveOption {
        class,
        kind,
        data: data.to_vec(),
    });
    let options = prop_oneof![
        any::<u32>().prop_map(TunnelOptions::Vxlan),
        any::<u32>().prop_map(|index| TunnelOptions::Erspan1 { index }),
        any::<(u8, bool)>().prop_map(|(hardware, egress)| TunnelOptions::Erspan2 { hardware, egress }),
        proptest::collection::vec(geneve, 1..4).prop_map(TunnelOptions::Geneve),
    ];
    let addresses = prop_oneof![
        any::<(Option<Ipv4Addr>, Ipv4Addr)>().prop_map(|(source, destination)| (
            source.map(IpAddr::V4),
            IpAddr::V4(destination),
            0
        )),
        any::<(Option<Ipv6Addr>, Ipv6Addr, u32)>().prop_map(|(source, destination, label)| (
            source.map(IpAddr::V6),
            IpAddr::V6(destination),
            label
        )),
    ];
    (addresses, any::<(u32, u32, u8, u8, u16, u16)>(), option::of(options)).prop_map(
        |((source, destination, flow_label), (id, flags, tos, ttl, sport, dport), options)| TunnelObject {
            id,
            source,
            destination: Some(destination),
            flow_label,
            flags,
            tos,
            ttl,
            sport,
            dport,
            options,
        },
    )
}

pub(super) fn object() -> impl Strategy<Value = Object<'static>> {
    (family(), name(), name(), bytes(), object_data()).prop_map(|(family, table, name, userdata, data)| {
        Object { userdata, ..Object::new(family, table, name, data) }
    })
}

fn devices() -> impl Strategy<Value = Vec<Device<'static>>> {
    let device = prop_oneof![text().prop_map(Device::Name), text().prop_map(Device::Prefix)];
    proptest::collection::vec(device, 0..5)
}

pub(super) fn flowtable() -> impl Strategy<Value = Flowtable<'static>> {
    (family(), name(), name(), any::<(u32, u32, i32)>(), devices()).prop_map(
        |(family, table, name, (flags, hook, priority), devices)| Flowtable {
            flags: FlowtableFlags(flags),
            hook,
            priority,
            devices,
            ..Flowtable::new(family, table, name)
        },
    )
}

pub(super) fn table() -> impl Strategy<Value = Table<'static>> {
    (family(), name(), any::<u32>(), bytes()).prop_map(|(family, name, flags, userdata)| Table {
        flags: TableFlags(flags),
        userdata,
        ..Table::new(family, name)
    })
}

pub(super) fn chain() -> impl Strategy<Value = Chain<'static>> {
    let base = (name(), number(), any::<i32>(), devices());
    let rest = (any::<u32>(), option::of(counter()), bytes());
    (family(), name(), name(), option::of(base), rest).prop_map(
        |(family, table, name, base, (flags, counters, userdata))| {
            let (base, devices) = match base {
                Some((kind, hook, priority, devices)) => {
                    let hook = Hook::from_number(hook);
                    (Some(BaseChain { kind, hook, priority, policy: None }), devices)
                }
                None => (None, Vec::new()),
            };
            let flags = ChainFlags(flags & !uapi::NFT_CHAIN_BASE);
            Chain { base, devices, flags, counters, userdata, ..Chain::new(family, table, name) }
        },
    )
}

pub(super) fn set() -> impl Strategy<Value = Set<'static>> {
    let numbers = (any::<(u32, u32, u32)>(), number(), option::of(kind()));
    (family(), name(), name(), numbers, several(), bytes()).prop_map(
        |(family, table, name, ((flags, key_len, gc_interval), policy, object), expressions, userdata)| Set {
            // A set that is not a map has no values.
            flags: SetFlags(flags & !SetFlags::MAP.0),
            gc_interval,
            policy: SetPolicy::from_number(policy),
            object,
            expressions,
            userdata,
            ..Set::new(family, table, name, key_len)
        },
    )
}

pub(super) fn element() -> impl Strategy<Value = Element<'static>> {
    let key = proptest::collection::vec(any::<u8>(), 0..=uapi::NFT_DATA_VALUE_MAXLEN);
    let flags = any::<(bool, bool, u64, u64)>();
    (key, flags, option::of(text()), several(), bytes()).prop_map(
        |(key, (interval_end, catch_all, timeout, expiration), object, expressions, userdata)| Element {
            interval_end,
            catch_all,
            object,
            expressions,
            timeout,
            expiration,
            userdata,
            ..Element::new(Data::new(&key))
        },
    )
}

pub(super) fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let rule = (name(), proptest::collection::vec(expression(), 0..8)).prop_map(|(table, expressions)| {
        message(|batch| batch.add_rule(&Rule::new(Family::Inet, table, "c"), Position::Append, &expressions))
    });
    let elements = proptest::collection::vec(element(), 1..8).prop_map(|elements| {
        message(|batch| batch.add_elements(&ElementList::new(Family::Inet, "t", "s", 0), &elements))
    });
    prop_oneof![
        object().prop_map(|object| message(|batch| batch.add_object(&object))).boxed(),
        flowtable().prop_map(|flowtable| message(|batch| batch.add_flowtable(&flowtable))).boxed(),
        chain().prop_map(|chain| message(|batch| batch.add_chain(&chain))).boxed(),
        set().prop_map(|set| message(|batch| batch.add_set(&set))).boxed(),
        rule.boxed(),
        elements.boxed(),
    ]
}

//! Statements with an effect.

use nftwire::expr::{LimitKind, NatKind as WireNatKind, Objref, QueueNumber, RejectKind, TunnelMode};
use nftwire::{Expr, Family, Register, uapi};

use super::context::{NETWORK, TRANSPORT};
use super::interval;
use super::matching::{reference, spread};
use super::payload::{complete, trim};
use super::resolve::{retype, shift_right};
use super::{Data, DataType, Decompiler, Expression, Operator, RawPayload, Selector, Statement};
use crate::model::option::OptionField;
use crate::model::statement::{
    Counter, Forward, Limit, Log, Nat, NatKind, ObjectKind, Queue, Quota, Reject, RejectWith, Synproxy,
    Tproxy, Update, UpdateOp, Verdict,
};
use crate::nft::print::tunnel_name;
use crate::{Map, Protocol, Range, SetValue};

impl Decompiler<'_> {
    pub(super) fn statement(&mut self, expression: &Expr<'_>) {
        if let Some(statement) = stateful(expression) {
            return self.push(statement);
        }
        let statement = match expression {
            Expr::Immediate(nftwire::expr::Immediate::Verdict(verdict)) => {
                match Verdict::from_wire(*verdict) {
                    Some(verdict) => Statement::Verdict(verdict),
                    None => return self.unknown("immediate", "to a chain by its number"),
                }
            }
            Expr::Nat(_) | Expr::Masq(_) | Expr::Redir(_) => return self.nat(expression),
            Expr::Tproxy(tproxy) => return self.tproxy(tproxy),
            Expr::Reject(reject) => return self.reject(*reject),
            Expr::Objref(objref) => return self.object(objref),
            Expr::Dynset(dynset) => return self.update(dynset),
            Expr::Queue(queue) => return self.queue(queue),
            Expr::Dup(dup) => return self.duplicate(dup),
            Expr::Fwd(fwd) => return self.forward(fwd),
            Expr::Log(log) => Statement::Log(Box::new(self::log(log))),
            Expr::Notrack(_) => Statement::NoTrack,
            Expr::FlowOffload(offload) => Statement::FlowAdd(offload.flowtable.into()),
            Expr::Synproxy(synproxy) => Statement::Synproxy(self::synproxy(synproxy)),
            Expr::Match(xt) => return self.xtables_match(xt),
            Expr::Target(xt) => return self.xtables_target(xt),
            Expr::Unknown(unknown) => {
                return self.unknown_load(unknown.name, &hexadecimal(unknown.attributes));
            }
            Expr::Tunnel(tunnel) => {
                let key = tunnel_name(tunnel.key);
                let mode = tunnel.mode.map_or(0, TunnelMode::number);
                return self.unknown_load("tunnel", &format!("{key} for mode {mode}"));
            }
            other => return self.unknown_load(other.name(), &format!("{other:?}")),
        };
        self.push(statement);
    }

    /// Something that cannot be shown, with its attributes.
    pub(super) fn unknown(&mut self, name: &str, attributes: &str) {
        self.push(unknown(name, attributes));
    }

    /// As [`Self::unknown`], of what may have filled any register: what is compared with next is not what was in it
    /// before.
    pub(super) fn unknown_load(&mut self, name: &str, attributes: &str) {
        self.registers.clear();
        self.unknown(name, attributes);
    }

    /// What a register holds, as a value of this type.
    fn value(&mut self, register: Register, data_type: DataType) -> Option<Expression> {
        let loaded = self.registers.get(register)?;
        let mut expression = loaded.expression;
        self.at(&mut expression, |this, expression| {
            this.resolve(expression, false);
            this.in_tunnel(expression);
        });
        retype(&mut expression, data_type);
        Some(expression)
    }

    /// `meta mark set …`, `ct zone set …`
    pub(super) fn selector_set(&mut self, target: Selector, sreg: Register) {
        let data_type = target.data_type();
        let Some(value) = self.value(sreg, data_type) else {
            return self.unknown("set", "to what is in an empty register");
        };
        let value = match value {
            Expression::Constant(constant) if data_type == DataType::CtEvent => {
                Expression::flags(constant.data_type, constant.data)
            }
            Expression::Constant(constant) => spread(constant),
            value => value,
        };
        self.push(Statement::Set { target, value });
    }

    pub(super) fn payload_set(&mut self, raw: RawPayload, sreg: Register) {
        let Some(loaded) = self.registers.get(sreg) else {
            return self.unknown("payload", "set to what is in an empty register");
        };
        let mut target = complete(&self.context, raw);
        self.imply(&target);
        let mut value = loaded.expression;
        if let Selector::Raw(raw) = target
            && let Some((field, part)) = self.part_of_word(raw, &value)
        {
            target = field;
            self.imply(&target);
            value = part;
        }
        self.resolve(&mut value, false);
        retype(&mut value, target.data_type());
        self.push(Statement::Set { target, value });
    }

    /// A field that starts between bytes is set by writing the bytes around it with what was read from them:
    /// `bytes & mask | value`.
    fn part_of_word(&self, raw: RawPayload, value: &Expression) -> Option<(Selector, Expression)> {
        let constant = |expression: &Expression| match expression {
            Expression::Constant(constant) => Some(constant.data.clone()),
            _ => None,
        };
        let Expression::Binary(outer) = value else { return None };
        let (keep, bits) = match (&outer.left, outer.operator) {
            (Expression::Binary(inner), Operator::Or) if inner.operator == Operator::And => {
                (constant(&inner.right)?, constant(&outer.right)?)
            }
            // Set to zero, or to all ones.
            (Expression::Selector(_), Operator::And) => {
                let keep = constant(&outer.right)?;
                let none = Data::zero(keep.as_bytes().len());
                (keep, none)
            }
            (Expression::Selector(_), Operator::Or) => {
                let bits = constant(&outer.right)?;
                (inverted(&bits, &bits, |bits, _| !bits), bits)
            }
            _ => return None,
        };
        // The bits that are set anew: those that are not kept, and those that are kept but overwritten by ones.
        let mask = inverted(&keep, &bits, |keep, bits| !keep | bits);
        let candidates = [inverted(&keep, &bits, |keep, bits| !keep ^ bits), mask];
        candidates.into_iter().find_map(|mask| {
            let (trimmed, shift) = trim(&self.context, raw, &mask)?;
            let field = complete(&self.context, trimmed);
            matches!(field, Selector::Payload(_)).then(|| {
                let data = shift_right(&bits, shift);
                (field, Expression::constant(field.data_type(), data))
            })
        })
    }

    pub(super) fn strip(&mut self, option: OptionField) {
        self.context.release(TRANSPORT);
        let selector = Selector::Option(OptionField { presence: true, ..option });
        self.push(Statement::ResetOption(selector));
    }

    fn nat(&mut self, expression: &Expr<'_>) {
        let (kind, family, addresses, ports, flags) = match expression {
            Expr::Nat(nat) => (
                if nat.kind == WireNatKind::Snat { NatKind::Source } else { NatKind::Destination },
                nat.family,
                [nat.addr_min, nat.addr_max],
                [nat.proto_min, nat.proto_max],
                nat.flags,
            ),
            Expr::Masq(masq) => (
                NatKind::Masquerade,
                Family::Unspec,
                [None, None],
                [masq.proto_min, masq.proto_max],
                masq.flags,
            ),
            Expr::Redir(redir) => (
                NatKind::Redirect,
                Family::Unspec,
                [None, None],
                [redir.proto_min, redir.proto_max],
                redir.flags,
            ),
            _ => return,
        };
        let address_type = if family == Family::Ipv4 { DataType::Ipv4Addr } else { DataType::Ipv6Addr };
        let address = self.ends(addresses, address_type);
        if ports[0].is_some() {
            self.context.forget_dependencies();
        }
        let (several, ranges) = address.as_ref().map_or((false, false), |address| self.map_values(address));
        // The port of a map of addresses with ports follows the address.
        let port = if several { None } else { self.ends(ports, DataType::InetService) };
        let shown = (self.context.family == Family::Inet || several || ranges)
            && matches!(family, Family::Ipv4 | Family::Ipv6);
        let implied = uapi::NF_NAT_RANGE_MAP_IPS | uapi::NF_NAT_RANGE_PROTO_SPECIFIED;
        self.push(Statement::Nat(Box::new(Nat {
            kind,
            family: shown.then_some(family),
            address,
            port,
            flags: flags & !implied,
        })));
    }

    /// Whether what a map has for a key is several fields, and whether it is a range.
    fn map_values(&self, expression: &Expression) -> (bool, bool) {
        let Expression::Map(map) = expression else { return (false, false) };
        let first = match &map.map {
            Expression::Set(elements) => elements.first().and_then(|element| element.value.clone()),
            Expression::SetName(name) => match self.sets.get(name).and_then(|set| set.value.as_ref()) {
                Some(SetValue::Data { data_type, interval }) => {
                    return (data_type.types.len() > 1, *interval);
                }
                _ => None,
            },
            _ => None,
        };
        match first {
            Some(Expression::Concat(_)) => (true, false),
            Some(Expression::Range(_) | Expression::Prefix(_)) => (false, true),
            _ => (false, false),
        }
    }

    /// One value, or a range of two.
    fn ends(&mut self, registers: [Option<Register>; 2], data_type: DataType) -> Option<Expression> {
        let [from, to] = registers;
        let first = self.value(from?, data_type)?;
        match to.filter(|to| Some(*to) != from).and_then(|to| self.value(to, data_type)) {
            Some(last) => Some(match (&first, &last) {
                (Expression::Constant(from), Expression::Constant(to)) if data_type.has_prefixes() => {
                    interval::range(&from.data, &to.data, data_type)
                }
                _ => Expression::Range(Box::new(Range { from: first, to: last })),
            }),
            None => Some(first),
        }
    }

    fn tproxy(&mut self, tproxy: &nftwire::expr::Tproxy) {
        let address_type =
            if tproxy.family == Family::Ipv4 { DataType::Ipv4Addr } else { DataType::Ipv6Addr };
        let address = self.ends([tproxy.addr, None], address_type);
        if tproxy.port.is_some() {
            self.context.forget_dependencies();
        }
        let port = self.ends([tproxy.port, None], DataType::InetService);
        let shown = self.context.family == Family::Inet && tproxy.family != Family::Unspec;
        let family = shown.then_some(tproxy.family);
        self.push(Statement::Tproxy(Box::new(Tproxy { family, address, port })));
    }

    fn reject(&mut self, reject: nftwire::expr::Reject) {
        let code = reject.code.unwrap_or(0);
        let network = self.context.protocol(NETWORK);
        let with = match (reject.kind, network) {
            (RejectKind::TcpReset, _) => RejectWith::TcpReset,
            (RejectKind::IcmpxUnreachable, _) => RejectWith::Icmpx,
            (_, Some(Protocol::Ip)) => RejectWith::Icmp,
            (_, Some(Protocol::Ip6)) => RejectWith::Icmp6,
            _ => RejectWith::Unknown,
        };
        let mut verbose = false;
        match self.context.family {
            Family::Ipv4 | Family::Ipv6 if with == RejectWith::TcpReset => self.release(TRANSPORT),
            Family::Inet | Family::Bridge | Family::Netdev if with != RejectWith::Icmpx => {
                verbose = true;
                self.release(NETWORK);
            }
            _ => {}
        }
        self.push(Statement::Reject(Reject { with, code, verbose }));
    }

    fn object(&mut self, objref: &Objref<'_>) {
        let (kind, name) = match objref {
            Objref::Name { kind, name } => (*kind, Expression::Name((*name).into())),
            Objref::Map { sreg, set: name, .. } => {
                let Some(set) = self.sets.get(name.as_bytes()) else {
                    return self.unknown("objref", &format!("by an unknown map {name}"));
                };
                let Some(loaded) = self.registers.join(*sreg, set.key.len()) else {
                    return self.unknown("objref", "by an empty register");
                };
                let kind = match set.value {
                    Some(SetValue::Object(kind)) => kind,
                    _ => ObjectKind::from_number(0),
                };
                let (mut key, mut map) = (loaded.expression, reference(*name, set));
                self.resolve_with(&mut key, &mut map);
                (kind, Expression::Map(Box::new(Map { key, map, verdicts: false })))
            }
        };
        self.push(Statement::Object { kind, name });
    }

    fn update(&mut self, dynset: &nftwire::expr::Dynset<'_>) {
        let set = self.sets.get(dynset.set.as_bytes());
        let (key_len, value_len) = set.map_or((0, 0), |set| (set.key.len(), set.value_len()));
        let Some(loaded) = self.registers.join(dynset.key, key_len) else {
            return self.unknown("dynset", "of an empty register");
        };
        let mut key = loaded.expression;
        self.resolve(&mut key, true);
        let value = dynset.data.and_then(|register| self.registers.join(register, value_len));
        let value = value.map(|loaded| {
            let mut value = loaded.expression;
            self.resolve(&mut value, true);
            if let Some(data_type) = set.and_then(crate::Set::value_type) {
                retype(&mut value, data_type);
            }
            value
        });
        // Where the set has them itself, some kernels leave them out here (5.10, 6.18.15), others do not (6.12.117, 7.3.4).
        let statements = Self::stateful(&dynset.expressions);
        let meter = set.filter(|set| set.is_anonymous() && !statements.is_empty()).map(|set| set.size);
        let op = match dynset.op.number() {
            0 => UpdateOp::Add,
            1 => UpdateOp::Update,
            _ => UpdateOp::Delete,
        };
        let timeout = dynset.timeout;
        let set = dynset.set.into();
        self.push(Statement::Update(Box::new(Update { op, set, key, value, timeout, statements, meter })));
    }

    fn queue(&mut self, queue: &nftwire::expr::Queue) {
        let number = match queue.number {
            QueueNumber::Range { first, total } => {
                let number = |number: u16| Expression::constant(DataType::Integer, Data::ne16(number));
                let last = first.saturating_add(total.max(1) - 1);
                if last == first {
                    Some(number(first))
                } else {
                    Some(Expression::Range(Box::new(Range { from: number(first), to: number(last) })))
                }
            }
            QueueNumber::Register(register) => self.value(register, DataType::Integer),
        };
        let has = |flag| queue.flags & flag != 0;
        let (bypass, fanout) = (has(uapi::NFT_QUEUE_FLAG_BYPASS), has(uapi::NFT_QUEUE_FLAG_CPU_FANOUT));
        self.push(Statement::Queue(Box::new(Queue { number, bypass, fanout })));
    }

    fn duplicate(&mut self, dup: &nftwire::expr::Dup) {
        let address_type = match self.context.family {
            Family::Ipv4 => DataType::Ipv4Addr,
            Family::Ipv6 => DataType::Ipv6Addr,
            _ => DataType::InterfaceIndex,
        };
        let address = dup.addr.and_then(|register| self.value(register, address_type));
        let device = dup.dev.and_then(|register| self.value(register, DataType::InterfaceIndex));
        self.push(Statement::Dup(Box::new(Forward { family: None, address, device })));
    }

    fn forward(&mut self, fwd: &nftwire::expr::Fwd) {
        let address_type =
            if fwd.family == Some(Family::Ipv6) { DataType::Ipv6Addr } else { DataType::Ipv4Addr };
        let device = self.value(fwd.dev, DataType::InterfaceIndex);
        let address = fwd.addr.and_then(|register| self.value(register, address_type));
        let family = fwd.family.filter(|_| address.is_some());
        self.push(Statement::Forward(Box::new(Forward { family, address, device })));
    }
}

fn inverted(left: &Data, right: &Data, byte: fn(u8, u8) -> u8) -> Data {
    let bytes: Vec<_> =
        left.as_bytes().iter().zip(right.as_bytes()).map(|(&left, &right)| byte(left, right)).collect();
    Data::new(&bytes)
}

fn log(log: &nftwire::expr::Log<'_>) -> Log {
    Log {
        prefix: log.prefix.map(Into::into),
        group: log.group,
        snaplen: log.snaplen,
        queue_threshold: log.queue_threshold,
        level: log.level.map(nftwire::expr::LogLevel::number),
        flags: log.flags,
    }
}

/// The statement that an expression with a state is, which rules, sets and elements have (`NFT_EXPR_STATEFUL` in
/// include/net/netfilter/nf_tables.h).
pub(super) fn stateful(expression: &Expr<'_>) -> Option<Statement> {
    Some(match expression {
        Expr::Counter(counter) => {
            Statement::Counter(Counter { packets: counter.packets, bytes: counter.bytes })
        }
        Expr::Limit(limit) => Statement::Limit(self::limit(limit)),
        Expr::Quota(quota) => Statement::Quota(self::quota(quota)),
        Expr::Last(last) => Statement::Last(last.since),
        Expr::Connlimit(limit) => Statement::CtCount { count: limit.count, over: limit.inverted },
        _ => return None,
    })
}

/// The statement for what a set or an element has, and what cannot be shown otherwise.
pub(super) fn of_set(expression: &Expr<'_>) -> Statement {
    stateful(expression).unwrap_or_else(|| match expression {
        Expr::Unknown(found) => unknown(found.name, &hexadecimal(found.attributes)),
        // The kernel lets sets have no others.
        other => unknown(other.name(), ""),
    })
}

fn unknown(name: &str, attributes: &str) -> Statement {
    Statement::Unknown(format!("{name} {attributes}").trim_end().replace("*/", "* /").into())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn limit(limit: &nftwire::expr::Limit) -> Limit {
    Limit {
        rate: limit.rate,
        unit: limit.unit,
        burst: limit.burst,
        bytes: limit.kind == LimitKind::Bytes,
        over: limit.inverted,
    }
}

pub(super) fn quota(quota: &nftwire::expr::Quota) -> Quota {
    Quota { bytes: quota.bytes, used: quota.consumed, over: quota.flags & uapi::NFT_QUOTA_F_INV != 0 }
}

pub(super) fn synproxy(synproxy: &nftwire::expr::Synproxy) -> Synproxy {
    Synproxy { mss: synproxy.mss, wscale: synproxy.wscale, flags: synproxy.flags }
}

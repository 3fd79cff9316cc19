//! Statements with an effect.

use nftwire::expr::{
    Access, ByteorderOp, Connlimit, Counter, Ct, Dup, Dynset, DynsetOp, Exthdr, FlowOffload, Fwd, Immediate,
    Last, Limit, LimitKind, Log, LogLevel, Meta, Notrack, Objref, Operation, Payload, PayloadAction,
    Queue as WireQueue, QueueNumber, Quota, Reject as WireReject, RejectKind, Synproxy,
};
use nftwire::{Expr, Register, SetFlags, uapi};

use super::load::{self, bits, exthdr, is_host_order};
use super::{AnonymousSet, Compiler, Meter, NotCompiled, WORDS_IN_16_BYTES, constant, register};
use crate::model::statement::{
    Forward, Log as ModelLog, ObjectKind, Queue, Reject, RejectWith, Update, UpdateOp,
};
use crate::nft::decompile::context::{Layer, NETWORK, TRANSPORT};
use crate::{Data, Expression, Field, Map, Op, Protocol, Selector, Statement};

/// A statement that a set or an element may have, too.
pub(super) fn stateful(statement: &Statement) -> Result<Expr<'static>, NotCompiled> {
    Ok(match statement {
        Statement::Counter(counter) => Counter { packets: counter.packets, bytes: counter.bytes }.into(),
        Statement::Limit(limit) => Limit {
            kind: if limit.bytes { LimitKind::Bytes } else { LimitKind::Packets },
            rate: limit.rate,
            unit: limit.unit,
            burst: limit.burst,
            inverted: limit.over,
        }
        .into(),
        Statement::Quota(quota) => Quota {
            bytes: quota.bytes,
            flags: if quota.over { uapi::NFT_QUOTA_F_INV } else { 0 },
            consumed: quota.used,
        }
        .into(),
        Statement::Last(since) => Last { since: *since }.into(),
        Statement::CtCount { count, over } => Connlimit { count: *count, inverted: *over }.into(),
        _ => return Err(NotCompiled::Expression("a statement that needs a packet")),
    })
}

impl<'a> Compiler<'a, '_> {
    pub(super) fn statement(&mut self, statement: &'a Statement) -> Result<(), NotCompiled> {
        if !matches!(statement, Statement::Match { .. }) && self.mergeable.len() > 1 {
            self.merge();
        }
        match statement {
            Statement::Match { left, op, right } => self.matches(left, *op, right)?,
            Statement::Counter(_)
            | Statement::Limit(_)
            | Statement::Quota(_)
            | Statement::Last(_)
            | Statement::CtCount { .. } => self.emit(stateful(statement)?),
            Statement::Set { target, value } => self.set(target, value)?,
            Statement::Nat(nat) => self.nat(nat)?,
            Statement::Tproxy(tproxy) => self.tproxy(tproxy)?,
            Statement::Verdict(verdict) => self.emit(Immediate::Verdict(verdict.into())),
            Statement::VerdictMap(Expression::Map(map)) => self.verdict_map(map)?,
            Statement::VerdictMap(_) => return Err(NotCompiled::Expression("a verdict without a map")),
            Statement::Log(log) => self.emit(self::log(log)),
            Statement::Reject(reject) => self.reject(*reject)?,
            Statement::Object { kind, name } => self.object(*kind, name)?,
            Statement::Update(update) => self.update(update)?,
            Statement::Queue(queue) => self.queue(queue)?,
            Statement::NoTrack => self.emit(Notrack),
            Statement::Dup(to) => self.dup(to)?,
            Statement::Forward(to) => self.forward(to)?,
            Statement::FlowAdd(flowtable) => self.emit(FlowOffload { flowtable: flowtable.into() }),
            Statement::Synproxy(synproxy) => {
                let crate::statement::Synproxy { mss, wscale, flags } = *synproxy;
                self.emit(Synproxy { mss, wscale, flags });
            }
            Statement::ResetOption(selector) => self.reset_option(selector)?,
            Statement::Xtables(xtables) => return Err(NotCompiled::Xtables(xtables.name.clone())),
            Statement::Unknown(text) => {
                return Err(NotCompiled::Unknown(text.split(' ').next().unwrap_or_default().into()));
            }
        }
        Ok(())
    }

    fn verdict_map(&mut self, map: &'a Map) -> Result<(), NotCompiled> {
        if let Expression::Set(elements) = &map.map
            && elements.iter().any(|element| !matches!(element.value, Some(Expression::Verdict(_))))
        {
            return Err(super::SetFault::Value.into());
        }
        self.depend(&map.key)?;
        let word = self.reserve(self.words(&map.key))?;
        self.load_and_look_up(&map.key, &map.map, word, Some(Register::VERDICT), Op::Eq)?;
        self.next_word = word;
        Ok(())
    }

    /// Loads a value into a register of its own; the register is free again with the next statement.
    fn operand(&mut self, value: &'a Expression) -> Result<u32, NotCompiled> {
        self.depend(value)?;
        let word = self.reserve(self.words(value))?;
        match constant(value) {
            Ok(data) => self.emit(Immediate::Value { dreg: register(word), data }),
            Err(_) => self.load(value, word)?,
        }
        Ok(word)
    }

    fn set(&mut self, target: &'a Selector, value: &'a Expression) -> Result<(), NotCompiled> {
        if let Selector::Payload(_) | Selector::Raw(_) = target {
            return self.set_payload(target, value);
        }
        let word = self.operand(value)?;
        self.next_word = word;
        let sreg = register(word);
        let from_host = is_host_order(value);
        // All but the options of a header are of the kernel itself.
        let to_host = !matches!(target, Selector::Option(_)) || target.data_type().is_host_order();
        let converts = constant(value).is_err() && from_host != to_host && load::len(value) > 1;
        if converts && value.data_type().is_some_and(|kind| !kind.is_text()) {
            self.swap(value, word, if to_host { ByteorderOp::Ntoh } else { ByteorderOp::Hton })?;
        }
        let access = Access::Store(sreg);
        match *target {
            Selector::Meta(key) => self.emit(Meta { key, access }),
            Selector::Ct(key) => self.emit(Ct { key, direction: None, access }),
            Selector::CtOf(of) => self.emit(Ct { key: of.key, direction: Some(u8::from(of.reply)), access }),
            Selector::Option(option) => self.emit(exthdr(&option, access)),
            _ => return Err(NotCompiled::Expression("setting this")),
        }
        Ok(())
    }

    /// Bits, or an odd number of bytes under a checksum, are set by writing the bytes around them, too
    /// (`stmt_evaluate_payload` in nftables' src/evaluate.c, 1.0.6).
    fn set_payload(&mut self, target: &'a Selector, value: &'a Expression) -> Result<(), NotCompiled> {
        self.depend(&Expression::Selector(*target))?;
        let Some(place) = bits(target) else { return Ok(()) };
        let (base, field) = match target {
            Selector::Payload(field) => (field.protocol.base(), Some(field)),
            Selector::Raw(raw) => (raw.base, None),
            _ => return Ok(()),
        };
        let checksum = field.and_then(checksum);
        let before = field.map_or(0, |field| self.stacked_before(field));
        let (mut offset, mut len) = (place.first_byte(), place.bytes());
        let odd = checksum.is_some() && len % 2 == 1;
        let word = if place.is_whole_bytes() && !odd {
            let word = self.operand(value)?;
            // What a map has for it is in the packet's order already.
            if constant(value).is_err() && !matches!(value, Expression::Map(_)) {
                if load::len(value) != place.bytes() {
                    return Err(NotCompiled::Expression("a value of another length than the field"));
                }
                if is_host_order(value) {
                    self.swap(value, word, ByteorderOp::Hton)?;
                }
            }
            word
        } else {
            let mut shift = place.shift();
            if odd {
                len += 1;
                if offset % 2 == 1 {
                    offset -= 1;
                } else {
                    shift += 8;
                }
            }
            let bytes = usize::try_from(len).unwrap_or(0);
            let number =
                |data: &Data| data.as_bytes().iter().fold(0_u128, |n, byte| n << 8 | u128::from(*byte));
            let placed = |number: u128| {
                let all = (number << shift).to_be_bytes();
                Data::new(&all[all.len().saturating_sub(bytes)..])
            };
            let xor = placed(number(&constant(value)?));
            let ones = placed((1_u128 << place.len) - 1);
            let mask: Vec<_> = ones.as_bytes().iter().map(|byte| !byte).collect();
            let word = self.reserve(WORDS_IN_16_BYTES)?;
            let action = PayloadAction::Load(register(word));
            self.emit(Payload { base, offset: offset + before, len, action });
            self.operate(word, len, Operation::MaskXor { mask: Data::new(&mask), xor });
            word
        };
        self.next_word = word;
        let (csum_type, csum_offset) = checksum.unwrap_or((0, 0));
        let pseudo = field.is_some_and(is_in_pseudo_header) || base == nftwire::expr::PayloadBase::Inner;
        let action = PayloadAction::Store {
            sreg: register(word),
            csum_type,
            csum_offset,
            csum_flags: u32::from(pseudo),
        };
        self.emit(Payload { base, offset: offset + before, len, action });
        Ok(())
    }

    fn reject(&mut self, reject: Reject) -> Result<(), NotCompiled> {
        let (kind, needs) = match reject.with {
            RejectWith::TcpReset => (RejectKind::TcpReset, Some((TRANSPORT, Protocol::Tcp, "sport"))),
            RejectWith::Icmpx => (RejectKind::IcmpxUnreachable, None),
            RejectWith::Icmp => (RejectKind::IcmpUnreachable, Some((NETWORK, Protocol::Ip, "version"))),
            RejectWith::Icmp6 => (RejectKind::IcmpUnreachable, Some((NETWORK, Protocol::Ip6, "version"))),
            RejectWith::Unknown => return Err(NotCompiled::NoFamily("reject")),
        };
        if let Some((layer, protocol, field)) = needs {
            match self.context.layers[layer] {
                Some(Layer::Protocol(known)) if known == protocol => {}
                Some(_) => return Err(NotCompiled::Header { header: protocol, family: self.context.family }),
                // nft puts this one at the rule's beginning (`stmt_reject_gen_dependency` in src/evaluate.c, 1.0.6).
                None => {
                    let rule = std::mem::take(&mut self.expressions);
                    if let Some(field) = protocol.field(field) {
                        self.depend(&Selector::Payload(field).into())?;
                    }
                    self.expressions.extend(rule);
                    self.mergeable.clear();
                }
            }
        }
        let code = (kind != RejectKind::TcpReset).then_some(reject.code);
        self.emit(WireReject { kind, code });
        Ok(())
    }

    fn object(&mut self, kind: ObjectKind, name: &'a Expression) -> Result<(), NotCompiled> {
        match name {
            Expression::Name(name) => {
                self.emit(Objref::Name { kind, name: name.into() });
            }
            Expression::Map(map) => {
                self.depend(&map.key)?;
                let word = self.reserve(self.words(&map.key))?;
                let (set, set_id) = match &map.map {
                    Expression::SetName(set) => {
                        self.load_for_lookup(&map.key, word, self.is_interval(&map.map)?)?;
                        (set.into(), 0)
                    }
                    Expression::Set(elements) => {
                        let set_id = self.load_for_own(&map.key, elements, word)?;
                        if let Some(set) = self.sets.last_mut() {
                            set.object = Some(kind);
                        }
                        (super::ANONYMOUS_SET_NAME.into(), set_id)
                    }
                    _ => return Err(NotCompiled::Expression("a map of objects")),
                };
                self.next_word = word;
                self.emit(Objref::Map { sreg: register(word), set, set_id });
            }
            _ => return Err(NotCompiled::Expression("the name of an object")),
        }
        Ok(())
    }

    fn update(&mut self, update: &'a Update) -> Result<(), NotCompiled> {
        let Update { op, set, key, value, timeout, statements, meter } = update;
        self.depend(key)?;
        let start = self.next_word;
        let key_word = self.reserve(self.words(key))?;
        self.load(key, key_word)?;
        if let Some(known) = self.known_set(set)
            && SetFlags(known.flags).contains(SetFlags::INTERVAL)
            && is_host_order(key)
        {
            self.swap(key, key_word, ByteorderOp::Hton)?;
        }
        let data = match value {
            Some(value) => Some(register(self.operand(value)?)),
            None => None,
        };
        self.next_word = start;
        let set_id = match meter {
            None => 0,
            Some(size) => {
                let meter = Meter { name: set.clone(), size: *size, expires: *timeout > 0 };
                self.add_set(AnonymousSet::meter(key, meter)?)
            }
        };
        self.emit(Dynset {
            set: set.into(),
            set_id,
            op: match op {
                UpdateOp::Add => DynsetOp::Add,
                UpdateOp::Update => DynsetOp::Update,
                UpdateOp::Delete => DynsetOp::Delete,
            },
            key: register(key_word),
            data,
            timeout: *timeout,
            inverted: false,
            expressions: super::stateful(statements)?,
        });
        Ok(())
    }

    fn queue(&mut self, queue: &'a Queue) -> Result<(), NotCompiled> {
        let Queue { number, bypass, fanout } = queue;
        let of = |expression: &Expression| match expression {
            Expression::Constant(constant) => constant.number().and_then(|number| u16::try_from(number).ok()),
            _ => None,
        };
        let number = match number {
            None => QueueNumber::Range { first: 0, total: 1 },
            Some(Expression::Range(range)) => match (of(&range.from), of(&range.to)) {
                (Some(first), Some(last)) if first <= last => {
                    QueueNumber::Range { first, total: (last - first).saturating_add(1) }
                }
                _ => return Err(NotCompiled::Expression("a range of queues")),
            },
            Some(constant @ Expression::Constant(_)) => match of(constant) {
                Some(first) => QueueNumber::Range { first, total: 1 },
                None => return Err(NotCompiled::Expression("the number of a queue")),
            },
            Some(value) => {
                let word = self.operand(value)?;
                self.next_word = word;
                QueueNumber::Register(register(word))
            }
        };
        let flags = u16::from(*bypass) | u16::from(*fanout) << 1;
        self.emit(WireQueue { number, flags });
        Ok(())
    }

    fn dup(&mut self, to: &'a Forward) -> Result<(), NotCompiled> {
        let Forward { family: _, address, device } = to;
        let start = self.next_word;
        let address = address.as_ref().map(|value| self.operand(value)).transpose()?;
        let device = device.as_ref().map(|value| self.operand(value)).transpose()?;
        self.next_word = start;
        self.emit(Dup { addr: address.map(register), dev: device.map(register) });
        Ok(())
    }

    fn forward(&mut self, to: &'a Forward) -> Result<(), NotCompiled> {
        let Forward { family, address, device } = to;
        let Some(device) = device else { return Err(NotCompiled::Expression("fwd without a device")) };
        let start = self.next_word;
        let dev = register(self.operand(device)?);
        let addr = address.as_ref().map(|value| self.operand(value)).transpose()?.map(register);
        self.next_word = start;
        self.emit(Fwd { dev, addr, family: *family });
        Ok(())
    }

    fn reset_option(&mut self, selector: &Selector) -> Result<(), NotCompiled> {
        let Selector::Option(option) = selector else {
            return Err(NotCompiled::Expression("the removal of what is not an option"));
        };
        let whole = exthdr(option, Access::Store(register(0)));
        self.emit(Exthdr { offset: 0, len: 0, present: false, access: None, ..whole });
        Ok(())
    }
}

fn log(log: &ModelLog) -> Log<'_> {
    let ModelLog { prefix, group, snaplen, queue_threshold, level, flags } = log;
    Log {
        prefix: prefix.as_ref().map(Into::into),
        level: level.map(LogLevel::from_number),
        flags: *flags,
        group: *group,
        snaplen: *snaplen,
        queue_threshold: *queue_threshold,
    }
}

/// The kind of a header's checksum (`enum nft_payload_csum_types`), and the bytes before it.
fn checksum(field: &Field) -> Option<(u32, u32)> {
    Some(match field.protocol {
        Protocol::Ip => (1, 10),
        Protocol::Icmp | Protocol::Icmp6 | Protocol::Igmp => (1, 2),
        Protocol::Tcp => (1, 16),
        Protocol::Udp => (1, 6),
        Protocol::Sctp => (2, 8),
        _ => return None,
    })
}

/// Whether the transport's checksum covers the field.
fn is_in_pseudo_header(field: &Field) -> bool {
    matches!(
        (field.protocol, field.name),
        (Protocol::Ip, "saddr" | "daddr" | "protocol" | "length")
            | (Protocol::Ip6, "saddr" | "daddr" | "nexthdr" | "length")
    )
}

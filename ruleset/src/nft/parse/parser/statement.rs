//! Statements.

use nftwire::Family;

use super::super::lexer::{Kind, Sign};
use super::super::source::Fault;
use super::super::syntax::{
    Element, Expr, ExprKind, Log, Nat, NatShape, RejectWith, Rule, Stmt, StmtKind, Tproxy, Update,
};
use super::expression::Side;
use super::{Parsed, Parser};
use crate::Selector;
use crate::model::statement::{Counter, Limit, NatKind, ObjectKind, Quota, Synproxy, UpdateOp};
use nftwire::expr::MetaKey;

impl Parser<'_> {
    /// A rule: statements up to a comment or the end of the line.
    pub(super) fn rule(&mut self) -> Parsed<Rule> {
        let start = self.peek().span;
        let mut statements = vec![self.statement()?];
        let mut comment = None;
        loop {
            match self.peek().kind {
                Kind::Newline | Kind::End | Kind::Sign(Sign::Semicolon | Sign::BraceClose) => break,
                Kind::Sign(sign)
                    if !matches!(sign, Sign::At | Sign::Dollar | Sign::BraceOpen | Sign::ParenthesisOpen) =>
                {
                    return Err(self.unexpected_instead_of("end of file or newline or semicolon"));
                }
                _ if self.word() == "comment" => {
                    comment = Some(self.comment()?);
                    break;
                }
                _ => statements.push(self.statement()?),
            }
        }
        Ok(Rule { statements, comment, span: start.to(self.last) })
    }

    fn statement(&mut self) -> Parsed<Stmt> {
        let start = self.peek().span;
        let kind = self.statement_kind()?;
        // As in nft, the first word stands for the statement, but a comparison for itself.
        let span = if matches!(kind, StmtKind::Match { .. }) { start.to(self.last) } else { start };
        Ok(Stmt { kind, span })
    }

    fn statement_kind(&mut self) -> Parsed<StmtKind> {
        let word = self.word().to_owned();
        match word.as_str() {
            "jump" | "goto" if self.peek_at(1).kind == Kind::Sign(Sign::BraceOpen) => self.jump_block(),
            "accept" | "drop" | "continue" | "return" | "jump" | "goto" => {
                Ok(self.verdict()?.map_or(StmtKind::NoTrack, StmtKind::Verdict))
            }
            "counter" | "limit" | "quota" | "last" => self.stateful_or_named(),
            "ct" if self.word_at(1) == "count" => Ok(self.stateful()?.kind),
            "ct" => self.ct_statement(),
            "log" => self.log(),
            "reject" => self.reject(),
            "snat" | "dnat" | "masquerade" | "redirect" => self.nat(&word),
            "tproxy" => self.tproxy(),
            "queue" => self.queue(),
            "notrack" => {
                self.next();
                Ok(StmtKind::NoTrack)
            }
            "flow" if matches!(self.word_at(1), "add" | "offload") => {
                self.next();
                self.next();
                self.expect(Sign::At)?;
                Ok(StmtKind::FlowAdd(self.string()?))
            }
            "dup" => self.duplicate(),
            "fwd" => self.forward(),
            "add" | "update" | "delete" => self.update(),
            "set" => self.set_update(),
            "meter" => self.meter(),
            "flow" => self.flow_table(),
            "synproxy" => self.synproxy(),
            "reset" if self.word_at(1) == "tcp" => {
                self.next();
                self.next();
                self.expect_keyword("option")?;
                let (number, ..) = self.tcp_option_number()?;
                let option = crate::model::option::OptionField::presence_of(
                    crate::model::option::OptionKind::Tcp,
                    number,
                );
                Ok(StmtKind::ResetOption(Selector::Option(option)))
            }
            _ => self.match_or_set(),
        }
    }

    fn jump_block(&mut self) -> Parsed<StmtKind> {
        let goto = self.word() == "goto";
        self.next();
        self.expect(Sign::BraceOpen)?;
        self.nested(|parser| {
            let mut rules = Vec::new();
            while !parser.sign(Sign::BraceClose) {
                if parser.separator() {
                    continue;
                }
                rules.push(parser.rule()?);
                parser.end_in_block()?;
            }
            Ok(StmtKind::Block { goto, rules })
        })
    }

    /// What begins with something that is read: a match, a change of it, or a map of verdicts.
    fn match_or_set(&mut self) -> Parsed<StmtKind> {
        let left = self.left()?;
        if self.keyword("vmap") {
            let map = if self.at_sign(Sign::BraceOpen) { self.set()? } else { self.set_name()? };
            return Ok(StmtKind::VerdictMap(left, map));
        }
        if self.word() == "set"
            && let ExprKind::Selector(target) = left.kind
        {
            self.next();
            let value = self.value()?;
            if target == Selector::Meta(MetaKey::SecMark) && !matches!(value.kind, ExprKind::Selector(_)) {
                return Ok(StmtKind::Object(ObjectKind::Secmark, value));
            }
            return Ok(StmtKind::Set(target, value));
        }
        let op = self.comparison();
        let right = self.right_or_list()?;
        let mask = if self.sign(Sign::Slash) {
            let first = self.binary(Side::Right, 0)?;
            Some(self.list_of(first)?)
        } else {
            None
        };
        Ok(StmtKind::Match { left, op, right, mask })
    }

    fn list_of(&mut self, first: Expr) -> Parsed<Expr> {
        let mut span = first.span;
        let mut items = vec![first];
        while self.sign(Sign::Comma) {
            let item = self.binary(Side::Right, 0)?;
            span = span.to(item.span);
            items.push(item);
        }
        Ok(if items.len() == 1 { items.swap_remove(0) } else { Expr { kind: ExprKind::List(items), span } })
    }

    /// `ct … set …`, or a match.
    fn ct_statement(&mut self) -> Parsed<StmtKind> {
        let sets = self.word_at(2) == "set";
        let kind = match (self.word_at(1), sets) {
            ("helper", true) => ObjectKind::CtHelper,
            ("timeout", true) => ObjectKind::CtTimeout,
            ("expectation", true) => ObjectKind::CtExpectation,
            _ => return self.match_or_set(),
        };
        for _ in 0..3 {
            self.next();
        }
        Ok(StmtKind::Object(kind, self.value()?))
    }

    fn stateful_or_named(&mut self) -> Parsed<StmtKind> {
        if self.word_at(1) == "name" {
            let kind = match self.word() {
                "counter" => ObjectKind::Counter,
                "limit" => ObjectKind::Limit,
                _ => ObjectKind::Quota,
            };
            self.next();
            self.next();
            return Ok(StmtKind::Object(kind, self.value()?));
        }
        Ok(self.stateful()?.kind)
    }

    /// `counter`, `limit`, `quota`, `last` or `ct count`, also as part of a set.
    pub(super) fn stateful(&mut self) -> Parsed<Stmt> {
        let start = self.peek().span;
        let word = self.word().to_owned();
        self.next();
        let kind = match word.as_str() {
            "counter" => {
                let counter = self.counter_values()?;
                StmtKind::Counter { packets: counter.packets, bytes: counter.bytes }
            }
            "limit" => StmtKind::Limit(self.limit()?),
            "quota" => StmtKind::Quota(self.quota()?),
            "last" => StmtKind::Last,
            "ct" => {
                self.expect_keyword("count")?;
                let over = self.keyword("over");
                StmtKind::CtCount { count: self.number_32()?, over }
            }
            _ => return Err(Fault::new(start, "syntax error, unexpected string")),
        };
        Ok(Stmt { kind, span: start.to(self.last) })
    }

    pub(super) fn counter_values(&mut self) -> Parsed<Counter> {
        let mut counter = Counter::default();
        loop {
            match self.word() {
                "packets" => {
                    self.next();
                    counter.packets = self.number()?;
                }
                "bytes" => {
                    self.next();
                    counter.bytes = self.number()?;
                }
                _ => return Ok(counter),
            }
        }
    }

    /// `rate …`
    pub(super) fn limit(&mut self) -> Parsed<Limit> {
        self.expect_keyword("rate")?;
        let over = self.mode();
        let number = self.number()?;
        let (rate, unit, bytes) = if self.sign(Sign::Slash) {
            let unit = self.string()?;
            (number, time_unit(&unit.text), false)
        } else {
            let text = self.string()?;
            let (scale, unit) = text.text.split_once('/').unwrap_or((&text.text, ""));
            let scale = scale_of(scale).ok_or_else(|| Fault::new(text.span, "Wrong unit format"))?;
            let unit = match unit {
                "" => {
                    self.expect(Sign::Slash)?;
                    time_unit(&self.string()?.text)
                }
                unit => time_unit(unit),
            };
            (number.checked_mul(scale).ok_or_else(|| Fault::new(text.span, "value too large"))?, unit, true)
        };
        let unit = unit.ok_or_else(|| Fault::new(self.last, "Wrong unit format"))?;
        let mut burst = if bytes { 0 } else { 5 };
        if self.keyword("burst") {
            let number = self.number()?;
            let span = self.last;
            let scale = match (self.word(), bytes) {
                ("packets", false) => Some(1),
                (unit, true) => scale_of(unit),
                _ => None,
            };
            let Some(scale) = scale else { return Err(self.unexpected()) };
            self.next();
            let scaled = number.checked_mul(scale).and_then(|burst| u32::try_from(burst).ok());
            burst = scaled.ok_or_else(|| Fault::new(span, "value too large"))?;
            if burst == 0 && !bytes {
                return Err(Fault::new(span, "packet limit burst must be > 0"));
            }
        }
        Ok(Limit { rate, unit, burst, bytes, over })
    }

    /// `over`, or nothing or `until`.
    fn mode(&mut self) -> bool {
        let over = self.keyword("over");
        if !over {
            self.keyword("until");
        }
        over
    }

    pub(super) fn quota(&mut self) -> Parsed<Quota> {
        let over = self.mode();
        let bytes = self.bytes()?;
        let used = if self.keyword("used") { self.bytes()? } else { 0 };
        Ok(Quota { bytes, used, over })
    }

    fn bytes(&mut self) -> Parsed<u64> {
        let number = self.number()?;
        let unit = self.string()?;
        let scale = scale_of(&unit.text).ok_or_else(|| Fault::new(unit.span, "Wrong unit format"))?;
        number.checked_mul(scale).ok_or_else(|| Fault::new(unit.span, "value too large"))
    }

    fn log(&mut self) -> Parsed<StmtKind> {
        self.next();
        let mut log = Log::default();
        loop {
            match self.word() {
                "prefix" => {
                    self.next();
                    log.prefix = Some(if self.at_sign(Sign::Dollar) {
                        let value = self.primary(Side::Right)?;
                        match value.kind {
                            ExprKind::Quoted(text) | ExprKind::Word(text) => {
                                super::Name { text, span: value.span }
                            }
                            _ => return Err(Fault::new(value.span, "not a text")),
                        }
                    } else {
                        self.string()?
                    });
                }
                "group" => {
                    self.next();
                    log.group = Some(self.number()?);
                }
                "snaplen" => {
                    self.next();
                    log.snaplen = Some(self.number()?);
                }
                "queue-threshold" => {
                    self.next();
                    log.queue_threshold = Some(self.number()?);
                }
                "level" => {
                    self.next();
                    log.level = Some(self.string()?);
                }
                "flags" => {
                    self.next();
                    log.flags |= self.log_flags()?;
                }
                _ => return Ok(StmtKind::Log(Box::new(log))),
            }
        }
    }

    /// `NF_LOG_*` (include/uapi/linux/netfilter/nf_log.h)
    fn log_flags(&mut self) -> Parsed<u32> {
        let flags = match self.word() {
            "tcp" => {
                self.next();
                let mut flags = 0;
                loop {
                    flags |= match self.word() {
                        "sequence" | "seq" => 1,
                        "options" => 2,
                        _ => return Err(self.unexpected()),
                    };
                    self.next();
                    if !self.sign(Sign::Comma) {
                        return Ok(flags);
                    }
                }
            }
            "ip" => {
                self.next();
                if self.word() != "options" {
                    return Err(self.unexpected());
                }
                4
            }
            "skuid" => 8,
            "ether" => 0x20,
            "all" => 0x2f,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(flags)
    }

    fn reject(&mut self) -> Parsed<StmtKind> {
        self.next();
        if !self.keyword("with") {
            return Ok(StmtKind::Reject(None));
        }
        let word = self.word().to_owned();
        self.next();
        let kind = match word.as_str() {
            "tcp" => {
                self.expect_keyword("reset")?;
                return Ok(StmtKind::Reject(Some(RejectWith::TcpReset)));
            }
            "icmp" => RejectWith::Icmp,
            "icmpv6" => RejectWith::Icmp6,
            "icmpx" => RejectWith::Icmpx,
            _ => return Err(Fault::new(self.last, "syntax error, unexpected string")),
        };
        self.keyword("type");
        Ok(StmtKind::Reject(Some(kind(self.primary(Side::Right)?))))
    }

    fn nat(&mut self, word: &str) -> Parsed<StmtKind> {
        self.next();
        let kind = match word {
            "snat" => NatKind::Source,
            "dnat" => NatKind::Destination,
            "masquerade" => NatKind::Masquerade,
            _ => NatKind::Redirect,
        };
        let mut nat = Nat {
            kind,
            family: None,
            address: None,
            port: None,
            flags: 0,
            prefix: false,
            shape: NatShape::Plain,
        };
        let with_address = matches!(kind, NatKind::Source | NatKind::Destination);
        if with_address {
            let second = self.word_at(1).to_owned();
            if matches!(self.word(), "ip" | "ip6")
                && matches!(second.as_str(), "to" | "addr" | "interval" | "prefix")
            {
                nat.family = self.network_family();
            }
            match self.word() {
                "addr" if nat.family.is_some() => {
                    self.next();
                    self.expect(Sign::Dot)?;
                    self.expect_keyword("port")?;
                    nat.shape = NatShape::AddressAndPort;
                }
                "interval" => {
                    self.next();
                    nat.shape = NatShape::Interval;
                }
                "prefix" => {
                    self.next();
                    nat.prefix = true;
                }
                _ => {}
            }
        }
        let to = self.keyword("to");
        if to || with_address {
            if !self.at_sign(Sign::Colon) && with_address {
                nat.address = Some(self.value()?);
            }
            // `redirect to 80` is `redirect to :80`.
            if self.sign(Sign::Colon) || kind == NatKind::Redirect {
                nat.port = Some(self.value()?);
            } else if kind == NatKind::Masquerade {
                return Err(self.unexpected());
            }
        }
        // `NF_NAT_RANGE_*` (include/uapi/linux/netfilter/nf_nat.h)
        while let Some(flag) = match self.word() {
            "random" => Some(1 << 2),
            "fully-random" => Some(1 << 4),
            "persistent" => Some(1 << 3),
            _ => None,
        } {
            self.next();
            nat.flags |= flag;
            self.sign(Sign::Comma);
        }
        Ok(StmtKind::Nat(Box::new(nat)))
    }

    fn tproxy(&mut self) -> Parsed<StmtKind> {
        self.next();
        let family = self.network_family();
        self.expect_keyword("to")?;
        let address = if self.at_sign(Sign::Colon) { None } else { Some(self.value()?) };
        let port = if self.sign(Sign::Colon) { Some(self.value()?) } else { None };
        Ok(StmtKind::Tproxy(Box::new(Tproxy { family, address, port })))
    }

    fn queue(&mut self) -> Parsed<StmtKind> {
        self.next();
        let (mut number, mut bypass, mut fanout) = (None, false, false);
        loop {
            match self.word() {
                "num" => {
                    self.next();
                    number = Some(self.multiton(Side::Right)?);
                }
                "to" => {
                    self.next();
                    number = Some(
                        if matches!(self.word(), "numgen" | "jhash" | "symhash") || self.begins_selector() {
                            self.left()?
                        } else {
                            self.multiton(Side::Right)?
                        },
                    );
                }
                "flags" => {
                    self.next();
                }
                "bypass" => {
                    self.next();
                    bypass = true;
                    self.sign(Sign::Comma);
                }
                "fanout" => {
                    self.next();
                    fanout = true;
                    self.sign(Sign::Comma);
                }
                _ => return Ok(StmtKind::Queue { number, bypass, fanout }),
            }
        }
    }

    fn duplicate(&mut self) -> Parsed<StmtKind> {
        self.next();
        self.expect_keyword("to")?;
        let address = self.value()?;
        let device = if self.keyword("device") { Some(self.value()?) } else { None };
        Ok(StmtKind::Dup(address, device))
    }

    fn forward(&mut self) -> Parsed<StmtKind> {
        self.next();
        let family = self.network_family();
        self.expect_keyword("to")?;
        let first = self.value()?;
        if family.is_some() {
            self.expect_keyword("device")?;
            let device = self.value()?;
            return Ok(StmtKind::Forward { family, address: Some(first), device });
        }
        Ok(StmtKind::Forward { family: None::<Family>, address: None, device: first })
    }

    /// `add @set { key : value }`
    fn update(&mut self) -> Parsed<StmtKind> {
        let op = self.update_op()?;
        let set = self.set_reference()?;
        self.expect(Sign::BraceOpen)?;
        let mut key = self.update_key()?;
        if self.sign(Sign::Colon) {
            key.value = Some(self.update_key()?.key);
        }
        self.expect(Sign::BraceClose)?;
        Ok(StmtKind::Update(Box::new(Update { op, set, key, meter: None })))
    }

    fn update_op(&mut self) -> Parsed<UpdateOp> {
        let op = match self.word() {
            "add" => UpdateOp::Add,
            "update" => UpdateOp::Update,
            "delete" => UpdateOp::Delete,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(op)
    }

    fn set_reference(&mut self) -> Parsed<super::Name> {
        let name = self.set_name()?;
        match name.kind {
            ExprKind::SetName(text) => Ok(super::Name { text, span: name.span }),
            _ => Err(Fault::new(name.span, "not a set's name")),
        }
    }

    /// What is put into a set, with its own time and counters.
    fn update_key(&mut self) -> Parsed<Element> {
        let key = self.concat(Side::Left)?;
        let details = self.element_details()?;
        Ok(Element { key, value: None, details })
    }

    /// The older `set add key @set`.
    fn set_update(&mut self) -> Parsed<StmtKind> {
        self.next();
        let op = self.update_op()?;
        let key = self.update_key()?;
        let set = self.set_reference()?;
        Ok(StmtKind::Update(Box::new(Update { op, set, key, meter: None })))
    }

    fn meter(&mut self) -> Parsed<StmtKind> {
        self.next();
        let set = self.identifier()?;
        let size = if self.keyword("size") { Some(self.number()?) } else { None };
        self.meter_body(set, size)
    }

    /// The older `flow table name { key statement }`.
    fn flow_table(&mut self) -> Parsed<StmtKind> {
        self.next();
        self.expect_keyword("table")?;
        let set = self.identifier()?;
        self.meter_body(set, None)
    }

    fn meter_body(&mut self, set: super::Name, size: Option<u64>) -> Parsed<StmtKind> {
        self.expect(Sign::BraceOpen)?;
        let key = self.update_key()?;
        self.expect(Sign::BraceClose)?;
        Ok(StmtKind::Update(Box::new(Update { op: UpdateOp::Update, set, key, meter: Some(size) })))
    }

    fn synproxy(&mut self) -> Parsed<StmtKind> {
        self.next();
        if self.keyword("name") {
            return Ok(StmtKind::Object(ObjectKind::Synproxy, self.value()?));
        }
        Ok(StmtKind::Synproxy(self.synproxy_values(false)?))
    }

    /// `mss … wscale … timestamp sack-perm`; in a block with line ends between.
    pub(super) fn synproxy_values(&mut self, block: bool) -> Parsed<Synproxy> {
        let mut synproxy = Synproxy { mss: 0, wscale: 0, flags: 0 };
        loop {
            match self.word() {
                "mss" => {
                    self.next();
                    let number = self.number()?;
                    synproxy.mss =
                        u16::try_from(number).map_err(|_| Fault::new(self.last, "value too large"))?;
                    synproxy.flags |= Synproxy::MSS;
                }
                "wscale" => {
                    self.next();
                    let number = self.number()?;
                    synproxy.wscale =
                        u8::try_from(number).map_err(|_| Fault::new(self.last, "value too large"))?;
                    synproxy.flags |= Synproxy::WSCALE;
                }
                "timestamp" => {
                    self.next();
                    synproxy.flags |= Synproxy::TIMESTAMP;
                }
                "sack-perm" | "sack-permitted" => {
                    self.next();
                    synproxy.flags |= Synproxy::SACK_PERM;
                }
                _ => {
                    if !block || !self.separator() {
                        return Ok(synproxy);
                    }
                }
            }
        }
    }
}

/// Whether it is a match on whether something is there.
pub(super) fn time_unit(text: &str) -> Option<u64> {
    Some(match text {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    })
}

/// Bytes of `bytes`, `kbytes`, `mbytes`.
fn scale_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "bytes" => 1,
        "kbytes" => 1 << 10,
        "mbytes" => 1 << 20,
        _ => return None,
    })
}

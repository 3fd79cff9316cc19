//! Statements.

use nftwire::Family;

use super::super::source::{Fault, Span};
use super::super::syntax::{self, Expr, ExprKind, RejectWith as With, Stmt, StmtKind};
use super::assignment::is_payload;
use super::element::key_kinds;
use super::expression::{kind_of, verdict};
use super::{Evaluated, Evaluator, Kind};
use crate::model::statement::{Counter, Forward, Log, Queue, Reject, RejectWith, Tproxy, Update, UpdateOp};
use crate::{DataType, Expression, Map, Range, Selector, Set, Statement};

/// nft's names for the severities of syslog(3), and audit.
const LEVELS: [&str; 9] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"];

/// What nft says of a statement that the table's family does not have.
const UNSUPPORTED: &str = "unsupported family";

impl Evaluator<'_> {
    pub(super) fn statement(&mut self, statement: &Stmt) -> Evaluated<Statement> {
        let span = statement.span;
        Ok(match &statement.kind {
            StmtKind::Match { left, op, right, mask } => {
                self.comparison(left, *op, right, mask.as_deref())?
            }
            StmtKind::Verdict(found) => Statement::Verdict(verdict(found)),
            StmtKind::Block { goto, rules } => Statement::Verdict(self.block(*goto, rules)?),
            StmtKind::VerdictMap(key, map) => Statement::VerdictMap(self.verdict_map(key, map)?),
            StmtKind::Counter { packets, bytes } => {
                Statement::Counter(Counter { packets: *packets, bytes: *bytes })
            }
            StmtKind::Object(kind, name) => Statement::Object { kind: *kind, name: self.object_name(name)? },
            StmtKind::Log(log) => Statement::Log(Box::new(self::log(log, span)?)),
            StmtKind::Limit(limit) => Statement::Limit(*limit),
            StmtKind::Quota(quota) => Statement::Quota(*quota),
            StmtKind::Last => Statement::Last(None),
            StmtKind::CtCount { count, over } => Statement::CtCount { count: *count, over: *over },
            StmtKind::Reject(with) => Statement::Reject(self.reject(with.as_ref(), span)?),
            StmtKind::Nat(nat) => self.nat(nat, span)?,
            StmtKind::Tproxy(tproxy) => Statement::Tproxy(Box::new(self.tproxy(tproxy, span)?)),
            StmtKind::Queue { number, bypass, fanout } => {
                let queue = number.as_ref();
                let number = queue.map(|number| self.queue_number(number)).transpose()?;
                if *fanout && !matches!(number, Some(Expression::Range(_))) {
                    return Err(Fault::new(span, "fanout requires a range to be specified"));
                }
                Statement::Queue(Box::new(Queue { number, bypass: *bypass, fanout: *fanout }))
            }
            StmtKind::Set(target, value) => self.set_target(*target, value, span)?,
            StmtKind::NoTrack => Statement::NoTrack,
            StmtKind::FlowAdd(name) => Statement::FlowAdd(name.text.clone().into()),
            StmtKind::Dup(address, device) => self.duplicate(address, device.as_ref(), span)?,
            StmtKind::Forward { device, .. } if self.context.family != Family::Netdev => {
                return Err(Fault::new(span.to(device.span), UNSUPPORTED));
            }
            StmtKind::Forward { family, address, device } => {
                let device = Some(self.value_of(device, &[Kind::new(DataType::InterfaceIndex)])?);
                let address = match address {
                    Some(address) => Some(self.value_of(address, &[address_kind(*family)])?),
                    None => None,
                };
                Statement::Forward(Box::new(Forward { family: *family, address, device }))
            }
            StmtKind::Update(update) => self.update(update)?,
            StmtKind::Synproxy(synproxy) => Statement::Synproxy(*synproxy),
            StmtKind::ResetOption(selector) => Statement::ResetOption(*selector),
        })
    }

    fn verdict_map(&mut self, key: &Expr, map: &Expr) -> Evaluated<Expression> {
        if let ExprKind::SetName(name) = &map.kind
            && self.known_set(name, map.span)?.is_none()
        {
            // The kernel knows whether it is a map of verdicts.
            let key = self.read(key)?.expression;
            let map = Expression::SetName(name.clone().into());
            return Ok(Expression::Map(Box::new(Map { key, map, verdicts: true })));
        }
        self.map(key, map, &[Kind { data_type: DataType::Verdict, bits: 32 }])
    }

    fn object_name(&mut self, name: &Expr) -> Evaluated<Expression> {
        match &name.kind {
            ExprKind::Word(text) | ExprKind::Quoted(text) => Ok(Expression::Name(text.clone().into())),
            ExprKind::Map(pair) => self.map(&pair.0, &pair.1, &[]),
            _ => Err(Fault::new(name.span, "not the name of an object")),
        }
    }

    /// By what the sender learns, where nothing is said: what the protocol of the packet allows.
    fn reject(&mut self, with: Option<&With>, span: Span) -> Evaluated<Reject> {
        let family = self.context.family;
        if family == Family::Arp {
            return Err(Fault::new(span, "cannot use reject with arp"));
        }
        if self.context.is_other_network() {
            return Err(Fault::new(span, "cannot reject this network family"));
        }
        if matches!(with, Some(With::TcpReset)) && !self.context.may_be_tcp() {
            return Err(Fault::new(span, "you cannot use tcp reset with this protocol"));
        }
        let network = self.context.network();
        let verbose = !matches!(family, Family::Ipv4 | Family::Ipv6);
        let (kind, code) = match with {
            None => {
                let (with, code) = match network {
                    Some(Family::Ipv4) => (RejectWith::Icmp, 3),
                    Some(_) => (RejectWith::Icmp6, 4),
                    None => (RejectWith::Icmpx, 1),
                };
                return Ok(Reject { with, code, verbose });
            }
            Some(With::TcpReset) => return Ok(Reject { with: RejectWith::TcpReset, code: 0, verbose }),
            Some(With::Icmp(code)) => (RejectWith::Icmp, code),
            Some(With::Icmp6(code)) => (RejectWith::Icmp6, code),
            Some(With::Icmpx(code)) => (RejectWith::Icmpx, code),
        };
        let needed = match kind {
            RejectWith::Icmp => Some(Family::Ipv4),
            RejectWith::Icmp6 => Some(Family::Ipv6),
            _ => None,
        };
        if kind == RejectWith::Icmpx && matches!(family, Family::Ipv4 | Family::Ipv6) {
            return Err(Fault::new(code.span, "abstracted ICMP unreachable not supported").with(span));
        }
        if let (Some(needed), Some(network)) = (needed, network)
            && needed != network
        {
            return Err(Fault::new(code.span, "conflicting protocols specified: ip vs ip6").with(span));
        }
        let constant = self.constant(code, Kind::new(kind.code_type()))?;
        let code = constant.data.as_bytes().first().copied().unwrap_or(0);
        Ok(Reject { with: kind, code, verbose })
    }

    fn tproxy(&mut self, tproxy: &syntax::Tproxy, span: Span) -> Evaluated<Tproxy> {
        let table = self.context.family;
        if !matches!(table, Family::Ipv4 | Family::Ipv6 | Family::Inet) {
            return Err(Fault::new(span, "tproxy is only supported for IPv4/IPv6/INET"));
        }
        if !self.context.has_transport() {
            let message = "Transparent proxy support requires transport protocol match";
            return Err(Fault::new(span, message));
        }
        let family = match tproxy.family {
            Some(family) => Some(family),
            None if table == Family::Inet => self.context.network().filter(|_| tproxy.address.is_some()),
            None => Some(table),
        };
        if let (Some(family), Some(network)) = (family, self.context.network())
            && family != network
        {
            return Err(Fault::new(span, "conflicting protocols specified"));
        }
        let address = match &tproxy.address {
            Some(address) => {
                let Some(family) = family else {
                    return Err(Fault::new(
                        span,
                        "ip or ip6 must be specified with address for inet tables.",
                    ));
                };
                Some(self.value_of(address, &[address_kind(Some(family))])?)
            }
            None => None,
        };
        let port = match &tproxy.port {
            Some(port) => Some(self.value_of(port, &[Kind::new(DataType::InetService)])?),
            None => None,
        };
        let family = if table == Family::Inet { family } else { None };
        Ok(Tproxy { family, address, port })
    }

    fn queue_number(&mut self, number: &Expr) -> Evaluated<Expression> {
        let kind = Kind { data_type: DataType::Integer, bits: 16 };
        match &number.kind {
            ExprKind::Range(ends) => {
                let (from, to) = (self.constant(&ends.0, kind)?, self.constant(&ends.1, kind)?);
                if from.number() >= to.number() {
                    return Err(Fault::new(number.span, "Range has zero or negative size"));
                }
                Ok(Expression::Range(Box::new(Range { from: from.into(), to: to.into() })))
            }
            ExprKind::Selector(_)
            | ExprKind::Hash(_)
            | ExprKind::Map(_)
            | ExprKind::Number(_)
            | ExprKind::Word(_) => {
                let range = match &number.kind {
                    ExprKind::Selector(selector) => match **selector {
                        Selector::Numgen(numgen) => Some((numgen.range.modulus, numgen.range.offset)),
                        Selector::SymmetricHash(range) => Some((range.modulus, range.offset)),
                        _ => return Err(Fault::new(number.span, "not the number of a queue")),
                    },
                    ExprKind::Hash(hash) => Some((hash.modulus, hash.offset)),
                    _ => None,
                };
                let last = range.map_or(0, |(modulus, offset)| u64::from(modulus) + u64::from(offset));
                if last > u64::from(u16::MAX) + 1 {
                    let message = format!("queue expression max value exceeds {}", u16::MAX);
                    return Err(Fault::new(number.span, message));
                }
                self.value_of(number, &[kind])
            }
            _ => Err(Fault::new(number.span, "not the number of a queue")),
        }
    }

    fn set_target(&mut self, target: Selector, value: &Expr, span: Span) -> Evaluated<Statement> {
        let target = self.selector(target, span)?;
        let kind = kind_of(target);
        let value = self.value_of(value, &[kind])?;
        if matches!(value, Expression::Range(_) | Expression::Prefix(_)) {
            return Err(Fault::new(span, "a statement sets one value"));
        }
        let value = match value {
            Expression::Constant(constant) if kind.data_type == DataType::CtEvent => {
                Expression::flags(constant.data_type, constant.data)
            }
            value => value,
        };
        Ok(Statement::Set { target, value })
    }

    fn duplicate(&mut self, address: &Expr, device: Option<&Expr>, span: Span) -> Evaluated<Statement> {
        let index = [Kind::new(DataType::InterfaceIndex)];
        let family = self.context.family;
        if !matches!(family, Family::Ipv4 | Family::Ipv6 | Family::Netdev) {
            let last = device.unwrap_or(address);
            return Err(Fault::new(span.to(last.span), UNSUPPORTED));
        }
        if family == Family::Netdev {
            if let Some(device) = device {
                return Err(Fault::new(device.span, "cannot specify device"));
            }
            let device = Some(self.value_of(address, &index)?);
            return Ok(Statement::Dup(Box::new(Forward { family: None, address: None, device })));
        }
        let address = Some(self.value_of(address, &[address_kind(Some(family))])?);
        let device = device.map(|device| self.value_of(device, &index)).transpose()?;
        Ok(Statement::Dup(Box::new(Forward { family: None, address, device })))
    }

    fn update(&mut self, update: &syntax::Update) -> Evaluated<Statement> {
        let read = self.read(&update.key.key)?;
        let value = match &update.key.value {
            Some(value) => {
                let kinds = self.value_kinds(&update.set.text, update.set.span)?;
                Some(match &value.kind {
                    ExprKind::Concat(parts) if parts.len() == kinds.len() => {
                        self.values_of(value.span, parts, &kinds)?
                    }
                    _ => self.value_of(value, &kinds)?,
                })
            }
            None => None,
        };
        if update.meter.is_none()
            && let Some(set) = self.known_set(&update.set.text, update.set.span)?
        {
            self.check_value(
                update.key.key.span,
                &key_kinds(&set),
                &read.kinds,
                is_payload(&read.expression),
            )?;
            check_update(&set, update.set.span)?;
        }
        let (mut timeout, mut statements) = (0, Vec::new());
        if let Some(details) = &update.key.details {
            if details.expires.is_some() {
                return Err(Fault::new(update.key.key.span, "a rule cannot say when an element expires"));
            }
            let details = self.details(details)?;
            (timeout, statements) = (details.timeout, details.statements);
        }
        let meter = match update.meter {
            None => None,
            Some(None) => Some(0xffff),
            Some(Some(size)) => {
                Some(u32::try_from(size).map_err(|_| Fault::new(update.set.span, "value too large"))?)
            }
        };
        // A meter's elements are refreshed where they expire.
        let op = match meter {
            Some(_) if timeout == 0 => UpdateOp::Add,
            _ => update.op,
        };
        let (set, key) = (update.set.text.clone(), read.expression);
        Ok(Statement::Update(Box::new(Update {
            op,
            set: set.into(),
            key,
            value,
            timeout,
            statements,
            meter,
        })))
    }
}

/// Rules cannot change what stays the same.
fn check_update(set: &Set, span: Span) -> Evaluated<()> {
    if set.flags & nftwire::uapi::NFT_SET_CONSTANT != 0 {
        return Err(Fault::new(span, "Set is constant"));
    }
    Ok(())
}

/// The type of an address.
pub(super) fn address_kind(family: Option<Family>) -> Kind {
    Kind::new(if family == Some(Family::Ipv6) { DataType::Ipv6Addr } else { DataType::Ipv4Addr })
}

fn log(log: &syntax::Log, span: Span) -> Evaluated<Log> {
    let fail = |message: &str| Err(Fault::new(span, message));
    let level = match &log.level {
        None => None,
        Some(name) => match LEVELS.iter().position(|level| *level == &*name.text) {
            Some(level) => u32::try_from(level).ok(),
            None => return Err(Fault::new(name.span, "invalid log level")),
        },
    };
    let to_group = log.group.is_some() || log.snaplen.is_some() || log.queue_threshold.is_some();
    if level == Some(8) && (to_group || log.prefix.is_some() || log.flags != 0) {
        return fail("log level audit doesn't support any parameter");
    }
    if level.is_some() && to_group {
        return fail("level and group are mutually exclusive");
    }
    if to_group && log.flags != 0 {
        return fail("flags and group are mutually exclusive");
    }
    // NF_LOG_PREFIXLEN
    if log.prefix.as_ref().is_some_and(|prefix| prefix.text.len() >= 128) {
        return fail("log prefix is too long");
    }
    let short = |value: Option<u64>| match value.map(u16::try_from) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(Fault::new(span, "value too large")),
    };
    let snaplen = match log.snaplen.map(u32::try_from) {
        None => None,
        Some(Ok(snaplen)) => Some(snaplen),
        Some(Err(_)) => return fail("value too large"),
    };
    Ok(Log {
        prefix: log.prefix.as_ref().map(|prefix| prefix.text.clone().into()),
        group: short(log.group)?,
        snaplen,
        queue_threshold: short(log.queue_threshold)?,
        level,
        flags: log.flags,
    })
}

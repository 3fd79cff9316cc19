//! Statements.

use nftwire::Family;

use super::Printer;
use crate::model::statement::{
    Forward, Limit, Log, Nat, ObjectKind, Queue, Quota, Reject, RejectWith, Synproxy, Tproxy, Update,
};
use crate::{Binary, Constant, Data, DataType, Expression, Op, Operator, Statement};

/// NF_LOG_MASK
const LOG_ALL: u32 = 0x2f;

impl Printer<'_> {
    /// Any statement.
    pub fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Match { left, op, right } => self.comparison(left, *op, right),
            Statement::Counter(counter) => {
                self.out.push_str("counter");
                if !self.options.stateless {
                    self.out.push_str(" packets ");
                    self.number(counter.packets);
                    self.out.push_str(" bytes ");
                    self.number(counter.bytes);
                }
            }
            Statement::Set { target, value } => {
                self.selector(target);
                self.out.push_str(" set ");
                self.expression(value);
            }
            Statement::Nat(nat) => self.nat(nat),
            Statement::Tproxy(tproxy) => self.tproxy(tproxy),
            Statement::Verdict(verdict) => self.verdict(verdict),
            Statement::VerdictMap(map) => self.expression(map),
            Statement::Log(log) => self.log(log),
            Statement::Limit(limit) => {
                self.out.push_str("limit ");
                self.limit(limit);
            }
            Statement::Quota(quota) => {
                self.out.push_str("quota ");
                self.quota(quota);
            }
            Statement::Last(since) => {
                self.out.push_str("last");
                match since {
                    _ if self.options.stateless => {}
                    Some(since) => {
                        self.out.push_str(" used ");
                        self.time(*since);
                    }
                    None => self.out.push_str(" used never"),
                }
            }
            Statement::CtCount { count, over } => {
                self.put(format_args!("ct count {}{count}", if *over { "over " } else { "" }));
            }
            Statement::Reject(reject) => self.reject(reject),
            Statement::Object { kind, name } => {
                match *kind {
                    ObjectKind::CtHelper | ObjectKind::CtTimeout | ObjectKind::CtExpectation => {
                        self.put(format_args!("{} set ", kind.name()));
                    }
                    ObjectKind::Secmark => self.out.push_str("meta secmark set "),
                    kind => self.put(format_args!("{} name ", kind.name())),
                }
                self.expression(name);
            }
            Statement::Update(update) => self.update(update),
            Statement::Queue(queue) => self.queue(queue),
            Statement::NoTrack => self.out.push_str("notrack"),
            Statement::Dup(dup) => self.duplicate(dup),
            Statement::Forward(fwd) => self.forward(fwd),
            Statement::FlowAdd(name) => self.put(format_args!("flow add @{name}")),
            Statement::Synproxy(synproxy) => self.synproxy(*synproxy),
            Statement::ResetOption(selector) => {
                self.out.push_str("reset ");
                self.selector(selector);
            }
            Statement::Xtables(xt) => match &xt.text {
                Some(text) => self.out.push_str(text),
                None => {
                    self.put(format_args!("xt {} {}", xt.kind(), xt.name));
                }
            },
            Statement::Unknown(text) => self.put(format_args!("/* {text} */")),
        }
    }

    fn comparison(&mut self, left: &Expression, op: Op, right: &Expression) {
        if let Expression::Binary(binary) = left
            && is_flags(binary, right)
        {
            self.expression(&binary.left);
            self.out.push_str(if op == Op::Ne { " != " } else { " " });
            self.expression(right);
            self.out.push_str(" / ");
            return self.expression(&binary.right);
        }
        self.expression(left);
        // nft's grammar needs the operator after a binary operation, and flags without one mean something else.
        let single_flag = matches!(right, Expression::Constant(constant) if constant.data_type.has_flags());
        let operation = matches!(left, Expression::Binary(_)) && !is_converted_range(left, right);
        let needed = op != Op::Eq || single_flag || operation;
        if let Some(sign) = op.sign().filter(|_| needed) {
            self.out.push(' ');
            self.out.push_str(sign);
        }
        self.out.push(' ');
        self.expression(right);
    }

    fn nat(&mut self, nat: &Nat) {
        self.out.push_str(nat.kind.name());
        if nat.address.is_some() || nat.port.is_some() {
            match nat.family {
                Some(Family::Ipv4) => self.out.push_str(" ip"),
                Some(Family::Ipv6) => self.out.push_str(" ip6"),
                _ => {}
            }
            if nat.flags & Nat::NETMAP != 0 {
                self.out.push_str(" prefix");
            }
            self.out.push_str(" to");
        }
        self.address_and_port(nat.address.as_ref(), nat.port.as_ref());
        for (index, name) in nat.flag_names().enumerate() {
            self.out.push(if index > 0 { ',' } else { ' ' });
            self.out.push_str(name);
        }
    }

    fn address_and_port(&mut self, address: Option<&Expression>, port: Option<&Expression>) {
        if let Some(address) = address {
            self.out.push(' ');
            match address {
                Expression::Constant(_) if port.is_some() && is_ipv6(address) => self.bracketed(address),
                Expression::Range(range) if port.is_some() && is_ipv6(&range.from) => {
                    self.bracketed(&range.from);
                    self.out.push('-');
                    self.bracketed(&range.to);
                }
                address => self.expression(address),
            }
        }
        if let Some(port) = port {
            self.out.push_str(if address.is_some() { ":" } else { " :" });
            self.expression(port);
        }
    }

    fn bracketed(&mut self, address: &Expression) {
        self.out.push('[');
        self.expression(address);
        self.out.push(']');
    }

    fn tproxy(&mut self, tproxy: &Tproxy) {
        self.out.push_str("tproxy");
        if let Some(family) = tproxy.family {
            self.put(format_args!(" {family}"));
        }
        self.out.push_str(" to");
        match &tproxy.address {
            Some(address) if is_ipv6(address) => {
                self.out.push(' ');
                self.bracketed(address);
                if let Some(port) = &tproxy.port {
                    self.out.push(':');
                    self.expression(port);
                }
            }
            address => self.address_and_port(address.as_ref(), tproxy.port.as_ref()),
        }
    }

    fn log(&mut self, log: &Log) {
        self.out.push_str("log");
        if let Some(prefix) = &log.prefix {
            self.put(format_args!(" prefix {}", prefix.quoted()));
        }
        for (name, value) in [
            ("group", log.group.map(u32::from)),
            ("snaplen", log.snaplen),
            ("queue-threshold", log.queue_threshold.map(u32::from)),
        ] {
            if let Some(value) = value {
                self.put(format_args!(" {name} {value}"));
            }
        }
        let warning = 4;
        if let Some(level) = log.level.filter(|level| *level != warning) {
            self.put(format_args!(" level {}", level_name(level)));
        }
        if log.flags & LOG_ALL == LOG_ALL {
            return self.out.push_str(" flags all");
        }
        match log.flags & 3 {
            0 => {}
            1 => self.out.push_str(" flags tcp sequence"),
            2 => self.out.push_str(" flags tcp options"),
            _ => self.out.push_str(" flags tcp sequence,options"),
        }
        for (flag, name) in [(4, " flags ip options"), (8, " flags skuid"), (0x20, " flags ether")] {
            if log.flags & flag != 0 {
                self.out.push_str(name);
            }
        }
    }

    pub(super) fn limit(&mut self, limit: &Limit) {
        let (over, unit) = (if limit.over { "over " } else { "" }, limit.unit_name());
        if limit.bytes {
            let (rate, name) = scaled(limit.rate);
            self.put(format_args!("rate {over}{rate} {name}/{unit}"));
            if limit.burst > 0 {
                let (burst, name) = scaled(limit.burst.into());
                self.put(format_args!(" burst {burst} {name}"));
            }
        } else {
            self.put(format_args!("rate {over}{}/{unit}", limit.rate));
            if limit.burst > 0 && limit.burst != 5 {
                self.put(format_args!(" burst {} packets", limit.burst));
            }
        }
    }

    pub(super) fn quota(&mut self, quota: &Quota) {
        let (bytes, name) = scaled(quota.bytes);
        self.put(format_args!("{}{bytes} {name}", if quota.over { "over " } else { "" }));
        if quota.used > 0 && !self.options.stateless {
            let (used, name) = scaled(quota.used);
            self.put(format_args!(" used {used} {name}"));
        }
    }

    fn reject(&mut self, reject: &Reject) {
        self.out.push_str("reject");
        let usual = match reject.with {
            RejectWith::TcpReset => return self.out.push_str(" with tcp reset"),
            RejectWith::Unknown => return,
            RejectWith::Icmpx => reject.code == 1,
            RejectWith::Icmp => reject.code == 3 && !reject.verbose,
            RejectWith::Icmp6 => reject.code == 4 && !reject.verbose,
        };
        if !usual {
            let name = match reject.with {
                RejectWith::Icmp => "icmp",
                RejectWith::Icmp6 => "icmpv6",
                _ => "icmpx",
            };
            self.put(format_args!(" with {name} "));
            let code = Constant::new(reject.with.code_type(), Data::new(&[reject.code]));
            self.constant(&code, false);
        }
    }

    fn update(&mut self, update: &Update) {
        if let Some(size) = update.meter {
            self.put(format_args!("meter {} size {size} {{ ", update.set));
        } else {
            self.put(format_args!("{} @{} {{ ", update.op.name(), update.set));
        }
        self.expression(&update.key);
        if update.timeout > 0 {
            self.out.push_str(" timeout ");
            self.time(update.timeout);
        }
        let stateless = std::mem::replace(&mut self.options.stateless, true);
        for statement in &update.statements {
            self.out.push(' ');
            self.statement(statement);
        }
        self.options.stateless = stateless;
        if let Some(value) = &update.value {
            self.out.push_str(" : ");
            self.expression(value);
        }
        self.out.push_str(" }");
    }

    fn queue(&mut self, queue: &Queue) {
        self.out.push_str("queue");
        match (queue.bypass, queue.fanout) {
            (false, false) => {}
            (true, false) => self.out.push_str(" flags bypass"),
            (false, true) => self.out.push_str(" flags fanout"),
            (true, true) => self.out.push_str(" flags bypass,fanout"),
        }
        self.out.push_str(" to ");
        match &queue.number {
            Some(number) => self.expression(number),
            None => self.out.push('0'),
        }
    }

    fn duplicate(&mut self, dup: &Forward) {
        self.out.push_str("dup");
        // In the family netdev there is a device only.
        if let Some(to) = dup.address.as_ref().or(dup.device.as_ref()) {
            self.out.push_str(" to ");
            self.expression(to);
        }
        if let (Some(_), Some(device)) = (&dup.address, &dup.device) {
            self.out.push_str(" device ");
            self.expression(device);
        }
    }

    fn forward(&mut self, fwd: &Forward) {
        self.out.push_str("fwd ");
        if let Some(address) = &fwd.address {
            if let Some(family) = fwd.family {
                self.put(format_args!("{family} "));
            }
            self.out.push_str("to ");
            self.expression(address);
            self.out.push_str(" device ");
        } else {
            self.out.push_str("to ");
        }
        if let Some(device) = &fwd.device {
            self.expression(device);
        }
    }

    fn synproxy(&mut self, synproxy: Synproxy) {
        self.out.push_str("synproxy");
        if synproxy.flags & Synproxy::MSS != 0 {
            self.put(format_args!(" mss {}", synproxy.mss));
        }
        if synproxy.flags & Synproxy::WSCALE != 0 {
            self.put(format_args!(" wscale {}", synproxy.wscale));
        }
        for (flag, name) in [(Synproxy::TIMESTAMP, " timestamp"), (Synproxy::SACK_PERM, " sack-perm")] {
            if synproxy.flags & flag != 0 {
                self.out.push_str(name);
            }
        }
    }
}

/// Whether nft shows it as `flags VALUE / MASK`.
fn is_flags(binary: &Binary, right: &Expression) -> bool {
    let bitmask = |expression: &Expression| expression.data_type().is_some_and(DataType::is_bitmask);
    binary.operator == Operator::And
        && matches!(right, Expression::Constant(_) | Expression::List(_))
        && bitmask(&binary.right)
        && !(matches!(right, Expression::Constant(_)) && binary.right == *right)
}

/// Whether the machine's byte order is converted to compare with a range: then nft shows no operator.
fn is_converted_range(left: &Expression, right: &Expression) -> bool {
    matches!(right, Expression::Range(_)) && left.data_type().is_some_and(DataType::is_host_order)
}

fn is_ipv6(expression: &Expression) -> bool {
    matches!(expression, Expression::Constant(constant) if constant.data_type == DataType::Ipv6Addr)
}

/// The severity's name, as in syslog(3).
pub(crate) fn level_name(level: u32) -> &'static str {
    match level {
        0 => "emerg",
        1 => "alert",
        2 => "crit",
        3 => "err",
        4 => "warn",
        5 => "notice",
        6 => "info",
        7 => "debug",
        8 => "audit",
        _ => "unknown",
    }
}

/// Bytes in the largest unit that leaves no rest.
pub(crate) fn scaled(bytes: u64) -> (u64, &'static str) {
    match bytes {
        0 => (0, "bytes"),
        bytes if bytes.is_multiple_of(1 << 20) => (bytes >> 20, "mbytes"),
        bytes if bytes.is_multiple_of(1 << 10) => (bytes >> 10, "kbytes"),
        bytes => (bytes, "bytes"),
    }
}

/// nft's names for the states of a transport protocol with the seconds after which a connection leaves them by itself.
pub(crate) fn timeouts(l4proto: u8) -> &'static [(&'static str, u32)] {
    match l4proto {
        6 => &[
            ("syn_sent", 120),
            ("syn_recv", 60),
            ("established", 432_000),
            ("fin_wait", 120),
            ("close_wait", 60),
            ("last_ack", 30),
            ("time_wait", 120),
            ("close", 10),
            ("syn_sent2", 120),
            ("retrans", 300),
            ("unack", 300),
        ],
        17 => &[("unreplied", 30), ("replied", 120)],
        _ => &[],
    }
}

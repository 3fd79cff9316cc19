//! Statements.

use super::write::{Json, Members};
use super::{Expression, Statement, StatementWriter};
use crate::model::statement::{
    Counter, Forward, Limit, Log, Nat, Queue, Quota, Reject, RejectWith, Synproxy, Tproxy, Update,
};
use crate::nft::print::{Options, level_name, scaled};
use crate::{Constant, Data, Op};

impl StatementWriter<'_> {
    /// Any statement.
    pub(super) fn statement(&self, statement: &Statement, json: Json<'_>) {
        match statement {
            Statement::Match { left, op, right } => self.comparison(left, *op, right, json),
            Statement::Counter(counter) => self.counter(*counter, json),
            Statement::Set { target, value } => json.object_of("mangle", |object| {
                self.selector(target, object.member("key"));
                self.expression(value, object.member("value"));
            }),
            Statement::Nat(nat) => self.nat(nat, json),
            Statement::Tproxy(tproxy) => self.tproxy(tproxy, json),
            Statement::Verdict(verdict) => self.verdict(verdict, json),
            Statement::VerdictMap(map) => self.expression(map, json),
            Statement::Log(log) => self::log(log, json),
            Statement::Limit(limit) => json.object_of("limit", |object| self::limit(limit, object)),
            Statement::Quota(quota) => self.quota(*quota, json),
            Statement::Last(since) => json.of("last", |json| match since {
                Some(since) if !self.options.stateless => json.object(|object| object.number("used", *since)),
                _ => json.null(),
            }),
            Statement::CtCount { count, over } => json.object_of("ct count", |object| {
                object.number("val", *count);
                inverted(*over, object);
            }),
            Statement::Reject(reject) => self.reject(*reject, json),
            Statement::Object { kind, name } => json.of(kind.name(), |json| self.expression(name, json)),
            Statement::Update(update) => self.update(update, statement, json),
            Statement::Queue(queue) => self.queue(queue, json),
            Statement::NoTrack => json.null_of("notrack"),
            Statement::Dup(dup) => self.duplicate(dup, json),
            Statement::Forward(fwd) => self.forward(fwd, json),
            Statement::FlowAdd(name) => json.object_of("flow", |object| {
                object.text("op", "add");
                object.text("flowtable", format_args!("@{name}"));
            }),
            Statement::Synproxy(synproxy) => self::synproxy(*synproxy, json),
            Statement::ResetOption(selector) => json.of("reset", |json| self.selector(selector, json)),
            Statement::Xtables(xt) => json.object_of("xt", |object| {
                object.text("type", xt.kind());
                object.text("name", &xt.name);
            }),
            Statement::Unknown(text) => json.object_of("xt", |object| object.text("comment", text)),
        }
    }

    /// Statements of a set, without what they have counted.
    pub(super) fn stateless(&self, statements: &[Statement], json: Json<'_>) {
        let stateless = Self { options: Options { stateless: true, ..self.options } };
        json.array(|items| {
            statements.iter().for_each(|statement| stateless.statement(statement, items.item()));
        });
    }

    fn comparison(&self, left: &Expression, op: Op, right: &Expression, json: Json<'_>) {
        json.object_of("match", |object| {
            object.text("op", op.sign().unwrap_or("in"));
            self.expression(left, object.member("left"));
            self.expression(right, object.member("right"));
        });
    }

    fn counter(&self, counter: Counter, json: Json<'_>) {
        if self.options.stateless {
            return json.null_of("counter");
        }
        json.object_of("counter", |object| self::counter(counter, object));
    }

    fn nat(&self, nat: &Nat, json: Json<'_>) {
        json.of(nat.kind.name(), |json| {
            json.object_or_null(|object| {
                if let Some(family) = nat.family {
                    object.text("family", family);
                }
                self.address_and_port(nat.address.as_ref(), nat.port.as_ref(), object);
                let netmap = nat.flags & Nat::NETMAP != 0;
                object.names("flags", nat.flag_names().chain(netmap.then_some("netmap")));
                if netmap {
                    object.text("type_flags", "prefix");
                }
            });
        });
    }

    fn tproxy(&self, tproxy: &Tproxy, json: Json<'_>) {
        json.object_of("tproxy", |object| {
            if let Some(family) = tproxy.family {
                object.text("family", family);
            }
            self.address_and_port(tproxy.address.as_ref(), tproxy.port.as_ref(), object);
        });
    }

    fn address_and_port(
        &self,
        address: Option<&Expression>,
        port: Option<&Expression>,
        object: &mut Members<'_>,
    ) {
        for (name, value) in [("addr", address), ("port", port)] {
            if let Some(value) = value {
                self.expression(value, object.member(name));
            }
        }
    }

    fn quota(&self, quota: Quota, json: Json<'_>) {
        json.object_of("quota", |object| {
            let (value, unit) = scaled(quota.bytes);
            object.number("val", value);
            object.text("val_unit", unit);
            inverted(quota.over, object);
            if quota.used > 0 && !self.options.stateless {
                let (used, unit) = scaled(quota.used);
                object.number("used", used);
                object.text("used_unit", unit);
            }
        });
    }

    fn reject(&self, reject: Reject, json: Json<'_>) {
        let kind = match reject.with {
            RejectWith::TcpReset => "tcp reset",
            RejectWith::Unknown => return json.null_of("reject"),
            RejectWith::Icmp => "icmp",
            RejectWith::Icmp6 => "icmpv6",
            RejectWith::Icmpx => "icmpx",
        };
        json.object_of("reject", |object| {
            object.text("type", kind);
            if reject.with != RejectWith::TcpReset {
                let code = Constant::new(reject.with.code_type(), Data::new(&[reject.code]));
                self.constant(&code, false, object.member("expr"));
            }
        });
    }

    fn update(&self, update: &Update, statement: &Statement, json: Json<'_>) {
        if let Some(size) = update.meter {
            return json.object_of("meter", |object| {
                self.updated_key(update, object.member("key"));
                let stateless = Self { options: Options { stateless: true, ..self.options } };
                if let Some(statement) = update.statements.first() {
                    stateless.statement(statement, object.member("stmt"));
                }
                object.number("size", size);
                object.text("name", &update.set);
            });
        }
        if update.value.is_some() {
            // nft has no other form for it.
            return json.printed(self.options, |printer| printer.statement(statement));
        }
        json.object_of("set", |object| {
            object.text("op", update.op.name());
            self.updated_key(update, object.member("elem"));
            object.text("set", format_args!("@{}", update.set));
            if !update.statements.is_empty() {
                self.stateless(&update.statements, object.member("stmt"));
            }
        });
    }

    fn updated_key(&self, update: &Update, json: Json<'_>) {
        if update.timeout == 0 {
            return self.expression(&update.key, json);
        }
        json.object_of("elem", |object| {
            self.expression(&update.key, object.member("val"));
            object.number("timeout", update.timeout / 1_000);
        });
    }

    fn queue(&self, queue: &Queue, json: Json<'_>) {
        json.of("queue", |json| {
            json.object_or_null(|object| {
                if let Some(number) = &queue.number {
                    self.expression(number, object.member("num"));
                }
                let flags = [(queue.bypass, "bypass"), (queue.fanout, "fanout")];
                object.names("flags", flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1));
            });
        });
    }

    fn duplicate(&self, dup: &Forward, json: Json<'_>) {
        let Some(to) = dup.address.as_ref().or(dup.device.as_ref()) else {
            return json.null_of("dup");
        };
        json.object_of("dup", |object| {
            self.expression(to, object.member("addr"));
            if let (Some(_), Some(device)) = (&dup.address, &dup.device) {
                self.expression(device, object.member("dev"));
            }
        });
    }

    fn forward(&self, fwd: &Forward, json: Json<'_>) {
        json.object_of("fwd", |object| {
            if let Some(device) = &fwd.device {
                self.expression(device, object.member("dev"));
            }
            if let Some(address) = &fwd.address {
                if let Some(family) = fwd.family {
                    object.text("family", family);
                }
                self.expression(address, object.member("addr"));
            }
        });
    }
}

pub(super) fn counter(counter: Counter, object: &mut Members<'_>) {
    object.number("packets", counter.packets);
    object.number("bytes", counter.bytes);
}

fn inverted(inverted: bool, object: &mut Members<'_>) {
    if inverted {
        object.member("inv").boolean(true);
    }
}

fn log(log: &Log, json: Json<'_>) {
    json.of("log", |json| {
        json.object_or_null(|object| {
            if let Some(prefix) = &log.prefix {
                object.text("prefix", prefix);
            }
            for (name, value) in [
                ("group", log.group.map(u32::from)),
                ("snaplen", log.snaplen),
                ("queue-threshold", log.queue_threshold.map(u32::from)),
            ] {
                if let Some(value) = value {
                    object.number(name, value);
                }
            }
            let warning = 4;
            if let Some(level) = log.level.filter(|level| *level != warning) {
                object.text("level", level_name(level));
            }
            let known =
                [(1, "tcp sequence"), (2, "tcp options"), (4, "ip options"), (8, "skuid"), (0x20, "ether")];
            let set = known.iter().filter(|(flag, _)| log.flags & flag != 0).map(|flag| flag.1);
            if set.clone().count() == known.len() {
                object.text("flags", "all");
            } else {
                object.names("flags", set);
            }
        });
    });
}

/// The members of a limit in a rule.
fn limit(limit: &Limit, object: &mut Members<'_>) {
    let [rate, burst] = scaled_limit(limit);
    object.number("rate", rate.0);
    object.number("burst", burst.0);
    object.text("per", limit.unit_name());
    inverted(limit.over, object);
    for (name, unit) in [("rate_unit", rate.1), ("burst_unit", burst.1)] {
        if let Some(unit) = unit {
            object.text(name, unit);
        }
    }
}

/// The members of a limit that has a name: nft gives them another order, and leaves out what it does not allow.
pub(super) fn named_limit(limit: &Limit, object: &mut Members<'_>) {
    let [rate, burst] = scaled_limit(limit);
    object.number("rate", rate.0);
    object.text("per", limit.unit_name());
    inverted(limit.over, object);
    if let Some(unit) = rate.1 {
        object.text("rate_unit", unit);
    }
    if burst.0 > 0 {
        object.number("burst", burst.0);
        if let Some(unit) = burst.1 {
            object.text("burst_unit", unit);
        }
    }
}

/// How many there may be, and how many at once; bytes with their unit.
fn scaled_limit(limit: &Limit) -> [(u64, Option<&'static str>); 2] {
    [limit.rate, limit.burst.into()].map(|number| match limit.bytes {
        true => {
            let (number, unit) = scaled(number);
            (number, Some(unit))
        }
        false => (number, None),
    })
}

fn synproxy(synproxy: Synproxy, json: Json<'_>) {
    json.of("synproxy", |json| {
        json.object_or_null(|object| {
            if synproxy.flags & Synproxy::MSS != 0 {
                object.number("mss", synproxy.mss);
            }
            if synproxy.flags & Synproxy::WSCALE != 0 {
                object.number("wscale", synproxy.wscale);
            }
            synproxy_flags(synproxy, object);
        });
    });
}

pub(super) fn synproxy_flags(synproxy: Synproxy, object: &mut Members<'_>) {
    let flags = [(Synproxy::TIMESTAMP, "timestamp"), (Synproxy::SACK_PERM, "sack-perm")];
    let mut flags =
        flags.into_iter().filter(|(flag, _)| synproxy.flags & flag != 0).map(|flag| flag.1).peekable();
    if flags.peek().is_some() {
        object.list("flags", flags);
    }
}

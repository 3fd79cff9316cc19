//! Statements.

use serde_json::{Value as Json, json};

use super::{Expression, Statement, Writer, names, or_null};
use crate::model::statement::{
    Counter, Forward, Limit, Log, Nat, Queue, Quota, Reject, RejectWith, Synproxy, Tproxy, Update,
};
use crate::nft::print::{level_name, scaled};
use crate::{Constant, Data, Op};

impl Writer<'_> {
    /// Any statement.
    #[must_use]
    pub fn statement(&self, statement: &Statement) -> Json {
        match statement {
            Statement::Match { left, op, right } => self.comparison(left, *op, right),
            Statement::Counter(counter) => self.counter(*counter),
            Statement::Set { target, value } => {
                json!({ "mangle": { "key": self.selector(target), "value": self.expression(value) } })
            }
            Statement::Nat(nat) => self.nat(nat),
            Statement::Tproxy(tproxy) => self.tproxy(tproxy),
            Statement::Verdict(verdict) => self.verdict(verdict),
            Statement::VerdictMap(map) => self.expression(map),
            Statement::Log(log) => self::log(log),
            Statement::Limit(limit) => json!({ "limit": self::limit(limit) }),
            Statement::Quota(quota) => self.quota(*quota),
            Statement::Last(since) => match since {
                Some(since) if !self.options.stateless => json!({ "last": { "used": since } }),
                _ => json!({ "last": null }),
            },
            Statement::CtCount { count, over } => {
                let mut object = json!({ "val": count });
                if *over {
                    object["inv"] = true.into();
                }
                json!({ "ct count": object })
            }
            Statement::Reject(reject) => self.reject(*reject),
            Statement::Object { kind, name } => json!({ kind.name(): self.expression(name) }),
            Statement::Update(update) => self.update(update),
            Statement::Queue(queue) => self.queue(queue),
            Statement::NoTrack => json!({ "notrack": null }),
            Statement::Dup(dup) => self.duplicate(dup),
            Statement::Forward(fwd) => self.forward(fwd),
            Statement::FlowAdd(name) => {
                json!({ "flow": { "op": "add", "flowtable": format!("@{name}") } })
            }
            Statement::Synproxy(synproxy) => self::synproxy(*synproxy),
            Statement::ResetOption(selector) => json!({ "reset": self.selector(selector) }),
            Statement::Xtables(xt) => {
                json!({ "xt": { "type": xt.kind(), "name": xt.name } })
            }
            Statement::Unknown(text) => json!({ "xt": { "comment": text } }),
        }
    }

    fn comparison(&self, left: &Expression, op: Op, right: &Expression) -> Json {
        json!({
            "match": {
                "op": op.sign().unwrap_or("in"),
                "left": self.expression(left),
                "right": self.expression(right),
            }
        })
    }

    pub(super) fn counter(&self, counter: Counter) -> Json {
        if self.options.stateless {
            return json!({ "counter": null });
        }
        json!({ "counter": { "packets": counter.packets, "bytes": counter.bytes } })
    }

    fn nat(&self, nat: &Nat) -> Json {
        let mut object = json!({});
        if let Some(family) = nat.family {
            object["family"] = family.to_string().into();
        }
        if let Some(address) = &nat.address {
            object["addr"] = self.expression(address);
        }
        if let Some(port) = &nat.port {
            object["port"] = self.expression(port);
        }
        let netmap = nat.flags & Nat::NETMAP != 0;
        names(&mut object, "flags", nat.flag_names().chain(netmap.then_some("netmap")).collect());
        if netmap {
            object["type_flags"] = "prefix".into();
        }
        json!({ nat.kind.name(): or_null(object) })
    }

    fn tproxy(&self, tproxy: &Tproxy) -> Json {
        let mut object = json!({});
        if let Some(family) = tproxy.family {
            object["family"] = family.to_string().into();
        }
        if let Some(address) = &tproxy.address {
            object["addr"] = self.expression(address);
        }
        if let Some(port) = &tproxy.port {
            object["port"] = self.expression(port);
        }
        json!({ "tproxy": object })
    }

    fn quota(&self, quota: Quota) -> Json {
        let (value, unit) = scaled(quota.bytes);
        let mut object = json!({ "val": value, "val_unit": unit });
        if quota.over {
            object["inv"] = true.into();
        }
        if quota.used > 0 && !self.options.stateless {
            let (used, unit) = scaled(quota.used);
            object["used"] = used.into();
            object["used_unit"] = unit.into();
        }
        json!({ "quota": object })
    }

    fn reject(&self, reject: Reject) -> Json {
        let kind = match reject.with {
            RejectWith::TcpReset => return json!({ "reject": { "type": "tcp reset" } }),
            RejectWith::Unknown => return json!({ "reject": null }),
            RejectWith::Icmp => "icmp",
            RejectWith::Icmp6 => "icmpv6",
            RejectWith::Icmpx => "icmpx",
        };
        let code = Constant::new(reject.with.code_type(), Data::new(&[reject.code]));
        json!({ "reject": { "type": kind, "expr": self.constant(&code, false) } })
    }

    fn update(&self, update: &Update) -> Json {
        let mut key = self.expression(&update.key);
        if update.timeout > 0 {
            key = json!({ "elem": { "val": key, "timeout": update.timeout / 1_000 } });
        }
        let stateless = Writer { options: crate::nft::print::Options { stateless: true, ..self.options } };
        let statements: Vec<_> =
            update.statements.iter().map(|statement| stateless.statement(statement)).collect();
        if let Some(size) = update.meter {
            let statement = statements.into_iter().next();
            return json!({ "meter": { "key": key, "stmt": statement, "size": size, "name": update.set.to_string() } });
        }
        if update.value.is_some() {
            // nft has no other form for it.
            let statement = Statement::Update(Box::new(update.clone()));
            return self.text(|printer| printer.statement(&statement)).into();
        }
        let set = format!("@{}", update.set);
        let mut object = json!({ "op": update.op.name(), "elem": key, "set": set });
        if !statements.is_empty() {
            object["stmt"] = statements.into();
        }
        json!({ "set": object })
    }

    fn queue(&self, queue: &Queue) -> Json {
        let mut object = json!({});
        if let Some(number) = &queue.number {
            object["num"] = self.expression(number);
        }
        let flags = [(queue.bypass, "bypass"), (queue.fanout, "fanout")];
        names(&mut object, "flags", flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1).collect());
        json!({ "queue": or_null(object) })
    }

    fn duplicate(&self, dup: &Forward) -> Json {
        let Some(to) = dup.address.as_ref().or(dup.device.as_ref()) else { return json!({ "dup": null }) };
        let mut object = json!({ "addr": self.expression(to) });
        if let (Some(_), Some(device)) = (&dup.address, &dup.device) {
            object["dev"] = self.expression(device);
        }
        json!({ "dup": object })
    }

    fn forward(&self, fwd: &Forward) -> Json {
        let mut object = json!({});
        if let Some(device) = &fwd.device {
            object["dev"] = self.expression(device);
        }
        if let Some(address) = &fwd.address {
            object["addr"] = self.expression(address);
            if let Some(family) = fwd.family {
                object["family"] = family.to_string().into();
            }
        }
        json!({ "fwd": object })
    }
}

fn log(log: &Log) -> Json {
    let mut object = json!({});
    if let Some(prefix) = &log.prefix {
        object["prefix"] = prefix.to_string().into();
    }
    for (name, value) in [
        ("group", log.group.map(u32::from)),
        ("snaplen", log.snaplen),
        ("queue-threshold", log.queue_threshold.map(u32::from)),
    ] {
        if let Some(value) = value {
            object[name] = value.into();
        }
    }
    let warning = 4;
    if let Some(level) = log.level.filter(|level| *level != warning) {
        object["level"] = level_name(level).into();
    }
    let known = [(1, "tcp sequence"), (2, "tcp options"), (4, "ip options"), (8, "skuid"), (0x20, "ether")];
    let set: Vec<_> =
        known.into_iter().filter(|(flag, _)| log.flags & flag != 0).map(|flag| flag.1).collect();
    names(&mut object, "flags", if set.len() == known.len() { vec!["all"] } else { set });
    json!({ "log": or_null(object) })
}

pub(super) fn limit(limit: &Limit) -> Json {
    let mut object = json!({ "per": limit.unit_name() });
    if limit.bytes {
        let (rate, unit) = scaled(limit.rate);
        object["rate"] = rate.into();
        object["rate_unit"] = unit.into();
        let (burst, unit) = scaled(limit.burst.into());
        object["burst"] = burst.into();
        object["burst_unit"] = unit.into();
    } else {
        object["rate"] = limit.rate.into();
        if limit.burst > 0 {
            object["burst"] = limit.burst.into();
        }
    }
    if limit.over {
        object["inv"] = true.into();
    }
    object
}

fn synproxy(synproxy: Synproxy) -> Json {
    let mut object = json!({});
    if synproxy.flags & Synproxy::MSS != 0 {
        object["mss"] = synproxy.mss.into();
    }
    if synproxy.flags & Synproxy::WSCALE != 0 {
        object["wscale"] = synproxy.wscale.into();
    }
    let flags = synproxy_flags(synproxy);
    if !flags.is_empty() {
        object["flags"] = flags.into();
    }
    json!({ "synproxy": or_null(object) })
}

pub(super) fn synproxy_flags(synproxy: Synproxy) -> Vec<&'static str> {
    let flags = [(Synproxy::TIMESTAMP, "timestamp"), (Synproxy::SACK_PERM, "sack-perm")];
    flags.into_iter().filter(|(flag, _)| synproxy.flags & flag != 0).map(|flag| flag.1).collect()
}

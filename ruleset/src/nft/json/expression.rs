//! Expressions.

use nftwire::expr::{RtKey, SocketKey};

use super::StatementWriter;
use super::write::{Json, Members};
use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::HashRange;
use crate::nft::print::{ct_name, meta_name, tunnel_name};
use crate::{Constant, DataType, Element, Expression, Selector, Verdict};

impl StatementWriter<'_> {
    /// Any expression.
    pub(super) fn expression(&self, expression: &Expression, json: Json<'_>) {
        self.expression_as(expression, false, json);
    }

    fn expression_as(&self, expression: &Expression, number: bool, json: Json<'_>) {
        match expression {
            Expression::Selector(selector) => self.selector(selector, json),
            Expression::Constant(constant) => self.constant(constant, number, json),
            Expression::Prefix(prefix) => json.object_of("prefix", |object| {
                self.expression(&prefix.value, object.member("addr"));
                object.number("len", prefix.len);
            }),
            Expression::Range(range) => json.of("range", |json| {
                json.array(|items| {
                    self.expression_as(&range.from, true, items.item());
                    self.expression_as(&range.to, true, items.item());
                });
            }),
            Expression::Concat(parts) => json.of("concat", |json| self.list(parts, json)),
            Expression::List(parts) => self.list(parts, json),
            Expression::Set(elements) => json.of("set", |json| self.elements(elements, json)),
            Expression::SetName(name) => json.text(format_args!("@{name}")),
            Expression::Map(map) => json.object_of(if map.verdicts { "vmap" } else { "map" }, |object| {
                self.expression(&map.key, object.member("key"));
                self.expression(&map.map, object.member("data"));
            }),
            Expression::Binary(binary) => json.of(binary.operator.sign(), |json| {
                json.array(|items| {
                    self.expression(&binary.left, items.item());
                    self.expression(&binary.right, items.item());
                });
            }),
            Expression::Hash(hash) => json.object_of("jhash", |object| {
                object.number("mod", hash.modulus);
                if let Some(seed) = hash.seed {
                    object.number("seed", seed);
                }
                offset(object, hash.offset);
                self.expression(&hash.of, object.member("expr"));
            }),
            Expression::Verdict(verdict) => self.verdict(verdict, json),
            Expression::Name(name) => json.text(name),
            Expression::Wildcard => json.text("*"),
        }
    }

    fn list(&self, parts: &[Expression], json: Json<'_>) {
        json.array(|items| parts.iter().for_each(|part| self.expression(part, items.item())));
    }

    /// Elements of a set or a map.
    pub(super) fn elements(&self, elements: &[Element], json: Json<'_>) {
        json.array(|items| elements.iter().for_each(|element| self.element(element, items.item())));
    }

    fn element(&self, element: &Element, json: Json<'_>) {
        match &element.value {
            None => self.key(element, json),
            Some(value) => json.array(|items| {
                self.key(element, items.item());
                self.expression(value, items.item());
            }),
        }
    }

    fn key(&self, element: &Element, json: Json<'_>) {
        let Some(details) = &element.details else { return self.expression(&element.key, json) };
        json.object_of("elem", |object| {
            self.expression(&element.key, object.member("val"));
            for (name, milliseconds) in [("timeout", details.timeout), ("expires", details.expires)] {
                if milliseconds > 0 {
                    object.number(name, milliseconds / 1_000);
                }
            }
            if let Some(comment) = &details.comment {
                object.text("comment", comment);
            }
            for statement in &details.statements {
                object.members_of(|json| self.statement(statement, json));
            }
        });
    }

    pub(super) fn verdict(&self, verdict: &Verdict, json: Json<'_>) {
        let shown = |name: &crate::Name| self.options.anonymous.iter().any(|chain| chain.name == *name);
        let name = match verdict {
            // nft has nothing but the text of a chain's rules.
            Verdict::Jump(chain) | Verdict::Goto(chain) if shown(chain) => {
                let verdict = Expression::Verdict(verdict.clone());
                return json.printed(self.options, |printer| printer.expression(&verdict));
            }
            Verdict::Jump(chain) => return json.object_of("jump", |object| object.text("target", chain)),
            Verdict::Goto(chain) => return json.object_of("goto", |object| object.text("target", chain)),
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
            Verdict::Return => "return",
            Verdict::Continue => "continue",
            Verdict::Break => "break",
            Verdict::Other(_) => "unknown",
        };
        json.null_of(name);
    }

    /// A constant; with a protocol as a number where it is in a range.
    pub(super) fn constant(&self, constant: &Constant, number: bool, json: Json<'_>) {
        let data_type = constant.data_type;
        match data_type {
            DataType::Ipv4Addr
            | DataType::Ipv6Addr
            | DataType::EtherAddr
            | DataType::LinkAddr
            | DataType::String
            | DataType::InterfaceName
            | DataType::ClassId
            | DataType::Date
            | DataType::CgroupV2
            | DataType::Hour => return self.printed(constant, json),
            DataType::CtLabel => {
                let bit = constant.flags().next();
                let before = |flag: Constant| flag.number().map(u128::trailing_zeros);
                return match bit.and_then(before) {
                    Some(bit) => json.number(bit),
                    None => json.number(0),
                };
            }
            DataType::Boolean => return json.boolean(constant.number().is_some_and(|number| number != 0)),
            _ => {}
        }
        let Some(value) = constant.number().and_then(|value| u64::try_from(value).ok()) else {
            let bytes = constant.most_significant_first();
            let digits: String = bytes.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            return json.text(format_args!("0x{}", digits.trim_start_matches('0')));
        };
        let named = self.options.numeric.has_names(data_type);
        match data_type.symbol(value).filter(|_| named) {
            Some(symbol) if !(number && data_type == DataType::InetProto) => json.text(symbol),
            _ => match data_type {
                DataType::Time => json.number(value / 1_000),
                // nft shows these by their text.
                DataType::InterfaceIndex => self.printed(constant, json),
                DataType::Realm => json.text(value),
                _ => json.number(value),
            },
        }
    }

    fn printed(&self, constant: &Constant, json: Json<'_>) {
        json.printed(self.options, |printer| printer.constant(constant, false));
    }

    /// What is read from a packet or set on it.
    pub(super) fn selector(&self, selector: &Selector, json: Json<'_>) {
        match selector {
            Selector::Inner(inner) => match inner.part.selector() {
                part @ (Selector::Payload(_) | Selector::Raw(_)) => json.object_of("payload", |object| {
                    payload(&part, object);
                    object.text("tunnel", inner.tunnel.name());
                }),
                part => self.selector(&part, json),
            },
            Selector::Payload(_) | Selector::Raw(_) => {
                json.object_of("payload", |object| payload(selector, object));
            }
            Selector::Meta(key) => keyed("meta", meta_name(*key).0, json),
            Selector::Ct(key) => keyed("ct", ct_name(*key), json),
            Selector::CtOf(of) => json.object_of("ct", |object| {
                object.text("key", ct_name(of.key));
                object.text("dir", if of.reply { "reply" } else { "original" });
            }),
            Selector::Option(option) => self::option(option, json),
            Selector::Socket(key, _) => keyed("socket", socket_key(*key), json),
            Selector::Fib(fib) => json.object_of("fib", |object| {
                object.text("result", fib.result_name());
                if fib.flag_names().next().is_some() {
                    object.list("flags", fib.flag_names());
                }
            }),
            Selector::Rt(key) => rt(*key, json),
            Selector::Tunnel(key) => keyed("tunnel", tunnel_name(*key), json),
            Selector::Osf(osf) => json.object_of("osf", |object| {
                object.text("key", if osf.version { "version" } else { "name" });
                match osf.ttl {
                    1 => object.text("ttl", "loose"),
                    2 => object.text("ttl", "skip"),
                    _ => {}
                }
            }),
            Selector::Ipsec(ipsec) => json.object_of("ipsec", |object| {
                let (name, family) = ipsec.key_name();
                object.text("key", name);
                if let Some(family) = family {
                    object.text("family", family);
                }
                object.text("dir", if ipsec.out { "out" } else { "in" });
                object.number("spnum", ipsec.spnum);
            }),
            Selector::Numgen(numgen) => json.object_of("numgen", |object| {
                let HashRange { modulus, offset } = numgen.range;
                object.text("mode", if numgen.random { "random" } else { "inc" });
                object.number("mod", modulus);
                object.number("offset", offset);
            }),
            Selector::SymmetricHash(range) => json.object_of("symhash", |object| {
                object.number("mod", range.modulus);
                offset(object, range.offset);
            }),
        }
    }
}

fn keyed(kind: &str, key: &str, json: Json<'_>) {
    json.object_of(kind, |object| object.text("key", key));
}

fn offset(object: &mut Members<'_>, offset: u32) {
    if offset > 0 {
        object.number("offset", offset);
    }
}

fn payload(selector: &Selector, object: &mut Members<'_>) {
    match selector {
        Selector::Payload(field) => {
            object.text("protocol", field.protocol.name());
            object.text("field", field.name);
        }
        Selector::Raw(raw) => {
            object.text("base", raw.base_name());
            object.number("offset", raw.offset);
            object.number("len", raw.len);
        }
        _ => {}
    }
}

fn option(option: &OptionField, json: Json<'_>) {
    let kind = match option.kind {
        OptionKind::Tcp => "tcp option",
        OptionKind::Ipv4 => "ip option",
        OptionKind::Sctp => "sctp chunk",
        OptionKind::Ipv6 => "exthdr",
    };
    let names = option.names();
    let name = names.map(|names| names.option).or(option.option_name());
    json.object_of(kind, |object| match name {
        Some(name) if names.is_some() || option.presence => {
            match names.map_or(0, |names| names.block) {
                0 => object.text("name", name),
                block => object.text("name", format_args!("{name}{block}")),
            }
            if let Some(names) = names.filter(|_| !option.presence) {
                object.text("field", names.field);
            }
        }
        _ => {
            object.number("base", option.number);
            object.number("offset", option.offset);
            object.number("len", option.len);
        }
    });
}

fn socket_key(key: SocketKey) -> &'static str {
    match key {
        SocketKey::Transparent => "transparent",
        SocketKey::Mark => "mark",
        SocketKey::Wildcard => "wildcard",
        SocketKey::CgroupV2 => "cgroupv2",
        _ => "unknown",
    }
}

fn rt(key: RtKey, json: Json<'_>) {
    let (key, family) = match key {
        RtKey::ClassId => ("classid", None),
        RtKey::NextHop4 => ("nexthop", Some("ip")),
        RtKey::NextHop6 => ("nexthop", Some("ip6")),
        RtKey::TcpMss => ("mtu", None),
        RtKey::Xfrm => ("ipsec", None),
        _ => ("unknown", None),
    };
    json.object_of("rt", |object| {
        object.text("key", key);
        if let Some(family) = family {
            object.text("family", family);
        }
    });
}

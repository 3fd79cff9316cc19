//! Expressions.

use nftwire::expr::{RtKey, SocketKey};
use serde_json::{Value as Json, json};

use super::Writer;
use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::{CtOf, HashRange};
use crate::nft::print::{ct_name, meta_name};
use crate::{Constant, DataType, Element, Expression, Selector, Verdict};

impl Writer<'_> {
    /// Any expression.
    #[must_use]
    pub fn expression(&self, expression: &Expression) -> Json {
        self.expression_as(expression, false)
    }

    fn expression_as(&self, expression: &Expression, number: bool) -> Json {
        match expression {
            Expression::Selector(selector) => self.selector(selector),
            Expression::Constant(constant) => self.constant(constant, number),
            Expression::Prefix(prefix) => {
                json!({ "prefix": { "addr": self.expression(&prefix.value), "len": prefix.len } })
            }
            Expression::Range(range) => json!({
                "range": [self.expression_as(&range.from, true), self.expression_as(&range.to, true)]
            }),
            Expression::Concat(parts) => json!({ "concat": self.list(parts) }),
            Expression::List(parts) => self.list(parts).into(),
            Expression::Set(elements) => {
                let elements: Vec<_> = elements.iter().map(|element| self.element(element)).collect();
                json!({ "set": elements })
            }
            Expression::SetName(name) => format!("@{name}").into(),
            Expression::Map(map) => {
                let kind = if map.verdicts { "vmap" } else { "map" };
                json!({ kind: { "key": self.expression(&map.key), "data": self.expression(&map.map) } })
            }
            Expression::Binary(binary) => json!({
                binary.operator.sign(): [self.expression(&binary.left), self.expression(&binary.right)]
            }),
            Expression::Hash(hash) => {
                let mut object = json!({ "mod": hash.modulus, "expr": self.expression(&hash.of) });
                if let Some(seed) = hash.seed {
                    object["seed"] = seed.into();
                }
                if hash.offset > 0 {
                    object["offset"] = hash.offset.into();
                }
                json!({ "jhash": object })
            }
            Expression::Verdict(verdict) => self.verdict(verdict),
            Expression::Name(name) => name.to_string().into(),
            Expression::Wildcard => "*".into(),
        }
    }

    fn list(&self, parts: &[Expression]) -> Vec<Json> {
        parts.iter().map(|part| self.expression(part)).collect()
    }

    /// An element of a set or a map.
    #[must_use]
    pub fn element(&self, element: &Element) -> Json {
        let mut key = self.expression(&element.key);
        if let Some(details) = &element.details {
            let mut object = json!({ "val": key });
            if details.timeout > 0 {
                object["timeout"] = (details.timeout / 1_000).into();
            }
            if details.expires > 0 {
                object["expires"] = (details.expires / 1_000).into();
            }
            if let Some(comment) = &details.comment {
                object["comment"] = comment.to_string().into();
            }
            for statement in &details.statements {
                if let Json::Object(members) = self.statement(statement) {
                    for (name, value) in members {
                        object[name] = value;
                    }
                }
            }
            key = json!({ "elem": object });
        }
        match &element.value {
            Some(value) => json!([key, self.expression(value)]),
            None => key,
        }
    }

    pub(super) fn verdict(&self, verdict: &Verdict) -> Json {
        let shown = |name: &crate::Name| self.options.anonymous.iter().any(|chain| chain.name == *name);
        match verdict {
            // nft has nothing but the text of a chain's rules.
            Verdict::Jump(chain) | Verdict::Goto(chain) if shown(chain) => {
                self.text(|printer| printer.expression(&Expression::Verdict(verdict.clone()))).into()
            }
            Verdict::Jump(chain) => json!({ "jump": { "target": chain.to_string() } }),
            Verdict::Goto(chain) => json!({ "goto": { "target": chain.to_string() } }),
            verdict => {
                let name = self.text(|printer| printer.expression(&Expression::Verdict(verdict.clone())));
                json!({ name: null })
            }
        }
    }

    /// A constant; with a protocol as a number where it stands in a range.
    pub(super) fn constant(&self, constant: &Constant, number: bool) -> Json {
        let data_type = constant.data_type;
        let text = || {
            let text = self.text(|printer| printer.expression(&constant.clone().into()));
            Json::from(text.trim_matches('"'))
        };
        match data_type {
            DataType::Ipv4Addr
            | DataType::Ipv6Addr
            | DataType::EtherAddr
            | DataType::LinkAddr
            | DataType::String
            | DataType::InterfaceName
            | DataType::ClassId
            | DataType::Date
            | DataType::Hour => return text(),
            DataType::CtLabel => {
                let text = self.text(|printer| printer.expression(&constant.clone().into()));
                return text.parse::<u64>().map_or(Json::Null, Json::from);
            }
            DataType::Boolean => return constant.number().is_some_and(|number| number != 0).into(),
            _ => {}
        }
        let value = constant.number().and_then(|value| u64::try_from(value).ok());
        match value {
            None => {
                let bytes = constant.most_significant_first();
                let digits: String = bytes.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                format!("0x{}", digits.trim_start_matches('0')).into()
            }
            Some(value) => match data_type.symbol(value) {
                Some(symbol) if !(number && data_type == DataType::InetProto) => symbol.into(),
                _ if data_type == DataType::Time => (value / 1_000).into(),
                // nft shows these by their text.
                _ if data_type == DataType::InterfaceIndex => {
                    self.interface(value).unwrap_or_else(|| value.to_string()).into()
                }
                _ if data_type == DataType::Realm => value.to_string().into(),
                _ => value.into(),
            },
        }
    }

    fn interface(&self, index: u64) -> Option<String> {
        let index = u32::try_from(index).ok()?;
        self.options.interfaces?.get(&index).cloned()
    }

    /// What is read from a packet or set on it.
    #[must_use]
    pub fn selector(&self, selector: &Selector) -> Json {
        match selector {
            Selector::Payload(field) => {
                json!({ "payload": { "protocol": field.protocol.name(), "field": field.name } })
            }
            Selector::Raw(raw) => {
                json!({ "payload": { "base": raw.base_name(), "offset": raw.offset, "len": raw.len } })
            }
            Selector::Meta(key) => json!({ "meta": { "key": meta_name(*key).0 } }),
            Selector::Ct(key) => json!({ "ct": { "key": ct_name(*key) } }),
            Selector::CtOf(of) => ct_of(of),
            Selector::Option(option) => self::option(option),
            Selector::Socket(key, _) => json!({ "socket": { "key": socket_key(*key) } }),
            Selector::Fib(fib) => {
                let flags: Vec<_> = fib.flag_names().collect();
                json!({ "fib": { "result": fib.result_name(), "flags": flags } })
            }
            Selector::Rt(key) => rt(*key),
            Selector::Inner(inner) => {
                let mut json = self.selector(&inner.part.selector());
                if let Some(payload) = json.get_mut("payload") {
                    payload["tunnel"] = inner.tunnel.name().into();
                }
                json
            }
            Selector::Osf(osf) => {
                let mut object = json!({ "key": if osf.version { "version" } else { "name" } });
                match osf.ttl {
                    1 => object["ttl"] = "loose".into(),
                    2 => object["ttl"] = "skip".into(),
                    _ => {}
                }
                json!({ "osf": object })
            }
            Selector::Ipsec(ipsec) => {
                let (name, family) = ipsec.key_name();
                let direction = if ipsec.out { "out" } else { "in" };
                let mut object = json!({ "key": name, "dir": direction, "spnum": ipsec.spnum });
                if let Some(family) = family {
                    object["family"] = family.into();
                }
                json!({ "ipsec": object })
            }
            Selector::Numgen(numgen) => {
                let HashRange { modulus, offset } = numgen.range;
                let mode = if numgen.random { "random" } else { "inc" };
                json!({ "numgen": { "mode": mode, "mod": modulus, "offset": offset } })
            }
            Selector::SymmetricHash(range) => {
                let mut object = json!({ "mod": range.modulus });
                if range.offset > 0 {
                    object["offset"] = range.offset.into();
                }
                json!({ "symhash": object })
            }
        }
    }
}

fn ct_of(of: &CtOf) -> Json {
    let direction = if of.reply { "reply" } else { "original" };
    json!({ "ct": { "key": ct_name(of.key), "dir": direction } })
}

fn option(option: &OptionField) -> Json {
    let kind = match option.kind {
        OptionKind::Tcp => "tcp option",
        OptionKind::Ipv4 => "ip option",
        OptionKind::Sctp => "sctp chunk",
        OptionKind::Ipv6 => "exthdr",
    };
    let names = option.names();
    let Some(name) = names.map(|names| names.option).or(option.option_name()) else {
        return json!({ kind: { "base": option.number, "offset": option.offset, "len": option.len } });
    };
    let block = names.map_or(0, |names| names.block);
    let name = if block > 0 { format!("{name}{block}") } else { name.to_owned() };
    match names {
        Some(names) if !option.presence => json!({ kind: { "name": name, "field": names.field } }),
        None if !option.presence => {
            json!({ kind: { "base": option.number, "offset": option.offset, "len": option.len } })
        }
        _ => json!({ kind: { "name": name } }),
    }
}

fn socket_key(key: SocketKey) -> &'static str {
    match key {
        SocketKey::Transparent => "transparent",
        SocketKey::Mark => "mark",
        SocketKey::Wildcard => "wildcard",
        SocketKey::CgroupV2 => "cgroupv2",
        SocketKey::Other(_) => "unknown",
    }
}

fn rt(key: RtKey) -> Json {
    match key {
        RtKey::ClassId => json!({ "rt": { "key": "classid" } }),
        RtKey::NextHop4 => json!({ "rt": { "key": "nexthop", "family": "ip" } }),
        RtKey::NextHop6 => json!({ "rt": { "key": "nexthop", "family": "ip6" } }),
        RtKey::TcpMss => json!({ "rt": { "key": "mtu" } }),
        RtKey::Xfrm => json!({ "rt": { "key": "ipsec" } }),
        RtKey::Other(_) => json!({ "rt": { "key": "unknown" } }),
    }
}

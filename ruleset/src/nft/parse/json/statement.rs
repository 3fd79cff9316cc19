//! Statements.

use serde_json::{Map, Value as Json};

use super::expression::text;
use super::item;
use super::{JsonFault, Translated, fail, member, number, object, only, quoted, string, word, words};

/// A statement as text.
pub(super) fn statement(value: &Json, path: &str) -> Translated<String> {
    let (name, value) = only(value, path)?;
    named(name, value, path)
}

/// A statement by its name.
pub(super) fn named(name: &str, value: &Json, path: &str) -> Translated<String> {
    let inner = format!("{path}.{name}");
    match name {
        "match" => comparison(object(value, &inner)?, &inner),
        "accept" | "drop" | "continue" | "return" | "notrack" => Ok(name.to_owned()),
        "jump" | "goto" => {
            Ok(format!("{name} {}", word(member(object(value, &inner)?, "target", &inner)?, &inner)?))
        }
        "counter" | "quota" | "limit" if value.is_string() || has_expression(value) => {
            named_object(name, value, &inner)
        }
        "counter" => match value {
            Json::Null => Ok("counter".to_owned()),
            value => {
                let counter = object(value, &inner)?;
                let count = |name: &'static str| number(member(counter, name, &inner)?, &inner);
                Ok(format!("counter packets {} bytes {}", count("packets")?, count("bytes")?))
            }
        },
        "quota" => item::quota(object(value, &inner)?, &inner).map(|quota| format!("quota {quota}")),
        "limit" => item::limit(object(value, &inner)?, &inner).map(|limit| format!("limit {limit}")),
        "last" => Ok("last".to_owned()),
        "ct count" => {
            let count = object(value, &inner)?;
            let over = if is_set(count, "inv") { "over " } else { "" };
            Ok(format!("ct count {over}{}", number(member(count, "val", &inner)?, &inner)?))
        }
        "mangle" => {
            let mangle = object(value, &inner)?;
            let key = text(member(mangle, "key", &inner)?, &inner)?;
            Ok(format!("{key} set {}", text(member(mangle, "value", &inner)?, &inner)?))
        }
        "vmap" => {
            let map = object(value, &inner)?;
            let key = text(member(map, "key", &inner)?, &inner)?;
            Ok(format!("{key} vmap {}", text(member(map, "data", &inner)?, &inner)?))
        }
        "ct helper" | "ct timeout" | "ct expectation" | "secmark" | "synproxy" | "tunnel"
            if value.is_string() || has_expression(value) =>
        {
            named_object(name, value, &inner)
        }
        "log" => log(value, &inner),
        "reject" => reject(value, &inner),
        "snat" | "dnat" | "masquerade" | "redirect" => nat(name, value, &inner),
        "tproxy" => tproxy(object(value, &inner)?, &inner),
        "queue" => queue(value, &inner),
        "dup" => {
            let dup = object(value, &inner)?;
            let device = dup.get("dev").map(|device| text(device, &inner)).transpose()?;
            let address = text(member(dup, "addr", &inner)?, &inner)?;
            Ok(format!(
                "dup to {address}{}",
                device.map_or(String::new(), |device| format!(" device {device}"))
            ))
        }
        "fwd" => {
            let fwd = object(value, &inner)?;
            let device = text(member(fwd, "dev", &inner)?, &inner)?;
            match fwd.get("addr") {
                None => Ok(format!("fwd to {device}")),
                Some(address) => {
                    let family = word(member(fwd, "family", &inner)?, &inner)?;
                    Ok(format!("fwd {family} to {} device {device}", text(address, &inner)?))
                }
            }
        }
        "set" | "map" => update(object(value, &inner)?, &inner),
        "meter" => {
            let meter = object(value, &inner)?;
            let key = text(member(meter, "key", &inner)?, &inner)?;
            let size = meter.get("size").map(|size| number(size, &inner)).transpose()?;
            let size = size.map_or(String::new(), |size| format!(" size {size}"));
            let inside = statement(member(meter, "stmt", &inner)?, &inner)?;
            Ok(format!("meter {}{size} {{ {key} {inside} }}", word(member(meter, "name", &inner)?, &inner)?))
        }
        "flow" => {
            let flow = object(value, &inner)?;
            let table = string(member(flow, "flowtable", &inner)?, &inner)?;
            Ok(format!(
                "flow add @{}",
                word(&Json::String(table.trim_start_matches('@').to_owned()), &inner)?
            ))
        }
        "synproxy" => item::synproxy(value, &inner).map(|synproxy| format!("synproxy {synproxy}")),
        "reset" => Ok(format!("reset {}", text(value, &inner)?)),
        "xt" => fail(&inner, JsonFault::Unsupported("xt".to_owned())),
        name => fail(path, JsonFault::Unknown(name.to_owned())),
    }
}

pub(super) fn is_set(object: &Map<String, Json>, name: &str) -> bool {
    object.get(name).and_then(Json::as_bool).unwrap_or(false)
}

/// Whether it is a map of names.
fn has_expression(value: &Json) -> bool {
    value.as_object().is_some_and(|object| object.contains_key("map"))
}

fn named_object(name: &str, value: &Json, path: &str) -> Translated<String> {
    let object = text(value, path)?;
    Ok(match name {
        "ct helper" | "ct timeout" | "ct expectation" => format!("{name} set {object}"),
        "secmark" => format!("meta secmark set {object}"),
        name => format!("{name} name {object}"),
    })
}

fn comparison(value: &Map<String, Json>, path: &str) -> Translated<String> {
    let (left, right) = (member(value, "left", path)?, member(value, "right", path)?);
    // nft writes an option without a name as its first byte, even when the rule only tests whether the option exists.
    let option = left.get("tcp option").filter(|option| right.is_boolean() && is_first_byte(option));
    let left = match option.and_then(|option| option.get("base")) {
        Some(kind) => format!("tcp option {}", number(kind, path)?),
        None => text(left, &format!("{path}.left"))?,
    };
    let right = text(right, &format!("{path}.right"))?;
    let op = match value.get("op") {
        None => "",
        Some(op) => match string(op, path)? {
            "in" => "",
            op @ ("==" | "!=" | "<" | ">" | "<=" | ">=" | "!") => op,
            op => return fail(path, JsonFault::Unknown(op.to_owned())),
        },
    };
    Ok(if op.is_empty() { format!("{left} {right}") } else { format!("{left} {op} {right}") })
}

fn is_first_byte(option: &Json) -> bool {
    let is = |name: &str, expected: u64| option.get(name).and_then(Json::as_u64) == Some(expected);
    is("offset", 0) && is("len", 8)
}

fn log(value: &Json, path: &str) -> Translated<String> {
    let mut out = "log".to_owned();
    if value.is_null() {
        return Ok(out);
    }
    for (name, value) in object(value, path)? {
        match name.as_str() {
            "prefix" => out.push_str(&format!(" prefix {}", quoted(string(value, path)?, path)?)),
            "group" | "snaplen" | "queue-threshold" => {
                out.push_str(&format!(" {name} {}", number(value, path)?));
            }
            "level" => out.push_str(&format!(" level {}", word(value, path)?)),
            "flags" => {
                let items = match value {
                    Json::Array(items) => items.as_slice(),
                    value => std::slice::from_ref(value),
                };
                for item in items {
                    out.push_str(match string(item, path)? {
                        "tcp sequence" => " flags tcp sequence",
                        "tcp options" => " flags tcp options",
                        "ip options" => " flags ip options",
                        "skuid" => " flags skuid",
                        "ether" => " flags ether",
                        "all" => " flags all",
                        flag => return fail(path, JsonFault::Unknown(flag.to_owned())),
                    });
                }
            }
            name => return fail(path, JsonFault::Unknown(name.to_owned())),
        }
    }
    Ok(out)
}

fn reject(value: &Json, path: &str) -> Translated<String> {
    if value.is_null() {
        return Ok("reject".to_owned());
    }
    let reject = object(value, path)?;
    let Some(kind) = reject.get("type") else { return Ok("reject".to_owned()) };
    match (string(kind, path)?, reject.get("expr")) {
        ("tcp reset", _) => Ok("reject with tcp reset".to_owned()),
        (kind @ ("icmp" | "icmpv6" | "icmpx"), Some(code)) => {
            Ok(format!("reject with {kind} {}", text(code, path)?))
        }
        (kind, _) => fail(path, JsonFault::Unknown(kind.to_owned())),
    }
}

fn nat(name: &str, value: &Json, path: &str) -> Translated<String> {
    let mut out = name.to_owned();
    if value.is_null() {
        return Ok(out);
    }
    let nat = object(value, path)?;
    let address = nat.get("addr").map(|address| text(address, path)).transpose()?;
    let port = nat.get("port").map(|port| text(port, path)).transpose()?;
    if let Some(family) = nat.get("family") {
        out.push_str(&format!(" {}", word(family, path)?));
    }
    let shapes = nat.get("type_flags").map_or(Ok(Vec::new()), |shapes| words(shapes, path))?;
    let flags = nat.get("flags").map_or(Ok(Vec::new()), |flags| words(flags, path))?;
    // nft says twice that a network is mapped onto another; in text there is one word for it.
    let (netmap, flags): (Vec<_>, Vec<_>) = flags.into_iter().partition(|flag| flag == "netmap");
    if !netmap.is_empty() && !shapes.iter().any(|shape| shape == "prefix") {
        out.push_str(" prefix");
    }
    for shape in shapes {
        out.push_str(match shape.as_str() {
            "interval" => " interval",
            "prefix" => " prefix",
            "concat" => " addr . port",
            _ => return fail(path, JsonFault::Unknown(shape)),
        });
    }
    if address.is_some() || port.is_some() {
        out.push_str(" to");
    }
    if let Some(address) = &address {
        let bracket = port.is_some() && address.parse::<std::net::Ipv6Addr>().is_ok();
        out.push_str(&if bracket { format!(" [{address}]") } else { format!(" {address}") });
    }
    if let Some(port) = port {
        out.push_str(&format!("{}:{port}", if address.is_some() { "" } else { " " }));
    }
    if !flags.is_empty() {
        out.push_str(&format!(" {}", flags.join(",")));
    }
    Ok(out)
}

fn tproxy(tproxy: &Map<String, Json>, path: &str) -> Translated<String> {
    let family = tproxy.get("family").map(|family| word(family, path)).transpose()?;
    let family = family.map_or(String::new(), |family| format!("{family} "));
    let address = tproxy.get("addr").map(|address| text(address, path)).transpose()?;
    let port = tproxy.get("port").map(|port| text(port, path)).transpose()?;
    let address = match address {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{address}]"),
        address => address.unwrap_or_default(),
    };
    Ok(format!("tproxy {family}to {address}{}", port.map_or(String::new(), |port| format!(":{port}"))))
}

fn queue(value: &Json, path: &str) -> Translated<String> {
    let mut out = "queue".to_owned();
    if value.is_null() {
        return Ok(out);
    }
    let queue = object(value, path)?;
    if let Some(flags) = queue.get("flags") {
        out.push_str(&format!(" flags {}", words(flags, path)?.join(",")));
    }
    if let Some(number) = queue.get("num") {
        out.push_str(&format!(" to {}", text(number, path)?));
    }
    Ok(out)
}

fn update(update: &Map<String, Json>, path: &str) -> Translated<String> {
    let op = match string(member(update, "op", path)?, path)? {
        op @ ("add" | "update" | "delete") => op,
        op => return fail(path, JsonFault::Unknown(op.to_owned())),
    };
    let name = if update.contains_key("map") { "map" } else { "set" };
    let set = string(member(update, name, path)?, path)?;
    let set = word(&Json::String(set.trim_start_matches('@').to_owned()), path)?.to_owned();
    let mut inside = text(member(update, "elem", path)?, path)?;
    if let Some(Json::Array(statements)) = update.get("stmt") {
        for statement in statements {
            inside.push_str(&format!(" {}", self::statement(statement, path)?));
        }
    }
    if let Some(data) = update.get("data") {
        inside.push_str(&format!(" : {}", text(data, path)?));
    }
    Ok(format!("{op} @{set} {{ {inside} }}"))
}

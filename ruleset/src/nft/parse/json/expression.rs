//! Expressions.

use serde_json::Value as Json;

use super::{JsonFault, Translated, fail, member, number, object, only, quoted, string, word, words};

/// An expression as text; one with an operator is in parentheses, where it is part of another.
pub(super) fn text(value: &Json, place: &str) -> Translated<String> {
    match value {
        Json::String(text) => symbol(text, place),
        Json::Number(_) => Ok(number(value, place)?.to_string()),
        Json::Bool(exists) => Ok(if *exists { "exists" } else { "missing" }.to_owned()),
        Json::Array(items) => Ok(all(items, place)?.join(",")),
        Json::Null => fail(place, JsonFault::Expected("an expression")),
        Json::Object(_) => {
            let (name, value) = only(value, place)?;
            named(name, value, &format!("{place}.{name}"))
        }
    }
}

fn all(items: &[Json], place: &str) -> Translated<Vec<String>> {
    items.iter().enumerate().map(|(index, item)| text(item, &format!("{place}[{index}]"))).collect()
}

/// A word, the name of a set, a wildcard, or text between quotes.
fn symbol(text: &str, place: &str) -> Translated<String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    if let Some(set) = text.strip_prefix('@') {
        return Ok(format!("@{}", word(&Json::String(set.to_owned()), place)?));
    }
    // An address is not a text between quotes where a port follows it.
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    quoted(text, place)
}

fn named(name: &str, value: &Json, place: &str) -> Translated<String> {
    match name {
        "concat" => Ok(array(value, place)?.join(" . ")),
        "set" => match value {
            Json::Array(items) => elements(items, place),
            value => elements(std::slice::from_ref(value), place),
        },
        "map" => {
            let map = object(value, place)?;
            let key = text(member(map, "key", place)?, &format!("{place}.key"))?;
            Ok(format!("{key} map {}", text(member(map, "data", place)?, &format!("{place}.data"))?))
        }
        "prefix" => {
            let prefix = object(value, place)?;
            let address = text(member(prefix, "addr", place)?, place)?;
            Ok(format!("{}/{}", unquoted(&address), number(member(prefix, "len", place)?, place)?))
        }
        "range" => match array(value, place)?.as_slice() {
            [from, to] => Ok(format!("{from}-{to}")),
            _ => fail(place, JsonFault::Expected("two values")),
        },
        "&" | "|" | "^" | "<<" | ">>" => match array(value, place)?.as_slice() {
            [first, rest @ ..] if !rest.is_empty() => {
                Ok(rest.iter().fold(first.clone(), |left, right| format!("({left} {name} {right})")))
            }
            _ => fail(place, JsonFault::Expected("two values")),
        },
        "elem" => element(value, place),
        "accept" | "drop" | "continue" | "return" => Ok(name.to_owned()),
        "jump" | "goto" => {
            let target = word(member(object(value, place)?, "target", place)?, place)?;
            Ok(format!("{name} {target}"))
        }
        _ => selector(name, value, place),
    }
}

/// Quotes would make a word of a prefix's address.
fn unquoted(text: &str) -> &str {
    text.trim_matches('"')
}

fn array(value: &Json, place: &str) -> Translated<Vec<String>> {
    match value {
        Json::Array(items) => all(items, place),
        _ => fail(place, JsonFault::Expected("an array")),
    }
}

/// The elements of a set or a map between braces.
pub(super) fn elements(items: &[Json], place: &str) -> Translated<String> {
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = format!("{place}[{index}]");
        texts.push(match item {
            Json::Array(pair) => match all(pair, &place)?.as_slice() {
                [key, value] => format!("{key} : {value}"),
                _ => return fail(&place, JsonFault::Expected("a key and a value")),
            },
            item => text(item, &place)?,
        });
    }
    Ok(format!("{{ {} }}", texts.join(", ")))
}

/// An element with a time, a comment, or counters of its own.
fn element(value: &Json, place: &str) -> Translated<String> {
    let element = object(value, place)?;
    let mut out = text(member(element, "val", place)?, &format!("{place}.val"))?;
    for (name, value) in element {
        let place = format!("{place}.{name}");
        match name.as_str() {
            "val" => {}
            "timeout" | "expires" => out.push_str(&format!(" {name} {}s", number(value, &place)?)),
            "comment" => out.push_str(&format!(" comment {}", quoted(string(value, &place)?, &place)?)),
            "counter" | "limit" | "quota" | "ct count" | "last" => {
                out.push_str(&format!(" {}", super::statement::named(name, value, &place)?));
            }
            _ => return fail(&place, JsonFault::Unknown(name.clone())),
        }
    }
    Ok(out)
}

fn selector(name: &str, value: &Json, place: &str) -> Translated<String> {
    let members = || object(value, place);
    let optional = |member: &str| -> Translated<Option<&str>> {
        members()?.get(member).map(|value| word(value, place)).transpose()
    };
    let needed = |name: &'static str| word(member(members()?, name, place)?, place);
    let count = |name: &'static str| number(member(members()?, name, place)?, place);
    let offset = || -> Translated<String> {
        let offset = members()?.get("offset").map(|offset| number(offset, place)).transpose()?;
        Ok(offset.filter(|offset| *offset > 0).map_or(String::new(), |offset| format!(" offset {offset}")))
    };
    match name {
        "payload" if members()?.contains_key("base") => {
            Ok(format!("@{},{},{}", needed("base")?, count("offset")?, count("len")?))
        }
        "payload" => {
            let (protocol, field) =
                (needed("protocol")?, string(member(members()?, "field", place)?, place)?);
            // ARP's fields have two words.
            let field: Vec<_> = field
                .split(' ')
                .map(|part| word(&Json::String(part.to_owned()), place).map(str::to_owned))
                .collect::<Result<_, _>>()?;
            Ok(format!("{protocol} {}", field.join(" ")))
        }
        "exthdr" => {
            let header = needed("name")?;
            match optional("field")? {
                None => Ok(format!("exthdr {header}")),
                Some(field) => match members()?.get("offset") {
                    Some(index) => Ok(format!("{header} {field}[{}]", number(index, place)?)),
                    None => Ok(format!("{header} {field}")),
                },
            }
        }
        "tcp option" if members()?.contains_key("base") => {
            Ok(format!("tcp option @{},{},{}", count("base")?, count("offset")?, count("len")?))
        }
        "tcp option" | "ip option" | "sctp chunk" => {
            let field = optional("field")?.map_or(String::new(), |field| format!(" {field}"));
            Ok(format!("{name} {}{field}", needed("name")?))
        }
        "meta" => Ok(format!("meta {}", needed("key")?)),
        "rt" => {
            let family = optional("family")?.map_or(String::new(), |family| format!("{family} "));
            Ok(format!("rt {family}{}", needed("key")?))
        }
        "ct" => {
            let direction = optional("dir")?.map_or(String::new(), |direction| format!("{direction} "));
            let key = string(member(members()?, "key", place)?, place)?;
            let key: Vec<_> = key
                .split(' ')
                .map(|part| word(&Json::String(part.to_owned()), place).map(str::to_owned))
                .collect::<Result<_, _>>()?;
            let family = optional("family")?.map_or(String::new(), |family| format!("{family} "));
            Ok(format!("ct {direction}{family}{}", key.join(" ")))
        }
        "numgen" => Ok(format!("numgen {} mod {}{}", needed("mode")?, count("mod")?, offset()?)),
        "symhash" => Ok(format!("symhash mod {}{}", count("mod")?, offset()?)),
        "jhash" => {
            let of = text(member(members()?, "expr", place)?, place)?;
            let seed = members()?.get("seed").map(|seed| number(seed, place)).transpose()?;
            let seed = seed.map_or(String::new(), |seed| format!(" seed {seed}"));
            Ok(format!("jhash {of} mod {}{seed}{}", count("mod")?, offset()?))
        }
        "fib" => {
            let flags = words(member(members()?, "flags", place)?, place)?;
            Ok(format!("fib {} {}", flags.join(" . "), needed("result")?))
        }
        "socket" => {
            let level = members()?.get("level").map(|level| number(level, place)).transpose()?;
            Ok(format!(
                "socket {}{}",
                needed("key")?,
                level.map_or(String::new(), |level| format!(" level {level}"))
            ))
        }
        "tunnel" => Ok(format!("tunnel {}", needed("key")?)),
        "osf" => {
            let ttl = optional("ttl")?.map_or(String::new(), |ttl| format!("ttl {ttl} "));
            Ok(format!("osf {ttl}{}", needed("key")?))
        }
        "ipsec" => {
            let spnum = members()?.get("spnum").map(|spnum| number(spnum, place)).transpose()?;
            let spnum = spnum.map_or(String::new(), |spnum| format!("spnum {spnum} "));
            let family = optional("family")?.map_or(String::new(), |family| format!("{family} "));
            Ok(format!("ipsec {} {spnum}{family}{}", needed("dir")?, needed("key")?))
        }
        name => fail(place, JsonFault::Unknown(name.to_owned())),
    }
}

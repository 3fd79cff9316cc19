//! Expressions.

use serde_json::Value as Json;

use super::{JsonFault, Translated, fail, member, number, object, only, quoted, string, word, words};

/// An expression as text; one with an operator is in parentheses, where it is part of another.
pub(super) fn text(value: &Json, path: &str) -> Translated<String> {
    match value {
        Json::String(text) => symbol(text, path),
        Json::Number(_) => Ok(number(value, path)?.to_string()),
        Json::Bool(exists) => Ok(if *exists { "exists" } else { "missing" }.to_owned()),
        Json::Array(items) => Ok(all(items, path)?.join(",")),
        Json::Null => fail(path, JsonFault::Expected("an expression")),
        Json::Object(_) => {
            let (name, value) = only(value, path)?;
            named(name, value, &format!("{path}.{name}"))
        }
    }
}

fn all(items: &[Json], path: &str) -> Translated<Vec<String>> {
    items.iter().enumerate().map(|(index, item)| text(item, &format!("{path}[{index}]"))).collect()
}

/// A word, the name of a set, a wildcard, or text between quotes.
fn symbol(text: &str, path: &str) -> Translated<String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    if let Some(set) = text.strip_prefix('@') {
        return Ok(format!("@{}", word(&Json::String(set.to_owned()), path)?));
    }
    // An address is not a text between quotes where a port follows it.
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    quoted(text, path)
}

fn named(name: &str, value: &Json, path: &str) -> Translated<String> {
    match name {
        "concat" => Ok(array(value, path)?.join(" . ")),
        "set" => match value {
            Json::Array(items) => elements(items, path),
            value => elements(std::slice::from_ref(value), path),
        },
        "map" => {
            let map = object(value, path)?;
            let key = text(member(map, "key", path)?, &format!("{path}.key"))?;
            Ok(format!("{key} map {}", text(member(map, "data", path)?, &format!("{path}.data"))?))
        }
        "prefix" => {
            let prefix = object(value, path)?;
            let address = text(member(prefix, "addr", path)?, path)?;
            Ok(format!("{}/{}", unquoted(&address), number(member(prefix, "len", path)?, path)?))
        }
        "range" => match array(value, path)?.as_slice() {
            [from, to] => Ok(format!("{from}-{to}")),
            _ => fail(path, JsonFault::Expected("two values")),
        },
        "&" | "|" | "^" | "<<" | ">>" => match operands(value, path)?.as_slice() {
            [first, rest @ ..] if !rest.is_empty() => {
                Ok(rest.iter().fold(first.clone(), |left, right| format!("({left} {name} {right})")))
            }
            _ => fail(path, JsonFault::Expected("two values")),
        },
        "elem" => element(value, path),
        "accept" | "drop" | "continue" | "return" => Ok(name.to_owned()),
        "jump" | "goto" => {
            let target = word(member(object(value, path)?, "target", path)?, path)?;
            Ok(format!("{name} {target}"))
        }
        _ => selector(name, value, path),
    }
}

/// Quotes would make a word of a prefix's address.
fn unquoted(text: &str) -> &str {
    text.trim_matches('"')
}

fn array(value: &Json, path: &str) -> Translated<Vec<String>> {
    match value {
        Json::Array(items) => all(items, path),
        _ => fail(path, JsonFault::Expected("an array")),
    }
}

/// The operands of an operator. An array among them means all its flags together.
fn operands(value: &Json, path: &str) -> Translated<Vec<String>> {
    let Json::Array(items) = value else { return fail(path, JsonFault::Expected("an array")) };
    let operand = |(index, item): (usize, &Json)| {
        let path = format!("{path}[{index}]");
        match item {
            Json::Array(flags) => Ok(format!("({})", all(flags, &path)?.join(" | "))),
            item => text(item, &path),
        }
    };
    items.iter().enumerate().map(operand).collect()
}

/// A field of an extension header: a word, which may have an index.
fn indexed(value: &Json, path: &str) -> Translated<String> {
    let index = string(value, path)?.strip_suffix(']').and_then(|field| field.split_once('['));
    match index.and_then(|(field, index)| Some((field, index.parse::<u8>().ok()?))) {
        Some((field, index)) => Ok(format!("{}[{index}]", word(&Json::String(field.to_owned()), path)?)),
        None => Ok(word(value, path)?.to_owned()),
    }
}

/// The elements of a set or a map between braces.
pub(super) fn elements(items: &[Json], path: &str) -> Translated<String> {
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        texts.push(match item {
            Json::Array(pair) => match all(pair, &path)?.as_slice() {
                [key, value] => format!("{key} : {value}"),
                _ => return fail(&path, JsonFault::Expected("a key and a value")),
            },
            item => text(item, &path)?,
        });
    }
    Ok(format!("{{ {} }}", texts.join(", ")))
}

/// An element with a time, a comment, or counters of its own.
fn element(value: &Json, path: &str) -> Translated<String> {
    let element = object(value, path)?;
    let mut out = text(member(element, "val", path)?, &format!("{path}.val"))?;
    for (name, value) in element {
        let path = format!("{path}.{name}");
        match name.as_str() {
            "val" => {}
            "timeout" | "expires" => out.push_str(&format!(" {name} {}s", number(value, &path)?)),
            "comment" => out.push_str(&format!(" comment {}", quoted(string(value, &path)?, &path)?)),
            "counter" | "limit" | "quota" | "ct count" | "last" => {
                out.push_str(&format!(" {}", super::statement::named(name, value, &path)?));
            }
            _ => return fail(&path, JsonFault::Unknown(name.clone())),
        }
    }
    Ok(out)
}

fn selector(name: &str, value: &Json, path: &str) -> Translated<String> {
    let members = || object(value, path);
    let optional = |member: &str| -> Translated<Option<&str>> {
        members()?.get(member).map(|value| word(value, path)).transpose()
    };
    let needed = |name: &'static str| word(member(members()?, name, path)?, path);
    let count = |name: &'static str| number(member(members()?, name, path)?, path);
    let offset = || -> Translated<String> {
        let offset = members()?.get("offset").map(|offset| number(offset, path)).transpose()?;
        Ok(offset.filter(|offset| *offset > 0).map_or(String::new(), |offset| format!(" offset {offset}")))
    };
    match name {
        "payload" if members()?.contains_key("base") => {
            Ok(format!("@{},{},{}", needed("base")?, count("offset")?, count("len")?))
        }
        "payload" => {
            let (protocol, field) = (needed("protocol")?, string(member(members()?, "field", path)?, path)?);
            // ARP's fields have two words.
            let field: Vec<_> = field
                .split(' ')
                .map(|part| word(&Json::String(part.to_owned()), path).map(str::to_owned))
                .collect::<Result<_, _>>()?;
            Ok(format!("{protocol} {}", field.join(" ")))
        }
        "exthdr" => {
            let header = needed("name")?;
            match members()?.get("field") {
                None => Ok(format!("exthdr {header}")),
                Some(field) => {
                    let field = indexed(field, path)?;
                    match members()?.get("offset") {
                        Some(index) => Ok(format!("{header} {field}[{}]", number(index, path)?)),
                        None => Ok(format!("{header} {field}")),
                    }
                }
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
            let key = string(member(members()?, "key", path)?, path)?;
            let key: Vec<_> = key
                .split(' ')
                .map(|part| word(&Json::String(part.to_owned()), path).map(str::to_owned))
                .collect::<Result<_, _>>()?;
            let family = optional("family")?.map_or(String::new(), |family| format!("{family} "));
            Ok(format!("ct {direction}{family}{}", key.join(" ")))
        }
        "numgen" => Ok(format!("numgen {} mod {}{}", needed("mode")?, count("mod")?, offset()?)),
        "symhash" => Ok(format!("symhash mod {}{}", count("mod")?, offset()?)),
        "jhash" => {
            let of = text(member(members()?, "expr", path)?, path)?;
            let seed = members()?.get("seed").map(|seed| number(seed, path)).transpose()?;
            let seed = seed.map_or(String::new(), |seed| format!(" seed {seed}"));
            Ok(format!("jhash {of} mod {}{seed}{}", count("mod")?, offset()?))
        }
        "fib" => {
            let flags = words(member(members()?, "flags", path)?, path)?;
            Ok(format!("fib {} {}", flags.join(" . "), needed("result")?))
        }
        "socket" => {
            let level = members()?.get("level").map(|level| number(level, path)).transpose()?;
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
            let spnum = members()?.get("spnum").map(|spnum| number(spnum, path)).transpose()?;
            let spnum = spnum.map_or(String::new(), |spnum| format!("spnum {spnum} "));
            let family = optional("family")?.map_or(String::new(), |family| format!("{family} "));
            Ok(format!("ipsec {} {spnum}{family}{}", needed("dir")?, needed("key")?))
        }
        name => fail(path, JsonFault::Unknown(name.to_owned())),
    }
}

//! Commands and the objects that they are about.

use serde_json::{Map, Value as Json};

use super::expression::{elements, text};
use super::statement::{is_set, statement};
use super::{JsonFault, Translated, fail, member, number, object, quoted, string, word, words};

/// One command as text.
pub(super) fn command(verb: &str, kind: &str, value: &Json, path: &str) -> Translated<String> {
    if kind == "ruleset" {
        let family = value.as_object().and_then(|object| object.get("family"));
        let family = family.map(|family| word(family, path)).transpose()?;
        return Ok(format!("{verb} ruleset {}", family.unwrap_or("")).trim_end().to_owned());
    }
    let item = Item { verb, kind, members: object(value, path)?, path };
    match kind {
        "table" => item.table(),
        "chain" => item.chain(),
        "rule" => item.rule(),
        "set" | "map" | "meter" => item.set(),
        "element" => item.element(),
        "flowtable" => item.flowtable(),
        "counter" | "quota" | "limit" | "secmark" | "synproxy" | "ct helper" | "ct timeout"
        | "ct expectation" => item.object(),
        "tables" | "chains" | "sets" | "maps" | "meters" | "counters" | "quotas" | "limits"
        | "flowtables" => {
            let family = item.members.get("family").map(|family| word(family, path)).transpose()?;
            Ok(format!("{verb} {kind} {}", family.unwrap_or("")).trim_end().to_owned())
        }
        kind => fail(path, JsonFault::Unknown(kind.to_owned())),
    }
}

struct Item<'j> {
    verb: &'j str,
    kind: &'j str,
    members: &'j Map<String, Json>,
    path: &'j str,
}

impl Item<'_> {
    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn word(&self, name: &'static str) -> Translated<&str> {
        word(member(self.members, name, self.path)?, &self.at(name))
    }

    fn optional(&self, name: &str) -> Translated<Option<&str>> {
        self.members.get(name).map(|value| word(value, &self.at(name))).transpose()
    }

    fn count(&self, name: &str) -> Translated<Option<u64>> {
        self.members.get(name).map(|value| number(value, &self.at(name))).transpose()
    }

    fn comment(&self) -> Translated<Option<String>> {
        let comment = self.members.get("comment").map(|value| string(value, &self.at("comment")));
        comment.transpose()?.map(|comment| quoted(comment, &self.at("comment"))).transpose()
    }

    fn changes(&self) -> bool {
        matches!(self.verb, "add" | "create" | "insert" | "replace")
    }

    /// `VERB KIND FAMILY TABLE NAME`, or by the handle where there is no name.
    fn head(&self) -> Translated<String> {
        let (family, table) = (self.word("family")?, self.word("table")?);
        let name = match (self.optional("name")?, self.count("handle")?) {
            (Some(name), _) => name.to_owned(),
            (None, Some(handle)) => format!("handle {handle}"),
            (None, None) => return fail(self.path, JsonFault::Missing("name")),
        };
        Ok(format!("{} {} {family} {table} {name}", self.verb, self.kind))
    }

    fn table(&self) -> Translated<String> {
        let name = match (self.optional("name")?, self.count("handle")?) {
            (Some(name), _) => name.to_owned(),
            (None, Some(handle)) => format!("handle {handle}"),
            (None, None) => return fail(self.path, JsonFault::Missing("name")),
        };
        let mut out = format!("{} table {} {name}", self.verb, self.word("family")?);
        let mut inside = String::new();
        if let Some(flags) = self.members.get("flags") {
            inside.push_str(&format!(" flags {};", words(flags, &self.at("flags"))?.join(",")));
        }
        if let Some(comment) = self.comment()? {
            inside.push_str(&format!(" comment {comment};"));
        }
        if self.changes() && !inside.is_empty() {
            out.push_str(&format!(" {{{inside} }}"));
        }
        Ok(out)
    }

    fn chain(&self) -> Translated<String> {
        if self.verb == "rename" {
            let name = self.word("newname")?;
            return Ok(format!("{} {name}", self.head()?));
        }
        let mut inside = String::new();
        if let Some(kind) = self.optional("type")? {
            let hook = self.word("hook")?;
            let devices = match self.members.get("dev") {
                None => String::new(),
                Some(devices) => format!(" devices = {{ {} }}", words(devices, &self.at("dev"))?.join(", ")),
            };
            let priority = match self.members.get("prio") {
                Some(Json::Number(number)) => number.to_string(),
                Some(Json::String(_)) => self.word("prio")?.to_owned(),
                _ => return fail(self.path, JsonFault::Missing("prio")),
            };
            inside.push_str(&format!(" type {kind} hook {hook}{devices} priority {priority};"));
        }
        if let Some(policy) = self.optional("policy")? {
            inside.push_str(&format!(" policy {policy};"));
        }
        if let Some(comment) = self.comment()? {
            inside.push_str(&format!(" comment {comment};"));
        }
        let mut out = self.head()?;
        if self.changes() && !inside.is_empty() {
            out.push_str(&format!(" {{{inside} }}"));
        }
        Ok(out)
    }

    fn rule(&self) -> Translated<String> {
        let mut out = format!(
            "{} rule {} {} {}",
            self.verb,
            self.word("family")?,
            self.word("table")?,
            self.word("chain")?
        );
        let by_handle = matches!(self.verb, "delete" | "destroy" | "replace" | "reset");
        match (self.count("handle")?, self.count("index")?) {
            (Some(handle), _) if by_handle => out.push_str(&format!(" handle {handle}")),
            // A listing names handles of rules, which a new rule is not put at.
            (_, Some(index)) => out.push_str(&format!(" index {index}")),
            _ if by_handle => return fail(self.path, JsonFault::Missing("handle")),
            _ => {}
        }
        if !self.changes() {
            return Ok(out);
        }
        let Json::Array(statements) = member(self.members, "expr", self.path)? else {
            return fail(&self.at("expr"), JsonFault::Expected("an array"));
        };
        for (index, value) in statements.iter().enumerate() {
            out.push_str(&format!(" {}", statement(value, &format!("{}.expr[{index}]", self.path))?));
        }
        if let Some(comment) = self.comment()? {
            out.push_str(&format!(" comment {comment}"));
        }
        Ok(out)
    }

    fn set(&self) -> Translated<String> {
        let mut out = self.head()?;
        if !self.changes() {
            return Ok(out);
        }
        let kind = set_type(member(self.members, "type", self.path)?, &self.at("type"))?;
        let mut inside = match self.members.get("map") {
            None => kind.clone(),
            Some(value) => {
                let value = set_type(value, &self.at("map"))?;
                format!("{kind} : {}", value.trim_start_matches("typeof ").trim_start_matches("type "))
            }
        };
        for (name, value) in self.members {
            let path = self.at(name);
            let line = match name.as_str() {
                "family" | "table" | "name" | "handle" | "type" | "map" => continue,
                "policy" => format!("policy {}", word(value, &path)?),
                "flags" => format!("flags {}", words(value, &path)?.join(",")),
                "timeout" | "gc-interval" => format!("{name} {}s", number(value, &path)?),
                "size" => format!("size {}", number(value, &path)?),
                "auto-merge" if value.as_bool() == Some(true) => "auto-merge".to_owned(),
                "auto-merge" => continue,
                "comment" => format!("comment {}", quoted(string(value, &path)?, &path)?),
                "stmt" => {
                    let Json::Array(statements) = value else {
                        return fail(&path, JsonFault::Expected("an array"));
                    };
                    let lines: Vec<_> =
                        statements.iter().map(|value| statement(value, &path)).collect::<Result<_, _>>()?;
                    lines.join(" ")
                }
                "elem" => {
                    let items = match value {
                        Json::Array(items) => items.as_slice(),
                        value => std::slice::from_ref(value),
                    };
                    format!("elements = {}", elements(items, &path)?)
                }
                name => return fail(self.path, JsonFault::Unknown(name.to_owned())),
            };
            inside.push_str(&format!("; {line}"));
        }
        out = out.replacen(" meter ", " set ", 1);
        Ok(format!("{out} {{ {inside}; }}"))
    }

    fn element(&self) -> Translated<String> {
        let head = self.head()?;
        match member(self.members, "elem", self.path)? {
            Json::Array(items) => Ok(format!("{head} {}", elements(items, &self.at("elem"))?)),
            value => Ok(format!("{head} {{ {} }}", text(value, &self.at("elem"))?)),
        }
    }

    fn flowtable(&self) -> Translated<String> {
        let out = self.head()?;
        if !self.changes() {
            return Ok(out);
        }
        let priority = match self.members.get("prio") {
            Some(Json::Number(number)) => number.to_string(),
            _ => return fail(self.path, JsonFault::Missing("prio")),
        };
        let mut inside = format!("hook {} priority {priority};", self.word("hook")?);
        if let Some(devices) = self.members.get("dev") {
            inside.push_str(&format!(" devices = {{ {} }};", words(devices, &self.at("dev"))?.join(", ")));
        }
        Ok(format!("{out} {{ {inside} }}"))
    }

    fn object(&self) -> Translated<String> {
        let out = self.head()?;
        if !self.changes() {
            return Ok(out);
        }
        let inside = match self.kind {
            "counter" => match (self.count("packets")?, self.count("bytes")?) {
                (Some(packets), Some(bytes)) => format!("packets {packets} bytes {bytes}"),
                _ => String::new(),
            },
            "quota" => {
                let used = self.count("used")?.filter(|used| *used > 0);
                let used = used.map_or(String::new(), |used| format!(" used {used} bytes"));
                let over = if is_set(self.members, "inv") { "over " } else { "" };
                format!("{over}{} bytes{used}", self.count("bytes")?.unwrap_or(0))
            }
            "limit" => limit(self.members, self.path)?,
            "secmark" => quoted(string(member(self.members, "context", self.path)?, self.path)?, self.path)?,
            "synproxy" => synproxy(&Json::Object(self.members.clone()), self.path)?,
            _ => self.ct_object()?,
        };
        let comment = self.comment()?.map_or(String::new(), |comment| format!("; comment {comment}"));
        match inside.is_empty() && comment.is_empty() {
            true => Ok(out),
            false => Ok(format!("{out} {{ {inside}{comment}; }}")),
        }
    }

    fn ct_object(&self) -> Translated<String> {
        let protocol = self.word("protocol")?;
        let mut inside = match self.kind {
            "ct helper" => {
                let helper = quoted(string(member(self.members, "type", self.path)?, self.path)?, self.path)?;
                format!("type {helper} protocol {protocol}")
            }
            "ct timeout" => {
                let mut states = Vec::new();
                for (state, seconds) in object(member(self.members, "policy", self.path)?, self.path)? {
                    let state = word(&Json::String(state.clone()), self.path)?.to_owned();
                    states.push(format!("{state} : {}", number(seconds, self.path)?));
                }
                format!("protocol {protocol}; policy = {{ {} }}", states.join(", "))
            }
            _ => {
                let count = |name: &'static str| number(member(self.members, name, self.path)?, self.path);
                let (port, timeout, size) = (count("dport")?, count("timeout")?, count("size")?);
                format!("protocol {protocol}; dport {port}; timeout {timeout}ms; size {size}")
            }
        };
        if let Some(family) = self.optional("l3proto")? {
            inside.push_str(&format!("; l3proto {family}"));
        }
        Ok(inside)
    }
}

/// `type …` or `typeof …`
fn set_type(value: &Json, path: &str) -> Translated<String> {
    match value {
        Json::String(_) | Json::Array(_) => Ok(format!("type {}", words(value, path)?.join(" . "))),
        Json::Object(members) => match members.get("typeof") {
            Some(of) => Ok(format!("typeof {}", text(of, path)?)),
            None => fail(path, JsonFault::Expected("a type")),
        },
        _ => fail(path, JsonFault::Expected("a type")),
    }
}

pub(super) fn quota(quota: &Map<String, Json>, path: &str) -> Translated<String> {
    let unit = |name: &str| quota.get(name).map_or(Ok("bytes"), |unit| word(unit, path));
    let over = if is_set(quota, "inv") { "over " } else { "" };
    let mut out = format!("{over}{} {}", number(member(quota, "val", path)?, path)?, unit("val_unit")?);
    if let Some(used) = quota.get("used") {
        out.push_str(&format!(" used {} {}", number(used, path)?, unit("used_unit")?));
    }
    Ok(out)
}

pub(super) fn limit(limit: &Map<String, Json>, path: &str) -> Translated<String> {
    let per = limit.get("per").map_or(Ok("second"), |per| word(per, path))?;
    let over = if is_set(limit, "inv") { "over " } else { "" };
    let rate = number(member(limit, "rate", path)?, path)?;
    let unit =
        limit.get("rate_unit").map(|unit| word(unit, path)).transpose()?.filter(|unit| *unit != "packets");
    let mut out = match unit {
        None => format!("rate {over}{rate}/{per}"),
        Some(unit) => format!("rate {over}{rate} {unit}/{per}"),
    };
    if let Some(burst) = limit.get("burst") {
        let burst = number(burst, path)?;
        let burst_unit = limit.get("burst_unit").map(|unit| word(unit, path)).transpose()?;
        let burst_unit = burst_unit.unwrap_or(if unit.is_some() { "bytes" } else { "packets" });
        if burst > 0 {
            out.push_str(&format!(" burst {burst} {burst_unit}"));
        }
    }
    Ok(out)
}

pub(super) fn synproxy(value: &Json, path: &str) -> Translated<String> {
    if value.is_null() {
        return Ok(String::new());
    }
    let synproxy = object(value, path)?;
    let mut out = String::new();
    for name in ["mss", "wscale"] {
        if let Some(value) = synproxy.get(name) {
            out.push_str(&format!("{name} {} ", number(value, path)?));
        }
    }
    if let Some(flags) = synproxy.get("flags") {
        for flag in words(flags, path)? {
            out.push_str(&format!("{flag} "));
        }
    }
    Ok(out.trim_end().to_owned())
}

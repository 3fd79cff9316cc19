//! Commands in libnftables' JSON schema (libnftables-json(5)), as text of nft's language.
//!
//! What is in JSON means what the text means that says the same, so there is one parser and one evaluation. A string
//! becomes a word only where it is one: no string of a document can end a statement and begin another.

mod expression;
mod item;
mod statement;

use serde_json::{Map, Value as Json};

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct JsonError {
    /// Where: `nftables[3].add.rule.expr[1]`
    pub path: String,
    /// What
    pub fault: JsonFault,
}

/// What can be wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// Something does not exist.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Something is not of the kind that belongs there.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A name that the schema does not have there.
    #[error("`{0}` is not known here")]
    Unknown(String),
    /// A string that nft's language cannot have there.
    #[error("{0:?} cannot be a name or a text here")]
    Text(String),
    /// A version of the schema that is newer than any that nft has.
    #[error("schema version {0} is not supported, maximum supported version is {SCHEMA_VERSION}")]
    Version(u64),
    /// Something that this program does not support.
    #[error("`{0}` is not supported")]
    Unsupported(String),
}

/// nftables, `JSON_SCHEMA_VERSION`.
const SCHEMA_VERSION: u64 = 1;

type Translated<T> = Result<T, JsonError>;

/// The document's commands as text, one a line; `None` where it is not JSON.
///
/// # Errors
/// The first thing that is wrong with it.
#[must_use]
pub fn text(document: &str) -> Option<Result<String, JsonError>> {
    serde_json::from_str(document).ok().map(|document| commands(&document))
}

fn commands(document: &Json) -> Result<String, JsonError> {
    let Some(Json::Array(commands)) = document.get("nftables") else {
        return fail("", JsonFault::Missing("nftables"));
    };
    let mut text = String::new();
    for (index, command) in commands.iter().enumerate() {
        let path = format!("nftables[{index}]");
        let (name, value) = only(command, &path)?;
        if name == "metainfo" {
            match value.get("json_schema_version").and_then(Json::as_u64) {
                Some(version) if version > SCHEMA_VERSION => {
                    return fail(&path, JsonFault::Version(version));
                }
                _ => continue,
            }
        }
        let line = match name {
            "add" | "create" | "insert" | "replace" | "delete" | "destroy" | "list" | "reset" | "flush"
            | "rename" => {
                let path = format!("{path}.{name}");
                let (kind, object) = only(value, &path)?;
                item::command(name, kind, object, &format!("{path}.{kind}"))?
            }
            kind => item::command("add", kind, value, &format!("{path}.{kind}"))?,
        };
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

fn fail<T>(path: &str, fault: JsonFault) -> Translated<T> {
    Err(JsonError { path: path.to_owned(), fault })
}

/// The only member of an object.
fn only<'j>(value: &'j Json, path: &str) -> Translated<(&'j str, &'j Json)> {
    match value.as_object().map(|object| (object.len(), object.iter().next())) {
        Some((1, Some((name, value)))) => Ok((name, value)),
        _ => fail(path, JsonFault::Expected("an object with one member")),
    }
}

fn object<'j>(value: &'j Json, path: &str) -> Translated<&'j Map<String, Json>> {
    value.as_object().map_or_else(|| fail(path, JsonFault::Expected("an object")), Ok)
}

/// A member that must be present.
fn member<'j>(object: &'j Map<String, Json>, name: &'static str, path: &str) -> Translated<&'j Json> {
    object.get(name).map_or_else(|| fail(path, JsonFault::Missing(name)), Ok)
}

fn string<'j>(value: &'j Json, path: &str) -> Translated<&'j str> {
    value.as_str().map_or_else(|| fail(path, JsonFault::Expected("a string")), Ok)
}

fn number(value: &Json, path: &str) -> Translated<u64> {
    value.as_u64().map_or_else(|| fail(path, JsonFault::Expected("a number")), Ok)
}

/// A string that is one word of the language.
fn word<'j>(value: &'j Json, path: &str) -> Translated<&'j str> {
    let text = string(value, path)?;
    let start = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if text.starts_with(start) && text.chars().all(|c| start(c) || c == '/' || c == '-') {
        Ok(text)
    } else {
        fail(path, JsonFault::Text(text.to_owned()))
    }
}

/// A string between quotes.
fn quoted(text: &str, path: &str) -> Translated<String> {
    if text.contains(['"', '\n']) {
        return fail(path, JsonFault::Text(text.to_owned()));
    }
    Ok(format!("\"{text}\""))
}

/// One string or several, as a list of words.
fn words(value: &Json, path: &str) -> Translated<Vec<String>> {
    match value {
        Json::Array(items) => items.iter().map(|item| word(item, path).map(str::to_owned)).collect(),
        value => Ok(vec![word(value, path)?.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(command: &Json) -> Result<String, String> {
        commands(&json!({ "nftables": [command] })).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_and_chains() {
        let table = json!({ "add": { "table": { "family": "inet", "name": "t" } } });
        assert_eq!(line(&table).unwrap(), "add table inet t\n");
        let chain = json!({ "chain": { "family": "inet", "table": "t", "name": "c", "type": "filter",
            "hook": "input", "prio": -5, "policy": "drop", "handle": 3 } });
        let shown = "add chain inet t c { type filter hook input priority -5; policy drop; }\n";
        assert_eq!(line(&chain).unwrap(), shown);
    }

    #[test]
    fn rules() {
        let rule = json!({ "rule": { "family": "ip", "table": "t", "chain": "c", "comment": "a b", "expr": [
            { "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } },
                "right": { "set": [22, { "range": [80, 90] }] } } },
            { "counter": { "packets": 1, "bytes": 2 } },
            { "jump": { "target": "d" } } ] } });
        let shown =
            "add rule ip t c tcp dport == { 22, 80-90 } counter packets 1 bytes 2 jump d comment \"a b\"\n";
        assert_eq!(line(&rule).unwrap(), shown);
    }

    #[test]
    fn no_string_ends_a_statement() {
        let table = json!({ "add": { "table": { "family": "inet", "name": "t; flush ruleset" } } });
        let error = line(&table).unwrap_err();
        assert!(error.starts_with("nftables[0].add.table.name: \"t; flush ruleset\""), "{error}");
        let rule = json!({ "rule": { "family": "ip", "table": "t", "chain": "c", "expr": [
            { "match": { "op": "==", "left": { "meta": { "key": "iifname" } }, "right": "a\" accept" } } ] } });
        assert!(line(&rule).is_err());
    }

    #[test]
    fn what_is_not_in_the_schema_is_refused() {
        assert!(commands(&json!({})).is_err());
        let of_version =
            |version| commands(&json!({ "nftables": [{ "metainfo": { "json_schema_version": version } }] }));
        assert_eq!(of_version(1).unwrap(), "");
        assert!(of_version(2).unwrap_err().to_string().contains("schema version 2 is not supported"));
        assert!(line(&json!({ "add": { "chair": {} } })).unwrap_err().contains("`chair` is not known here"));
        let rule =
            json!({ "rule": { "family": "ip", "table": "t", "chain": "c", "expr": [{ "nothing": null }] } });
        assert!(line(&rule).unwrap_err().contains("nftables[0].rule.expr[0]: `nothing` is not known here"));
    }
}

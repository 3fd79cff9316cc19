//! What came and went while changes go on: a difference that several looks have seen may have been gone in between.

use std::collections::BTreeSet;

use nft_ruleset::nft::decompile::{Decompiler, Sets};
use serde_json::Value as Json;

use super::ChangedObject;

/// So many different ones are remembered; with more, nothing is certain.
const LIMIT: usize = 4096;

/// What events were about.
#[derive(Debug, Default)]
pub(super) struct Touches {
    /// Objects, and of rules what they are
    seen: BTreeSet<(ChangedObject, Option<String>)>,
    overflown: bool,
}

impl Touches {
    pub(super) fn add(&mut self, object: &ChangedObject, rule: Option<&nftwire::Rule<'_>>) {
        if self.seen.len() >= LIMIT {
            self.overflown = true;
        } else if !self.overflown {
            self.seen.insert((object.clone(), rule.and_then(rule_text)));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether something may have ended this difference, for a moment at least.
    pub(super) fn may_end(&self, entry: &Json) -> bool {
        self.concern(entry, entry["difference"] == "extra")
    }

    /// Whether something may have caused this difference, for a moment at least.
    pub(super) fn may_cause(&self, entry: &Json) -> bool {
        self.concern(entry, entry["difference"] == "missing")
    }

    /// Whether a matching object was deleted, or else added, where the difference is whether it exists.
    fn concern(&self, entry: &Json, deleted: bool) -> bool {
        let is_one_of_two = entry["difference"] == "missing" || entry["difference"] == "extra";
        let matches = |(object, rule): &(ChangedObject, Option<String>)| {
            let has_rule = [&entry["desired"], &entry["found"]].into_iter().filter_map(Json::as_str);
            kind(entry) == Some(object.kind)
                && entry["family"] == object.family.as_str()
                && entry["table"] == object.table.as_str()
                && object.name.as_deref().is_none_or(|name| entry["chain"] == name || entry["name"] == name)
                && (!is_one_of_two || object.deleted == deleted)
                && rule.as_ref().is_none_or(|rule| {
                    object.kind != "rule" || has_rule.map(without_elements).any(|one| one == *rule)
                })
        };
        kind(entry).is_some() && (self.overflown || self.seen.iter().any(matches))
    }
}

/// The kind of object in events that a difference is about; what belongs to the network has none.
fn kind(entry: &Json) -> Option<&'static str> {
    Some(match entry["object"].as_str()? {
        "network" | "iptables" => return None,
        "table" => "table",
        "chain" => "chain",
        "rule" => "rule",
        "set" | "map" => "set",
        "flowtable" => "flowtable",
        _ => "object",
    })
}

/// The rule as nft shows it, but for what is in its sets, which came in events of their own.
fn rule_text(rule: &nftwire::Rule<'_>) -> Option<String> {
    let sets = Sets::new();
    let rule = Decompiler::new(rule.family, &sets).rule(rule).ok()?;
    Some(without_elements(&rule.to_string()))
}

/// `tcp dport { 80, 443 } accept` and `tcp dport @__set0 accept`, as one.
fn without_elements(rule: &str) -> String {
    let mut text = String::new();
    let mut rest = rule;
    while let Some(start) = rest.find(['{', '@']) {
        text += &rest[..start];
        text.push('@');
        rest = &rest[start..];
        let end = match rest.starts_with('{') {
            true => rest.find('}').map(|end| end + 1),
            false => rest.find(' '),
        };
        rest = end.map_or("", |end| &rest[end..]);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &'static str, name: &str, deleted: bool) -> ChangedObject {
        let (family, table) = ("inet".to_owned(), "t".to_owned());
        ChangedObject { kind, family, table, name: Some(name.to_owned()), deleted }
    }

    #[test]
    fn sets_in_rules_are_all_alike() {
        assert_eq!(without_elements("tcp dport { 80, 443 } counter"), "tcp dport @ counter");
        assert_eq!(without_elements("tcp dport @__set0"), "tcp dport @");
        assert_eq!(without_elements("counter"), "counter");
    }

    #[test]
    fn what_comes_ends_that_it_is_missing() {
        let mut touches = Touches::default();
        touches.seen.insert((object("rule", "c", false), Some("counter accept".to_owned())));
        touches.seen.insert((object("chain", "half", true), None));
        let rule = |difference: &str, text: &str| json!({ "difference": difference, "object": "rule", "family": "inet", "table": "t", "chain": "c", "desired": text });
        assert!(touches.may_end(&rule("missing", "counter accept")));
        assert!(!touches.may_end(&rule("missing", "counter drop")));
        assert!(!touches.may_cause(&rule("missing", "counter accept")));
        let chain = json!({ "difference": "extra", "object": "chain", "family": "inet", "table": "t", "chain": "half" });
        assert!(touches.may_end(&chain) && !touches.may_cause(&chain));
        let network = json!({ "difference": "missing", "object": "network", "desired": "address" });
        assert!(!touches.may_end(&network));
    }
}

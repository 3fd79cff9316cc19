//! What `nft` says that the kernel holds: the judge over what ours has done.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Namespace;

/// Parts of a ruleset, by their names: a table is one, a chain with its rules in order, a set.
pub(crate) type Parts = BTreeMap<String, Vec<String>>;

/// Every object of `nft -j list ruleset`, as it is: with handles and counters.
pub(crate) fn objects(namespace: &Namespace) -> Vec<Value> {
    let listing: Value = serde_json::from_str(&namespace.command(&["nft", "-j", "list", "ruleset"])).unwrap();
    let objects = listing["nftables"].as_array().unwrap().iter();
    objects.filter(|object| object.get("metainfo").is_none()).cloned().collect()
}

/// What the ruleset means: its parts without handles, and with counters at zero.
pub(crate) fn meaning(namespace: &Namespace) -> Parts {
    parts(&objects(namespace), |object| without_handle(&without_counters(object)))
}

/// The ruleset's parts with the handles of tables and chains, but not of rules, and with counters at zero: what a run
/// that changes nothing leaves as it is.
pub(crate) fn fabric(namespace: &Namespace) -> Parts {
    parts(&objects(namespace), |object| {
        let object = without_counters(object);
        if object.get("rule").is_some() { without_handle(&object) } else { object }
    })
}

/// The rules as the kernel has them, without handles and with counters at zero, by their chains. A set that belongs to
/// a rule is in it by its elements.
pub(crate) fn bytecode(namespace: &Namespace) -> Parts {
    let listing = namespace.command(&["nft", "--debug=netlink", "list", "ruleset"]);
    let (mut set, mut chain) = (String::new(), String::new());
    let (mut sets, mut chains) = (Parts::new(), Parts::new());
    for line in listing.lines().take_while(|line| !line.starts_with("table ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["element", ..] => {
                // What nft notes for itself, where a range has no end, is none of the kernel's business.
                let key = words[1..].iter().copied().take_while(|word| *word != "userdata");
                sets.entry(set.clone()).or_default().push(key.collect::<Vec<_>>().join(" "));
            }
            ["[", ..] => {
                let rule = chains.get_mut(&chain).unwrap().last_mut().unwrap();
                *rule +=
                    &if words[1] == "counter" { "[ counter ]\n".to_owned() } else { words.join(" ") + "\n" };
            }
            ["userdata", ..] => {
                *chains.get_mut(&chain).unwrap().last_mut().unwrap() += &(words.join(" ") + "\n");
            }
            [family, table, name] => set = format!("{family} {table} {}", name.strip_prefix('@').unwrap()),
            [family, table, name, _handle] | [family, table, name, _handle, _] => {
                chain = format!("{family} {table} {name}");
                chains.entry(chain.clone()).or_default().push(String::new());
            }
            _ => panic!("{line}"),
        }
    }
    for (set, elements) in &mut sets {
        elements.sort_unstable();
        let (table, name) = set.rsplit_once(' ').unwrap();
        let of_table = chains.iter_mut().filter(|(chain, _)| chain.rsplit_once(' ').unwrap().0 == table);
        for rule in of_table.flat_map(|(_, rules)| rules) {
            *rule = rule.replace(&format!(" set {name} "), &format!(" set {{ {} }} ", elements.join(", ")));
        }
    }
    chains
}

/// Compares two rulesets part by part, so that a failure shows the part that differs and not all of both.
#[track_caller]
pub(crate) fn assert_same(what: &str, left: &Parts, right: &Parts) {
    for name in left.keys().chain(right.keys()) {
        let (left, right) = (left.get(name), right.get(name));
        assert!(left == right, "{what}: {name}:\n{left:#?}\n{right:#?}");
    }
}

fn parts(objects: &[Value], normalize: impl Fn(&Value) -> Value) -> Parts {
    let mut parts = Parts::new();
    for object in objects {
        let (kind, content) = object.as_object().unwrap().iter().next().unwrap();
        let text = |key| content.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = match kind.as_str() {
            "table" => format!("table {} {}", text("family"), text("name")),
            "rule" => format!("chain {} {} {}", text("family"), text("table"), text("chain")),
            kind => format!("{kind} {} {} {}", text("family"), text("table"), text("name")),
        };
        parts.entry(name).or_default().push(normalize(object).to_string());
    }
    parts
}

fn without_handle(object: &Value) -> Value {
    let content = |content: &Value| -> Value {
        let content = content.as_object().unwrap().iter();
        content.filter(|(key, _)| *key != "handle").map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    object.as_object().unwrap().iter().map(|(kind, value)| (kind.clone(), content(value))).collect()
}

fn without_counters(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, value)| {
                    let counts = key == "counter" && value.get("packets").is_some();
                    let value = if counts { Map::new().into() } else { without_counters(value) };
                    (key.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(without_counters).collect(),
        value => value.clone(),
    }
}

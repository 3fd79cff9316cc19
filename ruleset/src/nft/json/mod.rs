//! A ruleset in libnftables' JSON schema, version 1 (libnftables-json(5)): what `nft -j list ruleset` gives and
//! `nft -j -f` takes.

mod expression;
mod object;
mod statement;

use serde_json::{Value as Json, json};

use crate::nft::print::{Options, Printer, hook_name, is_pattern, policy_name, table_flags};
use crate::{Chain, Expression, Flowtable, Name, Object, Rule, Ruleset, Set, Statement, Table};

/// The whole ruleset as one JSON object.
#[must_use]
pub fn ruleset(ruleset: &Ruleset, options: &Options<'_>) -> Json {
    let writer = Writer { options: *options };
    let mut objects = vec![json!({ "metainfo": { "json_schema_version": 1 } })];
    for table in &ruleset.tables {
        writer.table(table, &mut objects);
    }
    json!({ "nftables": objects })
}

/// Makes JSON of parts of a ruleset.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// What is shown
    pub options: Options<'a>,
}

impl Writer<'_> {
    /// A table with all it holds, each thing an object of its own: all chains stand before all rules.
    pub fn table(&self, table: &Table, objects: &mut Vec<Json>) {
        let mut head = json!({ "family": table.family.to_string(), "name": table.name.to_string() });
        handle(&mut head, table.handle);
        names(&mut head, "flags", table_flags(table.flags).collect());
        objects.push(json!({ "table": head }));
        objects.extend(table.objects.iter().map(|object| self.object(table, object)));
        objects.extend(table.sets.iter().map(|set| self.set(table, set)));
        objects.extend(table.flowtables.iter().map(|flowtable| self.flowtable(table, flowtable)));
        objects.extend(table.chains.iter().map(|chain| self.chain(table, chain)));
        for chain in &table.chains {
            objects.extend(chain.rules.iter().map(|rule| self.rule(table, chain, rule)));
        }
    }

    /// A chain without its rules.
    #[must_use]
    pub fn chain(&self, table: &Table, chain: &Chain) -> Json {
        let mut object = part_of(table, &chain.name, chain.handle);
        if let Some(base) = &chain.base {
            object["type"] = base.kind.name().into();
            object["hook"] = hook_name(table.family, base.hook).into();
            object["prio"] = base.priority.into();
            object["policy"] = policy_name(base.policy).into();
            // nft 1.0.6, which does not know patterns, names no devices.
            if chain.devices.iter().any(is_pattern) {
                let devices = chain.devices.iter().map(Name::to_string).collect::<Vec<_>>();
                names(&mut object, "dev", devices.iter().map(String::as_str).collect());
            }
        }
        json!({ "chain": object })
    }

    /// A rule.
    #[must_use]
    pub fn rule(&self, table: &Table, chain: &Chain, rule: &Rule) -> Json {
        let writer = Writer { options: Options { anonymous: &table.anonymous, ..self.options } };
        let statements: Vec<_> =
            rule.statements.iter().map(|statement| writer.statement(statement)).collect();
        let mut object = json!({
            "family": table.family.to_string(),
            "table": table.name.to_string(),
            "chain": chain.name.to_string(),
            "expr": statements,
        });
        handle(&mut object, rule.handle);
        if let Some(comment) = &rule.comment {
            object["comment"] = comment.to_string().into();
        }
        json!({ "rule": object })
    }

    /// As the text of nft, for what has no other form in JSON.
    fn text(&self, print: impl FnOnce(&mut Printer<'_>)) -> String {
        let mut out = String::new();
        print(&mut Printer { out: &mut out, options: self.options });
        out
    }
}

fn part_of(table: &Table, name: &Name, handle: u64) -> Json {
    let mut object = json!({ "family": table.family.to_string(), "table": table.name.to_string(), "name": name.to_string() });
    self::handle(&mut object, handle);
    object
}

/// The handle, where the kernel gave one.
fn handle(object: &mut Json, handle: u64) {
    if handle != 0 {
        object["handle"] = handle.into();
    }
}

/// One name alone, several as an array; nothing for none.
fn names(object: &mut Json, key: &str, names: Vec<&str>) {
    match names.as_slice() {
        [] => {}
        [name] => object[key] = (*name).into(),
        _ => object[key] = names.into(),
    }
}

/// An object, or null where it is empty.
fn or_null(object: Json) -> Json {
    if object.as_object().is_some_and(serde_json::Map::is_empty) { Json::Null } else { object }
}

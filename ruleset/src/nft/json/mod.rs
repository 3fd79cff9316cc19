//! A ruleset in libnftables' JSON schema, version 1 (libnftables-json(5)): what `nft -j list ruleset` gives and
//! `nft -j -f` takes.
//!
//! It is written in nft's form, as text: a tree of a set's 100,000 elements would take ten times their memory.

mod expression;
mod object;
mod statement;
mod write;

use crate::nft::print::{Options, hook_name, is_pattern, policy_name, table_flags};
use crate::{Chain, Expression, Flowtable, Object, Rule, Ruleset, Set, Statement, Table};
use write::{Json, Members};

/// What every document begins with: the version of nft whose language this is, and who wrote it, as `meshwire nft -v` says.
const HEAD: &str = concat!(
    r#"{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "meshwire "#,
    env!("CARGO_PKG_VERSION"),
    r#"", "json_schema_version": 1}}"#,
);

/// The whole ruleset as a document, on one line without its end.
#[must_use]
pub fn ruleset(ruleset: &Ruleset, options: &Options<'_>) -> String {
    let writer = Writer { options: *options };
    let mut objects = Objects::document();
    for table in &ruleset.tables {
        writer.table(table, &mut objects);
    }
    objects.finish()
}

/// Objects of the schema, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    text: String,
}

impl Objects {
    /// Those of a document, which begins with `metainfo`.
    #[must_use]
    pub fn document() -> Self {
        Self { text: HEAD.to_owned() }
    }

    /// The document on one line, without its end.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str("]}");
        self.text
    }

    /// The objects without a document around them.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Adds others after these.
    pub fn append(&mut self, others: &Self) {
        if !self.text.is_empty() && !others.text.is_empty() {
            self.text.push_str(", ");
        }
        self.text.push_str(&others.text);
    }

    fn next(&mut self) -> Json<'_> {
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        Json::at_end_of(&mut self.text)
    }
}

/// Makes JSON of parts of a ruleset.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// What is shown
    pub options: Options<'a>,
}

impl Writer<'_> {
    /// A table with all it holds, each thing an object of its own: all chains come before all rules.
    pub fn table(&self, table: &Table, objects: &mut Objects) {
        self.head(table, objects);
        self.parts(table, objects);
    }

    /// A table without what it holds.
    pub fn head(&self, table: &Table, objects: &mut Objects) {
        objects.next().object_of("table", |object| {
            object.text("family", table.family);
            object.text("name", &table.name);
            handle(object, table.handle);
            object.names("flags", table_flags(table.flags));
        });
    }

    /// What a table holds.
    pub fn parts(&self, table: &Table, objects: &mut Objects) {
        table.objects.iter().for_each(|object| self.object(table, object, objects));
        table.sets.iter().for_each(|set| self.set(table, set, objects));
        table.flowtables.iter().for_each(|flowtable| self.flowtable(table, flowtable, objects));
        table.chains.iter().for_each(|chain| self.chain(table, chain, objects));
        for chain in &table.chains {
            chain.rules.iter().for_each(|rule| self.rule(table, chain, rule, objects));
        }
    }

    /// A chain without its rules.
    pub fn chain(&self, table: &Table, chain: &Chain, objects: &mut Objects) {
        objects.next().object_of("chain", |object| {
            object.text("family", table.family);
            object.text("table", &table.name);
            object.text("name", &chain.name);
            handle(object, chain.handle);
            let Some(base) = &chain.base else { return };
            object.text("type", base.kind.name());
            object.text("hook", hook_name(table.family, base.hook));
            object.number("prio", base.priority);
            object.text("policy", policy_name(base.policy));
            // nft 1.0.6, which does not know patterns, names no devices.
            if chain.devices.iter().any(is_pattern) {
                object.names("dev", &chain.devices);
            }
        });
    }

    /// A rule.
    pub fn rule(&self, table: &Table, chain: &Chain, rule: &Rule, objects: &mut Objects) {
        let options = Options { anonymous: &table.anonymous, ..self.options };
        let writer = StatementWriter { options };
        objects.next().object_of("rule", |object| {
            object.text("family", table.family);
            object.text("table", &table.name);
            object.text("chain", &chain.name);
            handle(object, rule.handle);
            if let Some(comment) = &rule.comment {
                object.text("comment", comment);
            }
            if !rule.statements.is_empty() {
                object.member("expr").array(|items| {
                    rule.statements.iter().for_each(|statement| writer.statement(statement, items.item()));
                });
            }
        });
    }
}

/// Writes statements and expressions.
#[derive(Clone, Copy, Debug)]
struct StatementWriter<'a> {
    options: Options<'a>,
}

/// The handle, where the kernel gave one.
fn handle(object: &mut Members<'_>, handle: u64) {
    if handle != 0 {
        object.number("handle", handle);
    }
}

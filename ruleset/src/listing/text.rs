//! A listing as text and as JSON, made rule by rule while the kernel dumps them.

use nftwire::{Error, Socket};

use super::{Listed, collect_in_pieces};
use crate::nft::json::{Objects, Writer};
use crate::nft::print::{Options, Printer};
use crate::snapshot::Scope;
use crate::{Chain, Rule, Table};

/// The scope as nft lists it; of a chain or a set only that, in its table. `None` where a table, chain or set that the
/// scope names does not exist.
///
/// # Errors
/// Those of [`collect`](super::collect).
pub fn text(socket: &mut Socket, scope: Scope<'_>, options: Options<'_>) -> Result<Option<String>, Error> {
    let print = |table: &Table, _: &Chain, rule: Rule, out: &mut String| {
        let options = Options { anonymous: &table.anonymous, ..options };
        Printer { out, options }.rule_line(&rule);
    };
    let listed = collect_in_pieces(socket, scope, print, |out, more| out.push_str(&more))?;
    if !is_complete(&listed, scope) {
        return Ok(None);
    }
    let mut out = String::new();
    for listed in listed {
        table(&mut Printer { out: &mut out, options }, listed, scope);
    }
    Ok(Some(out))
}

fn table(printer: &mut Printer<'_>, listed: Listed<String>, scope: Scope<'_>) {
    let Listed { mut table, rules } = listed;
    if scope.is_part() {
        // nft shows these of whole tables only,
        (table.flags, table.comment) = (0, None);
    }
    // nor their handles.
    let handles = printer.options.handles;
    printer.options.handles = handles && !scope.is_part();
    let mut first = printer.table_head(&table);
    printer.options.handles = handles;
    for object in &table.objects {
        printer.separate(&mut first);
        printer.object(object);
    }
    for set in &table.sets {
        printer.separate(&mut first);
        printer.set(set);
    }
    for flowtable in &table.flowtables {
        printer.separate(&mut first);
        printer.flowtable(flowtable);
    }
    for (chain, rules) in table.chains.iter().zip(rules) {
        printer.separate(&mut first);
        printer.chain_head(table.family, chain);
        printer.out.push_str(&rules);
        printer.out.push_str("\t}\n");
    }
    printer.out.push_str("}\n");
}

/// The scope in libnftables' JSON schema, version 1, on one line; of a chain or a set only that. `None` as with
/// [`text`].
///
/// # Errors
/// Those of [`collect`](super::collect).
pub fn json(socket: &mut Socket, scope: Scope<'_>, options: Options<'_>) -> Result<Option<String>, Error> {
    let writer = Writer { options };
    let write = |table: &Table, chain: &Chain, rule: Rule, objects: &mut Objects| {
        writer.rule(table, chain, &rule, objects);
    };
    let listed = collect_in_pieces(socket, scope, write, |objects, more| objects.append(&more))?;
    if !is_complete(&listed, scope) {
        return Ok(None);
    }
    let mut objects = Objects::document();
    for Listed { table, rules } in listed {
        if !scope.is_part() {
            writer.head(&table, &mut objects);
        }
        // Its chains have no rules here.
        writer.parts(&table, &mut objects);
        rules.iter().for_each(|rules| objects.append(rules));
    }
    Ok(Some(objects.finish() + "\n"))
}

/// Whether what the scope names exists.
pub(super) fn is_complete<T>(listed: &[Listed<T>], scope: Scope<'_>) -> bool {
    let is_there = |part: fn(&Table) -> bool| listed.first().is_some_and(|listed| part(&listed.table));
    match scope {
        Scope::Family(_) | Scope::Where(_) | Scope::Desired(_) => true,
        Scope::Table(..) => is_there(|_| true),
        Scope::Chain(..) => is_there(|table| !table.chains.is_empty()),
        Scope::Set(..) => is_there(|table| !table.sets.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use nftwire::Family;

    use super::*;

    fn listed(table: Table) -> [Listed<()>; 1] {
        [Listed { table, rules: Vec::new() }]
    }

    #[test]
    fn a_missing_chain_is_not_an_empty_listing() {
        let scope = Scope::Chain(Family::Inet, "t".into(), "c".into());
        let mut table = Table::new(Family::Inet, "t");
        assert!(!is_complete(&listed(table.clone()), scope));
        table.chains.push(Chain::default());
        assert!(is_complete(&listed(table), scope));
    }
}

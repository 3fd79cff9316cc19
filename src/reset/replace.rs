//! Rules replaced by themselves with their counters at zero.

use std::collections::HashMap;

use nftwire::expr::{Counter, Objref};
use nftwire::{
    Batch, Element, ElementList, Error, Expr, Family, Name, Position as RulePosition, Rule, Set, SetFlags,
    Socket, Text,
};

use super::{CounterLocation, Reading, Readings, ResetError, counters};
use crate::retry::retry;
use nft_ruleset::nft::decompile::Decompiler;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot, TableSnapshot};

/// Sets the counters inside the rules of a table to zero on every kernel: replaces the rules in one transaction, and
/// adds what the counters were to `readings`.
///
/// The rules get new handles. What is counted between reading and replacing, some 100 µs, is lost; and limits of
/// packets and of connections begin anew.
///
/// # Errors
/// See [`ResetError`]. The kernel refuses to replace a rule with a chain of its own (`jump { … }`).
pub fn replace_rules(
    socket: &mut Socket,
    family: Family,
    table: &Name,
    readings: &mut Readings,
) -> Result<(), ResetError> {
    Ok(replace(socket, family, table, |_| true, readings)?)
}

/// As [`replace_rules`], in the chains that `concerns` says.
pub(super) fn replace(
    socket: &mut Socket,
    family: Family,
    table: &Name,
    concerns: impl Fn(Text<'_>) -> bool,
    readings: &mut Readings,
) -> Result<(), Error> {
    retry(|| {
        let snapshot = Snapshot::read(socket, Scope::Table(family, table.as_text()), Depth::Rules)?;
        let Some(found) = snapshot.tables().first() else { return Ok(()) };
        let mut batch = Batch::new();
        batch.require_generation(snapshot.generation());
        let read = replace_in(found, &mut batch, &concerns)?;
        if !batch.is_empty() {
            socket.commit(&mut batch)?;
        }
        readings.0.extend(read);
        Ok(())
    })
}

/// Puts the rules that count into the batch, and returns what they have counted.
fn replace_in(
    table: &TableSnapshot,
    batch: &mut Batch,
    concerns: &impl Fn(Text<'_>) -> bool,
) -> Result<Vec<Reading>, Error> {
    let (family, name) = (table.head().family, &table.head().name);
    let shown = table.decompiled_sets()?;
    let mut readings = Vec::new();
    let mut decompiler = Decompiler::new(family, &shown);
    let mut numbers: HashMap<Text<'_>, usize> = HashMap::new();
    for rule in table.rules().decode(Rule::decode) {
        let rule = rule?;
        let number = numbers.entry(rule.chain).or_default();
        *number += 1;
        let mut expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
        if !concerns(rule.chain) || counters(&expressions).next().is_none() {
            continue;
        }
        let text = decompiler.rule(&rule)?.to_string();
        readings.extend(counters(&expressions).map(|counter| {
            let (chain, text) = (rule.chain.to_string(), text.clone());
            let location = CounterLocation::Rule { chain, number: *number, handle: rule.handle, text };
            Reading::new(family, name, location, counter)
        }));
        for expression in &mut expressions {
            renew(table, batch, expression)?;
        }
        let mut new = Rule::new(family, name, rule.chain);
        (new.compat, new.userdata) = (rule.compat, rule.userdata);
        batch.add_rule(&new, RulePosition::Replace(rule.handle), &expressions);
    }
    Ok(readings)
}

/// Sets a counter to zero. A set that belongs to the old rule cannot belong to the new one, so that gets a copy.
fn renew(table: &TableSnapshot, batch: &mut Batch, expression: &mut Expr<'_>) -> Result<(), Error> {
    match expression {
        Expr::Counter(counter) => *counter = Counter::default(),
        Expr::Lookup(lookup) => {
            if let Some((name, id)) = copy_set(table, batch, lookup.set)? {
                (lookup.set, lookup.set_id) = (name.into(), id);
            }
        }
        Expr::Objref(Objref::Map { set, set_id, .. }) => {
            if let Some(copy) = copy_set(table, batch, *set)? {
                (*set, *set_id) = (copy.0.into(), copy.1);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Puts a copy of an anonymous set into the batch; returns by what name and number the batch knows it.
fn copy_set(
    table: &TableSnapshot,
    batch: &mut Batch,
    name: Text<'_>,
) -> Result<Option<(&'static str, u32)>, Error> {
    let found =
        table.sets().iter().find(|set| set.head().name.as_text() == name && set.head().is_anonymous());
    let Some(found) = found else { return Ok(None) };
    let message = found.record().message()?;
    let set = Set::decode(&message)?;
    let (family, table) = (set.family, set.table);
    let (name, id) = (template(set.flags), batch.take_set_id());
    batch.add_set(&Set { name: name.into(), id, handle: 0, ..set });
    let mut copied: Vec<Element<'_>> = Vec::new();
    for list in found.elements().decode(ElementList::decode) {
        for element in list?.elements() {
            copied.push(element?);
        }
    }
    // As nft sends the ends of ranges: ascending, the end of one before the beginning of the next.
    copied.sort_by(|one, other| (&one.key, other.interval_end).cmp(&(&other.key, one.interval_end)));
    batch.add_elements(&ElementList::new(family, table, name, id), &copied);
    Ok(Some((name, id)))
}

/// nft's names for sets of rules; the kernel puts a number into it.
fn template(flags: SetFlags) -> &'static str {
    if flags.contains(SetFlags::OBJECT) {
        "__objmap%d"
    } else if flags.contains(SetFlags::MAP) {
        "__map%d"
    } else {
        "__set%d"
    }
}

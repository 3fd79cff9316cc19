//! Rules replaced by themselves with their counters at zero.

use std::collections::HashMap;

use nftwire::expr::{Counter, Objref};
use nftwire::{
    Batch, Dump, Element, ElementList, Error, Expr, Family, Position as RulePosition, Query, Reader, Rule,
    Set, SetFlags, Socket,
};
use nftwire::{Name, Text};

use super::{CounterLocation, Reading, Readings, ResetError, counters};
use crate::retry::retry;
use nft_ruleset::listing;
use nft_ruleset::nft::decompile::{Decompiler, Sets};

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
        let (generation, snapshot) = socket.consistent(|socket| Snapshot::read(socket, family, table))?;
        let mut batch = Batch::new();
        batch.require_generation(generation);
        let read = snapshot.replace(&mut batch, (family, table), &concerns)?;
        if !batch.is_empty() {
            socket.commit(&mut batch)?;
        }
        readings.0.extend(read);
        Ok(())
    })
}

/// A table's rules and anonymous sets as the kernel tells them.
struct Snapshot {
    rules: Dump,
    sets: Dump,
    /// By the set's name
    elements: HashMap<Name, Dump>,
    /// The same sets, to show rules by
    shown: Sets,
}

impl Snapshot {
    fn read(socket: &mut Reader<'_>, family: Family, table: &Name) -> Result<Self, Error> {
        let (shown, _) = listing::read_sets(socket, family, table)?;
        let mut elements = HashMap::new();
        for (name, _) in shown.iter().filter(|(_, set)| set.is_anonymous()) {
            let query = Query::Elements { table: table.into(), set: name.into() };
            elements.insert(name.clone(), socket.read(family, query)?);
        }
        Ok(Self {
            rules: socket.read(family, Query::Rules { table: Some(table.into()), chain: None })?,
            sets: socket.read(family, Query::Sets { table: Some(table.into()) })?,
            elements,
            shown,
        })
    }

    /// Puts the rules that count into the batch, and returns what they have counted.
    fn replace(
        &self,
        batch: &mut Batch,
        (family, table): (Family, &Name),
        concerns: &impl Fn(Text<'_>) -> bool,
    ) -> Result<Vec<Reading>, Error> {
        let mut readings = Vec::new();
        let mut decompiler = Decompiler::new(family, &self.shown);
        let mut numbers: HashMap<Text<'_>, usize> = HashMap::new();
        for message in self.rules.messages() {
            let rule = Rule::decode(&message?)?;
            let number = numbers.entry(rule.chain).or_default();
            *number += 1;
            let mut expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
            if !concerns(rule.chain) || counters(&expressions).next().is_none() {
                continue;
            }
            let text = decompiler.rule(&rule)?.to_string();
            readings.extend(counters(&expressions).map(|counter| {
                let (chain, text) = (rule.chain.to_string(), text.clone());
                let place = CounterLocation::Rule { chain, number: *number, handle: rule.handle, text };
                Reading::new(family, table, place, counter)
            }));
            for expression in &mut expressions {
                self.renew(batch, expression)?;
            }
            let mut new = Rule::new(family, table, rule.chain);
            (new.compat, new.userdata) = (rule.compat, rule.userdata);
            batch.add_rule(&new, RulePosition::Replace(rule.handle), &expressions);
        }
        Ok(readings)
    }

    /// Sets a counter to zero. A set that belongs to the old rule cannot belong to the new one, so that gets a copy.
    fn renew(&self, batch: &mut Batch, expression: &mut Expr<'_>) -> Result<(), Error> {
        match expression {
            Expr::Counter(counter) => *counter = Counter::default(),
            Expr::Lookup(lookup) => {
                if let Some((name, id)) = self.copy_set(batch, lookup.set)? {
                    (lookup.set, lookup.set_id) = (name.into(), id);
                }
            }
            Expr::Objref(Objref::Map { set, set_id, .. }) => {
                if let Some(copy) = self.copy_set(batch, *set)? {
                    (*set, *set_id) = (copy.0.into(), copy.1);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts a copy of an anonymous set into the batch; returns by what name and number the batch knows it.
    fn copy_set(&self, batch: &mut Batch, name: Text<'_>) -> Result<Option<(&'static str, u32)>, Error> {
        let Some(elements) = self.elements.get(name.as_bytes()) else { return Ok(None) };
        for message in self.sets.messages() {
            let set = Set::decode(&message?)?;
            if set.name != name {
                continue;
            }
            let (family, table) = (set.family, set.table);
            let (name, id) = (template(set.flags), batch.take_set_id());
            batch.add_set(&Set { name: name.into(), id, handle: 0, ..set });
            let mut copied: Vec<Element<'_>> = Vec::new();
            for message in elements.messages() {
                for element in ElementList::decode(&message?)?.elements() {
                    copied.push(element?);
                }
            }
            // As nft sends the ends of ranges: ascending, the end of one before the beginning of the next.
            copied.sort_by(|one, other| (&one.key, other.interval_end).cmp(&(&other.key, one.interval_end)));
            batch.add_elements(&ElementList::new(family, table, name, id), &copied);
            return Ok(Some((name, id)));
        }
        Ok(None)
    }
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

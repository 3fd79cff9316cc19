//! Groups that differ in a value and in the verdict that it leads to: one lookup in a map.

use super::Counting;
use super::group::{Group, count, counts, differing_match};
use super::meaning::Parts;
use super::values::Values;
use crate::{Data, Element, Expression, Map, Rule, Statement, Verdict};

/// A map's elements are some three times the size of a set's, each with a counter to be made: what is larger stays a
/// set a verdict.
const MAP_MAX: usize = 1024;

/// The rules of the groups, with maps where there can be some.
pub(super) fn fold(groups: &[Group<'_>], counting: Counting) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(groups.len());
    let mut rest = groups;
    while let [first, after @ ..] = rest {
        let (rule, taken) = map(first, after).unwrap_or_else(|| (first.to_rule(counting), 0));
        rules.push(rule);
        rest = &after[taken..];
    }
    rules
}

/// The map of the first group and as many of the next ones as fit, and how many these are.
fn map(first: &Group<'_>, after: &[Group<'_>]) -> Option<(Rule, usize)> {
    let parts = first.parts()?;
    let index = differing_match(parts, after.first()?.parts()?, None)??;
    if first.len() > MAP_MAX || !parts.may_come_last(index) {
        return None;
    }
    let mut map = Builder::default();
    map.add(first, index)?;
    let fits = |group: &&Group<'_>| is_alike(first, group, index) && map.add(group, index).is_some();
    let taken = after.iter().take_while(fits).count();
    (taken > 0).then(|| Some((map.finish(parts, index, first.comment())?, taken)))?
}

/// Whether the groups differ in nothing but this match and the verdict.
fn is_alike(first: &Group<'_>, group: &Group<'_>, index: usize) -> bool {
    let Some((one, other)) = first.parts().zip(group.parts()) else { return false };
    differing_match(one, other, Some(index)) == Some(None)
        && counts(one.actions) == counts(other.actions)
        && first.comment() == group.comment()
}

/// A map that is being filled, the first group first.
#[derive(Default)]
struct Builder {
    elements: Vec<(Data, Element)>,
    seen: Option<Values>,
    /// The values that lead into a chain from which packets come back to the next group
    come_back: Option<Values>,
}

impl Builder {
    /// Adds a group's values as far as no group before has them; `None` where that would be another ruleset.
    fn add(&mut self, group: &Group<'_>, index: usize) -> Option<()> {
        let actions = group.parts()?.actions;
        let verdict = match actions {
            [Statement::Verdict(verdict)] | [Statement::Counter(_), Statement::Verdict(verdict)] => verdict,
            _ => return None,
        };
        let values = group.values(index)?;
        let met_twice = self.come_back.as_ref().is_some_and(|before| !before.is_disjoint(&values));
        if met_twice || (!group.decides() && group.changes_what_it_reads()) {
            return None;
        }
        let new = self.seen.as_ref().map_or_else(|| values.clone(), |seen| values.without(seen));
        if self.elements.len() + new.len() > MAP_MAX {
            return None;
        }
        self.elements.extend(
            new.elements_by_start()
                .map(|(from, element)| (from.clone(), leading_to(element, verdict, counts(actions)))),
        );
        add(&mut self.seen, new);
        if !group.decides() {
            add(&mut self.come_back, values);
        }
        Some(())
    }

    fn finish(mut self, parts: Parts<'_>, index: usize, comment: Option<&crate::Name>) -> Option<Rule> {
        let Statement::Match { left, .. } = parts.matches.get(index)? else { return None };
        self.elements.sort_by(|one, other| one.0.cmp(&other.0));
        let map = Expression::Set(self.elements.into_iter().map(|(_, element)| element).collect());
        let mut statements = parts.matches.to_vec();
        statements.remove(index);
        let map = Map { key: left.clone(), map, verdicts: true };
        statements.push(Statement::VerdictMap(Expression::Map(Box::new(map))));
        Some(Rule { statements, comment: comment.cloned(), ..Rule::default() })
    }
}

fn add(values: &mut Option<Values>, more: Values) {
    match values {
        Some(values) => {
            values.extend(more);
            values.tidy();
        }
        None => *values = Some(more),
    }
}

fn leading_to(mut element: Element, verdict: &Verdict, counts: bool) -> Element {
    element.value = Some(Expression::Verdict(verdict.clone()));
    if counts {
        count(&mut element);
    }
    element
}

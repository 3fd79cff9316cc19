//! Rules that become one.

use super::Counting;
use super::meaning::{Chains, Parts};
use super::values::Values;
use crate::model::statement::Counter;
use crate::{Element, ElementDetails, Expression, Op, Rule, Selector, Statement};

/// Larger sets are not searched for a value that another rule has, too: then that counts as possible.
const SEARCH_MAX: usize = 1024;

/// Rules that differ in one value and do the same, or a single one.
#[derive(Debug)]
pub(super) struct Group<'r> {
    first: &'r Rule,
    /// `None` for a rule that stays as it is, where it is
    meaning: Option<Meaning<'r>>,
    /// Which match the rules differ in, and the values they have there
    list: Option<(usize, Values)>,
}

/// The match in which a rule differs from a group, and the values that it has there; none where it is one of them.
pub(super) struct Fit(Option<(usize, Values)>);

#[derive(Debug)]
struct Meaning<'r> {
    parts: Parts<'r>,
    decides: bool,
    /// What may be another value after the rule
    changes: Vec<Selector>,
    /// Whether a packet that gets it twice meets the same as one that gets it once
    repeatable: bool,
}

impl<'r> Group<'r> {
    /// A rule alone.
    pub(super) fn of(rule: &'r Rule, chains: &Chains<'_>) -> Self {
        let meaning = Parts::of(rule).and_then(|parts| {
            let by_chains = chains.changes(parts.actions)?;
            let repeatable = by_chains.is_empty() && parts.is_repeatable();
            let changes = by_chains.into_iter().chain(parts.sets()).collect();
            Some(Meaning { parts, decides: parts.decides(), changes, repeatable })
        });
        Self { first: rule, meaning, list: None }
    }

    /// What the rules have in common, where they can be distinguished from others.
    pub(super) fn parts(&self) -> Option<Parts<'r>> {
        self.meaning.as_ref().map(|meaning| meaning.parts)
    }

    /// What the rule may depend on.
    pub(super) fn comment(&self) -> Option<&'r crate::Name> {
        self.first.comment.as_ref()
    }

    /// Whether no later rule sees a packet that this one has met.
    pub(super) fn decides(&self) -> bool {
        self.meaning.as_ref().is_some_and(|meaning| meaning.decides)
    }

    /// Whether the rule may change what it has looked at itself.
    pub(super) fn changes_what_it_reads(&self) -> bool {
        self.meaning.as_ref().is_none_or(|meaning| meaning.changes_any(meaning.parts))
    }

    /// How many values its rules have where they differ, those counted twice that two of them have.
    pub(super) fn len(&self) -> usize {
        self.list.as_ref().map_or(1, |(_, values)| values.len())
    }

    /// The values at the match with this number.
    pub(super) fn values(&self, index: usize) -> Option<Values> {
        match &self.list {
            Some((list, values)) => (*list == index).then(|| {
                let mut values = values.clone();
                values.tidy();
                values
            }),
            None => values_at(self.parts()?, index),
        }
    }

    /// How this rule can be one of the group's: a packet that passes any of them meets the same then.
    pub(super) fn fit(&self, rule: &Self) -> Option<Fit> {
        let (own, other) = self.meaning.as_ref().zip(rule.meaning.as_ref())?;
        let stable = own.decides || !own.changes_any(own.parts);
        if !stable || !own.does_the_same_as(other) || self.comment() != rule.comment() {
            return None;
        }
        let repeatable = own.decides || own.repeatable;
        let Some(index) = self.difference(rule)? else { return repeatable.then_some(Fit(None)) };
        let value = values_at(other.parts, index)?;
        let first = if self.list.is_none() { Some(values_at(own.parts, index)?) } else { None };
        let before = first.as_ref().or(self.list.as_ref().map(|(_, list)| list))?;
        let apart = || before.len() <= SEARCH_MAX && before.is_disjoint(&value);
        (repeatable || apart()).then_some(Fit(Some((index, value))))
    }

    /// Takes in a rule that [fits](Group::fit).
    pub(super) fn take_in(&mut self, Fit(value): Fit) {
        let Some((index, value)) = value else { return };
        if self.list.is_none() {
            self.list = self.values(index).map(|values| (index, values));
        }
        if let Some((_, list)) = &mut self.list {
            list.extend(value);
        }
    }

    /// Whether no packet shows which of both comes first.
    pub(super) fn commutes_with(&self, rule: &Self) -> bool {
        let Some((own, other)) = self.meaning.as_ref().zip(rule.meaning.as_ref()) else { return false };
        if own.changes_any(other.parts) || other.changes_any(own.parts) {
            return false;
        }
        if own.does_the_same_as(other) && (own.decides || own.repeatable) {
            return true;
        }
        let list = self.list.as_ref().map(|(index, values)| (*index, values));
        list.is_none_or(|(_, values)| values.len() <= SEARCH_MAX) && own.parts.excludes(&other.parts, list)
    }

    /// The rule that does what all of them do.
    pub(super) fn to_rule(&self, counting: Counting) -> Rule {
        let Some(((index, _), parts)) = self.list.as_ref().zip(self.parts()) else {
            return self.first.clone();
        };
        let Some(mut values) = self.values(*index) else { return self.first.clone() };
        if counting == Counting::ByRule {
            values.join_touching();
        }
        let mut statements = self.first.statements.clone();
        let single = values.single();
        let by_element = counting == Counting::ByElement
            && single.is_none()
            && counts(parts.actions)
            && parts.may_come_last(*index);
        let mut elements: Vec<_> = values.elements().collect();
        if let Some(Statement::Match { right, .. }) = statements.get_mut(*index) {
            if by_element {
                elements.iter_mut().for_each(count);
            }
            *right = single.unwrap_or(Expression::Set(elements));
        }
        if by_element {
            // An element counts when it is found: only what passes the other matches may come that far.
            statements[*index..parts.matches.len()].rotate_left(1);
            statements.retain(|statement| !matches!(statement, Statement::Counter(_)));
        }
        Rule { statements, comment: self.first.comment.clone(), ..Rule::default() }
    }

    /// The number of the only match in which this rule differs from the group's; `Some(None)` where it is one of them.
    fn difference(&self, rule: &Self) -> Option<Option<usize>> {
        let (own, other) = self.parts().zip(rule.parts())?;
        let list = self.list.as_ref().map(|(index, _)| *index);
        differing_match(own, other, list).map(|index| index.or(list))
    }
}

impl Meaning<'_> {
    fn does_the_same_as(&self, other: &Self) -> bool {
        self.parts.actions == other.parts.actions
    }

    /// Whether a packet that continues after this rule may look different to a rule with these parts.
    fn changes_any(&self, parts: Parts<'_>) -> bool {
        !self.decides && parts.reads().any(|read| self.changes.contains(&read))
    }
}

/// The number of the only match in which two rules differ, not counting the one with the number `but`; `None` where they
/// differ in more.
pub(super) fn differing_match(one: Parts<'_>, other: Parts<'_>, but: Option<usize>) -> Option<Option<usize>> {
    if one.matches.len() != other.matches.len() {
        return None;
    }
    let mut differing = (0..one.matches.len())
        .filter(|&index| one.matches[index] != other.matches[index] && Some(index) != but);
    let first = differing.next();
    if differing.next().is_some() || (first.is_some() && but.is_some()) {
        return None;
    }
    if let Some(index) = first.or(but) {
        let (Statement::Match { left, op: Op::Eq, .. }, Statement::Match { left: same, op: Op::Eq, .. }) =
            (&one.matches[index], &other.matches[index])
        else {
            return None;
        };
        if left != same {
            return None;
        }
    }
    Some(first)
}

/// Whether a counter is among these.
pub(super) fn counts(actions: &[Statement]) -> bool {
    actions.iter().any(|action| matches!(action, Statement::Counter(_)))
}

/// Gives the element a counter of its own.
pub(super) fn count(element: &mut Element) {
    let statements = vec![Statement::Counter(Counter::default())];
    element.details = Some(Box::new(ElementDetails { statements, ..ElementDetails::default() }));
}

fn values_at(parts: Parts<'_>, index: usize) -> Option<Values> {
    match parts.matches.get(index)? {
        Statement::Match { left, op: Op::Eq, right } => Values::of(left, right),
        _ => None,
    }
}

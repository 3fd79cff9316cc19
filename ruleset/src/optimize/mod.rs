//! The same ruleset at a cost that does not grow with its lists: rules that differ in one value become one lookup.
//!
//! Rules whose matches differ in one value and which then do the same become one rule with a set. They need not be
//! neighbours: a rule moves up past others where no packet shows the difference. Rules that differ in their verdicts, too, become
//! one with a map of verdicts. Prefixes that overlap or touch become one.
//!
//! What a packet meets is the same before and after. What counters show is not: a rule that was made of several counts
//! for all of them, or with [`Counting::ByElement`] each element counts for itself; in a map it always does.

mod group;
mod map;
mod meaning;
mod values;

use std::borrow::Cow;

use crate::{Chain, Op, Origin, Rule, Ruleset, Statement, Table};
use group::{Fit, Group};
use meaning::Chains;

/// What counts in a rule that was made of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// The rule, for all of them
    ByRule,
    /// Each element of its set; the kernel has that from 5.7 on
    ByElement,
}

/// How many groups of rules a rule moves up at most.
const WINDOW: usize = 32;

/// The ruleset with sets and maps in the place of lists of rules.
#[must_use]
pub fn optimize(ruleset: &Ruleset, counting: Counting) -> Ruleset {
    Ruleset { tables: ruleset.tables.iter().map(|table| optimize_table(table, counting)).collect() }
}

fn optimize_table(table: &Table, counting: Counting) -> Table {
    let chains = Chains::of(table);
    let optimized = |chain: &Chain| Chain {
        name: chain.name.clone(),
        comment: chain.comment.clone(),
        userdata: chain.userdata.clone(),
        devices: chain.devices.clone(),
        rules: optimize_rules(&chain.rules, &chains, counting),
        ..*chain
    };
    // Not the table's clone with other chains: that would clone all rules for nothing.
    Table {
        name: table.name.clone(),
        comment: table.comment.clone(),
        userdata: table.userdata.clone(),
        objects: table.objects.clone(),
        sets: table.sets.clone(),
        flowtables: table.flowtables.clone(),
        chains: table.chains.iter().map(optimized).collect(),
        anonymous: table.anonymous.clone(),
        ..*table
    }
}

fn optimize_rules(rules: &[Rule], chains: &Chains<'_>, counting: Counting) -> Vec<Rule> {
    let rules: Vec<_> = rules.iter().map(with_one_unequal).collect();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for rule in &rules {
        let group = Group::of(rule, chains);
        match home(&groups, &group) {
            Some((home, fit)) => groups[home].take_in(fit),
            None => groups.push(group),
        }
    }
    map::fold(&groups, counting)
}

/// The group that the rule may join: it comes before all those in between then.
fn home(groups: &[Group<'_>], rule: &Group<'_>) -> Option<(usize, Fit)> {
    for (index, group) in groups.iter().enumerate().rev().take(WINDOW) {
        if let Some(fit) = group.fit(rule) {
            return Some((index, fit));
        }
        if !group.commutes_with(rule) {
            return None;
        }
    }
    None
}

/// The rule with one lookup for all the values that something must not have.
fn with_one_unequal(rule: &Rule) -> Cow<'_, Rule> {
    let unequal = |statement: &&Statement| matches!(statement, Statement::Match { op: Op::Ne, .. });
    let is_written = rule.origin == Origin::Written;
    if !is_written || rule.statements.iter().filter(unequal).nth(1).is_none() {
        return Cow::Borrowed(rule);
    }
    let mut statements: Vec<Statement> = Vec::with_capacity(rule.statements.len());
    for statement in &rule.statements {
        let joined = statements.iter_mut().any(|before| values::join_unequal(before, statement));
        if !joined {
            statements.push(statement.clone());
        }
    }
    let comment = rule.comment.clone();
    Cow::Owned(Rule { handle: rule.handle, statements, comment, origin: Origin::Written })
}

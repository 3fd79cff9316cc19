//! The sets that rules of a text change: what declares them in the same text need not say that they are dynamic.

use std::collections::HashSet;

use nftwire::{Family, uapi};

use crate::Set;
use crate::nft::parse::syntax::{Command, CommandKind, Rule, StmtKind, TableSpec};

/// The names of sets with their tables.
#[derive(Debug, Default)]
pub(super) struct Updates(HashSet<(Family, Box<str>, Box<str>)>);

impl Updates {
    pub(super) fn new(commands: &[Command]) -> Self {
        let mut updates = Self::default();
        for command in commands {
            match &command.kind {
                CommandKind::AddTable(_, table, Some(block)) => {
                    let rules = block.chains.iter().flat_map(|(_, chain)| chain.rules.kept_whole());
                    rules.for_each(|rule| updates.add(table, rule));
                }
                CommandKind::AddChain(_, chain, Some(block)) => {
                    block.rules.kept_whole().for_each(|rule| updates.add(&chain.table, rule));
                }
                CommandKind::AddRule { chain, rule, .. } => updates.add(&chain.table, rule),
                _ => {}
            }
        }
        updates
    }

    fn add(&mut self, table: &TableSpec, rule: &Rule) {
        for statement in &rule.statements {
            match &statement.kind {
                StmtKind::Update(update) if update.meter.is_none() => {
                    self.0.insert((table.family, table.name.text.clone(), update.set.text.clone()));
                }
                StmtKind::Block { rules, .. } => rules.iter().for_each(|rule| self.add(table, rule)),
                _ => {}
            }
        }
    }

    /// The flags that a set has besides those that were said (`stmt_evaluate_set` in nftables' src/evaluate.c, 1.0.6).
    ///
    /// Elements that expire can be changed by rules anyway: there nft adds nothing to a map, and without the flag the kernel
    /// refuses the rule.
    pub(super) fn flags(&self, family: Family, table: &str, set: &Set) -> u32 {
        let expires = set.flags & uapi::NFT_SET_TIMEOUT != 0;
        let changed = self.0.contains(&(family, table.into(), set.name.to_string().into()));
        if changed && !(set.value.is_some() && expires) { uapi::NFT_SET_EVAL } else { 0 }
    }
}

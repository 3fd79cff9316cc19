//! `nft -o`: rules of a table's block that differ in one value become one with a set or a map.

use crate::nft::parse::evaluate::{Item, ItemData};
use crate::nft::parse::source::Span;
use crate::nft::parse::syntax::RulePosition;
use crate::optimize::{Counting, optimize as optimized};
use crate::{Chain, Rule, Ruleset, Table};

/// Rules of a chain that became fewer.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Where those are that are not sent as they were
    pub from: Vec<Span>,
    /// What is sent in their place
    pub into: Vec<Rule>,
}

/// The items of one table with fewer rules. A chain with anonymous chains stays as it is.
pub(super) fn optimize(items: Vec<Item>, merges: &mut Vec<Merge>) -> Vec<Item> {
    let Some(Item { family, table, .. }) = items.first() else { return items };
    let mut model = Table::new(*family, &**table);
    for item in &items {
        match &item.data {
            ItemData::Chain(chain, _) => model.chains.push(chain.clone()),
            ItemData::Set(set) => model.sets.push((**set).clone()),
            ItemData::Rule { chain, rule, .. } => {
                if let Some(chain) = model.chains.iter_mut().find(|known| known.name == **chain) {
                    chain.rules.push(rule.clone());
                }
            }
            _ => {}
        }
    }
    let after = optimized(&Ruleset { tables: vec![model.clone()] }, Counting::ByElement);
    let Some(after) = after.tables.into_iter().next() else { return items };
    let mut items = items;
    for (before, after) in model.chains.iter().zip(after.chains) {
        if after.rules.len() < before.rules.len() {
            items = replaced(items, before, after.rules, merges);
        }
    }
    items
}

/// The items with other rules for a chain, in the place of its first.
fn replaced(items: Vec<Item>, chain: &Chain, rules: Vec<Rule>, merges: &mut Vec<Merge>) -> Vec<Item> {
    let is_rule = |item: &Item| matches!(&item.data, ItemData::Rule { chain: of, .. } if chain.name == **of);
    let has_blocks = |item: &Item| matches!(&item.data, ItemData::Rule { blocks, .. } if !blocks.is_empty());
    if items.iter().any(|item| is_rule(item) && has_blocks(item)) {
        return items;
    }
    let (mut from, mut named, mut first) = (Vec::new(), Vec::new(), None);
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if !is_rule(&item) {
            kept.push(item);
            continue;
        }
        let ItemData::Rule { rule, named: own, .. } = &item.data else { continue };
        if !rules.contains(rule) {
            from.push(item.span);
        }
        named.extend(own.iter().cloned());
        if first.is_none() {
            first = Some((kept.len(), item));
        }
    }
    let Some((at, first)) = first else { return kept };
    let into = rules.iter().filter(|rule| !chain.rules.contains(rule)).cloned().collect();
    merges.push(Merge { from, into });
    let item = |rule| {
        let data = ItemData::Rule {
            chain: chain.name.to_string().into(),
            position: RulePosition::Append,
            rule,
            blocks: Vec::new(),
            named: named.clone(),
        };
        Item { data, ..first.clone() }
    };
    let added: Vec<_> = rules.into_iter().map(item).collect();
    kept.splice(at..at, added);
    kept
}

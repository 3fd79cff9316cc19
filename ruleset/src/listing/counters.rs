//! The rules that packets meet.

use std::cmp::Reverse;

use nftwire::{Error, Socket};

use super::collect;
use super::text::is_complete;
use crate::model::statement::Counter;
use crate::nft::json::{Objects, Writer};
use crate::nft::print::{Options, Printer};
use crate::snapshot::Scope;
use crate::{Rule, Statement};

/// A rule whose counter is not zero.
#[derive(Clone, Debug)]
pub struct CountedRule {
    /// Its table, its chain and its number in the chain, from 1 on: `inet istio-proxy-nat istio-output 3`
    pub location: String,
    /// What it counted; of several counters the highest
    pub counter: Counter,
    /// As nft shows it, without the counts
    pub text: String,
    /// As libnftables' JSON has it, with the counts
    pub json: Objects,
}

/// The rules of a scope whose counters are not zero, the busiest first. `None` where a table, chain or set that the scope names
/// does not exist.
///
/// # Errors
/// Those of [`collect`].
pub fn counted_rules(
    socket: &mut Socket,
    scope: Scope<'_>,
    options: Options<'_>,
) -> Result<Option<Vec<CountedRule>>, Error> {
    let still = Options { stateless: true, ..options };
    let listed =
        collect(socket, scope, |table, chain, rule, (number, counted): &mut (usize, Vec<CountedRule>)| {
            *number += 1;
            let Some(counter) = highest(&rule) else { return };
            let mut text = String::new();
            let still = Options { anonymous: &table.anonymous, ..still };
            Printer { out: &mut text, options: still }.rule(&rule);
            let location = format!("{table} {} {number}", chain.name);
            let mut json = Objects::default();
            Writer { options }.rule(table, chain, &rule, &mut json);
            counted.push(CountedRule { location, counter, text, json });
        })?;
    if !is_complete(&listed, scope) {
        return Ok(None);
    }
    let chains = listed.into_iter().flat_map(|listed| listed.rules);
    let mut counted: Vec<_> = chains.flat_map(|(_, counted)| counted).collect();
    counted.sort_by_key(|rule| Reverse((rule.counter.packets, rule.counter.bytes)));
    Ok(Some(counted))
}

fn highest(rule: &Rule) -> Option<Counter> {
    let counters = rule.statements.iter().filter_map(|statement| match statement {
        Statement::Counter(counter) if counter.packets > 0 => Some(*counter),
        _ => None,
    });
    counters.max_by_key(|counter| counter.packets)
}

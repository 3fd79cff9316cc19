//! Random rulesets and packets, and what the evaluator says becomes of them.

pub(crate) mod packets;
pub(crate) mod random;

use nft_ruleset::evaluate::{Fate, Packet, evaluate};
use nft_ruleset::{Constant, Expression, Table};

/// What becomes of a packet that enters this base chain, the packet as the rules leave it, and whether a counter saw it.
/// The random rulesets hold nothing that the evaluator would have to guess.
pub(crate) fn evaluated(table: &Table, chain: &str, packet: &Packet) -> (Fate, Packet, bool) {
    let mut outcomes = evaluate(table, chain, packet, &());
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    let outcome = outcomes.remove(0);
    assert!(outcome.assumptions.is_empty(), "{outcome:?}");
    (outcome.fate, outcome.packet, outcome.counted)
}

fn constant(expression: &Expression) -> &Constant {
    let Expression::Constant(constant) = expression else { panic!("{expression:?}") };
    constant
}

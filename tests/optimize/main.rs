//! An optimized ruleset does to every packet what it did before.
//!
//! 1,000 rulesets; 4,000 with MESHWIRE_TEST_FULL in the environment.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

#[path = "../evaluator/mod.rs"]
mod evaluator;
mod sets;

use evaluator::evaluated;
use evaluator::packets::packets;
use evaluator::random::{BASE, ruleset};
use meshwire_testkit::full;
use nft_ruleset::nft::compile::compile;
use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::validate::validate;
use proptest::prelude::*;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(if full() { 4_000 } else { 1_000 }))]

    #[test]
    fn the_same_becomes_of_every_packet(
        (ruleset, packets) in ruleset(false).prop_flat_map(|ruleset| {
            let packets = packets(&ruleset, 24);
            (Just(ruleset), packets)
        }),
        counting in prop_oneof![Just(Counting::ByRule), Just(Counting::ByElement)],
    ) {
        let optimized = optimize(&ruleset, counting);
        for packet in &packets {
            let before = evaluated(&ruleset.tables[0], BASE, packet);
            let after = evaluated(&optimized.tables[0], BASE, packet);
            prop_assert_eq!(before, after, "{:?}\n{}\n{}", packet, ruleset, optimized);
        }
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn it_is_not_longer_and_can_be_loaded(ruleset in ruleset(false)) {
        for counting in [Counting::ByRule, Counting::ByElement] {
            let optimized = optimize(&ruleset, counting);
            prop_assert!(optimized.rule_count() <= ruleset.rule_count());
            for table in &optimized.tables {
                for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
                    prop_assert!(compile(table.family, rule, 1).is_ok(), "{}", rule);
                }
            }
        }
    }

    #[test]
    fn it_is_done_when_it_is_done(ruleset in ruleset(false)) {
        // A second pass may find more: what moved next to each other only then.
        let once = optimize(&ruleset, Counting::ByRule);
        let twice = optimize(&once, Counting::ByRule);
        prop_assert!(twice.rule_count() <= once.rule_count());
        prop_assert!(validate(&ruleset).is_err() || validate(&twice).is_ok());
    }
}

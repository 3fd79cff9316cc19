//! The rulesets that settings of Istio's sidecar lead to, as nft shows them.
//!
//! All expectations are written by hand. Those that are not about a whole ruleset show the chains that differ from the
//! ones of [`default_sidecar`], in full; that all other chains are as there is part of the expectation.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong here fails the test"
)]

mod dns;
mod inbound;
mod outbound;
mod properties;
mod tproxy;

use meshwire::mesh::istio::sidecar::{Interface, Sidecar};
use nft_ruleset::IpPrefix;
use nft_ruleset::{Ruleset, Table};

/// What Istio's command does without any flag, in a pod whose first address is IPv4.
fn default_sidecar() -> Sidecar {
    Sidecar { native_nftables: true, ..Sidecar::default() }
}

fn networks(texts: &[&str]) -> Vec<IpPrefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn interfaces(names: &[&str]) -> Vec<Interface> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// The whole ruleset of these settings is this text, indentation and empty lines aside.
#[track_caller]
fn assert_ruleset(sidecar: &Sidecar, expected: &str) {
    assert_text(&sidecar.ruleset(), expected);
}

/// The chains of these settings that [`default_sidecar`] has otherwise, or not at all, are this text; and it has none
/// that is missing here.
#[track_caller]
fn assert_changes(sidecar: &Sidecar, expected: &str) {
    let (usual, mut ruleset) = (default_sidecar().ruleset(), sidecar.ruleset());
    let of = |ruleset: &Ruleset, table: &Table| {
        ruleset.tables.iter().find(|other| other.is_same_table(table)).map(|table| table.chains.clone())
    };
    for table in &usual.tables {
        let here = of(&ruleset, table).unwrap_or_default();
        for chain in &table.chains {
            assert!(
                here.iter().any(|other| other.name == chain.name),
                "{} of {table} is missing",
                chain.name
            );
        }
    }
    for table in &mut ruleset.tables {
        let usual = of(&usual, table).unwrap_or_default();
        table.chains.retain(|chain| !usual.contains(chain));
    }
    ruleset.tables.retain(|table| !table.chains.is_empty());
    assert_text(&ruleset, expected);
}

#[track_caller]
fn assert_text(ruleset: &Ruleset, expected: &str) {
    let lines = |text: &str| -> Vec<_> {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let (found, expected) = (lines(&ruleset.to_string()), lines(expected));
    let Some(first) =
        (0..found.len().max(expected.len())).find(|&line| found.get(line) != expected.get(line))
    else {
        return;
    };
    panic!(
        "line {} is\n  {}\nand should be\n  {}\nin\n{ruleset}",
        first + 1,
        found.get(first).map_or("the end", String::as_str),
        expected.get(first).map_or("the end", String::as_str),
    );
}

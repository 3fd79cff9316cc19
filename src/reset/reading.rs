//! What counters were.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::hash::Hash;

use nftwire::Family;
use nftwire::Name;
use nftwire::expr::Counter;
use serde_json::{Value as Json, json};

use crate::json::JsonValue;
/// What a counter was when it was set to zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: String,
    /// Where in the table it is
    pub location: CounterLocation,
    /// Packets
    pub packets: u64,
    /// Bytes, network headers included
    pub bytes: u64,
}

/// Where in its table a counter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CounterLocation {
    /// It has this name
    Named(String),
    /// It is inside an element of a set or a map
    Element {
        /// The set's name
        set: String,
        /// The element's key as nft shows it
        key: String,
    },
    /// It is inside a rule
    Rule {
        /// The chain's name
        chain: String,
        /// The rule's number in the chain, from 1
        number: usize,
        /// The rule's handle when it was read
        handle: u64,
        /// The rule as nft shows it, without what the counter was
        text: String,
    },
}

/// What many counters were, in the order of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings(pub Vec<Reading>);

impl Reading {
    pub(super) fn new(family: Family, table: &Name, location: CounterLocation, counter: Counter) -> Self {
        Self { family, table: table.to_string(), location, packets: counter.packets, bytes: counter.bytes }
    }
}

impl Readings {
    /// Adds a reading, or where the counter was read already by an attempt that has to be repeated, what it has
    /// counted since.
    pub(super) fn add<K: Eq + Hash>(&mut self, seen: &mut HashMap<K, usize>, counter: K, reading: Reading) {
        let index = *seen.entry(counter).or_insert(self.0.len());
        match self.0.get_mut(index) {
            Some(before) => {
                before.packets = before.packets.saturating_add(reading.packets);
                before.bytes = before.bytes.saturating_add(reading.bytes);
                before.location = reading.location;
            }
            None => self.0.push(reading),
        }
    }

    /// As an object: `counters`, each an object with `family`, `table`, `packets`, `bytes`, and `name`, or `set`
    /// and `key`, or `chain`, `rule` (its number in the chain, from 1), `handle` and `text`.
    #[must_use]
    pub fn to_json(&self) -> JsonValue {
        let counters: Vec<_> = self.0.iter().map(counter).collect();
        JsonValue(json!({ "counters": counters }))
    }
}

fn counter(reading: &Reading) -> Json {
    let mut object = json!({
        "family": reading.family.to_string(),
        "table": reading.table,
        "packets": reading.packets,
        "bytes": reading.bytes,
    });
    match &reading.location {
        CounterLocation::Named(name) => object["name"] = name.as_str().into(),
        CounterLocation::Element { set, key } => {
            object["set"] = set.as_str().into();
            object["key"] = key.as_str().into();
        }
        CounterLocation::Rule { chain, number, handle, text } => {
            object["chain"] = chain.as_str().into();
            object["rule"] = (*number).into();
            object["handle"] = (*handle).into();
            object["text"] = text.as_str().into();
        }
    }
    object
}

impl Readings {
    /// A line for each table, and one for each counter below it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let mut table = None;
        for reading in &self.0 {
            if table.replace((reading.family, &reading.table)) != Some((reading.family, &reading.table)) {
                writeln!(f, "table {} {}", reading.family, reading.table)?;
            }
            let (packets, bytes) = (reading.packets, reading.bytes);
            match &reading.location {
                CounterLocation::Named(name) => {
                    writeln!(f, "  counter {name}: packets {packets} bytes {bytes}")?;
                }
                CounterLocation::Element { set, key } => {
                    writeln!(f, "  set {set} element {key}: packets {packets} bytes {bytes}")?;
                }
                CounterLocation::Rule { chain, number, text, .. } => {
                    writeln!(f, "  chain {chain} rule {number}: packets {packets} bytes {bytes} ({text})")?;
                }
            }
        }
        Ok(())
    }
}

/// As [`Readings::text`], with their number.
impl Display for Readings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f)?;
        let count = self.0.len();
        writeln!(f, "reset: {count} counter{}", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attempt_has_read_before_its_repetition_is_added() {
        let reading = |number, packets| {
            let location =
                CounterLocation::Rule { chain: "c".into(), number, handle: 7, text: "counter".into() };
            Reading::new(Family::Inet, &"t".into(), location, Counter { packets, bytes: 10 * packets })
        };
        let mut readings = Readings(vec![reading(9, 9)]);
        let mut seen = HashMap::new();
        readings.add(&mut seen, (7, 0), reading(1, 5));
        readings.add(&mut seen, (7, 1), reading(1, 6));
        readings.add(&mut seen, (7, 0), reading(2, 3));
        assert_eq!(readings.0, [reading(9, 9), reading(2, 8), reading(1, 6)]);
    }
}

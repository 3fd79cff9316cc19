//! Counters inside elements of sets and maps.

use std::collections::HashMap;

use nftwire::Name;
use nftwire::expr::Counter;
use nftwire::{Error, Family, Socket};
use nix::errno::Errno;

use super::{CounterLocation, Reading, Readings, refused_with};
use crate::retry::retry;
use nft_ruleset::nft::decompile::{SetReader, Sets};
use nft_ruleset::nft::print::{Options, Printer};
use nft_ruleset::{Element, Set, Statement};

/// Sets the counters in the elements of a table's sets to zero. Kernels before 6.5 cannot, and sets whose elements have
/// quotas are left alone: the kernel would open them again.
pub(super) fn reset_elements(
    socket: &mut Socket,
    sets: &Sets,
    (family, table): (Family, &Name),
    readings: &mut Readings,
) -> Result<(), Error> {
    let mut counting: Vec<_> = sets.values().filter(|set| only_counts(set)).collect();
    counting.sort_by_key(|set| set.handle);
    for set in counting {
        match reset_set(socket, set, (family, table), readings) {
            // A message that this kernel does not know.
            Err(error) if refused_with(&error, &[Errno::EINVAL, Errno::EOPNOTSUPP]) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// Whether elements have counters, and nothing else that the kernel would set back.
fn only_counts(set: &Set) -> bool {
    let more = |statement: &Statement| matches!(statement, Statement::Quota(_) | Statement::Last(_));
    set.elements.iter().any(|element| counter(element).is_some())
        && !set.elements.iter().flat_map(statements).any(more)
}

fn reset_set(
    socket: &mut Socket,
    set: &Set,
    (family, table): (Family, &Name),
    readings: &mut Readings,
) -> Result<(), Error> {
    let head = Set { elements: Vec::new(), ..set.clone() };
    let mut seen = HashMap::new();
    retry(|| {
        let mut reader = SetReader::new(head.clone());
        let read = socket.reset_elements(family, table, &set.name, |list| {
            for element in list.elements() {
                reader.add(&element?);
            }
            Ok(())
        });
        // What came before an error has been set to zero, too.
        for element in &reader.finish().elements {
            if let Some(counter) = counter(element) {
                let mut key = String::new();
                Printer { out: &mut key, options: Options::default() }.expression(&element.key);
                let location = CounterLocation::Element { set: set.name.to_string(), key: key.clone() };
                readings.add(&mut seen, key, Reading::new(family, table, location, counter));
            }
        }
        read
    })
}

fn statements(element: &Element) -> &[Statement] {
    element.details.as_ref().map_or(&[], |details| &details.statements)
}

fn counter(element: &Element) -> Option<Counter> {
    statements(element).iter().find_map(|statement| match statement {
        Statement::Counter(counter) => Some(Counter { packets: counter.packets, bytes: counter.bytes }),
        _ => None,
    })
}

//! A span for each transaction, for subscribers: what it is about, and its outcome.

use std::collections::BTreeSet;
use std::fmt;

use tracing::{Span, debug, debug_span};

use crate::message::{Datagram, NFGEN_HEADER};
use crate::{AttrReader, Batch, Commit, Error, Message, uapi};

/// The crate, and not this module: what subscribers choose by is part of its interface.
const TARGET: &str = "nftwire";

/// A transaction that is under way.
pub(crate) struct Transaction(Span);

impl Transaction {
    /// `attempt` is 1, and one more each time after a lost race.
    pub(crate) fn begin(batch: &Batch, apply: bool, attempt: u32) -> Self {
        Self(debug_span!(
            target: TARGET,
            "transaction",
            tables = %Tables(batch),
            messages = batch.messages(),
            bytes = batch.len(),
            // The one that it requires; 0 for any.
            generation = required_generation(batch),
            attempt,
            check = !apply,
        ))
    }

    pub(crate) fn end(self, result: &Result<Commit, Error>) {
        self.0.in_scope(|| match result {
            Ok(commit) => {
                let elapsed_us = u64::try_from(commit.elapsed.as_micros()).unwrap_or(u64::MAX);
                debug!(target: TARGET, elapsed_us, "nf_tables took the transaction");
            }
            Err(error) => debug!(target: TARGET, "nf_tables did not take the transaction: {error}"),
        });
    }
}

/// The generation in BATCH_BEGIN, which is the first message.
fn required_generation(batch: &Batch) -> u32 {
    let begin = Datagram(batch.as_bytes()).flatten().next();
    let attributes = begin.and_then(|begin| begin.payload.get(NFGEN_HEADER..)).unwrap_or_default();
    let generation =
        AttrReader::new(attributes).flatten().find(|attribute| attribute.kind == uapi::NFNL_BATCH_GENID);
    generation.and_then(|generation| generation.be32().ok()).unwrap_or(0)
}

/// The tables that a batch is about, in the order of their families and names.
struct Tables<'a>(&'a Batch);

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = Datagram(self.0.as_bytes()).flatten();
        let messages = messages.flat_map(|header| Message::decode(header.nlmsg_type, header.payload));
        let mut tables = BTreeSet::new();
        for mut message in messages {
            // It has this number in the messages of all kinds of objects.
            let name = message.attributes.find_map(|attribute| {
                attribute.ok().filter(|attribute| attribute.kind == uapi::NFTA_TABLE_NAME)
            });
            tables.extend(name.map(|name| (message.family, name.text())));
        }
        let mut separator = "";
        for (family, name) in tables {
            write!(f, "{separator}{family} {name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, Table};

    #[test]
    fn tables_and_generation_of_a_batch() {
        let mut batch = Batch::new();
        assert_eq!((Tables(&batch).to_string(), required_generation(&batch)), (String::new(), 0));
        batch.require_generation(7);
        for (family, name) in [(Family::Inet, "b"), (Family::Ipv4, "a"), (Family::Inet, "b")] {
            batch.add_table(&Table::new(family, name));
        }
        batch.del_chain(Family::Inet, "c", "chain");
        assert_eq!(Tables(&batch).to_string(), "inet b, inet c, ip a");
        assert_eq!(required_generation(&batch), 7);
    }
}

//! Entry points for the fuzz targets: what a socket does with the bytes that it receives. Compiled only with cfg(fuzzing).

use crate::batch::Batch;
use crate::dump::Progress;
use crate::outcome::Outcome;
use crate::{Chain, Family, Position, Received, Rule, Table, expr};

/// The datagram as part of the dump with the sequence number 0.
#[must_use]
pub fn received(datagram: &[u8]) -> Received {
    Received::new(datagram.to_vec(), 0)
}

/// Reads the headers of the datagram as [`crate::Socket::dump`] does.
pub fn dump(datagram: &[u8]) {
    if let Err(error) = Progress::default().examine(datagram, 0) {
        let _ = error.to_string();
    }
}

/// Reads the datagram as the replies to a transaction of three objects, and says which of them was refused and why.
pub fn replies(datagram: &[u8]) {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Inet, "table"));
    batch.add_chain(&Chain::new(Family::Inet, "table", "chain"));
    let counter = expr::Counter::default().into();
    batch.add_rule(&Rule::new(Family::Inet, "table", "chain"), Position::Append, &[counter]);
    let mut outcome = Outcome::default();
    let result = outcome.read(datagram, 0, batch.messages());
    let _ = result.map_err(|error| error.to_string());
    if let Some(refusal) = outcome.into_refusal(&batch) {
        let _ = refusal.to_string();
    }
}

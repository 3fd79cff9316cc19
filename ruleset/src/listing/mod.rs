//! What the kernel holds, as text, as JSON, and by what its rules have counted.

mod counters;
mod text;

use nftwire::{Error, Socket};

use crate::snapshot::{Depth, Scope, Snapshot};
use crate::{Chain, Rule, Table};
pub use counters::{Moved, moved};
pub use text::{json, text};

/// A table, and what was made of its chains' rules.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The table with all it holds but rules
    pub table: Table,
    /// One for each chain of the table, in their order
    pub rules: Vec<T>,
}

/// The tables of a scope, of one generation; `each` makes of the rules of a chain what is kept of them. A table, chain
/// or set that does not exist is left out.
///
/// # Errors
/// As [`Snapshot::read`].
pub fn collect<T: Default>(
    socket: &mut Socket,
    scope: Scope<'_>,
    each: impl Fn(&Table, &Chain, Rule, &mut T),
) -> Result<Vec<Listed<T>>, Error> {
    let snapshot = Snapshot::read(socket, scope, Depth::All)?;
    let listed = snapshot.tables().iter().map(|table| {
        let (mut table, rules) = table.decompile(&each)?;
        if matches!(scope, Scope::Chain(..)) {
            // Its rules only refer to them.
            table.sets.clear();
        }
        Ok(Listed { table, rules })
    });
    listed.collect()
}

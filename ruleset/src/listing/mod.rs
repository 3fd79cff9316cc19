//! What the kernel holds, as text, as JSON, and by what its rules have counted.

mod counters;
mod text;
mod texts;

use nftwire::{DecodeError, Error, Socket};

use crate::snapshot::{Depth, Scope, Snapshot, TableSnapshot};
use crate::{Chain, Rule, Table};
pub use counters::{CountedRule, counted_rules};
pub use text::{json, text};
pub use texts::RuleTexts;

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
    collect_by(socket, scope, |table| table.decompile(&each))
}

/// As [`collect`], on several threads where there are many rules: `join` as in [`TableSnapshot::decompile_in_pieces`].
fn collect_in_pieces<T: Default + Send>(
    socket: &mut Socket,
    scope: Scope<'_>,
    each: impl Fn(&Table, &Chain, Rule, &mut T) + Sync,
    join: impl Fn(&mut T, T),
) -> Result<Vec<Listed<T>>, Error> {
    collect_by(socket, scope, |table| table.decompile_in_pieces(&each, &join))
}

fn collect_by<T>(
    socket: &mut Socket,
    scope: Scope<'_>,
    decompile: impl Fn(&TableSnapshot) -> Result<(Table, Vec<T>), DecodeError>,
) -> Result<Vec<Listed<T>>, Error> {
    let snapshot = Snapshot::read(socket, scope, Depth::All)?;
    let listed = snapshot.tables().iter().map(|table| {
        let (mut table, rules) = decompile(table)?;
        if matches!(scope, Scope::Chain(..)) {
            // Its rules only refer to them.
            table.sets.clear();
        }
        Ok(Listed { table, rules })
    });
    listed.collect()
}

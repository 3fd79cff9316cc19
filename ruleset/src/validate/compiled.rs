//! Whether all of a table can be compiled.

use super::fault::Invalid;
use super::location;
use crate::Table;
use crate::nft::compile::table::object as compile_object;
use crate::nft::compile::{NotCompiled, compile_for_kernel, named_set};

/// Compiles all that a table holds.
pub(super) fn table(table: &Table) -> Result<(), Invalid> {
    let at = |location: String| move |error: NotCompiled| Invalid { location, fault: error.into() };
    table.userdata.with(table.comment.as_ref()).map_err(|error| at(table.to_string())(error))?;
    for set in &table.sets {
        named_set(set).map_err(|error| at(format!("set {} in {table}", set.name))(error))?;
    }
    for object in &table.objects {
        let userdata = object.userdata.with(object.comment.as_ref());
        userdata
            .and_then(|data| compile_object(table.family, table.name.as_text(), object, &data).map(drop))
            .map_err(|error| {
                at(format!("{} {} in {table}", object.data.kind().name(), object.name))(error)
            })?;
    }
    for chain in table.chains.iter().chain(&table.anonymous) {
        let userdata = chain.userdata.with(chain.comment.as_ref());
        userdata.map_err(|error| at(location(table, chain, None))(error))?;
        for (index, rule) in chain.rules.iter().enumerate() {
            compile_for_kernel(table, rule, 1)
                .map_err(|error| at(location(table, chain, Some(index)))(error))?;
        }
    }
    Ok(())
}

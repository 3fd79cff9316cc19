//! Whether all of a table can be compiled.

use super::fault::Invalid;
use super::location;
use crate::Table;
use crate::nft::compile::table::object as compile_object;
use crate::nft::compile::{NotCompiled, compile_for_kernel, named_set};

/// Compiles all that a table holds.
pub(super) fn table(table: &Table) -> Result<(), Invalid> {
    let invalid = |location: String, error: NotCompiled| Invalid { location, fault: error.into() };
    let userdata = table.userdata.with(table.comment.as_ref());
    userdata.map_err(|error| invalid(table.to_string(), error))?;
    for set in &table.sets {
        named_set(set).map_err(|error| invalid(format!("set {} in {table}", set.name), error))?;
    }
    for object in &table.objects {
        let userdata = object.userdata.with(object.comment.as_ref());
        let compiled = userdata
            .and_then(|data| compile_object(table.family, table.name.as_text(), object, &data).map(drop));
        compiled.map_err(|error| {
            invalid(format!("{} {} in {table}", object.data.kind().name(), object.name), error)
        })?;
    }
    for chain in table.chains.iter().chain(&table.anonymous) {
        let userdata = chain.userdata.with(chain.comment.as_ref());
        userdata.map_err(|error| invalid(location(table, chain, None), error))?;
        for (index, rule) in chain.rules.iter().enumerate() {
            compile_for_kernel(table, rule, 1)
                .map_err(|error| invalid(location(table, chain, Some(index)), error))?;
        }
    }
    Ok(())
}

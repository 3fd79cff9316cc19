//! Arguments that are not flags, of several commands.

use clap::Arg;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use nftwire::Family;

/// A table's family.
pub(super) const FAMILY: &str = "family";
/// A table's name.
pub(super) const TABLE: &str = "table";

/// A family, by nft's name for it; a [`Family`] when it is read.
pub(super) fn family() -> Arg {
    let parser = PossibleValuesParser::new(Family::TABLES.into_iter().filter_map(Family::name));
    Arg::new(FAMILY)
        .help("The table's family")
        .value_name("FAMILY")
        .required(true)
        .value_parser(parser.try_map(|name| name.parse::<Family>()))
}

/// A table's name.
pub(super) fn table() -> Arg {
    Arg::new(TABLE).help("The table's name").value_name("TABLE").required(true)
}

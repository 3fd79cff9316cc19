//! The executable under test.

use std::env;
use std::path::PathBuf;

/// The variable that names it where a test does not run where it was built: a static release build.
pub(crate) const GIVEN: &str = "MESHWIRE_BIN";

/// Where `meshwire` is: what was [given](GIVEN), or what cargo has built for the test.
pub(crate) fn program() -> PathBuf {
    env::var_os(GIVEN).map_or_else(|| env!("CARGO_BIN_EXE_meshwire").into(), PathBuf::from)
}

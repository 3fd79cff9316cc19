//! What RUST_LOG asks for: the spans of transactions, on standard error.

use std::env::{self, VarError};
use std::io;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::log::Log;

const VARIABLE: &str = "RUST_LOG";

/// From now on. Without the variable, nothing is different.
pub(super) fn show() {
    let directives = match env::var(VARIABLE) {
        Ok(directives) if !directives.is_empty() => directives.parse::<Targets>().map_err(|_| directives),
        Ok(_) | Err(VarError::NotPresent) => return,
        Err(VarError::NotUnicode(directives)) => Err(directives.to_string_lossy().into_owned()),
    };
    match directives {
        Ok(targets) => {
            let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr);
            // It fails only if a subscriber exists already, which then receives them.
            let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
        }
        Err(directives) => Log::Plain.warn(&format!(
            "{VARIABLE}: {directives:?} is not understood and has no effect: use a level (error, warn, info, debug, trace), \
             or TARGET=LEVEL, separated by commas"
        )),
    }
}

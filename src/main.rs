//! The command `meshwire`.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshwire::cli::run(std::env::args_os())
}

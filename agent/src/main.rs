//! The executable `meshwire-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshwire_agent::cli::main()
}

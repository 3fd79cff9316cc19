//! Writes the manual pages and the completions for bash, zsh and fish, made of the command line's own definition:
//!
//! ```sh
//! cargo run --example manual -- target/manual
//! man target/manual/meshwire.1
//! ```
//!
//! An example and no command, so that what makes them is not in the program that is shipped.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use clap::Command;
use clap_complete::Shell;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: manual FOLDER")?);
    fs::create_dir_all(&folder)?;
    // Without the commit, so that the pages are the same for every build of a version.
    let mut command = without_help(meshwire::cli::command().version(env!("CARGO_PKG_VERSION")));
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, &name, &folder)?;
    }
    clap_mangen::generate_to(command, &folder)?;
    println!("{}: {} files", folder.display(), fs::read_dir(&folder)?.count());
    Ok(())
}

/// No pages for `meshwire help list` and its like beside that for `meshwire list`.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

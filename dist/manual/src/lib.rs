//! meshwire's manual pages and completions, made of the command line's own definition.

mod examples;
mod notes;
mod page;

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use notes::Notes;

/// Pages of programs whose command lines are those of the programs that they replace.
const WRITTEN: [(&str, &str); 2] = [
    ("meshwire-agent.8", include_str!("../pages/meshwire-agent.8")),
    ("meshwire-cni.8", include_str!("../pages/meshwire-cni.8")),
];

/// The names of all pages, and their texts. The date is of the form 2026-01-31.
#[must_use]
pub fn pages(date: &str) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    add_pages(&whole_command(), &Notes::default(), date, &mut pages);
    for (alias, command) in meshwire::cli::aliases() {
        pages.push((format!("{alias}.8"), format!(".so man8/meshwire-{command}.8\n")));
    }
    pages.extend(WRITTEN.map(|(name, text)| (name.to_owned(), text.replace("@DATE@", date))));
    pages
}

/// The page of a command and those of its own commands, which have its notes where they have none.
fn add_pages(command: &Command, inherited: &Notes, date: &str, pages: &mut Vec<(String, String)>) {
    let own = command.get_after_help().map(|text| Notes::parse(&text.to_string()));
    let notes = own.as_ref().unwrap_or(inherited);
    pages.push((format!("{}.8", page::name(command)), page::text(command, notes, date)));
    for command in command.get_subcommands() {
        add_pages(command, notes, date, pages);
    }
}

/// Writes the completions to a folder for each shell: of meshwire, and of the names by which its commands can be called.
///
/// # Errors
/// A file cannot be written.
pub fn completions(folder: &Path) -> io::Result<()> {
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Fish, "fish"), (Shell::Zsh, "zsh")] {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        clap_complete::generate_to(shell, &mut whole_command(), "meshwire", &folder)?;
        for (alias, name) in meshwire::cli::aliases() {
            let whole = meshwire::cli::command();
            if let Some(command) = whole.find_subcommand(name) {
                clap_complete::generate_to(shell, &mut command.clone().name(*alias), *alias, &folder)?;
            }
        }
    }
    Ok(())
}

/// Without `meshwire help list` and its like besides `meshwire list`, and without the commit, so that the pages are the
/// same for every build of a version.
fn whole_command() -> Command {
    fn without_help(command: Command) -> Command {
        command.disable_help_subcommand(true).mut_subcommands(without_help)
    }
    let mut command = without_help(meshwire::cli::command()).version(env!("CARGO_PKG_VERSION"));
    command.build();
    command
}

//! What differs between the kernel and what is desired, as a result.

use std::process::ExitCode;

use nftwire::Socket;

use super::action::of;
use super::failure::{Failure, NotWrittenError, write_result};
use super::flag::shared::Output;
use super::progress;
use crate::interception::Interception;
use crate::network::RouteSocket;
use crate::verify::{Differences, verify_possible};

/// Exit code when something differs.
const DIFFERENT: u8 = 3;

/// Compares in the namespace that the thread is in, and prints what differs.
pub(super) fn compare(
    desired: &Interception,
    routes: &mut RouteSocket,
    output: Output,
    warn: impl Fn(&str),
) -> Result<ExitCode, Failure> {
    let mut nft = Socket::open()?;
    let compared = progress::during("comparing", || verify_possible(desired, &mut nft, routes))?;
    compared.warnings().iter().for_each(|warning| warn(warning));
    Ok(report(&compared.differences, output)?)
}

/// Prints the differences; returns the exit code that says whether there are some.
pub(super) fn report(differences: &Differences, output: Output) -> Result<ExitCode, NotWrittenError> {
    write_result(&text(differences, output, None))?;
    Ok(exit_code(differences.is_empty()))
}

/// What is said of the differences, with the namespace in which they are where there are several.
pub(super) fn text(differences: &Differences, output: Output, netns: Option<&str>) -> String {
    if output == Output::Json {
        return format!("{}\n", of(netns, differences.to_json().0));
    }
    let place = netns.map_or_else(String::new, |netns| format!("{netns}: "));
    match differences.is_empty() {
        true => format!("{place}equal: rules, routes and addresses are as the settings want them\n"),
        false => format!("{place}different (- desired, + found, ~ found in another form):\n{differences}"),
    }
}

/// The exit code that says whether all is equal.
pub(super) fn exit_code(equal: bool) -> ExitCode {
    if equal { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) }
}

//! nft's commands carried out: what changes something as one transaction, and what lists after it.

mod change;
mod interval;
mod list;
mod positions;

use std::collections::HashMap;

use nftwire::{Error, Refusal, Socket};

use super::parse::evaluate::{Evaluator, World};
use super::parse::source::{Fault, Span};
use super::parse::syntax::{Command, CommandKind};
use change::Change;

/// How commands are carried out and shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// Nothing is applied: the kernel only checks
    pub check: bool,
    /// In libnftables' JSON schema
    pub json: bool,
    /// Without what changes by itself, such as counters' values
    pub stateless: bool,
    /// With the kernel's handles
    pub handles: bool,
    /// Without the elements of named sets
    pub terse: bool,
    /// The names of the interfaces by their indices
    pub interfaces: Option<&'a HashMap<u32, String>>,
}

/// What commands came to: what they show, and why they failed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is shown
    pub output: String,
    /// What is wrong; where there is any, nothing was applied, and what is shown came before it
    pub faults: Vec<Fault>,
}

/// Carries out commands: first all that change something, as one transaction; then all that list, in their order.
pub fn run(
    commands: &[Command],
    socket: &mut Socket,
    world: &mut dyn World,
    settings: Settings<'_>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut change = Change::new(commands, settings.check);
    let mut evaluator = Evaluator::new(world);
    for command in commands {
        let added = match &command.kind {
            CommandKind::List(_) | CommandKind::Reset(_) | CommandKind::GetElements(..) => continue,
            CommandKind::Delete { .. } | CommandKind::Flush(_) | CommandKind::RenameChain(..) => {
                change.remove(command, socket, &mut evaluator).map_err(|fault| vec![fault])
            }
            CommandKind::Monitor { .. } | CommandKind::Describe(_) => {
                Err(vec![Fault::new(command.span, "this command cannot be part of several")])
            }
            _ => evaluator.additions(command).and_then(|items| {
                items.into_iter().try_for_each(|item| change.add(item, socket)).map_err(|fault| vec![fault])
            }),
        };
        if let Err(faults) = added {
            outcome.faults.extend(faults);
        }
    }
    if outcome.faults.is_empty()
        && let Err(fault) = change.commit(socket)
    {
        outcome.faults.push(fault);
    }
    if !outcome.faults.is_empty() {
        return outcome;
    }
    for command in commands {
        match list::run(command, socket, &mut evaluator, settings) {
            Ok(text) => outcome.output.push_str(&text),
            Err(fault) => {
                outcome.faults.push(fault);
                return outcome;
            }
        }
    }
    outcome
}

/// An errno in the words of strerror(3).
fn strerror(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Why a request failed, at a place.
fn failure(span: Span, error: &Error) -> Fault {
    match error {
        Error::Refused(refusal) => Fault::new(span, refused(refusal)),
        error => Fault::new(span, error.to_string()),
    }
}

fn refused(refusal: &Refusal) -> String {
    let text = format!("Could not process rule: {}", strerror(refusal.errno));
    match &refusal.text {
        Some(words) => format!("{text} ({words})"),
        None => text,
    }
}

/// Whether the kernel says that something does not exist.
fn is_missing(error: &Error) -> bool {
    /// ENOENT
    const MISSING: i32 = 2;
    matches!(error, Error::Refused(refusal) if refusal.errno == MISSING)
}

//! nft's commands carried out: what changes something as one transaction, and what lists after it.

mod change;
mod events;
mod hooks;
mod interval;
mod list;
mod location;
mod monitor;
mod optimize;
mod positions;
mod ranges;
mod trace;
mod updates;

use std::collections::HashMap;
use std::time::Duration;

pub use events::{Lines, Part};
pub use monitor::{Monitored, Watched, monitor, monitored};
use nftwire::events::{Event, Events, Group};
use nftwire::{Error, Refusal, Socket, uapi};
pub use optimize::Merge;
pub use trace::trace;

use super::parse::evaluate::{Evaluator, World};
use super::parse::source::{Fault, Span};
use super::parse::syntax::{Command, CommandKind};
use super::print::{Names, Numeric, Options};
use super::strerror::strerror;
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
    /// What was added is shown as the kernel has it; with the calling thread's id (gettid(2)), by which the kernel
    /// names who changed something
    pub echo: Option<u32>,
    /// What is shown as a number where nft has a name for it
    pub numeric: Numeric,
    /// What is shown by a name that the system has for it
    pub names: Names<'a>,
    /// Rules of a table's block that can be one become one
    pub optimize: bool,
    /// The expressions of rules are shown as they are sent
    pub debug: bool,
    /// The names of the interfaces by their indices
    pub interfaces: Option<&'a HashMap<u32, String>>,
}

impl<'a> Settings<'a> {
    fn options(self) -> Options<'a> {
        let Settings { stateless, handles, interfaces, numeric, names, .. } = self;
        Options { stateless, handles, interfaces, numeric, names, ..Options::default() }
    }
}

/// What commands came to: what they show, and why they failed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is shown
    pub output: String,
    /// Rules that became fewer
    pub merges: Vec<Merge>,
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
    let mut change = Change::new(commands, settings);
    let mut evaluator = Evaluator::new(world);
    for command in commands {
        let added = match &command.kind {
            CommandKind::List(_)
            | CommandKind::Reset(_)
            | CommandKind::GetElements(..)
            | CommandKind::Describe(_) => continue,
            CommandKind::Delete { .. } | CommandKind::Flush(_) | CommandKind::RenameChain(..) => {
                change.remove(command, socket, &mut evaluator).map_err(|fault| vec![fault])
            }
            CommandKind::Monitor { .. } => {
                Err(vec![Fault::new(command.span, "this command cannot be part of several")])
            }
            CommandKind::AddTable(..) if settings.optimize => {
                let mut items = Vec::new();
                let mut collect = |item| {
                    items.push(item);
                    Ok(())
                };
                evaluator.additions(command, &mut collect).and_then(|()| {
                    let mut items = optimize::optimize(items, &mut outcome.merges).into_iter();
                    items.try_for_each(|item| change.add(item, socket)).map_err(|fault| vec![fault])
                })
            }
            _ => evaluator.additions(command, &mut |item| change.add(item, socket)),
        };
        if let Err(faults) = added {
            let refused = change.take_refused_element();
            outcome.faults.extend(faults.into_iter().map(|fault| {
                let about = refused.as_ref().filter(|location| fault.span == Some(location.set));
                location::of_element(commands, about, &mut evaluator, fault)
            }));
        }
    }
    if outcome.faults.is_empty() {
        outcome.output = change.take_debug();
        match commit(&mut change, socket, settings) {
            Ok(echo) => outcome.output.push_str(&echo),
            Err(fault) => {
                let refused = change.take_refused_element();
                outcome.faults.push(location::of_element(commands, refused.as_ref(), &mut evaluator, fault));
            }
        }
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

/// Sends what changes something; returns what is echoed of it.
fn commit(change: &mut Change, socket: &mut Socket, settings: Settings<'_>) -> Result<String, Fault> {
    let Some(thread) = settings.echo.filter(|_| !settings.check && !change.is_empty()) else {
        return change.commit(socket).map(|()| String::new());
    };
    let failed = |error: &Error| Fault { span: None, related: None, message: error.to_string() };
    let mut events = Events::open(&[Group::Ruleset]).map_err(|error| failed(&error))?;
    change.commit(socket)?;
    echo(&mut events, change, thread, socket, settings).map_err(|error| failed(&error))
}

/// What the transaction that this thread has committed has added, and as text the rules in whose places it has put others.
fn echo(
    events: &mut Events,
    change: &Change,
    thread: u32,
    socket: &mut Socket,
    settings: Settings<'_>,
) -> Result<String, Error> {
    let json = settings.json;
    let mut own = Vec::new();
    // They were queued before the commit returned. In a PID namespace the kernel's number of the thread is another
    // one: then what came first is taken for its own.
    while let Some(event) = events.next(Some(Duration::ZERO))? {
        let writer = match &event {
            Event::Generation { writer, .. } => *writer,
            _ => None,
        };
        let ends = matches!(event, Event::Generation { .. });
        own.push(event);
        match (ends, writer == Some(thread)) {
            (true, true) => break,
            (true, false) if events.is_empty() => break,
            (true, false) => own.clear(),
            (false, _) => {}
        }
    }
    let mut lines = Lines::new(settings.options(), json);
    let mut shown = String::new();
    for event in &own {
        let replaced = !json && is_replaced(event, change)?;
        shown.push_str(&lines.push(socket, event, |_, added| added || replaced)?);
    }
    if !json {
        return Ok(shown);
    }
    // As libnftables, which puts no metainfo here.
    let objects: Vec<_> = shown.lines().collect();
    Ok(format!("{{\"nftables\": [{}]}}\n", objects.join(", ")))
}

/// Whether an event is the end of a rule that was replaced.
fn is_replaced(event: &Event, change: &Change) -> Result<bool, Error> {
    let Event::Deleted(record) = event else { return Ok(false) };
    let message = record.message()?;
    Ok(message.kind == uapi::NFT_MSG_DELRULE && change.replaces(&nftwire::Rule::decode(&message)?))
}

/// Why a request failed, and where.
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

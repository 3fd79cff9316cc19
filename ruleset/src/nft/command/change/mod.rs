//! The commands that change something, as one transaction.

mod add;
mod elements;
mod remove;

use nftwire::{Batch, Error, Family, Refusal, Socket, Version};

use super::location::{Location, Which};
use super::positions::Positions;
use super::ranges::Ranges;
use super::updates::Updates;
use super::{Settings, failure, is_missing};
use crate::nft::compile::{Compiled, NamedSet, named_set_as_written};
use crate::nft::parse::source::{Fault, Span};
use crate::nft::parse::syntax::{Command, TableSpec};
use crate::nft::strerror::strerror;
use crate::{Name, Set};

/// From which kernel on deletions need not find anything (`NFT_MSG_DESTROY*`).
const DESTROY: Version = Version::new(6, 3);

/// Where the parts of a message are in the text.
#[derive(Clone, Copy, Debug)]
struct Subject {
    command: Span,
    table: Span,
    name: Span,
    /// A handle or an index
    position: Span,
}

/// A transaction that is being filled.
#[derive(Debug)]
pub(super) struct Change {
    batch: Batch,
    /// For each message of the batch
    subjects: Vec<Subject>,
    positions: Positions,
    updates: Updates,
    ranges: Ranges,
    /// The rules that others take the place of, by family, table and handle
    replaced: Vec<(Family, Name, u64)>,
    /// The number of the next anonymous chain
    next_chain_id: u32,
    check: bool,
    /// The expressions of the rules so far, where they are to be shown
    debug: Option<String>,
    /// What was refused, where that is one of several elements
    refused_element: Option<Location>,
}

impl Change {
    pub(super) fn new(commands: &[Command], settings: Settings<'_>) -> Self {
        Self {
            batch: Batch::new(),
            subjects: Vec::new(),
            positions: Positions::new(commands),
            updates: Updates::new(commands),
            ranges: Ranges::new(commands),
            replaced: Vec::new(),
            next_chain_id: 1,
            check: settings.check,
            debug: settings.debug.then(String::new),
            refused_element: None,
        }
    }

    /// The expressions of the rules, where they are to be shown.
    pub(super) fn take_debug(&mut self) -> String {
        self.debug.take().unwrap_or_default()
    }

    /// The element that the last fault is about, whose own place is the set's or the command's.
    pub(super) fn take_refused_element(&mut self) -> Option<Location> {
        self.refused_element.take()
    }

    /// Whether a rule of the transaction takes the place of this one.
    pub(super) fn replaces(&self, rule: &nftwire::Rule<'_>) -> bool {
        let same = |(family, table, handle): &(Family, Name, u64)| {
            (*family, table.as_text(), *handle) == (rule.family, rule.table, rule.handle)
        };
        self.replaced.iter().any(same)
    }

    fn note(
        &mut self,
        family: Family,
        table: crate::Text<'_>,
        chain: crate::Text<'_>,
        compiled: &Compiled<'_>,
    ) {
        if let Some(debug) = &mut self.debug {
            debug.push_str(&format!("{family} {table} {chain}\n"));
            for expression in &compiled.expressions {
                debug.push_str(&format!("  [ {expression:?} ]\n"));
            }
            debug.push('\n');
        }
    }

    fn push(&mut self, subject: Subject, fill: impl FnOnce(&mut Batch)) {
        fill(&mut self.batch);
        self.subjects.resize(self.batch.messages(), subject);
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Sends it, where there is anything to send.
    pub(super) fn commit(&mut self, socket: &mut Socket) -> Result<(), Fault> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sent = match self.check {
            true => socket.check(&mut self.batch),
            false => socket.commit(&mut self.batch),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(Error::Refused(refusal)) => Err(self.refused(&refusal)),
            Err(Error::GenerationChanged) => Err(self.whole(strerror(ERESTART))),
            Err(error) => Err(self.whole(error.to_string())),
        }
    }

    fn whole(&self, message: String) -> Fault {
        Fault { span: self.subjects.first().map(|subject| subject.command), related: None, message }
    }

    fn refused(&mut self, refusal: &Refusal) -> Fault {
        let message = super::refused(refusal);
        let subject = refusal.message.and_then(|message| self.subjects.get(message)).copied();
        let Some(subject) = subject else { return self.whole(message) };
        let element = refusal.location.element.clone();
        self.refused_element = element.map(|element| Location {
            set: subject.name,
            element: Which::Sent(element),
            related: None,
        });
        let span = match refusal.location.attribute {
            Some((_, "table")) => subject.table,
            Some((_, "handle" | "position")) => subject.position,
            Some((_, "name" | "chain" | "set")) => subject.name,
            _ => subject.command,
        };
        Fault::new(span, message)
    }
}

/// ERESTART: the ruleset was changed meanwhile.
const ERESTART: i32 = 85;

fn of_table(command: Span, table: &TableSpec) -> Subject {
    let table = table.name.span;
    Subject { command, table, name: table, position: table }
}

/// A set or its elements, as the kernel takes them.
fn compiled(subject: Subject, set: &Set) -> Result<NamedSet, Fault> {
    named_set_as_written(set).map_err(|error| Fault::new(subject.name, error.to_string()))
}

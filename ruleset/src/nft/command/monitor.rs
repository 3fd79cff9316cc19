//! `monitor`: what happens to the ruleset, as it happens.

use nftwire::events::{Event, Events, Group};
use nftwire::{Error, Socket};

use super::{Lines, Part, Settings};
use crate::nft::parse::Command;
use crate::nft::parse::source::Fault;
use crate::nft::parse::syntax::CommandKind;

/// What a command `monitor` is about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Monitored {
    /// The way of traced packets, which [`trace`](super::trace) shows
    Trace,
    /// Changes of the ruleset, which [`monitor`] shows
    Changes {
        /// Which
        watched: Watched,
        /// Whether it says that they are shown as JSON
        json: bool,
    },
}

/// What a command is about if it is `monitor [new | destroy] [OBJECT]`, which is carried out by itself.
///
/// # Errors
/// It asks for changes that are neither new nor destroyed.
#[must_use]
pub fn monitored(command: &Command) -> Option<Result<Monitored, Fault>> {
    let CommandKind::Monitor { event, object, json } = &command.kind else { return None };
    let added = match event.as_ref().map(|event| (&*event.text, event.span)) {
        None => None,
        Some(("new", _)) => Some(true),
        Some(("destroy", _)) => Some(false),
        Some((_, span)) => return Some(Err(Fault::new(span, "invalid event, expecting new or destroy"))),
    };
    let part = match object.as_ref().map_or("ruleset", |object| &*object.text) {
        "trace" => return Some(Ok(Monitored::Trace)),
        "tables" => Some(Part::Tables),
        "chains" => Some(Part::Chains),
        "rules" => Some(Part::Rules),
        "sets" => Some(Part::Sets),
        "elements" => Some(Part::Elements),
        _ => None,
    };
    Some(Ok(Monitored::Changes { watched: Watched { added, part }, json: *json }))
}

/// What events report, and how.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// Only what is new (`Some(true)`), or only what is gone
    pub added: Option<bool>,
    /// Only this part of the ruleset
    pub part: Option<Part>,
}

/// Hands a line for each event to `show`, until that returns false.
///
/// # Errors
/// The subscription failed, or what events refer to could not be read.
pub fn monitor(
    socket: &mut Socket,
    watched: Watched,
    settings: Settings<'_>,
    mut show: impl FnMut(&str) -> bool,
) -> Result<(), Error> {
    let json = settings.json;
    let mut events = Events::open(&[Group::Ruleset])?;
    let mut lines = Lines::new(settings.options(), json);
    let wanted = |part: Part, added: bool| {
        watched.part.is_none_or(|wanted| wanted == part) && watched.added.is_none_or(|wanted| wanted == added)
    };
    while let Some(event) = events.next(None)? {
        let mut text = lines.push(socket, &event, wanted)?;
        match &event {
            Event::Missed => text.push_str("# ERROR: No buffer space available\n"),
            Event::Generation { generation, writer, writer_name } if !json => {
                let name = writer_name.as_deref().unwrap_or_default();
                let name = crate::Text::from_bytes(name);
                let writer = writer.unwrap_or(0);
                text.push_str(&format!("# new generation {generation} by process {writer} ({name})\n"));
            }
            _ => {}
        }
        if !text.is_empty() && !show(&text) {
            break;
        }
    }
    Ok(())
}

//! A report, for people and for programs.

use std::fmt::{self, Display, Formatter};

use serde_json::{Value as Json, json};

use super::differences::Entries;
use super::{ChangedObject, Changes, Writer};
use crate::json::JsonValue;

/// Why there is a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Occasion {
    /// It is the first one
    Start,
    /// Something changed, and then it was quiet
    Change,
    /// Without an event something was different from before
    Reread,
    /// Changes go on without a quiet moment. Only what lasts is reported
    Turmoil,
    /// The current state could not be read: others change the ruleset, or check batches, without a pause
    Unread,
}

impl Occasion {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Change => "change",
            Self::Reread => "reread",
            Self::Turmoil => "turmoil",
            Self::Unread => "unread",
        }
    }
}

/// What changed, and what differs now.
#[derive(Debug)]
pub struct Report {
    /// Why there is a report
    pub occasion: Occasion,
    /// What events said
    pub changes: Changes,
    pub(super) appeared: Entries,
    pub(super) resolved: Entries,
    pub(super) present: Entries,
}

impl Report {
    /// Whether nothing differs now. Not known with [`Occasion::Unread`].
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.present.is_empty() && self.occasion != Occasion::Unread
    }

    /// Differences that are new, as objects of [`Differences::to_json`](crate::verify::Differences::to_json).
    pub(crate) fn appeared(&self) -> impl Iterator<Item = &Json> {
        self.appeared.values()
    }

    /// Differences that are gone.
    pub(crate) fn resolved(&self) -> impl Iterator<Item = &Json> {
        self.resolved.values()
    }

    /// All that differs now.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Json> {
        self.present.values()
    }

    /// As an object: `occasion`, `equal`, `appeared`, `resolved` and `differences` (as `verify` has them), `changed`,
    /// `network_changed`, `events_lost`, and `writers` (`name`, `thread`, `generation`).
    #[must_use]
    pub fn to_json(&self) -> JsonValue {
        let Changes { objects, writers, network, missed, .. } = &self.changes;
        let objects: Vec<_> = objects.iter().map(|(object, count)| object_json(object, *count)).collect();
        let writers: Vec<_> = writers
            .iter()
            .map(|Writer { name, thread, generation }| {
                json!({ "name": name, "thread": thread, "generation": generation })
            })
            .collect();
        let equal = if self.occasion == Occasion::Unread { Json::Null } else { json!(self.is_equal()) };
        JsonValue(json!({
            "occasion": self.occasion.name(),
            "equal": equal,
            "appeared": self.appeared().collect::<Vec<_>>(),
            "resolved": self.resolved().collect::<Vec<_>>(),
            "differences": self.present().collect::<Vec<_>>(),
            "changed": objects,
            "network_changed": network,
            "events_lost": missed,
            "writers": writers,
        }))
    }

    fn verdict(&self) -> String {
        match (self.occasion, self.present.0.len()) {
            (Occasion::Unread, _) => {
                "unknown: the ruleset cannot be read, others change or check it without a pause".to_owned()
            }
            (_, 0) => "equal: rules, routes and addresses are as the settings want them".to_owned(),
            (_, 1) => "different: 1 difference".to_owned(),
            (_, count) => format!("different: {count} differences"),
        }
    }
}

/// A line with the verdict; below it what changed, by whom, and each difference that appeared (`-` desired and missing, `+`
/// found and not desired, `~` there in another way) or is gone (`=`).
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Changes { objects, writers, network, missed, .. } = &self.changes;
        write!(f, "{}", self.verdict())?;
        if self.occasion == Occasion::Turmoil {
            write!(f, " (changes go on without a pause; only what lasts is shown)")?;
        }
        for (object, count) in objects {
            write!(f, "\n  {}", object_line(object, *count))?;
        }
        if *network {
            write!(f, "\n  addresses, routes or policy rules changed")?;
        }
        if *missed {
            write!(f, "\n  events were lost: more may have changed, by others")?;
        }
        for writer in writers {
            write!(f, "\n  by {}", writer_text(writer))?;
        }
        for entry in self.appeared.values() {
            write!(f, "\n{}", entry_line(entry))?;
        }
        for entry in self.resolved.values() {
            write!(f, "\n= {}", &entry_line(entry)[2..])?;
        }
        Ok(())
    }
}

fn writer_text(Writer { name, thread, .. }: &Writer) -> String {
    let thread =
        thread.map_or_else(String::new, |thread| format!(" (thread {thread} in the initial PID namespace)"));
    format!("{name:?}{thread}")
}

fn object_json(ChangedObject { kind, family, table, name, deleted }: &ChangedObject, count: usize) -> Json {
    json!({
        "object": kind,
        "family": family,
        "table": table,
        "name": name,
        "deleted": deleted,
        "count": count,
    })
}

fn object_line(ChangedObject { kind, family, table, name, deleted }: &ChangedObject, count: usize) -> String {
    let what = if *deleted { "deleted" } else { "new or changed" };
    let times = if count == 1 { String::new() } else { format!("{count} ") };
    let name = match (*kind, name) {
        (_, None) => return format!("{what}: {kind} {family} {table}"),
        ("rule", Some(chain)) => format!("rule in chain {chain}"),
        ("element", Some(set)) => format!("element of set {set}"),
        (kind, Some(name)) => format!("{kind} {name}"),
    };
    format!("{what}: {times}{name} of table {family} {table}")
}

/// One difference in one line.
fn entry_line(entry: &Json) -> String {
    let text = |key: &str| match entry.get(key) {
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let word = |key| text(key).unwrap_or_default();
    let sign = match word("difference").as_str() {
        "missing" => '-',
        "extra" => '+',
        _ => '~',
    };
    let mut line = format!("{sign} {}", word("object"));
    for key in ["number", "name"] {
        if let Some(value) = text(key) {
            line += &format!(" {value}");
        }
    }
    if let Some(chain) = text("chain") {
        line += &if word("object") == "chain" { format!(" {chain}") } else { format!(" of chain {chain}") };
    }
    if let (Some(family), Some(table)) = (text("family"), text("table")) {
        let of = if word("object") == "table" { "" } else { " of table" };
        line += &format!("{of} {family} {table}");
    }
    match (text("desired"), text("found")) {
        (Some(desired), Some(found)) if desired == found => {
            line += &format!(": {desired} (out of order, or of other expressions)");
        }
        (Some(desired), Some(found)) => line += &format!(": {desired}; found: {found}"),
        (Some(one), None) | (None, Some(one)) => line += &format!(": {one}"),
        (None, None) => {}
    }
    line
}

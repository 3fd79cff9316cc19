//! Differences as a set, so that two looks can be compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::verify::Differences;

/// Differences, each of them once: its text in JSON, which is its identity, and its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries(pub(super) BTreeMap<String, Json>);

impl Entries {
    pub(super) fn new(differences: &Differences) -> Self {
        Self(differences.entries().into_iter().map(|entry| (entry.to_string(), entry)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Json> {
        self.0.values()
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        self.with(|(text, _)| !other.0.contains_key(text))
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0.extend(other.0.clone());
        self
    }

    fn in_both(&self, other: &Self) -> Self {
        self.with(|(text, _)| other.0.contains_key(text))
    }

    pub(super) fn filter(&self, keep: impl Fn(&Json) -> bool) -> Self {
        self.with(|(_, entry)| keep(entry))
    }

    fn with(&self, keep: impl Fn((&String, &Json)) -> bool) -> Self {
        let kept = self.0.iter().filter(|entry| keep(*entry));
        Self(kept.map(|(text, entry)| (text.clone(), entry.clone())).collect())
    }
}

/// Looks while changes go on: any one of them may have seen half of a change.
#[derive(Debug, Default)]
pub(super) struct Window {
    looks: u32,
    /// When the first one and the last one were
    span: Option<(Instant, Instant)>,
    /// What all of them saw, and what any of them saw; none as long as none could be proven
    seen: Option<(Entries, Entries)>,
}

impl Window {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn looks(&self) -> u32 {
        self.looks
    }

    /// When the last look was.
    pub(super) fn last(&self) -> Option<Instant> {
        self.span.map(|(_, last)| last)
    }

    /// From the first look to the last.
    pub(super) fn elapsed(&self) -> Duration {
        self.span.map_or(Duration::ZERO, |(first, last)| last.duration_since(first))
    }

    pub(super) fn push(&mut self, at: Instant, found: Option<Entries>) {
        self.looks += 1;
        self.span = Some((self.span.map_or(at, |(first, _)| first), at));
        if let Some(found) = found {
            self.seen = Some(match self.seen.take() {
                Some((always, sometimes)) => (always.in_both(&found), sometimes.and(&found)),
                None => (found.clone(), found),
            });
        }
    }

    pub(super) fn always_and_sometimes(self) -> Option<(Entries, Entries)> {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries(names: &[&str]) -> Entries {
        Entries(names.iter().map(|name| ((*name).to_owned(), json!(name))).collect())
    }

    #[test]
    fn a_window_distinguishes_lasting_differences_from_passing_ones() {
        let mut window = Window::default();
        assert_eq!(window.last(), None);
        let now = Instant::now();
        for found in [Some(entries(&["a", "b"])), None, Some(entries(&["b", "c"]))] {
            window.push(now, found);
        }
        assert_eq!((window.looks(), window.last()), (3, Some(now)));
        assert_eq!(window.always_and_sometimes(), Some((entries(&["b"]), entries(&["a", "b", "c"]))));
        let mut unproven = Window::default();
        unproven.push(now, None);
        assert_eq!(unproven.always_and_sometimes(), None);
    }
}

//! The rules of a chain.

use std::sync::Arc;

use super::super::source::Span;
use super::{Rule, StmtKind};

/// The rules of a chain, in their order. A file may have many, and the tree of one takes many times the bytes of its text: what
/// the text alone says is kept as where it begins there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// The text of those that are kept so
    text: Arc<String>,
    /// Its number
    source: u32,
    entries: Vec<KeptRule>,
}

/// A rule.
#[derive(Clone, Debug)]
pub(in super::super) enum KeptRule {
    /// Where it begins in the text; it may not have been read yet
    Text(u32),
    /// Itself
    Tree(Box<Rule>),
}

impl Rules {
    /// Adds one of the text of this number. `as_text` says whether its text means the same later: that names no variables.
    pub(in super::super) fn push(
        &mut self,
        rule: Rule,
        as_text: bool,
        text: impl FnOnce(u32) -> Arc<String>,
    ) {
        let Span { source, start, .. } = rule.span;
        if self.entries.is_empty() {
            (self.source, self.text) = (source, text(source));
        }
        let as_text = as_text
            && source == self.source
            && !rule.statements.iter().any(|statement| is_asked_for(&statement.kind));
        self.entries.push(if as_text { KeptRule::Text(start) } else { KeptRule::Tree(Box::new(rule)) });
    }

    /// Adds one of the text of this number that has not been read, which begins here, says nothing that
    /// [`kept_whole`](Self::kept_whole) has to have, and names no variables; returns whether it could: only where those before
    /// it are of the same text.
    pub(in super::super) fn push_unread(
        &mut self,
        Span { source, start, .. }: Span,
        text: impl FnOnce(u32) -> Arc<String>,
    ) -> bool {
        if self.entries.is_empty() {
            (self.source, self.text) = (source, text(source));
        }
        let same = source == self.source;
        if same {
            self.entries.push(KeptRule::Text(start));
        }
        same
    }

    /// Those that change sets, and others that are kept as they are.
    pub(crate) fn kept_whole(&self) -> impl Iterator<Item = &Rule> {
        self.entries.iter().filter_map(|entry| match entry {
            KeptRule::Text(_) => None,
            KeptRule::Tree(rule) => Some(&**rule),
        })
    }

    /// All of them.
    pub(in super::super) fn entries(&self) -> &[KeptRule] {
        &self.entries
    }

    /// The text of those that are kept so, and its number.
    pub(in super::super) fn text(&self) -> (u32, &Arc<String>) {
        (self.source, &self.text)
    }
}

/// Whether [`Rules::kept_whole`] has to have rules with such a statement.
fn is_asked_for(statement: &StmtKind) -> bool {
    matches!(statement, StmtKind::Update(_) | StmtKind::Block { .. })
}

//! The elements of a set.

use std::borrow::Cow;
use std::sync::Arc;

use super::super::source::Span;
use super::{Element, Expr, ExprKind};

/// The elements of a set, in their order. As long as they are words and numbers alone, as in most long sets, an element
/// takes eight bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements {
    /// The text in which the words and numbers that come first are
    text: Arc<String>,
    /// Where each of them begins in it, and where it ends
    words: Vec<(u32, u32)>,
    /// The number of the text
    source: u32,
    /// All from the first one on that is more than a word or a number
    others: Vec<Element>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'e> {
    /// A word, or digits of a decimal number
    Word(&'e str, Span),
    /// Any other
    Other(&'e Element),
}

impl<'e> Entry<'e> {
    /// The element by itself.
    #[must_use]
    pub(crate) fn element(self) -> Cow<'e, Element> {
        match self {
            Self::Word(text, span) => {
                let kind = text.parse().map_or_else(|_| ExprKind::Word(text.into()), ExprKind::Number);
                Cow::Owned(Element { key: Expr { kind, span }, value: None, details: None })
            }
            Self::Other(element) => Cow::Borrowed(element),
        }
    }

    /// Where its key is, and what belongs to the key.
    #[must_use]
    pub(crate) fn span(self) -> Span {
        match self {
            Self::Word(_, span) => span,
            Self::Other(Element { key, details: Some(details), .. }) => key.span.to(details.span),
            Self::Other(element) => element.key.span,
        }
    }
}

impl Elements {
    /// Adds one.
    pub(crate) fn push(&mut self, element: Element) {
        self.others.push(element);
    }

    /// Adds a word, or a decimal number without zeros before it, of the text of this number; returns whether it could: only
    /// before all others.
    pub(in super::super) fn push_word(&mut self, text: impl FnOnce(u32) -> Arc<String>, span: Span) -> bool {
        if !self.others.is_empty() || !(self.words.is_empty() || self.source == span.source) {
            return false;
        }
        if self.words.is_empty() {
            (self.source, self.text) = (span.source, text(span.source));
        }
        self.words.push((span.start, span.end));
        true
    }

    /// Whether there is one that is more than a word or a number.
    pub(in super::super) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.words.len() + self.others.len()
    }

    /// Whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let words = self.words.iter().map(|&(start, end)| {
            let text = bytes(start).zip(bytes(end)).and_then(|(start, end)| self.text.get(start..end));
            Entry::Word(text.unwrap_or(""), Span { source: self.source, start, end })
        });
        words.chain(self.others.iter().map(Entry::Other))
    }
}

fn bytes(at: u32) -> Option<usize> {
    usize::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were_and_in_their_order() {
        let mut elements = Elements::default();
        let text = |_| Arc::new("{ 10.0.0.1, 80, *, 81 }".to_owned());
        let span = |start, end| Span { source: 3, start, end };
        assert!(elements.push_word(text, span(2, 10)));
        assert!(elements.push_word(text, span(12, 14)));
        let other_source = Span { source: 4, start: 0, end: 1 };
        assert!(!elements.push_word(text, other_source));
        let wildcard = Expr { kind: ExprKind::Wildcard, span: span(16, 17) };
        elements.push(Element { key: wildcard, value: None, details: None });
        assert!(!elements.push_word(text, span(19, 21)));
        let shown: Vec<_> =
            elements.iter().map(|entry| (format!("{:?}", entry.element().key.kind), entry.span())).collect();
        let expected =
            [("Word(\"10.0.0.1\")", span(2, 10)), ("Number(80)", span(12, 14)), ("Wildcard", span(16, 17))];
        assert_eq!(shown, expected.map(|(kind, span)| (kind.to_owned(), span)));
        assert_eq!(elements.len(), 3);
    }
}

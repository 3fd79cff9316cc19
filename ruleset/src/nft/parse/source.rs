//! Texts, places in them, and what is wrong there.

use std::fmt::{self, Write};
use std::sync::Arc;

/// A place in a text: bytes from `start` to before `end` of the source with this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Which text
    pub source: u32,
    /// The first byte
    pub start: u32,
    /// The byte after the last one
    pub end: u32,
}

impl Span {
    /// From the start of this one to the end of another one in the same text.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        if self.source == other.source && other.end >= self.start {
            Self { end: other.end, ..self }
        } else {
            self
        }
    }
}

/// A text that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name; `None` for a command line
    pub name: Option<String>,
    /// The text, which what was read of it may share
    pub text: Arc<String>,
    /// The `include` that it came by
    pub included: Option<Span>,
}

/// All texts of one run.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The number of the first one
    first: u32,
    texts: Vec<Source>,
}

impl Sources {
    /// One text by itself, with the number that it has among others.
    pub(super) fn only(number: u32, text: Arc<String>) -> Self {
        Self { first: number, texts: vec![Source { name: None, text, included: None }] }
    }

    /// Adds a text; returns its number.
    pub fn add(&mut self, source: Source) -> u32 {
        self.texts.push(source);
        u32::try_from(self.texts.len() - 1).map_or(u32::MAX, |index| self.first.saturating_add(index))
    }

    /// The text with this number, to be kept; an empty one for a number that was never given.
    pub(super) fn share(&self, source: u32) -> Arc<String> {
        self.get(source).map(|source| Arc::clone(&source.text)).unwrap_or_default()
    }

    /// The text with this number; an empty one for a number that was never given.
    #[must_use]
    pub fn text(&self, source: u32) -> &str {
        self.get(source).map_or("", |source| &source.text)
    }

    /// What is at this place.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        let bounds = usize::try_from(span.start).ok().zip(usize::try_from(span.end).ok());
        bounds.and_then(|(start, end)| self.text(span.source).get(start..end)).unwrap_or("")
    }

    /// What is at this place, after where it is: `FILE:LINE:COLUMN-COLUMN: …`.
    #[must_use]
    pub fn quote(&self, span: Span) -> String {
        let Position { line, first, last, .. } = self.position(span);
        let name = self.get(span.source).and_then(|source| source.name.as_deref()).unwrap_or("<cmdline>");
        format!("{name}:{line}:{first}-{last}: {}", self.slice(span))
    }

    fn get(&self, source: u32) -> Option<&Source> {
        self.texts.get(usize::try_from(source.checked_sub(self.first)?).ok()?)
    }

    /// The line and the columns of a place, all from 1 on; columns count bytes, and the last one is included.
    fn position(&self, span: Span) -> Position<'_> {
        let text = self.text(span.source);
        let start = usize::try_from(span.start).unwrap_or(0).min(text.len());
        let end = usize::try_from(span.end).unwrap_or(0).clamp(start, text.len());
        let bytes = text.as_bytes();
        let begin = |at: usize| bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let (line_start, last_line_start) = (begin(start), begin(end.saturating_sub(1).max(start)));
        let line_end =
            bytes[start..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |at| start + at);
        Position {
            line: bytes[..start].iter().filter(|&&byte| byte == b'\n').count() + 1,
            first: start - line_start + 1,
            last: (end - last_line_start).max(1),
            text: text.get(line_start..line_end).unwrap_or(""),
        }
    }
}

struct Position<'a> {
    line: usize,
    first: usize,
    last: usize,
    text: &'a str,
}

/// Something in a text that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where; `None` where no text is to blame
    pub span: Option<Span>,
    /// What else it is about, underlined with `~`
    pub related: Option<Span>,
    /// What
    pub message: String,
}

impl Fault {
    /// A fault at a place.
    #[must_use]
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span: Some(span), related: None, message: message.into() }
    }

    /// The same, with something else that it is about.
    #[must_use]
    pub fn with(self, related: Span) -> Self {
        Self { related: Some(related), ..self }
    }

    /// As nft shows it: `FILE:LINE:COLUMN-COLUMN: Error: …`, the line, and carets below the place.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        let mut out = String::new();
        // A String takes everything.
        let _ = self.write(&mut out, sources);
        out
    }

    fn write(&self, out: &mut String, sources: &Sources) -> fmt::Result {
        let Some(span) = self.span else { return writeln!(out, "Error: {}", self.message) };
        let mut included = sources.get(span.source).and_then(|source| source.included);
        let mut prefix = "In file included from";
        while let Some(from) = included {
            let position = sources.position(from);
            let source = sources.get(from.source);
            let name = source.and_then(|source| source.name.as_deref()).unwrap_or("<cmdline>");
            writeln!(out, "{prefix} {name}:{}:{}-{}:", position.line, position.first, position.last)?;
            prefix = "                 from";
            included = source.and_then(|source| source.included);
        }
        let position = sources.position(span);
        if let Some(name) = sources.get(span.source).and_then(|source| source.name.as_deref()) {
            write!(out, "{name}:{}:{}-{}: ", position.line, position.first, position.last)?;
        }
        writeln!(out, "Error: {}", self.message)?;
        writeln!(out, "{}", position.text)?;
        let related = self.related.map(|related| sources.position(related));
        let end = related.as_ref().map_or(position.last, |related| related.last.max(position.last));
        let tabs = position.text.bytes().map(|byte| if byte == b'\t' { '\t' } else { ' ' });
        let mut marks: Vec<_> = tabs.chain(std::iter::repeat(' ')).take(end).collect();
        if let Some(related) = related {
            marks[(related.first - 1).min(related.last)..related.last].fill('~');
        }
        marks[(position.first - 1).min(position.last)..position.last].fill('^');
        writeln!(out, "{}", marks.into_iter().collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: Option<&str>, text: &str, included: Option<Span>) -> Source {
        Source { name: name.map(str::to_owned), text: Arc::new(text.to_owned()), included }
    }

    #[test]
    fn a_place_on_a_command_line() {
        let mut sources = Sources::default();
        let source = sources.add(source(None, "add rule t c foo bar\n", None));
        let fault = Fault::new(Span { source, start: 13, end: 16 }, "what");
        assert_eq!(fault.render(&sources), "Error: what\nadd rule t c foo bar\n             ^^^\n");
        let fault = fault.with(Span { source, start: 4, end: 8 });
        assert_eq!(fault.render(&sources), "Error: what\nadd rule t c foo bar\n    ~~~~     ^^^\n");
    }

    #[test]
    fn a_place_in_an_included_file() {
        let mut sources = Sources::default();
        let outer = sources.add(source(Some("a.nft"), "\ninclude \"b.nft\"\n", None));
        let from = Span { source: outer, start: 1, end: 16 };
        let inner = sources.add(source(Some("./b.nft"), "# one\n\tx y\n", Some(from)));
        let fault = Fault::new(Span { source: inner, start: 7, end: 8 }, "what");
        let shown = "In file included from a.nft:2:1-15:\n./b.nft:2:2-2: Error: what\n\tx y\n\t^\n";
        assert_eq!(fault.render(&sources), shown);
    }

    #[test]
    fn a_fault_without_a_place() {
        let fault = Fault { span: None, related: None, message: "what".to_owned() };
        assert_eq!(fault.render(&Sources::default()), "Error: what\n");
    }
}

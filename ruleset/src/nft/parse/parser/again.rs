//! Rules that are kept as where they are in their text: which are left unread, and how they are read.

use super::super::lexer::Kind;
use super::super::source::{Fault, Sources, Span};
use super::super::syntax::{KeptRule, Rule, Rules};
use super::{Frame, NoFiles, Parser};

impl Parser<'_> {
    /// Keeps the rule that comes next as its text, where it is plain without reading it that it ends with its line; returns
    /// whether it is.
    pub(super) fn leave_unread(&mut self, rules: &mut Rules) -> bool {
        let Span { source, start, .. } = self.peek().span;
        let rest = usize::try_from(start).ok().and_then(|start| self.sources.text(source).get(start..));
        let Some(len) = rest.and_then(line).and_then(|len| u32::try_from(len).ok()) else { return false };
        let span = Span { source, start, end: start.saturating_add(len) };
        if !rules.push_unread(span, |source| self.sources.share(source)) {
            return false;
        }
        if let Some(frame) = self.frames.last_mut() {
            *frame = Frame::new(source, usize::try_from(span.end).unwrap_or(usize::MAX));
        }
        (self.current, self.last) = (None, span);
        true
    }
}

/// How long the line is that a text begins with, without its end, where it has one and no more than a rule that needs nothing
/// of the text around it: no block, set or variable, no comment of the file's, nothing after a semicolon.
fn line(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' => return (!quoted).then_some(at),
            b'"' => quoted = !quoted,
            // Variables are read between quotes, too.
            b'$' => return None,
            _ if quoted => {}
            b'{' | b'}' | b'@' | b'#' | b';' | b'\\' => return None,
            _ => {}
        }
    }
    None
}

/// Hands over each rule of a chain.
///
/// # Errors
/// What is wrong with one that has not been read before.
pub(in crate::nft::parse) fn each_rule(rules: &Rules, each: &mut dyn FnMut(&Rule)) -> Result<(), Fault> {
    let (source, text) = rules.text();
    let mut sources = Sources::only(source, text.clone());
    let mut files = NoFiles;
    let mut parser = Parser::new(&mut sources, source, &mut files, Vec::new());
    for entry in rules.entries() {
        match entry {
            KeptRule::Tree(rule) => each(rule),
            KeptRule::Text(start) => {
                parser.last = Span { source, start: *start, end: *start };
                parser.current = None;
                parser.frames.clear();
                parser.frames.push(Frame::new(source, usize::try_from(*start).unwrap_or(usize::MAX)));
                let rule = parser.rule()?;
                // One that was read may end with a text that was included.
                if !parser.at(Kind::End) {
                    parser.end_in_block()?;
                }
                each(&rule);
            }
        }
    }
    Ok(())
}

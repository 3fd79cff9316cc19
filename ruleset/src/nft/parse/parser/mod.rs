//! From tokens to commands, by recursive descent (the grammar: nftables, src/parser_bison.y).

mod again;
mod block;
mod command;
mod expression;
mod object;
mod selector;
mod statement;
mod words;

use std::collections::HashMap;
use std::path::PathBuf;

use super::lexer::{self, Kind, Sign, Token};
use super::source::{Fault, Source, Sources, Span};
use super::syntax::{Command, Expr, Name};
use crate::nft::strerror;

pub(super) use again::each_rule;

/// Where `include` finds files.
pub trait Files {
    /// The files that an `include` names, in their order, each with its name and text; a pattern may name none.
    ///
    /// # Errors
    /// What keeps a file from being found or read.
    fn include(&mut self, path: &str) -> Result<Vec<(String, String)>, IncludeError>;
}

/// Why a file is not included, in nft's words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncludeError {
    /// There is none
    #[error("File not found: {0}")]
    NotFound(String),
    /// It cannot be read
    #[error("Could not open file \"{name}\": {}", strerror::of_io(error))]
    Open {
        /// The file's name
        name: String,
        /// Why
        error: std::io::Error,
    },
    /// A pattern is none, as a bracket in it is not closed
    #[error("Could not include \"{pattern}\": Pattern syntax error near position {position}: {what}")]
    Pattern {
        /// The pattern
        pattern: String,
        /// The character that is wrong, from 0
        position: usize,
        /// What is wrong with it
        what: &'static str,
    },
    /// A folder in which a pattern may match cannot be read
    #[error("Could not include \"{pattern}\": {}: {}", folder.display(), strerror::of_io(error))]
    Folder {
        /// The pattern
        pattern: String,
        /// The folder
        folder: PathBuf,
        /// Why
        error: std::io::Error,
    },
    /// A pattern matches a file whose name is not UTF-8
    #[error("{}: the name is not UTF-8", .0.display())]
    Name(PathBuf),
}

/// No files: every `include` fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn include(&mut self, path: &str) -> Result<Vec<(String, String)>, IncludeError> {
        Err(IncludeError::NotFound(path.to_owned()))
    }
}

/// Errors after which the rest of a text is not read (nftables, `parser_max_errors`).
const MAX_FAULTS: usize = 10;
/// Files inside each other (nftables, `MAX_INCLUDE_DEPTH`).
const MAX_INCLUDES: usize = 16;
/// Parentheses, sets and blocks inside each other.
const MAX_DEPTH: usize = 64;

/// What goes wrong inside: `()` where it was noted already.
type Parsed<T> = Result<T, Fault>;

/// Tokens that are looked at before the first of them is taken.
const AHEAD: usize = 3;

/// A text that is being read.
#[derive(Debug)]
struct Frame {
    source: u32,
    at: usize,
    /// What comes next, as far as it was looked at
    ahead: [Token; AHEAD],
    /// How many of them are known
    known: usize,
}

impl Frame {
    fn new(source: u32, at: usize) -> Self {
        let unknown = Token { kind: Kind::Junk, span: Span { source, start: 0, end: 0 } };
        Self { source, at, ahead: [unknown; AHEAD], known: 0 }
    }
}

/// Reads the text with this number.
///
/// # Errors
/// Everything that is wrong with it, in its order, at most ten; commands that are right are dropped.
pub fn parse(
    sources: &mut Sources,
    source: u32,
    files: &mut dyn Files,
    variables: &mut Variables,
) -> Result<Vec<Command>, Vec<Fault>> {
    read(sources, source, files, variables, false)
}

/// As [`parse`], but leaves rules of chains unread until they are carried out, where it is plain which text is theirs: so a
/// text of many rules is read once and not twice.
///
/// # Errors
/// What is wrong with all else. Where there is any, and where carrying out fails, [`parse`] says what is wrong with the text,
/// which comes first.
pub fn parse_all_but_rules(
    sources: &mut Sources,
    source: u32,
    files: &mut dyn Files,
    variables: &mut Variables,
) -> Result<Vec<Command>, Vec<Fault>> {
    read(sources, source, files, variables, true)
}

fn read(
    sources: &mut Sources,
    source: u32,
    files: &mut dyn Files,
    variables: &mut Variables,
    leaves_rules: bool,
) -> Result<Vec<Command>, Vec<Fault>> {
    let scopes = vec![std::mem::take(variables).0];
    let mut parser = Parser { leaves_rules, ..Parser::new(sources, source, files, scopes) };
    let commands = parser.text();
    *variables = Variables(parser.scopes.swap_remove(0));
    if parser.faults.is_empty() { Ok(commands) } else { Err(parser.faults) }
}

/// Variables of the outermost scope, which last from one text to the next.
#[derive(Clone, Debug, Default)]
pub struct Variables(HashMap<Box<str>, Expr>);

struct Parser<'a> {
    sources: &'a mut Sources,
    files: &'a mut dyn Files,
    frames: Vec<Frame>,
    /// Variables, the innermost scope last
    scopes: Vec<HashMap<Box<str>, Expr>>,
    faults: Vec<Fault>,
    /// The token that comes next: most are looked at several times
    current: Option<Token>,
    /// The token that was taken last
    last: Span,
    /// Tokens taken since the last fault
    shifted: usize,
    depth: usize,
    /// How many times a variable was read
    variables_read: usize,
    /// Whether rules of chains are left unread where that is possible
    leaves_rules: bool,
}

impl<'a> Parser<'a> {
    fn new(
        sources: &'a mut Sources,
        source: u32,
        files: &'a mut dyn Files,
        scopes: Vec<HashMap<Box<str>, Expr>>,
    ) -> Self {
        Self {
            sources,
            files,
            frames: vec![Frame::new(source, 0)],
            scopes,
            faults: Vec::new(),
            current: None,
            last: Span { source, start: 0, end: 0 },
            shifted: usize::MAX,
            depth: 0,
            variables_read: 0,
            leaves_rules: false,
        }
    }

    fn text(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        while self.faults.len() < MAX_FAULTS && !self.at(Kind::End) {
            match self.line() {
                Ok(command) => commands.extend(command),
                Err(fault) => self.recover(fault),
            }
        }
        commands
    }

    fn line(&mut self) -> Parsed<Option<Command>> {
        if self.separator() || self.common()? {
            return Ok(None);
        }
        let start = self.peek().span;
        let kind = self.command()?;
        let span = start.to(self.last);
        self.end_of_statement()?;
        Ok(Some(Command { kind, span }))
    }

    /// Notes a fault, and goes on after the end of the line.
    fn recover(&mut self, fault: Fault) {
        // As bison does: a fault just after another is its consequence.
        if self.shifted >= 3 {
            self.faults.push(fault);
        }
        self.depth = 0;
        while !matches!(self.peek().kind, Kind::Newline | Kind::Sign(Sign::Semicolon) | Kind::End) {
            self.next();
        }
        self.separator();
        self.shifted = 0;
    }

    /// Lines that may be anywhere: `include`, `define`, `redefine`, `undefine`. Returns whether there was one.
    fn common(&mut self) -> Parsed<bool> {
        match self.word() {
            "include" => {
                let start = self.next().span;
                let path = self.quoted()?;
                self.end_of_statement()?;
                let span = start.to(self.last);
                self.include(&path.text, span)?;
            }
            keyword @ ("define" | "redefine") => {
                let redefine = keyword == "redefine";
                self.next();
                let name = self.identifier()?;
                self.expect(Sign::Assign)?;
                let value = self.initializer()?;
                self.end_of_statement()?;
                let scope = self.scopes.last_mut();
                if let Some(scope) = scope {
                    if !redefine && scope.contains_key(&name.text) {
                        let message = format!("redefinition of symbol '{}'", name.text);
                        return Err(Fault::new(name.span, message));
                    }
                    scope.insert(name.text, value);
                }
            }
            "undefine" => {
                self.next();
                let name = self.identifier()?;
                self.end_of_statement()?;
                if self.scopes.last_mut().and_then(|scope| scope.remove(&name.text)).is_none() {
                    return Err(Fault::new(name.span, format!("undefined symbol '{}'", name.text)));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn include(&mut self, path: &str, span: Span) -> Parsed<()> {
        if self.frames.len() > MAX_INCLUDES {
            return Err(Fault::new(span, format!("Include nested too deeply, max {MAX_INCLUDES} levels")));
        }
        let files = self.files.include(path).map_err(|error| Fault::new(span, error.to_string()))?;
        for (name, text) in files.into_iter().rev() {
            let source =
                self.sources.add(Source { name: Some(name), text: text.into(), included: Some(span) });
            self.frames.push(Frame::new(source, 0));
        }
        self.current = None;
        Ok(())
    }

    fn variable(&mut self, name: &Name) -> Parsed<Expr> {
        self.variables_read += 1;
        if let Some(value) = self.scopes.iter().rev().find_map(|scope| scope.get(&name.text)) {
            return Ok(value.clone());
        }
        Err(Fault::new(name.span, format!("unknown identifier '{}'", name.text)))
    }

    // Tokens

    fn peek(&mut self) -> Token {
        if let Some(token) = self.current {
            return token;
        }
        let token = self.peek_at(0);
        self.current = Some(token);
        token
    }

    /// The token after `skip` others, fewer than [`AHEAD`]. Texts that have ended are left for those that include them.
    fn peek_at(&mut self, skip: usize) -> Token {
        match self.frames.last() {
            Some(frame) if skip < frame.known && frame.ahead[0].kind != Kind::End => frame.ahead[skip],
            _ => self.look_ahead(skip.min(AHEAD - 1)),
        }
    }

    fn look_ahead(&mut self, skip: usize) -> Token {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Token { kind: Kind::End, span: self.last };
            };
            while frame.known <= skip {
                let token = lexer::next(frame.source, self.sources.text(frame.source), frame.at);
                frame.at = usize::try_from(token.span.end).unwrap_or(usize::MAX);
                frame.ahead[frame.known] = token;
                frame.known += 1;
            }
            let (token, ended) = (frame.ahead[skip], frame.ahead[0].kind == Kind::End);
            if ended && self.frames.len() > 1 {
                self.frames.pop();
                continue;
            }
            return token;
        }
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        if token.kind != Kind::End
            && let Some(frame) = self.frames.last_mut()
        {
            frame.ahead.copy_within(1.., 0);
            frame.known -= 1;
            self.current = None;
            self.last = token.span;
            self.shifted = self.shifted.saturating_add(1);
        }
        token
    }

    fn text_of(&self, token: Token) -> &str {
        self.sources.slice(token.span)
    }

    /// The word that comes next, or an empty one.
    fn word(&mut self) -> &str {
        let token = self.peek();
        if token.kind == Kind::Word { self.text_of(token) } else { "" }
    }

    fn word_at(&mut self, skip: usize) -> &str {
        let token = self.peek_at(skip);
        if token.kind == Kind::Word { self.text_of(token) } else { "" }
    }

    fn at(&mut self, kind: Kind) -> bool {
        self.peek().kind == kind
    }

    fn at_sign(&mut self, sign: Sign) -> bool {
        self.at(Kind::Sign(sign))
    }

    /// Takes the sign if it comes next.
    fn sign(&mut self, sign: Sign) -> bool {
        let found = self.at_sign(sign);
        if found {
            self.next();
        }
        found
    }

    /// Takes the word if it comes next.
    fn keyword(&mut self, word: &str) -> bool {
        let found = self.word() == word;
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, sign: Sign) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected_instead_of(words::sign(sign))) }
    }

    fn expect_keyword(&mut self, word: &str) -> Parsed<()> {
        if self.keyword(word) { Ok(()) } else { Err(self.unexpected_instead_of(word)) }
    }

    /// What comes next is nothing that may.
    fn unexpected(&mut self) -> Fault {
        let token = self.peek();
        let what = words::describe(token.kind, self.text_of(token));
        Fault::new(token.span, format!("syntax error, unexpected {what}"))
    }

    /// As [`unexpected`](Self::unexpected), where it is known what may.
    fn unexpected_instead_of(&mut self, expected: &str) -> Fault {
        let fault = self.unexpected();
        Fault { message: format!("{}, expecting {expected}", fault.message), ..fault }
    }

    fn newlines(&mut self) {
        while self.at(Kind::Newline) {
            self.next();
        }
    }

    /// Takes the end of a line or a semicolon if it comes next.
    fn separator(&mut self) -> bool {
        let found = matches!(self.peek().kind, Kind::Newline | Kind::Sign(Sign::Semicolon));
        if found {
            self.next();
        }
        found
    }

    fn end_of_statement(&mut self) -> Parsed<()> {
        if self.separator() || self.at(Kind::End) {
            return Ok(());
        }
        Err(self.unexpected_instead_of("end of file or newline or semicolon"))
    }

    /// As [`end_of_statement`](Self::end_of_statement), or just before the brace that ends a block.
    fn end_in_block(&mut self) -> Parsed<()> {
        if self.at_sign(Sign::BraceClose) || self.separator() {
            return Ok(());
        }
        Err(self.unexpected_instead_of("newline or semicolon"))
    }

    fn identifier(&mut self) -> Parsed<Name> {
        if self.at(Kind::Word) { Ok(self.take()) } else { Err(self.unexpected_instead_of("string")) }
    }

    /// Any text: a word, between quotes, or with an asterisk.
    fn string(&mut self) -> Parsed<Name> {
        match self.peek().kind {
            Kind::Word | Kind::Asterisk | Kind::Value => Ok(self.take()),
            Kind::Quoted => self.quoted(),
            _ => {
                Err(self.unexpected_instead_of("string or quoted string or string with a trailing asterisk"))
            }
        }
    }

    fn quoted(&mut self) -> Parsed<Name> {
        if !self.at(Kind::Quoted) {
            return Err(self.unexpected());
        }
        let name = self.take();
        Ok(Name { text: unquoted(&name.text).into(), ..name })
    }

    fn take(&mut self) -> Name {
        let token = self.next();
        Name { text: self.text_of(token).into(), span: token.span }
    }

    fn number(&mut self) -> Parsed<u64> {
        let token = self.peek();
        let number = if token.kind == Kind::Number { parse_number(self.text_of(token)) } else { None };
        match number {
            Some(number) => {
                self.next();
                Ok(number)
            }
            None => Err(self.unexpected_instead_of("number")),
        }
    }

    /// A number of at most 32 bits.
    fn number_32(&mut self) -> Parsed<u32> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| Fault::new(self.last, format!("{number} exceeds 32 bits")))
    }

    /// A duration in milliseconds.
    fn duration(&mut self) -> Parsed<u64> {
        if !matches!(self.peek().kind, Kind::Value | Kind::Word | Kind::Quoted) {
            return Err(self.unexpected());
        }
        let text = self.string()?;
        parse_duration(&text.text).ok_or_else(|| Fault::new(text.span, "invalid time specification"))
    }

    /// A comment of something that has none yet.
    fn comment(&mut self, comment: &mut Option<Name>) -> Parsed<()> {
        let start = self.peek().span;
        self.expect_keyword("comment")?;
        let text = self.string()?;
        // NFTNL_UDATA_COMMENT_MAXLEN
        if text.text.len() > 128 {
            return Err(Fault::new(text.span, "comment too long, 128 characters maximum allowed"));
        }
        if comment.replace(text).is_some() {
            let message = "You can only specify this once. This statement is duplicated.";
            return Err(Fault::new(start.to(self.last), message));
        }
        Ok(())
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            let span = self.peek().span;
            return Err(Fault::new(span, format!("nested too deeply, max {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }
}

fn unquoted(text: &str) -> &str {
    text.get(1..text.len().saturating_sub(1)).unwrap_or("")
}

/// As strtoull(3) with base 0: hexadecimal after 0x, octal after 0.
fn parse_number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u64::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// Days, hours, minutes, seconds and milliseconds, as `1d2h3m4s5ms`, in milliseconds.
pub(in crate::nft::parse) fn parse_duration(text: &str) -> Option<u64> {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut rest, mut total, mut from) = (text, 0_u64, 0);
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().position(|byte| !byte.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..]
            .bytes()
            .position(|byte| byte.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        let index =
            units.iter().position(|(name, _)| *name == &rest[digits..unit]).filter(|index| *index >= from)?;
        total = total.checked_add(number.checked_mul(units[index].1)?)?;
        (from, rest) = (index + 1, &rest[unit..]);
    }
    Some(total)
}

#[cfg(test)]
mod tests;

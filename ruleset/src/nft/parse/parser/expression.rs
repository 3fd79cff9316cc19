//! Expressions.

use super::super::lexer::{self, Kind, Sign, Token};
use super::super::source::{Fault, Span};
use super::super::syntax::{Element, ElementDetails, Elements, Expr, ExprKind, Hash, Name, Verdict};
use super::{Frame, Parsed, Parser, parse_number, unquoted};
use crate::{Op, Operator};

/// On which side of a comparison an expression is: only on the left one can it be read from the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What is read
    Left,
    /// What it is compared with
    Right,
    /// What something is set to: either
    Value,
}

impl Parser<'_> {
    /// `expr`: what a match or a map begins with.
    pub(super) fn left(&mut self) -> Parsed<Expr> {
        if self.at_sign(Sign::BraceOpen) {
            return self.set();
        }
        let key = self.concat(Side::Left)?;
        if self.keyword("map") {
            let map = self.right()?;
            return Ok(pair(ExprKind::Map, key, map));
        }
        Ok(key)
    }

    /// `rhs_expr`: what is compared with.
    pub(super) fn right(&mut self) -> Parsed<Expr> {
        match self.peek().kind {
            Kind::Sign(Sign::BraceOpen) => self.set(),
            Kind::Sign(Sign::At) => self.set_name(),
            _ => self.concat(Side::Right),
        }
    }

    /// `rhs_expr` or `list_rhs_expr`.
    pub(super) fn right_or_list(&mut self) -> Parsed<Expr> {
        let first = self.right()?;
        self.list(first, Side::Right)
    }

    fn list(&mut self, first: Expr, side: Side) -> Parsed<Expr> {
        if !self.at_sign(Sign::Comma) {
            return Ok(first);
        }
        let mut span = first.span;
        let mut items = vec![first];
        while self.sign(Sign::Comma) {
            let item = self.binary(side, 0)?;
            span = span.to(item.span);
            items.push(item);
        }
        Ok(Expr { kind: ExprKind::List(items), span })
    }

    /// What a variable is: a value, a list or a set.
    pub(super) fn initializer(&mut self) -> Parsed<Expr> {
        if self.sign(Sign::Dash) {
            let start = self.last;
            let number = self.number()?;
            let span = start.to(self.last);
            return Ok(Expr { kind: ExprKind::Word(format!("-{number}").into()), span });
        }
        self.right_or_list()
    }

    /// `stmt_expr`: what something is set to.
    pub(super) fn value(&mut self) -> Parsed<Expr> {
        let first = self.concat(Side::Value)?;
        if self.keyword("map") {
            let map = match self.peek().kind {
                Kind::Sign(Sign::BraceOpen) => self.set()?,
                Kind::Sign(Sign::Dollar) => self.primary(Side::Right)?,
                _ => self.set_name()?,
            };
            return Ok(pair(ExprKind::Map, first, map));
        }
        self.list(first, Side::Value)
    }

    /// Expressions with dots between them.
    pub(super) fn concat(&mut self, side: Side) -> Parsed<Expr> {
        let first = self.multiton(side)?;
        if !self.at_sign(Sign::Dot) {
            return Ok(first);
        }
        let mut span = first.span;
        let mut parts = vec![first];
        while self.sign(Sign::Dot) {
            let part = self.multiton(side)?;
            span = span.to(part.span);
            parts.push(part);
        }
        Ok(Expr { kind: ExprKind::Concat(parts), span })
    }

    /// One value, a prefix or a range.
    pub(super) fn multiton(&mut self, side: Side) -> Parsed<Expr> {
        let value = self.binary(side, 0)?;
        if side == Side::Left {
            return Ok(value);
        }
        if self.at_sign(Sign::Slash) && self.peek_at(1).kind == Kind::Number {
            self.next();
            let len = self.number()?;
            let span = value.span.to(self.last);
            return Ok(Expr { kind: ExprKind::Prefix(Box::new(value), len), span });
        }
        if self.sign(Sign::Dash) {
            let to = self.binary(side, 0)?;
            return Ok(pair(ExprKind::Range, value, to));
        }
        Ok(value)
    }

    /// Operations on bits that bind at least so much: `|` binds least, then `^`, `&`, and shifts most.
    pub(super) fn binary(&mut self, side: Side, level: u8) -> Parsed<Expr> {
        let binds = |operator| match operator {
            Operator::Or => 0,
            Operator::Xor => 1,
            Operator::And => 2,
            Operator::ShiftLeft | Operator::ShiftRight => 3,
        };
        let mut left = self.primary(side)?;
        while let Some(operator) = self.operator().filter(|operator| binds(*operator) >= level) {
            self.next();
            // What a packet's field is combined with is a value, unless both are read.
            let right = if side == Side::Left { Side::Value } else { side };
            let right = self.binary(right, binds(operator) + 1)?;
            left = pair(|pair| ExprKind::Binary(operator, pair), left, right);
        }
        Ok(left)
    }

    fn operator(&mut self) -> Option<Operator> {
        Some(match self.peek().kind {
            Kind::Sign(Sign::And) => Operator::And,
            Kind::Sign(Sign::Or) => Operator::Or,
            Kind::Sign(Sign::Xor) => Operator::Xor,
            Kind::Sign(Sign::ShiftLeft) => Operator::ShiftLeft,
            Kind::Sign(Sign::ShiftRight) => Operator::ShiftRight,
            Kind::Word => match self.word() {
                "and" => Operator::And,
                "or" => Operator::Or,
                "xor" => Operator::Xor,
                "lshift" => Operator::ShiftLeft,
                "rshift" => Operator::ShiftRight,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// `==`, `!=` and so on, where one comes next.
    pub(super) fn comparison(&mut self) -> Option<Op> {
        let op = match self.peek().kind {
            Kind::Sign(Sign::Equal) => Op::Eq,
            Kind::Sign(Sign::NotEqual) => Op::Ne,
            Kind::Sign(Sign::Less) => Op::Lt,
            Kind::Sign(Sign::Greater) => Op::Gt,
            Kind::Sign(Sign::LessEqual) => Op::Le,
            Kind::Sign(Sign::GreaterEqual) => Op::Ge,
            Kind::Sign(Sign::Not) => Op::NotIn,
            Kind::Word => match self.word() {
                "eq" => Op::Eq,
                "ne" => Op::Ne,
                "lt" => Op::Lt,
                "gt" => Op::Gt,
                "le" => Op::Le,
                "ge" => Op::Ge,
                "not" => Op::NotIn,
                _ => return None,
            },
            _ => return None,
        };
        self.next();
        Some(op)
    }

    /// A value by itself.
    pub(super) fn primary(&mut self, side: Side) -> Parsed<Expr> {
        let token = self.peek();
        let text = |parser: &Self| parser.text_of(token).to_owned();
        let kind = match token.kind {
            Kind::Number => match parse_number(self.text_of(token)) {
                Some(number) => ExprKind::Number(number),
                None => ExprKind::Word(text(self).into()),
            },
            Kind::Word => return self.primary_word(side),
            Kind::Value => ExprKind::Word(text(self).into()),
            Kind::Bracketed | Kind::Quoted => {
                let inner = unquoted(&text(self)).into();
                if token.kind == Kind::Quoted { ExprKind::Quoted(inner) } else { ExprKind::Word(inner) }
            }
            Kind::Asterisk => ExprKind::Asterisk(text(self).into()),
            Kind::Sign(Sign::Dollar) => {
                self.next();
                let name = self.identifier()?;
                return self.variable(&name);
            }
            Kind::Sign(Sign::ParenthesisOpen) => {
                self.next();
                let inner = self.nested(|parser| parser.binary(side, 0))?;
                self.expect(Sign::ParenthesisClose)?;
                return Ok(inner);
            }
            Kind::Sign(Sign::At) if side != Side::Right => {
                let selector = self.raw_payload()?;
                return Ok(Expr {
                    kind: ExprKind::Selector(Box::new(selector)),
                    span: token.span.to(self.last),
                });
            }
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(Expr { kind, span: token.span })
    }

    /// A word is what is read from the packet, or a symbol.
    fn primary_word(&mut self, side: Side) -> Parsed<Expr> {
        let token = self.peek();
        if side == Side::Left || (side == Side::Value && self.begins_selector()) {
            if self.word() == "jhash" {
                let hash = self.hash()?;
                return Ok(Expr { kind: ExprKind::Hash(Box::new(hash)), span: token.span.to(self.last) });
            }
            if let Some(selector) = self.selector()? {
                return Ok(Expr {
                    kind: ExprKind::Selector(Box::new(selector)),
                    span: token.span.to(self.last),
                });
            }
        }
        self.next();
        Ok(Expr { kind: ExprKind::Word(self.text_of(token).into()), span: token.span })
    }

    fn hash(&mut self) -> Parsed<Hash> {
        self.expect_keyword("jhash")?;
        let of = self.nested(Self::left)?;
        self.expect_keyword("mod")?;
        let modulus = self.number_32()?;
        let seed = if self.keyword("seed") { Some(self.number_32()?) } else { None };
        let offset = if self.keyword("offset") { self.number_32()? } else { 0 };
        Ok(Hash { of, modulus, seed, offset })
    }

    /// `@name`, or a variable that is one.
    pub(super) fn set_name(&mut self) -> Parsed<Expr> {
        if self.at_sign(Sign::Dollar) {
            return self.primary(Side::Right);
        }
        let start = self.peek().span;
        self.expect(Sign::At)?;
        let name = self.identifier()?;
        Ok(Expr { kind: ExprKind::SetName(name.text), span: start.to(name.span) })
    }

    /// `{ one, other }`
    pub(super) fn set(&mut self) -> Parsed<Expr> {
        self.nested(|parser| {
            let start = parser.peek().span;
            parser.expect(Sign::BraceOpen)?;
            let mut elements = Elements::default();
            loop {
                parser.word_elements(&mut elements);
                parser.newlines();
                if parser.sign(Sign::BraceClose) {
                    break;
                }
                if !parser.word_element(&mut elements) {
                    elements.push(parser.element()?);
                }
                parser.newlines();
                if !parser.sign(Sign::Comma) {
                    parser.expect(Sign::BraceClose)?;
                    break;
                }
                // nft takes several of them for one.
                while parser.sign(Sign::Comma) {}
            }
            Ok(Expr { kind: ExprKind::Set(Box::new(elements)), span: start.to(parser.last) })
        })
    }

    /// Takes the elements that come next as far as each is a word, an address or a number alone with a comma after it: long
    /// sets have nothing else, and are read so without looking at any of it twice.
    fn word_elements(&mut self, elements: &mut Elements) {
        let Span { source, start, .. } = self.peek().span;
        if elements.has_others() {
            return;
        }
        let text = self.sources.text(source);
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        let (mut end, mut last, mut taken) = (start, None, 0_usize);
        let mut after_comma = false;
        loop {
            let word = lexer::next(source, text, place(end));
            match word.kind {
                Kind::Newline => after_comma = false,
                // nft takes several of them for one.
                Kind::Sign(Sign::Comma) if after_comma => {}
                Kind::Word | Kind::Value | Kind::Number => {
                    let comma = lexer::next(source, text, place(word.span.end));
                    let is_word = comma.kind == Kind::Sign(Sign::Comma)
                        && is_plain(word, text.get(place(word.span.start)..).unwrap_or(""));
                    if !is_word || !elements.push_word(|source| self.sources.share(source), word.span) {
                        break;
                    }
                    (last, after_comma) = (Some(comma.span), true);
                    (end, taken) = (comma.span.end, taken + 2);
                    continue;
                }
                _ => break,
            }
            (end, taken) = (word.span.end, taken + 1);
        }
        if let Some(last) = last
            && let Some(frame) = self.frames.last_mut()
        {
            *frame = Frame::new(source, place(end));
            (self.current, self.last) = (None, last);
            self.shifted = self.shifted.saturating_add(taken);
        }
    }

    /// Takes an element that is a word, an address or a number alone; returns whether one came next.
    fn word_element(&mut self, elements: &mut Elements) -> bool {
        let token = self.peek();
        if !matches!(token.kind, Kind::Word | Kind::Value | Kind::Number) {
            return false;
        }
        let alone = matches!(
            self.peek_at(1).kind,
            Kind::Newline | Kind::Sign(Sign::Comma) | Kind::Sign(Sign::BraceClose)
        );
        let taken = alone
            && is_plain(token, self.text_of(token))
            && elements.push_word(|source| self.sources.share(source), token.span);
        if taken {
            self.next();
        }
        taken
    }

    fn element(&mut self) -> Parsed<Element> {
        if self.at_sign(Sign::BraceOpen) {
            return Ok(Element { key: self.set()?, value: None, details: None });
        }
        let key = if self.at_sign(Sign::Asterisk) {
            let span = self.next().span;
            Expr { kind: ExprKind::Wildcard, span }
        } else {
            self.concat(Side::Right)?
        };
        let details = self.element_details()?;
        let value = if self.sign(Sign::Colon) { Some(self.element_value()?) } else { None };
        Ok(Element { key, value, details })
    }

    /// What a map has for a key: a verdict or a value.
    pub(super) fn element_value(&mut self) -> Parsed<Expr> {
        let start = self.peek().span;
        if let Some(verdict) = self.verdict()? {
            return Ok(Expr { kind: ExprKind::Verdict(Box::new(verdict)), span: start.to(self.last) });
        }
        self.concat(Side::Right)
    }

    pub(super) fn element_details(&mut self) -> Parsed<Option<Box<ElementDetails>>> {
        let mut details: Option<Box<ElementDetails>> = None;
        let start = self.peek().span;
        loop {
            match self.word() {
                "timeout" => {
                    self.next();
                    details.get_or_insert_default().timeout = Some(self.duration()?);
                }
                "expires" => {
                    self.next();
                    details.get_or_insert_default().expires = Some(self.duration()?);
                }
                "comment" => self.comment(&mut details.get_or_insert_default().comment)?,
                "counter" | "limit" | "quota" | "last" | "ct" => {
                    let statement = self.stateful()?;
                    details.get_or_insert_default().statements.push(statement);
                }
                _ => break,
            }
        }
        if let Some(details) = &mut details {
            details.span = start.to(self.last);
        }
        Ok(details)
    }

    /// A verdict, where one comes next.
    pub(super) fn verdict(&mut self) -> Parsed<Option<Verdict>> {
        let verdict = match self.word() {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "continue" => Verdict::Continue,
            "return" => Verdict::Return,
            keyword @ ("jump" | "goto") => {
                let goto = keyword == "goto";
                self.next();
                let chain = self.chain_name()?;
                return Ok(Some(if goto { Verdict::Goto(chain) } else { Verdict::Jump(chain) }));
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(verdict))
    }

    fn chain_name(&mut self) -> Parsed<Name> {
        if !self.at_sign(Sign::Dollar) {
            return self.identifier();
        }
        let start = self.next().span;
        let name = self.identifier()?;
        let value = self.variable(&name)?;
        match value.kind {
            ExprKind::Word(text) | ExprKind::Quoted(text) => Ok(Name { text, span: start.to(name.span) }),
            _ => Err(Fault::new(value.span, "not a chain's name")),
        }
    }
}

/// Whether a word or a number, with which this text begins, is what it looks like: a number is in decimal digits, and not too
/// large for one.
fn is_plain(token: Token, text: &str) -> bool {
    let len = token.span.end - token.span.start;
    token.kind != Kind::Number || len == 1 || !text.starts_with('0') && len < 20
}

fn pair(kind: impl FnOnce(Box<(Expr, Expr)>) -> ExprKind, left: Expr, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    Expr { kind: kind(Box::new((left, right))), span }
}

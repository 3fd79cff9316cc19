//! Statements.

mod log;
mod nat;
mod stateful;
mod update;

use super::super::lexer::{Kind, Sign};
use super::super::syntax::{Expr, ExprKind, Rule, Stmt, StmtKind};
use super::expression::Side;
use super::{Parsed, Parser};
use crate::Selector;
use crate::model::option::{OptionField, OptionKind};
use crate::model::statement::{NatKind, ObjectKind};
use nftwire::expr::MetaKey;

impl Parser<'_> {
    /// A rule: statements up to a comment or the end of the line.
    pub(super) fn rule(&mut self) -> Parsed<Rule> {
        let start = self.peek().span;
        let mut statements = Vec::with_capacity(4);
        statements.push(self.statement()?);
        let mut comment = None;
        loop {
            match self.peek().kind {
                Kind::Newline | Kind::End | Kind::Sign(Sign::Semicolon | Sign::BraceClose) => break,
                Kind::Sign(sign)
                    if !matches!(sign, Sign::At | Sign::Dollar | Sign::BraceOpen | Sign::ParenthesisOpen) =>
                {
                    return Err(self.unexpected_instead_of("end of file or newline or semicolon"));
                }
                _ if self.word() == "comment" => {
                    self.comment(&mut comment)?;
                    break;
                }
                _ => statements.push(self.statement()?),
            }
        }
        // A file may have many rules, and all of them are kept until the first is sent.
        statements.shrink_to_fit();
        Ok(Rule { statements, comment, span: start.to(self.last) })
    }

    fn statement(&mut self) -> Parsed<Stmt> {
        let start = self.peek().span;
        let kind = self.statement_kind()?;
        // As in nft, the first word stands for the statement, but a comparison for itself.
        let span = if matches!(kind, StmtKind::Match { .. }) { start.to(self.last) } else { start };
        Ok(Stmt { kind, span })
    }

    fn statement_kind(&mut self) -> Parsed<StmtKind> {
        match self.word() {
            "accept" | "drop" | "continue" | "return" | "jump" | "goto" => self.verdict_statement(),
            "counter" | "limit" | "quota" | "last" => self.stateful_or_named(),
            "ct" => self.ct_statement(),
            "log" => self.log(),
            "reject" => self.reject(),
            "snat" => self.nat(NatKind::Source),
            "dnat" => self.nat(NatKind::Destination),
            "masquerade" => self.nat(NatKind::Masquerade),
            "redirect" => self.nat(NatKind::Redirect),
            "tproxy" => self.tproxy(),
            "queue" => self.queue(),
            "notrack" => {
                self.next();
                Ok(StmtKind::NoTrack)
            }
            "flow" => self.flow(),
            "dup" => self.duplicate(),
            "fwd" => self.forward(),
            "add" | "update" | "delete" => self.update(),
            "set" => self.set_update(),
            "meter" => self.meter(),
            "synproxy" => self.synproxy(),
            "tunnel" => self.tunnel(),
            "reset" => self.reset_option(),
            _ => self.match_or_set(),
        }
    }

    fn verdict_statement(&mut self) -> Parsed<StmtKind> {
        if self.peek_at(1).kind == Kind::Sign(Sign::BraceOpen) && matches!(self.word(), "jump" | "goto") {
            return self.jump_block();
        }
        Ok(self.verdict()?.map_or(StmtKind::NoTrack, StmtKind::Verdict))
    }

    /// `flow add @…`, or a meter as older versions have it.
    fn flow(&mut self) -> Parsed<StmtKind> {
        if !matches!(self.word_at(1), "add" | "offload") {
            return self.flow_table();
        }
        self.next();
        self.next();
        self.expect(Sign::At)?;
        Ok(StmtKind::FlowAdd(self.string()?))
    }

    /// `tunnel name …`, or a match.
    fn tunnel(&mut self) -> Parsed<StmtKind> {
        if self.word_at(1) != "name" {
            return self.match_or_set();
        }
        self.next();
        self.next();
        Ok(StmtKind::Object(ObjectKind::Tunnel, self.value()?))
    }

    /// `reset tcp option …`
    fn reset_option(&mut self) -> Parsed<StmtKind> {
        if self.word_at(1) != "tcp" {
            return self.match_or_set();
        }
        self.next();
        self.next();
        self.expect_keyword("option")?;
        let (number, ..) = self.tcp_option_number()?;
        Ok(StmtKind::ResetOption(Selector::Option(OptionField::presence_of(OptionKind::Tcp, number))))
    }

    fn jump_block(&mut self) -> Parsed<StmtKind> {
        let goto = self.word() == "goto";
        self.next();
        self.expect(Sign::BraceOpen)?;
        self.nested(|parser| {
            let mut rules = Vec::new();
            while !parser.sign(Sign::BraceClose) {
                if parser.separator() {
                    continue;
                }
                rules.push(parser.rule()?);
                parser.end_in_block()?;
            }
            Ok(StmtKind::Block { goto, rules })
        })
    }

    /// What begins with something that is read: a match, a change of it, or a map of verdicts.
    fn match_or_set(&mut self) -> Parsed<StmtKind> {
        let left = self.left()?;
        if self.keyword("vmap") {
            let map = if self.at_sign(Sign::BraceOpen) { self.set()? } else { self.set_name()? };
            return Ok(StmtKind::VerdictMap(left, map));
        }
        if self.word() == "set"
            && let ExprKind::Selector(target) = &left.kind
        {
            let target = **target;
            self.next();
            let value = self.value()?;
            if target == Selector::Meta(MetaKey::SecMark) && !matches!(value.kind, ExprKind::Selector(_)) {
                return Ok(StmtKind::Object(ObjectKind::Secmark, value));
            }
            return Ok(StmtKind::Set(target, value));
        }
        let op = self.comparison();
        let right = self.right_or_list()?;
        let mask = if self.sign(Sign::Slash) {
            let first = self.binary(Side::Right, 0)?;
            Some(Box::new(self.list_of(first)?))
        } else {
            None
        };
        Ok(StmtKind::Match { left, op, right, mask })
    }

    fn list_of(&mut self, first: Expr) -> Parsed<Expr> {
        let mut span = first.span;
        let mut items = vec![first];
        while self.sign(Sign::Comma) {
            let item = self.binary(Side::Right, 0)?;
            span = span.to(item.span);
            items.push(item);
        }
        Ok(if items.len() == 1 { items.swap_remove(0) } else { Expr { kind: ExprKind::List(items), span } })
    }

    /// `ct count …`, `ct … set …`, or a match.
    fn ct_statement(&mut self) -> Parsed<StmtKind> {
        if self.word_at(1) == "count" {
            return Ok(self.stateful()?.kind);
        }
        let sets = self.word_at(2) == "set";
        let kind = match (self.word_at(1), sets) {
            ("helper", true) => ObjectKind::CtHelper,
            ("timeout", true) => ObjectKind::CtTimeout,
            ("expectation", true) => ObjectKind::CtExpectation,
            _ => return self.match_or_set(),
        };
        for _ in 0..3 {
            self.next();
        }
        Ok(StmtKind::Object(kind, self.value()?))
    }
}

//! Statements that change sets.

use super::super::super::lexer::Sign;
use super::super::super::source::Fault;
use super::super::super::syntax::{Element, ExprKind, Name, StmtKind, Update};
use super::super::expression::Side;
use super::super::{Parsed, Parser};
use crate::model::statement::UpdateOp;

impl Parser<'_> {
    /// `add @set { key : value }`
    pub(super) fn update(&mut self) -> Parsed<StmtKind> {
        let op = self.update_op()?;
        let set = self.set_reference()?;
        self.expect(Sign::BraceOpen)?;
        let mut key = self.update_key()?;
        if self.sign(Sign::Colon) {
            key.value = Some(self.update_key()?.key);
        }
        self.expect(Sign::BraceClose)?;
        Ok(StmtKind::Update(Box::new(Update { op, set, key, meter: None })))
    }

    /// The older `set add key @set`.
    pub(super) fn set_update(&mut self) -> Parsed<StmtKind> {
        self.next();
        let op = self.update_op()?;
        let key = self.update_key()?;
        let set = self.set_reference()?;
        Ok(StmtKind::Update(Box::new(Update { op, set, key, meter: None })))
    }

    pub(super) fn meter(&mut self) -> Parsed<StmtKind> {
        self.next();
        let set = self.identifier()?;
        let size = if self.keyword("size") { Some(self.number()?) } else { None };
        self.meter_body(set, size)
    }

    /// The older `flow table name { key statement }`.
    pub(super) fn flow_table(&mut self) -> Parsed<StmtKind> {
        self.next();
        self.expect_keyword("table")?;
        let set = self.identifier()?;
        self.meter_body(set, None)
    }

    fn meter_body(&mut self, set: Name, size: Option<u64>) -> Parsed<StmtKind> {
        self.expect(Sign::BraceOpen)?;
        let key = self.update_key()?;
        self.expect(Sign::BraceClose)?;
        Ok(StmtKind::Update(Box::new(Update { op: UpdateOp::Update, set, key, meter: Some(size) })))
    }

    fn update_op(&mut self) -> Parsed<UpdateOp> {
        let op = match self.word() {
            "add" => UpdateOp::Add,
            "update" => UpdateOp::Update,
            "delete" => UpdateOp::Delete,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(op)
    }

    fn set_reference(&mut self) -> Parsed<Name> {
        let name = self.set_name()?;
        match name.kind {
            ExprKind::SetName(text) => Ok(Name { text, span: name.span }),
            _ => Err(Fault::new(name.span, "not a set's name")),
        }
    }

    /// What is put into a set, with its own time and counters.
    fn update_key(&mut self) -> Parsed<Element> {
        let key = self.concat(Side::Left)?;
        let details = self.element_details()?;
        Ok(Element { key, value: None, details })
    }
}

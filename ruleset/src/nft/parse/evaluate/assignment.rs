//! Values that something is set to, and what maps have for what is read.

use super::super::source::{Fault, Span};
use super::super::syntax::{Expr, ExprKind};
use super::element::{is_integer, same_type, value_kinds};
use super::expression::{is_constant, is_unqualified};
use super::value::describe;
use super::{Evaluated, Evaluator, Kind};
use crate::{DataType, Expression, Map, Selector};

impl Evaluator<'_> {
    /// What something is set to.
    pub(super) fn value_of(&mut self, expr: &Expr, kinds: &[Kind]) -> Evaluated<Expression> {
        match &expr.kind {
            ExprKind::Map(pair) => self.map(&pair.0, &pair.1, kinds),
            _ if !is_constant(expr) => {
                let (value, kind) = self.read_one(expr)?;
                self.check_value(expr.span, kinds, &[kind], is_payload(&value))?;
                Ok(value)
            }
            ExprKind::Concat(_) => {
                Err(Fault::new(expr.span, "a concatenation is supported only in sets and maps"))
            }
            _ => match kinds {
                [kind] => self.interval(expr, *kind),
                _ => Err(Fault::new(expr.span, "several values are supported only in maps")),
            },
        }
    }

    /// Whether what is read may become a value of these types (`__stmt_evaluate_arg` in nftables' src/evaluate.c, 1.0.6): its type
    /// has to be the same, or a number's without a meaning; and what whole bytes of a packet hold as such has to be as long.
    pub(super) fn check_value(
        &self,
        span: Span,
        expected: &[Kind],
        found: &[Kind],
        is_payload: bool,
    ) -> Evaluated<()> {
        let several = expected.len() > 1;
        let fits = |(expected, found): (&Kind, &Kind)| {
            if !is_integer(found.data_type) || several {
                return same_type(expected.data_type, found.data_type);
            }
            !(is_payload && found.bits.is_multiple_of(8))
                || (!expected.data_type.is_text() && expected.bits == found.bits)
        };
        if expected.len() == found.len() && expected.iter().zip(found).all(fits) {
            return Ok(());
        }
        let mut message = format!(
            "datatype mismatch: expected {}, expression has type {}",
            describe_all(expected),
            describe_all(found)
        );
        if let [Kind { data_type, bits }] = found
            && is_integer(*data_type)
        {
            message.push_str(&format!(" with length {bits}"));
        }
        Err(Fault::new(span, message).with(self.statement.to(span)))
    }

    /// What several fields are set to.
    pub(super) fn values_of(&mut self, span: Span, parts: &[Expr], kinds: &[Kind]) -> Evaluated<Expression> {
        let (mut values, mut found) = (Vec::with_capacity(parts.len()), Vec::with_capacity(parts.len()));
        for (part, kind) in parts.iter().zip(kinds) {
            let (value, kind) = match is_constant(part) {
                true => (self.constant(part, *kind)?.into(), *kind),
                false => self.read_one(part)?,
            };
            values.push(value);
            found.push(kind);
        }
        self.check_value(span, kinds, &found, false)?;
        Ok(Expression::Concat(values))
    }

    /// `key map { … }`: what a map has for what is read.
    pub(super) fn map(&mut self, key: &Expr, map: &Expr, values: &[Kind]) -> Evaluated<Expression> {
        let read = self.read(key)?;
        if is_unqualified(&read.expression) {
            return Err(Fault::new(key.span, "specify either ip or ip6 for address matching"));
        }
        let map = match &map.kind {
            ExprKind::SetName(name) => {
                let set = self.set_named(name, map.span)?;
                if set.value.is_none() {
                    return Err(Fault::new(map.span, "Expression is not a map"));
                }
                self.check_key(&set, &read.kinds, map.span)?;
                self.check_value(
                    key.span.to(map.span),
                    values,
                    &value_kinds(&set).unwrap_or_default(),
                    false,
                )?;
                Expression::SetName(name.clone().into())
            }
            ExprKind::Set(elements) => {
                let elements = self.elements(elements.iter(), &read.kinds, Some(values), None)?;
                if elements.is_empty() {
                    return Err(Fault::new(map.span, "Set is empty"));
                }
                if elements.iter().any(|element| element.value.is_none()) {
                    return Err(Fault::new(map.span, "Expression is not a map"));
                }
                Expression::Set(elements)
            }
            _ => return Err(Fault::new(map.span, "Expression is not a map")),
        };
        let verdicts = matches!(values, [Kind { data_type: DataType::Verdict, .. }]);
        Ok(Expression::Map(Box::new(Map { key: read.expression, map, verdicts })))
    }
}

fn describe_all(kinds: &[Kind]) -> String {
    match kinds {
        [kind] => describe(kind.data_type).to_owned(),
        kinds => {
            let kinds: Vec<_> = kinds.iter().map(|kind| describe(kind.data_type)).collect();
            format!("concatenation of ({})", kinds.join(", "))
        }
    }
}

/// What is a part of a packet.
pub(super) fn is_payload(expression: &Expression) -> bool {
    matches!(expression, Expression::Selector(Selector::Payload(_) | Selector::Raw(_) | Selector::Inner(_)))
}

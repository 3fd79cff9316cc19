//! Elements of sets and maps.

use super::super::source::{Fault, Span};
use super::super::syntax::{self, Elements, Entry, Expr, ExprKind};
use super::expression::verdict;
use super::value::describe;
use super::{Evaluated, Evaluator, Kind};
use crate::{DataType, Element, ElementDetails, Expression, Set, SetValue};
use nftwire::uapi;

impl Evaluator<'_> {
    /// The elements with keys of these types; sets inside of the set become part of it.
    pub(super) fn elements<'e>(
        &mut self,
        elements: impl Iterator<Item = Entry<'e>>,
        keys: &[Kind],
        values: Option<&[Kind]>,
        set: Option<&Set>,
    ) -> Evaluated<Vec<Element>> {
        let mut evaluated = Vec::new();
        for entry in elements {
            let element = match (entry, keys) {
                (Entry::Word(text, span), [kind]) => {
                    let key = self.symbol(text, *kind, span)?;
                    evaluated.push(Element { key, value: None, details: None });
                    continue;
                }
                (entry, _) => entry.element(),
            };
            if let ExprKind::Set(inner) = &element.key.kind {
                let start = evaluated.len();
                evaluated.extend(self.nested(inner, keys, values, set)?);
                if let Some(value) = &element.value {
                    let value = self.element_value(value, values, set)?;
                    evaluated[start..].iter_mut().for_each(|element| element.value = Some(value.clone()));
                }
                continue;
            }
            evaluated.push(self.element(&element, keys, values, set)?);
        }
        Ok(evaluated)
    }

    /// As [`Self::elements`]; not generic, for it is called by it.
    fn nested(
        &mut self,
        elements: &Elements,
        keys: &[Kind],
        values: Option<&[Kind]>,
        set: Option<&Set>,
    ) -> Evaluated<Vec<Element>> {
        let all: &mut dyn Iterator<Item = Entry<'_>> = &mut elements.iter();
        self.elements(all, keys, values, set)
    }

    fn element(
        &mut self,
        element: &syntax::Element,
        keys: &[Kind],
        values: Option<&[Kind]>,
        set: Option<&Set>,
    ) -> Evaluated<Element> {
        let key = self.key(&element.key, keys)?;
        if let Some(set) = set {
            check_interval(set, &key, element.key.span)?;
        }
        let value = match &element.value {
            Some(value) => Some(self.element_value(value, values, set)?),
            None => None,
        };
        let details = match &element.details {
            Some(details) => Some(Box::new(self.details(details)?)),
            None => None,
        };
        Ok(Element { key, value, details })
    }

    fn key(&mut self, expr: &Expr, kinds: &[Kind]) -> Evaluated<Expression> {
        match (&expr.kind, kinds) {
            (ExprKind::Wildcard, _) => Ok(Expression::Wildcard),
            (ExprKind::SetName(_), _) => {
                Err(Fault::new(expr.span, "Set reference cannot be part of another set"))
            }
            (ExprKind::Concat(parts), [_, _, ..]) => {
                if parts.len() != kinds.len() {
                    return Err(parts_mismatch(expr.span, parts.len(), kinds));
                }
                let parts = parts.iter().zip(kinds).map(|(part, kind)| self.interval(part, *kind));
                Ok(Expression::Concat(parts.collect::<Result<_, _>>()?))
            }
            (_, [kind]) => self.interval(expr, *kind),
            _ => Err(parts_mismatch(expr.span, 1, kinds)),
        }
    }

    fn element_value(
        &mut self,
        value: &Expr,
        values: Option<&[Kind]>,
        set: Option<&Set>,
    ) -> Evaluated<Expression> {
        if let Some(Set { value: Some(SetValue::Object(_)), .. }) = set {
            return match &value.kind {
                ExprKind::Word(name) | ExprKind::Quoted(name) => Ok(Expression::Name(name.clone().into())),
                _ => Err(Fault::new(value.span, "not the name of an object")),
            };
        }
        let Some(kinds) = values else {
            return Err(Fault::new(value.span, "set elements have no values; a map has"));
        };
        match (&value.kind, kinds) {
            (ExprKind::Verdict(found), [Kind { data_type: DataType::Verdict, .. }]) => {
                Ok(Expression::Verdict(verdict(found)))
            }
            // The names of objects, as in `counter name ip saddr map { … }`
            (ExprKind::Word(name) | ExprKind::Quoted(name), []) => Ok(Expression::Name(name.clone().into())),
            (_, []) => Err(Fault::new(value.span, "not the name of an object")),
            _ => self.key(value, kinds),
        }
    }

    pub(super) fn details(&mut self, details: &syntax::ElementDetails) -> Evaluated<ElementDetails> {
        let statements = details.statements.iter().map(|statement| self.statement(statement));
        Ok(ElementDetails {
            timeout: details.timeout.unwrap_or(0),
            expires: details.expires.unwrap_or(0),
            comment: details.comment.as_ref().map(|comment| comment.text.clone().into()),
            statements: statements.collect::<Result<_, _>>()?,
        })
    }

    /// Whether what is read has the type of a set's keys.
    pub(super) fn check_key(&self, set: &Set, kinds: &[Kind], span: Span) -> Evaluated<()> {
        let alike = set.key.types.len() == kinds.len()
            && set.key.types.iter().zip(kinds).all(|(field, kind)| {
                same_type(field.data_type, kind.data_type)
                    || is_integer(field.data_type) && is_integer(kind.data_type)
            });
        if alike {
            return Ok(());
        }
        let names =
            |types: &mut dyn Iterator<Item = DataType>| types.map(describe).collect::<Vec<_>>().join(" . ");
        let expected = names(&mut kinds.iter().map(|kind| kind.data_type));
        let found = names(&mut set.key.types.iter().map(|field| field.data_type));
        Err(Fault::new(span, format!("datatype mismatch, expected {expected}, expression has type {found}")))
    }

    /// The types of what a map has for a key.
    pub(super) fn value_kinds(&mut self, name: &str, span: Span) -> Evaluated<Vec<Kind>> {
        Ok(value_kinds(&self.set_named(name, span)?).unwrap_or_default())
    }
}

/// The types of a set's keys.
pub(super) fn key_kinds(set: &Set) -> Vec<Kind> {
    let kind = |field: &crate::FieldType| Kind { data_type: field.data_type, bits: 8 * field.len };
    set.key.types.iter().map(kind).collect()
}

/// The types of what a map has for a key; `None` for a set.
pub(super) fn value_kinds(set: &Set) -> Option<Vec<Kind>> {
    match set.value.as_ref()? {
        SetValue::Data { data_type, .. } => {
            let kind = |field: &crate::FieldType| Kind { data_type: field.data_type, bits: 8 * field.len };
            Some(data_type.types.iter().map(kind).collect())
        }
        SetValue::Verdict => Some(vec![Kind { data_type: DataType::Verdict, bits: 32 }]),
        SetValue::Object(_) => Some(Vec::new()),
    }
}

pub(super) fn same_type(one: DataType, other: DataType) -> bool {
    one.set_number() == other.set_number()
}

pub(super) fn is_integer(data_type: DataType) -> bool {
    matches!(data_type, DataType::Integer | DataType::NetworkInteger | DataType::Hex)
}

fn parts_mismatch(span: Span, found: usize, kinds: &[Kind]) -> Fault {
    let expected = kinds.iter().map(|kind| describe(kind.data_type)).collect::<Vec<_>>().join(" . ");
    Fault::new(
        span,
        format!("datatype mismatch, expected {expected}, found {found} of {} values", kinds.len()),
    )
}

/// A range needs a set of ranges.
fn check_interval(set: &Set, key: &Expression, span: Span) -> Evaluated<()> {
    if set.flags & uapi::NFT_SET_INTERVAL != 0 {
        return Ok(());
    }
    let name = |key: &Expression| match key {
        Expression::Prefix(_) => Some("prefix"),
        Expression::Range(_) => Some("range"),
        _ => None,
    };
    let found = match key {
        Expression::Concat(parts) => parts.iter().find_map(name),
        key => name(key),
    };
    let Some(found) = found else { return Ok(()) };
    let kind = if set.value.is_some() { "map" } else { "set" };
    let message = format!(
        "You must add 'flags interval' to your {kind} declaration if you want to add {found} elements"
    );
    Err(Fault::new(span, message))
}

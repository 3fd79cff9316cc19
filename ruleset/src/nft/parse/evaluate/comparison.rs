//! Comparisons.

use nftwire::expr::{CtKey, MetaKey};
use smallvec::smallvec;

use super::super::source::{Fault, Span};
use super::super::syntax::{self, Expr, ExprKind};
use super::expression::{Read, combine, is_unqualified, kind_of};
use super::{Evaluated, Evaluator, Kind};
use crate::model::selector::Fib;
use crate::{Binary, Constant, DataType, Element, Expression, Op, Operator, Range, Selector, Statement};

impl Evaluator<'_> {
    /// `left OP right`
    pub(super) fn comparison(
        &mut self,
        left: &Expr,
        op: Option<Op>,
        right: &Expr,
        mask: Option<&Expr>,
    ) -> Evaluated<Statement> {
        let Read { mut expression, mut kinds } = self.read(left)?;
        if let Expression::Selector(selector) = &mut expression
            && is_presence(right)
        {
            presence(selector);
            kinds = smallvec![kind_of(*selector)];
        }
        if let Some(mask) = mask {
            let [kind] = kinds.as_slice() else { return Err(Fault::new(mask.span, "not a flag")) };
            let mask = self.constant(mask, *kind)?;
            let value = self.constant(right, *kind)?;
            let op = op.unwrap_or(Op::Eq);
            let left =
                Expression::binary(expression, Operator::And, Expression::flags(kind.data_type, mask.data));
            return Ok(Statement::Match { left, op, right: Expression::flags(kind.data_type, value.data) });
        }
        match &right.kind {
            ExprKind::Set(elements) => {
                // As in nft, a set of one value is that value.
                if let Some(value) = only_value(elements) {
                    let [kind] = kinds.as_slice() else {
                        return Err(Fault::new(right.span, "a value for each part is needed"));
                    };
                    return self.singleton(expression, op, &value, *kind);
                }
                if elements.is_empty() {
                    return Err(Fault::new(right.span, "Set is empty"));
                }
                let op = equality(op, right.span)?;
                if is_unqualified(&expression) {
                    return Err(Fault::new(left.span, "specify either ip or ip6 for address matching"));
                }
                let elements = self.elements(elements.iter(), &kinds, None, None)?;
                if let (Expression::Selector(selector), Op::Eq) = (&expression, op) {
                    for element in &elements {
                        if let Expression::Constant(constant) = &element.key {
                            self.context.learn_one_of(selector, constant.number().unwrap_or(0));
                        }
                    }
                }
                let (left, right) = without_xor(expression, Expression::Set(elements));
                Ok(Statement::Match { left, op, right })
            }
            ExprKind::SetName(name) => {
                let op = equality(op, right.span)?;
                if let Some(set) = self.known_set(name, right.span)? {
                    self.check_key(&set, &kinds, right.span)?;
                }
                Ok(Statement::Match { left: expression, op, right: Expression::SetName(name.clone().into()) })
            }
            _ => {
                let [kind] = kinds.as_slice() else {
                    let message = "Use concatenations with sets and maps, not singleton values";
                    return Err(Fault::new(left.span, message).with(right.span));
                };
                self.singleton(expression, op, right, *kind)
            }
        }
    }

    fn singleton(
        &mut self,
        left: Expression,
        op: Option<Op>,
        right: &Expr,
        kind: Kind,
    ) -> Evaluated<Statement> {
        if matches!(
            left,
            Expression::Selector(Selector::Meta(MetaKey::SecMark) | Selector::Ct(CtKey::Secmark))
        ) {
            return Err(Fault::new(right.span, "Cannot be used with right hand side constant value"));
        }
        if let ExprKind::Range(ends) = &right.kind
            && left == Expression::Selector(Selector::Meta(MetaKey::TimeHour))
        {
            return self.hours(left, op, ends, right.span);
        }
        let (left, value) = without_xor(left, self.interval(right, kind)?);
        let single = matches!(value, Expression::Constant(_));
        let flags = kind.data_type.has_flags() && single;
        let op = match op {
            None if flags && matches!(left, Expression::Selector(_)) => Op::In,
            None | Some(Op::Eq) => Op::Eq,
            Some(Op::NotIn) => {
                if matches!(left, Expression::Binary(_)) {
                    return Err(Fault::new(right.span, "cannot combine negation with binary expression"));
                }
                if !flags {
                    let message = "negation can only be used with singleton bitmask values";
                    return Err(Fault::new(right.span, message));
                }
                Op::NotIn
            }
            Some(Op::Ne) => Op::Ne,
            Some(op) if !single => {
                let message = format!(
                    "Relational expression ({}) is undefined for this expression",
                    op.sign().unwrap_or("")
                );
                return Err(Fault::new(right.span, message));
            }
            Some(op) => op,
        };
        let value = match value {
            Expression::Constant(constant) => {
                if let (Expression::Selector(selector), Op::Eq) = (&left, op)
                    && let Some(number) = constant.number()
                {
                    self.context.learn(selector, number);
                }
                match op {
                    Op::In | Op::NotIn => Expression::flags(constant.data_type, constant.data),
                    _ => constant.into(),
                }
            }
            value => value,
        };
        Ok(Statement::Match { left, op, right: value })
    }

    /// `meta hour "22:00"-"06:00"` is all but what is between.
    fn hours(
        &mut self,
        left: Expression,
        op: Option<Op>,
        ends: &(Expr, Expr),
        span: Span,
    ) -> Evaluated<Statement> {
        let kind = Kind::new(DataType::Hour);
        let (mut from, mut to) = (self.constant(&ends.0, kind)?, self.constant(&ends.1, kind)?);
        let mut op = equality(op, span)?;
        if from.number() > to.number() {
            (from, to) = (to, from);
            op = if op == Op::Eq { Op::Ne } else { Op::Eq };
        }
        let right = Expression::Range(Box::new(Range { from: from.into(), to: to.into() }));
        Ok(Statement::Match { left, op, right })
    }
}

/// The only value of a set that has one, with nothing else.
fn only_value(elements: &syntax::Elements) -> Option<Expr> {
    let mut entries = elements.iter();
    let (Some(only), None) = (entries.next(), entries.next()) else { return None };
    let syntax::Element { key, value: None, details } = only.element().into_owned() else { return None };
    let counts = details.as_ref().is_some_and(|details| !details.statements.is_empty());
    let is_set = matches!(
        key.kind,
        ExprKind::Concat(_) | ExprKind::Set(_) | ExprKind::SetName(_) | ExprKind::Wildcard
    );
    (!counts && !is_set).then_some(key)
}

/// `==`, `!=` or nothing.
fn equality(op: Option<Op>, span: Span) -> Evaluated<Op> {
    match op {
        None | Some(Op::Eq) => Ok(Op::Eq),
        Some(Op::Ne) => Ok(Op::Ne),
        Some(Op::NotIn) => Err(Fault::new(span, "negation can only be used with singleton bitmask values")),
        Some(op) => {
            let sign = op.sign().unwrap_or("");
            Err(Fault::new(span, format!("Relational expression ({sign}) is undefined for set expressions")))
        }
    }
}

fn is_presence(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Word(word) if matches!(&**word, "exists" | "missing"))
}

/// Only whether there is one.
fn presence(selector: &mut Selector) {
    if let Selector::Fib(fib) = selector {
        fib.flags |= Fib::PRESENT;
    }
}

/// `mark ^ 3 == 1` is `mark == 2`, also of each value of a set: nft moves the constant to the other side (`binop_transfer`,
/// src/evaluate.c of 1.0.6).
fn without_xor(left: Expression, right: Expression) -> (Expression, Expression) {
    match (left, right) {
        (Expression::Binary(binary), Expression::Constant(value)) if binary.operator == Operator::Xor => {
            match *binary {
                Binary { left, right: Expression::Constant(own), .. } => {
                    let data = combine(Operator::Xor, &value.data, &own.data);
                    without_xor(left, Constant { data, ..value }.into())
                }
                binary => (Expression::Binary(Box::new(binary)), value.into()),
            }
        }
        (Expression::Binary(binary), Expression::Set(elements))
            if binary.operator == Operator::Xor
                && elements.iter().all(|element| matches!(element.key, Expression::Constant(_))) =>
        {
            match *binary {
                Binary { left, right: Expression::Constant(own), .. } => {
                    let moved = elements.into_iter().map(|element| match element.key {
                        Expression::Constant(value) => {
                            let data = combine(Operator::Xor, &value.data, &own.data);
                            Element { key: Constant { data, ..value }.into(), ..element }
                        }
                        key => Element { key, ..element },
                    });
                    without_xor(left, Expression::Set(moved.collect()))
                }
                binary => (Expression::Binary(Box::new(binary)), Expression::Set(elements)),
            }
        }
        unchanged => unchanged,
    }
}

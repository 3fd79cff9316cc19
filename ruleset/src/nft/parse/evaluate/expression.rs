//! Expressions.

use nftwire::Family;
use nftwire::expr::{CtKey, MetaKey, RtKey, SocketKey};

use super::super::source::{Fault, Span};
use super::super::syntax::{self, Expr, ExprKind, NEXT_HOP};
use super::element::{is_integer, same_type, value_kinds};
use super::value::describe;
use super::{Evaluated, Evaluator, Kind, value};
use crate::model::selector::{CtOf, Fib};
use crate::{
    Binary, Constant, Data, DataType, Element, Expression, Hash, Map, Op, Operator, Prefix, Range, Selector,
    Statement, Verdict,
};

/// What is read, and the types of its parts.
pub(super) struct Read {
    pub(super) expression: Expression,
    pub(super) kinds: Vec<Kind>,
}

impl Evaluator<'_> {
    /// What is read from a packet.
    pub(super) fn read(&mut self, expr: &Expr) -> Evaluated<Read> {
        match &expr.kind {
            ExprKind::Concat(parts) => {
                let (mut read, mut kinds) =
                    (Vec::with_capacity(parts.len()), Vec::with_capacity(parts.len()));
                for part in parts {
                    let (expression, kind) = self.read_one(part)?;
                    if kind.bits == 0 || is_unqualified(&expression) {
                        return Err(Fault::new(
                            part.span,
                            "can not use variable sized data types (string) in concat expressions",
                        ));
                    }
                    read.push(expression);
                    kinds.push(kind);
                }
                Ok(Read { expression: Expression::Concat(read), kinds })
            }
            _ => {
                let (expression, kind) = self.read_one(expr)?;
                Ok(Read { expression, kinds: vec![kind] })
            }
        }
    }

    fn read_one(&mut self, expr: &Expr) -> Evaluated<(Expression, Kind)> {
        match &expr.kind {
            ExprKind::Selector(selector) => {
                let selector = self.selector(**selector, expr.span)?;
                Ok((selector.into(), kind_of(selector)))
            }
            ExprKind::Binary(operator, operands) => {
                let (left, kind) = self.read_one(&operands.0)?;
                let right = self.operand(&operands.1, *operator, kind)?;
                Ok((Expression::binary(left, *operator, right), kind))
            }
            ExprKind::Hash(hash) => Ok((self.hash(hash)?, Kind { data_type: DataType::Integer, bits: 32 })),
            ExprKind::Map(pair) => {
                let kind = match &pair.1.kind {
                    ExprKind::SetName(name) => self.value_kinds(name, pair.1.span)?,
                    _ => return Err(Fault::new(pair.1.span, "Expression is not a map")),
                };
                let [kind] = kind.as_slice() else {
                    return Err(Fault::new(expr.span, "a map of several values cannot be compared"));
                };
                Ok((self.map(&pair.0, &pair.1, std::slice::from_ref(kind))?, *kind))
            }
            _ => Err(Fault::new(expr.span, "Relational expression has constant value")),
        }
    }

    /// What an operation on bits does with what was read.
    fn operand(&mut self, expr: &Expr, operator: Operator, kind: Kind) -> Evaluated<Expression> {
        if let ExprKind::Selector(_) | ExprKind::Hash(_) = expr.kind {
            return Ok(self.read_one(expr)?.0);
        }
        if let ExprKind::Binary(..) = expr.kind
            && !is_constant(expr)
        {
            return Ok(self.read_one(expr)?.0);
        }
        if matches!(operator, Operator::ShiftLeft | Operator::ShiftRight) {
            let bits = match &expr.kind {
                ExprKind::Number(bits) => u32::try_from(*bits).ok(),
                _ => None,
            };
            let Some(bits) = bits.filter(|bits| *bits < kind.bits) else {
                return Err(Fault::new(expr.span, format!("shift of more than {} bits", kind.bits)));
            };
            return Ok(Expression::constant(DataType::Integer, Data::ne32(bits)));
        }
        let constant = self.constant(expr, kind)?;
        let flags = kind.data_type.has_flags() && operator == Operator::And;
        Ok(if flags { Expression::flags(kind.data_type, constant.data) } else { constant.into() })
    }

    fn hash(&mut self, hash: &syntax::Hash) -> Evaluated<Expression> {
        let of = self.read(&hash.of)?.expression;
        let syntax::Hash { modulus, seed, offset, .. } = *hash;
        Ok(Expression::Hash(Box::new(Hash { of, modulus, offset, seed })))
    }

    /// A selector with what the context adds to it.
    pub(super) fn selector(&mut self, selector: Selector, span: Span) -> Evaluated<Selector> {
        match selector {
            Selector::Payload(field) => {
                let used = self.context.use_field(&field);
                used.map_err(|conflict| conflict.at(span))?;
                Ok(selector)
            }
            Selector::Meta(MetaKey::NfProto) if !matches!(self.context.family, Family::Inet) => {
                Err(Fault::new(span, "meta nfproto is only useful in the inet family"))
            }
            Selector::CtOf(of @ CtOf { key: CtKey::Src | CtKey::Dst, .. }) => match self.context.network() {
                Some(family) => Ok(Selector::CtOf(CtOf { family: Some(family), ..of })),
                None => Err(Fault::new(span, "specify either ip or ip6 for address matching")),
            },
            Selector::CtOf(CtOf { key: CtKey::SrcIp | CtKey::DstIp, .. }) | Selector::Rt(RtKey::NextHop4) => {
                self.context.use_family(Family::Ipv4).map_err(|conflict| conflict.at(span))?;
                Ok(selector)
            }
            Selector::CtOf(CtOf { key: CtKey::SrcIp6 | CtKey::DstIp6, .. })
            | Selector::Rt(RtKey::NextHop6) => {
                self.context.use_family(Family::Ipv6).map_err(|conflict| conflict.at(span))?;
                Ok(selector)
            }
            Selector::Rt(NEXT_HOP) => match self.context.network() {
                Some(Family::Ipv4) => Ok(Selector::Rt(RtKey::NextHop4)),
                Some(_) => Ok(Selector::Rt(RtKey::NextHop6)),
                None => Err(Fault::new(
                    span,
                    "cannot determine ip protocol version, use \"ip nexthop\" or \"ip6 nexthop\" instead",
                )),
            },
            selector => Ok(selector),
        }
    }

    /// A constant of this type: a word, digits, flags, or operations on them.
    pub(super) fn constant(&mut self, expr: &Expr, kind: Kind) -> Evaluated<Constant> {
        let expression = match &expr.kind {
            ExprKind::Number(number) => self.symbol(&number.to_string(), kind, expr.span)?,
            ExprKind::Word(text) | ExprKind::Quoted(text) => self.symbol(text, kind, expr.span)?,
            ExprKind::Asterisk(text) if kind.data_type.is_text() => self.symbol(text, kind, expr.span)?,
            ExprKind::List(items) => {
                if !kind.data_type.is_bitmask() {
                    let message = format!("Basetype of type {} is not bitmask", describe(kind.data_type));
                    return Err(Fault::new(expr.span, message));
                }
                let mut all = value::number(0, kind, expr.span)?;
                for item in items {
                    let flag = self.constant(item, kind)?;
                    all.data = combine(Operator::Or, &all.data, &flag.data);
                }
                return Ok(all);
            }
            ExprKind::Binary(operator, operands) => {
                let left = self.constant(&operands.0, kind)?;
                let (ExprKind::Number(bits), Operator::ShiftLeft | Operator::ShiftRight) =
                    (&operands.1.kind, operator)
                else {
                    let right = self.constant(&operands.1, kind)?;
                    return Ok(Constant::new(kind.data_type, combine(*operator, &left.data, &right.data)));
                };
                let number = left.number().unwrap_or(0);
                let bits = u32::try_from(*bits).unwrap_or(u32::MAX);
                let shifted = match operator {
                    Operator::ShiftLeft => number.checked_shl(bits),
                    _ => number.checked_shr(bits),
                };
                return value::number(shifted.unwrap_or(0), kind, expr.span);
            }
            _ => return Err(mismatch(expr, kind)),
        };
        match expression {
            Expression::Constant(constant) => Ok(constant),
            _ => Err(mismatch(expr, kind)),
        }
    }

    /// A constant, a prefix or a range.
    pub(super) fn interval(&mut self, expr: &Expr, kind: Kind) -> Evaluated<Expression> {
        match &expr.kind {
            ExprKind::Prefix(base, len) => self.prefix(base, *len, kind, expr.span),
            ExprKind::Range(ends) if kind.data_type.is_text() => {
                let message = format!("Range expression is undefined for {} types", describe(kind.data_type));
                Err(Fault::new(ends.0.span, message).with(expr.span))
            }
            ExprKind::Range(ends) => {
                let (from, to) = (self.constant(&ends.0, kind)?, self.constant(&ends.1, kind)?);
                if from.most_significant_first() > to.most_significant_first() {
                    return Err(Fault::new(expr.span, "Range has zero or negative size"));
                }
                Ok(Expression::Range(Box::new(Range { from: from.into(), to: to.into() })))
            }
            _ => Ok(self.constant(expr, kind)?.into()),
        }
    }

    fn prefix(&mut self, base: &Expr, len: u64, kind: Kind, span: Span) -> Evaluated<Expression> {
        if kind.data_type.is_text() {
            return Err(Fault::new(
                span,
                format!("Prefix expression is undefined for {} types", describe(kind.data_type)),
            ));
        }
        let constant = self.constant(base, kind)?;
        let len = u32::try_from(len).ok().filter(|len| *len <= kind.bits).ok_or_else(|| {
            Fault::new(span, format!("Prefix length {len} is invalid for type of {} bits width", kind.bits))
        })?;
        let all = if kind.bits >= 128 { u128::MAX } else { (1_u128 << kind.bits) - 1 };
        let mask = all & all.checked_shl(kind.bits - len).unwrap_or(0);
        let number = constant.number().unwrap_or(0) & mask;
        let value = value::number(number, kind, base.span)?.into();
        Ok(Expression::Prefix(Box::new(Prefix { value, len })))
    }

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
            kinds = vec![kind_of(*selector)];
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

pub(super) fn verdict(verdict: &syntax::Verdict) -> Verdict {
    match verdict {
        syntax::Verdict::Accept => Verdict::Accept,
        syntax::Verdict::Drop => Verdict::Drop,
        syntax::Verdict::Continue => Verdict::Continue,
        syntax::Verdict::Return => Verdict::Return,
        syntax::Verdict::Jump(chain) => Verdict::Jump(chain.text.to_string().into()),
        syntax::Verdict::Goto(chain) => Verdict::Goto(chain.text.to_string().into()),
    }
}

/// The type of what a selector reads.
pub(super) fn kind_of(selector: Selector) -> Kind {
    let data_type = selector.data_type();
    let bits = match selector {
        Selector::Payload(field) => u32::from(field.len),
        Selector::Raw(raw) => raw.len,
        Selector::Option(option) if !option.presence => u32::from(option.len),
        Selector::Socket(SocketKey::Transparent | SocketKey::Wildcard, _) => 1,
        selector => match data_type.size() {
            0 => 8 * crate::nft::decompile::loaded_len(selector),
            size => {
                8 * size.min(match selector {
                    Selector::Meta(MetaKey::NfTrace) => 1,
                    _ => u32::MAX,
                })
            }
        },
    };
    Kind { data_type, bits }
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

/// An address of a connection whose family follows from the table alone: it can be compared, but not looked up.
fn is_unqualified(expression: &Expression) -> bool {
    matches!(expression, Expression::Selector(Selector::CtOf(CtOf { key: CtKey::Src | CtKey::Dst, .. })))
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

fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Binary(_, operands) => is_constant(&operands.0) && is_constant(&operands.1),
        ExprKind::Selector(_) | ExprKind::Hash(_) | ExprKind::Map(_) => false,
        _ => true,
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

fn combine(operator: Operator, left: &Data, right: &Data) -> Data {
    let bytes = left.as_bytes().iter().zip(right.as_bytes());
    let bytes: Vec<_> = bytes
        .map(|(left, right)| match operator {
            Operator::And => left & right,
            Operator::Or => left | right,
            Operator::Xor => left ^ right,
            Operator::ShiftLeft | Operator::ShiftRight => *left,
        })
        .collect();
    Data::new(&bytes)
}

fn mismatch(expr: &Expr, kind: Kind) -> Fault {
    let found = match &expr.kind {
        ExprKind::Set(_) => "a set",
        ExprKind::SetName(_) => "a set reference",
        ExprKind::Concat(_) => "a concatenation",
        ExprKind::Verdict(_) => "a verdict",
        ExprKind::Prefix(..) => "a prefix",
        ExprKind::Range(_) => "a range",
        ExprKind::Wildcard => "a wildcard",
        _ => "something else",
    };
    Fault::new(expr.span, format!("datatype mismatch, expected {}, found {found}", describe(kind.data_type)))
}

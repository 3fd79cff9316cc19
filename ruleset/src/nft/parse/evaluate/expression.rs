//! What is read from packets, and constants.

use nftwire::Family;
use nftwire::expr::{CtKey, MetaKey, RtKey, SocketKey};
use smallvec::{SmallVec, smallvec};

use super::super::source::{Fault, Span};
use super::super::syntax::{self, Expr, ExprKind, NEXT_HOP};
use super::value::describe;
use super::{Evaluated, Evaluator, Kind, value};
use crate::model::selector::CtOf;
use crate::{Constant, Data, DataType, Expression, Hash, Operator, Prefix, Range, Selector, Verdict};

/// What is read, and the types of its parts.
pub(super) struct Read {
    pub(super) expression: Expression,
    /// Mostly one
    pub(super) kinds: SmallVec<[Kind; 1]>,
}

impl Evaluator<'_> {
    /// What is read from a packet.
    pub(super) fn read(&mut self, expr: &Expr) -> Evaluated<Read> {
        match &expr.kind {
            ExprKind::Concat(parts) => {
                let (mut read, mut kinds) =
                    (Vec::with_capacity(parts.len()), SmallVec::with_capacity(parts.len()));
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
                Ok(Read { expression, kinds: smallvec![kind] })
            }
        }
    }

    pub(super) fn read_one(&mut self, expr: &Expr) -> Evaluated<(Expression, Kind)> {
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
            // Most numbers are ports, and have no name.
            ExprKind::Number(port) if kind.data_type == DataType::InetService && *port <= u16::MAX.into() => {
                return value::number((*port).into(), kind, expr.span);
            }
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

/// An address of a connection whose family follows from the table alone: it can be compared, but not looked up.
pub(super) fn is_unqualified(expression: &Expression) -> bool {
    matches!(expression, Expression::Selector(Selector::CtOf(CtOf { key: CtKey::Src | CtKey::Dst, .. })))
}

pub(super) fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Binary(_, operands) => is_constant(&operands.0) && is_constant(&operands.1),
        ExprKind::Selector(_) | ExprKind::Hash(_) | ExprKind::Map(_) => false,
        _ => true,
    }
}

pub(super) fn combine(operator: Operator, left: &Data, right: &Data) -> Data {
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

pub(super) fn mismatch(expr: &Expr, kind: Kind) -> Fault {
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

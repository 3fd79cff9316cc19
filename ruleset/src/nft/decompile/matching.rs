//! Comparisons and lookups.

use nftwire::expr::{CmpOp, CtKey, MetaKey, PayloadBase};

use super::context::{Context, Dependency, DependencyOn, LINK, NETWORK, TRANSPORT, layer_of};
use super::payload::{complete, slice, split, trim};
use super::{Constant, Data, DataType, Decompiler, Expression, Operator, Selector, Statement};
use crate::model::expression::reversed;
use crate::model::selector::RawPayload;
use crate::{Map, Op, Prefix, Protocol, Range, Set, Text};

impl Decompiler<'_> {
    /// Adds a statement. One with an effect keeps the matches before it where they are.
    pub(super) fn push(&mut self, mut statement: Statement) {
        self.statement_in_tunnel(&mut statement);
        if let Statement::Match { left: read, .. } | Statement::VerdictMap(read) = &statement {
            self.previous = Some(self.statements.len());
            // Bytes imply no header: a later match on it would bring its dependency back after them.
            if let Some(layer) = raw_base(read).and_then(layer_of) {
                self.context.keep_dependency(layer);
            }
        } else {
            self.context.forget_dependencies();
            if let Some((_, inner)) = &mut self.inner {
                inner.forget_dependencies();
            }
            self.previous = None;
        }
        self.statements.push(statement);
    }

    /// Takes out the match that says something about a layer.
    pub(super) fn release(&mut self, layer: usize) {
        let Some(gone) = self.context.release(layer) else { return };
        self.statements.remove(gone);
        if let Some((_, other)) = &mut self.inner {
            other.forget_statement(gone);
        }
        self.previous = match self.previous {
            Some(previous) if previous == gone => None,
            Some(previous) if previous > gone => Some(previous - 1),
            previous => previous,
        };
    }

    /// Takes out the match that a use of this field implies.
    pub(super) fn imply(&mut self, selector: &Selector) {
        let Selector::Payload(field) = selector else { return };
        let Some(layer) = layer_of(field.protocol.base()) else { return };
        // Ports do not say which protocol has them. (nft 1.0.6 loses `meta l4proto 99` before `th dport`.)
        let says_nothing = field.protocol == Protocol::Th && self.context.protocol(layer).is_none();
        if !says_nothing && self.context.field_implies(field, layer) {
            self.release(layer);
        }
    }

    pub(super) fn compare(&mut self, cmp: &nftwire::expr::Cmp) {
        let Some(op) = operator(cmp.op) else {
            return self.unknown("cmp", &format!("op {}", cmp.op.number()));
        };
        let len = u32::try_from(cmp.data.as_bytes().len()).unwrap_or(0);
        let Some(loaded) = self.registers.join(cmp.sreg, len) else {
            return self.unknown("cmp", "of an empty register");
        };
        let data = if loaded.swapped { &reversed(&cmp.data) } else { &cmp.data };
        let mut left = loaded.expression;
        self.at(&mut left, |this, left| match std::mem::replace(left, Expression::Wildcard) {
            Expression::Selector(Selector::Raw(raw)) if matches!(op, Op::Eq | Op::Ne) => {
                this.compare_fields(raw, op, data);
            }
            Expression::Concat(parts) => this.compare_concat(parts, op, data),
            expression => this.compare_value(expression, op, data),
        });
    }

    /// Fields that are adjacent are read and compared at once: a match for each.
    fn compare_fields(&mut self, mut raw: RawPayload, op: Op, data: &Data) {
        // What does not fill its bytes is in their lowest bits.
        let mut start = bits(data).saturating_sub(raw.len);
        while raw.len > 0 {
            let found = split(&self.context, &mut raw);
            let value = slice(data, start, found.len);
            start += found.len;
            self.compare_field(found.selector, found.len, op, value);
        }
    }

    fn compare_field(&mut self, selector: Selector, len: u32, op: Op, value: Data) {
        let data_type = selector.data_type();
        let Selector::Payload(field) = selector else {
            let right = Expression::constant(data_type, value);
            return self.push(Statement::Match { left: selector.into(), op, right });
        };
        let layer = layer_of(field.protocol.base()).unwrap_or(TRANSPORT);
        let constant = Constant::new(data_type, value);
        let number = constant.number().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let is_protocol = op == Op::Eq && field.is_protocol_key();
        let mut about = layer + 1;
        if is_protocol {
            self.context.learn_field(&field, layer, number);
            if self.context.is_stacked(layer, number) {
                about = layer;
            }
        }
        self.imply(&selector);
        let right = if len < u32::from(field.len) {
            // Only the field's beginning is compared.
            let mut bytes = constant.data.as_bytes().to_vec();
            bytes.resize(usize::from(field.len / 8), 0);
            let value = Expression::constant(data_type, Data::new(&bytes));
            Expression::Prefix(Box::new(Prefix { value, len }))
        } else {
            constant.into()
        };
        self.push(Statement::Match { left: selector.into(), op, right });
        if is_protocol {
            let statement = self.statements.len() - 1;
            let left = DependencyOn::Payload(field);
            self.context.depend(about, Dependency { statement, left, value: number });
        }
    }

    fn compare_concat(&mut self, parts: Vec<Expression>, op: Op, data: &Data) {
        let mut left = Expression::Concat(parts);
        self.resolve(&mut left, true);
        let Expression::Concat(parts) = &left else { return };
        let mut start = 0;
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            let data_type = part.data_type().unwrap_or(DataType::Hex);
            let len = match data_type.size() {
                0 => u32::try_from(data.as_bytes().len()).unwrap_or(0).saturating_sub(start),
                size => size,
            };
            values.push(Expression::constant(data_type, slice(data, 8 * start, 8 * len)));
            start += len.next_multiple_of(4);
        }
        self.push(Statement::Match { left, op, right: Expression::Concat(values) });
    }

    fn compare_value(&mut self, mut left: Expression, op: Op, data: &Data) {
        self.resolve(&mut left, false);
        let data_type = left.data_type().unwrap_or(DataType::Integer);
        if data_type.has_prefixes() && 8 * data_type.size() > bits(data) {
            return self.compare_beginning(left, op, data_type, data);
        }
        let constant = Constant::new(data_type, data.clone());
        match left {
            Expression::Selector(Selector::Meta(key)) => self.compare_meta(key, op, constant),
            Expression::Selector(Selector::Ct(key)) => self.compare_ct(key, op, constant),
            Expression::Binary(binary) if binary.operator == Operator::And => {
                self.compare_masked(binary.left, binary.right, op, constant);
            }
            left => self.push_match(left, op, spread(constant)),
        }
    }

    /// A comparison of only an address's first bytes is one with a prefix.
    fn compare_beginning(&mut self, left: Expression, op: Op, data_type: DataType, data: &Data) {
        let mut bytes = data.as_bytes().to_vec();
        bytes.resize(usize::try_from(data_type.size()).unwrap_or(0), 0);
        let value = Expression::constant(data_type, Data::new(&bytes));
        self.push_match(left, op, Expression::Prefix(Box::new(Prefix { value, len: bits(data) })));
    }

    fn compare_meta(&mut self, key: MetaKey, op: Op, constant: Constant) {
        let number = constant.number().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let left = Selector::Meta(key).into();
        let (implies, about) = match key {
            MetaKey::NfProto | MetaKey::Protocol => (Some(LINK), NETWORK),
            MetaKey::L4Proto => (Some(NETWORK), TRANSPORT),
            MetaKey::IifType => (None, LINK),
            _ => return self.push_match(left, op, spread(constant)),
        };
        if op != Op::Eq {
            return self.push_match(left, op, constant.into());
        }
        self.context.learn_meta(key, number);
        if let Some(layer) = implies
            && self.context.meta_implies(Some(key), number)
        {
            self.release(layer);
        }
        self.push_match(left, op, constant.into());
        let statement = self.statements.len() - 1;
        self.context.depend(about, Dependency { statement, left: DependencyOn::Meta(key), value: number });
    }

    fn compare_ct(&mut self, key: CtKey, op: Op, constant: Constant) {
        let number = constant.number().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let left = Selector::Ct(key).into();
        let layer = match key {
            CtKey::L3Protocol => LINK,
            CtKey::Protocol => NETWORK,
            _ => return self.push_match(left, op, spread(constant)),
        };
        if op != Op::Eq {
            return self.push_match(left, op, constant.into());
        }
        self.context.learn_ct(layer, number);
        if self.context.meta_implies(None, number) {
            self.release(layer);
        }
        self.push_match(left, op, constant.into());
        let statement = self.statements.len() - 1;
        self.context.depend(layer + 1, Dependency { statement, left: DependencyOn::Ct, value: number });
    }

    /// `left & mask OP value`: flags, prefixes, fields that start between bytes, or really that.
    fn compare_masked(&mut self, left: Expression, mask: Expression, op: Op, value: Constant) {
        let Expression::Constant(mask) = mask else {
            return self.push_match(Expression::binary(left, Operator::And, mask), op, spread(value));
        };
        let data_type = value.data_type;
        if data_type.is_bitmask() && matches!(op, Op::Eq | Op::Ne) {
            return self.compare_flags(left, mask, op, value);
        }
        let ones = mask.count_ones();
        // Of what is less or more than an address, a prefix is no part.
        if matches!(op, Op::Eq | Op::Ne) && data_type.has_prefixes() && is_prefix(&mask, ones) {
            let right = Expression::Prefix(Box::new(Prefix { value: value.into(), len: ones }));
            return self.push_match(left, op, right);
        }
        if let Some(part) = masked_part(&self.context, &left, &mask) {
            let data = part.of(&value.data);
            return match part.selector {
                Selector::Raw(raw) => self.compare_trimmed(raw, op, &data),
                selector => {
                    self.push_match(selector.into(), op, Expression::constant(selector.data_type(), data));
                }
            };
        }
        let left = Expression::binary(left, Operator::And, mask.into());
        self.push_match(left, op, spread(value));
    }

    fn compare_trimmed(&mut self, raw: RawPayload, op: Op, data: &Data) {
        if matches!(op, Op::Eq | Op::Ne) {
            return self.compare_fields(raw, op, data);
        }
        let selector = complete(&self.context, raw);
        self.imply(&selector);
        let right = Expression::constant(selector.data_type(), data.clone());
        self.push_match(selector.into(), op, right);
    }

    fn compare_flags(&mut self, left: Expression, mask: Constant, op: Op, value: Constant) {
        let list = |constant: Constant| Expression::flags(constant.data_type, constant.data);
        if value.count_ones() == 0 {
            let op = if op == Op::Ne { Op::In } else { Op::NotIn };
            return self.push_match(left, op, list(mask));
        }
        let left = Expression::binary(left, Operator::And, list(mask));
        self.push_match(left, op, list(value));
    }

    pub(super) fn range(&mut self, range: &nftwire::expr::Range) {
        let (Some(op), Some(loaded)) = (operator(range.op), self.registers.get(range.sreg)) else {
            return self.unknown("range", "of an empty register");
        };
        let (mut left, swapped) = (loaded.expression, loaded.swapped);
        self.at(&mut left, |this, left| {
            this.resolve(left, false);
            let part = match left {
                Expression::Binary(binary) if binary.operator == Operator::And => match &binary.right {
                    Expression::Constant(mask) => masked_part(&this.context, &binary.left, mask),
                    _ => None,
                },
                _ => None,
            };
            if let Some(part) = &part {
                let selector = match part.selector {
                    Selector::Raw(raw) => complete(&this.context, raw),
                    selector => selector,
                };
                *left = selector.into();
                this.imply(&selector);
            }
            let data_type = left.data_type().unwrap_or(DataType::Integer);
            let end = |data: &Data| {
                let data = if swapped { reversed(data) } else { data.clone() };
                Expression::constant(data_type, part.as_ref().map_or(data.clone(), |part| part.of(&data)))
            };
            let right = Expression::Range(Box::new(Range { from: end(&range.from), to: end(&range.to) }));
            this.push(Statement::Match { left: left.clone(), op, right });
        });
    }

    /// Adds a match; two that are the ends of a range become one.
    fn push_match(&mut self, mut left: Expression, op: Op, right: Expression) {
        self.in_tunnel(&mut left);
        let merged = match (op, self.previous.and_then(|previous| self.statements.get(previous))) {
            (Op::Le, Some(Statement::Match { left: before, op: Op::Ge, .. })) if *before == left => {
                Some(Op::Eq)
            }
            (Op::Gt, Some(Statement::Match { left: before, op: Op::Lt, .. })) if *before == left => {
                Some(Op::Ne)
            }
            _ => None,
        };
        let Some(merged) = merged else {
            return self.push(Statement::Match { left, op, right });
        };
        if let Some(previous) = self.previous
            && let Statement::Match { right: from, .. } = self.statements.remove(previous)
        {
            let right = Expression::Range(Box::new(Range { from, to: right }));
            self.push(Statement::Match { left, op: merged, right });
        }
    }

    pub(super) fn lookup(&mut self, lookup: &nftwire::expr::Lookup<'_>) {
        let Some(set) = self.sets.get(lookup.set.as_bytes()) else {
            return self.unknown_load("lookup", &format!("in an unknown set {}", lookup.set));
        };
        let Some(loaded) = self.registers.join(lookup.sreg, set.key.len()) else {
            return self.unknown_load("lookup", "of an empty register");
        };
        let reference = reference(lookup.set, set);
        let mut key = loaded.expression;
        match lookup.dreg {
            None => {
                let op = if lookup.inverted { Op::Ne } else { Op::Eq };
                self.at(&mut key, |this, key| {
                    this.learn_from_first(key, set);
                    let mut right = reference;
                    this.resolve_with(key, &mut right);
                    this.push(Statement::Match { left: key.clone(), op, right });
                });
            }
            Some(dreg) if dreg == nftwire::Register::VERDICT => {
                self.at(&mut key, |this, key| {
                    let mut map = reference;
                    this.resolve_with(key, &mut map);
                    let map = Expression::Map(Box::new(Map { key: key.clone(), map, verdicts: true }));
                    this.push(Statement::VerdictMap(map));
                });
            }
            Some(dreg) => {
                let map = Expression::Map(Box::new(Map { key, map: reference, verdicts: false }));
                let weight = loaded.weight.saturating_add(1);
                self.registers
                    .put(dreg, super::Loaded { weight, ..super::Loaded::new(map, set.value_len()) });
            }
        }
    }

    /// The first element of `icmp type { … }` decides which fields may follow.
    fn learn_from_first(&mut self, key: &Expression, set: &Set) {
        let Expression::Selector(Selector::Raw(raw)) = key else { return };
        let first = set.is_anonymous().then(|| set.elements.first()).flatten();
        if let Some(Expression::Constant(constant)) = first.map(|element| &element.key)
            && let Selector::Payload(field) = complete(&self.context, *raw)
            && matches!(field.data_type, DataType::IcmpType | DataType::Icmp6Type)
            && self.context.icmp_type.is_none()
        {
            let kind = constant.number().and_then(|number| u8::try_from(number).ok());
            // nft takes 0, an echo reply, for one that is not known.
            self.context.icmp_type = kind.filter(|kind| *kind != 0);
        }
    }
}

/// How a lookup names its set: its elements, if it belongs to the rule.
pub(super) fn reference(name: Text<'_>, set: &Set) -> Expression {
    if set.is_anonymous() { Expression::Set(set.elements.clone()) } else { Expression::SetName(name.into()) }
}

/// What a mask leaves of the bytes that are loaded.
struct MaskedPart {
    selector: Selector,
    /// From the first bit of what is loaded
    start: u32,
    /// Bits
    len: u32,
}

impl MaskedPart {
    /// Its value among these bytes.
    fn of(&self, data: &Data) -> Data {
        slice(data, self.start, self.len)
    }
}

/// The bytes of a header that a mask leaves, or the part of an option.
fn masked_part(context: &Context, read: &Expression, mask: &Constant) -> Option<MaskedPart> {
    match read {
        Expression::Selector(Selector::Raw(raw)) => {
            let (trimmed, _) = trim(context, *raw, &mask.data)?;
            let start = trimmed.offset - raw.offset;
            Some(MaskedPart { selector: Selector::Raw(trimmed), start, len: trimmed.len })
        }
        Expression::Selector(Selector::Option(option)) => {
            let (trimmed, _) = super::resolve::trim_option(*option, &mask.data)?;
            let start = u32::from(trimmed.offset - option.offset);
            Some(MaskedPart { selector: Selector::Option(trimmed), start, len: trimmed.len.into() })
        }
        _ => None,
    }
}

/// Where the bytes without a name are that an expression reads.
fn raw_base(expression: &Expression) -> Option<PayloadBase> {
    match expression {
        Expression::Selector(Selector::Raw(raw)) => Some(raw.base),
        Expression::Binary(binary) => raw_base(&binary.left),
        Expression::Map(map) => raw_base(&map.key),
        Expression::Concat(parts) => parts.iter().find_map(raw_base),
        _ => None,
    }
}

fn operator(op: CmpOp) -> Option<Op> {
    Some(match op {
        CmpOp::Eq => Op::Eq,
        CmpOp::Neq => Op::Ne,
        CmpOp::Lt => Op::Lt,
        CmpOp::Lte => Op::Le,
        CmpOp::Gt => Op::Gt,
        CmpOp::Gte => Op::Ge,
        _ => return None,
    })
}

fn bits(data: &Data) -> u32 {
    u32::try_from(data.as_bytes().len()).map_or(0, |len| 8 * len)
}

/// Several flags as `one | other`.
pub(super) fn spread(constant: Constant) -> Expression {
    if !constant.data_type.is_bitmask() || constant.count_ones() < 2 {
        return constant.into();
    }
    let flags = constant.flags().map(Expression::Constant);
    flags
        .reduce(|left, right| Expression::binary(left, Operator::Or, right))
        .unwrap_or(constant.clone().into())
}

/// Whether the ones are at the most significant end.
fn is_prefix(mask: &Constant, ones: u32) -> bool {
    let mut leading = 0;
    for byte in mask.most_significant_first().as_bytes() {
        leading += byte.leading_ones();
        if *byte != 0xff {
            break;
        }
    }
    leading == ones
}

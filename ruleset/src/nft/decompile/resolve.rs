//! Gives the contents of registers their meaning, where it is used.

use nftwire::Family;
use nftwire::expr::CtKey;

use super::context::{NETWORK, TRANSPORT};
use super::payload::{complete, trim};
use super::{Data, DataType, Decompiler, Expression, Operator, Selector};
use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::{CtOf, RawPayload};
use crate::{Constant, Element, Protocol};

impl Decompiler<'_> {
    /// Names what is read from the packet and gives constants compared with it their type. In a `key`, a mask that leaves a
    /// field is only how the field is read.
    pub(super) fn resolve(&mut self, expression: &mut Expression, key: bool) {
        match expression {
            Expression::Selector(selector) => self.resolve_selector(selector),
            Expression::Concat(parts) => parts.iter_mut().for_each(|part| self.resolve(part, true)),
            Expression::Map(map) => {
                let map = &mut **map;
                self.resolve_with(&mut map.key, &mut map.map);
            }
            Expression::Hash(hash) => self.resolve(&mut hash.of, true),
            Expression::Binary(_) => self.resolve_binary(expression, key),
            _ => {}
        }
    }

    fn resolve_selector(&mut self, selector: &mut Selector) {
        match selector {
            Selector::Raw(raw) => {
                *selector = complete(&self.context, *raw);
                self.imply(selector);
            }
            Selector::CtOf(CtOf { key: CtKey::Src | CtKey::Dst, family, .. }) => {
                *family = match self.context.protocol(NETWORK) {
                    Some(Protocol::Ip) => Some(Family::Ipv4),
                    Some(Protocol::Ip6) => Some(Family::Ipv6),
                    _ => None,
                };
            }
            Selector::Option(option) => match option.kind {
                OptionKind::Tcp => self.release(TRANSPORT),
                OptionKind::Ipv6 | OptionKind::Ipv4 => self.release(NETWORK),
                OptionKind::Sctp => {}
            },
            _ => {}
        }
    }

    fn resolve_binary(&mut self, expression: &mut Expression, key: bool) {
        if let Some((raw, mask, shifted)) = masked_field(expression)
            && (key || shifted)
            && let Some((trimmed, _)) = trim(&self.context, raw, &mask.data)
        {
            let mut selector = Selector::Raw(trimmed);
            self.resolve_selector(&mut selector);
            match expression {
                // In a concatenation nft shows how the field is moved, which is wrong but harmless.
                Expression::Binary(binary) if shifted && key => {
                    binary.left = selector.into();
                    retype(&mut binary.right, DataType::Integer);
                }
                expression => *expression = selector.into(),
            }
            return;
        }
        let Expression::Binary(binary) = expression else { return };
        self.resolve(&mut binary.left, key);
        let data_type = match binary.operator {
            Operator::ShiftLeft | Operator::ShiftRight => Some(DataType::Integer),
            Operator::And | Operator::Or | Operator::Xor => binary.left.data_type(),
        };
        match data_type {
            Some(_) if has_own_type(&binary.right) => {}
            Some(data_type) if matches!(binary.right, Expression::Constant(_)) => {
                retype(&mut binary.right, data_type);
            }
            _ => self.resolve(&mut binary.right, key),
        }
    }

    /// Resolves what is looked up in a set, and moves the set's elements to where the field is.
    pub(super) fn resolve_with(&mut self, key: &mut Expression, set: &mut Expression) {
        if let Some((raw, mask, shifted)) = masked_field(key)
            && let Some((trimmed, shift)) = trim(&self.context, raw, &mask.data)
        {
            let mut selector = Selector::Raw(trimmed);
            self.resolve_selector(&mut selector);
            *key = selector.into();
            if !shifted && let Expression::Set(elements) = set {
                elements.iter_mut().for_each(|element| shift_element(element, shift));
            }
            return;
        }
        if let Some((option, mask, shifted)) = masked_option(key)
            && let Some((option, shift)) = trim_option(option, &mask.data)
        {
            *key = Selector::Option(option).into();
            if !shifted && let Expression::Set(elements) = set {
                elements.iter_mut().for_each(|element| shift_element(element, shift));
            }
        }
        self.resolve(key, false);
    }
}

/// `raw & mask`, or `raw & mask >> shift`, which the last value decides.
fn masked_field(expression: &Expression) -> Option<(RawPayload, Constant, bool)> {
    let Expression::Binary(binary) = expression else { return None };
    match (&binary.left, binary.operator, &binary.right) {
        (Expression::Selector(Selector::Raw(raw)), Operator::And, Expression::Constant(mask)) => {
            Some((*raw, mask.clone(), false))
        }
        (left, Operator::ShiftRight, _) => masked_field(left).map(|(raw, mask, _)| (raw, mask, true)),
        _ => None,
    }
}

/// The same of a part of an option.
fn masked_option(expression: &Expression) -> Option<(OptionField, Constant, bool)> {
    let Expression::Binary(binary) = expression else { return None };
    match (&binary.left, binary.operator, &binary.right) {
        (Expression::Selector(Selector::Option(option)), Operator::And, Expression::Constant(mask)) => {
            Some((*option, mask.clone(), false))
        }
        (left, Operator::ShiftRight, _) => masked_option(left).map(|(option, mask, _)| (option, mask, true)),
        _ => None,
    }
}

/// Whether a constant is of another byte order than the value next to it.
fn has_own_type(expression: &Expression) -> bool {
    matches!(expression, Expression::Constant(constant) if constant.data_type != DataType::Hex)
}

/// Gives constants their type.
pub(super) fn retype(expression: &mut Expression, data_type: DataType) {
    match expression {
        Expression::Constant(constant) => constant.data_type = data_type,
        Expression::Prefix(prefix) => retype(&mut prefix.value, data_type),
        Expression::Range(range) => {
            retype(&mut range.from, data_type);
            retype(&mut range.to, data_type);
        }
        _ => {}
    }
}

fn shift_element(element: &mut Element, shift: u32) {
    let constants: [Option<&mut Expression>; 2] = match &mut element.key {
        Expression::Range(range) => [Some(&mut range.from), Some(&mut range.to)],
        key => [Some(key), None],
    };
    for constant in constants.into_iter().flatten() {
        if let Expression::Constant(constant) = constant {
            constant.data = shift_right(&constant.data, shift);
        }
    }
}

/// The number, in network order, divided by a power of two.
pub(super) fn shift_right(data: &Data, shift: u32) -> Data {
    if shift == 0 {
        return data.clone();
    }
    let (bytes, bits) = (usize::try_from(shift / 8).unwrap_or(0), shift % 8);
    let len = data.as_bytes().len();
    let mut shifted = vec![0; len];
    for (index, to) in shifted.iter_mut().enumerate().skip(bytes) {
        let low = data.as_bytes()[index - bytes] >> bits;
        let high = (index > bytes && bits > 0).then(|| data.as_bytes()[index - bytes - 1] << (8 - bits));
        *to = low | high.unwrap_or(0);
    }
    Data::new(&shifted)
}

/// The part of an option that a mask leaves, and by how many bits values are shifted.
pub(super) fn trim_option(option: OptionField, mask: &Data) -> Option<(OptionField, u32)> {
    let number = Constant::new(DataType::NetworkInteger, mask.clone()).number()?;
    if number == 0 {
        return None;
    }
    let shift = number.trailing_zeros();
    let len = (number >> shift).trailing_ones();
    let width = u32::try_from(mask.as_bytes().len()).ok()? * 8;
    let offset = u32::from(option.offset) + width - shift - len;
    let trimmed =
        OptionField { offset: u16::try_from(offset).ok()?, len: u16::try_from(len).ok()?, ..option };
    trimmed.names().is_some().then_some((trimmed, shift))
}

//! How a value compares to the right side of a match, and which element of a set it is.

use super::read::{Gap, Value, most_significant_first};
use crate::{DataType, Element, Expression, Op, Prefix, Table};

/// The elements of a set or a map, a rule's own or a named one.
pub(super) fn elements<'r>(table: &'r Table, expression: &'r Expression) -> Option<&'r [Element]> {
    match expression {
        Expression::Set(elements) => Some(elements),
        Expression::SetName(name) => {
            let set = table.sets.iter().find(|set| set.name == *name)?;
            Some(&set.elements)
        }
        _ => None,
    }
}

/// The element that the value is in; the wildcard where it is in no other.
pub(super) fn find<'r>(elements: &'r [Element], value: &Value) -> Result<Option<&'r Element>, Gap> {
    for element in elements {
        if contains(&element.key, value).ok_or(Gap::Unknown)? {
            return Ok(Some(element));
        }
    }
    Ok(elements.iter().find(|element| element.key == Expression::Wildcard))
}

/// Whether the match passes; `None` where that is not known.
pub(super) fn passes(left: &Expression, value: &Value, op: Op, right: &Expression) -> Option<bool> {
    let ordered = |right: &Expression| {
        let Expression::Constant(constant) = right else { return None };
        let [part] = value.0.as_slice() else { return None };
        let data_type = left.data_type().or(Some(constant.data_type));
        let left = most_significant_first(part, data_type);
        Some(left.as_slice().cmp(&most_significant_first(constant.data.as_bytes(), Some(constant.data_type))))
    };
    Some(match op {
        Op::Eq => contains(right, value)?,
        Op::Ne => !contains(right, value)?,
        Op::Lt => ordered(right)?.is_lt(),
        Op::Gt => ordered(right)?.is_gt(),
        Op::Le => ordered(right)?.is_le(),
        Op::Ge => ordered(right)?.is_ge(),
        Op::In => has_any(right, value)?,
        Op::NotIn => !has_any(right, value)?,
    })
}

fn has_any(flags: &Expression, value: &Value) -> Option<bool> {
    let [part] = value.0.as_slice() else { return None };
    match flags {
        Expression::List(list) => {
            let mut any = false;
            for flag in list {
                any |= has_any(flag, value)?;
            }
            Some(any)
        }
        Expression::Constant(flag) if flag.data.as_bytes().len() == part.len() => {
            Some(flag.data.as_bytes().iter().zip(part).any(|(flag, value)| flag & value != 0))
        }
        _ => None,
    }
}

/// Whether the value is one of those of an element's key or of the right side of a match.
fn contains(right: &Expression, value: &Value) -> Option<bool> {
    if let Expression::Concat(parts) = right {
        let mut all = parts.len() == value.0.len();
        for (right, part) in parts.iter().zip(&value.0) {
            all &= part_contains(right, part)?;
        }
        return Some(all);
    }
    match (right, value.0.as_slice()) {
        (Expression::Wildcard, _) => Some(false),
        (right, [part]) => part_contains(right, part),
        _ => None,
    }
}

fn part_contains(right: &Expression, part: &[u8]) -> Option<bool> {
    match right {
        // The beginning of an interface's name means all names that begin so.
        Expression::Constant(constant) if constant.data_type == DataType::InterfaceName => {
            Some(part.starts_with(constant.data.as_bytes()))
        }
        Expression::Constant(constant) => {
            (constant.data.as_bytes().len() == part.len()).then(|| constant.data.as_bytes() == part)
        }
        Expression::Prefix(prefix) => begins_with(prefix, part),
        Expression::Range(range) => {
            let (Expression::Constant(from), Expression::Constant(to)) = (&range.from, &range.to) else {
                return None;
            };
            let order = |bytes| most_significant_first(bytes, Some(from.data_type));
            let value = order(part);
            Some(order(from.data.as_bytes()) <= value && value <= order(to.data.as_bytes()))
        }
        Expression::Set(elements) => {
            let value = Value(vec![part.to_vec()]);
            find(elements, &value).ok().map(|found| found.is_some())
        }
        _ => None,
    }
}

fn begins_with(prefix: &Prefix, part: &[u8]) -> Option<bool> {
    let Expression::Constant(constant) = &prefix.value else { return None };
    let network = most_significant_first(constant.data.as_bytes(), Some(constant.data_type));
    let value = most_significant_first(part, Some(constant.data_type));
    let len = usize::try_from(prefix.len).ok()?;
    let bit = |bytes: &[u8], index: usize| bytes.get(index / 8).map(|byte| byte >> (7 - index % 8) & 1);
    for index in 0..len {
        if bit(&network, index)? != bit(&value, index)? {
            return Some(false);
        }
    }
    Some(true)
}

//! The values that a match lets pass, as ranges.

use crate::nft::compile::set::{range, successor};
use crate::nft::decompile::{self, predecessor};
use crate::{Data, DataType, Element, Expression, Op, Statement};

/// Values of one type: ranges, each with both its ends; [tidy](Values::tidy) they ascend, and none overlaps another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values {
    data_type: DataType,
    ranges: Vec<(Data, Data)>,
}

impl Values {
    /// The values that an expression means on the right side of a match, where a set can hold them.
    pub(super) fn of(left: &Expression, right: &Expression) -> Option<Self> {
        let Expression::Selector(selector) = left else { return None };
        let data_type = selector.data_type();
        let ranges = match right {
            Expression::Set(elements) => elements
                .iter()
                .map(|element| match element {
                    Element { key, value: None, details: None } => range_of(data_type, key),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?,
            right => vec![range_of(data_type, right)?],
        };
        let mut values = Self { data_type, ranges };
        values.tidy();
        Some(values)
    }

    /// How many ranges these are.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Adds values of the same selector; [`Values::tidy`] has to come after the last of them.
    pub(super) fn extend(&mut self, other: Self) {
        self.ranges.extend(other.ranges);
    }

    /// Puts the ranges in order; those that overlap become one.
    pub(super) fn tidy(&mut self) {
        if self.ranges.len() < 2 {
            return;
        }
        self.ranges.sort_unstable();
        self.join(|last, from| from <= last);
    }

    /// Makes one of ranges that touch, where there are ranges: single values are found faster than ranges.
    pub(super) fn join_touching(&mut self) {
        if self.ranges.iter().any(|(from, to)| from != to) {
            self.join(|last, from| successor(last).is_some_and(|next| next == *from));
        }
    }

    fn join(&mut self, joins: impl Fn(&Data, &Data) -> bool) {
        let mut joined: Vec<(Data, Data)> = Vec::with_capacity(self.ranges.len());
        for (from, to) in self.ranges.drain(..) {
            match joined.last_mut() {
                Some((_, last)) if joins(last, &from) => {
                    if to > *last {
                        *last = to;
                    }
                }
                _ => joined.push((from, to)),
            }
        }
        self.ranges = joined;
    }

    /// Whether no value is in both. For ranges in any order.
    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        let apart = |one: &(Data, Data), other: &(Data, Data)| one.1 < other.0 || other.1 < one.0;
        self.ranges.iter().all(|one| other.ranges.iter().all(|other| apart(one, other)))
    }

    /// The values that `other` does not have.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (from, to) in &self.ranges {
            let mut from = Some(from.clone());
            for (cut_from, cut_to) in &other.ranges {
                let Some(start) = from.take() else { break };
                if cut_to < &start || cut_from > to {
                    from = Some(start);
                    continue;
                }
                if *cut_from > start {
                    left.push((start, predecessor(cut_from)));
                }
                from = successor(cut_to).filter(|next| next <= to);
            }
            left.extend(from.map(|from| (from, to.clone())));
        }
        Self { data_type: self.data_type, ranges: left }
    }

    /// The elements of a set or a map that has these values.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element> {
        self.elements_by_start().map(|(_, element)| element)
    }

    /// The elements, each with its lowest value.
    pub(super) fn elements_by_start(&self) -> impl Iterator<Item = (&Data, Element)> {
        self.ranges.iter().map(|(from, to)| (from, Element::new(self.element(from, to))))
    }

    /// The one value, prefix or range; `None` where a set is needed.
    pub(super) fn single(&self) -> Option<Expression> {
        match self.ranges.as_slice() {
            [(from, to)] => match self.element(from, to) {
                // A rule has no range outside a set.
                Expression::Range(_) => None,
                single => Some(single),
            },
            _ => None,
        }
    }

    fn element(&self, from: &Data, to: &Data) -> Expression {
        if from == to {
            return Expression::constant(self.data_type, from.clone());
        }
        decompile::range(from, to, self.data_type)
    }
}

/// The range of one value, prefix or range, whose bytes can be a key.
fn range_of(data_type: DataType, expression: &Expression) -> Option<(Data, Data)> {
    let (from, to) = range(expression).ok()?;
    let whole = data_type.size() != 0 && from.as_bytes().len() == usize::try_from(data_type.size()).ok()?;
    // Values in host order have no ranges: their bytes are not in the order of the numbers. Neither have beginnings of names.
    let has_ranges = matches!(data_type, DataType::Ipv4Addr | DataType::Ipv6Addr | DataType::InetService);
    let plain = from == to || has_ranges;
    (whole && plain && !data_type.is_bitmask()).then_some((from, to))
}

/// Makes a match on what is unequal to some values one that is unequal to those of another match, too, where both look
/// at the same.
pub(super) fn join_unequal(one: &mut Statement, other: &Statement) -> bool {
    let Statement::Match { left, op: Op::Ne, right } = one else { return false };
    let Statement::Match { left: other_left, op: Op::Ne, right: other_right } = other else { return false };
    if left != other_left {
        return false;
    }
    let (Some(mut values), Some(others)) = (Values::of(left, right), Values::of(left, other_right)) else {
        return false;
    };
    values.extend(others);
    values.tidy();
    values.join_touching();
    *right = values.single().unwrap_or_else(|| Expression::Set(values.elements().collect()));
    true
}

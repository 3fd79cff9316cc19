//! Ranges: the kernel keeps their ends, nft shows values, prefixes and ranges.

use crate::model::expression::swap_host_order;
use crate::{Constant, Data, DataType, Element, Expression, Prefix, Range};

/// An end of a range, as the kernel reports it.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// The first value, or the first one that is no longer in the range; most significant byte first
    pub(super) key: Data,
    /// Whether it is the latter
    pub(super) closes: bool,
    /// What belongs to the range
    pub(super) element: Element,
}

/// The elements of a set of ranges, ascending.
pub(super) fn merge(mut ends: Vec<End>, data_type: DataType) -> Vec<Element> {
    ends.sort_by(|left, right| (&left.key, !left.closes).cmp(&(&right.key, !right.closes)));
    let mut elements = Vec::with_capacity(ends.len() / 2 + 1);
    let mut open: Option<End> = None;
    for end in ends {
        if end.closes {
            if let Some(start) = open.take() {
                elements.push(element(start, &predecessor(&end.key), data_type));
            }
        } else {
            // A range that touches the one before ends it.
            let last = predecessor(&end.key);
            if let Some(start) = open.replace(end) {
                elements.push(element(start, &last, data_type));
            }
        }
    }
    if let Some(start) = open {
        let last = Data::new(&vec![0xff; start.key.as_bytes().len()]);
        elements.push(element(start, &last, data_type));
    }
    elements
}

fn element(start: End, last: &Data, data_type: DataType) -> Element {
    Element { key: range(&start.key, last, data_type), ..start.element }
}

/// The value before; after zero the highest one.
pub(crate) fn predecessor(data: &Data) -> Data {
    let mut bytes = data.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        let borrow = *byte == 0;
        *byte = byte.wrapping_sub(1);
        if !borrow {
            break;
        }
    }
    Data::new(&bytes)
}

/// The values between two, both most significant byte first, as a value, a prefix or a range.
pub(crate) fn range(from: &Data, to: &Data, data_type: DataType) -> Expression {
    let constant = |data: &Data| {
        let data = if data_type.is_host_order() { swap_host_order(data) } else { data.clone() };
        Expression::Constant(Constant::new(data_type, data))
    };
    if from == to {
        return constant(from);
    }
    if let Some(len) = common_prefix(from, to) {
        if data_type.is_text() {
            let bytes = usize::try_from(len / 8).unwrap_or(0);
            return constant(&Data::new(&from.as_bytes()[..bytes]));
        }
        if data_type.has_prefixes() {
            return Expression::Prefix(Box::new(Prefix { value: constant(from), len }));
        }
    }
    Expression::Range(Box::new(Range { from: constant(from), to: constant(to) }))
}

/// How many bits are alike, where all others are 0 in the one and 1 in the other.
fn common_prefix(from: &Data, to: &Data) -> Option<u32> {
    let mut len = 0;
    let mut differs = false;
    for (&from, &to) in from.as_bytes().iter().zip(to.as_bytes()) {
        if differs {
            if from != 0 || to != 0xff {
                return None;
            }
            continue;
        }
        let same = (from ^ to).leading_zeros();
        len += same;
        if same < 8 {
            let rest = 0xff_u8 >> same;
            if from & rest != 0 || to & rest != rest {
                return None;
            }
            differs = true;
        }
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::print::{Options, Printer};

    fn shown(ends: &[(u16, bool)]) -> Vec<String> {
        let ends = ends.iter().map(|&(port, closes)| End {
            key: Data::be16(port),
            closes,
            element: Element::new(Expression::Wildcard),
        });
        let elements = merge(ends.collect(), DataType::InetService);
        let show = |element: &Element| {
            let mut out = String::new();
            Printer { out: &mut out, options: Options::default() }.element(element);
            out
        };
        elements.iter().map(show).collect()
    }

    #[test]
    fn an_end_at_zero_makes_no_range() {
        assert_eq!(shown(&[(0, true), (80, false), (81, true)]), ["80"]);
    }

    #[test]
    fn ranges_come_back_from_their_ends_in_any_order() {
        let ends = [(2001, true), (1000, false), (0, true), (444, true), (443, false)];
        assert_eq!(shown(&ends), ["443", "1000-2000"]);
    }

    #[test]
    fn a_range_that_touches_the_next_one_ends_there() {
        assert_eq!(shown(&[(0, false), (7, false), (10, true)]), ["0-6", "7-9"]);
    }

    #[test]
    fn a_range_without_an_end_reaches_to_the_highest_value() {
        assert_eq!(shown(&[(65_000, false)]), ["65000-65535"]);
    }

    #[test]
    fn names_that_begin_alike_are_one_text_with_an_asterisk() {
        let mut last = *b"eth\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let first = Data::new(&last);
        last[3..].fill(0xff);
        let range = range(&first, &Data::new(&last), DataType::InterfaceName);
        assert_eq!(range, Expression::constant(DataType::InterfaceName, Data::new(b"eth")));
    }
}

//! Sets as the kernel wants them: single values, or ranges by their ends.

use nftwire::SetFlags;
use nftwire::userdata::{ByteOrder, SetUserdata};

use super::{NotCompiled, constant};
use crate::ruleset::{Data, DataType, Element, Expression, Set};

/// A set that belongs to one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnonymousSet {
    /// What its keys are
    pub data_type: DataType,
    /// Bytes of a key
    pub key_len: u32,
    /// Whether it holds ranges, each as its first value and the one behind its last
    pub interval: bool,
    /// The keys, ascending, each once
    pub keys: Vec<SetKey>,
}

/// A key of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetKey {
    /// The value
    pub key: Data,
    /// Whether it is the first value that is no longer in the range
    pub end: bool,
}

/// A set that rules look things up in by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSet {
    /// What its keys are
    pub data_type: DataType,
    /// Bytes of a key
    pub key_len: u32,
    /// Its flags
    pub flags: SetFlags,
    /// What nft keeps beside it
    pub userdata: Vec<u8>,
    /// The keys, ascending, each once
    pub keys: Vec<SetKey>,
}

impl AnonymousSet {
    /// Its flags.
    #[must_use]
    pub fn flags(&self) -> SetFlags {
        let interval = if self.interval { SetFlags::INTERVAL } else { SetFlags::default() };
        SetFlags::ANONYMOUS | SetFlags::CONSTANT | interval
    }

    /// The set of these elements.
    ///
    /// # Errors
    /// Elements that are neither values nor ranges or prefixes of values in network order.
    pub(super) fn new(data_type: DataType, elements: &[Element]) -> Result<Self, NotCompiled> {
        let ranges = ranges(elements)?;
        let key_len = ranges.first().map_or(0, |(from, _)| from.as_bytes().len());
        let interval = ranges.iter().any(|(from, to)| from != to);
        let keys = keys(data_type, key_len, interval, ranges)?;
        Ok(Self { data_type, key_len: u32::try_from(key_len).unwrap_or(u32::MAX), interval, keys })
    }
}

/// Compiles a set that has a name.
///
/// # Errors
/// It has something that only can be shown.
pub fn named_set(set: &Set) -> Result<NamedSet, NotCompiled> {
    if set.value.is_some() {
        return Err(NotCompiled { what: "a map" });
    }
    let [field] = set.key.types.as_slice() else {
        return Err(NotCompiled { what: "a set of several fields" });
    };
    let flags = SetFlags(set.flags);
    let known = [SetFlags::default(), SetFlags::CONSTANT, SetFlags::INTERVAL];
    let interval = flags.contains(SetFlags::INTERVAL);
    let plain = set.size == 0 && set.timeout == 0 && set.gc_interval == 0 && !set.memory_policy;
    let untold = set.key.expression.is_none() && set.statements.is_empty() && set.comment.is_none();
    if !(known.contains(&flags) || flags == SetFlags::CONSTANT | SetFlags::INTERVAL) || !plain || !untold {
        return Err(NotCompiled { what: "a set of this kind" });
    }
    if set.elements.iter().any(|element| element.details.is_some()) {
        return Err(NotCompiled { what: "an element of a set with a comment, a time or a counter" });
    }
    let order = if field.data_type.is_host_order() { ByteOrder::Host } else { ByteOrder::Big };
    let userdata =
        SetUserdata { key_byte_order: Some(order), merge_elements: set.auto_merge, ..Default::default() };
    let userdata = userdata.encode().map_err(|_| NotCompiled { what: "a set of this kind" })?;
    let key_len = usize::try_from(field.len).unwrap_or(0);
    let keys = keys(field.data_type, key_len, interval, ranges(&set.elements)?)?;
    Ok(NamedSet { data_type: field.data_type, key_len: field.len, flags, userdata, keys })
}

/// The first and the last value of each element, ascending, each once.
fn ranges(elements: &[Element]) -> Result<Vec<(Data, Data)>, NotCompiled> {
    let mut ranges = elements.iter().map(|element| range(&element.key)).collect::<Result<Vec<_>, _>>()?;
    ranges.sort_unstable();
    ranges.dedup();
    Ok(ranges)
}

fn keys(
    data_type: DataType,
    key_len: usize,
    interval: bool,
    ranges: Vec<(Data, Data)>,
) -> Result<Vec<SetKey>, NotCompiled> {
    if interval && data_type.is_host_order() {
        return Err(NotCompiled { what: "a range of numbers in host order in a set" });
    }
    if interval {
        return Ok(ends(merged(ranges), key_len));
    }
    if ranges.iter().any(|(from, to)| from != to) {
        return Err(NotCompiled { what: "a range in a set without the flag interval" });
    }
    Ok(ranges.into_iter().map(|(key, _)| SetKey { key, end: false }).collect())
}

/// The first and the last value of an element.
fn range(key: &Expression) -> Result<(Data, Data), NotCompiled> {
    match key {
        Expression::Range(range) => Ok((constant(&range.from)?, constant(&range.to)?)),
        Expression::Prefix(prefix) => {
            let from = constant(&prefix.value)?;
            let to: Vec<_> = (0..)
                .zip(from.as_bytes())
                .map(|(index, byte)| byte | !super::mask_byte(prefix.len, index))
                .collect();
            Ok((from, Data::new(&to)))
        }
        key => constant(key).map(|value| (value.clone(), value)),
    }
}

/// Ranges that overlap or touch become one, as nft does in a set that nobody names.
fn merged(ranges: Vec<(Data, Data)>) -> Vec<(Data, Data)> {
    let mut merged: Vec<(Data, Data)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some((_, last)) if from <= *last || successor(last).is_some_and(|next| from == next) => {
                if to > *last {
                    *last = to;
                }
            }
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// What the kernel wants: the ends of the ranges, after one that says that nothing is before the first.
fn ends(ranges: Vec<(Data, Data)>, key_len: usize) -> Vec<SetKey> {
    let zero = Data::zero(key_len);
    let mut keys = Vec::with_capacity(2 * ranges.len() + 1);
    if ranges.first().is_some_and(|(from, _)| *from != zero) {
        keys.push(SetKey { key: zero, end: true });
    }
    for (from, to) in ranges {
        keys.push(SetKey { key: from, end: false });
        // What reaches to the highest value has no end.
        keys.extend(successor(&to).map(|key| SetKey { key, end: true }));
    }
    keys
}

/// The next value; `None` behind the highest one.
fn successor(data: &Data) -> Option<Data> {
    let mut bytes = data.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Data::new(&bytes));
        }
    }
    None
}

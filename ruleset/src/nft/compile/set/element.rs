//! The elements of sets and maps.

use nftwire::Expr;
use nftwire::uapi;
use nftwire::userdata::ElementUserdata;

use super::super::load::{self, Bits};
use super::super::matching::concatenated;
use super::super::{COMMENT_MAX, NotCompiled, SetFault, constant, mask_byte, stateful};
use crate::model::expression::reversed;
use crate::{Data, DataType, Element, ElementDetails, Expression, Name, SetValue, Verdict};

/// Bytes of a device's name (`IFNAMSIZ` of linux/if.h).
const IFNAMSIZ: usize = 16;

/// A key of a set or a map, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetKey {
    /// The value
    pub key: Data,
    /// Whether it is the first value that is no longer in the range
    pub end: bool,
    /// The last value of a range of several fields
    pub key_end: Option<Data>,
    /// Whether it matches every key that no other element has
    pub catch_all: bool,
    /// What few have besides the key: a set of many has to stay small
    pub details: Option<Box<KeyDetails>>,
}

/// What an element has besides its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyDetails {
    /// What a map of verdicts has for it
    pub verdict: Option<Verdict>,
    /// What a map of values has for it
    pub value: Option<Data>,
    /// What a map of objects has for it
    pub object: Option<Name>,
    /// Milliseconds after which it expires; 0 for the set's own
    pub timeout: u64,
    /// Milliseconds until it expires; 0 where it does not
    pub expiration: u64,
    /// Its counters and limits
    pub expressions: Vec<Expr<'static>>,
    /// What nft keeps with it: the comment
    pub userdata: Vec<u8>,
}

impl SetKey {
    /// A key of a set that has nothing but keys.
    #[must_use]
    pub fn new(key: Data, end: bool) -> Self {
        Self { key, end, key_end: None, catch_all: false, details: None }
    }

    fn catch_all() -> Self {
        Self { catch_all: true, ..Self::new(Data::default(), false) }
    }

    /// The key as the kernel expects it.
    #[must_use]
    pub fn element(&self) -> nftwire::Element<'_> {
        let Self { key, end, key_end, catch_all, details } = self;
        let element = nftwire::Element {
            key_end: key_end.clone(),
            interval_end: *end,
            catch_all: *catch_all,
            ..nftwire::Element::new(key.clone())
        };
        let Some(details) = details else { return element };
        let KeyDetails { verdict, value, object, timeout, expiration, expressions, userdata } = &**details;
        let verdict = verdict.as_ref().map(|verdict| nftwire::ElementData::Verdict(verdict.into()));
        nftwire::Element {
            data: verdict.or_else(|| value.clone().map(nftwire::ElementData::Value)),
            object: object.as_ref().map(Into::into),
            expressions: expressions.clone(),
            timeout: *timeout,
            expiration: *expiration,
            userdata,
            ..element
        }
    }

    /// By what keys are ordered; no two keys of a set have the same.
    #[must_use]
    pub fn sort_key(&self) -> (&Data, bool) {
        (&self.key, self.end)
    }

    /// Whether it leads to what the elements of such a map lead to; those of a set lead nowhere.
    pub(super) fn leads_to(&self, value: Option<&SetValue>) -> bool {
        let Some(details) = &self.details else { return true };
        let KeyDetails { verdict, value: data, object, .. } = &**details;
        let found = (verdict.is_some(), data.is_some(), object.is_some());
        // What ends a range leads nowhere; and of a map's elements that are looked for or deleted, the keys are enough.
        let nowhere = found == (false, false, false);
        nowhere
            || match value {
                None => false,
                Some(SetValue::Verdict) => found == (true, false, false),
                Some(SetValue::Data { .. }) => found == (false, true, false),
                Some(SetValue::Object(_)) => found == (false, false, true),
            }
    }
}

/// The keys of elements whose keys have so many fields; ranges in their order, others ascending.
pub(super) fn of_fields(
    elements: &[Element],
    fields: usize,
    interval: bool,
) -> Result<Vec<SetKey>, NotCompiled> {
    let keys = elements.iter().map(|element| fields_key(element, fields, interval));
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    // The kernel keeps ranges of several fields in the order in which they come, and so does nft.
    if !interval {
        keys.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
    }
    Ok(keys)
}

fn fields_key(element: &Element, fields: usize, interval: bool) -> Result<SetKey, NotCompiled> {
    let key = match &element.key {
        Expression::Concat(parts) => {
            if parts.len() != fields {
                return Err(SetFault::Fields.into());
            }
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for part in parts {
                let (mut first, mut last) = range(part)?;
                if !interval && first != last {
                    return Err(SetFault::NotInterval.into());
                }
                if interval {
                    let data_type = part.data_type().unwrap_or(DataType::Hex);
                    (first, last) = (byte_by_byte(data_type, first), byte_by_byte(data_type, last));
                }
                put_field(&mut from, &first);
                put_field(&mut to, &last);
            }
            SetKey { key_end: interval.then(|| Data::new(&to)), ..SetKey::new(Data::new(&from), false) }
        }
        Expression::Wildcard => SetKey::catch_all(),
        key => SetKey::new(constant(key)?, false),
    };
    Ok(SetKey { details: details(element)?, ..key })
}

/// Adds a field, padded to whole registers.
fn put_field(bytes: &mut Vec<u8>, field: &Data) {
    bytes.extend_from_slice(field.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// An element of a set: from its first to its last value.
struct Span {
    from: Data,
    to: Data,
    details: Option<Box<KeyDetails>>,
}

impl Span {
    fn into_key(self) -> SetKey {
        SetKey { details: self.details, ..SetKey::new(self.from, false) }
    }
}

/// Bytes of the first key.
pub(super) fn key_len(elements: &[Element]) -> Result<usize, NotCompiled> {
    let first = elements.iter().find(|element| !matches!(element.key, Expression::Wildcard));
    first.map_or(Ok(0), |element| Ok(range(&element.key)?.0.as_bytes().len()))
}

/// What ranges a set may hold, and whether those that touch are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// There are none
    None,
    /// There are none, and the keys stay in the order of the elements
    Written,
    /// They stay as they are
    Apart,
    /// They become one
    Merged,
    /// They become one, as in all anonymous sets; there, one range can be the end of the one before it, too
    Anonymous,
}

/// The keys of elements whose keys are of this type; ascending where nothing else is said, the one for all others last.
pub(super) fn of_one_field(
    elements: &[Element],
    data_type: DataType,
    key_len: usize,
    ranges: Ranges,
) -> Result<Vec<SetKey>, NotCompiled> {
    let mut keys = match ranges {
        Ranges::None => of_values(elements, false)?,
        Ranges::Written => of_values(elements, true)?,
        Ranges::Apart | Ranges::Merged | Ranges::Anonymous => {
            of_ranges(elements, data_type, key_len, ranges)?
        }
    };
    for wildcard in elements.iter().filter(|element| is_wildcard(element)) {
        keys.push(SetKey { details: details(wildcard)?, ..SetKey::catch_all() });
    }
    Ok(keys)
}

fn is_wildcard(element: &Element) -> bool {
    matches!(element.key, Expression::Wildcard)
}

/// Values, each once: ascending, or with `written` in the order of the elements. There may be many, and most are in order, so
/// that there is no step between an element and its key.
fn of_values(elements: &[Element], written: bool) -> Result<Vec<SetKey>, NotCompiled> {
    let mut keys = Vec::with_capacity(elements.len());
    for element in elements.iter().filter(|element| !is_wildcard(element)) {
        let key = match &element.key {
            Expression::Constant(value) if !load::is_beginning(value) => value.data.clone(),
            key => match range(key)? {
                (from, to) if from == to => from,
                _ => return Err(SetFault::NotInterval.into()),
            },
        };
        keys.push(SetKey { details: details(element)?, ..SetKey::new(key, false) });
    }
    if keys.is_sorted_by(|one, next| one.key < next.key) {
        return Ok(keys);
    }
    let mut placed: Vec<_> = keys.into_iter().enumerate().collect();
    placed.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
    let mut differ = false;
    placed.dedup_by(|(_, key), (_, last)| {
        let same = key.key == last.key;
        // One that is repeated is the same one.
        differ |= same && key.details != last.details;
        same
    });
    if differ {
        return Err(SetFault::Overlap.into());
    }
    if written {
        placed.sort_by_key(|(at, _)| *at);
    }
    Ok(placed.into_iter().map(|(_, key)| key).collect())
}

/// The ends of ranges, ascending.
fn of_ranges(
    elements: &[Element],
    data_type: DataType,
    key_len: usize,
    ranges: Ranges,
) -> Result<Vec<SetKey>, NotCompiled> {
    let spans = elements.iter().filter(|element| !is_wildcard(element)).map(|element| {
        let (from, to) = range(&element.key)?;
        Ok(Span { from, to, details: details(element)? })
    });
    let mut spans = spans.collect::<Result<Vec<_>, NotCompiled>>()?;
    for span in &mut spans {
        span.from = byte_by_byte(data_type, span.from.clone());
        span.to = byte_by_byte(data_type, span.to.clone());
    }
    spans.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    merge(&mut spans, matches!(ranges, Ranges::Merged | Ranges::Anonymous))?;
    ends(spans, key_len, ranges == Ranges::Anonymous)
}

fn details(element: &Element) -> Result<Option<Box<KeyDetails>>, NotCompiled> {
    let Element { key: _, value, details } = element;
    if value.is_none() && details.is_none() {
        return Ok(None);
    }
    let mut compiled = KeyDetails::default();
    match value {
        None => {}
        Some(Expression::Verdict(verdict)) => compiled.verdict = Some(verdict.clone()),
        Some(Expression::Name(object)) => compiled.object = Some(object.clone()),
        Some(value) => compiled.value = Some(value_data(value)?),
    }
    if let Some(ElementDetails { timeout, expires, comment, statements }) = details.as_deref() {
        compiled.timeout = *timeout;
        compiled.expiration = *expires;
        compiled.expressions = stateful(statements)?;
        if let Some(comment) = comment {
            let too_long = NotCompiled::Comment(comment.len());
            if comment.len() >= COMMENT_MAX {
                return Err(too_long);
            }
            let userdata = ElementUserdata { comment: Some(comment.into()), interval_open: false };
            compiled.userdata = userdata.encode().map_err(|_| too_long)?;
        }
    }
    Ok(Some(Box::new(compiled)))
}

pub(super) fn value_data(value: &Expression) -> Result<Data, NotCompiled> {
    match value {
        Expression::Concat(parts) if parts.iter().any(load::is_range) => {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for part in parts {
                let (first, last) = range(part)?;
                put_field(&mut from, &first);
                put_field(&mut to, &last);
            }
            from.append(&mut to);
            Ok(Data::new(&from))
        }
        Expression::Concat(parts) => concatenated(parts),
        value if load::is_range(value) => {
            let (from, to) = range(value)?;
            Ok(Data::new(&[from.as_bytes(), to.as_bytes()].concat()))
        }
        value => constant(value).map_err(|_| SetFault::Value.into()),
    }
}

/// Elements where the bits of a field are in the bytes that are read.
pub(in super::super) fn moved(elements: &[Element], bits: Bits) -> Result<Vec<Element>, NotCompiled> {
    let constant = |expression: &Expression| -> Result<Expression, NotCompiled> {
        let data_type = expression.data_type().unwrap_or(DataType::Hex);
        Ok(Expression::constant(data_type, bits.placed(&constant(expression)?)))
    };
    let key = |key: &Expression| match key {
        Expression::Range(range) => {
            let (from, to) = (constant(&range.from)?, constant(&range.to)?);
            Ok(Expression::Range(Box::new(crate::Range { from, to })))
        }
        Expression::Wildcard => Ok(Expression::Wildcard),
        key => constant(key),
    };
    elements.iter().map(|element| Ok(Element { key: key(&element.key)?, ..element.clone() })).collect()
}

/// A value as the kernel compares it with the ends of ranges: the most significant byte first.
fn byte_by_byte(data_type: DataType, value: Data) -> Data {
    match data_type.is_host_order() && cfg!(target_endian = "little") {
        true => reversed(&value),
        false => value,
    }
}

/// The first and the last value of an element.
pub(crate) fn range(key: &Expression) -> Result<(Data, Data), NotCompiled> {
    match key {
        Expression::Range(range) => Ok((constant(&range.from)?, constant(&range.to)?)),
        Expression::Prefix(prefix) => {
            let from = constant(&prefix.value)?;
            let data_type = prefix.value.data_type().unwrap_or(DataType::Hex);
            let mut to = byte_by_byte(data_type, from.clone()).as_bytes().to_vec();
            for (index, byte) in (0..).zip(&mut to) {
                *byte |= !mask_byte(prefix.len, index);
            }
            let to = byte_by_byte(data_type, Data::new(&to));
            Ok((from, to))
        }
        Expression::Constant(beginning) if load::is_beginning(beginning) => {
            let filled = |byte| {
                let mut bytes = beginning.data.as_bytes().to_vec();
                bytes.resize(IFNAMSIZ, byte);
                Data::new(&bytes)
            };
            Ok((filled(0), filled(0xff)))
        }
        key => constant(key).map(|value| (value.clone(), value)),
    }
}

/// Ranges that overlap become one, and with `touching` those that touch, too. Where elements have something of their own,
/// they must not overlap.
fn merge(spans: &mut Vec<Span>, touching: bool) -> Result<(), NotCompiled> {
    let mut overlap = false;
    spans.dedup_by(|span, last| {
        if last.details.is_some() || span.details.is_some() {
            // One that is repeated is the same one.
            let repeated = (&span.from, &span.to, &span.details) == (&last.from, &last.to, &last.details);
            overlap |= !repeated && span.from <= last.to;
            return repeated;
        }
        let touches = || touching && successor(&last.to).is_some_and(|next| span.from == next);
        if span.from > last.to && !touches() {
            return false;
        }
        if span.to > last.to {
            last.to = std::mem::take(&mut span.to);
        }
        true
    });
    if overlap { Err(SetFault::Overlap.into()) } else { Ok(()) }
}

/// The keys as the kernel expects them: the ends of the ranges, preceded by one that ends the gap before the first. With `shared`, a
/// range ends where the next one begins.
fn ends(spans: Vec<Span>, key_len: usize, shared: bool) -> Result<Vec<SetKey>, NotCompiled> {
    let zero = Data::zero(key_len);
    let mut keys: Vec<SetKey> = Vec::with_capacity(2 * spans.len() + 1);
    if spans.first().is_some_and(|span| span.from != zero) {
        keys.push(SetKey::new(zero, true));
    }
    for span in spans {
        if shared {
            keys.pop_if(|before| before.end && before.key == span.from);
        }
        let end = successor(&span.to);
        let mut key = span.into_key();
        if end.is_none() {
            // nft says so of what reaches to the highest value.
            let open = ElementUserdata { comment: None, interval_open: true };
            let details = key.details.get_or_insert_default();
            details.userdata.extend(open.encode().map_err(|_| SetFault::Userdata)?);
        }
        keys.push(key);
        keys.extend(end.map(|end| SetKey::new(end, true)));
    }
    Ok(keys)
}

/// The next value; `None` after the highest one.
pub(crate) fn successor(data: &Data) -> Option<Data> {
    let mut bytes = [0; uapi::NFT_DATA_VALUE_MAXLEN];
    let bytes = bytes.get_mut(..data.as_bytes().len())?;
    bytes.copy_from_slice(data.as_bytes());
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Data::new(bytes));
        }
    }
    None
}

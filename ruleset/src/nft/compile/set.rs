//! Sets and maps as the kernel wants them: single values, or ranges by their ends.

use nftwire::expr::Counter;
use nftwire::userdata::{ByteOrder, SetUserdata};
use nftwire::{Family, SetFlags, uapi};

use super::load::{self, Bits};
use super::matching::concatenated;
use super::{NotCompiled, SetFault, constant};
use crate::model::expression::reversed;
use crate::{Data, DataType, Element, ElementDetails, Expression, Set, Statement, Verdict};

/// A set that belongs to one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnonymousSet {
    /// nft's number for what its keys are; those of several fields joined
    pub key_type: u32,
    /// Bytes of each field of a key, where it has several and there are ranges of them
    pub fields: Vec<u32>,
    /// nft's number for what its values are, and their bytes, where it is a map of values
    pub values: Option<(u32, u32)>,
    /// Bytes of a key
    pub key_len: u32,
    /// Whether it holds ranges, each as its first value and the one behind its last
    pub interval: bool,
    /// Whether it is a map of verdicts
    pub verdicts: bool,
    /// What nft keeps beside it, where it could not show the keys without
    pub userdata: Vec<u8>,
    /// The keys in [their order](SetKey::place), each once
    pub keys: Vec<SetKey>,
}

/// A key of a set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetKey {
    /// The value
    pub key: Data,
    /// Whether it is the first value that is no longer in the range
    pub end: bool,
    /// The last value of a range of several fields
    pub key_end: Option<Data>,
    /// Whether it stands for every key that no other element has
    pub catch_all: bool,
    /// What a map of verdicts has for it
    pub verdict: Option<Verdict>,
    /// What a map of values has for it
    pub value: Option<Data>,
    /// Whether it counts
    pub counter: bool,
}

impl SetKey {
    /// A key of a set that has nothing but keys.
    #[must_use]
    pub fn new(key: Data, end: bool) -> Self {
        Self { key, end, key_end: None, catch_all: false, verdict: None, value: None, counter: false }
    }

    /// The key as the kernel wants it.
    #[must_use]
    pub fn element(&self) -> nftwire::Element<'_> {
        let verdict = self.verdict.as_ref().map(Into::into);
        let counter = self.counter.then(|| Counter::default().into());
        let value = || self.value.clone().map(nftwire::ElementData::Value);
        nftwire::Element {
            interval_end: self.end,
            key_end: self.key_end.clone(),
            catch_all: self.catch_all,
            data: verdict.map(nftwire::ElementData::Verdict).or_else(value),
            expressions: counter.into_iter().collect(),
            ..nftwire::Element::new(self.key.clone())
        }
    }

    /// By what keys are ordered: no other key of the set is at the same place.
    #[must_use]
    pub fn place(&self) -> (&Data, bool) {
        (&self.key, self.end)
    }
}

/// An element of a set: from its first to its last value.
struct Span {
    from: Data,
    to: Data,
    verdict: Option<Verdict>,
    value: Option<Data>,
    counter: bool,
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
    /// The set as the kernel wants it, without its elements.
    #[must_use]
    pub fn head<'a>(
        &'a self,
        family: Family,
        table: impl Into<nftwire::Text<'a>>,
        name: impl Into<nftwire::Text<'a>>,
        id: u32,
    ) -> nftwire::Set<'a> {
        let flag = |set: bool, flag| if set { flag } else { SetFlags::default() };
        let map = self.verdicts || self.values.is_some();
        let (interval, map) = (flag(self.interval, SetFlags::INTERVAL), flag(map, SetFlags::MAP));
        let concat = flag(!self.fields.is_empty(), SetFlags::CONCAT);
        let (value_type, value_len) = self.values.unwrap_or_default();
        nftwire::Set {
            id,
            flags: SetFlags::ANONYMOUS | SetFlags::CONSTANT | interval | map | concat,
            key_type: self.key_type,
            data_type: if self.verdicts { DataType::VERDICT } else { value_type },
            data_len: value_len,
            size: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            fields: self.fields.clone(),
            userdata: &self.userdata,
            ..nftwire::Set::new(family, table, name, self.key_len)
        }
    }

    /// The set of these elements.
    ///
    /// # Errors
    /// Elements that are neither values nor ranges or prefixes of values in network order.
    pub(super) fn new(key: &Expression, elements: &[Element]) -> Result<Self, NotCompiled> {
        let verdicts = elements.iter().any(|element| matches!(element.value, Some(Expression::Verdict(_))));
        let values = elements.iter().find_map(|element| element.value.as_ref()).filter(|_| !verdicts);
        let values = match values {
            Some(value) => Some((type_number(value), value_len(value)?)),
            None => None,
        };
        let interval = elements.iter().any(|element| load::is_range(&element.key));
        if let Expression::Concat(parts) = key {
            let fields: Vec<_> = parts.iter().map(load::len).collect();
            let key_len = fields.iter().map(|len| len.next_multiple_of(4)).sum();
            let mut keys = elements
                .iter()
                .map(|element| fields_key(element, interval))
                .collect::<Result<Vec<_>, _>>()?;
            keys.sort_by(|one, other| one.place().cmp(&other.place()));
            let fields = if interval { fields } else { Vec::new() };
            let (key_type, userdata) = (type_number(key), Vec::new());
            return Ok(Self { key_type, fields, values, key_len, interval, verdicts, userdata, keys });
        }
        let data_type = key.data_type().unwrap_or(DataType::Integer);
        let (wildcards, elements): (Vec<_>, Vec<_>) =
            elements.iter().partition(|element| matches!(element.key, Expression::Wildcard));
        let spans = spans(elements)?;
        let key_len = spans.first().map_or(0, |span| span.from.as_bytes().len());
        let mut keys = keys(data_type, key_len, interval, spans)?;
        for wildcard in wildcards {
            let Details { verdict, value, counter } = details(wildcard)?;
            keys.push(SetKey {
                catch_all: true,
                verdict,
                value,
                counter,
                ..SetKey::new(Data::default(), false)
            });
        }
        // nft takes keys for big endian where nothing says otherwise.
        let userdata = match byte_order(data_type) {
            ByteOrder::Big => Vec::new(),
            order => userdata(order, false)?,
        };
        let key_len = u32::try_from(key_len).unwrap_or(u32::MAX);
        let (key_type, fields) = (data_type.set_number(), Vec::new());
        Ok(Self { key_type, fields, values, key_len, interval, verdicts, userdata, keys })
    }
}

/// nft's number for a type: those of several fields are joined, six bits for each.
fn type_number(expression: &Expression) -> u32 {
    match expression {
        Expression::Concat(parts) => parts.iter().fold(0, |number, part| number << 6 | type_number(part)),
        Expression::Prefix(prefix) => type_number(&prefix.value),
        Expression::Range(range) => type_number(&range.from),
        expression => expression.data_type().unwrap_or(DataType::Integer).set_number(),
    }
}

/// Bytes of a map's value; a range has two.
fn value_len(value: &Expression) -> Result<u32, NotCompiled> {
    u32::try_from(value_data(value)?.as_bytes().len()).map_err(|_| SetFault::Value.into())
}

fn value_data(value: &Expression) -> Result<Data, NotCompiled> {
    match value {
        Expression::Concat(parts) if parts.iter().any(load::is_range) => Err(SetFault::Value.into()),
        Expression::Concat(parts) => concatenated(parts),
        value if load::is_range(value) => {
            let (from, to) = range(value)?;
            Ok(Data::new(&[from.as_bytes(), to.as_bytes()].concat()))
        }
        value => constant(value).map_err(|_| SetFault::Value.into()),
    }
}

/// An element whose key has several fields.
fn fields_key(element: &Element, interval: bool) -> Result<SetKey, NotCompiled> {
    let Details { verdict, value, counter } = details(element)?;
    let key = match &element.key {
        Expression::Concat(parts) => {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for part in parts {
                let (first, last) = range(part)?;
                for (bytes, end) in [(&mut from, first), (&mut to, last)] {
                    bytes.extend_from_slice(end.as_bytes());
                    bytes.resize(bytes.len().next_multiple_of(4), 0);
                }
            }
            SetKey { key_end: interval.then(|| Data::new(&to)), ..SetKey::new(Data::new(&from), false) }
        }
        Expression::Wildcard => SetKey { catch_all: true, ..SetKey::new(Data::default(), false) },
        key => SetKey::new(constant(key)?, false),
    };
    Ok(SetKey { verdict, value, counter, ..key })
}

/// Elements where the bits of a field are in the bytes that are read.
pub(super) fn moved(elements: &[Element], bits: Bits) -> Result<Vec<Element>, NotCompiled> {
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

/// Compiles a set that has a name.
///
/// # Errors
/// It has something that only can be shown.
pub fn named_set(set: &Set) -> Result<NamedSet, NotCompiled> {
    if set.value.is_some() {
        return Err(SetFault::Map.into());
    }
    let [field] = set.key.types.as_slice() else {
        return Err(SetFault::Fields.into());
    };
    let flags = SetFlags(set.flags);
    let known = [SetFlags::default(), SetFlags::CONSTANT, SetFlags::INTERVAL];
    let interval = flags.contains(SetFlags::INTERVAL);
    let plain = set.size == 0 && set.timeout == 0 && set.gc_interval == 0 && !set.memory_policy;
    let untold = set.key.expression.is_none() && set.statements.is_empty() && set.comment.is_none();
    if !(known.contains(&flags) || flags == SetFlags::CONSTANT | SetFlags::INTERVAL) || !plain || !untold {
        return Err(SetFault::Attributes.into());
    }
    if set.elements.iter().any(|element| element.details.is_some()) {
        return Err(SetFault::Element.into());
    }
    let userdata = userdata(byte_order(field.data_type), set.auto_merge)?;
    let key_len = usize::try_from(field.len).unwrap_or(0);
    let keys = keys(field.data_type, key_len, interval, spans(&set.elements)?)?;
    Ok(NamedSet { data_type: field.data_type, key_len: field.len, flags, userdata, keys })
}

/// As nft has it: the names of interfaces are in host order, too.
fn byte_order(data_type: DataType) -> ByteOrder {
    let host = data_type.is_host_order() || data_type == DataType::InterfaceName;
    if host { ByteOrder::Host } else { ByteOrder::Big }
}

fn userdata(key_byte_order: ByteOrder, merge_elements: bool) -> Result<Vec<u8>, NotCompiled> {
    let userdata = SetUserdata { key_byte_order: Some(key_byte_order), merge_elements, ..Default::default() };
    userdata.encode().map_err(|_| SetFault::Userdata.into())
}

/// The elements by their first and last values, ascending.
fn spans<'e>(elements: impl IntoIterator<Item = &'e Element>) -> Result<Vec<Span>, NotCompiled> {
    let mut spans = elements.into_iter().map(span).collect::<Result<Vec<_>, _>>()?;
    spans.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    Ok(spans)
}

fn keys(
    data_type: DataType,
    key_len: usize,
    interval: bool,
    spans: Vec<Span>,
) -> Result<Vec<SetKey>, NotCompiled> {
    if !interval && spans.iter().any(|span| span.from != span.to) {
        return Err(SetFault::NotInterval.into());
    }
    // The kernel compares ranges byte by byte.
    let mut spans = spans;
    if interval && data_type.is_host_order() && cfg!(target_endian = "little") {
        for span in &mut spans {
            (span.from, span.to) = (reversed(&span.from), reversed(&span.to));
        }
        spans.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    }
    let spans = merged(spans, interval)?;
    let key = |span: Span| {
        let Span { from, to: _, verdict, value, counter } = span;
        SetKey { verdict, value, counter, ..SetKey::new(from, false) }
    };
    Ok(if interval { ends(spans, key_len, key) } else { spans.into_iter().map(key).collect() })
}

fn span(element: &Element) -> Result<Span, NotCompiled> {
    let (from, to) = range(&element.key)?;
    let Details { verdict, value, counter } = details(element)?;
    Ok(Span { from, to, verdict, value, counter })
}

/// What an element has beside its key.
struct Details {
    verdict: Option<Verdict>,
    value: Option<Data>,
    counter: bool,
}

fn details(element: &Element) -> Result<Details, NotCompiled> {
    let (verdict, value) = match &element.value {
        None => (None, None),
        Some(Expression::Verdict(verdict)) => (Some(verdict.clone()), None),
        Some(value) => (None, Some(value_data(value)?)),
    };
    let counter = match element.details.as_deref() {
        None => false,
        Some(ElementDetails { timeout: 0, expires: 0, comment: None, statements }) => {
            match statements.as_slice() {
                [] => false,
                [Statement::Counter(_)] => true,
                _ => return Err(SetFault::Element.into()),
            }
        }
        Some(_) => return Err(SetFault::Element.into()),
    };
    Ok(Details { verdict, value, counter })
}

/// The first and the last value of an element.
pub(crate) fn range(key: &Expression) -> Result<(Data, Data), NotCompiled> {
    match key {
        Expression::Range(range) => Ok((constant(&range.from)?, constant(&range.to)?)),
        Expression::Prefix(prefix) => {
            let from = constant(&prefix.value)?;
            let mut to = [0; uapi::NFT_DATA_VALUE_MAXLEN];
            for (index, (to, from)) in (0..).zip(to.iter_mut().zip(from.as_bytes())) {
                *to = from | !super::mask_byte(prefix.len, index);
            }
            let to = Data::new(&to[..from.as_bytes().len().min(to.len())]);
            Ok((from, to))
        }
        key => constant(key).map(|value| (value.clone(), value)),
    }
}

/// Ranges that overlap or touch become one, as nft does in a set that nobody names. Where elements have something of
/// their own, they must not overlap.
fn merged(spans: Vec<Span>, interval: bool) -> Result<Vec<Span>, NotCompiled> {
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last)
                if last.verdict.is_none() && last.value.is_none() && !last.counter && !span.counter =>
            {
                let touches = interval && successor(&last.to).is_some_and(|next| span.from == next);
                if span.from > last.to && !touches {
                    merged.push(span);
                } else if span.to > last.to {
                    last.to = span.to;
                }
            }
            Some(last) if span.from <= last.to => {
                return Err(SetFault::Overlap.into());
            }
            _ => merged.push(span),
        }
    }
    Ok(merged)
}

/// What the kernel wants: the ends of the ranges, after one that says that nothing is before the first. A range ends
/// where the next one begins.
fn ends(spans: Vec<Span>, key_len: usize, key: impl Fn(Span) -> SetKey) -> Vec<SetKey> {
    let zero = Data::zero(key_len);
    let mut keys: Vec<SetKey> = Vec::with_capacity(2 * spans.len() + 1);
    if spans.first().is_some_and(|span| span.from != zero) {
        keys.push(SetKey::new(zero, true));
    }
    for span in spans {
        keys.pop_if(|before| before.end && before.key == span.from);
        // What reaches to the highest value has no end.
        let end = successor(&span.to);
        keys.push(key(span));
        keys.extend(end.map(|end| SetKey::new(end, true)));
    }
    keys
}

/// The next value; `None` behind the highest one.
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

//! Sets and maps as the kernel wants them: single values, or ranges by their ends.

use nftwire::expr::Counter;
use nftwire::userdata::{ByteOrder, SetUserdata};
use nftwire::{Family, SetFlags, uapi};

use super::{NotCompiled, constant};
use crate::{Data, DataType, Element, Expression, Set, Statement, Verdict};

/// A set that belongs to one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnonymousSet {
    /// What its keys are
    pub data_type: DataType,
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
    /// What a map of verdicts has for it
    pub verdict: Option<Verdict>,
    /// Whether it counts
    pub counter: bool,
}

impl SetKey {
    /// A key of a set that has nothing but keys.
    #[must_use]
    pub fn new(key: Data, end: bool) -> Self {
        Self { key, end, verdict: None, counter: false }
    }

    /// The key as the kernel wants it.
    #[must_use]
    pub fn element(&self) -> nftwire::Element<'_> {
        let verdict = self.verdict.as_ref().map(Into::into);
        let counter = self.counter.then(|| Counter::default().into());
        nftwire::Element {
            interval_end: self.end,
            data: verdict.map(nftwire::ElementData::Verdict),
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
        let (interval, map) = (flag(self.interval, SetFlags::INTERVAL), flag(self.verdicts, SetFlags::MAP));
        nftwire::Set {
            id,
            flags: SetFlags::ANONYMOUS | SetFlags::CONSTANT | interval | map,
            key_type: self.data_type.set_number(),
            data_type: if self.verdicts { DataType::VERDICT } else { 0 },
            size: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            userdata: &self.userdata,
            ..nftwire::Set::new(family, table, name, self.key_len)
        }
    }

    /// The set of these elements.
    ///
    /// # Errors
    /// Elements that are neither values nor ranges or prefixes of values in network order.
    pub(super) fn new(data_type: DataType, elements: &[Element]) -> Result<Self, NotCompiled> {
        let spans = spans(elements)?;
        let key_len = spans.first().map_or(0, |span| span.from.as_bytes().len());
        let interval = spans.iter().any(|span| span.from != span.to);
        let verdicts = spans.iter().any(|span| span.verdict.is_some());
        let keys = keys(data_type, key_len, interval, spans)?;
        // nft takes keys for big endian where nothing says otherwise.
        let userdata = match byte_order(data_type) {
            ByteOrder::Big => Vec::new(),
            order => userdata(order, false)?,
        };
        let key_len = u32::try_from(key_len).unwrap_or(u32::MAX);
        Ok(Self { data_type, key_len, interval, verdicts, userdata, keys })
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
    userdata.encode().map_err(|_| NotCompiled { what: "a set of this kind" })
}

/// The elements by their first and last values, ascending.
fn spans(elements: &[Element]) -> Result<Vec<Span>, NotCompiled> {
    let mut spans = elements.iter().map(span).collect::<Result<Vec<_>, _>>()?;
    spans.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    Ok(spans)
}

fn keys(
    data_type: DataType,
    key_len: usize,
    interval: bool,
    spans: Vec<Span>,
) -> Result<Vec<SetKey>, NotCompiled> {
    if interval && data_type.is_host_order() {
        return Err(NotCompiled { what: "a range of numbers in host order in a set" });
    }
    if !interval && spans.iter().any(|span| span.from != span.to) {
        return Err(NotCompiled { what: "a range in a set without the flag interval" });
    }
    let spans = merged(spans, interval)?;
    let key =
        |span: Span| SetKey { key: span.from, end: false, verdict: span.verdict, counter: span.counter };
    Ok(if interval { ends(spans, key_len, key) } else { spans.into_iter().map(key).collect() })
}

fn span(element: &Element) -> Result<Span, NotCompiled> {
    let (from, to) = range(&element.key)?;
    let verdict = match &element.value {
        None => None,
        Some(Expression::Verdict(verdict)) => Some(verdict.clone()),
        Some(_) => return Err(NotCompiled { what: "a map of values" }),
    };
    let counter = match element.details.as_deref() {
        None => false,
        Some(details) => match details.statements.as_slice() {
            [Statement::Counter(_)] if details.timeout == 0 && details.comment.is_none() => true,
            _ => return Err(NotCompiled { what: "an element with a time, a comment or a limit of its own" }),
        },
    };
    Ok(Span { from, to, verdict, counter })
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
            Some(last) if last.verdict.is_none() && !last.counter && !span.counter => {
                let touches = interval && successor(&last.to).is_some_and(|next| span.from == next);
                if span.from > last.to && !touches {
                    merged.push(span);
                } else if span.to > last.to {
                    last.to = span.to;
                }
            }
            Some(last) if span.from <= last.to => {
                return Err(NotCompiled { what: "a map or a set with counters whose elements overlap" });
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

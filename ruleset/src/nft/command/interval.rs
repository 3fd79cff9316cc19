//! Ranges that are added to a set which has some, and taken out of it (nftables, src/intervals.c).

use std::borrow::Cow;
use std::collections::HashSet;

use nftwire::{Error, Family, Socket, uapi};

use crate::nft::compile::SetKey;
use crate::nft::compile::set::{range, successor};
use crate::nft::decompile;
use crate::{Data, DataType, Element, Expression, Set};

/// The ranges that a set has.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// In the order of their ends
    elements: Vec<Element>,
    /// Their first and last values; none overlaps with another
    spans: Vec<(Data, Data)>,
    /// Whether they were read
    known: bool,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Plan<'s> {
    /// What goes before, where anything does
    pub(super) gone: Option<Set>,
    /// What is added
    pub(super) added: Cow<'s, Set>,
    /// Whether the set was empty: then the kernel expects an element that ends the gap before the first range
    pub(super) starts: bool,
}

/// Why ranges cannot be added or taken out, in nft's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// They overlap with each other
    #[error("conflicting intervals specified")]
    Conflicting,
    /// They overlap with what the set has
    #[error("interval overlaps with an existing one")]
    Overlap,
    /// The set has no such range
    #[error("element does not exist")]
    Missing,
}

/// A range that cannot be added or deleted.
#[derive(Debug)]
pub(super) struct Conflict {
    pub(super) unfit: Unfit,
    pub(super) element: Box<Element>,
    /// The other one, where both are written
    pub(super) related: Option<Box<Element>>,
}

/// Whether what is sent depends on what the set has.
pub(super) fn needs_existing(set: &Set) -> bool {
    set.flags & uapi::NFT_SET_INTERVAL != 0 && set.key.types.len() == 1
}

/// The keys without the one that says that nothing is before the first range.
pub(super) fn without_start(keys: &[SetKey]) -> &[SetKey] {
    match keys {
        [start, rest @ ..] if start.end => rest,
        keys => keys,
    }
}

impl Existing {
    /// What the kernel has of a set; nothing of one that is to be added.
    pub(super) fn read(
        socket: &mut Socket,
        family: Family,
        table: crate::Text<'_>,
        set: &Set,
    ) -> Result<Self, Error> {
        let mut reader = decompile::SetReader::new(Set { elements: Vec::new(), ..set.clone() });
        let read = socket.elements(family, table, &set.name, |list| {
            for element in list.elements() {
                reader.add(&element?);
            }
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(error) if super::is_missing(&error) => return Ok(Self::nothing()),
            Err(error) => return Err(error),
        }
        let elements = reader.finish().elements;
        let with_ends = |element: Element| Some((ends(&element.key, set).ok()?, element));
        let mut found: Vec<_> = elements.into_iter().filter_map(with_ends).collect();
        found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let (spans, elements) = found.into_iter().unzip();
        Ok(Self { elements, spans, known: true })
    }

    /// What a set has that is new, or was emptied.
    pub(super) fn nothing() -> Self {
        Self { known: true, ..Self::default() }
    }

    /// What the set has when these are gone, and those are added; ranges that become one are one.
    pub(super) fn changed(self, set: &Set, gone: Option<&Set>, added: Option<&Set>) -> Self {
        let Self { elements, spans, known } = self;
        let with_ends = |element: &Element| Some((ends(&element.key, set).ok()?, element.clone()));
        let all = |set: Option<&Set>| -> Vec<_> {
            set.into_iter().flat_map(|set| &set.elements).filter_map(with_ends).collect()
        };
        let gone: HashSet<_> = all(gone).into_iter().map(|(span, _)| span).collect();
        let kept = spans.into_iter().zip(elements).filter(|(span, _)| !gone.contains(span));
        let mut found: Vec<_> = kept.chain(all(added)).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found.dedup_by(|(span, _), (last, element)| {
            let touches =
                set.auto_merge && (span.0 <= last.1 || successor(&last.1).is_some_and(|next| span.0 == next));
            if touches && span.1 > last.1 {
                last.1 = span.1.clone();
                element.key = expression(&last.0, &last.1, set);
            }
            touches || span == last
        });
        let (spans, elements) = found.into_iter().unzip();
        Self { elements, spans, known }
    }

    /// What has to be sent so that the set has these elements, too.
    pub(super) fn add<'s>(&self, set: &'s Set) -> Result<Plan<'s>, Conflict> {
        if !self.known || self.elements.is_empty() {
            if self.known && !set.auto_merge {
                refuse_overlaps(set)?;
            }
            return Ok(Plan { gone: None, added: Cow::Borrowed(set), starts: true });
        }
        let mut gone = Vec::new();
        let mut added = Vec::with_capacity(set.elements.len());
        for element in &set.elements {
            let Ok(span) = ends(&element.key, set) else {
                added.push(element.clone());
                continue;
            };
            let touched = self.touching(&span, set.auto_merge);
            if self.spans[touched.clone()].contains(&span) {
                // The kernel has it; it is sent nevertheless, with its comment, timeout and value.
                added.push(element.clone());
                continue;
            }
            if touched.is_empty() {
                added.push(element.clone());
                continue;
            }
            if !set.auto_merge {
                let unfit = Unfit::Overlap;
                return Err(Conflict { unfit, element: Box::new(element.clone()), related: None });
            }
            let (mut from, mut to) = span;
            for index in touched {
                from = from.min(self.spans[index].0.clone());
                to = to.max(self.spans[index].1.clone());
                gone.push(self.elements[index].clone());
            }
            added.push(Element { key: expression(&from, &to, set), ..element.clone() });
        }
        if !set.auto_merge {
            refuse_overlaps(set)?;
        }
        let with = |elements| Set { elements, ..set.clone() };
        let gone = if gone.is_empty() { None } else { Some(with(gone)) };
        Ok(Plan { gone, added: Cow::Owned(with(added)), starts: false })
    }

    /// What has to be sent so that the set has none of these any more: of a merged range, the rest stays.
    pub(super) fn delete(&self, set: &Set) -> Result<Plan<'static>, Conflict> {
        let with = |elements| Set { elements, ..set.clone() };
        if !self.known || !set.auto_merge {
            return Ok(Plan { gone: None, added: Cow::Owned(with(Vec::new())), starts: false });
        }
        let (mut gone, mut added) = (Vec::new(), Vec::new());
        for element in &set.elements {
            let Ok((from, to)) = ends(&element.key, set) else {
                gone.push(element.clone());
                continue;
            };
            let index = self.spans.partition_point(|span| span.1 < from);
            let around = self.spans.get(index).is_some_and(|span| span.0 <= from && to <= span.1);
            if !around {
                let unfit = Unfit::Missing;
                return Err(Conflict { unfit, element: Box::new(element.clone()), related: None });
            }
            gone.push(self.elements[index].clone());
            let (first, last) = &self.spans[index];
            if *first < from {
                let key = expression(first, &decompile::predecessor(&from), set);
                added.push(Element { key, ..self.elements[index].clone() });
            }
            if let Some(next) = successor(&to).filter(|next| next <= last) {
                added.push(Element { key: expression(&next, last, set), ..self.elements[index].clone() });
            }
        }
        Ok(Plan { gone: Some(with(gone)), added: Cow::Owned(with(added)), starts: false })
    }

    /// The ranges that overlap with one, and those next to it where they are to become one.
    fn touching(&self, span: &(Data, Data), merge: bool) -> std::ops::Range<usize> {
        let next = successor(&span.1);
        let is_before = |to: &Data| *to < span.0 && !(merge && successor(to).as_ref() == Some(&span.0));
        let is_after = |from: &Data| *from > span.1 && !(merge && next.as_ref() == Some(from));
        let start = self.spans.partition_point(|(_, to)| is_before(to));
        start..start + self.spans[start..].partition_point(|(from, _)| !is_after(from))
    }
}

/// Two elements that are added at once must not overlap, unless they are the same.
fn refuse_overlaps(set: &Set) -> Result<(), Conflict> {
    let elements = set.elements.iter();
    let mut spans: Vec<_> =
        elements.filter_map(|element| Some((ends(&element.key, set).ok()?, element))).collect();
    spans.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let conflict = spans.windows(2).find(|pair| pair[0].0 != pair[1].0 && pair[1].0.0 <= pair[0].0.1);
    match conflict {
        Some([first, second]) => Err(Conflict {
            unfit: Unfit::Conflicting,
            element: Box::new(second.1.clone()),
            related: Some(Box::new(first.1.clone())),
        }),
        _ => Ok(()),
    }
}

/// A set with an element's first value.
pub(super) fn beginning(element: &Element, set: &Set) -> Set {
    let key = match ends(&element.key, set) {
        Ok((from, _)) => expression(&from, &from, set),
        Err(()) => element.key.clone(),
    };
    Set { elements: vec![Element { key, value: None, details: None }], ..set.clone() }
}

/// Whether one range has all values of another one.
pub(super) fn covers(outer: &Element, inner: &Element, set: &Set) -> bool {
    match (ends(&outer.key, set), ends(&inner.key, set)) {
        (Ok(outer), Ok(inner)) => outer.0 <= inner.0 && inner.1 <= outer.1,
        _ => outer.key == inner.key,
    }
}

/// The first and the last value, most significant byte first.
fn ends(key: &Expression, set: &Set) -> Result<(Data, Data), ()> {
    if matches!(key, Expression::Wildcard) {
        return Err(());
    }
    let (from, to) = range(key).map_err(|_| ())?;
    let data_type = data_type(set);
    let ordered = |data: Data| crate::Constant::new(data_type, data).most_significant_first();
    let (from, mut to) = (ordered(from), ordered(to));
    let mut from = from;
    // The beginning of a text is a range of texts.
    let len = usize::try_from(set.key.len()).unwrap_or(0);
    if from.as_bytes().len() < len {
        let padded = |data: &Data, byte: u8| {
            let mut bytes = data.as_bytes().to_vec();
            bytes.resize(len, byte);
            Data::new(&bytes)
        };
        (from, to) = (padded(&from, 0), padded(&to, 0xff));
    }
    Ok((from, to))
}

fn data_type(set: &Set) -> DataType {
    set.key.types.first().map_or(DataType::Integer, |field| field.data_type)
}

fn expression(from: &Data, to: &Data, set: &Set) -> Expression {
    decompile::range(from, to, data_type(set))
}

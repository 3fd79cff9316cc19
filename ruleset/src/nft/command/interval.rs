//! Ranges that are added to a set which has some, and taken out of it (nftables, src/intervals.c).

use std::borrow::Cow;
use std::cmp::Ordering;

use nftwire::{Error, Family, Socket, uapi};

use crate::nft::compile::SetKey;
use crate::nft::compile::set::{range, successor};
use crate::nft::decompile;
use crate::{Data, DataType, Element, Expression, Set};

/// The ranges that a set has.
#[derive(Debug, Default)]
pub(super) struct Existing {
    elements: Vec<Element>,
    spans: Vec<(Data, Data)>,
    /// Whether they were read
    known: bool,
}

/// Why ranges cannot be added or taken out, in nft's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// They overlap, with each other or with what the set has
    #[error("conflicting intervals specified")]
    Overlap,
    /// The set has no such range
    #[error("element does not exist")]
    Missing,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Plan<'s> {
    /// What goes before, where anything does
    pub(super) gone: Option<Set>,
    /// What is added
    pub(super) added: Cow<'s, Set>,
    /// Whether the set had nothing: the kernel wants to know where no range is before the first
    pub(super) starts: bool,
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
            Err(error) if super::is_missing(&error) => return Ok(Self { known: true, ..Self::default() }),
            Err(error) => return Err(error),
        }
        let elements = reader.finish().elements;
        let mut kept = Vec::with_capacity(elements.len());
        let mut spans = Vec::with_capacity(elements.len());
        for element in elements {
            if let Ok(span) = ends(&element.key, set) {
                kept.push(element);
                spans.push(span);
            }
        }
        Ok(Self { elements: kept, spans, known: true })
    }

    /// What has to be sent so that the set has these elements, too.
    pub(super) fn add<'s>(&self, set: &'s Set) -> Result<Plan<'s>, Unfit> {
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
            let touched: Vec<_> = self.touching(&span, set.auto_merge).collect();
            if touched.iter().any(|index| self.spans[*index] == span) {
                // The kernel knows it; it is sent all the same, for what belongs to it.
                added.push(element.clone());
                continue;
            }
            if touched.is_empty() {
                added.push(element.clone());
                continue;
            }
            if !set.auto_merge {
                return Err(Unfit::Overlap);
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
    pub(super) fn delete(&self, set: &Set) -> Result<Plan<'static>, Unfit> {
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
            let around = self.spans.iter().position(|span| span.0 <= from && to <= span.1);
            let Some(index) = around else {
                return Err(Unfit::Missing);
            };
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
    fn touching<'s>(&'s self, span: &'s (Data, Data), merge: bool) -> impl Iterator<Item = usize> + 's {
        let next = successor(&span.1);
        self.spans.iter().enumerate().filter_map(move |(index, (from, to))| {
            let overlaps = *from <= span.1 && span.0 <= *to;
            let beside = merge && (next.as_ref() == Some(from) || successor(to).as_ref() == Some(&span.0));
            (overlaps || beside).then_some(index)
        })
    }
}

/// Two elements that are added at once must not overlap, unless they are the same.
fn refuse_overlaps(set: &Set) -> Result<(), Unfit> {
    let mut spans: Vec<_> = set.elements.iter().filter_map(|element| ends(&element.key, set).ok()).collect();
    spans.sort_unstable();
    let conflict = spans.windows(2).any(|pair| match pair[0].cmp(&pair[1]) {
        Ordering::Equal => false,
        _ => pair[1].0 <= pair[0].1,
    });
    if conflict { Err(Unfit::Overlap) } else { Ok(()) }
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

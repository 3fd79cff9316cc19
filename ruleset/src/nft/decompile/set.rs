//! Sets and their elements.

use nftwire::userdata::{ByteOrder, ElementUserdata, SetUserdata};
use nftwire::{ElementData, uapi};

use super::interval::{self, End};
use super::{Constant, Data, DataType, Decompiler, Expression, type_of};
use crate::model::expression::swap_host_order;
use crate::model::statement::Verdict;
use crate::{Element, ElementDetails, FieldType, Set, SetOrigin, SetType, SetValue};

/// The bits of one type in a set's type: a concatenation has several.
const TYPE_BITS: u32 = 6;

/// Bytes of the longest key.
const KEY_MAX: u32 = 64;

/// A set without its elements.
#[must_use]
pub fn set(set: &nftwire::Set<'_>) -> Set {
    let userdata = SetUserdata::decode(set.userdata);
    let key = set_type(
        set.key_type,
        set.key_len,
        &set.fields,
        userdata.key_byte_order,
        userdata.key_typeof.as_ref().and_then(|of| type_of::decode(of, set.key_len)),
    );
    let value = if set.flags.contains(nftwire::SetFlags::OBJECT) {
        set.object.map(SetValue::Object)
    } else if !set.flags.contains(nftwire::SetFlags::MAP) {
        None
    } else if set.data_type == DataType::VERDICT {
        Some(SetValue::Verdict)
    } else {
        let interval = userdata.data_interval.unwrap_or(false);
        let len = if interval { set.data_len / 2 } else { set.data_len };
        let of = userdata.data_typeof.as_ref().and_then(|of| type_of::decode(of, len));
        let data_type = set_type(set.data_type, len, &[], userdata.data_byte_order, of);
        Some(SetValue::Data { data_type, interval })
    };
    Set {
        name: set.name.into(),
        handle: set.handle,
        key,
        value,
        flags: set.flags.0,
        size: set.size,
        timeout: set.timeout,
        gc_interval: set.gc_interval,
        memory_policy: set.policy == nftwire::SetPolicy::Memory,
        auto_merge: userdata.merge_elements,
        comment: userdata.comment.map(Into::into),
        statements: Decompiler::stateful(&set.expressions),
        elements: Vec::new(),
        origin: SetOrigin::default(),
    }
}

fn set_type(number: u32, len: u32, fields: &[u32], order: Option<ByteOrder>, of: Option<SetType>) -> SetType {
    // nft leaves a concatenation unfinished where one of its parts is unknown.
    let known = match of {
        Some(of) if of.len() == len => return of,
        of => of.map_or(Vec::new(), |of| of.types),
    };
    let mut numbers = Vec::new();
    let mut rest = number;
    while rest > 0 {
        numbers.push(rest & ((1 << TYPE_BITS) - 1));
        rest >>= TYPE_BITS;
    }
    numbers.reverse();
    let single = numbers.len() < 2;
    let types = numbers.iter().enumerate().map(|(index, &number)| {
        let field = known.get(index).filter(|field| !single && field.data_type.set_number() == number);
        if let Some(field) = field {
            return *field;
        }
        let data_type = match DataType::from_number(number) {
            // Where nothing says otherwise, nft takes one number for big endian.
            Some(DataType::Integer) if order == Some(ByteOrder::Big) || (single && order.is_none()) => {
                DataType::NetworkInteger
            }
            Some(data_type) => data_type,
            None => DataType::Hex,
        };
        let own = match data_type.size() {
            0 => fields.get(index).map_or(4, |len| (*len).min(KEY_MAX)),
            size => size,
        };
        FieldType { data_type, len: if single { len } else { own } }
    });
    let mut types: Vec<_> = types.collect();
    if types.is_empty() {
        types.push(FieldType { data_type: DataType::Hex, len });
    }
    SetType { types, expression: None }
}

/// Collects the elements of a set.
#[derive(Debug)]
pub struct SetReader {
    set: Set,
    interval: bool,
    elements: Vec<(Data, Element)>,
    ends: Vec<End>,
    catch_all: Option<Element>,
}

impl SetReader {
    /// For this set.
    #[must_use]
    pub fn new(set: Set) -> Self {
        let interval = set.flags & uapi::NFT_SET_INTERVAL != 0;
        Self { set, interval, elements: Vec::new(), ends: Vec::new(), catch_all: None }
    }

    /// Adds an element.
    pub fn add(&mut self, element: &nftwire::Element<'_>) {
        let mut model = Element { key: Expression::Wildcard, value: None, details: details(element) };
        model.value = self.value(element);
        if element.catch_all {
            self.catch_all = Some(model);
        } else if self.interval && self.set.key.types.len() == 1 {
            self.ends.push(End { key: element.key.clone(), closes: element.interval_end, element: model });
        } else {
            model.key = self.key(element);
            self.elements.push((self.sort_key(&model.key, &element.key), model));
        }
    }

    /// The set with its elements in nft's order.
    #[must_use]
    pub fn finish(mut self) -> Set {
        if self.interval && self.set.key.types.len() == 1 {
            self.set.elements = interval::merge(self.ends, self.set.key.types[0].data_type);
        } else {
            // Ranges of several fields stay in the kernel's order.
            if !self.interval {
                self.elements.sort_by(|left, right| left.0.cmp(&right.0));
            }
            self.set.elements = self.elements.into_iter().map(|(_, element)| element).collect();
        }
        self.set.elements.extend(self.catch_all);
        self.set
    }

    fn key(&self, element: &nftwire::Element<'_>) -> Expression {
        match self.set.key.types.as_slice() {
            [single] => value_of(*single, &element.key),
            several => {
                let end = element.key_end.as_ref().filter(|_| self.interval);
                concat(several, &element.key, end)
            }
        }
    }

    /// nft compares keys as numbers, text and several fields in the machine's order: on most machines the last byte first.
    fn sort_key(&self, key: &Expression, data: &Data) -> Data {
        match key {
            Expression::Constant(constant) => {
                if constant.data_type.is_text() {
                    swap_host_order(data)
                } else {
                    constant.most_significant_first()
                }
            }
            Expression::Concat(_) => swap_host_order(data),
            // Several flags: nft does not compare them.
            _ => Data::zero(data.as_bytes().len()),
        }
    }

    fn value(&self, element: &nftwire::Element<'_>) -> Option<Expression> {
        if let Some(object) = element.object {
            return Some(Expression::Name(object.into()));
        }
        Some(match element.data.as_ref()? {
            ElementData::Verdict(verdict) => Expression::Verdict(Verdict::from_wire(*verdict)?),
            ElementData::Value(data) => match &self.set.value {
                Some(SetValue::Data { data_type, interval: true }) => {
                    let half = usize::try_from(data_type.len()).unwrap_or(0);
                    let (from, to) = data.as_bytes().split_at_checked(half)?;
                    let (from, to) = (Data::new(from), Data::new(to));
                    match data_type.types.as_slice() {
                        [single] => interval::range(&from, &to, single.data_type),
                        several => concat(several, &from, Some(&to)),
                    }
                }
                Some(SetValue::Data { data_type, .. }) => match data_type.types.as_slice() {
                    [single] => value_of(*single, data),
                    several => concat(several, data, None),
                },
                _ => Expression::constant(DataType::Hex, data.clone()),
            },
        })
    }
}

fn details(element: &nftwire::Element<'_>) -> Option<Box<ElementDetails>> {
    let comment = ElementUserdata::decode(element.userdata).comment;
    let plain = element.timeout == 0
        && element.expiration == 0
        && comment.is_none()
        && element.expressions.is_empty();
    if plain {
        return None;
    }
    Some(Box::new(ElementDetails {
        timeout: element.timeout,
        expires: element.expiration,
        comment: comment.map(Into::into),
        statements: Decompiler::stateful(&element.expressions),
    }))
}

fn value_of(field: FieldType, data: &Data) -> Expression {
    let constant = Constant::new(field.data_type, data.clone());
    super::matching::spread(constant)
}

/// The fields of a concatenation, or the ranges between those of two.
fn concat(types: &[FieldType], data: &Data, end: Option<&Data>) -> Expression {
    let mut start = 0;
    let mut parts = Vec::with_capacity(types.len());
    for field in types {
        let len = usize::try_from(field.len).unwrap_or(0);
        let part = |data: &Data| {
            let bytes = data.as_bytes().get(start..).unwrap_or_default();
            Data::new(&bytes[..len.min(bytes.len())])
        };
        let first = part(data);
        parts.push(match end {
            Some(end) => interval::range(&first, &part(end), field.data_type),
            None => value_of(*field, &first),
        });
        start += len.next_multiple_of(4);
    }
    Expression::Concat(parts)
}

//! Sets and maps as the kernel expects them: single values, or ranges by their ends.

mod element;
mod type_of;

use nftwire::expr::MetaKey;
use nftwire::userdata::{ByteOrder, SetUserdata, Typeof};
use nftwire::{Expr, Family, ObjectKind, SetFlags, SetPolicy, Text};

use super::{NotCompiled, SetFault, load, stateful};
use crate::nft::decompile::type_of::VERDICT;
use crate::{DataType, Element, Expression, Name, Selector, Set, SetOrigin, SetType, SetValue, Table};

use element::Ranges;
pub(super) use element::moved;
pub use element::{KeyDetails, SetKey};
pub(crate) use element::{range, successor};

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
    /// Whether it holds ranges, each as its first value and the one after its last
    pub interval: bool,
    /// Whether it is a map of verdicts
    pub verdicts: bool,
    /// What objects a map leads to
    pub object: Option<ObjectKind>,
    /// What nft keeps with it, where it could not show the keys without
    pub userdata: Vec<u8>,
    /// Of a meter, whose elements its rule adds: the name, and what bounds them
    pub meter: Option<Meter>,
    /// The keys in [their order](SetKey::sort_key), each once
    pub keys: Vec<SetKey>,
}

/// What a meter has besides its keys: nft gives these sets of a rule's own a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its name
    pub name: Name,
    /// How many elements it may hold
    pub size: u32,
    /// Whether elements expire
    pub expires: bool,
}

/// A set or a map that rules look things up in by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSet {
    /// nft's number for what its keys are; those of several fields joined
    pub key_type: u32,
    /// Bytes of a key
    pub key_len: u32,
    /// Bytes of each field of a key, where it has several and there are ranges of them
    pub fields: Vec<u32>,
    /// nft's number for what its values are, and their bytes, where it is a map of values or of verdicts
    pub values: Option<(u32, u32)>,
    /// What objects a map leads to
    pub object: Option<ObjectKind>,
    /// Its flags
    pub flags: SetFlags,
    /// How many elements it may hold; 0 for no limit
    pub size: u32,
    /// Milliseconds after which elements expire; 0 for never
    pub timeout: u64,
    /// Milliseconds between two searches for expired elements; 0 for the kernel's choice
    pub gc_interval: u32,
    /// What the kernel chooses its data structure for
    pub policy: SetPolicy,
    /// What each new element gets, such as a counter
    pub expressions: Vec<Expr<'static>>,
    /// What nft keeps with it
    pub userdata: Vec<u8>,
    /// The keys in [their order](SetKey::sort_key), each once
    pub keys: Vec<SetKey>,
}

impl AnonymousSet {
    /// Its name in a batch: the kernel numbers all but meters itself.
    #[must_use]
    pub fn name(&self) -> Text<'_> {
        self.meter.as_ref().map_or(super::ANONYMOUS_SET_NAME.into(), |meter| meter.name.as_text())
    }

    /// The set as the kernel expects it, without its elements.
    #[must_use]
    pub fn head<'a>(&'a self, family: Family, table: impl Into<Text<'a>>, id: u32) -> nftwire::Set<'a> {
        let flag = |set: bool, flag| if set { flag } else { SetFlags::default() };
        let map = self.verdicts || self.values.is_some();
        let (interval, map) = (flag(self.interval, SetFlags::INTERVAL), flag(map, SetFlags::MAP));
        let concat = flag(!self.fields.is_empty(), SetFlags::CONCAT);
        let objects = flag(self.object.is_some(), SetFlags::OBJECT);
        let (value_type, value_len) = self.values.unwrap_or_default();
        let (kind, size) = match &self.meter {
            None => (SetFlags::CONSTANT, u32::try_from(self.keys.len()).unwrap_or(u32::MAX)),
            Some(meter) => (SetFlags::EVAL | flag(meter.expires, SetFlags::TIMEOUT), meter.size),
        };
        nftwire::Set {
            id,
            flags: SetFlags::ANONYMOUS | kind | interval | map | concat | objects,
            object: self.object,
            key_type: self.key_type,
            data_type: if self.verdicts { DataType::VERDICT } else { value_type },
            data_len: value_len,
            size,
            fields: self.fields.clone(),
            userdata: &self.userdata,
            ..nftwire::Set::new(family, table, self.name(), self.key_len)
        }
    }

    /// The set that a rule fills by itself.
    ///
    /// # Errors
    /// A key that nft could not show.
    pub(super) fn meter(key: &Expression, meter: Meter) -> Result<Self, NotCompiled> {
        let key_len = match key {
            Expression::Concat(parts) => parts.iter().map(|part| load::len(part).next_multiple_of(4)).sum(),
            key => load::len(key),
        };
        Ok(Self {
            key_type: type_number(key),
            fields: Vec::new(),
            values: None,
            key_len,
            interval: false,
            verdicts: false,
            object: None,
            userdata: anonymous_userdata(key, None, false)?,
            meter: Some(meter),
            keys: Vec::new(),
        })
    }

    /// The set of these elements.
    ///
    /// # Errors
    /// Elements that are neither values nor ranges or prefixes of values in network order.
    pub(super) fn new(key: &Expression, elements: &[Element]) -> Result<Self, NotCompiled> {
        let verdicts = elements.iter().any(|element| matches!(element.value, Some(Expression::Verdict(_))));
        let has_value = |value: &&Expression| !matches!(value, Expression::Verdict(_) | Expression::Name(_));
        let value = elements.iter().find_map(|element| element.value.as_ref()).filter(has_value);
        let values = match value {
            None => None,
            Some(value) => Some((type_number(value), value_len(value)?)),
        };
        let userdata = anonymous_userdata(key, value, verdicts)?;
        let interval = elements.iter().any(|element| load::is_range(&element.key));
        if let Expression::Concat(parts) = key {
            let lens: Vec<_> = parts.iter().map(load::len).collect();
            let key_len = lens.iter().map(|len| len.next_multiple_of(4)).sum();
            let keys = element::of_fields(elements, parts.len(), interval)?;
            let fields = if interval { lens } else { Vec::new() };
            let key_type = type_number(key);
            let (object, meter) = (None, None);
            return Ok(Self {
                key_type,
                fields,
                values,
                key_len,
                interval,
                verdicts,
                object,
                userdata,
                meter,
                keys,
            });
        }
        let data_type = key.data_type().unwrap_or(DataType::Integer);
        let key_len = element::key_len(elements)?;
        let ranges = if interval { Ranges::Anonymous } else { Ranges::None };
        let keys = element::of_one_field(elements, data_type, key_len, ranges)?;
        let key_len = u32::try_from(key_len).unwrap_or(u32::MAX);
        let (key_type, fields) = (data_type.set_number(), Vec::new());
        let (object, meter) = (None, None);
        Ok(Self { key_type, fields, values, key_len, interval, verdicts, object, userdata, meter, keys })
    }
}

impl NamedSet {
    /// The elements in an order in which the kernel takes them. A set that is to take little memory becomes a tree even where
    /// it has no ranges, and there the kernel takes a key for the beginning of a range in which no higher key may begin
    /// (`__nft_rbtree_insert` in net/netfilter/nft_set_rbtree.c, Linux 6.18): the highest goes first.
    pub(crate) fn elements(&self) -> impl Iterator<Item = nftwire::Element<'_>> + Clone {
        let is_tree = self.policy == SetPolicy::Memory && !self.flags.contains(SetFlags::INTERVAL);
        let last = self.keys.len().saturating_sub(1);
        let keys = (0..self.keys.len()).map(move |index| if is_tree { last - index } else { index });
        keys.filter_map(|index| self.keys.get(index)).map(SetKey::element)
    }

    /// The set as the kernel expects it, without its elements.
    #[must_use]
    pub fn head<'a>(
        &'a self,
        family: Family,
        table: impl Into<Text<'a>>,
        name: impl Into<Text<'a>>,
        id: u32,
    ) -> nftwire::Set<'a> {
        let (data_type, data_len) = self.values.unwrap_or_default();
        nftwire::Set {
            id,
            flags: self.flags,
            key_type: self.key_type,
            data_type,
            data_len,
            size: self.size,
            fields: self.fields.clone(),
            timeout: self.timeout,
            gc_interval: self.gc_interval,
            policy: self.policy,
            object: self.object,
            expressions: self.expressions.clone(),
            userdata: &self.userdata,
            ..nftwire::Set::new(family, table, name, self.key_len)
        }
    }
}

/// What a set without a size has once a rule is loaded that adds to it (`nft_dynset_init` in net/netfilter/nft_dynset.c,
/// Linux 6.18).
const SIZE_OF_UPDATED: u32 = 0xffff;

impl NamedSet {
    /// Compiles a table's set as it is sent. With a size, and not declared dynamic, a set is one that no rule can change:
    /// where one does, the kernel has given it the size.
    ///
    /// # Errors
    /// As [`named_set`].
    pub(crate) fn sent(table: &Table, set: &Set) -> Result<Self, NotCompiled> {
        let mut compiled = named_set(set)?;
        let has_size = compiled.size == SIZE_OF_UPDATED && !compiled.flags.contains(SetFlags::EVAL);
        if has_size && table.updates(&set.name) {
            compiled.size = 0;
        }
        Ok(compiled)
    }

    /// Compiles a table's set as the kernel lists it after the table's rules were loaded.
    ///
    /// # Errors
    /// As [`named_set`].
    pub(crate) fn listed(table: &Table, set: &Set) -> Result<Self, NotCompiled> {
        let mut compiled = named_set(set)?;
        if compiled.size == 0 && table.updates(&set.name) {
            compiled.size = SIZE_OF_UPDATED;
        }
        Ok(compiled)
    }
}

/// Compiles a set that has a name.
///
/// # Errors
/// It has something that only can be shown.
pub fn named_set(set: &Set) -> Result<NamedSet, NotCompiled> {
    compile(set, Ranges::None)
}

/// As [`named_set`], with keys of one field in the order of the elements where there are no ranges, as nft sends them: keys of
/// one or two bytes the kernel lists in that order (net/netfilter/nft_set_bitmap.c).
pub(crate) fn named_set_as_written(set: &Set) -> Result<NamedSet, NotCompiled> {
    compile(set, Ranges::Written)
}

fn compile(set: &Set, without_ranges: Ranges) -> Result<NamedSet, NotCompiled> {
    let Set { name: _, handle: _, key, value, flags, size, timeout, gc_interval, .. } = set;
    let Set { memory_policy, auto_merge, comment, statements, elements, origin, .. } = set;
    match origin {
        SetOrigin::Written => {}
        SetOrigin::Kernel(original) => return original.compile(set),
        SetOrigin::Inexact => return Err(SetFault::Inexact.into()),
    }
    let flags = SetFlags(*flags);
    let interval = flags.contains(SetFlags::INTERVAL);
    let keys = match key.types.as_slice() {
        [field] => {
            let key_len = usize::try_from(field.len).unwrap_or(0);
            let ranges = match (interval, *auto_merge) {
                (false, _) => without_ranges,
                (true, false) => Ranges::Apart,
                (true, true) => Ranges::Merged,
            };
            element::of_one_field(elements, field.data_type, key_len, ranges)?
        }
        fields => element::of_fields(elements, fields.len(), interval)?,
    };
    if keys.iter().any(|key| !key.leads_to(value.as_ref())) {
        return Err(SetFault::Element.into());
    }
    let mut userdata = SetUserdata {
        key_byte_order: Some(order_of(key)),
        // nft says for each map whether its values are ranges, and for no map of objects in which order they are.
        data_interval: value.as_ref().map(|value| matches!(value, SetValue::Data { interval: true, .. })),
        merge_elements: *auto_merge,
        comment: comment.as_ref().map(Into::into),
        ..Default::default()
    };
    let of_key = type_of::encode(key)?;
    userdata.key_typeof = of_key.as_ref().map(type_of::Encoded::as_typeof);
    let (mut values, mut object, mut of_value) = (None, None, None);
    match value {
        None => {}
        Some(SetValue::Verdict) => {
            values = Some((DataType::VERDICT, 0));
            userdata.data_byte_order = Some(NO_ORDER);
            // Where a map has `typeof` for its keys, nft writes one for its verdicts as well.
            userdata.data_typeof = key.expression.as_ref().map(|_| Typeof { expression: VERDICT, data: &[] });
        }
        Some(SetValue::Object(kind)) => object = Some(ObjectKind::from_number(kind.number())),
        Some(SetValue::Data { data_type, interval }) => {
            let len = data_type.len() * if *interval { 2 } else { 1 };
            values = Some((types_number(data_type), len));
            of_value = type_of::encode(data_type)?;
            userdata.data_byte_order = Some(order_of(data_type));
        }
    }
    if let Some(of_value) = &of_value {
        userdata.data_typeof = Some(of_value.as_typeof());
    }
    Ok(NamedSet {
        key_type: types_number(key),
        key_len: key.len(),
        fields: match flags.contains(SetFlags::CONCAT) {
            true => key.types.iter().map(|field| field.len).collect(),
            false => Vec::new(),
        },
        values,
        object,
        flags,
        size: *size,
        timeout: *timeout,
        gc_interval: *gc_interval,
        policy: if *memory_policy { SetPolicy::Memory } else { SetPolicy::Performance },
        expressions: stateful(statements)?,
        userdata: encode(&userdata)?,
        keys,
    })
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

fn types_number(of: &SetType) -> u32 {
    of.types.iter().fold(0, |number, field| number << 6 | field.data_type.set_number())
}

/// Bytes of a map's value; a range has two.
fn value_len(value: &Expression) -> Result<u32, NotCompiled> {
    u32::try_from(element::value_data(value)?.as_bytes().len()).map_err(|_| SetFault::Value.into())
}

/// nft's `BYTEORDER_INVALID`
const NO_ORDER: ByteOrder = ByteOrder::from_number(0);

/// The byte order of a single field; several have none.
fn order_of(of: &SetType) -> ByteOrder {
    use DataType as T;
    match (of.types.as_slice(), &of.expression) {
        // nft's own descriptions of these types say none, or another one than what it reads them from has.
        ([field], None) => match field.data_type {
            T::NfProto | T::InetProto | T::DccpType | T::CtDirection | T::Boolean => NO_ORDER,
            T::PacketType => ByteOrder::Host,
            data_type => byte_order(data_type),
        },
        ([field], Some(Expression::Selector(selector))) => match selector {
            Selector::Meta(MetaKey::Protocol | MetaKey::BriIifVproto) => ByteOrder::Big,
            Selector::Meta(_) | Selector::Osf(_) => ByteOrder::Host,
            _ => byte_order(field.data_type),
        },
        ([field], Some(_)) => byte_order(field.data_type),
        _ => NO_ORDER,
    }
}

/// As nft has it: texts are in host order, too.
fn byte_order(data_type: DataType) -> ByteOrder {
    let host = data_type.is_host_order() || data_type.is_text();
    if host { ByteOrder::Host } else { ByteOrder::Big }
}

/// What nft needs to show an anonymous set: the byte orders that are not big endian, whether values are ranges, and what
/// keys are whose type does not say their length. nft 1.0.6 fails at a listing of several such fields without.
fn anonymous_userdata(
    key: &Expression,
    value: Option<&Expression>,
    verdicts: bool,
) -> Result<Vec<u8>, NotCompiled> {
    let host = |data_type: DataType| Some(byte_order(data_type)).filter(|order| *order != ByteOrder::Big);
    let ranges = value.is_some_and(|value| match value {
        Expression::Concat(parts) => parts.iter().any(load::is_range),
        value => load::is_range(value),
    });
    let is_unsized = |part: &Expression| part.data_type().is_none_or(|data_type| data_type.size() == 0);
    let (key_type, has_typeof) = match key {
        Expression::Concat(parts) => (None, parts.iter().any(is_unsized)),
        // Bytes without a name are shown as such in a set.
        key => {
            let is_raw = matches!(key, Expression::Selector(Selector::Raw(_))) && is_unsized(key);
            let is_set = value.is_none() && !verdicts;
            (Some(key.data_type().unwrap_or(DataType::Integer)), is_raw && is_set)
        }
    };
    let of_key = if has_typeof { Some(type_of::expression(key)?) } else { None };
    let userdata = SetUserdata {
        key_byte_order: key_type.and_then(host),
        data_byte_order: value.and_then(Expression::data_type).and_then(host),
        key_typeof: of_key.as_ref().map(type_of::Encoded::as_typeof),
        data_typeof: (has_typeof && verdicts).then_some(Typeof { expression: VERDICT, data: &[] }),
        data_interval: ranges.then_some(true),
        ..SetUserdata::default()
    };
    if userdata == SetUserdata::default() { Ok(Vec::new()) } else { encode(&userdata) }
}

fn encode(userdata: &SetUserdata<'_>) -> Result<Vec<u8>, NotCompiled> {
    userdata.encode().map_err(|_| SetFault::Userdata.into())
}

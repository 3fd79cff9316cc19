//! What a rule does, as bytes.

use nftwire::expr::{Counter, Immediate, Last, Lookup, Objref, Quota};
use nftwire::userdata::ElementUserdata;
use nftwire::{AttrWriter, Element, ElementData, Expr, uapi};

use crate::nft::compile::{AnonymousSet, NotCompiled, SetKey, compile_in};
use crate::{Rule, Table};

/// Bytes of a set's fingerprint that are written as one attribute, whose length is a `u16`.
const PART: usize = 1 << 15;

/// Equal for two rules that differ only in what they have counted and in the names of their anonymous sets.
pub(super) type Fingerprint = Vec<u8>;

/// The fingerprint that the kernel's rule has after this one was added.
pub(super) fn desired_fingerprint(table: &Table, rule: &Rule) -> Result<Fingerprint, NotCompiled> {
    let first_set_id = 1;
    let compiled = compile_in(table, rule, first_set_id)?;
    let sets: Vec<_> = compiled.sets.iter().map(of_set).collect();
    let found = |_: &[u8], set_id: u32| -> Option<&Fingerprint> {
        sets.get(usize::try_from(set_id.checked_sub(first_set_id)?).ok()?)
    };
    Ok(fingerprint(&compiled.expressions, &compiled.userdata, found))
}

fn of_set(set: &AnonymousSet) -> Fingerprint {
    of_elements(set.keys.iter().map(SetKey::element))
}

/// The elements of an anonymous set in the order of their keys.
pub(super) fn of_elements<'e>(elements: impl Iterator<Item = Element<'e>>) -> Fingerprint {
    let mut elements: Vec<_> = elements.collect();
    elements.sort_by(|one, other| place(one).cmp(&place(other)));
    let mut writer = AttrWriter::default();
    for element in elements {
        let Element { key, key_end, interval_end, catch_all, data, object, .. } = &element;
        let Element { expressions, timeout, expiration: _, userdata, .. } = &element;
        writer.put(uapi::NFTA_SET_ELEM_KEY, key.as_bytes());
        writer.put_u8(uapi::NFTA_SET_ELEM_FLAGS, u8::from(*interval_end) | u8::from(*catch_all) << 1);
        if let Some(key_end) = key_end {
            writer.put(uapi::NFTA_SET_ELEM_KEY_END, key_end.as_bytes());
        }
        match data {
            None => {}
            Some(ElementData::Value(value)) => writer.put(uapi::NFTA_SET_ELEM_DATA, value.as_bytes()),
            Some(ElementData::Verdict(verdict)) => {
                Expr::from(Immediate::Verdict(*verdict)).encode(&mut writer);
            }
        }
        if let Some(object) = object {
            writer.put_text(uapi::NFTA_SET_ELEM_OBJREF, *object);
        }
        for expression in expressions {
            put(&mut writer, expression);
        }
        writer.put_be64(uapi::NFTA_SET_ELEM_TIMEOUT, *timeout);
        // Not whether a range reaches to the highest value, which its end says.
        if let Some(comment) = ElementUserdata::decode(userdata).comment {
            writer.put_text(uapi::NFTA_SET_ELEM_USERDATA, comment);
        }
    }
    writer.into_buffer()
}

fn place<'e>(element: &'e Element<'_>) -> (bool, &'e nftwire::Data, bool) {
    (element.catch_all, &element.key, element.interval_end)
}

/// `found` gives the fingerprint of an anonymous set by its name and by the number that its batch gave it.
pub(super) fn fingerprint<'s>(
    expressions: &[Expr<'_>],
    userdata: &[u8],
    found: impl Fn(&[u8], u32) -> Option<&'s Fingerprint>,
) -> Fingerprint {
    let mut writer = AttrWriter::default();
    for expression in expressions {
        let (set, without_name): (_, Expr<'_>) = match expression {
            Expr::Lookup(lookup) => (
                found(lookup.set.as_bytes(), lookup.set_id),
                Lookup { set: "".into(), set_id: 0, ..*lookup }.into(),
            ),
            Expr::Objref(Objref::Map { sreg, set, set_id }) => (
                found(set.as_bytes(), *set_id),
                Objref::Map { sreg: *sreg, set: "".into(), set_id: 0 }.into(),
            ),
            expression => {
                put(&mut writer, expression);
                continue;
            }
        };
        let Some(elements) = set else {
            expression.encode(&mut writer);
            continue;
        };
        without_name.encode(&mut writer);
        for part in elements.chunks(PART) {
            writer.put(uapi::NFTA_SET_ELEM_LIST_ELEMENTS, part);
        }
    }
    writer.put(uapi::NFTA_RULE_USERDATA, userdata);
    writer.into_buffer()
}

/// Writes an expression without what the kernel changes in it as packets come.
fn put(writer: &mut AttrWriter, expression: &Expr<'_>) {
    match expression {
        Expr::Counter(_) => Expr::from(Counter::default()).encode(writer),
        Expr::Quota(quota) => {
            let flags = quota.flags & uapi::NFT_QUOTA_F_INV;
            Expr::from(Quota { flags, consumed: 0, ..*quota }).encode(writer);
        }
        Expr::Last(_) => Expr::from(Last { since: None }).encode(writer),
        other => other.encode(writer),
    }
}

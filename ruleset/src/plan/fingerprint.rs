//! What a rule does, as bytes.

use nftwire::expr::{Counter, Immediate, Last, Lookup, Objref, Quota};
use nftwire::userdata::ElementUserdata;
use nftwire::{AttrWriter, Element, ElementData, Expr, Text, Verdict, uapi};

use crate::nft::compile::{AnonymousSet, NotCompiled, SetKey, compile_in};
use crate::{Chain, Rule, Table};

/// Bytes of a set's fingerprint that are written as one attribute, whose length is a `u16`.
const PART: usize = 1 << 15;

/// Equal for two rules that differ only in what they have counted and in the names of their anonymous sets.
pub(super) type Fingerprint = Vec<u8>;

/// The fingerprints that the kernel's rules have after those of this chain were added.
pub(super) fn desired_fingerprints(table: &Table, chain: &Chain) -> Result<Vec<Fingerprint>, NotCompiled> {
    chain.rules.iter().map(|rule| desired_in(table, rule, 0)).collect()
}

/// `depth` is the number of chains around the rule that belong to rules.
fn desired_in(table: &Table, rule: &Rule, depth: usize) -> Result<Fingerprint, NotCompiled> {
    let first_set_id = 1;
    let compiled = compile_in(table, rule, first_set_id)?;
    let sets: Vec<_> = compiled.sets.iter().map(of_set).collect();
    let set = |_: &[u8], set_id: u32| -> Option<&Fingerprint> {
        sets.get(usize::try_from(set_id.checked_sub(first_set_id)?).ok()?)
    };
    let chain = |name: Text<'_>| {
        let chain = table.anonymous.iter().find(|chain| chain.name.as_text() == name)?;
        (depth < uapi::NFT_JUMP_STACK_SIZE)
            .then(|| of_rules(chain.rules.iter().map(|rule| desired_in(table, rule, depth + 1))))
    };
    fingerprint(&compiled.expressions, &compiled.userdata, set, chain)
}

/// The fingerprint of a chain that belongs to a rule.
pub(super) fn of_rules<E>(rules: impl Iterator<Item = Result<Fingerprint, E>>) -> Result<Fingerprint, E> {
    let mut joined = Vec::new();
    for rule in rules {
        let rule = rule?;
        joined.extend(rule.len().to_ne_bytes());
        joined.extend(rule);
    }
    Ok(joined)
}

fn of_set(set: &AnonymousSet) -> Fingerprint {
    of_elements(set.keys.iter().map(SetKey::element))
}

/// The elements of a set in the order of their keys.
pub(super) fn of_elements<'e>(elements: impl Iterator<Item = Element<'e>>) -> Fingerprint {
    let mut elements: Vec<_> = elements.collect();
    elements.sort_by(|one, other| place(one).cmp(&place(other)));
    let mut writer = AttrWriter::default();
    elements.iter().for_each(|element| put_element(&mut writer, element));
    writer.into_buffer()
}

/// The expressions that each element of a set gets.
pub(super) fn of_expressions(expressions: &[Expr<'_>]) -> Fingerprint {
    let mut writer = AttrWriter::default();
    expressions.iter().for_each(|expression| put(&mut writer, expression));
    writer.into_buffer()
}

/// An element without what the kernel and others may change in it as packets come.
pub(super) fn of_volatile_element(element: Element<'_>) -> Fingerprint {
    let mut writer = AttrWriter::default();
    put_element(&mut writer, &Element { expressions: Vec::new(), timeout: 0, ..element });
    writer.into_buffer()
}

fn put_element(writer: &mut AttrWriter, element: &Element<'_>) {
    let Element { key, key_end, interval_end, catch_all, data, object, .. } = element;
    let Element { expressions, timeout, expiration: _, userdata, .. } = element;
    writer.put(uapi::NFTA_SET_ELEM_KEY, key.as_bytes());
    writer.put_u8(uapi::NFTA_SET_ELEM_FLAGS, u8::from(*interval_end) | u8::from(*catch_all) << 1);
    if let Some(key_end) = key_end {
        writer.put(uapi::NFTA_SET_ELEM_KEY_END, key_end.as_bytes());
    }
    match data {
        None => {}
        Some(ElementData::Value(value)) => writer.put(uapi::NFTA_SET_ELEM_DATA, value.as_bytes()),
        Some(ElementData::Verdict(verdict)) => {
            Expr::from(Immediate::Verdict(*verdict)).encode(writer);
        }
    }
    if let Some(object) = object {
        writer.put_text(uapi::NFTA_SET_ELEM_OBJREF, *object);
    }
    for expression in expressions {
        put(writer, expression);
    }
    writer.put_be64(uapi::NFTA_SET_ELEM_TIMEOUT, *timeout);
    let known = ElementUserdata::decode(userdata);
    if known.encode().is_ok_and(|known| known == *userdata) {
        // Not whether a range reaches to the highest value, which its end says.
        if let Some(comment) = known.comment {
            writer.put_text(uapi::NFTA_SET_ELEM_USERDATA, comment);
        }
    } else {
        writer.put(uapi::NFTA_SET_ELEM_USERDATA, userdata);
    }
}

fn place<'e>(element: &'e Element<'_>) -> (bool, &'e nftwire::Data, bool) {
    (element.catch_all, &element.key, element.interval_end)
}

/// `set` gives the fingerprint of an anonymous set by its name and by the number that its batch gave it, `chain` that of a
/// chain that belongs to the rule.
pub(super) fn fingerprint<'s, E>(
    expressions: &[Expr<'_>],
    userdata: &[u8],
    set: impl Fn(&[u8], u32) -> Option<&'s Fingerprint>,
    chain: impl Fn(Text<'_>) -> Option<Result<Fingerprint, E>>,
) -> Result<Fingerprint, E> {
    // Most expressions take less, and a buffer that grows is allocated again and again.
    let mut writer =
        AttrWriter::with_buffer(Vec::with_capacity(userdata.len() + 64 * (1 + expressions.len())));
    for expression in expressions {
        let (own, without_name): (_, Expr<'_>) = match expression {
            Expr::Lookup(lookup) => (
                set(lookup.set.as_bytes(), lookup.set_id).cloned(),
                Lookup { set: "".into(), set_id: 0, ..*lookup }.into(),
            ),
            Expr::Objref(Objref::Map { sreg, set: name, set_id }) => (
                set(name.as_bytes(), *set_id).cloned(),
                Objref::Map { sreg: *sreg, set: "".into(), set_id: 0 }.into(),
            ),
            Expr::Immediate(Immediate::Verdict(Verdict::Jump(name))) => {
                (chain(*name).transpose()?, Immediate::Verdict(Verdict::Jump("".into())).into())
            }
            Expr::Immediate(Immediate::Verdict(Verdict::Goto(name))) => {
                (chain(*name).transpose()?, Immediate::Verdict(Verdict::Goto("".into())).into())
            }
            expression => {
                put(&mut writer, expression);
                continue;
            }
        };
        let Some(own) = own else {
            expression.encode(&mut writer);
            continue;
        };
        without_name.encode(&mut writer);
        for part in own.chunks(PART) {
            writer.put(uapi::NFTA_SET_ELEM_LIST_ELEMENTS, part);
        }
    }
    writer.put(uapi::NFTA_RULE_USERDATA, userdata);
    Ok(writer.into_buffer())
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

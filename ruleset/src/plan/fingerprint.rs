//! What a rule does, as bytes.

use nftwire::expr::{Counter, Immediate, Lookup};
use nftwire::{AttrWriter, ElementData, Expr, uapi};

use crate::nft::compile::{AnonymousSet, NotCompiled, SetKey, compile_in};
use crate::{Rule, Table};

/// Equal for two rules that differ only in counter values and in the names of their anonymous sets.
pub(super) type Fingerprint = Vec<u8>;

/// The fingerprint that the kernel's rule has after this one was added.
pub(super) fn desired_fingerprint(table: &Table, rule: &Rule) -> Result<Fingerprint, NotCompiled> {
    let first_set_id = 1;
    let compiled = compile_in(table, rule, first_set_id)?;
    let set = |lookup: &Lookup<'_>| -> Option<&AnonymousSet> {
        compiled.sets.get(usize::try_from(lookup.set_id.checked_sub(first_set_id)?).ok()?)
    };
    let keys = |lookup: &Lookup<'_>| set(lookup).map(|set| &set.keys);
    Ok(fingerprint(&compiled.expressions, &compiled.userdata, keys))
}

pub(super) fn fingerprint<'s>(
    expressions: &[Expr<'_>],
    userdata: &[u8],
    elements: impl Fn(&Lookup<'_>) -> Option<&'s Vec<SetKey>>,
) -> Fingerprint {
    let mut writer = AttrWriter::default();
    for expression in expressions {
        match expression {
            Expr::Counter(_) => Expr::from(Counter::default()).encode(&mut writer),
            Expr::Lookup(lookup) => match elements(lookup) {
                Some(elements) => {
                    Expr::from(Lookup { set: "".into(), set_id: 0, ..*lookup }).encode(&mut writer);
                    for SetKey { key, end, key_end, catch_all, verdict, value, counter } in elements {
                        writer.put(uapi::NFTA_SET_ELEM_KEY, key.as_bytes());
                        writer.put_u8(uapi::NFTA_SET_ELEM_FLAGS, u8::from(*end) | u8::from(*catch_all) << 1);
                        if let Some(key_end) = key_end {
                            writer.put(uapi::NFTA_SET_ELEM_KEY_END, key_end.as_bytes());
                        }
                        if let Some(value) = value {
                            writer.put(uapi::NFTA_SET_ELEM_DATA, value.as_bytes());
                        }
                        if let Some(verdict) = verdict {
                            Expr::from(Immediate::Verdict(verdict.into())).encode(&mut writer);
                        }
                        if *counter {
                            Expr::from(Counter::default()).encode(&mut writer);
                        }
                    }
                }
                None => expression.encode(&mut writer),
            },
            expression => expression.encode(&mut writer),
        }
    }
    writer.put(uapi::NFTA_RULE_USERDATA, userdata);
    writer.into_buffer()
}

/// What counts of an element of a set or a map of verdicts. What no profile makes is of no account: it is in no set that
/// a desired rule looks things up in.
pub(super) fn key(element: nftwire::Element<'_>) -> SetKey {
    let (verdict, value) = match element.data {
        Some(ElementData::Verdict(verdict)) => (Some(verdict.into()), None),
        Some(ElementData::Value(value)) => (None, Some(value)),
        None => (None, None),
    };
    let (key_end, catch_all) = (element.key_end, element.catch_all);
    let counter = element.expressions.iter().any(|expression| matches!(expression, Expr::Counter(_)));
    SetKey { verdict, value, counter, key_end, catch_all, ..SetKey::new(element.key, element.interval_end) }
}

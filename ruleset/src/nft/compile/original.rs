//! A rule or a set that was read, and whose model says less than the kernel holds: the same again.

use std::collections::HashMap;

use nftwire::expr::{Dynset, Lookup, Objref};
use nftwire::userdata::ElementUserdata;
use nftwire::{AttrReader, DecodeError, ElementData, Expr, Rule, SetFlags, SetPolicy};

use super::{
    ANONYMOUS_SET_NAME, AnonymousSet, Compiled, KeyDetails, NamedSet, NotCompiled, SetFault, SetKey,
    named_set,
};
use crate::snapshot::SetSnapshot;
use crate::{DataType, Name, Original, OriginalSet, Set, SetOrigin, Statement, Userdata, Verdict};

impl Original {
    /// Keeps what the kernel sent; `None` where a set that belongs to the rule has something that cannot be kept.
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub(crate) fn keep(
        rule: &Rule<'_>,
        statements: &[Statement],
        sets: &OwnSets<'_>,
    ) -> Result<Option<Self>, DecodeError> {
        let mut own = Vec::new();
        for expression in rule.expressions() {
            match expression? {
                Expr::Lookup(Lookup { set: name, .. }) | Expr::Objref(Objref::Map { set: name, .. })
                    if sets.has(name) =>
                {
                    let Some(set) = sets.set(name)? else { return Ok(None) };
                    if own.iter().all(|(known, _)| name != *known) {
                        own.push((name.to_name(), set));
                    }
                }
                Expr::Dynset(Dynset { set, .. }) if sets.has(set) => return Ok(None),
                _ => {}
            }
        }
        Ok(Some(Self {
            statements: statements.to_vec(),
            expressions: rule.expression_list().to_vec(),
            sets: own,
            compat: rule.compat,
            userdata: Userdata::read(rule.userdata),
        }))
    }

    pub(super) fn compile(
        &self,
        statements: &[Statement],
        comment: Option<&Name>,
        first_set_id: u32,
    ) -> Result<Compiled<'_>, NotCompiled> {
        let Self { statements: original, expressions, sets, compat, userdata } = self;
        if statements != original {
            return Err(NotCompiled::Inexact);
        }
        let ids: HashMap<_, _> = sets.iter().map(|(name, _)| name.as_text()).zip(first_set_id..).collect();
        let expressions = Expr::decode_list(AttrReader::new(expressions)).map(|expression| {
            let mut expression = expression?;
            if let Expr::Lookup(Lookup { set, set_id, .. }) | Expr::Objref(Objref::Map { set, set_id, .. }) =
                &mut expression
                && let Some(id) = ids.get(set)
            {
                (*set, *set_id) = (ANONYMOUS_SET_NAME.into(), *id);
            }
            Ok(expression)
        });
        let expressions = expressions.collect::<Result<_, DecodeError>>()?;
        let sets = sets.iter().map(|(_, set)| set.clone()).collect();
        Ok(Compiled { expressions, sets, userdata: userdata.with(comment)?, compat: *compat })
    }
}

/// The sets of a table that belong to its rules, by their names.
pub(crate) struct OwnSets<'s>(HashMap<&'s [u8], &'s SetSnapshot>);

impl<'s> OwnSets<'s> {
    pub(crate) fn new(sets: &'s [SetSnapshot]) -> Self {
        let own = sets.iter().filter(|set| set.set.is_anonymous());
        Self(own.map(|set| (set.set.name.as_bytes(), set)).collect())
    }

    fn has(&self, name: nftwire::Text<'_>) -> bool {
        self.0.contains_key(name.as_bytes())
    }

    /// Whether the expressions that were compiled are those that the kernel holds, with sets of the rule's own that hold
    /// the same.
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub(crate) fn are_same(
        &self,
        rule: &Rule<'_>,
        compiled: &Compiled<'_>,
        first_set_id: u32,
    ) -> Result<bool, DecodeError> {
        if rule.compat != compiled.compat || rule.userdata != compiled.userdata {
            return Ok(false);
        }
        let mut ours = compiled.expressions.iter();
        for theirs in rule.expressions() {
            let theirs = theirs?;
            if matches!(&theirs, Expr::Byteorder(byteorder) if byteorder.does_nothing()) {
                continue;
            }
            let Some(ours) = ours.next() else { return Ok(false) };
            let same = match (&theirs, ours) {
                (Expr::Lookup(Lookup { set: name, .. }), Expr::Lookup(Lookup { set, set_id, .. }))
                | (
                    Expr::Objref(Objref::Map { set: name, .. }),
                    Expr::Objref(Objref::Map { set, set_id, .. }),
                ) if *set_id > 0 => {
                    let index = set_id.checked_sub(first_set_id).and_then(|id| usize::try_from(id).ok());
                    let compiled = index.and_then(|index| compiled.sets.get(index));
                    let current = self.set(*name)?;
                    let same =
                        current.zip(compiled).is_some_and(|(current, set)| current.holds_the_same(set));
                    same && renamed(&theirs, *set, *set_id) == *ours
                }
                (theirs, ours) => theirs == ours,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(ours.next().is_none())
    }

    /// The set as a rule that has it would be compiled; `None` where it has something that cannot be kept.
    fn set(&self, name: nftwire::Text<'_>) -> Result<Option<AnonymousSet>, DecodeError> {
        let Some(snapshot) = self.0.get(name.as_bytes()) else { return Ok(None) };
        let message = snapshot.record.message()?;
        let wire = nftwire::Set::decode(&message)?;
        let Some(keys) = keys(snapshot)? else { return Ok(None) };
        let verdicts = wire.data_type == DataType::VERDICT;
        let is_map = wire.flags.contains(SetFlags::MAP);
        let set = AnonymousSet {
            key_type: wire.key_type,
            fields: wire.fields.clone(),
            values: (is_map && !verdicts).then_some((wire.data_type, wire.data_len)),
            key_len: wire.key_len,
            interval: wire.flags.contains(SetFlags::INTERVAL),
            verdicts,
            object: wire.object,
            userdata: wire.userdata.to_vec(),
            meter: None,
            keys,
        };
        let is_kept = set.head(wire.family, wire.table, 0).flags == wire.flags
            && wire.policy == SetPolicy::Performance
            && wire.expressions.is_empty()
            && (wire.timeout, wire.gc_interval) == (0, 0);
        Ok(is_kept.then_some(set))
    }
}

impl OriginalSet {
    /// What the kernel sent, as long as the set is what was made of it.
    ///
    /// # Errors
    /// It is another set by now.
    pub(super) fn compile(&self, set: &Set) -> Result<NamedSet, NotCompiled> {
        match self.set.says_the_same(set) {
            true => Ok(self.compiled.clone()),
            false => Err(SetFault::Inexact.into()),
        }
    }
}

impl SetOrigin {
    /// How the set, which was made of what the kernel sent, is to be compiled so that the kernel holds the same again.
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub(crate) fn of(set: &Set, snapshot: &SetSnapshot) -> Result<Self, DecodeError> {
        let Some(compiled) = NamedSet::read(snapshot)? else { return Ok(Self::Inexact) };
        if named_set(set).is_ok_and(|written| written == compiled) {
            return Ok(Self::Written);
        }
        Ok(Self::Kernel(Box::new(OriginalSet { set: set.clone(), compiled })))
    }
}

impl NamedSet {
    /// The set as it would have to be compiled for the kernel to hold it as it does; `None` where it has something that
    /// cannot be kept.
    ///
    /// # Errors
    /// A record is not what the protocol says.
    pub(crate) fn read(snapshot: &SetSnapshot) -> Result<Option<Self>, DecodeError> {
        let message = snapshot.record.message()?;
        let wire = nftwire::Set::decode(&message)?;
        let Some(mut keys) = keys(snapshot)? else { return Ok(None) };
        // Ranges of several fields stay in the kernel's order, in which it was given them.
        if !wire.flags.contains(SetFlags::INTERVAL | SetFlags::CONCAT) {
            // What ends a range comes before a range that begins there, which would overlap with it.
            let place = |key: &SetKey| (key.catch_all, key.key.clone(), !key.end);
            keys.sort_by_cached_key(place);
        }
        let verdicts = wire.data_type == DataType::VERDICT;
        let Some(expressions) = stateful(wire.expressions) else { return Ok(None) };
        Ok(Some(Self {
            key_type: wire.key_type,
            key_len: wire.key_len,
            fields: wire.fields,
            // The kernel knows the length of a verdict itself.
            values: wire
                .flags
                .contains(SetFlags::MAP)
                .then_some((wire.data_type, if verdicts { 0 } else { wire.data_len })),
            object: wire.object,
            flags: wire.flags,
            size: wire.size,
            timeout: wire.timeout,
            gc_interval: wire.gc_interval,
            policy: wire.policy,
            expressions,
            userdata: wire.userdata.to_vec(),
            keys,
        }))
    }
}

/// The elements as they are compiled, in the kernel's order.
fn keys(snapshot: &SetSnapshot) -> Result<Option<Vec<SetKey>>, DecodeError> {
    let mut keys = Vec::new();
    for list in snapshot.elements.decode(nftwire::ElementList::decode) {
        for element in list?.elements() {
            match key(element?) {
                Some(key) => keys.push(key),
                None => return Ok(None),
            }
        }
    }
    Ok(Some(keys))
}

/// The expression with another name of its set.
fn renamed<'e>(expression: &Expr<'e>, set: nftwire::Text<'e>, set_id: u32) -> Expr<'e> {
    match expression {
        Expr::Lookup(lookup) => Lookup { set, set_id, ..*lookup }.into(),
        Expr::Objref(Objref::Map { sreg, .. }) => Objref::Map { sreg: *sreg, set, set_id }.into(),
        other => other.clone(),
    }
}

impl AnonymousSet {
    /// Whether rules find the same in both; what nft keeps to show them does not count.
    fn holds_the_same(&self, other: &Self) -> bool {
        let Self { key_type, fields, values, key_len, interval, verdicts, object, .. } = self;
        let Self { userdata: _, meter, keys, .. } = self;
        let head = (key_type, fields, values, key_len, interval, verdicts, object, meter);
        let ordered = |keys: &[SetKey]| {
            let mut keys = keys.to_vec();
            for key in &mut keys {
                // Not whether a range reaches to the highest value, which its end says.
                let Some(details) = &mut key.details else { continue };
                let comment = ElementUserdata::decode(&details.userdata).comment;
                details.userdata = comment.map(|comment| comment.as_bytes().to_vec()).unwrap_or_default();
                key.details.take_if(|details| **details == KeyDetails::default());
            }
            keys.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
            keys
        };
        head == (
            &other.key_type,
            &other.fields,
            &other.values,
            &other.key_len,
            &other.interval,
            &other.verdicts,
            &other.object,
            &other.meter,
        ) && ordered(keys) == ordered(&other.keys)
    }
}

/// The expressions of a set or an element, where none refers to the message that it came in.
fn stateful(expressions: Vec<Expr<'_>>) -> Option<Vec<Expr<'static>>> {
    let owned = expressions.into_iter().map(|expression| {
        Some(match expression {
            Expr::Counter(counter) => counter.into(),
            Expr::Limit(limit) => limit.into(),
            Expr::Quota(quota) => quota.into(),
            Expr::Last(last) => last.into(),
            Expr::Connlimit(connlimit) => connlimit.into(),
            _ => return None,
        })
    });
    owned.collect()
}

/// An element as it is compiled, where nothing that it has refers to the message that it came in.
fn key(element: nftwire::Element<'_>) -> Option<SetKey> {
    let (verdict, value) = match element.data {
        Some(ElementData::Verdict(verdict)) => (Some(Verdict::from_wire(verdict)?), None),
        Some(ElementData::Value(value)) => (None, Some(value)),
        None => (None, None),
    };
    let details = KeyDetails {
        verdict,
        value,
        object: element.object.map(nftwire::Text::to_name),
        timeout: element.timeout,
        expiration: element.expiration,
        expressions: stateful(element.expressions)?,
        userdata: element.userdata.to_vec(),
    };
    Some(SetKey {
        key: element.key,
        end: element.interval_end,
        key_end: element.key_end,
        catch_all: element.catch_all,
        details: (details != KeyDetails::default()).then(|| Box::new(details)),
    })
}

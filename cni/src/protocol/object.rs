//! JSON of others: objects whose members keep their order and their text.
//!
//! serde_json's own objects sort their members unless a feature is on that any crate of the build can turn on, for all.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// An object's members, in their order, each as its text.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// A member's value, if it has one: `null` is none. As with Go, the last one of a name counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        let value = self.0.iter().rev().find(|(member, _)| member == name).map(|(_, value)| &**value);
        value.filter(|value| value.get() != "null")
    }

    /// Sets a member, where it is already, or before all others.
    pub fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter().rposition(|(member, _)| member == name) {
            Some(index) => self.0[index].1 = value,
            None => self.0.insert(0, (name.to_owned(), value)),
        }
    }

    /// Appends a member.
    pub fn push(&mut self, name: &str, value: Box<RawValue>) {
        self.0.push((name.to_owned(), value));
    }

    /// Takes a member out; returns where it was.
    pub fn remove(&mut self, name: &str) -> Option<usize> {
        let index = self.0.iter().position(|(member, _)| member == name)?;
        self.0.retain(|(member, _)| member != name);
        Some(index)
    }

    /// Puts a member at a place, or at the end.
    pub fn insert(&mut self, index: usize, name: &str, value: Box<RawValue>) {
        self.0.insert(index.min(self.0.len()), (name.to_owned(), value));
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A value's text. What is given here has nothing in it that JSON lacks.
pub(super) fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A value's text, with the four spaces that other plugins have.
pub(super) fn pretty(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// A value as a member's.
pub(super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

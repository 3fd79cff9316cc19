//! JSON, as reports and errors are for programs.

use std::fmt;

use serde_json::Value;

/// A JSON value. It is written in one line, or with `{:#}` in several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonValue(pub(crate) Value);

impl fmt::Display for JsonValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! from {
    ($($type:ty),+) => {
        $(impl From<$type> for JsonValue {
            fn from(value: $type) -> Self {
                Self(value.into())
            }
        })+
    };
}

from!(&str, String, Vec<String>, u32, u64, usize);

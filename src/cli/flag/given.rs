//! A value as it was given, and what is wrong with it.

use std::fmt;
use std::io;

use nftwire::io_text;

use super::Flag;
use crate::diagnostic::Explanation;
use crate::mesh::value::boolean;

/// A value as it was given, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Given {
    /// `--flag`, or `environment variable NAME`
    origin: String,
    /// What was given
    pub(in crate::cli) text: String,
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {fault}")]
pub(in crate::cli) struct UsageError {
    origin: String,
    fault: String,
    /// What a system call said that the value asks for
    errno: Option<i32>,
    /// What to do then
    help: Option<&'static str>,
    /// Whether the value itself is wrong, and not something that it asks for
    pub(in crate::cli) is_usage: bool,
}

impl UsageError {
    /// A flag that has no default was not given.
    pub(in crate::cli) fn missing<T>(flag: &Flag<T>, what: &str) -> Self {
        let (origin, fault) = (format!("--{}", flag.name()), format!("it is required: {what}"));
        Self { origin, fault, errno: None, help: None, is_usage: true }
    }

    pub(in crate::cli) fn explanation(&self) -> Explanation {
        let help = self.help.map(str::to_owned);
        Explanation { errno: self.errno, help, ..Explanation::default() }.at("setting", self.origin.as_str())
    }
}

impl Given {
    pub(in crate::cli) fn new(origin: String, text: String) -> Self {
        Self { origin, text }
    }

    /// `--flag`, or `environment variable NAME`.
    pub(in crate::cli) fn origin(&self) -> &str {
        &self.origin
    }

    pub(in crate::cli) fn fault(&self, fault: impl fmt::Display) -> UsageError {
        UsageError {
            origin: self.origin.clone(),
            fault: fault.to_string(),
            errno: None,
            help: None,
            is_usage: true,
        }
    }

    /// What the value asks for is not to be had here: a system call failed.
    pub(in crate::cli) fn failure(&self, fault: &str, error: &io::Error, help: &'static str) -> UsageError {
        let fault = self.fault(format_args!("{fault}: {}", io_text(error)));
        UsageError { errno: error.raw_os_error(), help: Some(help), is_usage: false, ..fault }
    }

    /// As Go's strconv.ParseBool, which Istio's flags go through.
    pub(in crate::cli) fn boolean(&self) -> Result<bool, UsageError> {
        boolean(&self.text).map_err(|fault| self.fault(fault))
    }

    /// The one of these that is given by its name.
    pub(in crate::cli) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Result<T, UsageError> {
        let chosen = choices.iter().find(|(name, _)| *name == self.text);
        chosen.map(|(_, value)| *value).ok_or_else(|| self.none_of(choices.iter().map(|(name, _)| *name)))
    }

    /// It is none of these.
    pub(in crate::cli) fn none_of(&self, names: impl Iterator<Item = &'static str>) -> UsageError {
        let text = &self.text;
        match names.collect::<Vec<_>>().as_slice() {
            [one, other] => self.fault(format_args!("{text:?} is neither {one} nor {other}")),
            names => self.fault(format_args!("{text:?} is none of {}", names.join(", "))),
        }
    }

    pub(in crate::cli) fn one<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, UsageError> {
        parse(self.text.trim()).map_err(|fault| self.fault(fault))
    }

    /// The items of a comma separated list; empty ones do not count.
    pub(in crate::cli) fn list<T, E: fmt::Display>(
        &self,
        parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, UsageError> {
        self.items(|item| !item.is_empty(), parse)
    }

    /// The items of a comma separated list in which each one counts, also one that is empty.
    pub(in crate::cli) fn full_list<T, E: fmt::Display>(
        &self,
        parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, UsageError> {
        self.items(|_| true, parse)
    }

    fn items<T, E: fmt::Display>(
        &self,
        counts: impl Fn(&str) -> bool,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, UsageError> {
        let items = self.text.split(',').map(str::trim).enumerate().filter(|(_, item)| counts(item));
        items
            .map(|(index, item)| {
                parse(item).map_err(|fault| match self.text.contains(',') {
                    true => self.fault(format_args!("{fault} (item {})", index + 1)),
                    false => self.fault(fault),
                })
            })
            .collect()
    }

    /// Whether it is `*`, however often.
    pub(in crate::cli) fn is_wildcard(&self) -> bool {
        self.text.split(',').all(|item| item.trim() == "*")
    }
}

//! Settings that come by flag or by environment variable, and the values they may have.
//!
//! A command declares its settings once, as a list; clap's arguments are made of it, and every value is read through
//! it, so that an error can name the flag or the variable that it came by.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use ipnet::IpNet;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// The flag, without its dashes
    pub(super) name: &'static str,
    /// The short flag
    pub(super) short: Option<char>,
    /// What it takes
    pub(super) kind: Kind,
    /// The environment variables that stand for it, the first one that is set wins
    pub(super) environment: &'static [&'static str],
    /// What it is for
    pub(super) help: &'static str,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text, where nothing is a text too: a list, a mode
    Text(&'static str),
    /// A number or a duration: an empty environment variable is none
    Number(&'static str),
    /// On or off
    Switch,
}

impl Setting {
    pub(super) fn argument(&self) -> Arg {
        let mut help = self.help.to_owned();
        if let [first, ..] = self.environment {
            help += &format!(" [env: {first}]");
        }
        let argument = Arg::new(self.name).long(self.name).short(self.short).help(help);
        match self.kind {
            Kind::Text(value) | Kind::Number(value) => {
                argument.value_name(value).action(ArgAction::Set).allow_hyphen_values(true)
            }
            // As in Go: `--flag`, `--flag=true`, never `--flag true`.
            Kind::Switch => argument
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_possible_values(true)
                .action(ArgAction::Set),
        }
        .overrides_with(self.name)
    }
}

/// A value as it was given, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// `--flag`, or `environment variable NAME`
    origin: String,
    /// What was given
    pub(super) text: String,
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {fault}")]
pub(super) struct UsageError {
    origin: String,
    fault: String,
}

/// Everything that was given.
pub(super) struct Values<'a> {
    pub(super) settings: &'static [Setting],
    pub(super) flags: &'a ArgMatches,
    pub(super) environment: HashMap<String, String>,
}

impl Values<'_> {
    /// What was given for a setting: by its flag, else by one of its variables.
    pub(super) fn get(&self, name: &str) -> Option<Given> {
        if self.flags.value_source(name) == Some(ValueSource::CommandLine) {
            let text = self.flags.get_one::<String>(name)?.clone();
            return Some(Given { origin: format!("--{name}"), text });
        }
        let setting = self.settings.iter().find(|setting| setting.name == name)?;
        let set = |variable: &&&str| {
            self.environment
                .get(**variable)
                .is_some_and(|text| !text.is_empty() || matches!(setting.kind, Kind::Text(_)))
        };
        self.variable(setting.environment.iter().find(set)?)
    }

    /// What an environment variable holds that has no flag.
    pub(super) fn variable(&self, name: &str) -> Option<Given> {
        let text = self.environment.get(name)?.clone();
        Some(Given { origin: format!("environment variable {name}"), text })
    }

    /// A switch, off unless it was given.
    pub(super) fn switch(&self, name: &str) -> Result<bool, UsageError> {
        self.get(name).map_or(Ok(false), |given| given.boolean())
    }

    /// A value, or its default.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        default: T,
        parse: impl FnOnce(&Given) -> Result<T, UsageError>,
    ) -> Result<T, UsageError> {
        self.get(name).map_or(Ok(default), |given| parse(&given))
    }

    /// The items of a list, none unless it was given.
    pub(super) fn list<T>(
        &self,
        name: &str,
        parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, UsageError> {
        self.get(name).map_or(Ok(Vec::new()), |given| given.list(parse))
    }
}

impl Given {
    pub(super) fn fault(&self, fault: impl fmt::Display) -> UsageError {
        UsageError { origin: self.origin.clone(), fault: fault.to_string() }
    }

    /// As Go's strconv.ParseBool, which Istio's flags go through.
    pub(super) fn boolean(&self) -> Result<bool, UsageError> {
        match self.text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            text => Err(self.fault(format_args!("{text:?} is neither true nor false"))),
        }
    }

    pub(super) fn one<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, UsageError> {
        parse(self.text.trim()).map_err(|fault| self.fault(fault))
    }

    /// The items of a comma separated list; empty ones do not count.
    pub(super) fn list<T>(
        &self,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, UsageError> {
        let items = self.text.split(',').map(str::trim).enumerate().filter(|(_, item)| !item.is_empty());
        items
            .map(|(index, item)| {
                parse(item).map_err(|fault| match self.text.contains(',') {
                    true => self.fault(format_args!("{fault} (item {})", index + 1)),
                    false => self.fault(fault),
                })
            })
            .collect()
    }

    /// Whether it is `*`.
    pub(super) fn is_wildcard(&self) -> bool {
        self.text.trim() == "*"
    }
}

/// A port to which something listens: 1 to 65535.
pub(super) fn listening_port(text: &str) -> Result<u16, String> {
    port(text).and_then(|port| match port {
        0 => Err("port 0 cannot be listened at".to_owned()),
        port => Ok(port),
    })
}

/// A port: 0 to 65535.
pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is not a port (0 to 65535)"))
}

/// A number of 32 bits: decimal, or hexadecimal behind `0x`.
pub(super) fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text:?} is not a number from 0 to {}", u32::MAX))
}

/// A network in CIDR form.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = std::net::IpAddr::from_str(text) {
        return Err(format!("{text:?} has no prefix length: write {}", IpNet::from(address)));
    }
    let network: IpNet =
        text.parse().map_err(|_| format!("{text:?} is not a network (ADDRESS/PREFIX-LENGTH)"))?;
    Ok(network)
}

/// A duration as Go writes it: `5s`, `1m30s`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration (such as 5s, 1m30s or 500ms)"))
}

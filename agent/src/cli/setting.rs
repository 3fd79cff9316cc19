//! Settings that are flags and variables: a flag beats the variable of the same name, which beats the default.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};
use meshwire::mesh::value::{ValueError, boolean};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Its flag, without dashes
    pub(super) flag: &'static str,
    /// Its variable; if empty, the flag's name in upper case with `_`
    pub(super) variable: &'static str,
    /// Its default
    pub(super) default: &'static str,
    /// What `--help` says
    pub(super) help: &'static str,
    /// Whether the flag alone means true
    pub(super) switch: bool,
}

impl Setting {
    pub(super) const fn value(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { flag, variable: "", default, help, switch: false }
    }

    /// One whose variable has a name of its own.
    pub(super) const fn named(flag: &'static str, variable: &'static str, help: &'static str) -> Self {
        Self { flag, variable, default: "", help, switch: false }
    }

    fn variable(&self, prefix: &str) -> String {
        match self.variable {
            "" => format!("{prefix}{}", self.flag.to_ascii_uppercase().replace('-', "_")),
            variable => variable.to_owned(),
        }
    }

    pub(super) const fn switch(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { flag, variable: "", default, help, switch: true }
    }
}

/// A value that cannot be used, or one that is missing.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    /// No true or false
    #[error("{name}: {error}")]
    Boolean {
        /// The flag and the variable
        name: String,
        /// What is wrong
        error: ValueError,
    },
    /// No number
    #[error("{name}: {value:?} is not {expected}")]
    Value {
        /// The flag and the variable
        name: String,
        /// The value
        value: String,
        /// What it should be
        expected: &'static str,
    },
    /// A variable that has to be set
    #[error("{0} is not set: Kubernetes sets it in every pod, and the API server cannot be found without it")]
    Missing(&'static str),
    /// Neither the flag nor the variable is set
    #[error("--{flag} or the variable {variable} is needed")]
    Required {
        /// The flag
        flag: &'static str,
        /// The variable
        variable: String,
    },
}

/// The settings of one run.
pub(super) struct Values<'a> {
    settings: &'static [Setting],
    flags: HashMap<&'static str, String>,
    prefix: &'static str,
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Values<'a> {
    /// Parses a command line. `prefix` comes before the variables' names.
    pub(super) fn parse(
        command: Command,
        settings: &'static [Setting],
        prefix: &'static str,
        arguments: Vec<OsString>,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, clap::Error> {
        let command =
            settings.iter().fold(command, |command, setting| command.arg(argument(setting, prefix)));
        let matches = command.try_get_matches_from(arguments)?;
        let given =
            |setting: &Setting| Some((setting.flag, matches.get_one::<String>(setting.flag)?.clone()));
        let flags = settings.iter().filter_map(given).collect();
        Ok(Self { settings, flags, prefix, environment })
    }

    /// A variable without a flag. Empty counts as set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// The value of a setting.
    pub(super) fn text(&self, flag: &str) -> String {
        let setting = self.settings.iter().find(|setting| setting.flag == flag);
        let given = self.flags.get(flag).cloned().or_else(|| self.variable(&self.variable_of(flag)));
        given.unwrap_or_else(|| setting.map_or("", |setting| setting.default).to_owned())
    }

    /// The value, if it is not empty.
    pub(super) fn nonempty(&self, flag: &str) -> Option<String> {
        Some(self.text(flag)).filter(|text| !text.is_empty())
    }

    /// A value that is needed.
    pub(super) fn required(&self, flag: &'static str) -> Result<String, SettingError> {
        self.nonempty(flag).ok_or_else(|| SettingError::Required { flag, variable: self.variable_of(flag) })
    }

    /// True or false; empty is false.
    pub(super) fn boolean(&self, flag: &str) -> Result<bool, SettingError> {
        parse_boolean(&self.text(flag))
            .map_err(|error| SettingError::Boolean { name: self.name(flag), error })
    }

    /// The same for a variable without a flag.
    pub(super) fn boolean_variable(&self, name: &str, default: bool) -> Result<bool, SettingError> {
        let Some(text) = self.variable(name) else { return Ok(default) };
        parse_boolean(&text).map_err(|error| SettingError::Boolean { name: name.to_owned(), error })
    }

    /// A number; empty is 0.
    pub(super) fn number(&self, flag: &str) -> Result<i32, SettingError> {
        let text = self.text(flag);
        if text.is_empty() {
            return Ok(0);
        }
        text.parse().map_err(|_| SettingError::Value {
            name: self.name(flag),
            value: text,
            expected: "a number",
        })
    }

    /// A file's mode: octal with a leading 0, as shells write it, or decimal.
    pub(super) fn mode(&self, flag: &str) -> Result<u32, SettingError> {
        let text = self.text(flag);
        let parsed = match text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
            Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8),
            _ => text.parse(),
        };
        match parsed {
            Ok(mode) if mode <= 0o777 => Ok(mode),
            _ => Err(SettingError::Value {
                name: self.name(flag),
                value: text,
                expected: "a file mode, such as 0600 (or 384, the same in decimal)",
            }),
        }
    }

    fn name(&self, flag: &str) -> String {
        format!("--{flag} ({})", self.variable_of(flag))
    }

    fn variable_of(&self, flag: &str) -> String {
        let setting = self.settings.iter().find(|setting| setting.flag == flag);
        setting.map_or_else(String::new, |setting| setting.variable(self.prefix))
    }
}

/// As Go parses it; empty is false.
fn parse_boolean(text: &str) -> Result<bool, ValueError> {
    if text.is_empty() { Ok(false) } else { boolean(text) }
}

fn argument(setting: &Setting, prefix: &str) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let help = format!("{}{default} [env: {}]", setting.help, setting.variable(prefix));
    let argument = Arg::new(setting.flag).long(setting.flag).help(help).action(ArgAction::Set);
    // As in Go: a switch takes its value after `=` only.
    if setting.switch {
        argument.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
    } else {
        argument.allow_hyphen_values(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SETTINGS: [Setting; 4] = [
        Setting::switch("on-off", "true", ""),
        Setting::value("count", "7", ""),
        Setting::value("name", "", ""),
        Setting::value("mode", "384", ""),
    ];

    fn parse<'a>(arguments: &[&str], environment: &'a dyn Fn(&str) -> Option<String>) -> Values<'a> {
        let arguments = std::iter::once("x").chain(arguments.iter().copied()).map(OsString::from).collect();
        Values::parse(Command::new("x"), &SETTINGS, "", arguments, environment).unwrap()
    }

    #[test]
    fn a_flag_beats_a_variable_which_beats_the_default() {
        let none = |_: &str| None;
        let values = parse(&[], &none);
        assert!(values.boolean("on-off").unwrap());
        assert_eq!((values.number("count").unwrap(), values.mode("mode").unwrap()), (7, 0o600));
        assert!(values.required("name").unwrap_err().to_string().contains("--name or the variable NAME"));
        let empty = |_: &str| Some(String::new());
        let values = parse(&["--mode", "0640"], &empty);
        assert!(!values.boolean("on-off").unwrap());
        assert_eq!((values.number("count").unwrap(), values.mode("mode").unwrap()), (0, 0o640));
        let bad = |_: &str| Some("maybe".to_owned());
        let values = parse(&["--count=-1"], &bad);
        assert_eq!(values.number("count").unwrap(), -1);
        assert!(values.boolean("on-off").unwrap_err().to_string().contains("--on-off (ON_OFF)"));
        assert!(values.mode("mode").unwrap_err().to_string().contains("a file mode"));
        assert!(parse(&["--on-off"], &bad).boolean("on-off").unwrap());
        assert!(!parse(&["--on-off=false"], &bad).boolean("on-off").unwrap());
    }
}

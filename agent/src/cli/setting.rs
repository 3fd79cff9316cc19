//! Settings that are flags and variables: a flag beats the variable of the same name, which beats the default. Each is
//! defined in one place, with how it is read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use meshwire::mesh::value::{ValueError, boolean};

/// A setting's names, and what `--help` says of it.
#[derive(Debug)]
pub(super) struct Definition {
    /// Its flag, without dashes
    flag: &'static str,
    /// Its variable; if empty, the flag's name in upper case with `_`
    variable: &'static str,
    /// Its default
    default: &'static str,
    /// What `--help` says
    help: &'static str,
    /// Whether the flag alone means true
    switch: bool,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting<T> {
    pub(super) definition: Definition,
    read: fn(&str) -> Result<T, Fault>,
}

/// What is wrong with a text.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is neither true nor false
    Boolean(ValueError),
    /// It should be this
    Expected(&'static str),
}

impl<T> Setting<T> {
    pub(super) const fn new(
        flag: &'static str,
        default: &'static str,
        help: &'static str,
        read: fn(&str) -> Result<T, Fault>,
    ) -> Self {
        Self { definition: Definition { flag, variable: "", default, help, switch: false }, read }
    }
}

impl Setting<String> {
    pub(super) const fn text(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(flag, default, help, |text| Ok(text.to_owned()))
    }
}

impl Setting<Option<String>> {
    /// A text without a default; empty is none.
    pub(super) const fn optional(flag: &'static str, help: &'static str) -> Self {
        Self::new(flag, "", help, |text| Ok(Some(text.to_owned()).filter(|text| !text.is_empty())))
    }

    /// The same, whose variable has a name of its own.
    pub(super) const fn named(flag: &'static str, variable: &'static str, help: &'static str) -> Self {
        let Self { definition: Definition { flag, default, help, switch, .. }, read } =
            Self::optional(flag, help);
        Self { definition: Definition { flag, variable, default, help, switch }, read }
    }
}

impl Setting<PathBuf> {
    pub(super) const fn path(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(flag, default, help, |text| Ok(text.into()))
    }
}

impl Setting<bool> {
    /// True or false; empty is false.
    pub(super) const fn switch(flag: &'static str, default: bool, help: &'static str) -> Self {
        let default = if default { "true" } else { "false" };
        let definition = Definition { flag, variable: "", default, help, switch: true };
        Self { definition, read: |text| parse_boolean(text).map_err(Fault::Boolean) }
    }
}

impl Setting<i32> {
    /// A number; empty is 0.
    pub(super) const fn number(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(flag, default, help, number)
    }
}

impl Setting<Option<u16>> {
    /// A port; 0, less and empty are none.
    pub(super) const fn port(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(flag, default, help, |text| match number(text)? {
            ..=0 => Ok(None),
            number => u16::try_from(number).map(Some).map_err(|_| Fault::Expected("a port, up to 65535")),
        })
    }
}

impl Setting<u32> {
    /// A file's mode: octal with a leading 0, as shells write it, or decimal.
    pub(super) const fn mode(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(flag, default, help, |text| {
            let parsed = match text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
                Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8),
                _ => text.parse(),
            };
            let mode = parsed.ok().filter(|mode| *mode <= 0o777);
            mode.ok_or(Fault::Expected("a file mode, such as 0600 (or 384, the same in decimal)"))
        })
    }
}

impl Setting<()> {
    /// One that changes nothing here.
    pub(super) const fn ignored(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(flag, default, help, |_| Ok(()))
    }
}

impl Definition {
    fn variable(&self, prefix: &str) -> String {
        match self.variable {
            "" => format!("{prefix}{}", self.flag.to_ascii_uppercase().replace('-', "_")),
            variable => variable.to_owned(),
        }
    }

    fn argument(&self, prefix: &str) -> Arg {
        let default = match self.default {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        let help = format!("{}{default} [env: {}]", self.help, self.variable(prefix));
        let argument = Arg::new(self.flag).long(self.flag).help(help).action(ArgAction::Set);
        // As in Go: a switch takes its value after `=` only.
        if self.switch {
            argument.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
        } else {
            argument.allow_hyphen_values(true)
        }
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
    /// Not what is expected
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
    flags: HashMap<&'static str, String>,
    prefix: &'static str,
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Values<'a> {
    /// Parses a command line. `prefix` comes before the variables' names.
    pub(super) fn parse(
        command: Command,
        definitions: &[&'static Definition],
        prefix: &'static str,
        arguments: Vec<OsString>,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, clap::Error> {
        let command =
            definitions.iter().fold(command, |command, setting| command.arg(setting.argument(prefix)));
        let matches = command.try_get_matches_from(arguments)?;
        let given =
            |setting: &&Definition| Some((setting.flag, matches.get_one::<String>(setting.flag)?.clone()));
        Ok(Self { flags: definitions.iter().filter_map(given).collect(), prefix, environment })
    }

    /// The value of a setting.
    pub(super) fn read<T>(&self, setting: &Setting<T>) -> Result<T, SettingError> {
        let value = self.text(&setting.definition);
        (setting.read)(&value).map_err(|fault| {
            let definition = &setting.definition;
            let name = format!("--{} ({})", definition.flag, definition.variable(self.prefix));
            match fault {
                Fault::Boolean(error) => SettingError::Boolean { name, error },
                Fault::Expected(expected) => SettingError::Value { name, value, expected },
            }
        })
    }

    /// A value that is needed.
    pub(super) fn required<T>(&self, setting: &Setting<Option<T>>) -> Result<T, SettingError> {
        self.read(setting)?.ok_or_else(|| self.missing(&setting.definition))
    }

    /// That a setting is needed.
    pub(super) fn missing(&self, setting: &Definition) -> SettingError {
        SettingError::Required { flag: setting.flag, variable: setting.variable(self.prefix) }
    }

    /// What is given for it, or its default, as it is.
    pub(super) fn text(&self, setting: &Definition) -> String {
        let given = self.flags.get(setting.flag).cloned();
        let given = given.or_else(|| self.variable(&setting.variable(self.prefix)));
        given.unwrap_or_else(|| setting.default.to_owned())
    }

    /// A variable without a flag. Empty counts as set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// True or false, of a variable without a flag.
    pub(super) fn boolean_variable(&self, name: &str, default: bool) -> Result<bool, SettingError> {
        let Some(text) = self.variable(name) else { return Ok(default) };
        parse_boolean(&text).map_err(|error| SettingError::Boolean { name: name.to_owned(), error })
    }
}

fn number(text: &str) -> Result<i32, Fault> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| Fault::Expected("a number")) }
}

/// As Go parses it; empty is false.
fn parse_boolean(text: &str) -> Result<bool, ValueError> {
    if text.is_empty() { Ok(false) } else { boolean(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ON_OFF: Setting<bool> = Setting::switch("on-off", true, "");
    static COUNT: Setting<i32> = Setting::number("count", "7", "");
    static NAME: Setting<Option<String>> = Setting::optional("name", "");
    static MODE: Setting<u32> = Setting::mode("mode", "384", "");
    static PORT: Setting<Option<u16>> = Setting::port("port", "80", "");

    fn parse<'a>(arguments: &[&str], environment: &'a dyn Fn(&str) -> Option<String>) -> Values<'a> {
        let arguments = std::iter::once("x").chain(arguments.iter().copied()).map(OsString::from).collect();
        let definitions =
            [&ON_OFF.definition, &COUNT.definition, &NAME.definition, &MODE.definition, &PORT.definition];
        Values::parse(Command::new("x"), &definitions, "", arguments, environment).unwrap()
    }

    #[test]
    fn a_flag_beats_a_variable_which_beats_the_default() {
        let none = |_: &str| None;
        let values = parse(&[], &none);
        assert!(values.read(&ON_OFF).unwrap());
        assert_eq!((values.read(&COUNT).unwrap(), values.read(&MODE).unwrap()), (7, 0o600));
        assert_eq!(values.read(&PORT).unwrap(), Some(80));
        assert!(values.required(&NAME).unwrap_err().to_string().contains("--name or the variable NAME"));
        let empty = |_: &str| Some(String::new());
        let values = parse(&["--mode", "0640"], &empty);
        assert!(!values.read(&ON_OFF).unwrap());
        assert_eq!((values.read(&COUNT).unwrap(), values.read(&MODE).unwrap()), (0, 0o640));
        assert_eq!((values.read(&PORT).unwrap(), values.read(&NAME).unwrap()), (None, None));
        let bad = |_: &str| Some("maybe".to_owned());
        let values = parse(&["--count=-1"], &bad);
        assert_eq!(values.read(&COUNT).unwrap(), -1);
        assert!(values.read(&ON_OFF).unwrap_err().to_string().contains("--on-off (ON_OFF)"));
        assert!(values.read(&MODE).unwrap_err().to_string().contains("a file mode"));
        assert!(
            values.read(&PORT).unwrap_err().to_string().contains("--port (PORT): \"maybe\" is not a number")
        );
        assert!(parse(&["--on-off"], &bad).read(&ON_OFF).unwrap());
        assert!(!parse(&["--on-off=false"], &bad).read(&ON_OFF).unwrap());
        let values = parse(&["--port", "65536"], &none);
        assert!(values.read(&PORT).unwrap_err().to_string().contains("a port, up to 65535"));
    }
}

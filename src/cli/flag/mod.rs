//! Flags, each of them defined once: its name, the environment variables that set it, its default, its help, and
//! how its value is read.
//!
//! A command lists its flags. Clap's arguments are made of that list, and every value is read through its flag, so that
//! an error can name the flag or the variable that it came by, and a misspelled name does not compile.

mod given;
mod plain;
pub(super) mod shared;
pub(super) mod value;
mod values;

use std::ffi::OsStr;
use std::fmt::Display;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Command};

pub(super) use given::{Given, UsageError};
pub(super) use plain::Plain;
pub(super) use values::Values;

/// A flag, or an environment variable, whose value is a `T`.
pub(super) struct Flag<T> {
    definition: Definition,
    default: fn() -> T,
    /// The default as the help shows it
    show: Option<fn(&T) -> String>,
    read: fn(&Given) -> Result<T, UsageError>,
}

/// What of a flag does not depend on the type of its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition {
    /// The flag without its dashes, or the variable
    pub(super) name: &'static str,
    short: Option<char>,
    kind: Kind,
    /// The environment variables that set it, the first one that is set wins
    pub(super) environment: &'static [&'static str],
    help: &'static str,
    /// The values that it takes, where they can be listed
    choices: &'static [&'static str],
    /// Whether an empty text is as good as none
    empty_is_none: bool,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A text, where nothing is a text too: a list, a mode
    Text(&'static str),
    /// A number or a duration: an empty environment variable is none
    Number(&'static str),
    /// A list that a flag adds to each time it is given
    List(&'static str),
    /// On or off
    Switch,
    /// No flag, only an environment variable
    Variable,
}

impl<T> Flag<T> {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: fn() -> T,
        read: fn(&Given) -> Result<T, UsageError>,
    ) -> Self {
        let definition = Definition {
            name,
            short: None,
            kind,
            environment: &[],
            help: "",
            choices: &[],
            empty_is_none: false,
        };
        Self { definition, default, show: None, read }
    }

    pub(super) const fn text(
        name: &'static str,
        value: &'static str,
        default: fn() -> T,
        read: fn(&Given) -> Result<T, UsageError>,
    ) -> Self {
        Self::new(name, Kind::Text(value), default, read)
    }

    pub(super) const fn number(
        name: &'static str,
        value: &'static str,
        default: fn() -> T,
        read: fn(&Given) -> Result<T, UsageError>,
    ) -> Self {
        Self::new(name, Kind::Number(value), default, read)
    }

    /// What only an environment variable says.
    pub(super) const fn variable(
        name: &'static str,
        default: fn() -> T,
        read: fn(&Given) -> Result<T, UsageError>,
    ) -> Self {
        Self::new(name, Kind::Variable, default, read)
    }

    pub(super) const fn short(mut self, short: char) -> Self {
        self.definition.short = Some(short);
        self
    }

    /// The environment variables that set it, the one that wins first.
    pub(super) const fn environment(mut self, names: &'static [&'static str]) -> Self {
        self.definition.environment = names;
        self
    }

    /// What it is for, without its default and its variables.
    pub(super) const fn help(mut self, help: &'static str) -> Self {
        self.definition.help = help;
        self
    }

    /// The values that it takes.
    pub(super) const fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.definition.choices = choices;
        self
    }

    /// The help shows the default, in these words.
    pub(super) const fn show(mut self, show: fn(&T) -> String) -> Self {
        self.show = Some(show);
        self
    }

    /// It is a list, to which the flag adds each time that it is given.
    pub(super) const fn repeated(mut self) -> Self {
        if let Kind::Text(value) | Kind::Number(value) = self.definition.kind {
            self.definition.kind = Kind::List(value);
        }
        self
    }

    /// An empty text is as good as none.
    pub(super) const fn empty_is_none(mut self) -> Self {
        self.definition.empty_is_none = true;
        self
    }

    pub(super) fn name(&self) -> &'static str {
        self.definition.name
    }
}

impl<T: Display> Flag<T> {
    /// The help shows the default.
    pub(super) const fn shown(self) -> Self {
        self.show(ToString::to_string)
    }
}

impl<T> Flag<Vec<T>> {
    /// A list that each flag adds to; none unless it is given.
    pub(super) const fn list(
        name: &'static str,
        value: &'static str,
        read: fn(&Given) -> Result<Vec<T>, UsageError>,
    ) -> Self {
        Self::new(name, Kind::List(value), Vec::new, read)
    }
}

impl Flag<bool> {
    /// Off unless it is given.
    pub(super) const fn switch(name: &'static str) -> Self {
        Self::new(name, Kind::Switch, || false, Given::boolean)
    }

    pub(super) const fn on_by_default(mut self) -> Self {
        self.default = || true;
        self.shown()
    }
}

/// A flag of whatever type, for lists of them.
pub(super) trait AnyFlag: Sync {
    fn definition(&self) -> &Definition;
    /// The default as the help shows it.
    fn shown_default(&self) -> Option<String>;
}

impl<T> AnyFlag for Flag<T> {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn shown_default(&self) -> Option<String> {
        self.show.map(|show| show(&(self.default)()))
    }
}

/// The flags of a command, in the order of its help.
pub(super) type Flags = &'static [&'static dyn AnyFlag];

/// The command with these flags.
pub(super) fn with_flags(command: Command, flags: Flags) -> Command {
    command.args(flags.iter().map(|flag| argument(*flag)))
}

/// As clap parses it.
pub(super) fn argument(flag: &dyn AnyFlag) -> Arg {
    let definition = flag.definition();
    let mut help = definition.help.to_owned();
    if let Some(default) = flag.shown_default() {
        help += &format!(" [default: {default}]");
    }
    if let [first, ..] = definition.environment {
        help += &format!(" [env: {first}]");
    }
    let argument = Arg::new(definition.name).long(definition.name).short(definition.short).help(help);
    let argument = match definition.choices {
        [] => argument,
        choices => argument.value_parser(Choices(choices)),
    };
    let argument = match definition.kind {
        Kind::Text(value) | Kind::Number(value) | Kind::List(value) => {
            argument.value_name(value).allow_hyphen_values(true)
        }
        // As in Go: `--flag`, `--flag=true`, never `--flag true`.
        Kind::Switch | Kind::Variable => argument
            .value_name("BOOL")
            .hide_possible_values(true)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    };
    match definition.kind {
        Kind::List(_) => argument.action(ArgAction::Append),
        _ => argument.action(ArgAction::Set).overrides_with(definition.name),
    }
}

/// Environment variables for the end of the help, one a line.
pub(super) fn variables_help(variables: Flags) -> String {
    let names = variables.iter().map(|variable| variable.definition().name.len());
    let width = names.max().unwrap_or(0);
    let line = |variable: &&dyn AnyFlag| {
        let Definition { name, help, .. } = variable.definition();
        let default = variable.shown_default().map_or_else(String::new, |text| format!(" [default: {text}]"));
        format!("  {name:width$} {help}{default}\n")
    };
    variables.iter().map(line).collect()
}

/// The values for the help and for completions; that a value is one of them is seen where it is read, which knows more
/// spellings of some.
#[derive(Clone)]
struct Choices(&'static [&'static str]);

impl TypedValueParser for Choices {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

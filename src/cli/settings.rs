//! Settings that come by flag or by environment variable, and the values they may have.
//!
//! A command declares its settings once, as a list; clap's arguments are made of it, and every value is read through
//! it, so that an error can name the flag or the variable that it came by.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use nftwire::io_text;

use crate::diagnostic::{Explain, Explanation};
use crate::mesh::value::boolean;
pub(super) use crate::mesh::value::{listening_port, network, number, port, port_range};

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
    /// A list that a flag goes on with each time it is given
    List(&'static str),
    /// On or off
    Switch,
}

impl Setting {
    pub(super) const fn text(
        name: &'static str,
        short: Option<char>,
        value: &'static str,
        environment: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, short, kind: Kind::Text(value), environment, help }
    }

    pub(super) const fn number(
        name: &'static str,
        short: Option<char>,
        value: &'static str,
        environment: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, short, kind: Kind::Number(value), environment, help }
    }

    /// A list; no variable stands for one.
    pub(super) const fn list(
        name: &'static str,
        short: Option<char>,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Self { name, short, kind: Kind::List(value), environment: &[], help }
    }

    pub(super) const fn switch(
        name: &'static str,
        short: Option<char>,
        environment: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, short, kind: Kind::Switch, environment, help }
    }

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
            Kind::List(value) => {
                return argument.value_name(value).action(ArgAction::Append).allow_hyphen_values(true);
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
    /// What a system call said that the value asks for
    errno: Option<i32>,
    /// What to do then
    help: Option<&'static str>,
    /// Whether the value itself is wrong, and not something that it asks for
    pub(super) is_usage: bool,
}

impl UsageError {
    /// A flag that has no default was not given.
    pub(super) fn missing(name: &str, what: &str) -> Self {
        let (origin, fault) = (format!("--{name}"), format!("it is required: {what}"));
        Self { origin, fault, errno: None, help: None, is_usage: true }
    }
}

impl Explain for UsageError {
    fn explanation(&self) -> Explanation {
        let help = self.help.map(str::to_owned);
        Explanation { errno: self.errno, help, ..Explanation::default() }.at("setting", self.origin.as_str())
    }
}

/// Everything that was given.
pub(super) struct Values<'a> {
    pub(super) settings: &'static [Setting],
    pub(super) flags: &'a ArgMatches,
    pub(super) environment: BTreeMap<String, String>,
}

impl<'a> Values<'a> {
    /// What these flags and the process's environment give.
    pub(super) fn new(settings: &'static [Setting], flags: &'a ArgMatches) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect();
        Self { settings, flags, environment }
    }

    /// What was given for a setting: by its flag, else by one of its variables.
    pub(super) fn get(&self, name: &str) -> Option<Given> {
        if self.flags.value_source(name) == Some(ValueSource::CommandLine) {
            // One list, so that its items are counted over all of them; only a list is given more than once.
            let given: Vec<_> = self.flags.get_many::<String>(name)?.map(String::as_str).collect();
            return Some(Given { origin: format!("--{name}"), text: given.join(",") });
        }
        let setting = self.settings.iter().find(|setting| setting.name == name)?;
        let set = |variable: &&&str| {
            self.environment
                .get(**variable)
                .is_some_and(|text| !text.is_empty() || matches!(setting.kind, Kind::Text(_)))
        };
        self.variable(setting.environment.iter().find(set)?)
    }

    /// As [`get`](Self::get), where it is not the empty text.
    pub(super) fn not_empty(&self, name: &str) -> Option<Given> {
        self.get(name).filter(|given| !given.text.is_empty())
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

    /// The items of a list that may be given in several parts.
    pub(super) fn all<T, E: fmt::Display>(
        &self,
        name: &str,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, UsageError> {
        let mut items = Vec::new();
        for text in self.flags.get_many::<String>(name).into_iter().flatten() {
            let given = Given { origin: format!("--{name}"), text: text.clone() };
            items.extend(given.list(&mut parse)?);
        }
        Ok(items)
    }

    /// The items of a list, none unless it was given.
    pub(super) fn list<T, E: fmt::Display>(
        &self,
        name: &str,
        parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, UsageError> {
        self.get(name).map_or(Ok(Vec::new()), |given| given.list(parse))
    }
}

impl Given {
    #[cfg(fuzzing)]
    pub(super) fn new(origin: &str, text: &str) -> Self {
        Self { origin: origin.to_owned(), text: text.to_owned() }
    }

    /// `--flag`, or `environment variable NAME`.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn fault(&self, fault: impl fmt::Display) -> UsageError {
        UsageError {
            origin: self.origin.clone(),
            fault: fault.to_string(),
            errno: None,
            help: None,
            is_usage: true,
        }
    }

    /// What the value asks for is not to be had here: a system call failed.
    pub(super) fn failure(&self, fault: &str, error: &io::Error, help: &'static str) -> UsageError {
        let fault = self.fault(format_args!("{fault}: {}", io_text(error)));
        UsageError { errno: error.raw_os_error(), help: Some(help), is_usage: false, ..fault }
    }

    /// As Go's strconv.ParseBool, which Istio's flags go through.
    pub(super) fn boolean(&self) -> Result<bool, UsageError> {
        boolean(&self.text).map_err(|fault| self.fault(fault))
    }

    pub(super) fn one<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, UsageError> {
        parse(self.text.trim()).map_err(|fault| self.fault(fault))
    }

    /// The items of a comma separated list; empty ones do not count.
    pub(super) fn list<T, E: fmt::Display>(
        &self,
        parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, UsageError> {
        self.items(|item| !item.is_empty(), parse)
    }

    /// The items of a comma separated list in which each one counts, also one that is empty.
    pub(super) fn full_list<T, E: fmt::Display>(
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

    /// Whether it is `*`.
    pub(super) fn is_wildcard(&self) -> bool {
        self.text.trim() == "*"
    }
}

/// A duration as Go writes it: `5s`, `1m30s`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration (such as 5s, 1m30s or 500ms)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &[Setting] = &[
        Setting {
            name: "port",
            short: Some('p'),
            kind: Kind::Number("PORT"),
            environment: &["PORT"],
            help: "",
        },
        Setting {
            name: "ports",
            short: None,
            kind: Kind::Text("PORTS"),
            environment: &["PORTS", "OLD_PORTS"],
            help: "",
        },
        Setting { name: "dns", short: None, kind: Kind::Switch, environment: &["DNS", "OLD_DNS"], help: "" },
        Setting::list("ignore", Some('i'), "PORTS", ""),
    ];

    fn command() -> clap::Command {
        clap::Command::new("test").args(SETTINGS.iter().map(Setting::argument))
    }

    /// What `look` finds when these flags and these variables are given.
    #[track_caller]
    fn given<T>(flags: &[&str], environment: &[(&str, &str)], look: impl FnOnce(&Values<'_>) -> T) -> T {
        let flags = command().try_get_matches_from([&["test"], flags].concat()).unwrap();
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let environment = environment.iter().map(owned).collect();
        look(&Values { settings: SETTINGS, flags: &flags, environment })
    }

    fn text(values: &Values<'_>, name: &str) -> Option<String> {
        values.get(name).map(|given| given.text)
    }

    #[track_caller]
    fn dns(flags: &[&str], environment: &[(&str, &str)]) -> Result<bool, String> {
        given(flags, environment, |values| values.switch("dns")).map_err(|error| error.to_string())
    }

    fn list(text: &str) -> Given {
        Given { origin: "--ports".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        for flags in [&["--port=1"][..], &["--port", "1"], &["-p", "1"], &["-p1"], &["-p", "7", "--port=1"]] {
            assert_eq!(given(flags, &[("PORT", "2")], |values| text(values, "port")), Some("1".to_owned()));
        }
        assert_eq!(given(&[], &[("PORT", "2")], |values| text(values, "port")), Some("2".to_owned()));
        assert_eq!(given(&[], &[], |values| text(values, "port")), None);
    }

    #[test]
    fn the_first_variable_that_is_set_wins() {
        let both = [("OLD_PORTS", "2"), ("PORTS", "1")];
        assert_eq!(given(&[], &both, |values| text(values, "ports")), Some("1".to_owned()));
        assert_eq!(given(&[], &both[..1], |values| text(values, "ports")), Some("2".to_owned()));
    }

    #[test]
    fn an_empty_variable_is_a_text_but_no_number_and_no_switch() {
        assert_eq!(given(&[], &[("PORT", "")], |values| text(values, "port")), None);
        assert_eq!(given(&[], &[("PORTS", "")], |values| text(values, "ports")), Some(String::new()));
        assert_eq!(dns(&[], &[("DNS", "")]), Ok(false));
        assert_eq!(dns(&[], &[("DNS", ""), ("OLD_DNS", "true")]), Ok(true));
        // A flag is never empty by accident.
        assert_eq!(given(&["--port="], &[("PORT", "1")], |values| text(values, "port")), Some(String::new()));
    }

    #[test]
    fn switches_are_gos() {
        for yes in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(dns(&[], &[("DNS", yes)]), Ok(true), "{yes}");
        }
        for no in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(dns(&[], &[("DNS", no)]), Ok(false), "{no}");
        }
        for neither in ["yes", "no", "on", "tRUE", "2", " true"] {
            let fault = format!("environment variable DNS: {neither:?} is neither true nor false");
            assert_eq!(dns(&[], &[("DNS", neither)]), Err(fault));
        }
    }

    #[test]
    fn a_switch_as_a_flag() {
        assert_eq!(dns(&["--dns"], &[]), Ok(true));
        assert_eq!(dns(&["--dns=true"], &[]), Ok(true));
        assert_eq!(dns(&["--dns=false"], &[("DNS", "true")]), Ok(false));
        assert_eq!(dns(&["--dns=false", "--dns"], &[]), Ok(true));
        assert_eq!(dns(&["--dns=maybe"], &[]), Err("--dns: \"maybe\" is neither true nor false".to_owned()));
        // As in Go, what stands apart is not the switch's value.
        assert!(command().try_get_matches_from(["test", "--dns", "false"]).is_err());
    }

    #[test]
    fn a_list_has_the_items_that_are_not_empty() {
        assert_eq!(list("80, 443").list(port), Ok(vec![80, 443]));
        assert_eq!(list(",80,,443,").list(port), Ok(vec![80, 443]));
        assert_eq!(list("").list(port), Ok(vec![]));
        assert_eq!(list(" , ").list(port), Ok(vec![]));
        assert_eq!(given(&[], &[], |values| values.list("ports", port)), Ok(vec![]));
    }

    #[test]
    fn an_error_names_the_item_by_its_number_among_several() {
        let fault = |text| list(text).list(port).unwrap_err().to_string();
        assert_eq!(fault("70000"), "--ports: \"70000\" is not a port (0 to 65535)");
        assert_eq!(fault("80,70000"), "--ports: \"70000\" is not a port (0 to 65535) (item 2)");
        assert_eq!(fault("80,,http"), "--ports: \"http\" is not a port (0 to 65535) (item 3)");
    }

    #[test]
    fn a_list_goes_on_with_each_flag_and_its_items_are_counted_over_all_of_them() {
        let ports = |flags: &[&str]| given(flags, &[], |values| values.list("ignore", port));
        assert_eq!(ports(&["--ignore", "80,81", "-i", "82", "--ignore=83"]), Ok(vec![80, 81, 82, 83]));
        assert_eq!(ports(&["-i", "80", "-i", ""]), Ok(vec![80]));
        let fault = ports(&["--ignore", "80,81", "-i", "82,http"]).unwrap_err().to_string();
        assert_eq!(fault, "--ignore: \"http\" is not a port (0 to 65535) (item 4)");
    }

    #[test]
    fn in_a_full_list_an_empty_item_is_one() {
        assert_eq!(list("80, 81").full_list(port), Ok(vec![80, 81]));
        let fault = |text| list(text).full_list(port).unwrap_err().to_string();
        assert_eq!(fault("80,,81"), "--ports: \"\" is not a port (0 to 65535) (item 2)");
        assert_eq!(fault(""), "--ports: \"\" is not a port (0 to 65535)");
    }

    #[test]
    fn a_wildcard_stands_alone() {
        assert!(list("*").is_wildcard());
        assert!(list(" * ").is_wildcard());
        assert!(!list("*,80").is_wildcard());
        assert!(!list("").is_wildcard());
    }

    #[test]
    fn durations_are_gos() {
        for (text, milliseconds) in
            [("5s", 5000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "5", "-5s", "five", "5 parsecs"] {
            let fault = format!("{wrong:?} is not a duration (such as 5s, 1m30s or 500ms)");
            assert_eq!(duration(wrong), Err(fault));
        }
    }
}

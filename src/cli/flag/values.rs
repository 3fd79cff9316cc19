//! What was given on a command line and in its environment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::{Definition, Flag, Flags, Given, Kind, Plain, UsageError};
use crate::mesh::value::boolean;

/// Everything that was given.
pub(in crate::cli) struct Values<'a> {
    flags: Parsed<'a>,
    environment: Environment,
}

enum Environment {
    Given(BTreeMap<String, String>),
    /// The process's, with the variables that were looked up: each time takes a walk through all, of which a pod can have
    /// thousands
    Process(RefCell<Vec<(&'static str, Option<String>)>>),
}

impl Environment {
    fn of_process() -> Self {
        Self::Process(RefCell::default())
    }

    /// The value of a variable; what of it is not UTF-8 becomes U+FFFD.
    fn text(&self, name: &'static str) -> Option<String> {
        let known = match self {
            Self::Given(variables) => return variables.get(name).cloned(),
            Self::Process(known) => known,
        };
        let mut known = known.borrow_mut();
        if let Some((_, text)) = known.iter().find(|(one, _)| *one == name) {
            return text.clone();
        }
        let text = env::var_os(name).map(|text| text.to_string_lossy().into_owned());
        known.push((name, text.clone()));
        text
    }
}

/// What was given on the command line.
#[derive(Clone, Copy)]
enum Parsed<'a> {
    ByClap(&'a ArgMatches),
    Plain(&'a Plain<'a>),
}

impl<'a> From<&'a Plain<'a>> for Values<'a> {
    /// What these flags and the process's environment give.
    fn from(flags: &'a Plain<'a>) -> Self {
        Self { flags: Parsed::Plain(flags), environment: Environment::of_process() }
    }
}

impl<'a> Values<'a> {
    /// What these flags and the process's environment give.
    pub(in crate::cli) fn new(flags: &'a ArgMatches) -> Self {
        Self { flags: Parsed::ByClap(flags), environment: Environment::of_process() }
    }

    /// What these flags give, and nothing but these variables.
    pub(in crate::cli) fn with_environment(
        flags: &'a ArgMatches,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self { flags: Parsed::ByClap(flags), environment: Environment::Given(environment) }
    }

    /// The value of a flag, or its default.
    pub(in crate::cli) fn read<T>(&self, flag: &Flag<T>) -> Result<T, UsageError> {
        self.given(flag).map_or_else(|| Ok((flag.default)()), |given| (flag.read)(&given))
    }

    /// What was given for a flag: on the command line, else by one of its variables.
    pub(in crate::cli) fn given<T>(&self, flag: &Flag<T>) -> Option<Given> {
        self.given_for(&flag.definition)
    }

    /// What was given each time, where a comma is a part of it.
    pub(in crate::cli) fn each<T>(&self, flag: &Flag<Vec<T>>) -> impl Iterator<Item = &'a str> {
        self.texts(flag.name()).into_iter().flatten()
    }

    fn given_for(&self, definition: &Definition) -> Option<Given> {
        let given = match definition.kind {
            Kind::Variable => self.variable(definition.name),
            _ => self.flag(definition.name).or_else(|| self.first_variable(definition)),
        };
        given.filter(|given| !(definition.empty_is_none && given.text.is_empty()))
    }

    fn flag(&self, name: &str) -> Option<Given> {
        // One list, so that its items are counted over all of them; only a list is given more than once.
        let given: Vec<_> = self.texts(name)?.collect();
        Some(Given::new(format!("--{name}"), given.join(",")))
    }

    /// What was given for a flag on the command line; none, too, if the command has no such flag.
    pub(super) fn texts(&self, name: &str) -> Option<Box<dyn Iterator<Item = &'a str> + 'a>> {
        match self.flags {
            Parsed::ByClap(flags) => {
                let texts = flags.try_get_many::<String>(name).ok().flatten()?;
                let is_given = flags.value_source(name) == Some(ValueSource::CommandLine);
                is_given.then(|| Box::new(texts.map(String::as_str)) as _)
            }
            Parsed::Plain(plain) => plain.texts(name),
        }
    }

    /// What was given that is not a flag, by the name that the command has for it.
    pub(in crate::cli) fn operands(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.texts(name).into_iter().flatten()
    }

    fn first_variable(&self, definition: &Definition) -> Option<Given> {
        let set = |variable: &&'static str| {
            self.environment.text(variable).is_some_and(|text| match definition.kind {
                Kind::Text(_) | Kind::List(_) => true,
                // As with Istio, what is not a boolean is not set.
                Kind::Switch => boolean(&text).is_ok(),
                Kind::Number(_) | Kind::Variable => !text.is_empty(),
            })
        };
        self.variable(definition.environment.iter().copied().find(set)?)
    }

    /// The variables of switches and are neither empty nor a boolean, as what to say of them.
    pub(in crate::cli) fn ignored_variables(&self, flags: Flags) -> Vec<String> {
        let switches = flags.iter().map(|flag| flag.definition()).filter(|flag| flag.kind == Kind::Switch);
        let variables = switches.flat_map(|flag| flag.environment).filter_map(|&name| self.variable(name));
        let wrong =
            variables.filter(|given| !given.text.is_empty()).filter_map(|given| given.boolean().err());
        wrong.map(|error| format!("{error}: it is ignored")).collect()
    }

    fn variable(&self, name: &'static str) -> Option<Given> {
        // Most are not set.
        let text = self.environment.text(name)?;
        Some(Given::new(format!("environment variable {name}"), text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::port;
    use super::super::with_flags;
    use super::*;

    static PORT: Flag<u16> =
        Flag::number("port", "PORT", || 7, |given| given.one(port)).short('p').environment(&["PORT"]);
    static PORTS: Flag<Vec<u16>> =
        Flag::text("ports", "PORTS", Vec::new, |given| given.list(port)).environment(&["PORTS", "OLD_PORTS"]);
    static DNS: Flag<bool> = Flag::switch("dns").environment(&["DNS", "OLD_DNS"]);
    static IGNORE: Flag<Vec<u16>> = Flag::list("ignore", "PORTS", |given| given.list(port)).short('i');
    static FLAGS: Flags = &[&PORT, &PORTS, &DNS, &IGNORE];

    fn command() -> clap::Command {
        with_flags(clap::Command::new("test"), FLAGS)
    }

    /// What `look` finds when these flags and these variables are given.
    #[track_caller]
    fn given<T>(flags: &[&str], environment: &[(&str, &str)], look: impl FnOnce(&Values<'_>) -> T) -> T {
        let flags = command().try_get_matches_from([&["test"], flags].concat()).unwrap();
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let environment = environment.iter().map(owned).collect();
        look(&Values::with_environment(&flags, environment))
    }

    fn text<T>(values: &Values<'_>, flag: &Flag<T>) -> Option<String> {
        values.given(flag).map(|given| given.text)
    }

    #[track_caller]
    fn dns(flags: &[&str], environment: &[(&str, &str)]) -> Result<bool, String> {
        given(flags, environment, |values| values.read(&DNS)).map_err(|error| error.to_string())
    }

    fn list(text: &str) -> Given {
        Given::new("--ports".to_owned(), text.to_owned())
    }

    #[test]
    fn without_a_value_there_is_the_default() {
        assert_eq!(given(&[], &[], |values| values.read(&PORT)), Ok(7));
        assert_eq!(given(&["-p", "8"], &[], |values| values.read(&PORT)), Ok(8));
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        for flags in [&["--port=1"][..], &["--port", "1"], &["-p", "1"], &["-p1"], &["-p", "7", "--port=1"]] {
            assert_eq!(given(flags, &[("PORT", "2")], |values| text(values, &PORT)), Some("1".to_owned()));
        }
        assert_eq!(given(&[], &[("PORT", "2")], |values| text(values, &PORT)), Some("2".to_owned()));
        assert_eq!(given(&[], &[], |values| text(values, &PORT)), None);
    }

    #[test]
    fn the_first_variable_that_is_set_wins() {
        let both = [("OLD_PORTS", "2"), ("PORTS", "1")];
        assert_eq!(given(&[], &both, |values| text(values, &PORTS)), Some("1".to_owned()));
        assert_eq!(given(&[], &both[..1], |values| text(values, &PORTS)), Some("2".to_owned()));
    }

    #[test]
    fn an_empty_variable_is_a_text_but_neither_a_number_nor_a_switch() {
        assert_eq!(given(&[], &[("PORT", "")], |values| text(values, &PORT)), None);
        assert_eq!(given(&[], &[("PORTS", "")], |values| text(values, &PORTS)), Some(String::new()));
        assert_eq!(dns(&[], &[("DNS", "")]), Ok(false));
        assert_eq!(dns(&[], &[("DNS", ""), ("OLD_DNS", "true")]), Ok(true));
        // A flag is never empty by accident.
        assert_eq!(given(&["--port="], &[("PORT", "1")], |values| text(values, &PORT)), Some(String::new()));
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
            // As with Istio, a variable that is not a boolean is ignored.
            let variables = [("DNS", neither), ("OLD_DNS", "true")];
            assert_eq!(dns(&[], &variables), Ok(true), "{neither}");
            let warning =
                format!("environment variable DNS: {neither:?} is neither true nor false: it is ignored");
            assert_eq!(given(&[], &variables, |values| values.ignored_variables(FLAGS)), [warning]);
        }
    }

    #[test]
    fn a_switch_as_a_flag() {
        assert_eq!(dns(&["--dns"], &[]), Ok(true));
        assert_eq!(dns(&["--dns=true"], &[]), Ok(true));
        assert_eq!(dns(&["--dns=false"], &[("DNS", "true")]), Ok(false));
        assert_eq!(dns(&["--dns=false", "--dns"], &[]), Ok(true));
        assert_eq!(dns(&["--dns=maybe"], &[]), Err("--dns: \"maybe\" is neither true nor false".to_owned()));
        // As in Go, a separate word is not the switch's value.
        assert!(command().try_get_matches_from(["test", "--dns", "false"]).is_err());
    }

    #[test]
    fn a_list_has_the_items_that_are_not_empty() {
        assert_eq!(list("80, 443").list(port), Ok(vec![80, 443]));
        assert_eq!(list(",80,,443,").list(port), Ok(vec![80, 443]));
        assert_eq!(list("").list(port), Ok(vec![]));
        assert_eq!(list(" , ").list(port), Ok(vec![]));
        assert_eq!(given(&[], &[], |values| values.read(&PORTS)), Ok(vec![]));
    }

    #[test]
    fn an_error_names_the_item_by_its_number_among_several() {
        let fault = |text| list(text).list(port).unwrap_err().to_string();
        assert_eq!(fault("70000"), "--ports: \"70000\" is not a port (0 to 65535)");
        assert_eq!(fault("80,70000"), "--ports: \"70000\" is not a port (0 to 65535) (item 2)");
        assert_eq!(fault("80,,http"), "--ports: \"http\" is not a port (0 to 65535) (item 3)");
    }

    #[test]
    fn repeated_flags_extend_a_list_and_its_items_are_numbered_across_them() {
        let ports = |flags: &[&str]| given(flags, &[], |values| values.read(&IGNORE));
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
    fn a_wildcard_is_the_only_item() {
        assert!(list("*").is_wildcard());
        assert!(list(" * ").is_wildcard());
        assert!(list("*,*").is_wildcard());
        assert!(!list("*,80").is_wildcard());
        assert!(!list("").is_wildcard());
    }
}

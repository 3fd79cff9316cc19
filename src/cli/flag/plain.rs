//! Arguments that are nothing but flags with their values, as meshes give them to an init container.
//!
//! Clap takes longer for them than all that a command does until it asks the kernel. What is read here, clap would read in
//! the same way; whatever else is given is left to it, with the help and the errors.

use std::ffi::OsString;

use super::{Definition, Flags, Kind};

/// The flags that were given, and their values.
#[derive(Debug)]
pub(in crate::cli) struct Plain<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Plain<'a> {
    /// `--flag value`, `--flag=value`, `-f value`, `-fvalue`, `--switch`, `--switch=value` and `-s`, of these flags; `None` where
    /// there is anything else.
    pub(in crate::cli) fn new(flags: Flags, arguments: &'a [OsString]) -> Option<Self> {
        let mut given: Vec<(&str, &str)> = Vec::with_capacity(arguments.len());
        let mut words = arguments.iter().map(|argument| argument.to_str());
        while let Some(word) = words.next() {
            let (definition, attached) = flag(flags, word?)?;
            let text = match (definition.kind, attached) {
                (Kind::Switch, None) => "true",
                (Kind::Variable, _) | (Kind::Switch, Some("")) => return None,
                (_, Some(text)) => text,
                (_, None) => words.next()?.filter(|text| *text != "--")?,
            };
            // The last one counts.
            if !matches!(definition.kind, Kind::List(_)) {
                given.retain(|(name, _)| *name != definition.name);
            }
            given.push((definition.name, text));
        }
        Some(Self(given))
    }

    /// The values of this flag, each time that it was given; `None` if it was not.
    pub(super) fn texts(&'a self, name: &str) -> Option<Box<dyn Iterator<Item = &'a str> + 'a>> {
        let (name, _) = *self.0.iter().find(|(given, _)| *given == name)?;
        let texts = self.0.iter().filter(move |(given, _)| *given == name);
        Some(Box::new(texts.map(|(_, text)| *text)))
    }
}

/// The flag that a word names, and the value that the same word gives it.
fn flag(flags: Flags, word: &str) -> Option<(&'static Definition, Option<&str>)> {
    let mut definitions = flags.iter().map(|flag| flag.definition());
    if let Some(long) = word.strip_prefix("--") {
        let (name, text) = long.split_once('=').map_or((long, None), |(name, text)| (name, Some(text)));
        return Some((definitions.find(|definition| definition.name == name)?, text));
    }
    let mut shorts = word.strip_prefix('-')?.chars();
    let short = shorts.next()?;
    let definition = definitions.find(|definition| definition.short == Some(short))?;
    match (shorts.as_str(), definition.kind) {
        ("", _) => Some((definition, None)),
        // More short flags, or a value that is none.
        (_, Kind::Switch) => None,
        (text, _) => Some((definition, Some(text.strip_prefix('=').unwrap_or(text)))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;
    use proptest::prelude::*;

    use super::super::{Values, with_flags};
    use super::*;
    use crate::cli::{istio_iptables, proxy_init};

    const COMMANDS: [Flags; 2] = [istio_iptables::FLAGS, proxy_init::FLAGS];

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    /// Whether these are plain; then clap reads the same.
    fn is_plain(flags: Flags, arguments: &[OsString]) -> bool {
        let Some(plain) = Plain::new(flags, arguments) else { return false };
        let command = with_flags(Command::new("test").no_binary_name(true), flags);
        let matches = command.try_get_matches_from(arguments).unwrap();
        let (plain, full) = (Values::from(&plain), Values::new(&matches));
        for flag in flags {
            let name = flag.definition().name;
            let texts = [&plain, &full].map(|values| values.texts(name).map(Iterator::collect::<Vec<_>>));
            assert_eq!(texts[0], texts[1], "{arguments:?}: {name}");
        }
        true
    }

    #[test]
    fn what_meshes_give_is_plain() {
        for line in [
            "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020",
            "--redirect-dns=false --log_as_json --envoy-port=1 --envoy-port 2 -n --dry-run",
            "-u --help -p15001 -o=1 -o-2 -d= -u -1 -d 1 -d 2",
        ] {
            assert!(is_plain(istio_iptables::FLAGS, &words(line)), "{line}");
        }
        let line = "--incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid -1 --ports-to-redirect 1 -r 2,3 -w";
        assert!(is_plain(proxy_init::FLAGS, &words(line)));
    }

    #[test]
    fn all_else_is_left_to_clap() {
        for line in [
            "",
            "x",
            "-",
            "--",
            "--help",
            "-h",
            "-y",
            "-p",
            "-p --",
            "--dns",
            "-np15001",
            "--dry-run=",
            "-p 1 x",
        ] {
            assert!(Plain::new(istio_iptables::FLAGS, &words(line)).is_none(), "{line}");
        }
        let invalid = <OsString as std::os::unix::ffi::OsStringExt>::from_vec(b"\xff".to_vec());
        assert!(Plain::new(istio_iptables::FLAGS, &["-p".into(), invalid]).is_none());
    }

    proptest! {
        #[test]
        fn what_is_plain_is_the_same_to_clap(
            command in 0..COMMANDS.len(),
            words in prop::collection::vec(
                (any::<prop::sample::Index>(), 0..8_usize, prop::sample::select(vec!["", "1", "-1", "=", "a=b", "true", "-p", "--", "*", "-n"])),
                0..6,
            ),
        ) {
            let flags = COMMANDS[command];
            let arguments: Vec<OsString> = words
                .into_iter()
                .flat_map(|(index, form, value)| {
                    let Definition { name, short, .. } = index.get(flags).definition();
                    let short = short.unwrap_or('n');
                    match form {
                        0 => vec![format!("--{name}"), value.to_owned()],
                        1 => vec![format!("--{name}={value}")],
                        2 => vec![format!("-{short}"), value.to_owned()],
                        3 => vec![format!("-{short}{value}")],
                        4 => vec![format!("-{short}={value}")],
                        5 => vec![format!("--{name}")],
                        6 => vec![format!("-{short}")],
                        _ => vec![value.to_owned()],
                    }
                })
                .map(OsString::from)
                .collect();
            is_plain(flags, &arguments);
        }
    }
}

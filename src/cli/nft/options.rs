//! nft's options (nft(8)), which come before its commands.

use nft_ruleset::nft::print::Numeric;

use super::{DIALECT, NAME};

/// What `nft --version` starts with, as programs expect it.
pub(super) const VERSION: &str = concat!("meshwire ", env!("CARGO_PKG_VERSION"));

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) check: bool,
    pub(super) json: bool,
    pub(super) stateless: bool,
    pub(super) handles: bool,
    pub(super) terse: bool,
    pub(super) echo: bool,
    pub(super) numeric: Numeric,
    pub(super) names: Named,
    pub(super) optimize: bool,
    pub(super) debug: bool,
    pub(super) interactive: bool,
    pub(super) file: Option<String>,
    pub(super) defines: Vec<(String, String)>,
    pub(super) include_paths: Vec<String>,
    /// The commands of the command line
    pub(super) commands: Option<String>,
}

/// What is shown by the name that the system has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) services: bool,
    pub(super) accounts: bool,
    pub(super) hosts: bool,
}

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A text to be shown
    Text(String),
    /// Commands to be run
    Run(Box<Options>),
}

/// An option: its letter, its name, what it takes, and what it is for.
struct Known {
    letter: char,
    name: &'static str,
    value: Option<&'static str>,
    help: &'static str,
}

const fn flag(letter: char, name: &'static str, help: &'static str) -> Known {
    Known { letter, name, value: None, help }
}

const fn value(letter: char, name: &'static str, value: &'static str, help: &'static str) -> Known {
    Known { letter, name, value: Some(value), help }
}

const KNOWN: &[Known] = &[
    flag('h', "help", "Show this help"),
    flag('v', "version", "Show version information"),
    flag('V', "", "Show extended version information"),
    value('f', "file", "<filename>", "Read input from <filename>"),
    value('D', "define", "<name=value>", "Define variable, e.g. --define foo=1.2.3.4"),
    flag('i', "interactive", "Read commands from standard input, each line by itself"),
    value(
        'I',
        "includepath",
        "<directory>",
        "Add <directory> to the paths searched for include files. Default is: /etc",
    ),
    flag('c', "check", "Check commands validity without actually applying the changes."),
    flag('a', "handle", "Output rule handle."),
    flag('s', "stateless", "Omit stateful information of ruleset."),
    flag('t', "terse", "Omit contents of sets."),
    flag('e', "echo", "Echo what has been added, inserted or replaced."),
    flag('n', "numeric", "Print fully numerical output."),
    flag('y', "numeric-priority", "Print chain priority numerically."),
    flag('p', "numeric-protocol", "Print layer 4 protocols numerically."),
    flag('T', "numeric-time", "Print time values numerically."),
    flag('S', "service", "Translate ports to service names as described in /etc/services."),
    flag('N', "reversedns", "Translate IP addresses to names as described in /etc/hosts."),
    flag('u', "guid", "Print UID and GID as defined in /etc/passwd and /etc/group."),
    flag('o', "optimize", "Optimize ruleset"),
    flag('j', "json", "Format output in JSON"),
    value(
        'd',
        "debug",
        "<level [,level...]>",
        "Specify debugging level (scanner, parser, eval, netlink, mnl, proto-ctx, segtree, all): netlink shows what is sent",
    ),
];

/// nft's levels of debugging.
const LEVELS: &[&str] = &["scanner", "parser", "eval", "netlink", "mnl", "proto-ctx", "segtree", "all"];

/// As getopt_long(3) with nft's options: letters may be joined, names may be shortened, and the first argument that is
/// no option begins the commands.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed, String> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    let mut commands: Vec<&str> = Vec::new();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            commands.extend(rest.by_ref().map(String::as_str));
        } else if let Some(long) = argument.strip_prefix("--") {
            let (name, given) = match long.split_once('=') {
                Some((name, given)) => (name, Some(given.to_owned())),
                None => (long, None),
            };
            let known = long_option(name)?;
            let given = match (known.value, given) {
                (None, None) => String::new(),
                (None, Some(_)) => {
                    return Err(format!("{NAME}: option '--{}' doesn't allow an argument", known.name));
                }
                (Some(_), Some(given)) => given,
                (Some(_), None) => take(&mut rest, &format!("'--{}'", known.name))?,
            };
            if let Some(text) = apply(&mut options, known.letter, given)? {
                return Ok(Parsed::Text(text));
            }
        } else if let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let known = short_option(letter)?;
                let given = match known.value {
                    None => String::new(),
                    Some(_) => {
                        let joined: String = letters.by_ref().collect();
                        if joined.is_empty() { take(&mut rest, &format!("-- '{letter}'"))? } else { joined }
                    }
                };
                if let Some(text) = apply(&mut options, letter, given)? {
                    return Ok(Parsed::Text(text));
                }
            }
        } else {
            commands.push(argument);
            commands.extend(rest.by_ref().map(String::as_str));
        }
    }
    misplaced(&commands)?;
    if options.file.is_none() && !options.defines.is_empty() {
        return Err("Error: -D/--define can only be used with -f/--filename".to_owned());
    }
    options.commands = (!commands.is_empty()).then(|| commands.join(" "));
    Ok(Parsed::Run(Box::new(options)))
}

/// Options after the commands would be read as commands.
fn misplaced(commands: &[&str]) -> Result<(), String> {
    for command in commands {
        if command.starts_with('{') {
            break;
        }
        if command.starts_with('-')
            && command.len() > 1
            && command[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '-')
        {
            let line = commands.join(" ");
            return Err(format!(
                "Error: syntax error, options must be specified before commands\n{NAME} {line}"
            ));
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut impl Iterator<Item = &'a String>, option: &str) -> Result<String, String> {
    rest.next().cloned().ok_or_else(|| format!("{NAME}: option requires an argument {option}"))
}

fn short_option(letter: char) -> Result<&'static Known, String> {
    let known = KNOWN.iter().find(|known| known.letter == letter);
    known.ok_or_else(|| format!("{NAME}: invalid option -- '{letter}'"))
}

fn long_option(name: &str) -> Result<&'static Known, String> {
    let exact = KNOWN.iter().find(|known| known.name == name && !name.is_empty());
    if let Some(known) = exact {
        return Ok(known);
    }
    let mut matching = KNOWN.iter().filter(|known| !name.is_empty() && known.name.starts_with(name));
    match (matching.next(), matching.next()) {
        (Some(known), None) => Ok(known),
        (None, _) => Err(format!("{NAME}: unrecognized option '--{name}'")),
        _ => Err(format!("{NAME}: option '--{name}' is ambiguous")),
    }
}

/// Returns a text to be shown instead of anything else.
fn apply(options: &mut Options, letter: char, value: String) -> Result<Option<String>, String> {
    match letter {
        'h' => return Ok(Some(help())),
        'v' => return Ok(Some(format!("nftables v{DIALECT} ({VERSION})\n"))),
        'V' => {
            let rest = "  cli:\t\tno\n  json:\t\tyes\n  minigmp:\tno\n  libxtables:\tno\n";
            return Ok(Some(format!("nftables v{DIALECT} ({VERSION})\n{rest}")));
        }
        'f' => options.file = Some(value),
        'D' => match value.split_once('=') {
            Some((name, value)) => options.defines.push((name.to_owned(), value.to_owned())),
            None => return Err(format!("Failed to define variable '{value}'")),
        },
        'i' => options.interactive = true,
        'I' => options.include_paths.push(value),
        'c' => options.check = true,
        'a' => options.handles = true,
        's' => options.stateless = true,
        't' => options.terse = true,
        'e' => options.echo = true,
        'n' => options.numeric = Numeric { priority: true, protocol: true, time: true, symbol: true },
        'y' => options.numeric.priority = true,
        'p' => options.numeric.protocol = true,
        'T' => options.numeric.time = true,
        'S' => options.names.services = true,
        'N' => options.names.hosts = true,
        'u' => options.names.accounts = true,
        'o' => options.optimize = true,
        'd' => {
            if let Some(unknown) = value.split(',').find(|level| !LEVELS.contains(level)) {
                return Err(format!("invalid debug parameter `{unknown}'"));
            }
            options.debug |= value.split(',').any(|level| matches!(level, "netlink" | "all"));
        }
        'j' => options.json = true,
        _ => {}
    }
    Ok(None)
}

fn help() -> String {
    format!("Usage: {NAME} [ options ] [ cmds... ]\n\nOptions:\n{}", known())
}

/// The options, one a line.
pub(super) fn known() -> String {
    let mut text = String::new();
    for Known { letter, name, value, help } in KNOWN {
        let name = if name.is_empty() { String::new() } else { format!(", --{name}") };
        let value = value.map_or(String::new(), |value| format!(" {value}"));
        let option = format!("  -{letter}{name}{value}");
        text.push_str(&format!("{option:<34}{help}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments).map(|parsed| match parsed {
            Parsed::Run(options) => *options,
            Parsed::Text(text) => panic!("{text}"),
        })
    }

    #[test]
    fn options_come_before_commands() {
        let options = parsed("-ja list ruleset").unwrap();
        assert!(options.json && options.handles);
        assert_eq!(options.commands.as_deref(), Some("list ruleset"));
        let options = parsed("--check --file - -Dx=1").unwrap();
        assert!(options.check);
        assert_eq!(options.file.as_deref(), Some("-"));
        assert_eq!(options.defines, [("x".to_owned(), "1".to_owned())]);
        assert_eq!(parsed("-f/etc/x --stateless").unwrap().file.as_deref(), Some("/etc/x"));
        assert!(parsed("list ruleset -a").unwrap_err().contains("options must be specified before commands"));
        let negative = parsed("add chain t c { type filter hook input priority -10 ; }").unwrap();
        assert!(negative.commands.is_some());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(parsed("-d scanner,no list ruleset").unwrap_err(), "invalid debug parameter `no'");
        assert!(parsed("-x list ruleset").unwrap_err().contains("invalid option -- 'x'"));
        assert!(parsed("--nothing").unwrap_err().contains("unrecognized option"));
        assert!(parsed("-D x=1 list ruleset").unwrap_err().contains("can only be used with -f"));
        assert!(parsed("-f").unwrap_err().contains("requires an argument"));
    }

    #[test]
    fn the_version_looks_like_nfts() {
        let Ok(Parsed::Text(text)) = parse(&["--version".to_owned()]) else { panic!("no text") };
        assert!(text.starts_with("nftables v1.0.6 (meshwire "), "{text}");
    }
}

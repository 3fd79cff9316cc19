//! One manual page: the sections that man-pages(7) names, in its order.

use clap::{Arg, Command};
use roff::{Roff, bold, italic, roman};

use crate::examples;
use crate::notes::Notes;

/// Characters of a source line; mandoc asks for less than 80.
const WIDTH: usize = 76;

/// The page's name, without its section.
pub(crate) fn name(command: &Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).replace(' ', "-")
}

pub(crate) fn text(command: &Command, notes: &Notes, date: &str) -> String {
    let mut roff = Roff::new();
    let (name, version) = (name(command), concat!("meshwire ", env!("CARGO_PKG_VERSION")));
    roff.control("TH", [name.to_uppercase().as_str(), "8", date, version, "System Administration"]);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    roff.control("SH", ["NAME"]);
    fill(&mut roff, &format!("{name} - {about}"));
    roff.control("SH", ["SYNOPSIS"]);
    let usage = command.clone().render_usage().to_string();
    roff.text([bold(usage.trim_start_matches("Usage: "))]);
    roff.control("SH", ["DESCRIPTION"]);
    let long = command.get_long_about().map_or(format!("{about}."), ToString::to_string);
    paragraphs(&mut roff, long.split("\n\n").chain(notes.paragraphs.iter().map(String::as_str)));
    commands(&mut roff, command);
    options(&mut roff, command, notes);
    environment(&mut roff, command, notes);
    exit_status(&mut roff, notes);
    let examples = examples::of(&name).iter().map(|(what, line)| ((*what).to_owned(), (*line).to_owned()));
    show_examples(&mut roff, &examples.chain(notes.examples.iter().cloned()).collect::<Vec<_>>());
    see_also(&mut roff, command);
    roff.to_roff()
}

/// Words on lines of their own length, which troff fills.
fn fill(roff: &mut Roff, text: &str) {
    // A hyphen is escaped.
    let width = |text: &str| text.len() + text.matches('-').count();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width(&line) + width(word) >= WIDTH {
            roff.text([roman(std::mem::take(&mut line))]);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        roff.text([roman(line)]);
    }
}

fn paragraphs<'a>(roff: &mut Roff, texts: impl Iterator<Item = &'a str>) {
    for (number, text) in texts.enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        fill(roff, text);
    }
}

/// A term, and what it is.
fn item(roff: &mut Roff, term: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    fill(roff, text);
}

fn commands(roff: &mut Roff, command: &Command) {
    if command.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
    }
    for command in command.get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        item(roff, command.get_name(), &about);
    }
}

fn options(roff: &mut Roff, command: &Command, notes: &Notes) {
    let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
    if !arguments.is_empty() {
        roff.control("SH", ["OPTIONS"]);
    }
    for argument in arguments {
        // Such as `-p, --envoy-port <PORT>`.
        item(roff, &term(argument), &help(argument));
    }
    for (option, help) in &notes.options {
        item(roff, option, help);
    }
}

fn term(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default();
    let value = values.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ");
    if argument.is_positional() {
        return value;
    }
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let names = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    match argument.get_action().takes_values() {
        false => names,
        true if argument.is_require_equals_set() => format!("{names}[={value}]"),
        true => format!("{names} {value}"),
    }
}

fn help(argument: &Arg) -> String {
    let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values = argument.get_possible_values();
    if argument.get_action().takes_values() && !argument.is_hide_possible_values_set() && !values.is_empty() {
        let names: Vec<_> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
        help += &format!(" [possible values: {}]", names.join(", "));
    }
    help
}

fn environment(roff: &mut Roff, command: &Command, notes: &Notes) {
    let mut variables = notes.environment.clone();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let variable = help.split_once("[env: ").and_then(|(_, rest)| rest.split_once(']'));
        if let (Some((variable, _)), Some(flag)) = (variable, argument.get_long()) {
            variables.push((variable.to_owned(), format!("The value of --{flag}, unless that is given.")));
        }
    }
    if variables.is_empty() {
        return;
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (variable, text) in variables {
        item(roff, &variable, &text);
    }
}

fn exit_status(roff: &mut Roff, notes: &Notes) {
    roff.control("SH", ["EXIT STATUS"]);
    let usual = [("0", "done"), ("1", "failed"), ("2", "wrong usage")];
    let usual = usual.map(|(code, meaning)| (code.to_owned(), meaning.to_owned()));
    let codes = if notes.exit.is_empty() { &usual[..] } else { &notes.exit };
    for (code, meaning) in codes {
        item(roff, code, meaning);
    }
}

fn show_examples(roff: &mut Roff, examples: &[(String, String)]) {
    if examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    let mut before = None;
    for (number, (what, line)) in examples.iter().enumerate() {
        if before != Some(what) {
            if number > 0 {
                roff.control("PP", []);
            }
            fill(roff, &format!("{what}:"));
        }
        before = Some(what);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        for part in broken(line) {
            roff.text([roman(part)]);
        }
        roff.control("fi", []);
        roff.control("RE", []);
    }
}

/// A command line on several lines, as a shell reads it.
fn broken(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + word.len() >= WIDTH {
            lines[last] += " \\";
            lines.push(format!("  {word}"));
        } else {
            let space = if lines[last].is_empty() { "" } else { " " };
            lines[last] += &format!("{space}{word}");
        }
    }
    lines
}

fn see_also(roff: &mut Roff, command: &Command) {
    roff.control("SH", ["SEE ALSO"]);
    let name = name(command);
    let mut others: Vec<_> = command.get_subcommands().map(self::name).collect();
    if let Some((parent, _)) = name.rsplit_once(&format!("-{}", command.get_name())) {
        others.insert(0, parent.to_owned());
    }
    others.push("nft".to_owned());
    let count = others.len();
    for (number, other) in others.into_iter().enumerate() {
        let comma = if number + 1 < count { ")," } else { ")" };
        roff.text([italic(other), roman("(8"), roman(comma)]);
    }
}

//! `meshwire nft`, also under the name `nft`: nft's language and commands, without nft.

mod files;
mod monitor;
mod options;
mod world;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use nft_ruleset::nft::command::{self, Outcome, Settings};
use nft_ruleset::nft::parse::source::{Fault, Source, Sources};
use nft_ruleset::nft::parse::{self, IncludeError, Variables, json, parse, parse_all_but_rules};
use nftwire::Socket;
use nix::unistd::gettid;

use super::interfaces::interfaces;
use super::progress;
use files::Includes;
use options::{Options, Parsed};
use world::{System, SystemNames};

/// The command's name.
pub(super) const NAME: &str = "nft";

/// The version of nft whose language this is.
const DIALECT: &str = "1.0.6";

const ARGUMENTS: &str = "arguments";

pub(super) fn command() -> Command {
    let arguments = Arg::new(ARGUMENTS)
        .help("nft's options, and commands in its language: one transaction, however many")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true);
    // nft has options of its own, which look as they do in other programs but must come before its commands.
    Command::new(NAME)
        .about("Reads and changes rules in nft's language, in place of nft; `meshwire nft --help` lists its options")
        .disable_help_flag(true)
        .after_help(format!("nft's options:\n{}\nExit codes: 0 done, 1 failed or wrong usage.", options::known()))
        .arg(arguments.value_parser(clap::value_parser!(OsString)))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let arguments = matches.get_many::<OsString>(ARGUMENTS).unwrap_or_default();
    let mut texts = Vec::new();
    for argument in arguments {
        match argument.to_str() {
            Some(text) => texts.push(text.to_owned()),
            None => return fail("an argument is not UTF-8"),
        }
    }
    match options::parse(&texts) {
        Ok(Parsed::Text(text)) => print(&text),
        Ok(Parsed::Run(options)) => execute(&options),
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    // Nothing is left to be done where standard error is closed.
    let _ = writeln!(io::stderr(), "{message}");
    ExitCode::FAILURE
}

fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&format!("cannot write: {error}")),
        _ => ExitCode::SUCCESS,
    }
}

fn execute(options: &Options) -> ExitCode {
    let mut session = Session::new(options);
    if let Err(code) = session.define(&options.defines) {
        return code;
    }
    if let Some(commands) = &options.commands {
        return session.run(None, format!("{commands}\n"));
    }
    match &options.file {
        Some(path) => match read(path) {
            Ok((name, text)) => session.run(Some(name), text),
            Err(error) => {
                let error = IncludeError::Open { name: path.clone(), error };
                fail(&format!("internal:0:0-0: Error: {error}\n\n"))
            }
        },
        None if options.interactive => interactive(&mut session),
        None => fail(&format!("{NAME}: no command specified")),
    }
}

/// A file's text, and the name that errors show for it.
fn read(path: &str) -> io::Result<(String, String)> {
    const STDIN: &str = "/dev/stdin";
    let mut bytes = Vec::new();
    let name = if path == "-" { STDIN } else { path };
    match name {
        STDIN => io::stdin().lock().read_to_end(&mut bytes)?,
        path => std::fs::File::open(path)?.read_to_end(&mut bytes)?,
    };
    Ok((name.to_owned(), files::text(bytes)?))
}

/// One line after the other, each by itself.
fn interactive(session: &mut Session<'_>) -> ExitCode {
    for line in io::stdin().lock().lines() {
        match line {
            Ok(line) if matches!(line.trim(), "quit" | "exit") => break,
            Ok(line) => drop(session.run(None, format!("{line}\n"))),
            Err(error) => return fail(&format!("cannot read: {error}")),
        }
    }
    ExitCode::SUCCESS
}

/// Texts that are run one after the other.
struct Session<'a> {
    options: &'a Options,
    sources: Sources,
    variables: Variables,
    includes: Includes,
    /// Kept from one text to the next: tables that belong to it go when it is closed
    socket: Option<Socket>,
    names: SystemNames,
}

impl<'a> Session<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            sources: Sources::default(),
            variables: Variables::default(),
            includes: Includes::new(&options.include_paths),
            socket: None,
            names: SystemNames::read(options.names),
        }
    }

    /// The variables of the command line.
    fn define(&mut self, defines: &[(String, String)]) -> Result<(), ExitCode> {
        let lines: String = defines.iter().map(|(name, value)| format!("define {name}={value}; ")).collect();
        let source =
            self.sources.add(Source { name: None, text: format!("{lines}\n").into(), included: None });
        let parsed = parse(&mut self.sources, source, &mut self.includes, &mut self.variables);
        parsed.map(drop).map_err(|faults| self.report(&faults))
    }

    fn run(&mut self, name: Option<String>, text: String) -> ExitCode {
        // As nft: with the option for JSON, what is not JSON is read as text.
        let commands = if self.options.json { json::text(&text) } else { None };
        let (name, text) = match commands {
            Some(Ok(text)) => (None, text),
            Some(Err(error)) => return fail(&format!("Error: {error}")),
            None => (name, text),
        };
        let source = self.sources.add(Source { name, text: text.into(), included: None });
        let before = self.variables.clone();
        let commands =
            parse_all_but_rules(&mut self.sources, source, &mut self.includes, &mut self.variables);
        let commands = match commands {
            Ok(commands) => commands,
            Err(faults) => {
                let faults = self.misread(source, before).unwrap_or(faults);
                return self.report(&faults);
            }
        };
        if commands.is_empty() {
            return ExitCode::SUCCESS;
        }
        let mut socket = match self.socket.take().map_or_else(Socket::open, Ok) {
            Ok(socket) => socket,
            Err(error) => return fail(&format!("Error: {error}")),
        };
        let code = self.execute(&commands, &mut socket, |session| session.misread(source, before));
        self.socket = Some(socket);
        code
    }

    /// What is wrong with a text that was read but for rules, where its grammar is to blame; with the variables before it.
    fn misread(&mut self, source: u32, mut variables: Variables) -> Option<Vec<Fault>> {
        parse(&mut self.sources, source, &mut self.includes, &mut variables).err()
    }

    fn execute(
        &mut self,
        commands: &[parse::Command],
        socket: &mut Socket,
        misread: impl FnOnce(&mut Self) -> Option<Vec<Fault>>,
    ) -> ExitCode {
        // What adds something costs no listing of devices: it is often called, and by itself takes a millisecond.
        let shows = self.options.echo || self.options.debug || commands.iter().any(parse::Command::shows);
        let interfaces = if shows { interfaces().unwrap_or_default() } else { HashMap::new() };
        let echo = self.options.echo.then(|| gettid().as_raw().unsigned_abs());
        let settings = Settings {
            check: self.options.check,
            json: self.options.json,
            stateless: self.options.stateless,
            handles: self.options.handles,
            terse: self.options.terse,
            echo,
            numeric: self.options.numeric,
            names: self.names.as_names(),
            optimize: self.options.optimize,
            debug: self.options.debug,
            interfaces: Some(&interfaces),
        };
        if let [command] = commands
            && let Some(monitored) = command::monitored(command)
        {
            return match monitored {
                Ok(monitored) => monitor::run(socket, monitored, settings),
                Err(fault) => self.report(&[fault]),
            };
        }
        let Outcome { output, merges, faults } = progress::during("running the commands", || {
            command::run(commands, socket, &mut System::default(), settings)
        });
        if !faults.is_empty()
            && let Some(faults) = misread(self)
        {
            return self.report(&faults);
        }
        let merges: String = merges.iter().map(|merge| self.merged(merge)).collect();
        let shown = print(&(merges + &output));
        if faults.is_empty() { shown } else { self.report(&faults) }
    }

    /// As nft shows what it optimizes.
    fn merged(&self, merge: &command::Merge) -> String {
        let mut text = "Merging:\n".to_owned();
        for from in &merge.from {
            text.push_str(&format!("{}\n", self.sources.quote(*from)));
        }
        text.push_str("into:\n");
        for into in &merge.into {
            text.push_str(&format!("\t{into}\n"));
        }
        text
    }

    fn report(&self, faults: &[Fault]) -> ExitCode {
        let shown: String = faults.iter().map(|fault| fault.render(&self.sources)).collect();
        // Nothing is left to be done where standard error is closed.
        let _ = io::stderr().write_all(shown.as_bytes());
        ExitCode::FAILURE
    }
}

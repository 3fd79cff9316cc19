//! `meshwire list`: what the kernel holds, as `nft` shows it.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use nftwire::{Family, Socket};
use nix::errno::Errno;

use super::arguments::{FAMILY, TABLE, family, table};
use super::failure::{Failure, NotWrittenError, end, write_result};
use super::flag::shared::{NETNS, OUTPUT, Output};
use super::flag::{Flag, Flags, UsageError, Values, argument};
use super::interfaces::interfaces;
use super::log::Log;
use super::netns;
use super::pod::{NODE_ROOT, POD};
use super::progress;
use crate::diagnostic::{Explain, Explanation};
use crate::mesh;
use nft_ruleset::Ruleset;
use nft_ruleset::listing::{self, CountedRule};
use nft_ruleset::nft::json as schema;
use nft_ruleset::nft::print::Options;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};

/// The command's name.
pub(super) const NAME: &str = "list";

static STATELESS: Flag<bool> =
    Flag::switch("stateless").short('s').help("Leave out what changes by itself, such as counters' values");
static HANDLES: Flag<bool> = Flag::switch("handles").short('a').help("Show the kernel's handles");
static COUNTERS: Flag<bool> = Flag::switch("counters")
    .help("Only the rules whose counters are not zero, the busiest first, each with its location and counts");

static FLAGS: Flags = &[&NETNS, &POD, &NODE_ROOT, &OUTPUT, &STATELESS, &HANDLES, &COUNTERS];

/// The name of a chain or a set.
const OBJECT: &str = "name";

pub(super) fn command() -> Command {
    let part = |name: &'static str, about: &'static str| Command::new(name).about(about);
    let object = || Arg::new(OBJECT).help("Its name").value_name("NAME").required(true);
    Command::new(NAME)
        .about("Shows the rules that the kernel holds, as nft does; by default the tables of meshwire, Istio and Linkerd")
        .after_help(
            "JSON has libnftables' schema. Needs CAP_NET_ADMIN: the kernel shows rules to nobody else.",
        )
        .subcommand_value_name("WHAT")
        .subcommand_help_heading("What")
        .disable_help_subcommand(true)
        .subcommand(part("ruleset", "Every table"))
        .subcommand(part("tables", "The names of all tables"))
        .subcommand(part("table", "One table").arg(family()).arg(table()))
        .subcommand(part("chain", "One chain of a table").arg(family()).arg(table()).arg(object()))
        .subcommand(part("set", "One set or map of a table").arg(family()).arg(table()).arg(object()))
        .args(FLAGS.iter().map(|flag| argument(*flag).global(true)))
        .mut_arg(COUNTERS.name(), |counters| counters.conflicts_with(STATELESS.name()))
}

/// What was asked for by its name does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0} does not exist")]
struct MissingObjectError(String);

impl Explain for MissingObjectError {
    fn explanation(&self) -> Explanation {
        Explanation::of_errno(Errno::ENOENT as i32).help("`meshwire list ruleset` shows every table")
    }
}

/// The ruleset cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the ruleset: {0}")]
struct ReadError(nftwire::Error);

impl From<nftwire::Error> for ReadError {
    fn from(error: nftwire::Error) -> Self {
        Self(error)
    }
}

impl Explain for ReadError {
    fn explanation(&self) -> Explanation {
        self.0.explanation()
    }
}

/// What is asked for.
struct Request<'a> {
    what: What<'a>,
    output: Output,
    counters: bool,
    stateless: bool,
    handles: bool,
}

enum What<'a> {
    /// Only the names of tables
    Tables,
    Owned,
    Scope(Scope<'a>),
}

impl<'a> Request<'a> {
    fn new(matches: &'a ArgMatches, values: &Values<'_>) -> Result<Self, UsageError> {
        Ok(Self {
            what: What::new(matches),
            output: values.read(&OUTPUT)?,
            counters: values.read(&COUNTERS)?,
            stateless: values.read(&STATELESS)?,
            handles: values.read(&HANDLES)?,
        })
    }

    fn json(&self) -> bool {
        self.output == Output::Json
    }
}

impl<'a> What<'a> {
    fn new(matches: &'a ArgMatches) -> Self {
        let Some((part, matches)) = matches.subcommand() else { return Self::Owned };
        let text = |name| matches.try_get_one::<String>(name).ok().flatten().map_or("", String::as_str);
        let family = matches.try_get_one(FAMILY).ok().flatten().copied().unwrap_or(Family::Unspec);
        Self::Scope(match part {
            "tables" => return Self::Tables,
            "table" => Scope::Table(family, text(TABLE).into()),
            "chain" => Scope::Chain(family, text(TABLE).into(), text(OBJECT).into()),
            "set" => Scope::Set(family, text(TABLE).into(), text(OBJECT).into()),
            _ => Scope::Family(Family::Unspec),
        })
    }

    fn scope(&self) -> Scope<'a> {
        match self {
            Self::Scope(scope) => *scope,
            Self::Owned => Scope::Where(mesh::owns),
            Self::Tables => Scope::Family(Family::Unspec),
        }
    }
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let values = Values::new(matches);
    let log = Log::for_output(Output::is_json(&values));
    end(execute(matches, &values, log).map(|()| ExitCode::SUCCESS), log)
}

fn execute(matches: &ArgMatches, values: &Values<'_>, log: Log) -> Result<(), Failure> {
    let request = Request::new(matches, values)?;
    let netns = netns::chosen(values)?;
    let listing =
        netns::inside(netns.as_ref(), || progress::during("reading the ruleset", || list(&request, log)))?;
    Ok(write(&listing, &request)?)
}

/// The listing, whole: nothing of it is written before it is known to be of one generation.
fn list(request: &Request<'_>, log: Log) -> Result<String, Failure> {
    let mut socket = Socket::open()?;
    if matches!(request.what, What::Tables) {
        return Ok(tables(&mut socket, request)?);
    }
    let interfaces = interfaces()?;
    let options = Options {
        stateless: request.stateless,
        handles: request.handles,
        interfaces: Some(&interfaces),
        ..Options::default()
    };
    let scope = request.what.scope();
    if request.counters {
        let counted = listing::counted_rules(&mut socket, scope, options).map_err(ReadError)?;
        let counted = counted.ok_or_else(|| MissingObjectError(name(scope)))?;
        return Ok(if request.json() { counted_json(&counted) } else { counted_text(&counted) });
    }
    let listing = match request.json() {
        true => listing::json(&mut socket, scope, options),
        false => listing::text(&mut socket, scope, options),
    };
    let listing = listing.map_err(ReadError)?.ok_or_else(|| MissingObjectError(name(scope)))?;
    if listing.is_empty() && matches!(request.what, What::Owned) {
        log.info("no table of meshwire, Istio or Linkerd is here; `list ruleset` shows all others");
    }
    Ok(listing)
}

fn tables(socket: &mut Socket, request: &Request<'_>) -> Result<String, ReadError> {
    let snapshot = Snapshot::read(socket, request.what.scope(), Depth::Tables)?;
    let tables: Vec<_> = snapshot.tables().iter().map(|table| table.head().clone()).collect();
    if request.json() {
        let ruleset = Ruleset { tables };
        return Ok(format!("{}\n", schema::ruleset(&ruleset, &Options::default())));
    }
    // nft has no handles here, even where they are asked for.
    Ok(tables.iter().map(|table| format!("table {table}\n")).collect())
}

fn name(scope: Scope<'_>) -> String {
    match scope {
        Scope::Chain(family, table, chain) => format!("chain {chain} of table {family} {table}"),
        Scope::Set(family, table, set) => format!("set {set} of table {family} {table}"),
        Scope::Table(family, table) => format!("table {family} {table}"),
        Scope::Family(_) | Scope::Where(_) | Scope::Desired(_) => "the ruleset".to_owned(),
    }
}

/// Columns: packets, bytes, the location and the rule.
fn counted_text(counted: &[CountedRule]) -> String {
    let counts = |rule: &CountedRule| [rule.counter.packets.to_string(), rule.counter.bytes.to_string()];
    let rows = counted.iter().map(|rule| {
        let [packets, bytes] = counts(rule);
        [packets, bytes, rule.location.clone(), rule.text.clone()]
    });
    let heading = ["packets", "bytes", "table, chain and rule", ""].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (packets, bytes, location) = (width(0), width(1), width(2));
    let line = |row: &[String; 4]| {
        let line = format!("{:>packets$}  {:>bytes$}  {:<location$}  {}", row[0], row[1], row[2], row[3]);
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

fn counted_json(counted: &[CountedRule]) -> String {
    let mut objects = schema::Objects::document();
    counted.iter().for_each(|rule| objects.append(&rule.json));
    objects.finish() + "\n"
}

fn write(listing: &str, request: &Request<'_>) -> Result<(), NotWrittenError> {
    let coloured = !request.json() && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if coloured { write_result(&colour::listing(listing)) } else { write_result(listing) }
}

/// For terminals: names of tables and chains, and what counters counted.
mod colour {
    const NAME: &str = "\x1b[1;36m";
    const COUNT: &str = "\x1b[33m";
    const OFF: &str = "\x1b[0m";

    pub(super) fn listing(listing: &str) -> String {
        listing.split_inclusive('\n').map(line).collect()
    }

    fn line(line: &str) -> String {
        for keyword in ["table ", "\tchain "] {
            if let Some(rest) = line.strip_prefix(keyword) {
                let end = rest.find(" {").unwrap_or(rest.trim_end().len());
                return format!("{keyword}{NAME}{}{OFF}{}", &rest[..end], &rest[end..]);
            }
        }
        let mut shown = String::new();
        let mut rest = line;
        while let Some(start) = rest.find("counter packets ") {
            let (before, counter) = rest.split_at(start);
            let words = counter.match_indices([' ', '\n']).nth(4);
            let (counter, after) = counter.split_at(words.map_or(counter.len(), |(end, _)| end));
            shown.extend([before, COUNT, counter, OFF]);
            rest = after;
        }
        shown + rest
    }

    #[cfg(test)]
    mod tests {
        use super::line;

        #[test]
        fn names_and_counters_stand_out() {
            assert_eq!(line("table inet t {\n"), "table \x1b[1;36minet t\x1b[0m {\n");
            assert_eq!(line("\tchain c {\n"), "\tchain \x1b[1;36mc\x1b[0m {\n");
            let counted = "\t\tcounter packets 1 bytes 2 accept\n";
            assert_eq!(line(counted), "\t\t\x1b[33mcounter packets 1 bytes 2\x1b[0m accept\n");
            assert_eq!(line("\t\taccept\n"), "\t\taccept\n");
        }
    }
}

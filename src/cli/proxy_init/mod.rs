//! `meshwire proxy-init`: what Linkerd's command of that name does, without a process.

mod flags;
mod options;

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::action::{Action, Place, Task, perform, warn_of_legacy_tables, warn_of_old_kernel};
use super::differences::compare;
use super::failure::{Failure, end};
use super::flag::shared::Output;
use super::flag::{Given, UsageError, Values, with_flags};
use super::log::{Filtered, Log};
use super::pod_spec::{ArgumentsError, Desired};
use super::{lockdown, migrate, netns, progress, signals, watch};
use crate::conntrack::{CLOSE_WAIT_TIMEOUT, set_close_wait_timeout};
use crate::mesh::linkerd;
use crate::network::RouteSocket;
pub(super) use flags::FLAGS;
use options::Options;

/// The command's name, and that of Linkerd's image.
pub(super) const NAME: &str = "proxy-init";
/// That of Linkerd's program.
pub(super) const LINKERDS_NAME: &str = "linkerd2-proxy-init";

pub(super) fn command() -> Command {
    command_with(flags::NOTES)
        .about("Intercepts a pod's traffic for Linkerd's proxy, with the flags of Linkerd's own command")
}

/// The same flags, with other notes at the end of the help.
pub(super) fn command_with(notes: &str) -> Command {
    with_flags(Command::new(NAME), FLAGS).after_help(format!("{}\n\n{notes}", flags::LISTS))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    run_with(&Values::new(matches))
}

pub(super) fn run_with(values: &Values<'_>) -> ExitCode {
    with_settings(values, Task::Act, None, |options, log| {
        execute_here(options, log).map(|()| ExitCode::SUCCESS)
    })
}

/// Compares instead of applying.
pub(super) fn verify(matches: &ArgMatches, netns: Option<&Given>) -> ExitCode {
    with_settings(&Values::new(matches), Task::Verify, netns, verify_here)
}

/// What these words and variables come to, such as an init container's.
pub(super) fn desired_by(
    words: Vec<String>,
    environment: BTreeMap<String, String>,
) -> Result<Desired, ArgumentsError> {
    let words = [NAME.to_owned()].into_iter().chain(words);
    let matches = command_with("").try_get_matches_from(words)?;
    let options = Options::new(&Values::with_environment(&matches, environment))?;
    Ok(Box::new(move |_, _| Ok(options.desired.clone())))
}

/// What these flags come to.
pub(super) fn desired_of(matches: &ArgMatches) -> Result<Desired, UsageError> {
    let options = Options::new(&Values::new(matches))?;
    Ok(Box::new(move |_, _| Ok(options.desired.clone())))
}

/// Compares whenever something changes.
pub(super) fn watch(matches: &ArgMatches, netns: Option<&Given>, options: crate::watch::Options) -> ExitCode {
    with_settings(&Values::new(matches), Task::Watch, netns, |settings, _| {
        watch::report_all(settings.desired.clone(), options, settings.output)
    })
}

/// Replaces other rules, or shows how.
pub(super) fn migrate(matches: &ArgMatches, netns: Option<&Given>, is_dry: bool) -> ExitCode {
    with_settings(&Values::new(matches), Task::Migrate { is_dry }, netns, move |settings, _| {
        migrate::refuse_removal(settings.action)?;
        migrate::perform(&settings.desired, is_dry || settings.action == Action::Print, settings.output)
    })
}

/// What is desired of the kernel, or what is wrong with the settings.
#[cfg(fuzzing)]
pub(super) fn desired(
    matches: &ArgMatches,
    environment: BTreeMap<String, String>,
) -> Result<crate::interception::Interception, String> {
    let values = Values::with_environment(matches, environment);
    Options::new(&values).map(|options| options.desired).map_err(|error| error.to_string())
}

/// What is done with the settings, inside the namespace that they name.
trait Work: FnOnce(&Options, Filtered) -> Result<ExitCode, Failure> + Send {}
impl<W: FnOnce(&Options, Filtered) -> Result<ExitCode, Failure> + Send> Work for W {}

/// `netns` is where, in place of what the settings say.
fn with_settings(values: &Values<'_>, task: Task, netns: Option<&Given>, work: impl Work) -> ExitCode {
    let log = Log::for_output(Output::is_json(values) || values.read(&flags::LOG_FORMAT) == Ok(Log::Json));
    end(execute(values, log, task, netns, work), log)
}

fn execute(
    values: &Values<'_>,
    log: Log,
    task: Task,
    netns: Option<&Given>,
    work: impl Work,
) -> Result<ExitCode, Failure> {
    let options = Options::new(values)?;
    let log = Filtered { log, level: options.level };
    if let Some(note) = &options.note {
        log.info(note);
    }
    for warning in &options.warnings {
        log.warn(warning);
    }
    let _deferred = signals::defer();
    let is_guarded = task.changes() && options.action.is_for_pods() && !options.allow_host_network;
    let netns = netns.or(options.netns.as_ref());
    netns::inside_pod(netns, is_guarded, |text| log.warn(text), || work(&options, log))
}

fn execute_here(options: &Options, log: Filtered) -> Result<(), Failure> {
    let routes = options.action.route_socket()?;
    if options.action.needs_kernel() {
        warn_of_old_kernel(|text| log.warn(text));
    }
    match (options.action, options.close_wait_timeout) {
        (Action::PrintRemoval, _) => {
            let tables: Vec<_> = linkerd::owned()
                .tables
                .iter()
                .map(|table| format!("{} {}", table.family, table.name))
                .collect();
            log.info(&format!("a cleanup removes the tables {}; nothing is changed", tables.join(" and ")));
        }
        // Before any rule: where it fails, nothing is intercepted by halves.
        (Action::Apply(_), Some(seconds)) => {
            set_close_wait_timeout(seconds)?;
            log.info(&format!("{CLOSE_WAIT_TIMEOUT} is {seconds}"));
        }
        _ => {}
    }
    if matches!(options.action, Action::Apply(_) | Action::Remove) {
        warn_of_legacy_tables(|text| log.warn(text));
    }
    // The files that were read and written above cannot be opened any more from here on.
    if options.lockdown {
        progress::prepare();
        lockdown::lock_down(false)?;
    }
    perform(options.action, &options.desired, Place::Pod, routes, options.output)
}

fn verify_here(options: &Options, log: Filtered) -> Result<ExitCode, Failure> {
    if options.lockdown {
        progress::prepare();
        lockdown::lock_down(false)?;
    }
    compare(&options.desired, &mut RouteSocket::open()?, options.output, |text| log.warn(text))
}

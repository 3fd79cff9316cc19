//! `meshwire watch MESH FLAGS…`: reports changes of a mesh's rules until it is stopped.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{ArgMatches, Command};

use super::failure::{Failure, USAGE, end, write_part};
use super::flag::shared::Output;
use super::flag::value::duration;
use super::flag::{Flag, Values, argument};
use super::log::Log;
use super::pod::{NODE_ROOT, POD};
use super::{ambient, differences, istio_iptables, pod, proxy_init, signals};
use crate::interception::Interception;
use crate::watch::{Options, Report, Stop, Watcher};

/// The command's name.
pub(super) const NAME: &str = "watch";

static PERIOD: Flag<Duration> = Flag::number(
    "period",
    "DURATION",
    || Options::default().period,
    |given| match given.one(duration)? {
        Duration::ZERO => Err(given.fault("it must be longer than 0")),
        period => Ok(period),
    },
)
.help("Report what differs for longer than this: not every change makes an event, so it looks at least this often")
.show(|period| humantime::format_duration(*period).to_string());

const NOTES: &str = "\
Pass the flags of the run that created the rules. Needs CAP_NET_ADMIN. Changes nothing.

The first report is of the present state. Then each change of the mesh's tables, routes, policy rules and addresses is \
reported when 100 ms have passed without another one: what changed, the thread that changed it, which differences appeared \
(- desired and missing, + found and not desired, ~ found in another form) and which are gone (=). Who changed a route is not \
known. The kernel reports a thread's name and its ID in the initial PID namespace, the node's: a hint, not a proof, because \
every thread chooses its name.

Ends at SIGINT, SIGTERM and SIGHUP, and when nobody reads its output any more.
Exit codes: 0 equal at the end, 1 failed, 2 wrong usage, 3 different at the end.";

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Reports what changes in a mesh's rules, what is missing afterwards, and who changed it, until it is stopped")
        .after_help(NOTES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args([argument(&PERIOD), argument(&POD), argument(&NODE_ROOT)])
        .subcommand(
            istio_iptables::command_with(NOTES)
                .about("Watches what `meshwire istio-iptables` makes of these flags and variables"),
        )
        .subcommand(
            proxy_init::command_with(NOTES).about("Watches what `meshwire proxy-init` makes of these flags"),
        )
        .subcommand(ambient::verify_command(NOTES).about("Watches what `meshwire ambient` makes"))
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let values = Values::new(matches);
    let read = || -> Result<_, Failure> { Ok((values.read(&PERIOD)?, pod::given(&values)?)) };
    let (period, netns) = match read() {
        Ok(read) => read,
        Err(error) => return end(Err(error), Log::Plain),
    };
    let options = Options { period, ..Options::default() };
    match matches.subcommand() {
        Some((istio_iptables::NAME, matches)) => istio_iptables::watch(matches, netns.as_ref(), options),
        Some((proxy_init::NAME, matches)) => proxy_init::watch(matches, netns.as_ref(), options),
        Some((ambient::NAME, matches)) => ambient::watch(matches, netns.as_ref(), options),
        _ => ExitCode::from(USAGE),
    }
}

/// Reports until it is stopped, in the network namespace that the thread is in. Signals are deferred.
pub(super) fn report_all(
    desired: Interception,
    options: Options,
    output: Output,
) -> Result<ExitCode, Failure> {
    let signals = signals::receive()?;
    let stdout = io::stdout();
    let stop = Stop { readable: Some(signals.as_fd()), closed: Some(stdout.as_fd()) };
    let mut watcher = Watcher::start(desired, options)?;
    while let Some(report) = watcher.next(&stop)? {
        if !write_part(&line(&report, output))? {
            break;
        }
    }
    signals::defer_to_the_end();
    Ok(differences::exit_code(watcher.is_equal()))
}

/// The report with the time of day.
fn line(report: &Report, output: Output) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    match output {
        Output::Text => format!("{time} {report}\n"),
        Output::Json => {
            let mut object = report.to_json().0;
            object["time"] = time.to_string().into();
            format!("{object}\n")
        }
    }
}

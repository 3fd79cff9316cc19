//! `meshwire doctor`: what is here, what it means, and which profile can run.

mod text;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value as Json, json};

use super::failure::{Failure, end, write_result};
use super::log::Log;
use super::place;
use crate::preflight::facts::{Access, Facts};
use crate::preflight::modules::Sources;
use crate::preflight::probe::{self, Probed};
use crate::preflight::report::Report;
use crate::preflight::{Profile, modules};
use nftwire::feature::Feature;

/// The command's name.
pub(super) const NAME: &str = "doctor";

pub(super) fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let profile = PossibleValuesParser::new(Profile::ALL.map(Profile::name));
    Command::new(NAME)
        .about("Shows what this kernel and these privileges can do, and which profile can run here; changes nothing")
        .arg(
            Arg::new("profile")
                .long("profile")
                .value_name("NAME")
                .action(ArgAction::Append)
                .value_parser(profile)
                .help("Only whether this one can run; can be given more than once"),
        )
        .arg(place::netns())
        .arg(
            Arg::new("output")
                .help("How it is shown")
                .long("output")
                .value_name("FORMAT")
                .value_parser(["text", "json"])
                .default_value("text"),
        )
        .arg(switch("probe-here").help(
            "Ask the kernel in this network namespace where it cannot be asked in a throwaway one: for a moment this \
             registers hooks and turns connection tracking on",
        ))
        .arg(switch("no-autoload").help("Ask nothing that could make the kernel load a module"))
        .after_help("Exit codes: 0 all profiles that were asked for can run, 1 one cannot or it is not known, 2 wrong usage.")
}

/// What is asked for.
struct Request {
    profiles: Vec<Profile>,
    json: bool,
    autoload: bool,
    probe_here: bool,
}

impl Request {
    fn new(matches: &ArgMatches) -> Self {
        let named = matches.get_many::<String>("profile").into_iter().flatten();
        let named: Vec<_> = named.filter_map(|name| Profile::from_name(name)).collect();
        Self {
            profiles: if named.is_empty() { Profile::ALL.to_vec() } else { named },
            json: matches.get_one::<String>("output").is_some_and(|output| output == "json"),
            autoload: !matches.get_flag("no-autoload"),
            probe_here: matches.get_flag("probe-here"),
        }
    }

    /// What is asked of the kernel: what the profiles take, but for what could make it load a module if that is
    /// forbidden.
    fn features(&self, facts: &Facts) -> (Vec<&'static Feature>, Vec<&'static Feature>) {
        let mut features: Vec<_> =
            self.profiles.iter().flat_map(|profile| profile.features().unwrap_or_default()).collect();
        features.sort_unstable_by_key(|feature| (feature.kind, feature.name));
        features.dedup();
        let sources = Sources::read(&facts.release);
        features
            .into_iter()
            .partition(|feature| self.autoload || !sources.may_be_loaded(feature.module_in(facts.version())))
    }
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    let request = Request::new(matches);
    end(execute(&request, matches), Log::beside(request.json))
}

fn execute(request: &Request, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    // Before anything is asked: even to look at the rules may load a module.
    let loaded = modules::loaded();
    let (mut facts, asked) = place::at_netns(matches, || {
        let facts = Facts::gather(request.autoload);
        let (features, left_out) = request.features(&facts);
        let asked = ask(request, &facts, &features, &left_out);
        Ok((facts, asked))
    })?;
    let asked = asked.unwrap_or_else(|(features, left_out)| {
        // The last thing that this process does in the namespaces that it is in.
        let asked = probe::in_namespaces_for_good(&features);
        asked.unwrap_or_else(|_| Probed::nothing(&features)).and_not(&left_out)
    });
    facts.set_asked(asked, loaded.as_ref());
    let report = Report::new(&facts, &request.profiles);
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let shown = match request.json {
        true => format!("{:#}\n", to_json(&report)),
        false => text::report(&report, colour),
    };
    write_result(&shown)?;
    Ok(if report.all_can_run() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Features = Vec<&'static Feature>;

/// Asks in a throwaway network namespace, or here if that is desired; what is left to ask where neither can be.
fn ask(
    request: &Request,
    facts: &Facts,
    features: &[&'static Feature],
    left_out: &[&'static Feature],
) -> Result<Probed, (Features, Features)> {
    if features.is_empty() || facts.access == Access::NoNfTables {
        return Ok(Probed::nothing(features).and_not(left_out));
    }
    match probe::in_throwaway_namespace(features) {
        Ok(asked) => Ok(asked.and_not(left_out)),
        Err(_) if request.probe_here && facts.access == Access::Granted => {
            Ok(probe::here(features).and_not(left_out))
        }
        Err(_) => Err((features.to_vec(), left_out.to_vec())),
    }
}

/// The schema: `can_run`; `findings`, each with `subject`, `verdict`, `says`, `advice` (lines) and `facts` (an object of
/// its own for each subject); `profiles`, each with `profile`, `verdict` and `reasons`. Verdicts are `ok`, `unknown`,
/// `warning` and `no`.
fn to_json(report: &Report) -> Json {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "subject": finding.subject,
            "verdict": finding.verdict.word(),
            "says": finding.says,
            "advice": finding.advice,
            "facts": finding.facts,
        })
    });
    let profiles = report.judgements.iter().map(|judgement| {
        json!({
            "profile": judgement.profile.name(),
            "verdict": judgement.verdict.word(),
            "reasons": judgement.reasons,
        })
    });
    json!({
        "can_run": report.all_can_run(),
        "findings": findings.collect::<Vec<_>>(),
        "profiles": profiles.collect::<Vec<_>>(),
    })
}

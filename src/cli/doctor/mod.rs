//! `meshwire doctor`: what is here, what it means, and which profile can run.

mod text;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde_json::{Value as Json, json};

use super::failure::{Failure, end, write_result};
use super::flag::shared::{NETNS, OUTPUT, Output};
use super::flag::{Flag, Flags, UsageError, Values, with_flags};
use super::log::Log;
use super::pod::{NODE_ROOT, POD};
use super::{netns, progress, remedy};
use crate::preflight::facts::{Access, Facts};
use crate::preflight::modules::Sources;
use crate::preflight::owners::Owner;
use crate::preflight::probe::{self, Probed};
use crate::preflight::report::{Finding, OTHERS_RULES, Report};
use crate::preflight::{Profile, modules};
use nftwire::feature::Feature;

/// The command's name.
pub(super) const NAME: &str = "doctor";

static PROFILE: Flag<Vec<Profile>> = Flag::list("profile", "NAME", |given| {
    given.list(|name| {
        let names = Profile::NAMES.join(", ");
        Profile::from_name(name).ok_or_else(|| format!("{name:?} is none of {names}"))
    })
})
.help("Only whether this one can run; can be given more than once")
.choices(&Profile::NAMES);

pub(super) static PROBE_HERE: Flag<bool> = Flag::switch("probe-here").help(
    "Probe the kernel in this network namespace where it cannot be probed in a throwaway one: for a moment this \
     registers hooks and turns connection tracking on",
);

static NO_AUTOLOAD: Flag<bool> =
    Flag::switch("no-autoload").help("Probe nothing that could make the kernel load a module");

static FLAGS: Flags = &[&PROFILE, &NETNS, &POD, &NODE_ROOT, &OUTPUT, &PROBE_HERE, &NO_AUTOLOAD];

pub(super) fn command() -> Command {
    with_flags(Command::new(NAME), FLAGS)
        .about("Shows what this kernel and these privileges can do, and which profile can run here; changes nothing")
        .after_help("Exit codes: 0 all requested profiles can run, 1 one cannot or that is unknown, 2 wrong usage.")
}

/// What is asked for.
struct Request {
    profiles: Vec<Profile>,
    output: Output,
    autoload: bool,
    probe_here: bool,
}

impl Request {
    fn new(values: &Values<'_>) -> Result<Self, UsageError> {
        let named = values.read(&PROFILE)?;
        Ok(Self {
            profiles: if named.is_empty() { Profile::ALL.to_vec() } else { named },
            output: values.read(&OUTPUT)?,
            autoload: !values.read(&NO_AUTOLOAD)?,
            probe_here: values.read(&PROBE_HERE)?,
        })
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
    let values = Values::new(matches);
    end(execute(&values), Log::for_output(Output::is_json(&values)))
}

fn execute(values: &Values<'_>) -> Result<ExitCode, Failure> {
    let request = &Request::new(values)?;
    let netns = netns::chosen(values)?;
    // Before anything is asked: even to look at the rules may load a module.
    let loaded = modules::loaded();
    let (mut facts, asked) = netns::inside(netns.as_ref(), || {
        progress::during("asking the kernel", || {
            let facts = Facts::gather(request.autoload);
            let (features, left_out) = request.features(&facts);
            let asked = ask(request, &facts, &features, &left_out);
            Ok((facts, asked))
        })
    })?;
    let asked = asked.unwrap_or_else(|(features, left_out)| {
        // The last thing that this process does in the namespaces that it is in.
        let asked = probe::in_namespaces_for_good(&features);
        asked.unwrap_or_else(|_| Probed::nothing(&features)).and_not(&left_out)
    });
    facts.set_asked(asked, loaded.as_ref());
    let mut report = Report::new(&facts, &request.profiles);
    if facts.owners.iter().flatten().any(Owner::is_mesh_by_iptables) {
        let others = report.findings.iter_mut().filter(|finding| finding.subject == OTHERS_RULES);
        let advice =
            "`meshwire migrate MESH FLAGS` puts its own rules in the place of a mesh's, without a gap";
        others.for_each(|finding| finding.advice.push(advice.to_owned()));
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let shown = match request.output {
        Output::Json => format!("{:#}\n", to_json(&report)),
        Output::Text => text::report(&report, colour),
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

/// What to do, with what to type.
fn advice(finding: &Finding) -> Vec<String> {
    let mut lines = finding.advice.clone();
    if let Some(remedy) = finding.remedy {
        let words = remedy::words(remedy);
        match lines.last_mut() {
            Some(line) => line.push_str(&format!(": {words}")),
            None => lines.push(words),
        }
    }
    lines
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
            "advice": advice(finding),
            "facts": finding.facts.0,
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

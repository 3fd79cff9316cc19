//! Which parts of nf_tables work here.

use nftwire::Version;
use nftwire::feature::{Feature, Kind};
use serde_json::{Value as Json, json};

use super::{Finding, Verdict, finding};
use crate::diagnostic::{Remedy, errno_name, no_nf_tables};
use crate::preflight::facts::{Access, Facts};
use crate::preflight::probe::{Answer, Stage};
use crate::privilege::{NET_ADMIN, SYS_ADMIN};

pub(super) fn nf_tables(facts: &Facts) -> Finding {
    let version = facts.version();
    let asked = &facts.asked;
    let answers = asked.answers.iter();
    let works = answers.clone().filter(|(_, answer)| *answer == Answer::Works).count();
    let missing: Vec<_> =
        answers.clone().filter(|(_, answer)| matches!(answer, Answer::Missing(_))).collect();
    let unknown: Vec<_> = answers
        .clone()
        .filter(|(_, answer)| matches!(answer, Answer::NotProbed | Answer::Unknown(_)))
        .map(|(feature, _)| named(feature))
        .collect();
    let list: Vec<_> = answers.map(|(feature, answer)| feature_json(feature, answer, version)).collect();
    let stage = match asked.stage {
        Stage::Throwaway => "throwaway namespace",
        Stage::Here => "here",
        Stage::Nowhere => "nowhere",
    };
    let json = json!({ "asked": stage, "features": list, "loaded_by_asking": facts.loaded_by_asking });
    let subject = "nf_tables";
    if facts.access == Access::NoNfTables {
        return finding(subject, Verdict::No, "not in this kernel", json).advise(no_nf_tables());
    }
    let verdict = match (missing.is_empty(), unknown.is_empty()) {
        (false, _) => Verdict::Warning,
        (true, false) => Verdict::Unknown,
        (true, true) if asked.stage == Stage::Nowhere => Verdict::Unknown,
        (true, true) => Verdict::Ok,
    };
    let says = match asked.stage {
        Stage::Nowhere => "not probed".to_owned(),
        _ => format!("{works} of {}: {}", asked.answers.len(), list_of(facts)),
    };
    let mut finding = finding(subject, verdict, says, json);
    for (feature, _) in &missing {
        finding = finding.advise(feature.help(version));
    }
    if asked.stage == Stage::Nowhere {
        let (advice, remedy) = not_probed(facts);
        finding = Finding { remedy, ..finding.advise(advice) };
    } else if !unknown.is_empty() {
        finding = finding.advise(format!("not known: {}", unknown.join(", ")));
    }
    let milliseconds = asked.elapsed.as_secs_f64() * 1000.0;
    match asked.stage {
        Stage::Throwaway => {
            finding =
                finding.advise(format!("probed in a throwaway network namespace, {milliseconds:.1} ms"));
        }
        Stage::Here => {
            finding = finding.advise(format!("probed here, without a commit, {milliseconds:.1} ms"));
        }
        Stage::Nowhere => {}
    }
    if !facts.loaded_by_asking.is_empty() {
        finding = finding.advise(format!("loaded by the probe: {}", facts.loaded_by_asking.join(", ")));
    }
    finding
}

/// What works, by its kind: `family inet; chain types filter, nat; expressions cmp, ct`.
fn list_of(facts: &Facts) -> String {
    let works = facts.asked.answers.iter().filter(|(_, answer)| *answer == Answer::Works);
    let mut kinds: Vec<(Kind, Vec<&str>)> = Vec::new();
    for (feature, _) in works {
        match kinds.last_mut() {
            Some((kind, names)) if *kind == feature.kind => names.push(feature.name),
            _ => kinds.push((feature.kind, vec![feature.name])),
        }
    }
    let list = kinds.iter().map(|(kind, names)| {
        let plural = if names.len() > 1 { "s" } else { "" };
        format!("{}{plural} {}", kind.word(), names.join(", "))
    });
    list.collect::<Vec<_>>().join("; ")
}

/// What to do where nothing was probed.
fn not_probed(facts: &Facts) -> (&'static str, Option<Remedy>) {
    if facts.capabilities.is_some_and(|set| set.has(NET_ADMIN) && !set.has(SYS_ADMIN)) {
        let advice = "a namespace to probe in takes CAP_SYS_ADMIN; to probe in this one takes some 10 ms, registers hooks for a \
                      moment and turns connection tracking on";
        (advice, Some(Remedy::ProbeHere))
    } else {
        ("it takes root, or a user who may make user namespaces", None)
    }
}

pub(super) fn named(feature: &Feature) -> String {
    format!("{} {}", feature.kind.word(), feature.name)
}

fn feature_json(feature: &Feature, answer: &Answer, version: Option<Version>) -> Json {
    let (answer, reason) = match answer {
        Answer::Works => ("works", None),
        Answer::Missing(errno) => ("missing", Some(errno_name(*errno))),
        Answer::NotProbed => ("not asked", None),
        Answer::Unknown(text) => ("unknown", Some(text.clone())),
    };
    json!({
        "kind": feature.kind.word(),
        "name": feature.name,
        "answer": answer,
        "reason": reason,
        "option": feature.option,
        "module": feature.module_in(version),
        "since": feature.since.to_string(),
    })
}

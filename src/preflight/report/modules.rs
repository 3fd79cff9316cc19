//! Which modules are in the kernel or can be loaded.

use serde_json::{Value as Json, json};

use super::{Finding, Verdict, finding};
use crate::preflight::facts::Facts;
use crate::preflight::modules::{Module, State};

pub(super) fn modules(facts: &Facts) -> Finding {
    let states = &facts.for_nftables;
    let missing = of_state(states, State::Absent);
    let loadable = of_state(states, State::Loadable);
    let unknown = of_state(states, State::Unknown);
    let verdict = match (missing.is_empty(), unknown.is_empty()) {
        (false, _) => Verdict::Warning,
        (true, false) => Verdict::Unknown,
        (true, true) => Verdict::Ok,
    };
    let mut finding = finding("modules", verdict, summary(states), states_json(states));
    if !loadable.is_empty() && facts.selinux_enforces {
        finding = finding.advise(format!(
            "SELinux may keep the kernel from loading them on demand: modprobe {} on the node",
            loadable.join(" ")
        ));
    }
    finding
}

pub(super) fn modules_of_iptables(facts: &Facts) -> Finding {
    let states = &facts.for_iptables;
    let json = states_json(states);
    finding("… of iptables", Verdict::Ok, format!("{}; meshwire needs none", summary(states)), json)
}

/// `7 built in, 2 loadable (nft_tproxy, nft_socket)`: those that are not in the kernel have their names, as long as the list is short.
fn summary(states: &[(&'static Module, State)]) -> String {
    let count = |state| of_state(states, state);
    let parts =
        [State::BuiltIn, State::Loaded, State::Loadable, State::Absent, State::Unknown].map(|state| {
            let names = count(state);
            let names_count = names.len();
            let is_there = matches!(state, State::BuiltIn | State::Loaded);
            match names_count {
                0 => String::new(),
                1..=4 if !is_there => format!("{names_count} {} ({})", state.word(), names.join(", ")),
                _ => format!("{names_count} {}", state.word()),
            }
        });
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn of_state(states: &[(&'static Module, State)], desired: State) -> Vec<&'static str> {
    states.iter().filter(|(_, state)| *state == desired).map(|(module, _)| module.name).collect()
}

fn states_json(states: &[(&'static Module, State)]) -> Json {
    states
        .iter()
        .map(|(module, state)| (module.name.to_owned(), json!(state.word())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

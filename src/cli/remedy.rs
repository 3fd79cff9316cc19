//! What to type, in the words of this program: the library says only what it can do.

use super::ambient;
use super::flag::Flag;
use super::{NAME, doctor, istio_iptables, list, verify};
use crate::diagnostic::{Explanation, Remedy};

/// The explanation with what to type in its help.
pub(super) fn with_words(mut explanation: Explanation) -> Explanation {
    if let Some(remedy) = explanation.remedy {
        let words = words(remedy);
        explanation.help = Some(match explanation.help {
            Some(help) => format!("{help}: {words}"),
            None => words,
        });
    }
    explanation
}

/// What to type, and what it does.
pub(super) fn words(remedy: Remedy) -> String {
    let list = list::NAME;
    let host = format!("{NAME} {} {}", ambient::NAME, ambient::HOST);
    match remedy {
        Remedy::ListRules => format!("`{NAME} {list}` shows whether the rules exist"),
        Remedy::ListRuleset => format!("`{NAME} {list} ruleset` shows which"),
        Remedy::ListTables => format!("`{NAME} {list} tables` shows those that exist"),
        Remedy::Verify => format!("`{NAME} {}` shows whether it is in place", verify::NAME),
        Remedy::CleanUp => format!("`{}` removes it", dashed(&istio_iptables::CLEANUP_ONLY)),
        Remedy::MakeProbeSets { ipv6: false } => format!("run `{host} apply` first"),
        Remedy::MakeProbeSets { ipv6: true } => {
            format!("run `{host} apply {}` first", dashed(&ambient::IPV6))
        }
        Remedy::RemakeProbeSets => format!("run `{host} apply`, which makes it anew"),
        Remedy::RemoveHostRules => {
            format!("run `{host} remove` first, or `{host} destroy`, which removes all")
        }
        Remedy::ProbeHere => format!("{} does that", dashed(&doctor::PROBE_HERE)),
    }
}

fn dashed<T>(flag: &Flag<T>) -> String {
    format!("--{}", flag.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_follows_the_help() {
        let help = |explanation| with_words(explanation).help.unwrap_or_default();
        assert_eq!(
            help(Explanation::default().help("something uses it").remedy(Remedy::ListRuleset)),
            "something uses it: `meshwire list ruleset` shows which"
        );
        assert_eq!(
            help(Explanation::default().remedy(Remedy::MakeProbeSets { ipv6: true })),
            "run `meshwire ambient host apply --ipv6` first"
        );
        assert_eq!(help(Explanation::default().remedy(Remedy::CleanUp)), "`--cleanup-only` removes it");
        assert_eq!(help(Explanation::default().help("wait")), "wait");
        assert_eq!(with_words(Explanation::default()).help, None);
    }
}

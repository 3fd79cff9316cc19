//! What an error says besides its text: the errno, the location by its parts, and what to do.

use std::error::Error;
use std::io;

use nft_ruleset::validate::Invalid;
use nftwire::{NamespaceError, Refusal, errno_text};
use nix::errno::Errno;
use serde_json::{Map, Value as Json, json};

use crate::json::JsonValue;
use crate::privilege::{Capabilities, missing_net_admin};
use nftwire::feature::{CORE, CORE_OPTION, Feature, Kind};
use nftwire::{Version, release};

/// An error that can say more than its text.
pub trait Explain: Error {
    /// The parts of what it says, and what to do.
    fn explanation(&self) -> Explanation;
}

/// The parts of what an error says, for programs, and one line of help, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The errno
    pub errno: Option<i32>,
    /// Where and what: `table`, `rule`, `expression`, …
    pub(crate) location: Map<String, Json>,
    /// What to do, in one line; of no program, and of no flag
    pub help: Option<String>,
    /// What this library can do about it
    pub remedy: Option<Remedy>,
}

/// What this library can do about a failure. How a program's user asks for it is the program's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// To see whether the rules exist: [`nft_ruleset::listing`]
    ListRules,
    /// To look at all that the kernel holds
    ListRuleset,
    /// To look which tables there are
    ListTables,
    /// To compare what is desired with what the kernel holds: [`verify`](crate::verify::verify)
    Verify,
    /// To remove what is left: [`Interception::remove`](crate::interception::Interception::remove)
    CleanUp,
    /// To make the probe sets, with the host's rules:
    /// [`HostInterception`](crate::mesh::istio::ambient::HostInterception)
    MakeProbeSets {
        /// With the one for IPv6, too
        ipv6: bool,
    },
    /// The same, of one that is of another kind
    RemakeProbeSets,
    /// To remove the host's rules, which use the probe sets
    RemoveHostRules,
    /// To ask in the network namespace itself: [`probe::here`](crate::preflight::probe::here)
    ProbeHere,
}

impl Explanation {
    /// With one more part of the location.
    #[must_use]
    pub fn at(mut self, part: &str, value: impl Into<JsonValue>) -> Self {
        self.location.insert(part.to_owned(), value.into().0);
        self
    }

    /// Where and what: an object of `table`, `rule`, `expression`, …
    #[must_use]
    pub fn location(&self) -> JsonValue {
        JsonValue(Json::Object(self.location.clone()))
    }

    /// With this help.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// With this remedy.
    #[must_use]
    pub fn remedy(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// What a system call said.
    #[must_use]
    pub fn of_errno(errno: i32) -> Self {
        Self { errno: Some(errno), ..Self::default() }
    }

    /// As an object: the error's text, and `errno` (its name), `place` (an object) and `help` where there is such.
    #[must_use]
    pub fn to_json(&self, text: &str) -> JsonValue {
        let mut object = Map::from_iter([("text".to_owned(), json!(text))]);
        if let Some(errno) = self.errno {
            object.insert("errno".to_owned(), json!(errno_name(errno)));
        }
        if !self.location.is_empty() {
            object.insert("place".to_owned(), Json::Object(self.location.clone()));
        }
        if let Some(help) = &self.help {
            object.insert("help".to_owned(), json!(help));
        }
        JsonValue(Json::Object(object))
    }
}

/// An errno's name: `ENOENT`; `errno NUMBER` where it has none.
pub(crate) fn errno_name(errno: i32) -> String {
    let mut text = errno_text(errno);
    text.truncate(text.find(':').unwrap_or(text.len()));
    text
}

/// What to do where the kernel has no nf_tables.
#[must_use]
pub fn no_nf_tables() -> String {
    format!(
        "this kernel has no nf_tables: load the module {CORE} on the node (modprobe {CORE}), or take a kernel with \
         {CORE_OPTION}"
    )
}

/// A missing privilege over the network namespace.
#[must_use]
pub fn not_permitted() -> Explanation {
    let help = missing_net_admin(Capabilities::effective());
    Explanation::of_errno(Errno::EPERM as i32).help(help)
}

/// What the kernel's refusal comes from. `feature` is what the refused object takes that the kernel may lack.
#[must_use]
pub fn refused(refusal: &Refusal, feature: Option<&Feature>) -> Explanation {
    let mut explanation = Explanation::of_errno(refusal.errno);
    if let Some((index, name)) = &refusal.location.expression {
        explanation = explanation.at("expression", JsonValue(json!({ "number": index + 1, "name": name })));
    } else if let Some((number, name)) = refusal.location.attribute {
        explanation = explanation.at("attribute", JsonValue(json!({ "number": number, "name": name })));
    }
    if let Some(text) = &refusal.text {
        explanation = explanation.at("message", text.as_str());
    }
    let expression = refusal.location.expression.as_ref();
    let named = expression.and_then(|(_, name)| Feature::find(Kind::Expression, name));
    let help = help(refusal, feature.or(named));
    let is_used = refusal.errno == Errno::EBUSY as i32;
    Explanation { help, remedy: is_used.then_some(Remedy::ListRuleset), ..explanation }
}

fn help(refusal: &Refusal, feature: Option<&Feature>) -> Option<String> {
    let whole = refusal.message.is_none();
    let is_expression = refusal.location.expression.is_some();
    let kernel = Version::of_release(&release());
    Some(match (Errno::from_raw(refusal.errno), feature) {
        // Whether there is a privilege is looked at before any object is.
        (Errno::EPERM, _) if whole => missing_net_admin(Capabilities::effective()).to_owned(),
        (Errno::EPERM, _) => {
            "the table belongs to another process (flag owner), and can be changed when that has ended"
                .to_owned()
        }
        // The subsystem's own reply where the module is missing: EINVAL to a request, EOPNOTSUPP to a batch.
        (Errno::EINVAL | Errno::EOPNOTSUPP, _) if whole => no_nf_tables(),
        (Errno::ENOENT, Some(feature)) if names_something(feature) => {
            "the chain, the set or the object that it names is not in the table".to_owned()
        }
        (Errno::ENOENT, Some(feature)) => feature.help(kernel),
        (Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT, Some(feature))
            if feature.kind == Kind::Family || feature.is_compiled_in() =>
        {
            feature.help(kernel)
        }
        (Errno::EOPNOTSUPP, Some(feature)) if is_expression => format!(
            "this kernel's {} cannot do that, or not in this family (added in Linux {} and extended since)",
            feature.name, feature.since
        ),
        (Errno::EOPNOTSUPP, _) => "it is not allowed in a chain of this type, or at this hook".to_owned(),
        (Errno::EBUSY, _) => "a rule or a map of the same table still uses it".to_owned(),
        (Errno::EEXIST, _) => "another one of this name exists, with other properties".to_owned(),
        (Errno::ENOMEM | Errno::ENOBUFS, _) => {
            "the kernel is out of memory; rules count towards the memory limit of the container".to_owned()
        }
        (Errno::EMLINK, _) => "its jumps form a loop, or are nested deeper than 15".to_owned(),
        _ => return None,
    })
}

/// Expressions that every kernel has: what is missing is what they name.
fn names_something(feature: &Feature) -> bool {
    feature.kind == Kind::Expression && ["immediate", "lookup", "dynset", "objref"].contains(&feature.name)
}

impl Explain for nftwire::Error {
    fn explanation(&self) -> Explanation {
        use nftwire::Error;
        match self {
            Error::Namespace(error) => error.explanation(),
            Error::Open(error) => {
                let explanation = error.explanation();
                match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) => explanation.help(no_nf_tables()),
                    Some(Errno::EPERM | Errno::EACCES) => {
                        explanation.help("a seccomp or SELinux policy forbids netlink sockets")
                    }
                    _ => explanation,
                }
            }
            Error::Send { bytes, error } => error.explanation().at("bytes", *bytes),
            Error::SendBuffer { needed, granted } => {
                let limit = needed.div_ceil(2);
                let help = format!("on the node: sysctl -w net.core.wmem_max={limit} (or more)");
                Explanation::default()
                    .at("needed_bytes", *needed)
                    .at("granted_bytes", *granted)
                    .at("sysctl", "net.core.wmem_max")
                    .at("sysctl_needed", limit)
                    .help(help)
            }
            Error::Receive(error) => error.explanation().remedy(Remedy::ListRules),
            Error::Reply(error) => error.explanation(),
            Error::Unconfirmed => Explanation::default().remedy(Remedy::ListRules),
            Error::Refused(refusal) => refused(refusal, None),
            Error::GenerationChanged => Explanation::default().help(
                "something changes or checks the ruleset again and again: end that, or run this when it is quieter",
            ),
            // What is added later has at least its text.
            _ => Explanation::default(),
        }
    }
}

impl Explain for NamespaceError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Gone { path } => Explanation::of_errno(Errno::ENOENT as i32)
                .at("file", path.display().to_string())
                .help("a namespace is named by a file, by a process in it, or as `ip netns` names it; that of a pod goes with the pod"),
            Self::NoProcess { pid } => Explanation::default()
                .at("pid", *pid)
                .help("a namespace is named by a file, by a process in it, or as `ip netns` names it"),
            Self::NotANamespace { path } => Explanation::default()
                .at("file", path.display().to_string())
                .help("a namespace's file is such as /run/netns/NAME or /proc/PID/ns/net"),
            Self::Open { path, error } => {
                let explanation = error.explanation().at("file", path.display().to_string());
                match error.kind() {
                    io::ErrorKind::PermissionDenied => explanation
                        .help("another user's process: root, or CAP_SYS_PTRACE, may look at its namespaces"),
                    _ => explanation,
                }
            }
            Self::Enter(error) => {
                let explanation = error.explanation();
                match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EINVAL) => explanation.help("the file is not a network namespace, or no longer one"),
                    Some(Errno::EPERM) => explanation
                        .help("CAP_SYS_ADMIN is needed, here and in the namespace's own user namespace"),
                    _ => explanation,
                }
            }
            Self::Thread(error) => error.explanation(),
            // What is added later has at least its text.
            _ => Explanation::default(),
        }
    }
}

impl Explain for Invalid {
    fn explanation(&self) -> Explanation {
        Explanation::default().at("place", self.location.as_str())
    }
}

impl Explain for io::Error {
    fn explanation(&self) -> Explanation {
        Explanation { errno: self.raw_os_error(), ..Explanation::default() }
    }
}

#[cfg(test)]
mod tests {
    use nftwire::Location;

    use super::*;

    fn refusal(message: Option<usize>, errno: Errno, expression: Option<&str>) -> Refusal {
        let expression = expression.map(|name| (4, name.to_owned()));
        let attribute = expression.is_some().then_some((4, "expressions"));
        let location = Location { attribute, expression, element: None };
        Refusal { message, errno: errno as i32, location, text: None }
    }

    fn help_for(message: Option<usize>, errno: Errno, expression: Option<&str>) -> String {
        refused(&refusal(message, errno, expression), None).help.unwrap_or_default()
    }

    #[test]
    fn help_goes_by_what_was_refused_and_how() {
        for (message, errno, expression, help) in [
            (
                Some(7),
                Errno::ENOENT,
                Some("tproxy"),
                "this kernel has no expression tproxy: load the module nft_tproxy",
            ),
            (
                Some(7),
                Errno::EOPNOTSUPP,
                Some("tproxy"),
                "this kernel's tproxy cannot do that, or not in this family",
            ),
            (Some(7), Errno::ENOENT, Some("lookup"), "the chain, the set or the object that it names is not"),
            (
                Some(7),
                Errno::ENOENT,
                Some("immediate"),
                "the chain, the set or the object that it names is not",
            ),
            (Some(7), Errno::EPERM, None, "the table belongs to another process"),
            (Some(7), Errno::EBUSY, None, "a rule or a map of the same table still uses it"),
            (Some(7), Errno::EOPNOTSUPP, None, "it is not allowed in a chain of this type"),
            (Some(7), Errno::ENOMEM, None, "the kernel is out of memory"),
            (None, Errno::EPERM, None, "CAP_NET_ADMIN"),
            (None, Errno::EINVAL, None, "this kernel has no nf_tables: load the module nf_tables"),
            (None, Errno::EOPNOTSUPP, None, "this kernel has no nf_tables: load the module nf_tables"),
            (Some(7), Errno::EINVAL, Some("cmp"), ""),
        ] {
            let found = help_for(message, errno, expression);
            assert!(found.starts_with(help) && found.is_empty() == help.is_empty(), "{errno}: {found}");
        }
    }

    #[test]
    fn a_feature_names_the_missing_chain_type_or_family() {
        let nat = Feature::find(Kind::Chain, "nat");
        let explained = refused(&refusal(Some(1), Errno::ENOENT, None), nat);
        assert!(
            explained
                .help
                .unwrap()
                .starts_with("this kernel has no chain type nat: load the module nft_chain_nat")
        );
        let inet = Feature::find(Kind::Family, "inet");
        let explained = refused(&refusal(Some(0), Errno::EOPNOTSUPP, None), inet);
        assert_eq!(
            explained.help.unwrap(),
            "this kernel has no family inet: it takes a kernel with CONFIG_NF_TABLES_INET"
        );
    }

    #[test]
    fn as_an_object_it_has_the_parts_that_are_known() {
        let mut found = refusal(Some(7), Errno::ENOENT, Some("tproxy"));
        found.text = Some("words".to_owned());
        let object = refused(&found, None).to_json("it failed").0;
        assert_eq!(object["text"], "it failed");
        assert_eq!(object["errno"], "ENOENT");
        assert_eq!(
            object["place"],
            json!({ "expression": { "number": 5, "name": "tproxy" }, "message": "words" })
        );
        assert!(object["help"].as_str().unwrap().contains("nft_tproxy"));
        assert_eq!(Explanation::default().to_json("only this").0, json!({ "text": "only this" }));
    }

    #[test]
    fn a_send_buffer_that_is_too_small_is_reported_with_both_sizes() {
        let error = nftwire::Error::SendBuffer { needed: 1_000_033, granted: 425_984 };
        let explained = error.explanation();
        assert_eq!(
            explained.help.as_deref(),
            Some("on the node: sysctl -w net.core.wmem_max=500017 (or more)")
        );
        assert_eq!(explained.location["needed_bytes"], 1_000_033);
        assert_eq!(explained.location["granted_bytes"], 425_984);
    }
}

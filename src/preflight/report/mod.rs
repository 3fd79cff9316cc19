//! What the facts mean: for each a verdict and what to do, and for each profile whether it can run.

mod modules;
mod nf_tables;
#[cfg(test)]
mod tests;

use serde_json::{Value as Json, json};

use super::Profile;
use super::facts::{Access, Facts, Ipv6};
use super::probe::{Answer, Stage};
use crate::diagnostic::Remedy;
use crate::json::JsonValue;
use crate::mesh;
use crate::privilege::{NET_ADMIN, missing_net_admin};
use nftwire::feature::Feature;

use self::modules::{modules, modules_of_iptables};
use self::nf_tables::{named, nf_tables};
use super::OLDEST;
use crate::network::Family;

/// What a fact means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be
    Ok,
    /// It could not be seen from here
    Unknown,
    /// Something does not work, or is worth a look
    Warning,
    /// Nothing works
    No,
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::No => "no",
        }
    }
}

/// A fact and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, in a word or two
    pub subject: &'static str,
    /// What it means
    pub verdict: Verdict,
    /// What is so, in one line
    pub says: String,
    /// What to do, or what more there is to know, a line each
    pub advice: Vec<String>,
    /// What this library can do about it
    pub remedy: Option<Remedy>,
    /// The fact for programs
    pub facts: JsonValue,
}

/// The subject of the finding about rules of others.
pub const OTHERS_RULES: &str = "others' rules";

/// Whether a profile can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The profile
    pub profile: Profile,
    /// Whether it can; a warning says that it can, but not with everything
    pub verdict: Verdict,
    /// Why not
    pub reasons: Vec<String>,
}

/// All findings, and what follows for the profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Fact by fact
    pub findings: Vec<Finding>,
    /// Profile by profile
    pub judgements: Vec<Judgement>,
}

impl Report {
    /// Judges the facts, for these profiles.
    #[must_use]
    pub fn new(facts: &Facts, profiles: &[Profile]) -> Self {
        Self {
            findings: vec![
                kernel(facts),
                privileges(facts),
                users(facts),
                network(facts),
                nf_tables(facts),
                ipv6(facts),
                policy_routing(facts),
                send_buffer(facts),
                conntrack(facts),
                modules(facts),
                modules_of_iptables(facts),
                of_meshes(facts),
                others(facts),
            ],
            judgements: profiles.iter().map(|profile| judge(facts, *profile)).collect(),
        }
    }

    /// Whether every profile that was judged can run.
    #[must_use]
    pub fn all_can_run(&self) -> bool {
        self.judgements.iter().all(|judgement| matches!(judgement.verdict, Verdict::Ok | Verdict::Warning))
    }
}

fn finding(subject: &'static str, verdict: Verdict, says: impl Into<String>, facts: Json) -> Finding {
    Finding { subject, verdict, says: says.into(), advice: Vec::new(), remedy: None, facts: JsonValue(facts) }
}

impl Finding {
    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }
}

fn kernel(facts: &Facts) -> Finding {
    let (release, version) = (&facts.release, facts.version());
    let json = json!({ "release": release, "oldest": OLDEST.to_string() });
    let Some(version) = version else {
        return finding("kernel", Verdict::Unknown, format!("{release:?} has no version number"), json);
    };
    if version < OLDEST {
        return finding("kernel", Verdict::Warning, format!("{release} is older than {OLDEST}"), json)
            .advise(format!("meshwire is made for Linux {OLDEST} and newer; what works here is below"));
    }
    finding("kernel", Verdict::Ok, format!("{release} ({OLDEST} or newer is needed)"), json)
}

fn privileges(facts: &Facts) -> Finding {
    let names = facts.capabilities.map_or_else(Vec::new, crate::privilege::Capabilities::names);
    let access = match &facts.access {
        Access::Granted => "granted",
        Access::Denied => "denied",
        Access::NoNfTables => "no nf_tables",
        Access::NotProbed => "not asked",
        Access::Unknown(_) => "unknown",
    };
    let json = json!({ "capabilities": names, "rules": access });
    let says = match names.is_empty() {
        true => "no capability that matters".to_owned(),
        false => names.join(", "),
    };
    let has = |capability| facts.capabilities.is_some_and(|set| set.has(capability));
    match (&facts.access, facts.capabilities) {
        (Access::Denied, set) => {
            finding("privileges", Verdict::No, says, json).advise(missing_net_admin(set))
        }
        (Access::Unknown(text), _) => finding("privileges", Verdict::Unknown, says, json).advise(text),
        (_, Some(_)) if !has(NET_ADMIN) => {
            finding("privileges", Verdict::No, says, json).advise(missing_net_admin(facts.capabilities))
        }
        (_, None) => finding("privileges", Verdict::Unknown, "the kernel does not report it", json),
        _ => finding("privileges", Verdict::Ok, says, json),
    }
}

fn users(facts: &Facts) -> Finding {
    let json = json!({ "of_its_own": facts.users_of_its_own });
    match facts.users_of_its_own {
        Some(false) => finding("user namespace", Verdict::Ok, "the machine's own", json),
        Some(true) => finding("user namespace", Verdict::Ok, "its own (as with hostUsers: false)", json),
        None => finding("user namespace", Verdict::Unknown, "no /proc to see it in", json),
    }
}

fn network(facts: &Facts) -> Finding {
    let links = &facts.links_to_others;
    let json = json!({ "of_the_machine": facts.network_of_the_machine, "links_to_others": links });
    let subject = "network namespace";
    match facts.network_of_the_machine {
        Some(true) => {
            let says = match links.len() {
                0 => "the machine's own".to_owned(),
                links => format!("the machine's own, with {links} links into others"),
            };
            finding(subject, Verdict::Warning, says, json)
                .advise("profiles for pods are refused here: run them in the pod's namespace")
        }
        Some(false) => finding(subject, Verdict::Ok, "its own", json),
        None => finding(subject, Verdict::Unknown, "no /proc to see it in", json),
    }
}

fn ipv6(facts: &Facts) -> Finding {
    let (verdict, says, advice) = match facts.ipv6 {
        Ipv6::On => (Verdict::Ok, "on", None),
        Ipv6::OffOnLoopback => (
            Verdict::Warning,
            "off on lo (net.ipv6.conf.lo.disable_ipv6=1)",
            Some("run profiles without IPv6, or set net.ipv6.conf.lo.disable_ipv6 to 0"),
        ),
        Ipv6::Absent => (Verdict::Warning, "not in this kernel", Some("run profiles without IPv6")),
        Ipv6::Unknown => (Verdict::Unknown, "no /proc/sys to see it in", None),
    };
    let json = json!({ "on": match facts.ipv6 { Ipv6::Unknown => None, state => Some(state == Ipv6::On) } });
    Finding {
        advice: advice.map(str::to_owned).into_iter().collect(),
        ..finding("IPv6", verdict, says, json)
    }
}

fn policy_routing(facts: &Facts) -> Finding {
    let json = json!({ "ipv4": facts.policy_routing[0], "ipv6": facts.policy_routing[1] });
    let subject = "policy routing";
    match facts.policy_routing {
        [Some(true), Some(true)] => finding(subject, Verdict::Ok, "IPv4, IPv6", json),
        [Some(true), _] if facts.ipv6 == Ipv6::Absent => finding(subject, Verdict::Ok, "IPv4", json),
        [Some(false), _] => finding(subject, Verdict::Warning, "none for IPv4", json)
            .advise("TPROXY and ambient pods need it: it takes a kernel with CONFIG_IP_MULTIPLE_TABLES"),
        [Some(true), Some(false)] => finding(subject, Verdict::Warning, "IPv4 only", json).advise(
            "TPROXY and ambient pods need it for IPv6: it takes a kernel with CONFIG_IPV6_MULTIPLE_TABLES",
        ),
        _ => finding(subject, Verdict::Unknown, "the kernel does not report it", json),
    }
}

/// The default send buffer of a netlink socket, in bytes.
const DEFAULT_SEND_BUFFER: u64 = 212_992;

fn send_buffer(facts: &Facts) -> Finding {
    let unlimited =
        facts.users_of_its_own == Some(false) && facts.capabilities.is_some_and(|set| set.has(NET_ADMIN));
    // The kernel doubles what it is asked for (socket(7)).
    let most = facts.wmem_max.map(|max| (2 * max).max(DEFAULT_SEND_BUFFER));
    let json =
        json!({ "wmem_max": facts.wmem_max, "largest_ruleset_bytes": if unlimited { None } else { most } });
    let wmem_max = facts.wmem_max.map_or_else(String::new, |max| format!(" (net.core.wmem_max {max})"));
    let (verdict, says) = match (unlimited, most) {
        (true, _) => (Verdict::Ok, format!("rulesets of any size{wmem_max}")),
        (false, Some(most)) => (Verdict::Ok, format!("rulesets up to {} KiB{wmem_max}", most / 1024)),
        (false, None) => (
            Verdict::Ok,
            format!(
                "rulesets up to {} KiB at least (net.core.wmem_max is not visible)",
                DEFAULT_SEND_BUFFER / 1024
            ),
        ),
    };
    finding("send buffer", verdict, says, json)
}

fn conntrack(facts: &Facts) -> Finding {
    let subject = "conntrack";
    let Some([count, max]) = facts.conntrack else {
        return finding(subject, Verdict::Ok, "not in use yet", json!({ "count": null, "max": null }));
    };
    let json = json!({ "count": count, "max": max });
    let says = format!("{count} of {max} entries");
    // 0 is not a limit (nf_conntrack-sysctl.rst).
    if max > 0 && count.saturating_mul(10) >= max.saturating_mul(9) {
        return finding(subject, Verdict::Warning, says, json)
            .advise("new connections will be dropped: raise net.netfilter.nf_conntrack_max on the node");
    }
    finding(subject, Verdict::Ok, says, json)
}

fn of_meshes(facts: &Facts) -> Finding {
    let tables = facts.owners.as_ref().map(|owners| {
        owners
            .iter()
            .filter(|owner| owner.is_mesh)
            .flat_map(|owner| &owner.tables)
            .cloned()
            .collect::<Vec<_>>()
    });
    let json = json!({ "nf_tables": tables });
    let subject = "a mesh's rules";
    match tables.as_deref() {
        None => finding(subject, Verdict::Unknown, "seen only with CAP_NET_ADMIN", json),
        Some([]) => finding(subject, Verdict::Ok, "none in this network namespace", json),
        Some(tables) => {
            let found = finding(subject, Verdict::Ok, format!("table {}", tables.join(", ")), json);
            let bridges = tables.iter().filter(|table| mesh::is_bridge_text(table));
            bridges.fold(found, |found, table| Finding {
                verdict: Verdict::Warning,
                ..found.advise(format!(
                    "table {table} is of a migration that did not end: another one removes it, and so does a cleanup"
                ))
            })
        }
    }
}

fn others(facts: &Facts) -> Finding {
    let foreign = || facts.owners.iter().flatten().filter(|owner| !owner.is_mesh);
    let owners = facts.owners.as_ref().map(|_| {
        foreign().map(|owner| json!({ "name": owner.name, "tables": owner.tables })).collect::<Vec<_>>()
    });
    let json = json!({ "nf_tables": owners, "legacy_iptables": facts.legacy_iptables });
    let mut lines: Vec<String> = Vec::new();
    for owner in foreign() {
        lines.push(format!("{}: table {}", owner.name, owner.tables.join(", ")));
    }
    if let Some(tables) = facts.legacy_iptables.as_ref().filter(|tables| !tables.is_empty()) {
        lines.push(format!("legacy iptables: {}", tables.join(", ")));
    }
    let unseen = facts.owners.is_none() || facts.legacy_iptables.is_none();
    let subject = OTHERS_RULES;
    match (lines.is_empty(), unseen) {
        (true, false) => finding(subject, Verdict::Ok, "none in this network namespace", json),
        (true, true) => finding(subject, Verdict::Unknown, "seen only with CAP_NET_ADMIN, and as root", json),
        (false, _) => {
            let says = "they apply as well as ours, packet by packet";
            let mut finding = finding(subject, Verdict::Warning, says, json);
            finding.advice = lines;
            finding
        }
    }
}

fn judge(facts: &Facts, profile: Profile) -> Judgement {
    let version = facts.version();
    let (mut no, mut maybe, mut less) = (Vec::new(), Vec::new(), Vec::new());
    match &facts.access {
        Access::Granted => {}
        Access::Denied => no.push("no privilege over the rules here".to_owned()),
        Access::NoNfTables => no.push("no nf_tables".to_owned()),
        Access::NotProbed => maybe.push("nf_tables was not probed".to_owned()),
        Access::Unknown(text) => maybe.push(text.clone()),
    }
    if facts.access == Access::Granted || facts.access == Access::NotProbed {
        let lacks = facts.capabilities.is_some_and(|set| !set.has(NET_ADMIN));
        no.extend(lacks.then(|| "CAP_NET_ADMIN is missing".to_owned()));
    }
    let features = profile.features().unwrap_or_default();
    let answer_of = |feature: &Feature| facts.asked.answers.iter().find(|(asked, _)| *asked == feature);
    let (mut unknown, mut missing) = (Vec::new(), Vec::new());
    for feature in features {
        match answer_of(feature).map(|(_, answer)| answer) {
            Some(Answer::Works) => {}
            Some(Answer::Missing(_)) => missing.push(named(feature)),
            _ => unknown.push(named(feature)),
        }
    }
    if !missing.is_empty() && facts.access != Access::NoNfTables {
        no.push(format!("missing: {}", missing.join(", ")));
    }
    if facts.asked.stage == Stage::Nowhere && facts.access == Access::Granted {
        maybe.push("nf_tables was not probed".to_owned());
    } else if !unknown.is_empty() && facts.access != Access::NoNfTables {
        maybe.push(format!("not known: {}", some_of(&unknown)));
    }
    for family in profile.routed_families() {
        let [v4, v6] = facts.policy_routing;
        match (family, if family == Family::V4 { v4 } else { v6 }) {
            (_, Some(true)) => {}
            (Family::V4, Some(false)) => no.push("no policy routing".to_owned()),
            (Family::V6, Some(false)) => less.push("without IPv6: no policy routing for it".to_owned()),
            (_, None) => maybe.push(format!("{family} policy routing could not be probed")),
        }
    }
    if facts.ipv6 == Ipv6::OffOnLoopback || facts.ipv6 == Ipv6::Absent {
        less.push("without IPv6".to_owned());
        less.retain(|reason| reason == "without IPv6");
    }
    if version.is_some_and(|version| version < OLDEST) {
        less.push(format!("not tested on kernels before {OLDEST}"));
    }
    let verdict = match (no.is_empty(), maybe.is_empty(), less.is_empty()) {
        (false, ..) => Verdict::No,
        (true, false, _) => Verdict::Unknown,
        (true, true, false) => Verdict::Warning,
        (true, true, true) => Verdict::Ok,
    };
    let reasons = no.into_iter().chain(maybe).chain(less).collect();
    Judgement { profile, verdict, reasons }
}

fn some_of(names: &[String]) -> String {
    let shown = names.len().min(3);
    let more = if names.len() > shown { format!(" and {} more", names.len() - shown) } else { String::new() };
    names[..shown].join(", ") + &more
}

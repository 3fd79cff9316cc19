//! From what was given to what it means: after this, nothing is a text that could be wrong.

use crate::cli::lockdown;
use crate::cli::log::Level;
use crate::cli::place;
use crate::cli::profile::{self, Action, Output};
use crate::cli::settings::{Given, UsageError, Values, listening_port, network, number, port, port_range};
use crate::interception::Interception;
use crate::mesh::linkerd::{self, ProxyInit};
use crate::mesh::value::ValueError;

/// What changes least comes first.
const SWITCHES: &[(&str, Action)] =
    &[("simulate", Action::Print), ("check", Action::Check), ("cleanup-only", Action::Remove)];

/// What the command is to do.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) action: Action,
    /// What is desired of the kernel; nothing with a clean-up
    pub(super) desired: Interception,
    /// In seconds
    pub(super) close_wait_timeout: Option<u32>,
    pub(super) allow_host_network: bool,
    /// Whether the process gives up what it does not need
    pub(super) lockdown: bool,
    pub(super) netns: Option<Given>,
    pub(super) output: Output,
    pub(super) level: Level,
    /// What was given that means nothing here
    pub(super) note: Option<String>,
    /// What the user should know of what was given
    pub(super) warnings: Vec<String>,
}

impl Options {
    pub(super) fn new(values: &Values<'_>) -> Result<Self, UsageError> {
        let note = backend(values)?;
        let action = profile::action(values, SWITCHES)?;
        let mut warnings = Vec::new();
        let desired = match action {
            Action::Remove | Action::PrintRemoval => linkerd::nothing(),
            _ => {
                let settings = proxy_init(values)?;
                warnings.extend(settings.left_out_subnets().map(|subnet| {
                    format!(
                        "--subnets-to-ignore: {subnet} is left out: without IPv6 there are no rules for it"
                    )
                }));
                settings.interception().optimized(profile::optimization(values)?)
            }
        };
        let timeout = values.parsed("timeout-close-wait-secs", 0, |given| given.one(number))?;
        Ok(Self {
            action,
            desired,
            close_wait_timeout: (timeout != 0).then_some(timeout),
            allow_host_network: values.switch(profile::ALLOW_HOST_NETWORK.name)?,
            lockdown: lockdown::desired(values)?,
            netns: values.not_empty(place::NETNS),
            output: values.parsed(profile::OUTPUT.name, Output::Text, profile::output)?,
            level: values.parsed("log-level", Level::Info, level)?,
            note,
            warnings,
        })
    }
}

fn proxy_init(values: &Values<'_>) -> Result<ProxyInit, UsageError> {
    let owner = |name| values.parsed(name, None, |given| given.one(owner));
    Ok(ProxyInit {
        incoming_proxy_port: proxy_port(values, "incoming-proxy-port")?,
        outgoing_proxy_port: proxy_port(values, "outgoing-proxy-port")?,
        proxy_uid: owner("proxy-uid")?,
        proxy_gid: owner("proxy-gid")?,
        // As with Linkerd, an empty item is no port, and no network.
        ports_to_redirect: values.parsed("ports-to-redirect", Vec::new(), |given| given.full_list(port))?,
        inbound_ports_to_ignore: values.list("inbound-ports-to-ignore", port_range)?,
        outbound_ports_to_ignore: values.list("outbound-ports-to-ignore", port_range)?,
        subnets_to_ignore: match values.not_empty("subnets-to-ignore") {
            Some(given) => given.full_list(network)?,
            None => Vec::new(),
        },
        ipv6: values.parsed("ipv6", true, Given::boolean)?,
    })
}

fn proxy_port(values: &Values<'_>, name: &str) -> Result<u16, UsageError> {
    match values.get(name) {
        Some(given) => given.one(listening_port),
        None => Err(UsageError::missing(name, "a port of the proxy, 1 to 65535")),
    }
}

/// A number above 0; any other one is nobody's.
fn owner(text: &str) -> Result<Option<u32>, ValueError> {
    match text.strip_prefix('-').map(number) {
        Some(Ok(_)) => Ok(None),
        _ => number(text).map(|id| (id > 0).then_some(id)),
    }
}

/// Looks at the flags that choose an iptables; returns what to say of those that were given.
fn backend(values: &Values<'_>) -> Result<Option<String>, UsageError> {
    let one_of = |name, accepted: &[&str]| match values.not_empty(name) {
        Some(given) if !accepted.contains(&given.text.as_str()) => {
            Err(given.fault(format_args!("{:?} is none of {}", given.text, accepted.join(", "))))
        }
        given => Ok(given),
    };
    // The one decides, and only without it the other.
    if one_of("iptables-mode", &["legacy", "nft", "plain"])?.is_none() {
        one_of("firewall-bin-path", &["iptables-legacy", "iptables-nft", "iptables"])?;
    }
    let texts = ["iptables-mode", "firewall-bin-path", "firewall-save-bin-path"];
    let mut given: Vec<_> = texts.into_iter().filter(|name| values.not_empty(name).is_some()).collect();
    if values.switch("use-wait-flag")? {
        given.push("use-wait-flag");
    }
    let flags: Vec<_> = given.iter().map(|name| format!("--{name}")).collect();
    let note = "the backend is native nf_tables and no iptables is used, so this means nothing here";
    Ok((!flags.is_empty()).then(|| format!("{note}: {}", flags.join(", "))))
}

/// Those of Linkerd's logger (logrus).
fn level(given: &Given) -> Result<Level, UsageError> {
    match given.text.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => Ok(Level::Error),
        "warn" | "warning" => Ok(Level::Warn),
        "info" | "debug" | "trace" => Ok(Level::Info),
        _ => Err(given.fault(format_args!(
            "{:?} is none of panic, fatal, error, warn, info, debug, trace",
            given.text
        ))),
    }
}

#[cfg(test)]
mod tests;

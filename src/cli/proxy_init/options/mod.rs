//! From what was given to what it means: after this, nothing is a text that could be wrong.

use super::flags;
use crate::cli::action::{self, Action};
use crate::cli::flag::shared::{self, Output};
use crate::cli::flag::{Flag, Given, UsageError, Values};
use crate::cli::lockdown;
use crate::cli::log::Level;
use crate::interception::Interception;
use crate::mesh::linkerd::{self, ProxyInit};

/// What changes least comes first.
const SWITCHES: &[(&Flag<bool>, Action)] = &[
    (&flags::SIMULATE, Action::Print),
    #[cfg(feature = "tools")]
    (&shared::PLAN, Action::Plan),
    (&shared::CHECK, Action::Check),
    (&flags::CLEANUP_ONLY, Action::Remove),
];

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
        let action = action::action(values, SWITCHES)?;
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
                if settings.intercepts_nothing() && action != Action::Print {
                    warnings.push("nothing is intercepted: all ports or networks are ignored".to_owned());
                }
                settings.interception().optimized(shared::optimization(values)?)
            }
        };
        let timeout = values.read(&flags::CLOSE_WAIT_TIMEOUT)?;
        Ok(Self {
            action,
            desired,
            close_wait_timeout: (timeout != 0).then_some(timeout),
            allow_host_network: values.read(&shared::ALLOW_HOST_NETWORK)?,
            lockdown: values.read(&lockdown::LOCKDOWN)?,
            // As with Linkerd, an empty path is none.
            netns: values.read(&shared::NETNS)?.filter(|given| !given.text.is_empty()),
            output: values.read(&shared::OUTPUT)?,
            level: values.read(&flags::LOG_LEVEL)?,
            note,
            warnings,
        })
    }
}

fn proxy_init(values: &Values<'_>) -> Result<ProxyInit, UsageError> {
    Ok(ProxyInit {
        incoming_proxy_port: proxy_port(values, &flags::INCOMING_PROXY_PORT)?,
        outgoing_proxy_port: proxy_port(values, &flags::OUTGOING_PROXY_PORT)?,
        proxy_uid: values.read(&flags::PROXY_UID)?,
        proxy_gid: values.read(&flags::PROXY_GID)?,
        ports_to_redirect: values.read(&flags::PORTS_TO_REDIRECT)?,
        inbound_ports_to_ignore: values.read(&flags::INBOUND_PORTS_TO_IGNORE)?,
        outbound_ports_to_ignore: values.read(&flags::OUTBOUND_PORTS_TO_IGNORE)?,
        subnets_to_ignore: values.read(&flags::SUBNETS_TO_IGNORE)?,
        ipv6: values.read(&flags::IPV6)?,
    })
}

fn proxy_port(values: &Values<'_>, flag: &Flag<Option<u16>>) -> Result<u16, UsageError> {
    values.read(flag)?.ok_or_else(|| UsageError::missing(flag, "a port of the proxy, 1 to 65535"))
}

/// Looks at the flags that choose an iptables; returns what to say of those that were given.
fn backend(values: &Values<'_>) -> Result<Option<String>, UsageError> {
    let mode = values.read(&flags::IPTABLES_MODE)?;
    // The one decides, and only without it the other.
    let path = if mode {
        values.given(&flags::FIREWALL_BIN_PATH).is_some()
    } else {
        values.read(&flags::FIREWALL_BIN_PATH)?
    };
    let given: Vec<_> = [
        (mode, &flags::IPTABLES_MODE),
        (path, &flags::FIREWALL_BIN_PATH),
        (values.read(&flags::FIREWALL_SAVE_BIN_PATH)?, &flags::FIREWALL_SAVE_BIN_PATH),
        (values.read(&flags::USE_WAIT_FLAG)?, &flags::USE_WAIT_FLAG),
    ]
    .into_iter()
    .filter(|(given, _)| *given)
    .map(|(_, flag)| format!("--{}", flag.name()))
    .collect();
    let note = "the backend is native nf_tables and no iptables is used, so this means nothing here";
    Ok((!given.is_empty()).then(|| format!("{note}: {}", given.join(", "))))
}

#[cfg(test)]
mod tests;

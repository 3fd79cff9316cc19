//! The plugin's part of the network configuration.

use std::path::PathBuf;
use std::time::Duration;

use meshwire::mesh::linkerd::ProxyInit;
use meshwire::mesh::linkerd::pod::{port_ranges, subnets};
use meshwire::mesh::value::ValueError;
use serde::Deserialize;

use super::log::Level;
use crate::kubernetes::Limits;

/// Three attempts, each with a third of the time.
pub(super) const LIMITS: Limits =
    Limits { total: Duration::from_secs(10), attempt: Duration::from_millis(3300) };

/// The plugin's settings.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) log_level: Level,
    pub(super) kubeconfig: PathBuf,
    pub(super) api_root: Option<String>,
    /// The installer's namespace; not one of Linkerd's own fields
    pub(super) pod_namespace: Option<String>,
    pub(super) proxy_init: ProxyInit,
    /// Ports that are not understood
    pub(super) skipped: Vec<ValueError>,
    pub(super) simulate: bool,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON, or a field of another type
    #[error("failed to parse network configuration: {0}")]
    Decode(serde_json::Error),
    /// There is no kubeconfig
    #[error("the network configuration has no kubernetes.kubeconfig")]
    NoKubeconfig,
    /// Not a port
    #[error("linkerd.{field}: {value} is not a port ({least} to 65535)")]
    Port {
        /// Its name
        field: &'static str,
        /// Its value
        value: i64,
        /// The lowest that is one there
        least: u16,
    },
    /// Not a uid or gid
    #[error("linkerd.{field}: {value} is not a number up to {max}", max = u32::MAX)]
    Owner {
        /// Its name
        field: &'static str,
        /// Its value
        value: i64,
    },
    /// Not a network
    #[error("linkerd.subnets-to-ignore: {0}")]
    Subnet(ValueError),
    /// No backend of Linkerd's
    #[error("linkerd.iptables-mode: {0:?} is none of legacy, nft, plain")]
    Mode(String),
}

impl From<serde_json::Error> for ConfigError {
    fn from(error: serde_json::Error) -> Self {
        Self::Decode(error)
    }
}

#[derive(Deserialize)]
struct Fields {
    log_level: Option<String>,
    kubernetes: Option<Kubernetes>,
    linkerd: Option<Linkerd>,
    pod_namespace: Option<String>,
}

#[derive(Deserialize)]
struct Kubernetes {
    kubeconfig: Option<PathBuf>,
    k8s_api_root: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Linkerd {
    incoming_proxy_port: Option<i64>,
    outgoing_proxy_port: Option<i64>,
    proxy_uid: Option<i64>,
    proxy_gid: Option<i64>,
    ports_to_redirect: Option<Vec<i64>>,
    inbound_ports_to_ignore: Option<Vec<String>>,
    outbound_ports_to_ignore: Option<Vec<String>>,
    subnets_to_ignore: Option<Vec<String>>,
    simulate: Option<bool>,
    iptables_mode: Option<String>,
    ipv6: Option<bool>,
}

impl Config {
    pub(super) fn parse(config: &[u8]) -> Result<Self, ConfigError> {
        let fields: Fields = serde_json::from_slice(config)?;
        let linkerd = fields.linkerd.unwrap_or_default();
        let simulate = linkerd.simulate.unwrap_or(false);
        let (proxy_init, skipped) = linkerd.read()?;
        let kubernetes = fields.kubernetes.ok_or(ConfigError::NoKubeconfig)?;
        let kubeconfig = kubernetes.kubeconfig.filter(|path| !path.as_os_str().is_empty());
        Ok(Self {
            log_level: Level::parse(fields.log_level.as_deref()),
            kubeconfig: kubeconfig.ok_or(ConfigError::NoKubeconfig)?,
            api_root: kubernetes.k8s_api_root.filter(|root| !root.is_empty()),
            pod_namespace: fields.pod_namespace.filter(|namespace| !namespace.is_empty()),
            proxy_init,
            skipped,
            simulate,
        })
    }
}

impl Linkerd {
    fn read(self) -> Result<(ProxyInit, Vec<ValueError>), ConfigError> {
        if let Some(mode) = self.iptables_mode
            && !["", "legacy", "nft", "plain"].contains(&mode.as_str())
        {
            return Err(ConfigError::Mode(mode));
        }
        let items = |list: Option<Vec<String>>| list.unwrap_or_default();
        let ranges = |list| port_ranges(items(list).iter().map(String::as_str));
        let (inbound_ports_to_ignore, mut skipped) = ranges(self.inbound_ports_to_ignore);
        let (outbound_ports_to_ignore, more) = ranges(self.outbound_ports_to_ignore);
        skipped.extend(more);
        let redirected = self.ports_to_redirect.unwrap_or_default().into_iter();
        let proxy_init = ProxyInit {
            incoming_proxy_port: port("incoming-proxy-port", self.incoming_proxy_port.unwrap_or(0), 1)?,
            outgoing_proxy_port: port("outgoing-proxy-port", self.outgoing_proxy_port.unwrap_or(0), 1)?,
            proxy_uid: owner("proxy-uid", self.proxy_uid)?,
            proxy_gid: owner("proxy-gid", self.proxy_gid)?,
            ports_to_redirect: redirected
                .map(|value| port("ports-to-redirect", value, 0))
                .collect::<Result<_, _>>()?,
            inbound_ports_to_ignore,
            outbound_ports_to_ignore,
            subnets_to_ignore: subnets(items(self.subnets_to_ignore).iter().map(String::as_str))
                .map_err(ConfigError::Subnet)?,
            ipv6: self.ipv6.unwrap_or(false),
        };
        Ok((proxy_init, skipped))
    }
}

fn port(field: &'static str, value: i64, least: u16) -> Result<u16, ConfigError> {
    let port = u16::try_from(value).ok().filter(|&port| port >= least);
    port.ok_or(ConfigError::Port { field, value, least })
}

/// A number above 0; any other one names no user.
fn owner(field: &'static str, value: Option<i64>) -> Result<Option<u32>, ConfigError> {
    let Some(value) = value.filter(|&value| value > 0) else { return Ok(None) };
    u32::try_from(value).map(Some).map_err(|_| ConfigError::Owner { field, value })
}

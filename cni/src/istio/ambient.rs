//! Ambient mode: the node agent makes the rules of the pods that it takes part in, and is asked to before they start.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meshwire::mesh::istio::sidecar::pod::STATUS;
use meshwire::mesh::pod::Pod;
use serde::Serialize;

use crate::protocol::{Address, Arguments};
use crate::unix_http::post;

/// Where the node agent listens for pods.
pub(super) const SOCKET: &str = "pluginevent.sock";
/// For the whole exchange.
const LIMIT: Duration = Duration::from_secs(5);

/// Why the node agent did not add the pod.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It could not be asked
    #[error("{socket}: {error}")]
    Socket {
        /// Its socket
        socket: String,
        /// What the system call said
        error: io::Error,
    },
    /// It refused
    #[error("it replied {status}: {text}")]
    Refused {
        /// The HTTP status
        status: u16,
        /// What it says
        text: String,
    },
}

/// The pod, with the names that Istio's agent decodes.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Event<'a> {
    netns: &'a str,
    pod_name: &'a str,
    pod_namespace: &'a str,
    #[serde(rename = "IPs")]
    ips: Option<Vec<Ip>>,
    /// Not one of Istio's own: another pod may have had the same name
    #[serde(rename = "PodUID", skip_serializing_if = "str::is_empty")]
    pod_uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ip {
    interface: Option<u64>,
    address: Network,
    gateway: String,
}

#[derive(Serialize)]
struct Network {
    #[serde(rename = "IP")]
    ip: IpAddr,
    #[serde(rename = "Mask")]
    mask: String,
}

/// Whether a selector may choose the pod at all: it has a namespace of its own, and no sidecar.
pub(super) fn is_eligible(pod: &Pod) -> bool {
    !pod.host_network && pod.annotation(STATUS).is_none()
}

impl<'a> Event<'a> {
    pub(super) fn new(netns: &'a str, arguments: &'a Arguments, addresses: Option<&[Address]>) -> Self {
        let ip = |address: &Address| Ip {
            interface: address.interface,
            address: Network { ip: address.address.address(), mask: mask(address.address.netmask()) },
            gateway: address.gateway.map_or_else(String::new, |gateway| gateway.to_string()),
        };
        Self {
            netns,
            pod_name: &arguments.pod_name,
            pod_namespace: &arguments.pod_namespace,
            ips: addresses.map(|addresses| addresses.iter().map(ip).collect()),
            pod_uid: &arguments.pod_uid,
        }
    }

    pub(super) fn send(&self, run_dir: &Path) -> Result<(), EventError> {
        let socket = run_dir.join(SOCKET);
        let failed = |error| EventError::Socket { socket: socket.display().to_string(), error };
        let body = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        let reply = post(&socket, "/cmdadd", &body, LIMIT).map_err(failed)?;
        match reply.status {
            200 => Ok(()),
            status => Err(EventError::Refused { status, text: reply.body }),
        }
    }
}

/// As Go encodes bytes.
fn mask(mask: IpAddr) -> String {
    match mask {
        IpAddr::V4(mask) => STANDARD.encode(mask.octets()),
        IpAddr::V6(mask) => STANDARD.encode(mask.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_istios_agent_decodes_it() {
        let arguments =
            Arguments { pod_name: "p".to_owned(), pod_namespace: "n".to_owned(), pod_uid: "u".to_owned() };
        let addresses = [Address {
            interface: Some(0),
            address: "10.0.0.5/24".parse().unwrap(),
            gateway: Some("10.0.0.1".parse().unwrap()),
        }];
        let event = Event::new("/var/run/netns/cni-1", &arguments, Some(&addresses));
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            concat!(
                r#"{"Netns":"/var/run/netns/cni-1","PodName":"p","PodNamespace":"n","#,
                r#""IPs":[{"Interface":0,"Address":{"IP":"10.0.0.5","Mask":"////AA=="},"Gateway":"10.0.0.1"}],"#,
                r#""PodUID":"u"}"#
            )
        );
        let event = Event::new("/n", &arguments, None);
        assert!(serde_json::to_string(&event).unwrap().contains(r#""IPs":null"#));
    }
}

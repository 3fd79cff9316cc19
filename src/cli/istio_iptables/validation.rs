//! `--run-validation`: the proof that traffic is intercepted, in each family that the pod has.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::unistd::{getegid, geteuid};

use super::options::Probe;
use crate::cli::failure::Failure;
use crate::diagnostic::{Explain, Explanation};
use crate::mesh::istio::sidecar::{PASSTHROUGH_V4, PASSTHROUGH_V6, Sidecar};
use crate::network::Family;
use crate::redirect_check::{self, RedirectCheck, RedirectCheckError};

/// Exit code when traffic is not intercepted; Istio's repair controller looks for it, and deletes the pod.
const NOT_INTERCEPTED: u8 = 126;
/// Exit code when that is not known.
const UNKNOWN: u8 = 1;

/// Traffic of these families is not known to be intercepted.
#[derive(Debug, thiserror::Error)]
#[error("{}", Joined(.0))]
struct NotProvedError(Vec<(Family, RedirectCheckError)>);

struct Joined<'a>(&'a [(Family, RedirectCheckError)]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (family, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{family}: {error}")?;
        }
        Ok(())
    }
}

impl Explain for NotProvedError {
    fn explanation(&self) -> Explanation {
        let families: Vec<_> = self.0.iter().map(|(family, _)| family.to_string()).collect();
        let first = self.0.first().map_or_else(Explanation::default, |(_, error)| error.explanation());
        first.at("families", families)
    }
}

/// Nobody else's connections are redirected as those are by which it is proved.
#[derive(Debug, thiserror::Error)]
#[error(
    "whether traffic is intercepted cannot be determined: this runs with uid {uid} and gid {gid}, and a connection proves it \
     only with the proxy's, uid {uids} or gid {gids}"
)]
struct WrongUser {
    uid: u32,
    gid: u32,
    uids: Numbers,
    gids: Numbers,
}

#[derive(Debug)]
struct Numbers(Vec<u32>);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

impl Explain for WrongUser {
    fn explanation(&self) -> Explanation {
        Explanation::default()
            .at("uid", self.uid)
            .at("gid", self.gid)
            .help("run it as the proxy's user (securityContext.runAsUser), or give the proxy's uid")
    }
}

/// In each of the families, a connection to the passthrough address must arrive at the proxy.
pub(super) fn prove(sidecar: &Sidecar, families: &[Family], probe: Probe) -> Result<(), Failure> {
    let failed: Vec<_> = families
        .iter()
        .filter_map(|&family| Some((family, redirect_check::run(&check(sidecar, family, probe)).err()?)))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if !sidecar.proxy_uids.contains(&uid) && !sidecar.proxy_gids.contains(&gid) {
        let (uids, gids) = (Numbers(sidecar.proxy_uids.clone()), Numbers(sidecar.proxy_gids.clone()));
        return Err(Failure::new(WrongUser { uid, gid, uids, gids }, UNKNOWN));
    }
    // The address of IPv6 is missing where no run has prepared the pod; that of IPv4 is always reachable by way of `lo`.
    let is_unknown = |(family, error): &(Family, RedirectCheckError)| match error {
        RedirectCheckError::Unreachable { .. } => *family == Family::V4,
        RedirectCheckError::NoLoopback { .. }
        | RedirectCheckError::NoListener { .. }
        | RedirectCheckError::Accept(_) => true,
        RedirectCheckError::NotIntercepted { .. } => false,
    };
    let exit_code = if failed.iter().all(is_unknown) { UNKNOWN } else { NOT_INTERCEPTED };
    Err(Failure::new(NotProvedError(failed), exit_code))
}

fn check(sidecar: &Sidecar, family: Family, probe: Probe) -> RedirectCheck {
    let (loopback, destination): (IpAddr, IpAddr) = match family {
        Family::V4 => (Ipv4Addr::LOCALHOST.into(), PASSTHROUGH_V4.into()),
        Family::V6 => (Ipv6Addr::LOCALHOST.into(), PASSTHROUGH_V6.into()),
    };
    RedirectCheck {
        listen_ports: vec![sidecar.envoy_port, sidecar.inbound_capture_port],
        loopback,
        destination,
        probe_port: probe.port,
        timeout: probe.timeout,
    }
}

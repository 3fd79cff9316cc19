//! The rules of a pod that is running: made in its network namespace, then read back.

use std::path::{Path, PathBuf};
use std::thread;

use meshwire::apply::Counters;
use meshwire::mesh::istio::sidecar::Sidecar;
use meshwire::mesh::istio::sidecar::pod::{AnnotationError, Decision, Leave, PodSidecar, decide};
use meshwire::mesh::pod::Pod as MeshPod;
use meshwire::verify::verify;
use tokio::sync::oneshot;

use crate::ambient::netns::{NetnsError, path_id};
use crate::ambient::scan::{Wanted, scan};
use crate::kubernetes::Pod;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repaired {
    /// Its rules are in force
    Done,
    /// It is none of ours
    Left(Leave),
}

/// Why a pod is still broken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// An annotation cannot be used
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    /// The host's namespaces are not mounted
    #[error("cannot read {}: {error}; repairing pods needs the host's /proc", path.display())]
    Host {
        /// The file
        path: PathBuf,
        /// What the system call replied
        error: std::io::Error,
    },
    /// None of its processes was found
    #[error("no process of the pod is in a network namespace with one of its addresses")]
    NotFound,
    /// No address decides about IPv6
    #[error("the pod's network namespace has no address but loopback and link-local ones")]
    NoAddress,
    /// Entering, programming or reading failed
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The rules are not what they should be, although they were made
    #[error("the rules differ from what was just programmed: another program changes them")]
    Differs,
    /// No thread
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The thread died
    #[error("the repair was interrupted")]
    Interrupted,
}

/// Makes the pod's rules and verifies them, on a thread that enters the pod's namespace and ends there.
pub(super) async fn repair(pod: &Pod, proc: PathBuf, native_nftables: bool) -> Result<Repaired, RepairError> {
    let mut settings = match decide(&MeshPod::from(pod))? {
        Decision::Leave(reason) => return Ok(Repaired::Left(reason)),
        Decision::Intercept(settings) => *settings,
    };
    settings.sidecar.native_nftables = native_nftables;
    let wanted = Wanted::running(pod);
    let (sender, receiver) = oneshot::channel();
    let work = move || drop(sender.send(find_and_program(wanted, &proc, settings)));
    thread::Builder::new().name("repair".into()).spawn(work).map_err(RepairError::Thread)?;
    receiver.await.unwrap_or(Err(RepairError::Interrupted)).map(|()| Repaired::Done)
}

fn find_and_program(wanted: Wanted, proc: &Path, settings: PodSidecar) -> Result<(), RepairError> {
    let path = proc.join("1/ns/net");
    let host = path_id(&path).map_err(|error| RepairError::Host { path, error })?;
    let uid = wanted.uid.clone();
    // Looking for it, this thread visits namespaces.
    let netns = scan(proc, host, &[wanted]).remove(&uid).ok_or(RepairError::NotFound)?;
    netns.enter(|nft, routes| {
        let addresses: Vec<_> =
            routes.interface_addresses()?.iter().map(|interface| interface.address).collect();
        let sidecar = settings.with_addresses(addresses.into_iter());
        let Some(interception) = sidecar.as_ref().map(Sidecar::interception) else {
            return Ok(Err(RepairError::NoAddress));
        };
        interception.apply(nft, routes, Counters::Keep)?;
        let differences = verify(&interception, nft, routes)?;
        Ok(if differences.is_empty() { Ok(()) } else { Err(RepairError::Differs) })
    })?
}

//! The probe set: addresses of the node's pods, which the kubelet's probes reach by a source address of their own, and
//! whose they are.
//!
//! It consists of one nf_tables set a family, which [`HostInterception`](crate::mesh::istio::ambient::HostInterception)
//! makes, and whose elements it leaves alone. The pod's UID is an element's comment, as with Istio. Each function is one
//! transaction, in the socket's namespace, which is the node's own.

mod change;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use nftwire::{Commit, Socket};
use nix::errno::Errno;

use crate::diagnostic::{self, Explain, Explanation, Remedy};
use crate::mesh::istio::ambient::{NAT_TABLE, PROBES_V6};
use crate::retry::LostRace;
use change::{Held, change, change_and_commit};

/// A pod's UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid<'a>(&'a str);

/// Why a text is not a pod's UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pod's UID has 1 to 127 letters, digits and signs, without spaces and quotes")]
pub struct PodUidError;

impl Explain for PodUidError {
    fn explanation(&self) -> Explanation {
        Explanation::default()
    }
}

impl<'a> PodUid<'a> {
    /// nft's limit for a comment, without its NUL.
    const MAX: usize = 127;

    /// Whatever can be an element's comment, and a word of its own.
    ///
    /// # Errors
    /// It is empty, too long, or has a character that nft would not show as it is.
    pub fn new(text: &'a str) -> Result<Self, PodUidError> {
        let sane = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        let fits = (1..=Self::MAX).contains(&text.len());
        if fits && text.bytes().all(sane) { Ok(Self(text)) } else { Err(PodUidError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for PodUid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An address in the probe set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// The address
    pub address: IpAddr,
    /// The UID of the pod that has it; any comment, or none, if another program has put it there
    pub pod_uid: Option<Box<str>>,
}

/// The outcome of [`remove`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// How many addresses were removed
    pub removed: usize,
    /// Addresses that are another pod's, and stay
    pub others: Vec<Probe>,
}

/// What [`sync`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// How many addresses are new
    pub added: usize,
    /// How many addresses have become another pod's
    pub changed: usize,
    /// How many addresses are gone
    pub removed: usize,
    /// The transaction; `None` if nothing differed
    pub commit: Option<Commit>,
}

/// Why the probe set was not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbesError {
    /// There is no set for addresses of this family
    #[error("the set {set} of inet {NAT_TABLE} does not exist")]
    NoSet {
        /// The set's name
        set: &'static str,
    },
    /// There is a set of that name which is not for addresses
    #[error("the set {set} of inet {NAT_TABLE} is of another kind")]
    OtherKind {
        /// The set's name
        set: &'static str,
    },
    /// A rule uses a set that should go
    #[error("cannot remove the probe set: {}: the host rules look addresses up in it", Errno::EBUSY)]
    InUse,
    /// The kernel answered EPERM
    #[error("cannot read or change the probe set: {}", Errno::EPERM)]
    NotPermitted,
    /// The set could not be read or changed
    #[error("cannot read or change the probe set: {0}")]
    Netlink(nftwire::Error),
}

impl From<nftwire::Error> for ProbesError {
    fn from(error: nftwire::Error) -> Self {
        match &error {
            nftwire::Error::Refused(refusal) if refusal.errno == Errno::EPERM as i32 => Self::NotPermitted,
            nftwire::Error::Refused(refusal) if refusal.errno == Errno::EBUSY as i32 => Self::InUse,
            _ => Self::Netlink(error),
        }
    }
}

impl ProbesError {
    /// Whether an address is in the set already.
    fn is_duplicate(&self) -> bool {
        matches!(self, Self::Netlink(nftwire::Error::Refused(refusal)) if refusal.errno == Errno::EEXIST as i32)
    }
}

impl Explain for ProbesError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::NoSet { set } => {
                let remedy = Remedy::MakeProbeSets { ipv6: *set == PROBES_V6 };
                Explanation::of_errno(Errno::ENOENT as i32).at("set", *set).remedy(remedy)
            }
            Self::OtherKind { set } => Explanation::default().at("set", *set).remedy(Remedy::RemakeProbeSets),
            Self::InUse => Explanation::of_errno(Errno::EBUSY as i32).remedy(Remedy::RemoveHostRules),
            Self::NotPermitted => diagnostic::not_permitted(),
            Self::Netlink(error) => error.explanation(),
        }
    }
}

impl LostRace for ProbesError {
    fn is_lost_race(&self) -> bool {
        match self {
            // What goes is gone already: others were faster.
            Self::Netlink(nftwire::Error::Refused(refusal)) => refusal.errno == Errno::ENOENT as i32,
            Self::Netlink(error) => error.is_lost_race(),
            _ => false,
        }
    }
}

/// Adds addresses of a pod. One that is another pod's becomes this one's.
///
/// # Errors
/// See [`ProbesError`]; nothing was added.
pub fn add(nft: &mut Socket, addresses: &[IpAddr], pod_uid: PodUid<'_>) -> Result<(), ProbesError> {
    add_all(nft, addresses.iter().map(|&address| (address, pod_uid)).collect())
}

/// As [`add`], of several pods in one transaction. Of an address that is given twice the last one counts.
///
/// # Errors
/// See [`ProbesError`]; nothing was added.
pub fn add_all(nft: &mut Socket, mut probes: Vec<(IpAddr, PodUid<'_>)>) -> Result<(), ProbesError> {
    once_each(&mut probes);
    // Which addresses exist is not known here: that would be to read the whole set. They are new, most likely, and
    // whoever deletes nothing does not wait for an RCU grace period, some 20 ms, when its socket is closed.
    match change(nft, false, |held, change| change.create(held, &probes)) {
        Err(error) if error.is_duplicate() => {}
        created => return created,
    }
    let addresses: Vec<_> = probes.iter().map(|(address, _)| *address).collect();
    change(nft, false, |held, change| {
        // The kernel keeps the comment of an element that exists.
        change.add(held, &probes)?;
        change.remove(&addresses);
        change.add(held, &probes)
    })
}

/// In order, and each address once: with the last owner that it is given.
fn once_each(probes: &mut Vec<(IpAddr, PodUid<'_>)>) {
    probes.sort_by_key(|(address, _)| *address);
    probes.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            *earlier = *later;
        }
        same
    });
}

/// Removes addresses; with a pod's UID only those that are the pod's. One that does not exist is not an error.
///
/// # Errors
/// See [`ProbesError`]; nothing was removed.
pub fn remove(
    nft: &mut Socket,
    addresses: &[IpAddr],
    pod_uid: Option<PodUid<'_>>,
) -> Result<Removal, ProbesError> {
    let desired: BTreeSet<_> = addresses.iter().copied().collect();
    change(nft, true, |held, change| {
        let there = held.probes().filter(|probe| desired.contains(&probe.address));
        let (own, others): (Vec<_>, Vec<_>) = there.cloned().partition(|probe| match pod_uid {
            Some(pod) => probe.pod_uid.as_deref() == Some(pod.as_str()),
            None => true,
        });
        change.remove(own.iter().map(|probe| &probe.address));
        Ok(Removal { removed: own.len(), others })
    })
}

/// Removes all addresses of a pod; returns how many.
///
/// # Errors
/// See [`ProbesError`]; nothing was removed.
pub fn remove_pod(nft: &mut Socket, pod_uid: PodUid<'_>) -> Result<usize, ProbesError> {
    change(nft, true, |held, change| {
        let own = held.probes().filter(|probe| probe.pod_uid.as_deref() == Some(pod_uid.as_str()));
        let own: Vec<_> = own.map(|probe| probe.address).collect();
        change.remove(&own);
        Ok(own.len())
    })
}

/// The addresses, in order, IPv4 first. None where there is no set.
///
/// # Errors
/// See [`ProbesError`].
pub fn list(nft: &mut Socket) -> Result<Vec<Probe>, ProbesError> {
    let (_, held) = Held::read(nft, true)?;
    Ok(held.into_probes())
}

/// Removes all addresses. The sets stay.
///
/// # Errors
/// See [`ProbesError`].
pub fn flush(nft: &mut Socket) -> Result<(), ProbesError> {
    change(nft, false, |held, change| {
        change.flush(held);
        Ok(())
    })
}

/// Removes the sets, and their table if nothing else is in it. What no longer exists is skipped.
///
/// # Errors
/// See [`ProbesError`], [`ProbesError::InUse`] above all.
pub fn destroy(nft: &mut Socket) -> Result<(), ProbesError> {
    change(nft, false, |held, change| {
        change.destroy(held);
        Ok(())
    })
}

/// Makes the probe set hold these addresses and no others, by the differences alone. Of an address that is given twice
/// the last one counts.
///
/// # Errors
/// See [`ProbesError`]; nothing was changed.
pub fn sync(nft: &mut Socket, mut desired: Vec<(IpAddr, PodUid<'_>)>) -> Result<Synced, ProbesError> {
    once_each(&mut desired);
    let (mut synced, commit) = change_and_commit(nft, true, |held, change| {
        let differences = Differences::new(held, &desired);
        change.remove(&differences.gone);
        change.add(held, differences.come.iter().copied())?;
        Ok(differences.counts)
    })?;
    synced.commit = commit;
    if commit.is_some() && !holds(nft, &desired)? {
        let (_, again) = change_and_commit(nft, false, |held, change| {
            change.flush(held);
            change.add(held, &desired)
        })?;
        synced.commit = again.or(commit);
    }
    Ok(synced)
}

/// Whether the probe set holds these addresses and no others.
fn holds(nft: &mut Socket, desired: &[(IpAddr, PodUid<'_>)]) -> Result<bool, ProbesError> {
    let (_, held) = Held::read(nft, true)?;
    let differences = Differences::new(&held, desired);
    Ok(differences.gone.is_empty() && differences.come.is_empty())
}

/// The differences between the probe set and the desired one.
struct Differences<'a> {
    gone: Vec<IpAddr>,
    come: Vec<&'a (IpAddr, PodUid<'a>)>,
    counts: Synced,
}

impl<'a> Differences<'a> {
    /// `desired` is in order, each address once.
    fn new(held: &Held, desired: &'a [(IpAddr, PodUid<'a>)]) -> Self {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let mut counts = Synced { added: 0, changed: 0, removed: 0, commit: None };
        let mut there = held.probes().peekable();
        for probe in desired {
            let (address, pod_uid) = *probe;
            while let Some(probe) = there.next_if(|probe| probe.address < address) {
                counts.removed += 1;
                gone.push(probe.address);
            }
            match there.next_if(|probe| probe.address == address) {
                Some(probe) if probe.pod_uid.as_deref() == Some(pod_uid.as_str()) => continue,
                Some(_) => {
                    counts.changed += 1;
                    gone.push(address);
                }
                None => counts.added += 1,
            }
            come.push(probe);
        }
        let rest: Vec<_> = there.map(|probe| probe.address).collect();
        counts.removed += rest.len();
        gone.extend(rest);
        Self { gone, come, counts }
    }
}

#[cfg(test)]
mod tests;

//! The two sets as one: read together, changed together.

use std::net::IpAddr;

use nftwire::userdata::{comment, with_comment};
use nftwire::{Batch, Commit, Data, Dump, Element, ElementList, Error, Family, Socket};

use super::{PodUid, Probe, ProbesError};
use crate::mesh::istio::ambient::{HostInterception, NAT_TABLE, PROBES_V4, PROBES_V6};
use crate::retry::retry;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};

const SETS: [&str; 2] = [PROBES_V4, PROBES_V6];

/// How many elements are made before they are encoded: there may be a hundred thousand, and so many fit a message.
const AT_ONCE: usize = 600;

/// What exists.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// For each set whether it exists, and the addresses in it, in order
    sets: [Option<Vec<Probe>>; 2],
    table: bool,
    /// Whether the table has more than the sets
    more: bool,
}

/// A transaction in the making.
pub(super) struct Change {
    batch: Batch,
}

/// Computes a change and commits it, again and again while others are faster.
pub(super) fn change<T>(
    nft: &mut Socket,
    with_elements: bool,
    fill: impl FnMut(&Held, &mut Change) -> Result<T, ProbesError>,
) -> Result<T, ProbesError> {
    change_and_commit(nft, with_elements, fill).map(|(result, _)| result)
}

/// As [`change`]; returns what was committed, too, if there was anything.
pub(super) fn change_and_commit<T>(
    nft: &mut Socket,
    with_elements: bool,
    mut fill: impl FnMut(&Held, &mut Change) -> Result<T, ProbesError>,
) -> Result<(T, Option<Commit>), ProbesError> {
    retry(|| {
        let (generation, held) = Held::read(nft, with_elements)?;
        let mut change = Change { batch: Batch::new() };
        change.batch.require_generation(generation);
        let result = fill(&held, &mut change)?;
        if change.batch.is_empty() {
            return Ok((result, None));
        }
        let commit = nft.commit(&mut change.batch)?;
        Ok((result, Some(commit)))
    })
}

impl Held {
    /// What exists, and of which generation it is.
    pub(super) fn read(nft: &mut Socket, with_elements: bool) -> Result<(u32, Self), ProbesError> {
        let depth = if with_elements { Depth::NamedElements } else { Depth::Objects };
        let snapshot = Snapshot::read(nft, Scope::Table(Family::Inet, NAT_TABLE.into()), depth)?;
        let mut held = Self::default();
        let Some(table) = snapshot.tables().first() else { return Ok((snapshot.generation(), held)) };
        held.table = true;
        held.more = !table.chain_names().map_err(Error::from)?.is_empty();
        let owned = HostInterception::nothing().owned;
        let kinds = owned.kept_sets(Family::Inet, NAT_TABLE.into());
        for set in table.sets() {
            let place = SETS.iter().zip(&mut held.sets).find(|(name, _)| **name == set.head().name);
            match place {
                Some((_, place))
                    if kinds.iter().any(|kind| kind.name == set.head().name && kind.is_alike(set.head())) =>
                {
                    *place = Some(probes_in(set.elements())?);
                }
                Some((&set, _)) => return Err(ProbesError::OtherKind { set }),
                None => held.more = true,
            }
        }
        Ok((snapshot.generation(), held))
    }

    #[cfg(test)]
    pub(super) fn of(probes: Vec<Probe>) -> Self {
        Self { sets: [Some(probes), None], table: true, more: false }
    }

    /// The addresses in order, IPv4 first.
    pub(super) fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.sets.iter().flatten().flatten()
    }

    pub(super) fn into_probes(self) -> Vec<Probe> {
        self.sets.into_iter().flatten().flatten().collect()
    }

    /// The names of the sets that exist.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        SETS.into_iter().zip(&self.sets).filter_map(|(name, set)| set.is_some().then_some(name))
    }
}

fn probes_in(elements: &Dump) -> Result<Vec<Probe>, Error> {
    let mut probes = Vec::new();
    for list in elements.decode(ElementList::decode) {
        for element in list?.elements() {
            let element = element?;
            let bytes = element.key.as_bytes();
            let v4 = bytes.try_into().map(|octets: [u8; 4]| IpAddr::from(octets));
            let v6 = || bytes.try_into().map(|octets: [u8; 16]| IpAddr::from(octets));
            // The set's kind says how long its keys are.
            if let Ok(address) = v4.or_else(|_| v6()) {
                probes.push(Probe {
                    address,
                    pod_uid: comment(element.userdata).map(|uid| uid.to_string().into()),
                });
            }
        }
    }
    probes.sort_unstable_by_key(|probe| probe.address);
    Ok(probes)
}

impl Change {
    /// Adds addresses; those that exist keep their comments.
    pub(super) fn add<'p>(
        &mut self,
        held: &Held,
        probes: impl IntoIterator<Item = &'p (IpAddr, PodUid<'p>), IntoIter: Clone>,
    ) -> Result<(), ProbesError> {
        self.elements(held, probes, |batch, list, elements| batch.add_elements(list, elements))
    }

    /// Adds addresses; the kernel refuses all of it with EEXIST if one exists.
    pub(super) fn create<'p>(
        &mut self,
        held: &Held,
        probes: impl IntoIterator<Item = &'p (IpAddr, PodUid<'p>), IntoIter: Clone>,
    ) -> Result<(), ProbesError> {
        self.elements(held, probes, |batch, list, elements| batch.create_elements(list, elements))
    }

    fn elements<'p>(
        &mut self,
        held: &Held,
        probes: impl IntoIterator<Item = &'p (IpAddr, PodUid<'p>), IntoIter: Clone>,
        put: impl Fn(&mut Batch, &ElementList<'_>, Vec<Element<'_>>),
    ) -> Result<(), ProbesError> {
        let probes = probes.into_iter();
        for (set, (name, there)) in SETS.into_iter().zip(&held.sets).enumerate() {
            let mut of_set = probes.clone().filter(|(address, _)| set_of(*address) == set).peekable();
            if of_set.peek().is_some() && there.is_none() {
                return Err(ProbesError::NoSet { set: name });
            }
            let list = ElementList::new(Family::Inet, NAT_TABLE, name, 0);
            while of_set.peek().is_some() {
                let some: Vec<_> = of_set.by_ref().take(AT_ONCE).collect();
                // A pod's UID is never too long.
                let comments: Vec<_> =
                    some.iter().map(|(_, uid)| with_comment(uid.as_str()).unwrap_or_default()).collect();
                let elements = some.iter().zip(&comments);
                let elements = elements
                    .map(|((address, _), userdata)| Element { userdata, ..Element::new(key(*address)) });
                put(&mut self.batch, &list, elements.collect());
            }
        }
        Ok(())
    }

    /// Removes addresses, which exist.
    pub(super) fn remove<'i>(&mut self, addresses: impl IntoIterator<Item = &'i IpAddr, IntoIter: Clone>) {
        let addresses = addresses.into_iter();
        for (set, name) in SETS.into_iter().enumerate() {
            let elements = addresses.clone().filter(|address| set_of(**address) == set);
            let elements = elements.map(|address| Element::new(key(*address)));
            self.batch.del_elements(&ElementList::new(Family::Inet, NAT_TABLE, name, 0), elements);
        }
    }

    /// Empties the sets.
    pub(super) fn flush(&mut self, held: &Held) {
        for name in held.names() {
            self.batch.flush_set(Family::Inet, NAT_TABLE, name);
        }
    }

    /// Removes the sets, and the table if that is all it has.
    pub(super) fn destroy(&mut self, held: &Held) {
        if held.table && !held.more {
            self.batch.del_table(Family::Inet, NAT_TABLE);
            return;
        }
        for name in held.names() {
            self.batch.del_set(Family::Inet, NAT_TABLE, name);
        }
    }
}

/// The place in [`SETS`] of the set that the address belongs to.
fn set_of(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

fn key(address: IpAddr) -> Data {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => address.into(),
    }
}

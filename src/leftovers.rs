//! What iptables has left of Istio's or Linkerd's rules: they work beside ours, and before or after them as they like.
//!
//! Those of iptables-nft are in nf_tables, in tables that all its users share: the meshes' own chains, and jumps to them
//! from others. Those of legacy iptables cannot be read over netlink, and asking for them by a socket option would make
//! their tables; that there are such tables is all that can be known.

use std::fmt;

use nftwire::expr::Immediate;
use nftwire::{Batch, Error, Expr, Family, Name, Query, Reader, Socket, Text, Verdict};

use crate::mesh;
use crate::preflight::owners::of_legacy_iptables;
use crate::retry::retry;

/// The chains that a mesh has in one of the tables of iptables-nft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// [`Family::Ipv4`] or [`Family::Ipv6`]
    pub family: Family,
    /// The table
    pub table: Name,
    /// The chains' names, in the kernel's order
    pub chains: Vec<Name>,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chains: Vec<_> = self.chains.iter().map(Name::to_string).collect();
        write!(f, "table {} {} of iptables-nft: {}", self.family, self.table, chains.join(", "))
    }
}

/// The chains of Istio and Linkerd in the tables of iptables-nft.
///
/// # Errors
/// The chains cannot be read.
pub fn find(nft: &mut Socket) -> Result<Vec<Leftover>, Error> {
    if !has_tables_of_iptables(nft)? {
        return Ok(Vec::new());
    }
    nft.consistent(chains).map(|(_, leftovers)| leftovers)
}

/// Whether there is any table of a family of iptables-nft. In a new pod there is none, and this one dump says so: it is the
/// beginning of a list that gets shorter only at places after the first, so what is missing from it is not there.
fn has_tables_of_iptables(nft: &mut Socket) -> Result<bool, Error> {
    let mut found = false;
    let read = nft.dump(Family::Unspec, Query::Tables, |received| {
        for message in received.messages() {
            found |= is_of_iptables(message?.family);
        }
        Ok(received.into_buffer())
    });
    match read {
        // Somebody changes something.
        Err(Error::GenerationChanged) => Ok(true),
        read => read.map(|()| found),
    }
}

fn is_of_iptables(family: Family) -> bool {
    matches!(family, Family::Ipv4 | Family::Ipv6)
}

fn chains(reader: &mut Reader<'_>) -> Result<Vec<Leftover>, Error> {
    let mut leftovers: Vec<Leftover> = Vec::new();
    reader.chains(Family::Unspec, |chain| {
        if is_of_iptables(chain.family) && mesh::is_iptables_chain(chain.name.as_bytes()) {
            let name = Name::from(chain.name);
            let is_same = |found: &&mut Leftover| found.family == chain.family && chain.table == found.table;
            match leftovers.iter_mut().find(is_same) {
                Some(found) => found.chains.push(name),
                None => {
                    let table = Name::from(chain.table);
                    leftovers.push(Leftover { family: chain.family, table, chains: vec![name] });
                }
            }
        }
        Ok(())
    })?;
    Ok(leftovers)
}

/// Removes those chains and all jumps to them, as the meshes' own cleanup does; other rules and the tables stay. Returns
/// what it was.
///
/// # Errors
/// Reading failed, or the kernel refused it: all of it is there still.
pub fn remove(nft: &mut Socket) -> Result<Vec<Leftover>, Error> {
    if !has_tables_of_iptables(nft)? {
        return Ok(Vec::new());
    }
    retry(|| {
        let (generation, (leftovers, rules)) = nft.consistent(|reader| {
            let leftovers = chains(reader)?;
            let mut rules = Vec::new();
            for leftover in &leftovers {
                rules.push(rules_of(reader, leftover)?);
            }
            Ok((leftovers, rules))
        })?;
        if leftovers.is_empty() {
            return Ok(leftovers);
        }
        let mut batch = Batch::new();
        batch.require_generation(generation);
        for (Leftover { family, table, chains }, rules) in leftovers.iter().zip(&rules) {
            for (chain, handle) in rules {
                batch.del_rule(*family, table, chain, *handle);
            }
            for chain in chains {
                batch.del_chain(*family, table, chain);
            }
        }
        nft.commit(&mut batch)?;
        Ok(leftovers)
    })
}

/// The rules of the chains, and those that lead to one of them: their chains and handles.
fn rules_of(reader: &mut Reader<'_>, leftover: &Leftover) -> Result<Vec<(Name, u64)>, Error> {
    let chains = &leftover.chains;
    let has = |name: Text<'_>| chains.iter().any(|chain| name == *chain);
    let mut rules = Vec::new();
    reader.rules(leftover.family, &leftover.table, |rule| {
        let mut leads_there = has(rule.chain);
        for expression in rule.expressions() {
            if let Expr::Immediate(Immediate::Verdict(Verdict::Jump(to) | Verdict::Goto(to))) = expression? {
                leads_there |= has(to);
            }
        }
        if leads_there {
            rules.push((Name::from(rule.chain), rule.handle));
        }
        Ok(())
    })?;
    Ok(rules)
}

/// The tables of legacy iptables that are in use in the thread's network namespace, as `ip nat`: a mesh's rules may be in
/// them, which nothing but legacy iptables itself can show.
#[must_use]
pub fn legacy_tables() -> Vec<String> {
    of_legacy_iptables().unwrap_or_default()
}

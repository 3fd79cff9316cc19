//! What iptables has left of Istio's or Linkerd's rules: they work next to ours, and before or after them as they like.
//!
//! Those of iptables-nft are in nf_tables, in tables that all its users share: the meshes' own chains, and jumps to them
//! from others. Those of legacy iptables cannot be read over netlink, and asking for them by a socket option would make
//! their tables; that there are such tables is all that can be known.

mod tproxy;

use std::fmt;

use nft_ruleset::nft::decompile::{Decompiler, Sets};
use nftwire::expr::{Counter, Immediate};
use nftwire::{
    Batch, Chain, DecodeError, Error, Expr, Family, Name, Query, Reader, Record, Rule, Socket, Text, Verdict,
};

use crate::mesh;
use crate::migrate::settings;
use crate::preflight::owners::of_a_mesh_by_legacy_iptables;
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
/// beginning of a list that gets shorter only at places after the first, so what is missing from it does not exist.
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

pub(crate) fn is_of_iptables(family: Family) -> bool {
    matches!(family, Family::Ipv4 | Family::Ipv6)
}

/// Those among chains that were read.
///
/// # Errors
/// A record is not what the protocol says.
pub(crate) fn among(chains: &[Record]) -> Result<Vec<Leftover>, Error> {
    let mut leftovers = Vec::new();
    for record in chains {
        add(&mut leftovers, &Chain::decode(&record.message()?)?);
    }
    Ok(leftovers)
}

fn chains(reader: &mut Reader<'_>) -> Result<Vec<Leftover>, Error> {
    let mut leftovers = Vec::new();
    reader.chains(Family::Unspec, |chain| {
        add(&mut leftovers, &chain);
        Ok(())
    })?;
    Ok(leftovers)
}

fn add(leftovers: &mut Vec<Leftover>, chain: &Chain<'_>) {
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
}

/// A rule of a mesh in a table of iptables-nft: in one of its chains, or in a chain of iptables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftoverRule<T = Meaning> {
    /// Its chain
    pub(crate) chain: Name,
    /// Its number in the chain, from 1
    pub(crate) number: usize,
    /// The kernel's handle
    pub(crate) handle: u64,
    /// What else is read of it
    pub(crate) meaning: T,
}

/// What a rule says, and what another ruleset has to have in common with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// As nft shows it
    pub(crate) text: String,
    /// What it has counted
    pub(crate) counter: Option<Counter>,
    /// The packet and connection marks that it sets
    pub(crate) marks: Vec<u32>,
    /// The zones of connection tracking that it sets
    pub(crate) zones: Vec<u32>,
}

/// What iptables has left, with its rules.
pub(crate) type Leftovers<T = Meaning> = Vec<(Leftover, Vec<LeftoverRule<T>>)>;

/// All of it, and the generation that it is of.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(nft: &mut Socket) -> Result<(u32, Leftovers), Error> {
    let sets = Sets::new();
    read_with(nft, |rule, expressions| {
        let model = Decompiler::new(rule.family, &sets).rule(rule)?;
        let (mut marks, mut zones) = settings::of_rule(&model);
        settings::of_targets(expressions, &mut marks, &mut zones);
        let counter = expressions.iter().find_map(|expression| match expression {
            Expr::Counter(counter) => Some(*counter),
            _ => None,
        });
        Ok(Meaning { text: model.to_string(), counter, marks, zones })
    })
}

/// All of it, with what `meaning` makes of each rule.
fn read_with<T>(
    nft: &mut Socket,
    mut meaning: impl FnMut(&Rule<'_>, &[Expr<'_>]) -> Result<T, DecodeError>,
) -> Result<(u32, Leftovers<T>), Error> {
    nft.consistent(|reader| {
        let leftovers = chains(reader)?.into_iter();
        leftovers
            .map(|leftover| {
                let rules = rules_of(reader, &leftover, &mut meaning)?;
                Ok((leftover, rules))
            })
            .collect()
    })
}

/// A batch that removes what was read, if the ruleset is still of this generation.
pub(crate) fn removal<T>(generation: u32, leftovers: &Leftovers<T>) -> Batch {
    let mut batch = Batch::new();
    batch.require_generation(generation);
    for (Leftover { family, table, chains }, rules) in leftovers {
        for rule in rules {
            batch.del_rule(*family, table, &rule.chain, rule.handle);
        }
        for chain in chains {
            batch.del_chain(*family, table, chain);
        }
    }
    batch
}

/// Removes those chains, all jumps to them, and what else Istio's command adds to chains of iptables, as the meshes' own
/// cleanup does; other rules and the tables stay. Returns what it was.
///
/// # Errors
/// Reading failed, or the kernel refused it: all of it still exists.
pub fn remove(nft: &mut Socket) -> Result<Vec<Leftover>, Error> {
    if !has_tables_of_iptables(nft)? {
        return Ok(Vec::new());
    }
    let leftovers = retry(|| {
        // Nobody reads what goes: a build for init containers does without what shows any rule as text.
        let (generation, leftovers) = read_with(nft, |_, _| Ok(()))?;
        if !leftovers.is_empty() {
            nft.commit(&mut removal(generation, &leftovers))?;
        }
        Ok::<_, Error>(leftovers)
    })?;
    Ok(leftovers.into_iter().map(|(leftover, _)| leftover).collect())
}

/// The rules of the chains, those that lead to one of them, and Istio's in other chains.
fn rules_of<T>(
    reader: &mut Reader<'_>,
    leftover: &Leftover,
    meaning: &mut impl FnMut(&Rule<'_>, &[Expr<'_>]) -> Result<T, DecodeError>,
) -> Result<Vec<LeftoverRule<T>>, Error> {
    let chains = &leftover.chains;
    let has = |name: Text<'_>| chains.iter().any(|chain| name == *chain);
    // With TPROXY Istio puts some rules into the chains of iptables themselves; its mark distinguishes them from those of others.
    let marks = if chains.iter().any(|chain| *chain == "ISTIO_TPROXY") {
        marks_of_tproxy(reader, leftover)?
    } else {
        Vec::new()
    };
    let mut rules = Vec::new();
    let mut place: (Name, usize) = Default::default();
    reader.rules(leftover.family, Some((&leftover.table).into()), |rule| {
        place.1 = if place.0 == rule.chain { place.1 + 1 } else { 1 };
        place.0 = rule.chain.to_name();
        let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
        let leads_there = expressions.iter().any(|expression| match expression {
            Expr::Immediate(Immediate::Verdict(Verdict::Jump(to) | Verdict::Goto(to))) => has(*to),
            _ => false,
        });
        if leads_there
            || has(rule.chain)
            || marks.iter().any(|mark| tproxy::is_of_tproxy(&expressions, *mark))
        {
            rules.push(LeftoverRule {
                chain: rule.chain.to_name(),
                number: place.1,
                handle: rule.handle,
                meaning: meaning(&rule, &expressions)?,
            });
        }
        Ok(())
    })?;
    Ok(rules)
}

/// The marks that the rules of the chains set.
fn marks_of_tproxy(reader: &mut Reader<'_>, leftover: &Leftover) -> Result<Vec<u32>, Error> {
    let mut marks = Vec::new();
    reader.rules(leftover.family, Some((&leftover.table).into()), |rule| {
        if leftover.chains.iter().any(|chain| rule.chain == *chain) {
            let expressions: Vec<_> = rule.expressions().collect::<Result<_, _>>()?;
            settings::of_targets(&expressions, &mut marks, &mut Vec::new());
        }
        Ok(())
    })?;
    Ok(marks)
}

/// The tables of legacy iptables that are in use in the thread's network namespace, as `ip nat`: a mesh's rules may be in
/// them, which nothing but legacy iptables itself can show. None where only IPv6 has some, as a mesh has rules in IPv4.
#[must_use]
pub fn legacy_tables() -> Vec<String> {
    of_a_mesh_by_legacy_iptables().unwrap_or_default()
}

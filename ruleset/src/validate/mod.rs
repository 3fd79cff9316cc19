//! What a ruleset must be, beyond what the types say.
//!
//! The kernel does not look at all of this: since per-table validation (6.12) an uncommitted batch is not searched
//! for loops, nor are statements compared with the hooks from which they can be reached, in tables that are new.
//! And where it does look, its answer names no rule. So every ruleset is looked at here before it is sent.

mod compiled;
mod fault;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeSet;

use nftwire::uapi;

pub use self::fault::{Fault, Invalid, RuleLocation};
use self::walk::Walk;
use crate::{Chain, ChainKind, Hook, Name, Ruleset, Table};

/// Where nat chains can be (`hook_mask` in net/netfilter/nft_chain_nat.c, Linux 6.12).
const NAT_HOOKS: [Hook; 4] = [Hook::PreRouting, Hook::LocalIn, Hook::LocalOut, Hook::PostRouting];

/// Looks at the whole ruleset.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(ruleset: &Ruleset) -> Result<(), Invalid> {
    structure(ruleset)?;
    ruleset.tables.iter().try_for_each(compiled::table)
}

/// Looks at all but what can be compiled: names, what they refer to, jumps, and where statements are allowed. What cannot be
/// compiled is found where a [transaction](crate::plan::Plan::transaction) is made as well, but only [`validate`] says where it is.
///
/// # Errors
/// The first thing that is wrong.
pub fn structure(ruleset: &Ruleset) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for table in &ruleset.tables {
        let fail = |fault| Err(Invalid { location: table.to_string(), fault });
        if !is_name(&table.name) {
            return fail(Fault::Name(table.name.clone()));
        }
        if !names.insert((table.family, &table.name)) {
            return fail(Fault::Duplicate);
        }
        if table.flags & (uapi::NFT_TABLE_F_OWNER | uapi::NFT_TABLE_F_PERSIST) == uapi::NFT_TABLE_F_OWNER {
            return fail(Fault::Owned);
        }
        validate_table(table)?;
    }
    Ok(())
}

fn validate_table(table: &Table) -> Result<(), Invalid> {
    let sets = validate_sets(table)?;
    validate_objects(table)?;
    for chain in &table.chains {
        let fail = |fault| Err(Invalid { location: location(table, chain, None), fault });
        if !is_name(&chain.name) {
            return fail(Fault::Name(chain.name.clone()));
        }
        if let Some(base) = &chain.base {
            // NF_IP_PRI_CONNTRACK (nf_tables_api.c, nft_chain_parse_hook)
            if base.kind == ChainKind::Nat && base.priority <= -200 {
                return fail(Fault::NatPriority(base.priority));
            }
            let wrong = match base.kind {
                ChainKind::Filter => false,
                ChainKind::Nat => !NAT_HOOKS.contains(&base.hook),
                ChainKind::Route => base.hook != Hook::LocalOut,
            };
            if wrong {
                return fail(Fault::Hook {
                    kind: base.kind.name(),
                    hook: crate::nft::print::hook_name(table.family, base.hook),
                });
            }
        }
    }
    Walk::new(table, sets)?.all()
}

/// Returns their names.
fn validate_sets(table: &Table) -> Result<BTreeSet<&Name>, Invalid> {
    let mut names = BTreeSet::new();
    for set in &table.sets {
        let fail = |fault| Err(Invalid { location: format!("set {} in {table}", set.name), fault });
        if !is_name(&set.name) {
            return fail(Fault::Name(set.name.clone()));
        }
        if !names.insert(&set.name) {
            return fail(Fault::Duplicate);
        }
    }
    Ok(names)
}

/// Objects, of which each kind has names of its own, and flowtables.
fn validate_objects(table: &Table) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for object in &table.objects {
        let kind = object.data.kind();
        let fail = |fault| {
            let location = format!("{} {} in {table}", kind.name(), object.name);
            Err(Invalid { location, fault })
        };
        if !is_name(&object.name) {
            return fail(Fault::Name(object.name.clone()));
        }
        if !names.insert((kind.number(), &object.name)) {
            return fail(Fault::Duplicate);
        }
    }
    let mut names = BTreeSet::new();
    for flowtable in &table.flowtables {
        let fail =
            |fault| Err(Invalid { location: format!("flowtable {} in {table}", flowtable.name), fault });
        if !is_name(&flowtable.name) {
            return fail(Fault::Name(flowtable.name.clone()));
        }
        if !names.insert(&flowtable.name) {
            return fail(Fault::Duplicate);
        }
    }
    Ok(())
}

/// What nft's grammar takes as a name (nftables, src/scanner.l, `string`), and no longer than the kernel takes.
fn is_name(name: &Name) -> bool {
    let start = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let bytes = name.as_bytes();
    bytes.len() < uapi::NFT_NAME_MAXLEN
        && bytes.first().is_some_and(start)
        && bytes.iter().all(|byte| start(byte) || byte.is_ascii_digit() || b"/.-".contains(byte))
}

fn location(table: &Table, chain: &Chain, rule: Option<usize>) -> String {
    RuleLocation { family: table.family, table: &table.name, chain: &chain.name, rule }.to_string()
}

//! Making the kernel hold a ruleset without reading the rules it holds: one batch that is right whatever is there.
//!
//! Base chains stay. A packet reads the ruleset's generation once for each base chain that it crosses, so with
//! kept base chains it sees each one all old or all new. A base chain that is deleted and added again in one batch
//! is registered twice for a moment: a packet passes the new one while that is still empty, and then finds that the
//! old one accepts everything (`nf_remove_net_hook` in net/netfilter/core.c). So the batch flushes the rules and adds the new ones to the chains that stay; a name that
//! is not wanted is added, which does nothing where it is there, and deleted (`NFT_MSG_DESTROY*` needs 6.3).

use super::compile::NotCompiled;
use super::transaction::Transaction;
use super::{Ruleset, Table};

/// The transaction that adds `wanted` where no table of its layout is there.
///
/// It deletes nothing, and that makes it fast: after a deletion the kernel lets the socket's close wait for a grace
/// period of RCU (`nft_rcv_nl_event` in net/netfilter/nf_tables_api.c), some 15 ms. It is refused when the ruleset is
/// not of this generation any more.
///
/// # Errors
/// A rule has something that only can be shown.
pub fn add(wanted: &Ruleset, generation: u32) -> Result<Transaction<'_>, NotCompiled> {
    let mut transaction = Transaction::for_generation(wanted, generation);
    for (table, content) in wanted.tables.iter().enumerate() {
        transaction.add_table(table);
        for chain in 0..content.chains.len() {
            transaction.add_chain(table, chain);
        }
        transaction.add_rules(table)?;
    }
    Ok(transaction)
}

/// The transaction after which the tables of `layout` hold what `wanted` says, and nothing else under the names of
/// the layout's chains.
///
/// `layout` has every table and chain that some settings of the profile need, empty.
///
/// It is refused where a chain of a wanted name is another kind of chain (no base chain, or of another type, hook or
/// priority), and where something foreign needs a chain that goes: then what is there has to be read, see
/// [`super::update`].
///
/// # Errors
/// A rule has something that only can be shown.
pub fn replace<'a>(layout: &Ruleset, wanted: &'a Ruleset) -> Result<Transaction<'a>, NotCompiled> {
    let mut transaction = Transaction::new(wanted);
    for owned in &layout.tables {
        match wanted.tables.iter().position(|table| table.is_same_table(owned)) {
            Some(index) => replace_table(&mut transaction, owned, wanted, index)?,
            None => transaction.remove(|batch| {
                batch.add_table(&nftwire::Table::new(owned.family, &owned.name));
                batch.del_table(owned.family, &owned.name);
            }),
        }
    }
    Ok(transaction)
}

fn replace_table(
    transaction: &mut Transaction<'_>,
    owned: &Table,
    wanted: &Ruleset,
    table: usize,
) -> Result<(), NotCompiled> {
    let chains = &wanted.tables[table].chains;
    let (family, name) = (owned.family, owned.name.as_str());
    transaction.add_table(table);
    for (index, _) in chains.iter().enumerate().filter(|(_, chain)| chain.base.is_some()) {
        transaction.add_chain(table, index);
    }
    transaction.remove(|batch| batch.flush_table(family, name));
    for unwanted in owned.chains.iter().filter(|owned| !chains.iter().any(|chain| chain.name == owned.name)) {
        transaction.remove(|batch| {
            batch.add_chain(&nftwire::Chain::new(family, name, &unwanted.name));
            batch.del_chain(family, name, &unwanted.name);
        });
    }
    for (index, _) in chains.iter().enumerate().filter(|(_, chain)| chain.base.is_none()) {
        transaction.add_chain(table, index);
    }
    transaction.add_rules(table)
}

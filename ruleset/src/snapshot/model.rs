//! Tables and chains as they were received, without what they hold.

use nftwire::expr::Counter;
use nftwire::userdata;

use crate::nft::decompile;
use crate::{BaseChain, Chain, ChainKind, Policy, Table, Userdata, statement};

/// A table without what it holds.
#[must_use]
pub fn table(table: &nftwire::Table<'_>) -> Table {
    Table {
        handle: table.handle,
        flags: table.flags.0,
        comment: userdata::comment(table.userdata).map(Into::into),
        userdata: Userdata::read(table.userdata),
        ..Table::new(table.family, table.name)
    }
}

/// A chain without its rules.
#[must_use]
pub fn chain(chain: &nftwire::Chain<'_>) -> Chain {
    let base = chain.base.and_then(|base| {
        Some(BaseChain {
            kind: ChainKind::from_name(base.kind)?,
            hook: base.hook,
            priority: base.priority,
            policy: base.policy.unwrap_or(Policy::Accept),
        })
    });
    // The kernel lists them in the order in which they were added.
    let mut devices: Vec<_> = chain.devices.iter().map(decompile::device).collect();
    devices.sort_unstable();
    Chain {
        name: chain.name.into(),
        handle: chain.handle,
        comment: userdata::comment(chain.userdata).map(Into::into),
        userdata: Userdata::read(chain.userdata),
        flags: chain.flags.0 & !nftwire::ChainFlags::BINDING.0,
        policy_counter: chain
            .counters
            .map(|Counter { packets, bytes }| statement::Counter { packets, bytes }),
        base,
        devices,
        rules: Vec::new(),
    }
}

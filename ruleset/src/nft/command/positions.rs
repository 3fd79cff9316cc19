//! The rules of chains in which commands count rules (`index`): those of the kernel, and those of the batch before.

use std::collections::HashMap;

use nftwire::{BatchPosition, Error, Family, Position, Query, Socket};

use crate::nft::parse::syntax::{Command, CommandKind, RulePosition};

/// A rule of such a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// One that the kernel holds
    Handle(u64),
    /// One that the batch adds
    Id(u32),
}

type Key = (Family, crate::Name, crate::Name);

/// The chains in which rules are counted.
#[derive(Debug, Default)]
pub(super) struct Positions {
    chains: HashMap<Key, Option<Vec<Slot>>>,
    next_id: u32,
}

impl Positions {
    /// Which chains that will be is known from the start, so that no rule of the batch is missed.
    pub(super) fn new(commands: &[Command]) -> Self {
        let mut chains = HashMap::new();
        for command in commands {
            if let CommandKind::AddRule { chain, position, .. } = &command.kind
                && matches!(position, RulePosition::AfterIndex(..) | RulePosition::BeforeIndex(..))
            {
                let key = (chain.table.family, (&chain.table.name.text).into(), (&chain.name.text).into());
                chains.insert(key, None);
            }
        }
        Self { chains, next_id: 1 }
    }

    /// Where the kernel is to put a rule, and the number by which others of the batch name it, where they may.
    /// `Ok(None)` where no rule has that index.
    pub(super) fn place(
        &mut self,
        socket: &mut Socket,
        family: Family,
        table: crate::Text<'_>,
        chain: crate::Text<'_>,
        position: RulePosition,
    ) -> Result<Option<(BatchPosition, Option<u32>)>, Error> {
        let plain = |position| Ok(Some((BatchPosition::Kernel(position), None)));
        let slots = match self.chains.is_empty() {
            true => None,
            false => self.chains.get_mut(&(family, table.into(), chain.into())),
        };
        let Some(slots) = slots else {
            return plain(match position {
                RulePosition::Append | RulePosition::AfterIndex(..) => Position::Append,
                RulePosition::Prepend | RulePosition::BeforeIndex(..) => Position::Prepend,
                RulePosition::AfterHandle(handle, _) => Position::After(handle),
                RulePosition::BeforeHandle(handle, _) => Position::Before(handle),
                RulePosition::Replace(handle, _) => Position::Replace(handle),
            });
        };
        let slots = match slots {
            Some(slots) => slots,
            None => slots.insert(read(socket, family, table, chain)?),
        };
        let id = self.next_id;
        self.next_id += 1;
        let find = |handle: u64| slots.iter().position(|slot| *slot == Slot::Handle(handle));
        let (at, position) = match position {
            RulePosition::Append => (slots.len(), BatchPosition::Kernel(Position::Append)),
            RulePosition::Prepend => (0, BatchPosition::Kernel(Position::Prepend)),
            RulePosition::AfterHandle(handle, _) => (
                find(handle).map_or(slots.len(), |at| at + 1),
                BatchPosition::Kernel(Position::After(handle)),
            ),
            RulePosition::BeforeHandle(handle, _) => {
                (find(handle).unwrap_or(0), BatchPosition::Kernel(Position::Before(handle)))
            }
            RulePosition::Replace(handle, _) => {
                if let Some(at) = find(handle) {
                    slots[at] = Slot::Id(id);
                }
                return Ok(Some((BatchPosition::Kernel(Position::Replace(handle)), Some(id))));
            }
            RulePosition::AfterIndex(index, _) | RulePosition::BeforeIndex(index, _) => {
                let after = matches!(position, RulePosition::AfterIndex(..));
                let Some((at, slot)) = usize::try_from(index).ok().and_then(|at| Some((at, *slots.get(at)?)))
                else {
                    return Ok(None);
                };
                let position = match (slot, after) {
                    (Slot::Handle(handle), true) => BatchPosition::Kernel(Position::After(handle)),
                    (Slot::Handle(handle), false) => BatchPosition::Kernel(Position::Before(handle)),
                    (Slot::Id(id), true) => BatchPosition::After(id),
                    (Slot::Id(id), false) => BatchPosition::Before(id),
                };
                (if after { at + 1 } else { at }, position)
            }
        };
        slots.insert(at, Slot::Id(id));
        Ok(Some((position, Some(id))))
    }

    /// A rule goes.
    pub(super) fn delete(
        &mut self,
        socket: &mut Socket,
        family: Family,
        table: crate::Text<'_>,
        chain: crate::Text<'_>,
        handle: u64,
    ) -> Result<(), Error> {
        let key = (family, table.into(), chain.into());
        let Some(slots) = self.chains.get_mut(&key) else { return Ok(()) };
        let slots = match slots {
            Some(slots) => slots,
            None => slots.insert(read(socket, family, table, chain)?),
        };
        slots.retain(|slot| *slot != Slot::Handle(handle));
        Ok(())
    }

    /// All rules go: of a family or of all, of a table, of a chain.
    pub(super) fn flush(
        &mut self,
        family: Family,
        table: Option<crate::Text<'_>>,
        chain: Option<crate::Text<'_>>,
    ) {
        for ((of_family, of_table, of_chain), slots) in &mut self.chains {
            let same = (family == Family::Unspec || *of_family == family)
                && table.is_none_or(|table| *of_table == table)
                && chain.is_none_or(|chain| *of_chain == chain);
            if same {
                *slots = Some(Vec::new());
            }
        }
    }
}

/// The handles of a chain's rules in their order; none where there is no such chain.
fn read(
    socket: &mut Socket,
    family: Family,
    table: crate::Text<'_>,
    chain: crate::Text<'_>,
) -> Result<Vec<Slot>, Error> {
    let mut slots = Vec::new();
    let query = Query::Rules { table: Some(table), chain: Some(chain) };
    socket.dump(family, query, |datagram| {
        for message in datagram.messages() {
            slots.push(Slot::Handle(nftwire::Rule::decode(&message?)?.handle));
        }
        Ok(datagram.into_buffer())
    })?;
    Ok(slots)
}

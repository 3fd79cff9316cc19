//! The ranges that sets have where a command of a text changes them: those of the kernel, as what comes before in the text
//! has left them.

use std::collections::HashMap;

use nftwire::{Error, Family, Socket};

use super::interval::{Existing, needs_existing};
use crate::nft::parse::syntax::{Command, CommandKind, Deletion, ItemSpec};
use crate::{Name, Set, Text};

type Key = (Family, Name, Name);

/// The ranges of the sets of a text.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// How many commands of the text change the elements of a set
    commands: HashMap<Key, usize>,
    /// Sets that several commands change, after those so far
    sets: HashMap<Key, Existing>,
    /// Sets that were flushed, and sets and tables that were deleted; `None` for all
    emptied: Vec<(Family, Option<Name>, Option<Name>)>,
}

impl Ranges {
    pub(super) fn new(commands: &[Command]) -> Self {
        let mut ranges = Self::default();
        let mut count = |family, table: &str, set: &str| {
            *ranges.commands.entry((family, table.into(), set.into())).or_default() += 1;
        };
        let mut count_item =
            |item: &ItemSpec| count(item.table.family, &item.table.name.text, &item.name.text);
        for command in commands {
            match &command.kind {
                CommandKind::AddSet(_, item, _)
                | CommandKind::AddElements(_, item, _)
                | CommandKind::Delete { what: Deletion::Elements(item, _), .. } => count_item(item),
                CommandKind::AddTable(_, table, Some(block)) => {
                    for (name, _) in &block.sets {
                        count_item(&ItemSpec { table: table.clone(), name: name.clone() });
                    }
                }
                _ => {}
            }
        }
        ranges
    }

    /// From here on a set has nothing; without its name all sets of a table, without the table's all of a family, and of
    /// all families for [`Family::Unspec`].
    pub(super) fn empty(&mut self, family: Family, table: Option<Text<'_>>, set: Option<Text<'_>>) {
        let emptied = (family, table.map(Into::into), set.map(Into::into));
        self.sets.retain(|key, _| !covers(&emptied, key));
        self.emptied.push(emptied);
    }

    /// What a set has; nothing where that does not matter.
    pub(super) fn of(
        &mut self,
        socket: &mut Socket,
        family: Family,
        table: Text<'_>,
        set: &Set,
    ) -> Result<Existing, Error> {
        if !needs_existing(set) {
            return Ok(Existing::default());
        }
        let key = (family, table.into(), set.name.clone());
        if let Some(existing) = self.sets.remove(&key) {
            return Ok(existing);
        }
        if self.emptied.iter().any(|emptied| covers(emptied, &key)) {
            return Ok(Existing::nothing());
        }
        Existing::read(socket, family, table, set)
    }

    /// Notes what a command does to a set, for the commands after it.
    pub(super) fn change(
        &mut self,
        family: Family,
        table: Text<'_>,
        set: &Set,
        existing: Existing,
        gone: Option<&Set>,
        added: Option<&Set>,
    ) {
        let key = (family, table.into(), set.name.clone());
        if needs_existing(set) && self.commands.get(&key).is_some_and(|commands| *commands > 1) {
            self.sets.insert(key, existing.changed(set, gone, added));
        }
    }
}

fn covers((family, table, set): &(Family, Option<Name>, Option<Name>), key: &Key) -> bool {
    (*family == Family::Unspec || *family == key.0)
        && table.as_ref().is_none_or(|table| *table == key.1)
        && set.as_ref().is_none_or(|set| *set == key.2)
}

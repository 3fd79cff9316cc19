//! Deletes, flushes and renames.

use nftwire::{Family, Reference, Removal, Socket, Version};

use super::{Change, DESTROY, Subject, failure, is_missing, of_table};
use crate::nft::compile::table as wire;
use crate::nft::parse::evaluate::Evaluator;
use crate::nft::parse::source::{Fault, Span};
use crate::nft::parse::syntax::{
    Command, CommandKind, Deletion, FlowtableBlock, Flush, ItemSpec, NameOrHandle,
};

impl Change {
    /// Deletes, flushes or renames.
    pub(in super::super) fn remove(
        &mut self,
        command: &Command,
        socket: &mut Socket,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<(), Fault> {
        let span = command.span;
        match &command.kind {
            CommandKind::Delete { destroy, what } => self.delete(span, *destroy, what, socket, evaluator),
            CommandKind::Flush(what) => self.flush(span, what, evaluator),
            CommandKind::RenameChain(chain, name) => {
                let (family, table) = (chain.table.family, crate::Text::from(&chain.table.name.text));
                let mut handle = 0;
                let read = socket.chain(family, table, (&chain.name.text).into(), |chain| {
                    handle = chain.handle;
                    Ok(())
                });
                read.map_err(|error| match is_missing(&error) {
                    true => Fault::new(chain.name.span, "No such file or directory"),
                    false => failure(chain.name.span, &error),
                })?;
                let subject = Subject { name: chain.name.span, ..of_table(span, &chain.table) };
                self.push(subject, |batch| batch.rename_chain(family, table, handle, &name.text));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self, span: Span, what: &Flush, evaluator: &mut Evaluator<'_>) -> Result<(), Fault> {
        match what {
            Flush::Ruleset(family) => {
                let family = family.unwrap_or(Family::Unspec);
                self.positions.flush(family, None, None);
                self.ranges.empty(family, None, None);
                let subject = Subject { command: span, table: span, name: span, position: span };
                self.push(subject, |batch| batch.flush_ruleset(family));
            }
            Flush::Table(table) => {
                let (family, name) = (table.family, &*table.name.text);
                self.positions.flush(family, Some(name.into()), None);
                self.push(of_table(span, table), |batch| batch.flush_table(family, name));
            }
            Flush::Chain(chain) => {
                let (family, table) = (chain.table.family, crate::Text::from(&chain.table.name.text));
                self.positions.flush(family, Some(table), Some((&chain.name.text).into()));
                let subject = Subject { name: chain.name.span, ..of_table(span, &chain.table) };
                self.push(subject, |batch| batch.flush_chain(family, table, &chain.name.text));
            }
            Flush::Set(kind, set) => {
                // To the kernel they are all sets.
                if !kind.is_of(&evaluator.set_of(set)?) {
                    return Err(Fault::new(set.name.span, "No such file or directory"));
                }
                let (family, table) = (set.table.family, &*set.table.name.text);
                self.ranges.empty(family, Some(table.into()), Some((&set.name.text).into()));
                let subject = Subject { name: set.name.span, ..of_table(span, &set.table) };
                self.push(subject, |batch| batch.flush_set(family, table, &set.name.text));
            }
        }
        Ok(())
    }

    fn delete(
        &mut self,
        span: Span,
        destroy: bool,
        what: &Deletion,
        socket: &mut Socket,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<(), Fault> {
        let (family, removal, subject) = match what {
            Deletion::Table(family, table) => {
                let name = span_of(table);
                (
                    *family,
                    Removal::Table(reference(table)),
                    Subject { command: span, table: name, name, position: name },
                )
            }
            Deletion::Chain(table, chain) => {
                let removal = Removal::Chain { table: (&table.name.text).into(), chain: reference(chain) };
                (
                    table.family,
                    removal,
                    Subject { name: span_of(chain), position: span_of(chain), ..of_table(span, table) },
                )
            }
            Deletion::Rule(chain, handle, name) => {
                let (family, table) = (chain.table.family, crate::Text::from(&chain.table.name.text));
                let (chain_name, handle) = (crate::Text::from(&chain.name.text), *handle);
                let deleted = self.positions.delete(socket, family, table, chain_name, handle);
                deleted.map_err(|error| failure(*name, &error))?;
                let removal = Removal::Rule { table, chain: chain_name, handle };
                (
                    family,
                    removal,
                    Subject { name: chain.name.span, position: *name, ..of_table(span, &chain.table) },
                )
            }
            Deletion::Set(table, set) => {
                let removal = Removal::Set { table: (&table.name.text).into(), set: reference(set) };
                (
                    table.family,
                    removal,
                    Subject { name: span_of(set), position: span_of(set), ..of_table(span, table) },
                )
            }
            Deletion::Object(kind, table, object) => {
                let kind = *kind;
                let removal =
                    Removal::Object { table: (&table.name.text).into(), kind, object: reference(object) };
                (
                    table.family,
                    removal,
                    Subject { name: span_of(object), position: span_of(object), ..of_table(span, table) },
                )
            }
            Deletion::Flowtable(table, flowtable) => {
                let removal =
                    Removal::Flowtable { table: (&table.name.text).into(), flowtable: reference(flowtable) };
                (
                    table.family,
                    removal,
                    Subject {
                        name: span_of(flowtable),
                        position: span_of(flowtable),
                        ..of_table(span, table)
                    },
                )
            }
            Deletion::FlowtableDevices(flowtable, block) => {
                return self.delete_devices(span, flowtable, block, evaluator);
            }
            Deletion::Elements(set, elements) => {
                let model = evaluator.elements_of(set, elements)?;
                let subject = Subject { name: set.name.span, ..of_table(span, &set.table) };
                return self.delete_elements(
                    subject,
                    set.table.family,
                    (&set.table.name.text).into(),
                    &model,
                    destroy,
                    socket,
                );
            }
        };
        match removal {
            Removal::Table(Reference::Name(table)) => self.ranges.empty(family, Some(table), None),
            Removal::Set { table, set: Reference::Name(set) } => {
                self.ranges.empty(family, Some(table), Some(set));
            }
            _ => {}
        }
        if !destroy {
            self.push(subject, |batch| batch.remove(family, removal));
        } else if Version::of_release(&nftwire::release()).is_none_or(|version| version >= DESTROY) {
            self.push(subject, |batch| batch.destroy(family, removal));
        } else {
            self.destroy_without_the_kernel(subject, family, removal, socket)?;
        }
        Ok(())
    }

    /// What kernels before 6.3 cannot do in one message: a table or a regular chain is added and deleted, and what else
    /// exists is deleted.
    fn destroy_without_the_kernel(
        &mut self,
        subject: Subject,
        family: Family,
        removal: Removal<'_>,
        socket: &mut Socket,
    ) -> Result<(), Fault> {
        match removal {
            Removal::Table(Reference::Name(name)) => {
                self.push(subject, |batch| batch.add_table(&nftwire::Table::new(family, name)));
            }
            Removal::Chain { table, chain: Reference::Name(name) } => {
                self.push(subject, |batch| batch.add_chain(&nftwire::Chain::new(family, table, name)));
            }
            Removal::Set { table, set: Reference::Name(name) } => {
                match socket.set(family, table, name, |_| Ok(())) {
                    Ok(()) => {}
                    Err(error) if is_missing(&error) => return Ok(()),
                    Err(error) => return Err(failure(subject.name, &error)),
                }
            }
            _ => {
                let message = format!("`destroy` needs Linux {DESTROY} for this kind of object");
                return Err(Fault::new(subject.command, message));
            }
        }
        self.push(subject, |batch| batch.remove(family, removal));
        Ok(())
    }

    fn delete_devices(
        &mut self,
        span: Span,
        flowtable: &ItemSpec,
        block: &FlowtableBlock,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<(), Fault> {
        let model = evaluator.flowtable_of(flowtable, block)?;
        let subject = Subject { name: flowtable.name.span, ..of_table(span, &flowtable.table) };
        let message = wire::flowtable(flowtable.table.family, (&flowtable.table.name.text).into(), &model);
        self.push(subject, |batch| batch.del_flowtable_devices(&message));
        Ok(())
    }
}

fn reference(name: &NameOrHandle) -> Reference<'_> {
    match name {
        NameOrHandle::Name(name) => Reference::Name((&name.text).into()),
        NameOrHandle::Handle(handle, _) => Reference::Handle(*handle),
    }
}

fn span_of(name: &NameOrHandle) -> Span {
    match name {
        NameOrHandle::Name(name) => name.span,
        NameOrHandle::Handle(_, span) => *span,
    }
}

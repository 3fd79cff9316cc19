//! Adds and deletes elements.

use nftwire::{ElementList, Family, Socket, Version};

use super::super::interval::{self, Conflict, Existing, Plan};
use super::super::location::{Location, Which};
use super::{Change, DESTROY, Subject, compiled, failure};
use crate::Set;
use crate::nft::compile::SetKey;
use crate::nft::parse::source::Fault;

impl Change {
    pub(super) fn add_elements(
        &mut self,
        subject: Subject,
        family: Family,
        table: crate::Text<'_>,
        set: &Set,
        create: bool,
        socket: &mut Socket,
    ) -> Result<(), Fault> {
        let existing = self.existing(subject, (family, table), set, socket)?;
        let plan = existing.add(set).map_err(|conflict| self.conflict(subject, conflict))?;
        let list = ElementList::new(family, table, &set.name, 0);
        if let Some(gone) = &plan.gone {
            let gone = compiled(subject, gone)?;
            let keys = interval::without_start(&gone.keys);
            self.push(subject, |batch| batch.del_elements(&list, keys.iter().map(SetKey::element)));
        }
        let added = compiled(subject, &plan.added)?;
        let keys = if plan.starts { &added.keys[..] } else { interval::without_start(&added.keys) };
        let elements = keys.iter().map(SetKey::element);
        self.push(subject, |batch| match create {
            true => batch.create_elements(&list, elements),
            false => batch.add_elements(&list, elements),
        });
        let Plan { gone, added, .. } = plan;
        // The kernel cannot delete a value twice in a transaction that adds it in between: ranges that the text adds are not
        // merged with those that it adds later.
        let known = Some(&*added).filter(|_| !set.auto_merge);
        self.ranges.change(family, table, set, existing, gone.as_ref(), known);
        Ok(())
    }

    pub(super) fn delete_elements(
        &mut self,
        subject: Subject,
        family: Family,
        table: crate::Text<'_>,
        set: &Set,
        destroy: bool,
        socket: &mut Socket,
    ) -> Result<(), Fault> {
        let existing = self.existing(subject, (family, table), set, socket)?;
        let plan = existing.delete(set).map_err(|conflict| self.conflict(subject, conflict))?;
        let list = ElementList::new(family, table, &set.name, 0);
        let gone = compiled(subject, plan.gone.as_ref().unwrap_or(set))?;
        let elements = interval::without_start(&gone.keys).iter().map(SetKey::element);
        let by_kernel = Version::of_release(&nftwire::release()).is_none_or(|version| version >= DESTROY);
        if destroy && !by_kernel {
            // Whether or not they exist: added, and deleted.
            self.push(subject, |batch| batch.add_elements(&list, elements.clone()));
        }
        self.push(subject, |batch| match destroy && by_kernel {
            true => batch.destroy_elements(&list, elements),
            false => batch.del_elements(&list, elements),
        });
        if !plan.added.elements.is_empty() {
            let added = compiled(subject, &plan.added)?;
            let elements = interval::without_start(&added.keys).iter().map(SetKey::element);
            self.push(subject, |batch| batch.add_elements(&list, elements));
        }
        let gone = plan.gone.as_ref().unwrap_or(set);
        self.ranges.change(family, table, set, existing, Some(gone), Some(&plan.added));
        Ok(())
    }

    /// The ranges that the set has, as the commands so far have left them.
    fn existing(
        &mut self,
        subject: Subject,
        (family, table): (Family, crate::Text<'_>),
        set: &Set,
        socket: &mut Socket,
    ) -> Result<Existing, Fault> {
        self.ranges.of(socket, family, table, set).map_err(|error| failure(subject.name, &error))
    }

    fn conflict(&mut self, subject: Subject, conflict: Conflict) -> Fault {
        let Conflict { unfit, element, related } = conflict;
        let (element, related) = (Which::Written(element), related.map(Which::Written));
        self.refused_element = Some(Location { set: subject.name, element, related });
        Fault::new(subject.name, unfit.to_string())
    }
}

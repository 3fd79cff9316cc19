//! The commands that change something, as one transaction.

use nftwire::expr::Immediate;
use nftwire::{
    Batch, BatchPosition, ChainFlags, ElementList, Error, Expr, Family, Position, Reference, Refusal,
    Removal, Socket, Verdict, Version, uapi,
};

use super::interval::{self, Existing};
use super::positions::Positions;
use super::updates::Updates;
use super::{Settings, failure, is_missing, strerror};
use crate::nft::compile::{Compiled, NotCompiled, SetKey, comment, compile_with, named_set, table as wire};
use crate::nft::parse::evaluate::{ANONYMOUS_CHAIN, Evaluator, Item, ItemData};
use crate::nft::parse::source::{Fault, Span};
use crate::nft::parse::syntax::{
    Command, CommandKind, Deletion, Flush, NameOrHandle, RulePosition, TableSpec, Verb,
};
use crate::plan::add_anonymous_set;
use crate::{Rule, Set};

/// From which kernel on deletions need not find anything (`NFT_MSG_DESTROY*`).
const DESTROY: Version = Version::new(6, 3);

/// Where the parts of a message are in the text.
#[derive(Clone, Copy, Debug)]
struct Subject {
    command: Span,
    table: Span,
    name: Span,
    /// A handle or an index
    position: Span,
}

/// A transaction that is being filled.
#[derive(Debug)]
pub(super) struct Change {
    batch: Batch,
    /// For each message of the batch
    subjects: Vec<Subject>,
    positions: Positions,
    updates: Updates,
    /// The number of the next anonymous chain
    next_chain_id: u32,
    check: bool,
    /// The expressions of the rules so far, where they are to be shown
    debug: Option<String>,
}

impl Change {
    pub(super) fn new(commands: &[Command], settings: Settings<'_>) -> Self {
        Self {
            batch: Batch::new(),
            subjects: Vec::new(),
            positions: Positions::new(commands),
            updates: Updates::new(commands),
            next_chain_id: 1,
            check: settings.check,
            debug: settings.debug.then(String::new),
        }
    }

    /// The expressions of the rules, where they are to be shown.
    pub(super) fn take_debug(&mut self) -> String {
        self.debug.take().unwrap_or_default()
    }

    fn note(
        &mut self,
        family: Family,
        table: crate::Text<'_>,
        chain: crate::Text<'_>,
        compiled: &Compiled<'_>,
    ) {
        if let Some(debug) = &mut self.debug {
            debug.push_str(&format!("{family} {table} {chain}\n"));
            for expression in &compiled.expressions {
                debug.push_str(&format!("  [ {expression:?} ]\n"));
            }
            debug.push('\n');
        }
    }

    fn push(&mut self, subject: Subject, fill: impl FnOnce(&mut Batch)) {
        fill(&mut self.batch);
        self.subjects.resize(self.batch.messages(), subject);
    }

    /// Adds one object.
    pub(super) fn add(&mut self, item: Item, socket: &mut Socket) -> Result<(), Fault> {
        let Item { family, table, verb, data, span, table_span, name_span } = item;
        let subject = Subject { command: span, table: table_span, name: name_span, position: name_span };
        let refuse = |error: NotCompiled| Fault::new(span, error.to_string());
        let create = verb == Verb::Create;
        match &data {
            ItemData::Table(model) => {
                let userdata = comment(model.comment.as_ref()).map_err(refuse)?;
                let message = wire::table(model, &userdata);
                self.push(subject, |batch| match create {
                    true => batch.create_table(&message),
                    false => batch.add_table(&message),
                });
            }
            ItemData::Chain(model, Some(policy)) if model.base.is_none() => {
                self.push(subject, |batch| batch.set_policy(family, &table, &model.name, *policy));
            }
            ItemData::Chain(model, policy) => {
                let userdata = comment(model.comment.as_ref()).map_err(refuse)?;
                let message = wire::chain(family, (&table).into(), model, *policy, &userdata);
                self.push(subject, |batch| match create {
                    true => batch.create_chain(&message),
                    false => batch.add_chain(&message),
                });
            }
            ItemData::Object(model) => {
                let userdata = comment(model.comment.as_ref()).map_err(refuse)?;
                let message = wire::object(family, (&table).into(), model, &userdata).map_err(refuse)?;
                self.push(subject, |batch| match create {
                    true => batch.create_object(&message),
                    false => batch.add_object(&message),
                });
            }
            ItemData::Flowtable(model) => {
                let message = wire::flowtable(family, (&table).into(), model);
                self.push(subject, |batch| match create {
                    true => batch.create_flowtable(&message),
                    false => batch.add_flowtable(&message),
                });
            }
            ItemData::Set(model) => {
                let flags = self.updates.flags(family, &table, &model.name.to_string());
                let model = &Set { flags: model.flags | flags, ..(**model).clone() };
                self.add_set(subject, family, (&table).into(), model, create)?;
            }
            ItemData::Elements(set) => {
                self.add_elements(subject, family, (&table).into(), set, create, socket)?;
            }
            ItemData::Rule { chain, position, rule, blocks, named } => {
                let place = (family, (&table).into(), chain.into());
                self.add_rule(subject, place, *position, (rule, blocks, named), socket)?;
            }
        }
        Ok(())
    }

    fn add_set(
        &mut self,
        subject: Subject,
        family: Family,
        table: crate::Text<'_>,
        set: &Set,
        create: bool,
    ) -> Result<(), Fault> {
        let compiled = named_set(set).map_err(|error| Fault::new(subject.name, error.to_string()))?;
        self.push(subject, |batch| {
            let message = compiled.head(family, table, &set.name, batch.take_set_id());
            if create { batch.create_set(&message) } else { batch.add_set(&message) }
        });
        Ok(())
    }

    fn add_elements(
        &mut self,
        subject: Subject,
        family: Family,
        table: crate::Text<'_>,
        set: &Set,
        create: bool,
        socket: &mut Socket,
    ) -> Result<(), Fault> {
        let existing = match interval::needs_existing(set) {
            true => {
                Existing::read(socket, family, table, set).map_err(|error| failure(subject.name, &error))?
            }
            false => Existing::default(),
        };
        let plan = existing.add(set).map_err(|message| Fault::new(subject.name, message))?;
        let list = ElementList::new(family, table, &set.name, 0);
        let compile = |set: &Set| named_set(set).map_err(|error| Fault::new(subject.name, error.to_string()));
        if let Some(gone) = &plan.gone {
            let gone = compile(gone)?;
            let keys = interval::without_start(&gone.keys);
            self.push(subject, |batch| batch.del_elements(&list, keys.iter().map(SetKey::element)));
        }
        let compiled = compile(&plan.added)?;
        let keys = if plan.starts { &compiled.keys[..] } else { interval::without_start(&compiled.keys) };
        let elements = keys.iter().map(SetKey::element);
        self.push(subject, |batch| match create {
            true => batch.create_elements(&list, elements),
            false => batch.add_elements(&list, elements),
        });
        Ok(())
    }

    fn add_rule(
        &mut self,
        subject: Subject,
        (family, table, chain): (Family, crate::Text<'_>, crate::Text<'_>),
        position: RulePosition,
        (rule, blocks, named): (&Rule, &[Vec<Rule>], &[Set]),
        socket: &mut Socket,
    ) -> Result<(), Fault> {
        let placed = self.positions.place(socket, family, table, chain, position);
        let placed = placed.map_err(|error| failure(subject.name, &error))?;
        let span = match position {
            RulePosition::AfterIndex(_, span)
            | RulePosition::BeforeIndex(_, span)
            | RulePosition::AfterHandle(_, span)
            | RulePosition::BeforeHandle(_, span)
            | RulePosition::Replace(_, span) => span,
            _ => subject.name,
        };
        let subject = Subject { position: span, ..subject };
        let Some((position, id)) = placed else {
            return Err(Fault::new(span, "Could not process rule: No such file or directory"));
        };
        let compiled = self.compile(subject, family, (rule, named), self.next_chain_id)?;
        self.note(family, table, chain, &compiled);
        // In nft's order: its sets, its chains, the rule.
        self.push(subject, |batch| {
            compiled.sets.iter().for_each(|set| add_anonymous_set(batch, family, table, set));
        });
        self.add_blocks(subject, family, table, (blocks, named))?;
        self.push(subject, |batch| {
            let mut message = nftwire::Rule::new(family, table, chain);
            message.userdata = &compiled.userdata;
            match (position, id) {
                (BatchPosition::Kernel(position), None) => {
                    batch.add_rule(&message, position, &compiled.expressions);
                }
                (position, id) => {
                    batch.add_rule_with_id(&message, id.unwrap_or(0), position, &compiled.expressions);
                }
            }
        });
        Ok(())
    }

    /// Adds chains that the kernel names.
    fn add_blocks(
        &mut self,
        subject: Subject,
        family: Family,
        table: crate::Text<'_>,
        (blocks, named): (&[Vec<Rule>], &[Set]),
    ) -> Result<(), Fault> {
        let first = self.next_chain_id;
        for rules in blocks {
            let id = self.next_chain_id;
            self.next_chain_id += 1;
            let flags = ChainFlags::BINDING;
            let chain = nftwire::Chain { id, flags, ..nftwire::Chain::new(family, table, "") };
            self.push(subject, |batch| batch.add_chain(&chain));
            for rule in rules {
                let compiled = self.compile(subject, family, (rule, named), first)?;
                self.note(family, table, "".into(), &compiled);
                self.push(subject, |batch| {
                    for set in &compiled.sets {
                        add_anonymous_set(batch, family, table, set);
                    }
                    let mut message = nftwire::Rule::new(family, table, "");
                    (message.chain_id, message.userdata) = (id, &compiled.userdata);
                    batch.add_rule(&message, Position::Append, &compiled.expressions);
                });
            }
        }
        Ok(())
    }

    /// A rule whose anonymous chains have numbers from `first_chain` on.
    fn compile<'r>(
        &self,
        subject: Subject,
        family: Family,
        (rule, named): (&'r Rule, &[Set]),
        first_chain: u32,
    ) -> Result<Compiled<'r>, Fault> {
        let compiled = compile_with(family, named, rule, self.batch.next_set_id());
        let mut compiled = compiled.map_err(|error| Fault::new(subject.command, error.to_string()))?;
        let count = compiled.expressions.len();
        if count > uapi::NFT_RULE_MAXEXPRS {
            let max = uapi::NFT_RULE_MAXEXPRS;
            let message = format!("the rule needs {count} expressions; the kernel allows {max}");
            return Err(Fault::new(subject.command, message));
        }
        for expression in &mut compiled.expressions {
            if let Expr::Immediate(Immediate::Verdict(verdict)) = expression {
                *verdict = by_number(*verdict, first_chain);
            }
        }
        Ok(compiled)
    }

    /// Deletes, flushes or renames.
    pub(super) fn remove(
        &mut self,
        command: &Command,
        socket: &mut Socket,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<(), Fault> {
        let span = command.span;
        match &command.kind {
            CommandKind::Delete { destroy, what } => self.delete(span, *destroy, what, socket, evaluator),
            CommandKind::Flush(what) => {
                self.flush(span, what);
                Ok(())
            }
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

    fn flush(&mut self, span: Span, what: &Flush) {
        match what {
            Flush::Ruleset(family) => {
                let family = family.unwrap_or(Family::Unspec);
                self.positions.flush(family, None, None);
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
            Flush::Set(set) => {
                let (family, table) = (set.table.family, &*set.table.name.text);
                let subject = Subject { name: set.name.span, ..of_table(span, &set.table) };
                self.push(subject, |batch| batch.flush_set(family, table, &set.name.text));
            }
        }
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
        flowtable: &crate::nft::parse::syntax::ItemSpec,
        block: &crate::nft::parse::syntax::FlowtableBlock,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<(), Fault> {
        let model = evaluator.flowtable_of(flowtable, block)?;
        let subject = Subject { name: flowtable.name.span, ..of_table(span, &flowtable.table) };
        let message = wire::flowtable(flowtable.table.family, (&flowtable.table.name.text).into(), &model);
        self.push(subject, |batch| batch.del_flowtable_devices(&message));
        Ok(())
    }

    fn delete_elements(
        &mut self,
        subject: Subject,
        family: Family,
        table: crate::Text<'_>,
        set: &Set,
        destroy: bool,
        socket: &mut Socket,
    ) -> Result<(), Fault> {
        let existing = match interval::needs_existing(set) {
            true => {
                Existing::read(socket, family, table, set).map_err(|error| failure(subject.name, &error))?
            }
            false => Existing::default(),
        };
        let plan = existing.delete(set).map_err(|message| Fault::new(subject.name, message))?;
        let list = ElementList::new(family, table, &set.name, 0);
        let compile = |set: &Set| named_set(set).map_err(|error| Fault::new(subject.name, error.to_string()));
        let gone = compile(plan.gone.as_ref().unwrap_or(set))?;
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
            let added = compile(&plan.added)?;
            let elements = interval::without_start(&added.keys).iter().map(SetKey::element);
            self.push(subject, |batch| batch.add_elements(&list, elements));
        }
        Ok(())
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Sends it, where there is anything to send.
    pub(super) fn commit(&mut self, socket: &mut Socket) -> Result<(), Fault> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sent = match self.check {
            true => socket.check(&mut self.batch),
            false => socket.commit(&mut self.batch),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(Error::Refused(refusal)) => Err(self.refused(&refusal)),
            Err(Error::GenerationChanged) => Err(self.whole(strerror(ERESTART))),
            Err(error) => Err(self.whole(error.to_string())),
        }
    }

    fn whole(&self, message: String) -> Fault {
        Fault { span: self.subjects.first().map(|subject| subject.command), related: None, message }
    }

    fn refused(&self, refusal: &Refusal) -> Fault {
        let message = super::refused(refusal);
        let Some(subject) = refusal.message.and_then(|message| self.subjects.get(message)) else {
            return self.whole(message);
        };
        let span = match refusal.location.attribute {
            Some((_, "table")) => subject.table,
            Some((_, "handle" | "position")) => subject.position,
            Some((_, "name" | "chain" | "set")) => subject.name,
            _ => subject.command,
        };
        Fault::new(span, message)
    }
}

/// A jump to an anonymous chain, by the number that the chain has in the batch.
fn by_number(verdict: Verdict<'_>, first_chain: u32) -> Verdict<'_> {
    let number = |chain: crate::Text<'_>| {
        let digits = chain.as_bytes().strip_prefix(ANONYMOUS_CHAIN.as_bytes())?;
        let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        number.checked_add(first_chain)
    };
    match verdict {
        Verdict::Jump(chain) => number(chain).map_or(verdict, Verdict::JumpId),
        Verdict::Goto(chain) => number(chain).map_or(verdict, Verdict::GotoId),
        verdict => verdict,
    }
}

/// ERESTART: the ruleset was changed meanwhile.
const ERESTART: i32 = 85;

fn of_table(command: Span, table: &TableSpec) -> Subject {
    let table = table.name.span;
    Subject { command, table, name: table, position: table }
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

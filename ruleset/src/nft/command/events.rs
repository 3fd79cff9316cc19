//! What happens to the ruleset, as the commands that would make it happen: for `monitor`, and to echo a transaction.

use std::collections::HashMap;
use std::fmt::Write as _;

use nftwire::events::Event;
use nftwire::userdata::ElementUserdata;
use nftwire::{DecodeError, Error, Family, Message, Record, SetFlags, Socket, uapi};

use crate::model::statement::ObjectKind;
use crate::nft::decompile::{self, Decompiler, SetReader, Sets};
use crate::nft::json::{Objects, Writer};
use crate::nft::print::{Options, Printer, table_flags};
use crate::snapshot;
use crate::{Chain, Element, Name, Rule, Set, Table, Text};

/// The parts of a ruleset whose events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Tables
    Tables,
    /// Chains
    Chains,
    /// Rules
    Rules,
    /// Sets and maps
    Sets,
    /// Their elements
    Elements,
    /// Objects and flowtables
    Objects,
}

/// What an event is about.
#[derive(Clone, Debug)]
enum Subject {
    Table(Table),
    Chain(Table, Chain),
    Rule {
        table: Table,
        chain: Chain,
        rule: Rule,
        appended: bool,
        before: u64,
    },
    Set(Table, Set),
    Elements(Table, Set),
    Object(Table, crate::Object),
    /// An object that is gone: kernels since 6.15 name it only
    GoneObject {
        table: Table,
        kind: ObjectKind,
        name: Name,
        handle: u64,
    },
    Flowtable(Table, crate::Flowtable),
}

/// Turns events into lines; keeps what later ones refer to.
#[derive(Debug)]
pub struct Lines<'a> {
    options: Options<'a>,
    json: bool,
    /// Sets by their tables; with elements only anonymous ones
    sets: HashMap<(Family, Name), Sets>,
    /// Elements that came one after the other
    pending: Option<Pending>,
}

/// Elements of a set of which not all may have come.
#[derive(Debug)]
struct Pending {
    table: Table,
    added: bool,
    /// The set, without elements
    head: Set,
    reader: SetReader,
    /// Of a range, which end has come alone: whether it is the upper one
    half: Option<bool>,
}

impl Pending {
    fn new(table: Table, added: bool, set: &Set) -> Self {
        let head = Set { elements: Vec::new(), ..set.clone() };
        Self { table, added, reader: SetReader::new(head.clone()), head, half: None }
    }

    /// Adds an element; returns what is complete: the element, a range whose other end came before it, or what turns out to have
    /// no other end. The kernel reports ranges upwards or downwards, so either end may come first.
    fn add(&mut self, element: &nftwire::Element<'_>) -> Vec<Element> {
        let is_zero = element.key.as_bytes().iter().all(|&byte| byte == 0);
        if element.interval_end && is_zero {
            // What nft puts before the first range: no range ends before zero.
            return Vec::new();
        }
        let alone = self.half == Some(element.interval_end);
        let mut complete = if alone { self.take() } else { Vec::new() };
        self.reader.add(element);
        match self.half {
            None if self.is_half(element) => self.half = Some(element.interval_end),
            _ => complete.append(&mut self.take()),
        }
        complete
    }

    /// Whether it is one end of a range, and the other is an element of its own.
    fn is_half(&self, element: &nftwire::Element<'_>) -> bool {
        let ranges = self.head.flags & uapi::NFT_SET_INTERVAL != 0 && self.head.key.types.len() == 1;
        ranges && !element.catch_all && !ElementUserdata::decode(element.userdata).interval_open
    }

    /// The elements that have come.
    fn take(&mut self) -> Vec<Element> {
        self.half = None;
        std::mem::replace(&mut self.reader, SetReader::new(self.head.clone())).finish().elements
    }
}

impl<'a> Lines<'a> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(options: Options<'a>, json: bool) -> Self {
        Self { options, json, sets: HashMap::new(), pending: None }
    }

    /// The lines for what is complete with this event, where `wanted` says that they are. `socket` is asked about sets
    /// that existed before.
    ///
    /// # Errors
    /// Those of asking, or an event is not what the protocol says.
    pub fn push(
        &mut self,
        socket: &mut Socket,
        event: &Event,
        wanted: impl Fn(Part, bool) -> bool,
    ) -> Result<String, Error> {
        let mut out = String::new();
        match event {
            Event::New(record) => self.change(socket, record, true, &wanted, &mut out)?,
            Event::Deleted(record) => self.change(socket, record, false, &wanted, &mut out)?,
            _ => self.flush(&wanted, &mut out),
        }
        Ok(out)
    }

    fn change(
        &mut self,
        socket: &mut Socket,
        record: &Record,
        added: bool,
        wanted: &impl Fn(Part, bool) -> bool,
        out: &mut String,
    ) -> Result<(), Error> {
        let message = record.message()?;
        if let uapi::NFT_MSG_NEWSETELEM | uapi::NFT_MSG_DELSETELEM = message.kind {
            let list = nftwire::ElementList::decode(&message)?;
            return self.elements(socket, &list, added, wanted, out);
        }
        self.flush(wanted, out);
        let (part, subject) = match message.kind {
            uapi::NFT_MSG_NEWTABLE | uapi::NFT_MSG_DELTABLE => {
                (Part::Tables, Subject::Table(snapshot::table(&nftwire::Table::decode(&message)?)))
            }
            uapi::NFT_MSG_NEWCHAIN | uapi::NFT_MSG_DELCHAIN => {
                let wire = nftwire::Chain::decode(&message)?;
                (Part::Chains, Subject::Chain(Table::new(wire.family, wire.table), snapshot::chain(&wire)))
            }
            uapi::NFT_MSG_NEWRULE | uapi::NFT_MSG_DELRULE => {
                let wire = nftwire::Rule::decode(&message)?;
                let rule = self.rule(socket, &wire)?;
                let chain = Chain { name: wire.chain.into(), ..Chain::default() };
                let table = Table::new(wire.family, wire.table);
                (
                    Part::Rules,
                    Subject::Rule {
                        table,
                        chain,
                        rule,
                        appended: record.is_appended(),
                        before: wire.position,
                    },
                )
            }
            uapi::NFT_MSG_NEWSET | uapi::NFT_MSG_DELSET => {
                let wire = nftwire::Set::decode(&message)?;
                let set = decompile::set(&wire);
                let sets = self.sets.entry((wire.family, wire.table.into())).or_default();
                match added {
                    true => drop(sets.insert(set.name.clone(), set.clone())),
                    false => drop(sets.remove(&set.name)),
                }
                // The event of its end has no flags: kernels name anonymous ones so.
                let named = |name: &[u8]| wire.name.as_bytes().starts_with(name);
                if wire.flags.contains(SetFlags::ANONYMOUS)
                    || (!added && (named(b"__set") || named(b"__map")))
                {
                    return Ok(());
                }
                (Part::Sets, Subject::Set(Table::new(wire.family, wire.table), set))
            }
            uapi::NFT_MSG_DELOBJ => (Part::Objects, gone_object(&message)?),
            uapi::NFT_MSG_NEWOBJ => {
                let wire = nftwire::Object::decode(&message)?;
                let table = Table::new(wire.family, wire.table);
                (Part::Objects, Subject::Object(table, decompile::object(&wire)))
            }
            uapi::NFT_MSG_NEWFLOWTABLE | uapi::NFT_MSG_DELFLOWTABLE => {
                let wire = nftwire::Flowtable::decode(&message)?;
                let table = Table::new(wire.family, wire.table);
                (Part::Objects, Subject::Flowtable(table, decompile::flowtable(&wire)))
            }
            _ => return Ok(()),
        };
        if wanted(part, added) {
            self.line(&subject, added, out);
        }
        Ok(())
    }

    /// The rule; anonymous sets came before it.
    fn rule(&mut self, socket: &mut Socket, wire: &nftwire::Rule<'_>) -> Result<Rule, Error> {
        for expression in wire.expressions() {
            if let Some(name) = snapshot::set_of(&expression?) {
                self.learn(socket, wire.family, wire.table, name)?;
            }
        }
        let sets = self.sets.entry((wire.family, wire.table.into())).or_default();
        let rule = Decompiler::new(wire.family, sets).rule(wire)?;
        sets.retain(|_, set| !set.is_anonymous());
        Ok(rule)
    }

    /// Asks for a set that existed before; one that is gone meanwhile stays unknown.
    fn learn(
        &mut self,
        socket: &mut Socket,
        family: Family,
        table: Text<'_>,
        name: Text<'_>,
    ) -> Result<(), Error> {
        let sets = self.sets.entry((family, table.into())).or_default();
        if sets.contains_key(name.as_bytes()) {
            return Ok(());
        }
        let mut found = None;
        let read = socket.set(family, table, name, |set| {
            found = Some(decompile::set(&set));
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(error) if super::is_missing(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(set) = found {
            sets.insert(set.name.clone(), set);
        }
        Ok(())
    }

    /// The kernel reports elements one by one, and the ends of ranges as well.
    fn elements(
        &mut self,
        socket: &mut Socket,
        list: &nftwire::ElementList<'_>,
        added: bool,
        wanted: &impl Fn(Part, bool) -> bool,
        out: &mut String,
    ) -> Result<(), Error> {
        self.learn(socket, list.family, list.table, list.set)?;
        let same = self.pending.as_ref().is_some_and(|pending| {
            let Pending { table, added: before, head, .. } = pending;
            (table.family, table.name.as_text(), head.name.as_text(), *before)
                == (list.family, list.table, list.set, added)
        });
        if !same {
            self.flush(wanted, out);
            let sets = self.sets.entry((list.family, list.table.into())).or_default();
            let Some(set) = sets.get(list.set.as_bytes()) else { return Ok(()) };
            self.pending = Some(Pending::new(Table::new(list.family, list.table), added, set));
        }
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        for element in list.elements() {
            match pending.head.is_anonymous() {
                true => pending.reader.add(&element?),
                false => {
                    let complete = pending.add(&element?);
                    self.show(&pending, complete, wanted, out);
                }
            }
        }
        self.pending = Some(pending);
        Ok(())
    }

    /// Nothing more comes for the elements that came last.
    fn flush(&mut self, wanted: &impl Fn(Part, bool) -> bool, out: &mut String) {
        let Some(mut pending) = self.pending.take() else { return };
        let elements = pending.take();
        if pending.head.is_anonymous() {
            let sets = self.sets.entry((pending.table.family, pending.table.name.clone())).or_default();
            sets.insert(pending.head.name.clone(), Set { elements, ..pending.head });
            return;
        }
        self.show(&pending, elements, wanted, out);
    }

    /// Each of these elements by itself, in the kernel's order.
    fn show(
        &self,
        pending: &Pending,
        elements: Vec<Element>,
        wanted: &impl Fn(Part, bool) -> bool,
        out: &mut String,
    ) {
        let Pending { table, added, head, .. } = pending;
        if !wanted(Part::Elements, *added) {
            return;
        }
        for element in elements {
            let one = Set { elements: vec![element], ..head.clone() };
            self.line(&Subject::Elements(table.clone(), one), *added, out);
        }
    }

    fn line(&self, subject: &Subject, added: bool, out: &mut String) {
        if self.json {
            let verb = match (added, subject) {
                (true, Subject::Rule { appended: false, .. }) => "insert",
                (true, _) => "add",
                (false, _) => "delete",
            };
            let _ = writeln!(out, "{{\"{verb}\": {}}}", self.json_of(subject));
        } else {
            self.text_of(subject, added, out);
            out.push('\n');
        }
    }

    fn json_of(&self, subject: &Subject) -> String {
        let writer = Writer { options: self.options };
        let mut objects = Objects::default();
        match subject {
            Subject::Table(table) => writer.head(table, &mut objects),
            Subject::Chain(table, chain) => writer.chain(table, chain, &mut objects),
            Subject::Rule { table, chain, rule, .. } => writer.rule(table, chain, rule, &mut objects),
            Subject::Set(table, set) => writer.set(table, set, &mut objects),
            Subject::Elements(table, set) => writer.elements(table, set, &mut objects),
            Subject::Object(table, object) => writer.object(table, object, &mut objects),
            Subject::GoneObject { table, kind, name, handle } => {
                writer.name(table, kind.name(), name, *handle, &mut objects);
            }
            Subject::Flowtable(table, flowtable) => writer.flowtable(table, flowtable, &mut objects),
        }
        objects.into_text()
    }

    fn text_of(&self, subject: &Subject, added: bool, out: &mut String) {
        let verb = if added { "add" } else { "delete" };
        let handles = self.options.handles;
        let printer = &mut Printer { out, options: Options { handles: false, ..self.options } };
        let handle = match subject {
            Subject::Table(table) => {
                printer.put(format_args!("{verb} table {table}"));
                let flags: Vec<_> = table_flags(table.flags).collect();
                if added && !flags.is_empty() {
                    printer.put(format_args!(" {{ flags {}; }}", flags.join(",")));
                }
                table.handle
            }
            Subject::Chain(table, chain) => {
                printer.put(format_args!("{verb} chain {table} {}", chain.name));
                if added && chain.base.is_some() {
                    printer.parts(|inner| inner.chain_head(table.family, chain));
                }
                chain.handle
            }
            Subject::Rule { table, chain, rule, appended, before } => {
                match added {
                    true => {
                        let verb = if *appended { "add" } else { "insert" };
                        printer.put(format_args!("{verb} rule {table} {} ", chain.name));
                        // After which one it is.
                        if *before > 0 {
                            printer.put(format_args!("handle {before} "));
                        }
                        printer.rule(rule);
                    }
                    false => {
                        printer
                            .put(format_args!("delete rule {table} {} handle {}", chain.name, rule.handle));
                        return;
                    }
                }
                rule.handle
            }
            Subject::Set(table, set) => {
                printer.put(format_args!("{verb} {} {table} {}", set.keyword(), set.name));
                if added {
                    printer.parts(|inner| inner.set_head(set));
                    // As nft ends such a line.
                    printer.out.push(' ');
                }
                set.handle
            }
            Subject::Elements(table, set) => {
                printer.put(format_args!("{verb} element {table} {} {{ ", set.name));
                set.elements.iter().for_each(|element: &Element| printer.element(element));
                printer.put(format_args!(" }}"));
                0
            }
            Subject::Object(table, object) => {
                printer.put(format_args!("{verb} {} {table} {}", object.data.kind().name(), object.name));
                if added {
                    printer.parts(|inner| inner.object(object));
                    // As nft ends such a line.
                    printer.out.push(' ');
                }
                object.handle
            }
            Subject::GoneObject { table, kind, name, handle } => {
                printer.put(format_args!("{verb} {} {table} {name}", kind.name()));
                *handle
            }
            Subject::Flowtable(table, flowtable) => {
                printer.put(format_args!("{verb} flowtable {table} {}", flowtable.name));
                if added {
                    printer.parts(|inner| inner.flowtable(flowtable));
                }
                flowtable.handle
            }
        };
        if handles && handle > 0 {
            let gap = if printer.out.ends_with(' ') { "" } else { " " };
            printer.put(format_args!("{gap}# handle {handle}"));
        }
    }
}

/// What the event of an object's end names.
fn gone_object(message: &Message<'_>) -> Result<Subject, Error> {
    let (mut table, mut name, mut kind, mut handle) = (None, None, 0, 0);
    for attribute in message.attributes {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_OBJ_TABLE => table = Some(attribute.text()),
            uapi::NFTA_OBJ_NAME => name = Some(attribute.text()),
            uapi::NFTA_OBJ_TYPE => kind = attribute.be32()?,
            uapi::NFTA_OBJ_HANDLE => handle = attribute.be64()?,
            _ => {}
        }
    }
    let table = table.ok_or(DecodeError::Missing { attribute: uapi::NFTA_OBJ_TABLE })?;
    let name = name.ok_or(DecodeError::Missing { attribute: uapi::NFTA_OBJ_NAME })?;
    let table = Table::new(message.family, table);
    Ok(Subject::GoneObject { table, kind: ObjectKind::from_number(kind), name: name.into(), handle })
}

impl Printer<'_> {
    /// What is inside of a block that is printed on several lines, on one.
    fn parts(&mut self, print: impl FnOnce(&mut Printer<'_>)) {
        let mut block = String::new();
        print(&mut Printer { out: &mut block, options: self.options });
        let lines: Vec<_> =
            block.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && *line != "}").collect();
        match lines.as_slice() {
            [] => {}
            // A set's or a chain's parts end with a semicolon; a value alone does not.
            [value] if is_value(value) => self.put(format_args!(" {{ {value} }}")),
            lines => {
                let lines: Vec<_> = lines.iter().map(|line| line.trim_end_matches(';')).collect();
                self.put(format_args!(" {{ {}; }}", lines.join("; ")));
            }
        }
    }
}

/// Whether it is what a counter, quota or limit has.
fn is_value(line: &str) -> bool {
    !["type", "typeof", "flags", "hook"].iter().any(|word| line.split(' ').next() == Some(word))
}

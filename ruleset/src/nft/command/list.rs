//! The commands that show something.

use nftwire::{ElementList, Error, Family, Reader, Socket};

use super::{Settings, failure, hooks, interval, is_missing};
use crate::listing;
use crate::model::statement::ObjectKind;
use crate::nft::compile::{SetKey, named_set};
use crate::nft::decompile::{self, SetReader};
use crate::nft::json::{Objects, Writer};
use crate::nft::parse::evaluate::Evaluator;
use crate::nft::parse::source::{Fault, Span};
use crate::nft::parse::syntax::{Command, CommandKind, Expr, ItemSpec, ListWhat, SetKind, TableSpec};
use crate::nft::print::{Options, Printer};
use crate::snapshot::{self, Depth, Scope};
use crate::{Ruleset, Set, Table};

/// What a command shows; nothing for one that changes something.
pub(super) fn run(
    command: &Command,
    socket: &mut Socket,
    evaluator: &mut Evaluator<'_>,
    settings: Settings<'_>,
) -> Result<String, Fault> {
    let lister = Lister { socket, settings, span: command.span };
    match &command.kind {
        CommandKind::List(what) => lister.list(what),
        CommandKind::Reset(what) => lister.reset(what, evaluator),
        CommandKind::GetElements(set, elements) => lister.elements(set, elements, false, evaluator),
        CommandKind::Describe(expr) => Ok(evaluator.describe(expr)),
        _ => Ok(String::new()),
    }
}

struct Lister<'a> {
    socket: &'a mut Socket,
    settings: Settings<'a>,
    span: Span,
}

impl<'a> Lister<'a> {
    fn options(&self) -> Options<'a> {
        self.settings.options()
    }

    fn list(mut self, what: &ListWhat) -> Result<String, Fault> {
        match what {
            ListWhat::Ruleset(family) => {
                self.scope(Scope::Family(family.unwrap_or(Family::Unspec)), self.span)
            }
            ListWhat::Table(table) => {
                self.scope(Scope::Table(table.family, (&table.name.text).into()), table.name.span)
            }
            ListWhat::Chain(chain) => {
                let (family, table) = (chain.table.family, &*chain.table.name.text);
                self.need_table(&chain.table)?;
                self.scope(Scope::Chain(family, table.into(), (&chain.name.text).into()), chain.name.span)
            }
            ListWhat::Set(kind, set) => self.set(*kind, set),
            ListWhat::Tables(family) => self.tables(*family),
            ListWhat::Chains(family) => {
                let tables = self.read(family.unwrap_or(Family::Unspec), None, |reader, table| {
                    reader.chains(table.family, |chain| {
                        if chain.table == table.name && !chain.flags.contains(nftwire::ChainFlags::BINDING) {
                            table.chains.push(snapshot::chain(&chain));
                        }
                        Ok(())
                    })
                })?;
                Ok(self.show(tables, true))
            }
            ListWhat::Sets(kind, family, table) => {
                let kind = *kind;
                let scope = self.scope_of(*family, table.as_ref())?;
                let terse = self.settings.terse;
                let tables = self.read(scope.0, scope.1, |reader, table| {
                    let depth = if terse { Depth::Objects } else { Depth::NamedElements };
                    table.sets = snapshot::read_sets(reader, table.family, table.name.as_text(), depth)?;
                    table.sets.retain(|set| kind.is_of(set));
                    Ok(())
                })?;
                Ok(self.show(tables, true))
            }
            ListWhat::Objects(kind, family, table) => {
                let kind = *kind;
                let scope = self.scope_of(*family, table.as_ref())?;
                let tables = self.read(scope.0, scope.1, |reader, table| {
                    let Table { family, name, objects, .. } = table;
                    reader.objects(*family, Some(name.as_text()), Some(kind), |object| {
                        objects.push(decompile::object(&object));
                        Ok(())
                    })
                })?;
                Ok(self.show(tables, false))
            }
            ListWhat::Object(kind, object) => self.object(*kind, object, false),
            ListWhat::Flowtables(family) => {
                let tables = self.read(family.unwrap_or(Family::Unspec), None, |reader, table| {
                    let Table { family, name, flowtables, .. } = table;
                    reader.flowtables(*family, Some(name.as_text()), |flowtable| {
                        flowtables.push(decompile::flowtable(&flowtable));
                        Ok(())
                    })
                })?;
                Ok(self.show(tables, false))
            }
            ListWhat::Flowtable(flowtable) => {
                self.need_table(&flowtable.table)?;
                let wanted = &*flowtable.name.text;
                let name = Some((&flowtable.table.name.text).into());
                let tables = self.read(flowtable.table.family, name, |reader, table| {
                    let Table { family, name, flowtables, .. } = table;
                    reader.flowtables(*family, Some(name.as_text()), |flowtable| {
                        if flowtable.name == wanted {
                            flowtables.push(decompile::flowtable(&flowtable));
                        }
                        Ok(())
                    })
                })?;
                if tables.iter().all(|table| table.flowtables.is_empty()) {
                    return Err(missing(flowtable.name.span));
                }
                Ok(self.show(tables, false))
            }
            ListWhat::Hooks(family, device) => {
                if self.settings.json {
                    return Err(Fault::new(self.span, "hooks have no JSON"));
                }
                hooks::list(self.socket, *family, device.as_ref(), self.span)
            }
            ListWhat::Rules(..) | ListWhat::Rule(..) | ListWhat::Elements(..) => {
                Err(Fault::new(self.span, "this can only be reset"))
            }
        }
    }

    /// Parts of tables, without lines between them.
    fn parts(&self, tables: &[Table]) -> String {
        let mut out = String::new();
        for table in tables {
            out.push_str(&format!("table {table} {{\n"));
            let options = Options { anonymous: &table.anonymous, ..self.options() };
            let printer = &mut Printer { out: &mut out, options };
            table.objects.iter().for_each(|object| printer.object(object));
            table.sets.iter().for_each(|set| printer.set(set));
            table.flowtables.iter().for_each(|flowtable| printer.flowtable(flowtable));
            for chain in &table.chains {
                printer.chain_head(table.family, chain);
                chain.rules.iter().for_each(|rule| printer.rule_line(rule));
                printer.out.push_str("\t}\n");
            }
            out.push_str("}\n");
        }
        out
    }

    /// A family and a table, where one is said; it has to exist.
    fn scope_of<'s>(
        &mut self,
        family: Option<Family>,
        table: Option<&'s TableSpec>,
    ) -> Result<(Family, Option<crate::Text<'s>>), Fault> {
        match table {
            Some(table) => {
                self.need_table(table)?;
                Ok((table.family, Some((&table.name.text).into())))
            }
            None => Ok((family.unwrap_or(Family::Unspec), None)),
        }
    }

    fn need_table(&mut self, table: &TableSpec) -> Result<(), Fault> {
        let tables = self.read(table.family, Some((&table.name.text).into()), |_, _| Ok(()))?;
        if tables.is_empty() { Err(missing(table.name.span)) } else { Ok(()) }
    }

    /// Whole tables, chains with their rules, or sets with their elements.
    fn scope(&mut self, scope: Scope<'_>, span: Span) -> Result<String, Fault> {
        let options = self.options();
        let shown = if self.settings.terse {
            return self.terse(scope, span);
        } else if self.settings.json {
            listing::json(self.socket, scope, options)
        } else {
            listing::text(self.socket, scope, options)
        };
        shown.map_err(|error| failure(self.span, &error))?.ok_or_else(|| missing(span))
    }

    /// Without the elements of named sets.
    fn terse(&mut self, scope: Scope<'_>, span: Span) -> Result<String, Fault> {
        let collected =
            listing::collect(self.socket, scope, |_, _, rule, rules: &mut Vec<_>| rules.push(rule));
        let collected = collected.map_err(|error| failure(self.span, &error))?;
        let mut tables: Vec<_> = collected
            .into_iter()
            .map(|listed| {
                let mut table = listed.table;
                table.chains.iter_mut().zip(listed.rules).for_each(|(chain, rules)| chain.rules = rules);
                table.sets.iter_mut().for_each(|set| set.elements.clear());
                table
            })
            .collect();
        let named = !matches!(scope, Scope::Family(_) | Scope::Where(_));
        if named && tables.is_empty() {
            return Err(missing(span));
        }
        if let Scope::Chain(..) | Scope::Set(..) = scope {
            tables.iter_mut().for_each(|table| (table.flags, table.comment) = (0, None));
        }
        Ok(self.render(tables, matches!(scope, Scope::Chain(..) | Scope::Set(..))))
    }

    fn set(&mut self, kind: SetKind, set: &ItemSpec) -> Result<String, Fault> {
        let (family, table, name) =
            (set.table.family, crate::Text::from(&set.table.name.text), crate::Text::from(&set.name.text));
        self.need_table(&set.table)?;
        let mut matches = false;
        let found = self.socket.set(family, table, name, |set| {
            matches = kind.is_of(&decompile::set(&set));
            Ok(())
        });
        match found {
            Ok(()) if matches && kind == SetKind::Meter => {
                let tables = self.read(family, Some(table), |reader, table| {
                    table.sets = snapshot::read_sets(reader, family, table.name.as_text(), Depth::All)?;
                    table.sets.retain(|set| set.name == name);
                    Ok(())
                })?;
                Ok(self.show(tables, false))
            }
            Ok(()) if matches => self.scope(Scope::Set(family, table, name), set.name.span),
            Ok(()) => Err(missing(set.name.span)),
            Err(error) if is_missing(&error) => Err(missing(set.name.span)),
            Err(error) => Err(failure(self.span, &error)),
        }
    }

    fn tables(&mut self, family: Option<Family>) -> Result<String, Fault> {
        let tables = self.read(family.unwrap_or(Family::Unspec), None, |_, _| Ok(()))?;
        if self.settings.json {
            return Ok(self.render(tables, false));
        }
        // nft has no handles here, even where they are asked for.
        Ok(tables.iter().map(|table| format!("table {table}\n")).collect())
    }

    fn object(&mut self, kind: ObjectKind, object: &ItemSpec, reset: bool) -> Result<String, Fault> {
        let (family, name) = (object.table.family, &*object.table.name.text);
        self.need_table(&object.table)?;
        let mut table = Table::new(family, name);
        let key = (kind, &*object.name.text);
        let found = self.socket.object(family, name.into(), key, reset, |object| {
            table.objects.push(decompile::object(&object));
            Ok(())
        });
        match found {
            Ok(()) => Ok(self.show(vec![table], false)),
            Err(error) if is_missing(&error) => Err(missing(object.name.span)),
            Err(error) => Err(failure(self.span, &error)),
        }
    }

    /// The tables of a family, or one of them, with what `fill` reads; of one generation.
    fn read(
        &mut self,
        family: Family,
        name: Option<crate::Text<'_>>,
        mut fill: impl FnMut(&mut Reader<'_>, &mut Table) -> Result<(), Error>,
    ) -> Result<Vec<Table>, Fault> {
        let read = self.socket.consistent(|reader| {
            let mut tables = snapshot::read_tables(reader, Scope::Family(family))?;
            tables.retain(|table| name.is_none_or(|name| table.name == name));
            for table in &mut tables {
                fill(reader, table)?;
            }
            Ok(tables)
        });
        read.map(|(_, tables)| tables).map_err(|error| failure(self.span, &error))
    }

    /// Parts of tables; those without any are shown where nft shows them.
    fn show(&self, mut tables: Vec<Table>, empty: bool) -> String {
        tables.retain(|table| {
            let parts = table.chains.len() + table.sets.len() + table.objects.len() + table.flowtables.len();
            parts > 0 || (empty && !self.settings.json)
        });
        if self.settings.json { self.render(tables, true) } else { self.parts(&tables) }
    }

    /// Tables, or in JSON only what they hold.
    fn render(&self, tables: Vec<Table>, parts: bool) -> String {
        let options = self.options();
        if !self.settings.json {
            let mut out = String::new();
            // nft has no handles of tables here.
            Printer { out: &mut out, options }.ruleset(&Ruleset { tables });
            return out;
        }
        let (writer, mut objects) = (Writer { options }, Objects::document());
        for table in &tables {
            if !parts {
                writer.head(table, &mut objects);
            }
            writer.parts(table, &mut objects);
        }
        objects.finish() + "\n"
    }

    fn reset(mut self, what: &ListWhat, evaluator: &mut Evaluator<'_>) -> Result<String, Fault> {
        match what {
            ListWhat::Objects(kind, family, table) => {
                let (family, name) = self.scope_of(*family, table.as_ref())?;
                let mut tables = self.read(family, name, |_, _| Ok(()))?;
                for table in &mut tables {
                    let Table { family, name, objects, .. } = table;
                    let read =
                        self.socket.reset_objects(*family, Some(name.as_text()), Some(*kind), |object| {
                            objects.push(decompile::object(&object));
                            Ok(())
                        });
                    read.map_err(|error| failure(self.span, &error))?;
                }
                Ok(self.show(tables, false))
            }
            ListWhat::Object(kind, object) => self.object(*kind, object, true),
            ListWhat::Set(_, set) => {
                let (family, table, name) = (
                    set.table.family,
                    crate::Text::from(&set.table.name.text),
                    crate::Text::from(&set.name.text),
                );
                self.whole_set(set, |socket, reader| {
                    socket.reset_elements(family, table, name, |list| {
                        list.elements()
                            .try_for_each(|element| element.map(|element| reader.add(&element)))?;
                        Ok(())
                    })
                })
            }
            ListWhat::Elements(set, elements) => self.elements(set, elements, true, evaluator),
            ListWhat::Rules(family, table, chain) => {
                let (family, name) = self.scope_of(*family, table.as_ref())?;
                let mut tables = self.read(family, name, |_, _| Ok(()))?;
                for table in &mut tables {
                    let chain = chain.as_ref().map(|chain| crate::Text::from(&chain.text));
                    self.reset_rules(table, |socket, family, name, each| {
                        socket.reset_rules(family, name, chain, each)
                    })?;
                    table.chains.retain(|known| chain.is_none_or(|chain| known.name == chain));
                }
                Ok(self.show(tables, true))
            }
            ListWhat::Rule(chain, handle) => {
                let mut table = Table::new(chain.table.family, &chain.table.name.text);
                let key = ((&chain.name.text).into(), *handle);
                self.reset_rules(&mut table, |socket, family, name, each| {
                    socket.reset_rule(family, name, key, each)
                })?;
                table.chains.retain(|known| known.name == *chain.name.text);
                Ok(self.show(vec![table], true))
            }
            _ => Err(Fault::new(self.span, "this cannot be reset")),
        }
    }

    /// Chains with the rules that `reset` gives: what they were before.
    fn reset_rules(
        &mut self,
        table: &mut Table,
        reset: impl FnOnce(
            &mut Socket,
            Family,
            crate::Text<'_>,
            &mut dyn FnMut(nftwire::Rule<'_>) -> Result<(), Error>,
        ) -> Result<(), Error>,
    ) -> Result<(), Fault> {
        let span = self.span;
        let (family, name) = (table.family, table.name.clone());
        let mut chains = Vec::new();
        let read = self.socket.chains(family, |chain| {
            if chain.table == name {
                chains.push(snapshot::chain(&chain));
            }
            Ok(())
        });
        read.map_err(|error| failure(span, &error))?;
        let read = self
            .socket
            .consistent(|reader| snapshot::read_sets(reader, family, name.as_text(), Depth::Rules));
        let (_, sets) = read.map_err(|error| failure(span, &error))?;
        let sets = sets.into_iter().map(|set| (set.name.clone(), set)).collect();
        let mut decompiler = decompile::Decompiler::new(family, &sets);
        let rules = reset(self.socket, family, (&name).into(), &mut |rule| {
            let model = decompiler.rule(&rule)?;
            if let Some(chain) = chains.iter_mut().find(|chain: &&mut crate::Chain| chain.name == rule.chain)
            {
                chain.rules.push(model);
            }
            Ok(())
        });
        rules.map_err(|error| failure(span, &error))?;
        table.chains = chains;
        Ok(())
    }

    /// `get element`: the elements that these keys are in.
    fn elements(
        mut self,
        spec: &ItemSpec,
        elements: &Expr,
        reset: bool,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<String, Fault> {
        let set = evaluator.elements_of(spec, elements)?;
        if interval::needs_existing(&set) {
            return self.ranges(spec, &set, reset);
        }
        let compiled = named_set(&set).map_err(|error| Fault::new(spec.name.span, error.to_string()))?;
        let keys: Vec<_> = interval::without_start(&compiled.keys).iter().map(SetKey::element).collect();
        let list = ElementList::new(spec.table.family, &spec.table.name.text, &spec.name.text, 0);
        self.whole_set(spec, |socket, reader| {
            socket.get_elements(&list, &keys, reset, |list| {
                list.elements().try_for_each(|element| element.map(|element| reader.add(&element)))?;
                Ok(())
            })
        })
    }

    /// The ranges that these are in. Each is asked for by itself and by its first value: of several, and of one that goes
    /// beyond a range, the kernel gives ends that do not belong together.
    fn ranges(self, spec: &ItemSpec, set: &Set, reset: bool) -> Result<String, Fault> {
        let (family, table) = (spec.table.family, crate::Text::from(&spec.table.name.text));
        let list = ElementList::new(family, table, &spec.name.text, 0);
        let mut found = Vec::with_capacity(set.elements.len());
        for element in &set.elements {
            let compiled = named_set(&interval::beginning(element, set))
                .map_err(|error| Fault::new(spec.name.span, error.to_string()))?;
            let keys: Vec<_> = interval::without_start(&compiled.keys).iter().map(SetKey::element).collect();
            let mut reader = SetReader::new(Set { elements: Vec::new(), ..set.clone() });
            let read = self.socket.get_elements(&list, &keys, reset, |list| {
                list.elements().try_for_each(|element| element.map(|element| reader.add(&element)))?;
                Ok(())
            });
            read.map_err(|error| failure(spec.name.span, &error))?;
            let mut around = reader.finish().elements.into_iter();
            let around = around.find(|range| interval::covers(range, element, set));
            found.push(around.ok_or_else(|| {
                Fault::new(spec.name.span, "Could not process rule: No such file or directory")
            })?);
        }
        let mut listed = Table::new(family, table);
        listed.sets.push(Set { elements: found, ..set.clone() });
        Ok(self.show(vec![listed], true))
    }

    /// A set with the elements that `read` gives.
    fn whole_set(
        &mut self,
        spec: &ItemSpec,
        read: impl FnOnce(&mut Socket, &mut SetReader) -> Result<(), Error>,
    ) -> Result<String, Fault> {
        let (family, name) = (spec.table.family, crate::Text::from(&spec.table.name.text));
        let mut head = None;
        let found = self.socket.set(family, name, (&spec.name.text).into(), |set| {
            head = Some(decompile::set(&set));
            Ok(())
        });
        found.map_err(|error| failure(spec.name.span, &error))?;
        let Some(set) = head else { return Err(missing(spec.name.span)) };
        let mut reader = SetReader::new(set);
        read(self.socket, &mut reader).map_err(|error| failure(spec.name.span, &error))?;
        let mut table = Table::new(family, name);
        table.sets.push(reader.finish());
        Ok(self.show(vec![table], true))
    }
}

fn missing(span: Span) -> Fault {
    Fault::new(span, "No such file or directory")
}

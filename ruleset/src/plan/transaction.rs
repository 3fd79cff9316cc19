//! A batch of the kernel's objects made from the model's, and from a message back to the object that it is about.

use std::collections::BTreeSet;
use std::fmt;

use nftwire::expr::Immediate;
use nftwire::{Batch, ChainFlags, ElementList, Expr, Position, Verdict};

use crate::model::statement::ObjectKind;
use crate::nft::compile::{
    self, AnonymousSet, NamedSet, NotCompiled, SetKey, compile_for_kernel, compile_in, named_set,
};
use crate::validate::RuleLocation;
use crate::{Chain, Family, Name, Rule, Ruleset};
use nftwire::Text;
use nftwire::feature::Feature;

/// Bytes in which the rulesets of most pods fit: a buffer that grows is copied over and over.
const USUAL: usize = 8 * 1024;

/// A batch that is being filled with a ruleset's objects.
#[must_use = "it does nothing before its batch is sent"]
#[derive(Debug)]
pub struct Transaction<'a> {
    batch: Batch,
    desired: &'a Ruleset,
    /// What each message of the batch is about, in order
    objects: Vec<Object>,
    /// What goes, or from where
    removed: Vec<Subject>,
    /// The chains that belong to rules and are in the batch: their tables' numbers, and their own
    anonymous: BTreeSet<(usize, usize)>,
    /// How many desired rules exist already and stay
    pub(super) kept_rules: usize,
}

/// What a message is about, as the user knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Whether it, or something in it, is removed
    pub is_removal: bool,
    /// The family of the table
    pub family: Family,
    /// The name of the table
    pub table: Name,
    /// The name of the set, if it is about one
    pub set: Option<Name>,
    /// The name of the chain, if it is about one
    pub chain: Option<Name>,
    /// The rule's number in the chain, from 0, and its text, if it is about one
    pub rule: Option<(usize, String)>,
    /// nft's word for the kind and the name of the object or the flowtable, if it is about one
    pub object: Option<(&'static str, Name)>,
}

impl Subject {
    pub(super) fn table(family: Family, name: &Name) -> Self {
        let table = name.clone();
        Self { is_removal: false, family, table, set: None, chain: None, rule: None, object: None }
    }

    pub(super) fn object(self, kind: ObjectKind, name: &Name) -> Self {
        Self { object: Some((kind.name(), name.clone())), ..self }
    }

    pub(super) fn flowtable(self, name: &Name) -> Self {
        Self { object: Some(("flowtable", name.clone())), ..self }
    }

    pub(super) fn set(self, name: &Name) -> Self {
        Self { set: Some(name.clone()), ..self }
    }

    pub(super) fn chain(self, name: &Name) -> Self {
        Self { chain: Some(name.clone()), ..self }
    }
}

/// `table inet NAME`, `set NAME in inet TABLE`, `counter NAME in inet TABLE`, `chain NAME in inet TABLE`,
/// `rule 7 of NAME in inet TABLE ("tcp dport …")`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, .. } = self;
        if self.is_removal {
            f.write_str("the removal of ")?;
        }
        if let Some(set) = &self.set {
            return write!(f, "set {set} in {family} {table}");
        }
        if let Some((kind, name)) = &self.object {
            return write!(f, "{kind} {name} in {family} {table}");
        }
        let Some(chain) = &self.chain else { return write!(f, "table {family} {table}") };
        let rule = self.rule.as_ref();
        let place = RuleLocation {
            family: self.family,
            table: &self.table,
            chain,
            rule: rule.map(|(number, _)| *number),
        };
        write!(f, "{place}")?;
        rule.map_or(Ok(()), |(_, text)| write!(f, " (\"{text}\")"))
    }
}

/// What a message is about, by its place in the desired ruleset.
#[derive(Clone, Copy, Debug)]
enum Object {
    /// What is not desired goes; the number is that of its subject
    Removal(usize),
    Table {
        table: usize,
    },
    Set {
        table: usize,
        set: usize,
    },
    /// A counter, a quota or the like
    Named {
        table: usize,
        object: usize,
    },
    Flowtable {
        table: usize,
        flowtable: usize,
    },
    Chain {
        table: usize,
        chain: usize,
    },
    Rule(RuleNumber),
    /// A chain that belongs to a rule, or what is in it
    OfRule(RuleNumber),
}

/// A rule by the numbers of its table, its chain and its own.
#[derive(Clone, Copy, Debug)]
struct RuleNumber {
    table: usize,
    chain: usize,
    rule: usize,
}

/// What a transaction consists of that removes nothing and keeps nothing, to be sent in several namespaces.
#[derive(Debug)]
pub(super) struct Compiled {
    batch: Batch,
    objects: Vec<Object>,
    anonymous: BTreeSet<(usize, usize)>,
}

impl Compiled {
    /// The transaction to the ruleset for which this was compiled.
    pub(super) fn transaction<'a>(&self, desired: &'a Ruleset) -> Transaction<'a> {
        let Self { batch, objects, anonymous } = self;
        let (batch, objects, anonymous) = (batch.clone(), objects.clone(), anonymous.clone());
        Transaction { batch, desired, objects, removed: Vec::new(), anonymous, kept_rules: 0 }
    }
}

impl<'a> Transaction<'a> {
    /// A copy of all that does not say what is removed or kept.
    pub(super) fn compiled(&self) -> Compiled {
        let Self { batch, objects, anonymous, desired: _, removed: _, kept_rules: _ } = self;
        Compiled { batch: batch.clone(), objects: objects.clone(), anonymous: anonymous.clone() }
    }

    /// An empty transaction on the way to `desired`, refused if the ruleset is not of this generation any more.
    pub(super) fn new(desired: &'a Ruleset, generation: u32) -> Self {
        let mut batch = Batch::with_buffer(Vec::with_capacity(USUAL));
        batch.require_generation(generation);
        Self {
            batch,
            desired,
            objects: Vec::new(),
            removed: Vec::new(),
            anonymous: BTreeSet::new(),
            kept_rules: 0,
        }
    }

    /// How many desired rules exist already and stay, with their counters.
    #[must_use]
    pub fn kept_rules(&self) -> usize {
        self.kept_rules
    }

    /// The batch, to be sent.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// What a message of the batch is about.
    #[must_use]
    pub fn subject(&self, message: usize) -> Option<Subject> {
        let desired = |table: usize| {
            let table = &self.desired.tables[table];
            (table, Subject::table(table.family, &table.name))
        };
        Some(match *self.objects.get(message)? {
            Object::Removal(removal) => self.removed.get(removal)?.clone(),
            Object::Table { table } => desired(table).1,
            Object::Set { table, set } => {
                let (table, subject) = desired(table);
                subject.set(&table.sets[set].name)
            }
            Object::Named { table, object } => {
                let (table, subject) = desired(table);
                let object = &table.objects[object];
                subject.object(object.data.kind(), &object.name)
            }
            Object::Flowtable { table, flowtable } => {
                let (table, subject) = desired(table);
                subject.flowtable(&table.flowtables[flowtable].name)
            }
            Object::Chain { table, chain } => {
                let (table, subject) = desired(table);
                subject.chain(&table.chains[chain].name)
            }
            Object::Rule(RuleNumber { table, chain, rule })
            | Object::OfRule(RuleNumber { table, chain, rule }) => {
                let (table, subject) = desired(table);
                let chain = &table.chains[chain];
                Subject { rule: Some((rule, chain.rules[rule].to_string())), ..subject.chain(&chain.name) }
            }
        })
    }

    /// What a message takes that a kernel may lack; `expression` is the number of the refused one in the rule.
    #[must_use]
    pub fn feature(&self, message: usize, expression: Option<usize>) -> Option<&'static Feature> {
        match *self.objects.get(message)? {
            Object::Removal(_) | Object::Named { .. } | Object::Flowtable { .. } | Object::OfRule(_) => None,
            Object::Table { table } => Feature::of_family(self.desired.tables[table].family),
            Object::Set { table, set } => {
                let compiled = named_set(&self.desired.tables[table].sets[set]).ok()?;
                Feature::of_set(compiled.flags)
            }
            Object::Chain { table, chain } => {
                Feature::of_chain(self.desired.tables[table].chains[chain].base?.kind.name())
            }
            Object::Rule(RuleNumber { table, chain, rule }) => {
                let table = &self.desired.tables[table];
                let compiled = compile_in(table, &table.chains[chain].rules[rule], 1).ok()?;
                Feature::of_expression(compiled.expressions.get(expression?)?)
            }
        }
    }

    /// Adds the desired table with this number, which must not exist.
    pub(super) fn create_table(&mut self, table: usize) -> Result<(), NotCompiled> {
        let desired = &self.desired.tables[table];
        let userdata = desired.userdata.with(desired.comment.as_ref())?;
        self.push(Object::Table { table }, |batch| {
            batch.create_table(&compile::table::table(desired, &userdata));
        });
        Ok(())
    }

    /// Adds the desired table with this number, or leaves the existing one.
    pub(super) fn add_table(&mut self, table: usize) -> Result<(), NotCompiled> {
        let desired = &self.desired.tables[table];
        let userdata = desired.userdata.with(desired.comment.as_ref())?;
        self.push(Object::Table { table }, |batch| {
            batch.add_table(&compile::table::table(desired, &userdata));
        });
        Ok(())
    }

    /// Adds a desired object, or leaves the existing one.
    pub(super) fn add_object(&mut self, table: usize, object: usize) -> Result<(), NotCompiled> {
        let desired = &self.desired.tables[table];
        let model = &desired.objects[object];
        let userdata = model.userdata.with(model.comment.as_ref())?;
        let message = compile::table::object(desired.family, desired.name.as_text(), model, &userdata)?;
        self.push(Object::Named { table, object }, |batch| batch.add_object(&message));
        Ok(())
    }

    /// Adds a desired flowtable, or leaves the existing one.
    pub(super) fn add_flowtable(&mut self, table: usize, flowtable: usize) {
        let desired = &self.desired.tables[table];
        let model = &desired.flowtables[flowtable];
        let message = compile::table::flowtable(desired.family, desired.name.as_text(), model);
        self.push(Object::Flowtable { table, flowtable }, |batch| batch.add_flowtable(&message));
    }

    /// Adds a desired set with its elements.
    pub(super) fn add_set(&mut self, table: usize, set: usize) -> Result<(), NotCompiled> {
        let desired = &self.desired.tables[table];
        let (family, table_name) = (desired.family, desired.name.as_text());
        let name = desired.sets[set].name.as_text();
        let compiled = NamedSet::sent(desired, &desired.sets[set])?;
        self.push(Object::Set { table, set }, |batch| {
            let id = batch.take_set_id();
            batch.add_set(&compiled.head(family, table_name, name, id));
            batch.add_elements(&ElementList::new(family, table_name, name, id), compiled.elements());
        });
        Ok(())
    }

    /// Adds the elements of a desired set that stays; without what it holds, unless others may fill it, too.
    pub(super) fn add_elements(&mut self, table: usize, set: usize) -> Result<(), NotCompiled> {
        let desired = &self.desired.tables[table];
        let (family, table_name) = (desired.family, desired.name.as_text());
        let name = desired.sets[set].name.as_text();
        let compiled = named_set(&desired.sets[set])?;
        self.push(Object::Set { table, set }, |batch| {
            if !compiled.flags.is_volatile() {
                batch.flush_set(family, table_name, name);
            }
            batch.add_elements(&ElementList::new(family, table_name, name, 0), compiled.elements());
        });
        Ok(())
    }

    /// Adds a desired chain, or leaves the existing one.
    pub(super) fn add_chain(&mut self, table: usize, chain: usize) -> Result<(), NotCompiled> {
        let desired = &self.desired.tables[table];
        let model = &desired.chains[chain];
        let userdata = model.userdata.with(model.comment.as_ref())?;
        let policy = model.base.map(|base| base.policy);
        let name = desired.name.as_text();
        let message = compile::table::chain(desired.family, name, model, policy, &userdata);
        self.push(Object::Chain { table, chain }, |batch| batch.add_chain(&message));
        Ok(())
    }

    /// Adds a desired rule, with the sets that belong to it before.
    pub(super) fn add_rule(
        &mut self,
        table: usize,
        chain: usize,
        rule: usize,
        place: Position,
    ) -> Result<(), NotCompiled> {
        let desired = &self.desired.tables[table].chains[chain];
        let number = RuleNumber { table, chain, rule };
        self.put_rule(number, Object::Rule(number), &desired.rules[rule], (desired.name.as_text(), 0), place)
    }

    /// Adds a rule to a chain with this name, or with this number where the kernel names it: in nft's order, its sets, its
    /// chains, the rule.
    fn put_rule(
        &mut self,
        number: RuleNumber,
        object: Object,
        rule: &'a Rule,
        (chain, chain_id): (Text<'a>, u32),
        place: Position,
    ) -> Result<(), NotCompiled> {
        let table = &self.desired.tables[number.table];
        let (family, name) = (table.family, table.name.as_text());
        let mut compiled = compile_for_kernel(table, rule, self.batch.next_set_id())?;
        self.push(object, |batch| {
            compiled.sets.iter().for_each(|set| add_anonymous_set(batch, family, name, set));
        });
        for expression in &mut compiled.expressions {
            if let Expr::Immediate(Immediate::Verdict(verdict)) = expression
                && let Verdict::Jump(target) | Verdict::Goto(target) = *verdict
                && let Some(own) = table.anonymous.iter().position(|chain| chain.name.as_text() == target)
                && self.anonymous.insert((number.table, own))
            {
                let id = self.add_anonymous_chain(number, &table.anonymous[own])?;
                *verdict = match *verdict {
                    Verdict::Goto(_) => Verdict::GotoId(id),
                    _ => Verdict::JumpId(id),
                };
            }
        }
        self.push(object, |batch| {
            let mut rule = nftwire::Rule::new(family, name, chain);
            (rule.userdata, rule.compat) = (&compiled.userdata, compiled.compat);
            rule.chain_id = chain_id;
            batch.add_rule(&rule, place, &compiled.expressions);
        });
        Ok(())
    }

    /// Adds a chain that belongs to a rule, with its rules; returns the number by which the rule jumps to it.
    fn add_anonymous_chain(&mut self, number: RuleNumber, chain: &'a Chain) -> Result<u32, NotCompiled> {
        let table = &self.desired.tables[number.table];
        let id = u32::try_from(self.anonymous.len()).unwrap_or(u32::MAX);
        let userdata = chain.userdata.with(chain.comment.as_ref())?;
        self.push(Object::OfRule(number), |batch| {
            let chain = nftwire::Chain::new(table.family, &table.name, "");
            let flags = ChainFlags::BINDING;
            batch.add_chain(&nftwire::Chain { id, flags, userdata: &userdata, ..chain });
        });
        for rule in &chain.rules {
            self.put_rule(number, Object::OfRule(number), rule, ("".into(), id), Position::Append)?;
        }
        Ok(id)
    }

    /// Adds something to the batch that removes what is not desired.
    pub(super) fn remove(&mut self, subject: Subject, fill: impl FnOnce(&mut Batch)) {
        self.removed.push(Subject { is_removal: true, ..subject });
        self.push(Object::Removal(self.removed.len() - 1), fill);
    }

    fn push(&mut self, object: Object, fill: impl FnOnce(&mut Batch)) {
        fill(&mut self.batch);
        self.objects.resize(self.batch.messages(), object);
    }
}

pub(crate) fn add_anonymous_set(batch: &mut Batch, family: Family, table: Text<'_>, set: &AnonymousSet) {
    let id = batch.take_set_id();
    batch.add_set(&set.head(family, table, id));
    let elements = set.keys.iter().map(SetKey::element);
    batch.add_elements(&ElementList::new(family, table, set.name(), id), elements);
}

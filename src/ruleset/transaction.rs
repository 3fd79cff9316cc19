//! A batch of the kernel's objects made from the model's, and the way back from a message to what it stands for.

use nftwire::{Batch, ElementList, Place, Set};

use super::compile::{ANONYMOUS_SET_NAME, AnonymousSet, NotCompiled, SetKey, compile, named_set};
use super::validate::RulePlace;
use super::{Chain, Family, Ruleset, Table};

/// A batch that is being filled with a ruleset's objects.
#[derive(Debug)]
pub struct Transaction<'a> {
    batch: Batch,
    wanted: &'a Ruleset,
    /// What each message of the batch is about, in order
    objects: Vec<Object>,
}

/// What a message is about, by its place in the wanted ruleset.
#[derive(Clone, Copy, Debug)]
enum Object {
    /// Something that is not wanted goes
    Removal,
    Table {
        table: usize,
    },
    Set {
        table: usize,
        set: usize,
    },
    Chain {
        table: usize,
        chain: usize,
    },
    Rule {
        table: usize,
        chain: usize,
        rule: usize,
    },
}

impl<'a> Transaction<'a> {
    /// An empty transaction on the way to `wanted`, refused if the ruleset is not of this generation any more.
    #[must_use]
    pub fn new(wanted: &'a Ruleset, generation: u32) -> Self {
        let mut batch = Batch::new();
        batch.require_generation(generation);
        Self { batch, wanted, objects: Vec::new() }
    }

    /// All of `wanted` where none of it is there, whatever the generation.
    ///
    /// # Errors
    /// A rule has something that only can be shown.
    pub fn from_nothing(wanted: &'a Ruleset) -> Result<Self, NotCompiled> {
        let mut transaction = Self { batch: Batch::new(), wanted, objects: Vec::new() };
        for (number, table) in wanted.tables.iter().enumerate() {
            transaction.add_table(number);
            for chain in 0..table.chains.len() {
                transaction.add_chain(number, chain);
            }
            for (chain, rules) in table.chains.iter().map(|chain| chain.rules.len()).enumerate() {
                for rule in 0..rules {
                    transaction.add_rule(number, chain, rule, Place::Append)?;
                }
            }
        }
        Ok(transaction)
    }

    /// The batch, to be sent.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// What a message of the batch is about: `rule 7 of istio-output in inet istio-proxy-nat ("tcp dport …")`.
    #[must_use]
    pub fn describe(&self, message: usize) -> Option<String> {
        let place = |table: &Table, chain: &Chain, rule| {
            RulePlace { family: table.family, table: &table.name, chain: &chain.name, rule }.to_string()
        };
        match *self.objects.get(message)? {
            Object::Removal => None,
            Object::Table { table } => Some(format!("table {}", self.wanted.tables[table])),
            Object::Set { table, set } => {
                let table = &self.wanted.tables[table];
                Some(format!("set {} in {table}", table.sets[set].name))
            }
            Object::Chain { table, chain } => {
                let table = &self.wanted.tables[table];
                Some(place(table, &table.chains[chain], None))
            }
            Object::Rule { table, chain, rule } => {
                let table = &self.wanted.tables[table];
                let chain = &table.chains[chain];
                Some(format!("{} (\"{}\")", place(table, chain, Some(rule)), chain.rules[rule]))
            }
        }
    }

    /// Adds the wanted table with this number.
    pub(super) fn add_table(&mut self, table: usize) {
        let wanted = &self.wanted.tables[table];
        self.push(Object::Table { table }, |batch| {
            batch.add_table(&nftwire::Table::new(wanted.family, &wanted.name));
        });
    }

    /// Adds a wanted set with its elements.
    pub(super) fn add_set(&mut self, table: usize, set: usize) -> Result<(), NotCompiled> {
        let wanted = &self.wanted.tables[table];
        let (family, table_name) = (wanted.family, wanted.name.as_str());
        let name = wanted.sets[set].name.as_str();
        let compiled = named_set(&wanted.sets[set])?;
        self.push(Object::Set { table, set }, |batch| {
            let id = batch.take_set_id();
            batch.add_set(&Set {
                id,
                flags: compiled.flags,
                key_type: compiled.data_type.set_number(),
                userdata: &compiled.userdata,
                ..Set::new(family, table_name, name, compiled.key_len)
            });
            batch.add_elements(
                &ElementList::new(family, table_name, name, id),
                compiled.keys.iter().map(SetKey::element),
            );
        });
        Ok(())
    }

    /// Adds a wanted chain, or leaves the one that is there.
    pub(super) fn add_chain(&mut self, table: usize, chain: usize) {
        let message = self.chain_message(table, chain);
        self.push(Object::Chain { table, chain }, |batch| batch.add_chain(&message));
    }

    /// Adds a wanted rule, with the sets that belong to it before.
    pub(super) fn add_rule(
        &mut self,
        table: usize,
        chain: usize,
        rule: usize,
        place: Place,
    ) -> Result<(), NotCompiled> {
        let wanted = &self.wanted.tables[table];
        let (family, name) = (wanted.family, wanted.name.as_str());
        let chain_name = wanted.chains[chain].name.as_str();
        let first_set_id = self.batch.next_set_id();
        let compiled = compile(family, &wanted.chains[chain].rules[rule], first_set_id)?;
        self.push(Object::Rule { table, chain, rule }, |batch| {
            for set in &compiled.sets {
                add_anonymous_set(batch, family, name, set);
            }
            let mut rule = nftwire::Rule::new(family, name, chain_name);
            rule.userdata = &compiled.userdata;
            batch.add_rule(&rule, place, &compiled.expressions);
        });
        Ok(())
    }

    /// Puts something into the batch that takes away what is not wanted.
    pub(super) fn remove(&mut self, fill: impl FnOnce(&mut Batch)) {
        self.push(Object::Removal, fill);
    }

    fn push(&mut self, object: Object, fill: impl FnOnce(&mut Batch)) {
        fill(&mut self.batch);
        self.objects.resize(self.batch.messages(), object);
    }

    fn chain_message(&self, table: usize, chain: usize) -> nftwire::Chain<'a> {
        let table = &self.wanted.tables[table];
        let chain = &table.chains[chain];
        let base = chain.base.as_ref().map(|base| nftwire::BaseChain {
            kind: base.kind.name(),
            hook: base.hook,
            priority: base.priority,
            policy: Some(base.policy),
        });
        nftwire::Chain { base, ..nftwire::Chain::new(table.family, &table.name, &chain.name) }
    }
}

fn add_anonymous_set(batch: &mut Batch, family: Family, table: &str, set: &AnonymousSet) {
    let id = batch.take_set_id();
    batch.add_set(&set.head(family, table, ANONYMOUS_SET_NAME, id));
    let elements = set.keys.iter().map(SetKey::element);
    batch.add_elements(&ElementList::new(family, table, ANONYMOUS_SET_NAME, id), elements);
}

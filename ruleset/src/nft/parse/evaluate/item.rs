//! What commands add, by the kernel's objects.

use nftwire::{Family, Hook, Policy, uapi};

use super::super::parser::each_rule;
use super::super::source::{Fault, Span};
use super::super::syntax::{
    self, ChainBlock, CommandKind, ExprKind, FlowtableBlock, HookSpec, ItemSpec, Name, ObjectBlock,
    ObjectSpec, Priority, RulePosition, TableBlock, TableSpec, Verb,
};
use super::element::{key_kinds, value_kinds};
use super::{Evaluated, Evaluator};
use crate::model::object::{Flowtable, Object, ObjectData};
use crate::model::statement::{Limit, Quota, Synproxy};
use crate::{BaseChain, Chain, ChainKind, Rule, Set, SetValue, Table, Userdata};

/// One object of the kernel's that a command adds.
#[derive(Clone, Debug)]
pub struct Item {
    /// The family of the table
    pub family: Family,
    /// The table's name
    pub table: Box<str>,
    /// Whether it may exist
    pub verb: Verb,
    /// What it is
    pub data: ItemData,
    /// The command
    pub span: Span,
    /// The table's name
    pub table_span: Span,
    /// Its own name; for a rule the chain's
    pub name_span: Span,
}

/// What a command adds.
#[derive(Clone, Debug)]
pub enum ItemData {
    /// A table, without what it holds
    Table(Table),
    /// A chain, without rules, and the policy where one was said
    Chain(Chain, Option<Policy>),
    /// A set, without elements
    Set(Box<Set>),
    /// Elements, with the set that they are for
    Elements(Box<Set>),
    /// An object
    Object(Object),
    /// A flowtable
    Flowtable(Flowtable),
    /// A rule
    Rule {
        /// The chain's name
        chain: Box<str>,
        /// Where in the chain
        position: RulePosition,
        /// The rule
        rule: Rule,
        /// The rules of its anonymous chains, which it and the blocks after it jump to by [`ANONYMOUS_CHAIN`](super::ANONYMOUS_CHAIN) and their number
        blocks: Vec<Vec<Rule>>,
        /// The sets that it names and about which the compiler has to know something, without their elements
        named: Vec<Set>,
    },
}

/// Elements that are evaluated and handed over at a time, where they need not be seen together: the model of an element
/// takes many times the bytes of its text.
const ELEMENTS_AT_A_TIME: usize = 512;

/// Hands over what a command adds, and collects what is wrong with it.
struct Collector<'c> {
    sink: &'c mut dyn FnMut(Item) -> Result<(), Fault>,
    /// Why the sink refused an item
    refused: Option<Fault>,
    faults: Vec<Fault>,
    family: Family,
    table: Box<str>,
    verb: Verb,
    span: Span,
    table_span: Span,
}

impl Collector<'_> {
    fn add(&mut self, name_span: Span, data: Evaluated<ItemData>) {
        let data = match data {
            Ok(data) => data,
            Err(fault) => return self.faults.push(fault),
        };
        // What is wrong is said of the whole command; what is right is of no use any more.
        if self.refused.is_some() || !self.faults.is_empty() {
            return;
        }
        let item = Item {
            family: self.family,
            table: self.table.clone(),
            verb: self.verb,
            data,
            span: self.span,
            table_span: self.table_span,
            name_span,
        };
        self.refused = (self.sink)(item).err();
    }
}

impl Evaluator<'_> {
    /// Hands what a command adds to `sink`, one after the other, until that fails; nothing for one that adds nothing.
    ///
    /// # Errors
    /// Everything that is wrong with it, or else why the sink failed.
    pub fn additions(
        &mut self,
        command: &syntax::Command,
        sink: &mut dyn FnMut(Item) -> Result<(), Fault>,
    ) -> Result<(), Vec<Fault>> {
        let (table, verb) = match &command.kind {
            CommandKind::AddTable(verb, table, _) => (table, *verb),
            CommandKind::AddChain(verb, item, _)
            | CommandKind::AddSet(verb, item, _)
            | CommandKind::AddElements(verb, item, _)
            | CommandKind::AddObject(verb, item, _)
            | CommandKind::AddFlowtable(verb, item, _) => (&item.table, *verb),
            CommandKind::AddRule { chain, .. } => (&chain.table, Verb::Add),
            _ => return Ok(()),
        };
        self.enter(table.family, &table.name.text);
        let mut collector = Collector {
            sink,
            refused: None,
            faults: Vec::new(),
            family: table.family,
            table: table.name.text.clone(),
            verb,
            span: command.span,
            table_span: table.name.span,
        };
        match &command.kind {
            CommandKind::AddTable(_, table, block) => self.add_table(&mut collector, table, block.as_deref()),
            CommandKind::AddChain(_, chain, block) => {
                let empty = ChainBlock::default();
                let block = block.as_deref().unwrap_or(&empty);
                let data = self.chain(&chain.name, block);
                collector.add(chain.name.span, data);
                self.add_rules(&mut collector, &chain.name, block);
            }
            CommandKind::AddRule { chain, position, rule } => {
                self.add_rule(&mut collector, &chain.name, *position, rule);
            }
            CommandKind::AddSet(_, set, block) => {
                let declared = self.set_block(&set.name, block);
                self.add_set(&mut collector, &set.name, declared, block);
            }
            CommandKind::AddElements(_, set, elements) => {
                match self.set_named(&set.name.text, set.name.span) {
                    Ok(found) => self.add_elements(&mut collector, &set.name, &found, elements),
                    Err(fault) => collector.faults.push(fault),
                }
            }
            CommandKind::AddObject(_, object, block) => {
                collector.add(object.name.span, self.object(&object.name, block).map(ItemData::Object));
            }
            CommandKind::AddFlowtable(_, flowtable, block) => {
                let data = self.flowtable(&flowtable.name, block).map(ItemData::Flowtable);
                collector.add(flowtable.name.span, data);
            }
            _ => {}
        }
        let Collector { refused, mut faults, .. } = collector;
        if faults.is_empty() {
            faults.extend(refused);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// A set that was declared or that the kernel holds.
    ///
    /// # Errors
    /// There is no such set.
    pub(crate) fn set_of(&mut self, set: &ItemSpec) -> Result<Set, Fault> {
        self.enter(set.table.family, &set.table.name.text);
        self.set_named(&set.name.text, set.name.span)
    }

    /// Elements of a set that was declared or that the kernel holds.
    ///
    /// # Errors
    /// There is no such set, or the elements are not of its type.
    pub(crate) fn elements_of(&mut self, set: &ItemSpec, elements: &syntax::Expr) -> Result<Set, Fault> {
        let mut found = self.set_of(set)?;
        found.elements = self.all_elements(&found, elements)?;
        Ok(found)
    }

    /// A set that was declared or that the kernel holds, with this one element.
    ///
    /// # Errors
    /// There is no such set, or the element is not of its type.
    pub(crate) fn element_of(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        entry: syntax::Entry<'_>,
    ) -> Result<Set, Fault> {
        self.enter(family, table);
        let found = self.set_named(set, entry.span())?;
        let (keys, values) = (key_kinds(&found), value_kinds(&found));
        let elements = self.elements(std::iter::once(entry), &keys, values.as_deref(), Some(&found))?;
        Ok(Set { elements, ..found })
    }

    /// Devices of a flowtable.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn flowtable_of(
        &mut self,
        flowtable: &ItemSpec,
        block: &FlowtableBlock,
    ) -> Result<Flowtable, Fault> {
        self.enter(flowtable.table.family, &flowtable.table.name.text);
        self.flowtable(&flowtable.name, block)
    }

    /// In nft's order (nftables, `nft_cmd_expand`): the table, chains, objects, sets, flowtables, elements, rules.
    fn add_table(&mut self, collector: &mut Collector<'_>, table: &TableSpec, block: Option<&TableBlock>) {
        let empty = TableBlock::default();
        let block = block.unwrap_or(&empty);
        collector.add(table.name.span, self::table(table, block).map(ItemData::Table));
        for (name, chain) in &block.chains {
            let data = self.chain(name, chain);
            collector.add(name.span, data);
        }
        for (name, object) in &block.objects {
            collector.add(name.span, self.object(name, object).map(ItemData::Object));
        }
        let mut elements = Vec::new();
        for (name, set) in &block.sets {
            match self.set_block(name, set) {
                Ok(mut declared) => {
                    declared.size = self.constant_size(&declared, set);
                    self.declare(&declared);
                    elements.push((name, declared.clone(), set));
                    collector.add(name.span, Ok(ItemData::Set(Box::new(declared))));
                }
                Err(fault) => collector.faults.push(fault),
            }
        }
        for (name, flowtable) in &block.flowtables {
            collector.add(name.span, self.flowtable(name, flowtable).map(ItemData::Flowtable));
        }
        for (name, set, block) in elements {
            if let Some(elements) = &block.elements {
                self.add_elements(collector, name, &set, elements);
            }
        }
        for (name, chain) in &block.chains {
            self.add_rules(collector, name, chain);
        }
    }

    fn add_set(
        &mut self,
        collector: &mut Collector<'_>,
        name: &Name,
        set: Evaluated<Set>,
        block: &syntax::SetBlock,
    ) {
        match set {
            Ok(mut set) => {
                set.size = self.constant_size(&set, block);
                self.declare(&set);
                collector.add(name.span, Ok(ItemData::Set(Box::new(set.clone()))));
                if let Some(elements) = &block.elements {
                    self.add_elements(collector, name, &set, elements);
                }
            }
            Err(fault) => collector.faults.push(fault),
        }
    }

    /// Ranges of one field are sent together, because they may become one; others some at a time.
    fn add_elements(
        &mut self,
        collector: &mut Collector<'_>,
        name: &Name,
        set: &Set,
        elements: &syntax::Expr,
    ) {
        let together = set.flags & uapi::NFT_SET_INTERVAL != 0 && set.key.types.len() == 1;
        let at_a_time = if together { usize::MAX } else { ELEMENTS_AT_A_TIME };
        let evaluated = self.set_elements(set, elements, at_a_time, &mut |elements| {
            let set = Set { elements, ..set.clone() };
            collector.add(name.span, Ok(ItemData::Elements(Box::new(set))));
        });
        if let Err(fault) = evaluated {
            collector.faults.push(fault);
        }
    }

    fn add_rules(&mut self, collector: &mut Collector<'_>, chain: &Name, block: &ChainBlock) {
        let read = each_rule(&block.rules, &mut |rule| {
            self.add_rule(collector, chain, RulePosition::Append, rule);
        });
        collector.faults.extend(read.err());
    }

    fn add_rule(
        &mut self,
        collector: &mut Collector<'_>,
        chain: &Name,
        position: RulePosition,
        rule: &syntax::Rule,
    ) {
        let data = self.rule(collector.family, &collector.table, rule).map(|(rule, blocks)| {
            let mut named = Vec::new();
            std::iter::once(&rule)
                .chain(blocks.iter().flatten())
                .for_each(|rule| self.named_by(rule, &mut named));
            ItemData::Rule { chain: chain.text.clone(), position, rule, blocks, named }
        });
        let span = std::mem::replace(&mut collector.span, rule.span);
        collector.add(chain.span, data);
        collector.span = span;
    }

    /// The sets that a rule names, as far as they were declared or looked up: maps of values, whose values are loaded, and
    /// sets of ranges, whose keys have the most significant byte first.
    fn named_by(&self, rule: &Rule, named: &mut Vec<Set>) {
        for statement in &rule.statements {
            statement.each_set_name(&mut |name| {
                let known = std::str::from_utf8(name.as_bytes()).ok().and_then(|name| self.declared(name));
                let matters = |set: &&Set| {
                    matches!(set.value, Some(SetValue::Data { .. }))
                        || set.flags & uapi::NFT_SET_INTERVAL != 0
                };
                if let Some(set) = known.filter(matters) {
                    named.push(set.clone());
                }
            });
        }
    }

    fn chain(&mut self, name: &Name, block: &ChainBlock) -> Evaluated<ItemData> {
        let policy = block.policy.as_ref().map(policy).transpose()?;
        let mut devices = Vec::new();
        let base = match &block.hook {
            Some(hook) => {
                devices = names(&hook.devices)?;
                Some(self.base(hook, policy)?)
            }
            None => None,
        };
        let comment = block.comment.as_ref().map(|comment| comment.text.clone().into());
        let flags = if block.offload { uapi::NFT_CHAIN_HW_OFFLOAD } else { 0 };
        let chain = Chain { name: (&name.text).into(), comment, flags, base, devices, ..Chain::default() };
        Ok(ItemData::Chain(chain, policy))
    }

    fn base(&self, spec: &HookSpec, policy: Option<Policy>) -> Evaluated<BaseChain> {
        let family = self.context.family;
        let Some(kind) = ChainKind::from_name(&spec.kind.text) else {
            return Err(Fault::new(spec.kind.span, "unknown chain type"));
        };
        let hooks = [
            Hook::PreRouting,
            Hook::LocalIn,
            Hook::Forward,
            Hook::LocalOut,
            Hook::PostRouting,
            Hook::InetIngress,
        ];
        let named = |hook: &Hook| crate::nft::print::hook_name(family, *hook) == &*spec.hook.text;
        let Some(hook) = hooks.into_iter().find(named) else {
            let known = ["prerouting", "input", "forward", "output", "postrouting", "ingress", "egress"];
            let message = match known.contains(&&*spec.hook.text) {
                true => format!("The {family} family does not support this hook"),
                false => "unknown chain hook".to_owned(),
            };
            return Err(Fault::new(spec.hook.span, message));
        };
        let on_device = matches!((family, &*spec.hook.text), (Family::Netdev, _) | (Family::Inet, "ingress"));
        if on_device && spec.devices.is_empty() {
            let message = "Missing `device' in this chain definition";
            return Err(Fault::new(spec.span, message));
        }
        if !on_device && let Some(device) = spec.devices.first() {
            return Err(Fault::new(device.span, "This chain type cannot be bound to device"));
        }
        let priority = priority(&spec.priority, family, hook)?;
        Ok(BaseChain { kind, hook, priority, policy: policy.unwrap_or(Policy::Accept) })
    }

    fn flowtable(&mut self, name: &Name, block: &FlowtableBlock) -> Evaluated<Flowtable> {
        let priority = match (&block.hook, &block.priority) {
            (Some(hook), Some(priority)) => {
                if &*hook.text != "ingress" {
                    return Err(Fault::new(hook.span, "unknown hook"));
                }
                self::priority(priority, Family::Netdev, Hook::PreRouting)?
            }
            _ => 0,
        };
        Ok(Flowtable {
            name: (&name.text).into(),
            handle: 0,
            priority,
            devices: names(&block.devices)?,
            flags: block.flags,
        })
    }

    fn object(&mut self, name: &Name, block: &ObjectBlock) -> Evaluated<Object> {
        let family = self.context.family;
        let l3 = |given: &Option<Family>| given.unwrap_or(family).number();
        let large =
            |number: u64| u32::try_from(number).map_err(|_| Fault::new(block.span, "value too large"));
        let data = match &block.data {
            ObjectSpec::Counter(counter) => ObjectData::Counter(*counter),
            ObjectSpec::Quota(quota) => {
                ObjectData::Quota(quota.unwrap_or(Quota { bytes: 0, used: 0, over: false }))
            }
            ObjectSpec::Limit(limit) => ObjectData::Limit(limit.unwrap_or(Limit {
                rate: 0,
                unit: 0,
                burst: 0,
                bytes: false,
                over: false,
            })),
            ObjectSpec::Secmark(context) => ObjectData::Secmark(
                context
                    .as_ref()
                    .map_or(nftwire::Name::default(), |context| nftwire::Name::from(&context.text)),
            ),
            ObjectSpec::Synproxy(synproxy) => {
                ObjectData::Synproxy(synproxy.unwrap_or(Synproxy { mss: 0, wscale: 0, flags: 0 }))
            }
            ObjectSpec::CtHelper { helper, l4proto, l3proto } => ObjectData::CtHelper {
                helper: helper
                    .as_ref()
                    .map_or(nftwire::Name::default(), |helper| nftwire::Name::from(&helper.text)),
                l3proto: l3(l3proto),
                l4proto: *l4proto,
            },
            ObjectSpec::CtTimeout { l4proto, l3proto, policy } => ObjectData::CtTimeout {
                l3proto: l3(l3proto),
                l4proto: *l4proto,
                timeouts: timeouts(*l4proto, policy)?,
            },
            ObjectSpec::CtExpectation { l4proto, l3proto, dport, timeout, size } => {
                ObjectData::CtExpectation {
                    l3proto: l3(l3proto),
                    l4proto: *l4proto,
                    port: u16::try_from(*dport).map_err(|_| Fault::new(block.span, "invalid port"))?,
                    timeout: large(*timeout)?,
                    size: u8::try_from(*size).map_err(|_| Fault::new(block.span, "value too large"))?,
                }
            }
        };
        let comment = block.comment.as_ref().map(|comment| comment.text.clone().into());
        Ok(Object { name: (&name.text).into(), handle: 0, comment, userdata: Userdata::default(), data })
    }
}

fn table(spec: &TableSpec, block: &TableBlock) -> Evaluated<Table> {
    let mut table = Table::new(spec.family, &spec.name.text);
    table.comment = block.comment.as_ref().map(|comment| comment.text.clone().into());
    for flag in &block.flags {
        table.flags |= match &*flag.text {
            "dormant" => uapi::NFT_TABLE_F_DORMANT,
            "owner" => uapi::NFT_TABLE_F_OWNER,
            "persist" => uapi::NFT_TABLE_F_PERSIST,
            _ => return Err(Fault::new(flag.span, "unknown table option")),
        };
    }
    Ok(table)
}

fn policy(expr: &syntax::Expr) -> Evaluated<Policy> {
    match &expr.kind {
        ExprKind::Word(word) | ExprKind::Quoted(word) if &**word == "accept" => Ok(Policy::Accept),
        ExprKind::Word(word) | ExprKind::Quoted(word) if &**word == "drop" => Ok(Policy::Drop),
        _ => Err(Fault::new(expr.span, "invalid policy expression")),
    }
}

/// The names in a list of devices; a variable may be a set of them.
fn names(devices: &[syntax::Expr]) -> Evaluated<Vec<nftwire::Name>> {
    let mut names: Vec<nftwire::Name> = Vec::new();
    for device in devices {
        match &device.kind {
            ExprKind::Word(name) | ExprKind::Quoted(name) => names.push(name.into()),
            ExprKind::Set(elements) => {
                for entry in elements.iter() {
                    match &entry.element().key.kind {
                        ExprKind::Word(name) | ExprKind::Quoted(name) => names.push(name.into()),
                        _ => return Err(Fault::new(entry.span(), "not a device's name")),
                    }
                }
            }
            _ => return Err(Fault::new(device.span, "not a device's name")),
        }
    }
    names.sort_unstable();
    names.dedup();
    // IFNAMSIZ
    match names.iter().find(|name| name.len() > 15) {
        Some(_) => {
            Err(Fault::new(devices.first().map_or(Span::default(), |device| device.span), "name too long"))
        }
        None => Ok(names),
    }
}

/// nft(8), "Standard priority names"
fn priority(spec: &Priority, family: Family, hook: Hook) -> Evaluated<i32> {
    let invalid = |text: &str| {
        Err(Fault::new(spec.span, format!("invalid priority expression {text} in this context.")))
    };
    let base = match spec.base.as_ref().map(|base| &base.kind) {
        None => 0,
        Some(ExprKind::Number(number)) => i64::try_from(*number).unwrap_or(i64::MAX),
        Some(ExprKind::Word(text) | ExprKind::Quoted(text)) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => {
                let mut words = text.split_whitespace();
                let name = words.next().unwrap_or("");
                let Some(base) = named_priority(name, family, hook) else { return invalid("value") };
                // A variable may have `filter - 10` between quotes.
                let offset = match (words.next(), words.next().map(str::parse::<i32>), words.next()) {
                    (None, None, None) => 0,
                    (Some("+"), Some(Ok(offset)), None) => offset,
                    (Some("-"), Some(Ok(offset)), None) => -offset,
                    _ => return invalid("value"),
                };
                i64::from(base) + i64::from(offset)
            }
        },
        Some(_) => return invalid("set"),
    };
    i32::try_from(base + spec.offset).map_err(|_| Fault::new(spec.span, "priority is out of range"))
}

fn named_priority(name: &str, family: Family, hook: Hook) -> Option<i32> {
    if family == Family::Bridge {
        return match (name, hook) {
            ("dstnat", Hook::PreRouting) => Some(-300),
            ("filter", _) => Some(-200),
            ("out", Hook::LocalOut) => Some(100),
            ("srcnat", Hook::PostRouting) => Some(300),
            _ => None,
        };
    }
    let ip = matches!(family, Family::Inet | Family::Ipv4 | Family::Ipv6);
    match (name, hook) {
        ("filter", _) => Some(0),
        ("raw", _) if ip => Some(-300),
        ("mangle", _) if ip => Some(-150),
        ("dstnat", Hook::PreRouting) if ip => Some(-100),
        ("security", _) if ip => Some(50),
        ("srcnat", Hook::PostRouting) if ip => Some(100),
        _ => None,
    }
}

/// Seconds by the state's number, 0 for those that are not said.
fn timeouts(l4proto: u8, policy: &[(Name, u64)]) -> Evaluated<Vec<u32>> {
    let states = crate::nft::print::timeouts(l4proto);
    let mut timeouts = Vec::new();
    for (state, seconds) in policy {
        let Some(index) = states.iter().position(|(name, _)| *name == &*state.text) else {
            let message = format!("{} is not a valid state name", state.text);
            return Err(Fault::new(state.span, message));
        };
        if timeouts.len() <= index {
            timeouts.resize(index + 1, 0);
        }
        timeouts[index] = u32::try_from(*seconds).map_err(|_| Fault::new(state.span, "value too large"))?;
    }
    Ok(timeouts)
}

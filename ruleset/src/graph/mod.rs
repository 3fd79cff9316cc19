//! A ruleset as a picture: hooks in the order in which packets traverse them, chains with their rules, and arrows from the
//! rules to the chains that they jump to.
//!
//! The picture is made here, without a program: [`Graph::svg`] draws it, [`Graph::dot`] leaves that to graphviz.

mod columns;
mod dot;
mod layout;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::nft::print::{Options, Printer, hook_name, policy_name, priority_name};
use crate::{BaseChain, Chain, Expression, Family, Name, Rule, Ruleset, Statement, Table, Verdict};

/// Of a long chain the first rules and the last ones are drawn, unless all are asked for.
const FIRST_RULES: usize = 20;
const LAST_RULES: usize = 10;
/// How many chains to which nothing leads are drawn, unless all are asked for.
const UNUSED_CHAINS: usize = 30;
/// What is drawn: chains in the order of hooks and priorities, those without a hook after them.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The names of the tables
    tables: Vec<String>,
    chains: Vec<Node>,
    /// Whether there are more chains than the columns of their depths should hold
    is_folded: bool,
    /// How many chains and rules there are, drawn or not
    total: (usize, usize),
    /// What is to be said of all of it
    notes: Vec<String>,
}

/// A chain.
#[derive(Clone, Debug)]
struct Node {
    /// The number of its table
    table: usize,
    name: String,
    /// Its table and, for a base chain, its type, hook and priority
    facts: String,
    hook: Option<Stage>,
    rows: Vec<Row>,
    /// The column that it is in: to the right of all that leads to it
    column: usize,
}

/// A line of a chain.
#[derive(Clone, Debug, Default)]
struct Row {
    kind: RowKind,
    text: String,
    /// All that it is a part of
    full: String,
    /// Packets and bytes, where it counts them
    counted: Option<(u64, u64)>,
    jumps: Vec<Jump>,
    /// Whether packets passed
    moved: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RowKind {
    /// A rule, or its beginning
    #[default]
    Rule,
    /// Where a rule goes on that does not fit one line
    Continued,
    /// What is said of the chain
    Remark,
    /// What is said of the rules that are not drawn; it leads wherever they lead
    Hidden,
}

/// Where a rule leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    /// The number of the chain
    chain: usize,
    /// Whether the packet does not come back: `goto`
    goto: bool,
}

/// A place where packets come by; they meet the lower ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stage {
    order: usize,
    /// Packets of a device, a bridge or ARP, or of IP
    layer: Layer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Device,
    Bridge,
    Arp,
    Ip,
}

/// The hooks as packets meet them, and which packets these are.
const HOOKS: [(&str, &str); 8] = [
    ("ingress", "packets that a device received, before anything else sees them"),
    ("prerouting", "packets that came in, before it is decided where they go"),
    ("input", "packets to this host"),
    ("forward", "packets that this host passes on"),
    ("output", "packets that this host sends"),
    ("postrouting", "packets that are about to go out"),
    ("egress", "packets that a device is about to send"),
    ("unknown", "a hook without a name here"),
];

impl Stage {
    fn new(family: Family, name: &str) -> Self {
        let order = HOOKS.iter().position(|hook| hook.0 == name).unwrap_or(HOOKS.len() - 1);
        let layer = match family {
            Family::Netdev => Layer::Device,
            Family::Bridge => Layer::Bridge,
            Family::Arp => Layer::Arp,
            _ => Layer::Ip,
        };
        Self { order, layer }
    }

    /// Its name, and which packets it is about.
    fn heading(self) -> (String, &'static str) {
        let (name, packets) = HOOKS[self.order];
        let layer = match self.layer {
            Layer::Bridge => " of a bridge",
            Layer::Arp => " of ARP",
            Layer::Device | Layer::Ip => "",
        };
        (format!("{name}{layer}"), packets)
    }
}

impl Graph {
    /// A picture of the ruleset; with `all`, of every rule of long chains, too, and of all chains that they lead to.
    #[must_use]
    pub fn new(ruleset: &Ruleset, options: Options<'_>, all: bool) -> Self {
        let mut order: Vec<(usize, &Table, &Chain)> = Vec::with_capacity(ruleset.chain_count());
        for (number, table) in ruleset.tables.iter().enumerate() {
            let chains = table.chains.iter().chain(&table.anonymous);
            order.extend(chains.map(|chain| (number, table, chain)));
        }
        order.sort_by_key(|(_, table, chain)| match chain.base {
            Some(base) => {
                (0, Some(Stage::new(table.family, hook_name(table.family, base.hook))), base.priority)
            }
            None => (1, None, 0),
        });
        let numbers: Numbers<'_> = order
            .iter()
            .enumerate()
            .map(|(index, (table, _, chain))| ((*table, &chain.name), index))
            .collect();
        let mut chains: Vec<_> = order
            .iter()
            .map(|&(number, table, chain)| {
                let jumps = Jumps { number, table, numbers: &numbers };
                node(chain, &jumps, options, all)
            })
            .collect();
        let total = (chains.len(), ruleset.rule_count());
        let mut notes = Vec::new();
        if !all {
            notes.extend(leave_out(&mut chains));
        }
        let is_folded = columns::set(&mut chains);
        let tables = ruleset.tables.iter().map(ToString::to_string).collect();
        Self { tables, chains, is_folded, total, notes }
    }

    /// The same, with a line of text above the picture.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// The numbers of chains by their table's number and their name.
type Numbers<'r> = HashMap<(usize, &'r Name), usize>;

/// What is needed to find where a rule leads to.
struct Jumps<'r> {
    number: usize,
    table: &'r Table,
    numbers: &'r Numbers<'r>,
}

impl Jumps<'_> {
    fn of(&self, rule: &Rule) -> Vec<Jump> {
        let mut jumps = Vec::new();
        for statement in &rule.statements {
            match statement {
                Statement::Verdict(verdict) => self.add(verdict, &mut jumps),
                Statement::VerdictMap(Expression::Map(map)) => {
                    let elements = match &map.map {
                        Expression::Set(elements) => elements.as_slice(),
                        Expression::SetName(name) => {
                            let set = self.table.sets.iter().find(|set| set.name == *name);
                            set.map_or(&[][..], |set| &set.elements)
                        }
                        _ => &[],
                    };
                    for element in elements {
                        if let Some(Expression::Verdict(verdict)) = &element.value {
                            self.add(verdict, &mut jumps);
                        }
                    }
                }
                _ => {}
            }
        }
        jumps
    }

    fn add(&self, verdict: &Verdict, jumps: &mut Vec<Jump>) {
        let (name, goto) = match verdict {
            Verdict::Jump(name) => (name, false),
            Verdict::Goto(name) => (name, true),
            _ => return,
        };
        if let Some(&chain) = self.numbers.get(&(self.number, name)) {
            let jump = Jump { chain, goto };
            if !jumps.contains(&jump) {
                jumps.push(jump);
            }
        }
    }
}

fn node(chain: &Chain, jumps: &Jumps<'_>, options: Options<'_>, all: bool) -> Node {
    let table = jumps.table;
    let rules = chain.rules.as_slice();
    // A remark takes as much room as a rule.
    let (first, hidden_rules, last) = match rules.len().checked_sub(LAST_RULES) {
        Some(end) if !all && end > FIRST_RULES + 1 => {
            (&rules[..FIRST_RULES], &rules[FIRST_RULES..end], &rules[end..])
        }
        _ => (rules, &[][..], &[][..]),
    };
    let drawn = |rules: &[Rule]| rules.iter().flat_map(|rule| rows(rule, jumps, options)).collect::<Vec<_>>();
    let mut rows = drawn(first);
    if !hidden_rules.is_empty() {
        rows.push(hidden(hidden_rules, jumps));
    }
    rows.extend(drawn(last));
    let mut facts = table.to_string();
    let mut hook = None;
    match chain.base {
        Some(BaseChain { kind, hook: at, priority, policy }) => {
            let name = hook_name(table.family, at);
            let priority = priority_name(table.family, at, priority);
            facts.push_str(&format!(" · type {} hook {name} priority {priority}", kind.name()));
            if !chain.devices.is_empty() {
                let devices = format!("device {}", crate::nft::print::joined(&chain.devices));
                rows.splice(0..0, text::lines(&devices).into_iter().map(Row::remark));
            }
            hook = Some(Stage::new(table.family, name));
            rows.push(Row::remark(format!("policy {}", policy_name(policy))));
        }
        None if rows.is_empty() => rows.push(Row::remark("no rules".to_owned())),
        None => {}
    }
    Node { table: jumps.number, name: chain.name.to_string(), facts, hook, rows, column: 0 }
}

impl Row {
    fn remark(text: String) -> Self {
        Self { full: text.clone(), text, kind: RowKind::Remark, ..Self::default() }
    }

    fn is_remark(&self) -> bool {
        matches!(self.kind, RowKind::Remark | RowKind::Hidden)
    }
}

/// The lines of a rule: its count is next to the first one, and the last one leads on, where the verdict is.
fn rows(rule: &Rule, jumps: &Jumps<'_>, options: Options<'_>) -> Vec<Row> {
    let mut full = String::new();
    Printer { out: &mut full, options: Options { stateless: true, handles: false, ..options } }.rule(rule);
    let counted = counted([rule]);
    let moved = counted.is_some_and(|counts| counts != (0, 0));
    let row = |text| Row { text, full: full.clone(), kind: RowKind::Continued, moved, ..Row::default() };
    let mut rows: Vec<_> = text::lines(&full).into_iter().map(row).collect();
    if let Some(first) = rows.first_mut() {
        (first.kind, first.counted) = (RowKind::Rule, counted);
    }
    if let Some(last) = rows.last_mut() {
        last.jumps = jumps.of(rule);
    }
    rows
}

/// The rules that are not drawn, as one line that leads wherever they lead.
fn hidden(rules: &[Rule], jumps: &Jumps<'_>) -> Row {
    let counted = counted(rules);
    let mut row = Row::remark(format!("… {} more", rules.len()));
    (row.kind, row.counted) = (RowKind::Hidden, counted);
    row.moved = counted.is_some_and(|counts| counts != (0, 0));
    for jump in rules.iter().flat_map(|rule| jumps.of(rule)) {
        if !row.jumps.contains(&jump) {
            row.jumps.push(jump);
        }
    }
    row
}

/// Leaves out the chains to which only rules lead that are not drawn, and most of those to which nothing leads; returns
/// what to say of them.
fn leave_out(chains: &mut Vec<Node>) -> Option<String> {
    let called: HashSet<usize> = chains.iter().flat_map(targets).map(|jump| jump.chain).collect();
    let all = 0..chains.len();
    let unused = all.clone().filter(|index| chains[*index].hook.is_none() && !called.contains(index));
    let mut drawn: BTreeSet<usize> = all.filter(|index| chains[*index].hook.is_some()).collect();
    drawn.extend(unused.take(UNUSED_CHAINS));
    let mut next: Vec<_> = drawn.iter().copied().collect();
    while let Some(chain) = next.pop() {
        let rows = chains[chain].rows.iter().filter(|row| row.kind != RowKind::Hidden);
        let targets = rows.flat_map(|row| &row.jumps).map(|jump| jump.chain);
        next.extend(targets.filter(|target| drawn.insert(*target)));
    }
    let numbers: HashMap<usize, usize> = drawn.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let before = chains.len();
    let mut index = 0..;
    chains.retain(|_| index.next().is_some_and(|index| drawn.contains(&index)));
    for row in chains.iter_mut().flat_map(|chain| &mut chain.rows) {
        let leads = row.jumps.len();
        row.jumps.retain_mut(|jump| numbers.get(&jump.chain).map(|number| jump.chain = *number).is_some());
        match leads - row.jumps.len() {
            0 => {}
            1 => row.text.push_str(", to a chain that is not drawn"),
            left_out => row.text.push_str(&format!(", to {left_out} chains that are not drawn")),
        }
    }
    let left_out = before - chains.len();
    (left_out > 0)
        .then(|| format!("{left_out} of {before} chains are not drawn: no rule that is drawn leads to them"))
}

/// What the counters of the rules say, if there are any.
fn counted<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Option<(u64, u64)> {
    let counters =
        rules.into_iter().flat_map(|rule| &rule.statements).filter_map(|statement| match statement {
            Statement::Counter(counter) => Some((counter.packets, counter.bytes)),
            _ => None,
        });
    counters.reduce(|sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)))
}

fn targets(chain: &Node) -> impl Iterator<Item = &Jump> {
    chain.rows.iter().flat_map(|row| &row.jumps)
}

/// Packets and bytes in a few characters.
fn amount((packets, bytes): (u64, u64)) -> String {
    if packets == 0 && bytes == 0 {
        return "0".to_owned();
    }
    format!("{} pkt, {}B", scaled(packets, ""), scaled(bytes, " "))
}

/// Three digits and the SI prefix.
fn scaled(number: u64, space: &str) -> String {
    let mut unit = 1;
    for prefix in ["", "k", "M", "G", "T", "P", "E"] {
        let (whole, tenth) = (number / unit, number % unit * 10 / unit);
        match whole {
            0..=9 if unit > 1 => return format!("{whole}.{tenth}{space}{prefix}"),
            0..=999 => return format!("{whole}{space}{prefix}"),
            _ => unit = unit.saturating_mul(1000),
        }
    }
    number.to_string()
}

/// The text for XML and graphviz's HTML, neither of which takes control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            character if character.is_control() => out.push('\u{fffd}'),
            character => out.push(character),
        }
    }
    out
}

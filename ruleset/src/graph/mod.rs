//! A ruleset as a picture: hooks in the order in which packets meet them, chains with their rules, and arrows from the
//! rules to the chains that they jump to.
//!
//! The picture is made here, without a program: [`Graph::svg`] draws it, [`Graph::dot`] leaves that to graphviz.

mod dot;
mod layout;
mod svg;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::nft::print::{Options, Printer, hook_name, policy_name, priority_name};
use crate::{BaseChain, Chain, Expression, Family, Name, Rule, Ruleset, Statement, Table, Verdict};

/// How many rules of a chain are drawn, unless all are asked for.
const RULES: usize = 30;
/// How much of a text is drawn, in characters.
const TEXT: usize = 88;
/// How much of that is for the end of a rule, which says what happens to the packet.
const END: usize = 32;
/// The kernel follows jumps as deep as that (`NFT_JUMP_STACK_SIZE` in include/net/netfilter/nf_tables.h).
const DEPTH: usize = 16;

/// What is drawn: chains in the order of hooks and priorities, those without a hook behind them.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The names of the tables
    tables: Vec<String>,
    chains: Vec<Node>,
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
    /// How many jumps lead to it, at most
    depth: usize,
}

/// A line of a chain: a rule, or what is to be said of rules.
#[derive(Clone, Debug, Default)]
struct Row {
    text: String,
    /// Packets and bytes, where it counts them
    counted: Option<(u64, u64)>,
    jumps: Vec<Jump>,
    /// Whether it is a remark and not a rule
    remark: bool,
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
    /// A picture of the ruleset; with `all`, of every rule of long chains, too.
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
        let limit = if all { usize::MAX } else { RULES };
        let mut chains: Vec<_> = order
            .iter()
            .map(|&(number, table, chain)| {
                let jumps = Jumps { number, table, numbers: &numbers };
                node(chain, &jumps, options, limit)
            })
            .collect();
        set_depths(&mut chains);
        Self { tables: ruleset.tables.iter().map(ToString::to_string).collect(), chains }
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

fn node(chain: &Chain, jumps: &Jumps<'_>, options: Options<'_>, limit: usize) -> Node {
    let table = jumps.table;
    // A remark takes as much room as a rule.
    let shown = if chain.rules.len() <= limit.saturating_add(1) { chain.rules.len() } else { limit };
    let (first, rest) = chain.rules.split_at(shown);
    let mut rows: Vec<_> = first.iter().map(|rule| row(rule, jumps, options)).collect();
    if !rest.is_empty() {
        rows.push(hidden(rest, jumps));
    }
    let mut facts = table.to_string();
    let mut hook = None;
    match chain.base {
        Some(BaseChain { kind, hook: at, priority, policy }) => {
            let name = hook_name(table.family, at);
            let priority = priority_name(table.family, at, priority);
            facts.push_str(&format!(" · type {} hook {name} priority {priority}", kind.name()));
            if !chain.devices.is_empty() {
                facts.push_str(&format!(" · device {}", crate::nft::print::joined(&chain.devices)));
            }
            hook = Some(Stage::new(table.family, name));
            rows.push(Row::remark(format!("policy {}", policy_name(policy))));
        }
        None if rows.is_empty() => rows.push(Row::remark("no rules".to_owned())),
        None => {}
    }
    Node { table: jumps.number, name: chain.name.to_string(), facts, hook, rows, depth: 0 }
}

impl Row {
    fn remark(text: String) -> Self {
        Self { text, remark: true, ..Self::default() }
    }

    /// The text, without its middle where it is long.
    fn shown(&self) -> String {
        let count = self.text.chars().count();
        if count <= TEXT {
            return self.text.clone();
        }
        let start = self.text.chars().take(TEXT - END - 1);
        start.chain(['…']).chain(self.text.chars().skip(count - END)).collect()
    }

    /// Whether packets came by.
    fn moved(&self) -> bool {
        self.counted.is_some_and(|(packets, bytes)| packets > 0 || bytes > 0)
    }
}

fn row(rule: &Rule, jumps: &Jumps<'_>, options: Options<'_>) -> Row {
    let mut text = String::new();
    Printer { out: &mut text, options: Options { stateless: true, handles: false, ..options } }.rule(rule);
    Row { text, counted: counted([rule]), jumps: jumps.of(rule), remark: false }
}

/// The rules that are not drawn, as one line that leads wherever they lead.
fn hidden(rules: &[Rule], jumps: &Jumps<'_>) -> Row {
    let mut row = Row::remark(format!("… {} more", rules.len()));
    row.counted = counted(rules);
    for jump in rules.iter().flat_map(|rule| jumps.of(rule)) {
        if !row.jumps.contains(&jump) {
            row.jumps.push(jump);
        }
    }
    row
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

/// Each chain stands to the right of those that jump to it. The kernel refuses loops; should there be one, its chains
/// end up as deep as the kernel follows jumps.
fn set_depths(chains: &mut [Node]) {
    for _ in 0..DEPTH {
        let mut changed = false;
        for index in 0..chains.len() {
            let depth = (chains[index].depth + 1).min(DEPTH);
            let targets: Vec<_> = targets(&chains[index]).map(|jump| jump.chain).collect();
            for target in targets {
                if chains[target].depth < depth && chains[target].hook.is_none() {
                    chains[target].depth = depth;
                    changed = true;
                }
            }
        }
        if !changed {
            return;
        }
    }
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

/// The text in at most `limit` characters.
fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit - 1).chain(['…']).collect(),
    }
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

//! A ruleset as nft shows it (`nft list ruleset`), and as `nft -f` takes it.

mod expression;
mod names;
mod object;
mod set;
mod statement;
mod value;

use std::collections::HashMap;
use std::fmt::{self, Display, Write};
use std::net::IpAddr;

use nftwire::{TableFlags, uapi};

use crate::{BaseChain, Chain, DataType, Family, Name, Rule, Ruleset, Statement, Table};
pub(crate) use expression::tunnel_name;
pub use names::hook_name;
pub(crate) use names::{ct_name, meta_name, policy_name, priority_name};
pub(crate) use object::{direction, family_name, hexadecimal};
pub(crate) use statement::{level_name, scaled, timeouts};
pub(crate) use value::{date, hour, ipv6};

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Without what changes by itself: counters, quotas, expirations (`nft -s`)
    pub stateless: bool,
    /// With the kernel's handles (`nft -a`)
    pub handles: bool,
    /// The names of the interfaces by their indices; an index without a name is shown as a number
    pub interfaces: Option<&'a HashMap<u32, String>>,
    /// The anonymous chains of the table, which are shown in the rules that jump to them
    pub anonymous: &'a [Chain],
    /// What is shown as a number where nft has a name for it
    pub numeric: Numeric,
    /// What is shown by a name that the system has for it
    pub names: Names<'a>,
}

/// The names that a system has for numbers and addresses; those of kinds that are not shown by name are `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Services by their ports (`nft -S`)
    pub services: Option<&'a HashMap<u16, String>>,
    /// Users by their uids (`nft -u`)
    pub users: Option<&'a HashMap<u32, String>>,
    /// Groups by their gids (`nft -u`)
    pub groups: Option<&'a HashMap<u32, String>>,
    /// Hosts by their addresses (`nft -N`)
    pub hosts: Option<&'a HashMap<IpAddr, String>>,
}

/// What is shown as a number where nft has a name for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numeric {
    /// Priorities of chains and flowtables (`nft -y`)
    pub priority: bool,
    /// Transport protocols (`nft -p`)
    pub protocol: bool,
    /// Durations, in seconds (`nft -T`)
    pub time: bool,
    /// Everything else (with the others, `nft -n`)
    pub symbol: bool,
}

impl Numeric {
    /// Whether values of a type are shown by their names.
    pub(crate) fn has_names(self, data_type: DataType) -> bool {
        !match data_type {
            DataType::InetProto => self.protocol,
            _ => self.symbol,
        }
    }
}

/// Writes parts of a ruleset to the end of a text.
#[derive(Debug)]
pub struct Printer<'a> {
    /// Where it goes
    pub out: &'a mut String,
    /// What is shown
    pub options: Options<'a>,
}

impl Printer<'_> {
    /// Every table, one after the other.
    pub fn ruleset(&mut self, ruleset: &Ruleset) {
        ruleset.tables.iter().for_each(|table| self.table(table));
    }

    /// A table with all it holds.
    pub fn table(&mut self, table: &Table) {
        let options = Options { anonymous: &table.anonymous, ..self.options };
        Printer { out: self.out, options }.table_parts(table);
    }

    fn table_parts(&mut self, table: &Table) {
        let mut first = self.table_head(table);
        for object in &table.objects {
            self.separate(&mut first);
            self.object(object);
        }
        for set in &table.sets {
            self.separate(&mut first);
            self.set(set);
        }
        for flowtable in &table.flowtables {
            self.separate(&mut first);
            self.flowtable(flowtable);
        }
        for chain in &table.chains {
            self.separate(&mut first);
            self.chain_head(table.family, chain);
            chain.rules.iter().for_each(|rule| self.rule_line(rule));
            self.out.push_str("\t}\n");
        }
        self.out.push_str("}\n");
    }

    /// The first lines of a table; returns whether what follows is the first thing in it.
    pub fn table_head(&mut self, table: &Table) -> bool {
        self.put(format_args!("table {table} {{"));
        if self.options.handles {
            self.put(format_args!(" # handle {}", table.handle));
        }
        self.out.push('\n');
        let flags: Vec<_> = table_flags(table.flags).collect();
        if !flags.is_empty() {
            self.put(format_args!("\tflags {}\n", flags.join(",")));
        }
        if let Some(comment) = &table.comment {
            self.put(format_args!("\tcomment {}\n", comment.quoted()));
        }
        flags.is_empty()
    }

    /// An empty line, unless nothing is before it.
    pub fn separate(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push('\n');
        }
    }

    /// The first lines of a chain.
    pub fn chain_head(&mut self, family: Family, chain: &Chain) {
        self.put(format_args!("\tchain {} {{", chain.name));
        self.handle(chain.handle);
        if let Some(comment) = &chain.comment {
            self.put(format_args!("\n\t\tcomment {}", comment.quoted()));
        }
        self.out.push('\n');
        let Some(BaseChain { kind, hook, priority, policy }) = chain.base else { return };
        self.put(format_args!("\t\ttype {} hook {}", kind.name(), hook_name(family, hook)));
        match chain.devices.as_slice() {
            [] => {}
            [device] => self.put(format_args!(" device {}", device.quoted())),
            devices => self.put(format_args!(" devices = {{ {} }}", joined(devices))),
        }
        let priority = self.priority(family, hook, priority);
        self.put(format_args!(" priority {priority}; policy {};\n", policy_name(policy)));
        if chain.flags & uapi::NFT_CHAIN_HW_OFFLOAD != 0 {
            self.out.push_str("\t\tflags offload;\n");
        }
    }

    /// A priority by its name, where it has one and names are wanted.
    fn priority(&self, family: Family, hook: nftwire::Hook, priority: i32) -> String {
        match self.options.numeric.priority {
            true => priority.to_string(),
            false => priority_name(family, hook, priority),
        }
    }

    /// A rule as a line of a chain.
    pub fn rule_line(&mut self, rule: &Rule) {
        self.out.push_str("\t\t");
        self.rule(rule);
        self.out.push('\n');
    }

    /// A rule.
    pub fn rule(&mut self, rule: &Rule) {
        for (index, statement) in rule.statements.iter().enumerate() {
            if index > 0 {
                self.out.push(' ');
            }
            self.statement(statement);
        }
        if let Some(comment) = &rule.comment {
            self.put(format_args!(" comment {}", comment.quoted()));
        }
        self.handle(rule.handle);
    }

    fn handle(&mut self, handle: u64) {
        if self.options.handles {
            self.put(format_args!(" # handle {handle}"));
        }
    }

    pub(crate) fn put(&mut self, text: fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.out.write_fmt(text);
    }
}

/// Names with commas between them.
pub(crate) fn joined(names: &[Name]) -> String {
    let name = |name: &Name| if is_pattern(name) { name.quoted().to_string() } else { name.to_string() };
    names.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Whether it matches all devices whose names begin so.
pub(crate) fn is_pattern(device: &Name) -> bool {
    device.as_bytes().ends_with(b"*")
}

/// nft's names for a table's flags.
pub fn table_flags(flags: u32) -> impl Iterator<Item = &'static str> {
    let known =
        [(TableFlags::DORMANT, "dormant"), (TableFlags::OWNER, "owner"), (TableFlags::PERSIST, "persist")];
    known.into_iter().filter(move |(flag, _)| TableFlags(flags).contains(*flag)).map(|flag| flag.1)
}

fn display(f: &mut fmt::Formatter<'_>, print: impl FnOnce(&mut Printer<'_>)) -> fmt::Result {
    let mut out = String::new();
    print(&mut Printer { out: &mut out, options: Options { stateless: true, ..Options::default() } });
    f.write_str(&out)
}

/// Every table, one after the other, without counters' values.
impl Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, |printer| printer.ruleset(self))
    }
}

/// One line, without counters' values.
impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, |printer| printer.rule(self))
    }
}

/// Without counters' values.
impl Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, |printer| printer.statement(self))
    }
}

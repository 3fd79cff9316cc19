//! From the syntax tree to the model: what words and numbers mean where they are.
//!
//! nft does the same in src/evaluate.c. What depends on the kernel's expressions (implicit dependencies, byte order of
//! comparisons, registers) is left to the compiler.

mod assignment;
mod comparison;
mod context;
mod describe;
mod element;
mod expression;
mod item;
mod nat;
mod set;
mod statement;
mod value;

use std::collections::HashMap;
use std::net::IpAddr;

use nftwire::Family;

pub use item::{Item, ItemData};

use super::source::{Fault, Span};
use super::syntax;
use crate::{DataType, Name, Rule, Set, Verdict};
use context::Context;

/// What a text refers to outside of itself.
pub trait World {
    /// The index of the interface with this name.
    fn interface(&mut self, name: &str) -> Option<u32>;
    /// The port of a service (services(5)).
    fn service(&mut self, name: &str) -> Option<u16>;
    /// The addresses of a host (hosts(5)).
    fn host(&mut self, name: &str) -> Vec<IpAddr>;
    /// The uid of a user (passwd(5)).
    fn user(&mut self, name: &str) -> Option<u32>;
    /// The gid of a group (group(5)).
    fn group(&mut self, name: &str) -> Option<u32>;
    /// The number that a file of iproute2's, such as `rt_marks`, or of xtables' has for a name.
    fn number(&mut self, file: &str, name: &str) -> Option<u32>;
    /// The inode number of a control group, by its path from the root.
    fn cgroup(&mut self, path: &str) -> Option<u64>;
    /// Whether local time is UTC.
    fn is_utc(&mut self) -> bool;
    /// A set that the kernel holds, without its elements.
    ///
    /// # Errors
    /// It cannot be read.
    fn set(&mut self, family: Family, table: &str, name: &str) -> Result<Option<Set>, nftwire::Error>;
}

/// With a number, the name of an anonymous chain of an evaluated rule. A text cannot have such a name.
pub const ANONYMOUS_CHAIN: &str = "__chain%";

type Evaluated<T> = Result<T, Fault>;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    data_type: DataType,
    bits: u32,
}

impl Kind {
    fn new(data_type: DataType) -> Self {
        Self { data_type, bits: 8 * data_type.size() }
    }

    fn bytes(self) -> usize {
        usize::try_from(self.bits.div_ceil(8)).unwrap_or(0)
    }
}

/// Evaluates the commands of one text, in their order: what one declares, the next can use.
pub struct Evaluator<'a> {
    world: &'a mut dyn World,
    /// Sets that were declared, without their elements
    sets: HashMap<(Family, Box<str>, Box<str>), Set>,
    context: Context,
    table: Box<str>,
    /// The statement of a rule that is evaluated
    statement: Span,
    /// The rules of the anonymous chains of the rule that is evaluated
    blocks: Vec<Vec<Rule>>,
}

impl std::fmt::Debug for Evaluator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

impl<'a> Evaluator<'a> {
    /// Nothing is declared.
    pub fn new(world: &'a mut dyn World) -> Self {
        let context = Context::new(Family::Unspec);
        let statement = Span::default();
        Self { world, sets: HashMap::new(), context, table: "".into(), statement, blocks: Vec::new() }
    }

    /// Evaluates a rule of a chain of this table, and the rules of its anonymous chains.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn rule(
        &mut self,
        family: Family,
        table: &str,
        rule: &syntax::Rule,
    ) -> Result<(Rule, Vec<Vec<Rule>>), Fault> {
        self.blocks.clear();
        self.enter(family, table);
        let rule = self.statements(rule)?;
        Ok((rule, std::mem::take(&mut self.blocks)))
    }

    /// A jump to an anonymous chain with these rules.
    fn block(&mut self, goto: bool, rules: &[syntax::Rule]) -> Evaluated<Verdict> {
        let family = self.context.family;
        let around = std::mem::replace(&mut self.context, Context::new(family));
        let mut evaluated = Vec::with_capacity(rules.len());
        for rule in rules {
            self.context = Context::new(family);
            evaluated.push(self.statements(rule)?);
        }
        self.context = around;
        let name = Name::from(format!("{ANONYMOUS_CHAIN}{}", self.blocks.len()));
        self.blocks.push(evaluated);
        Ok(if goto { Verdict::Goto(name) } else { Verdict::Jump(name) })
    }

    fn statements(&mut self, rule: &syntax::Rule) -> Evaluated<Rule> {
        let statements = rule.statements.iter().map(|statement| {
            self.statement = statement.span;
            self.statement(statement)
        });
        let mut evaluated = Vec::with_capacity(rule.statements.len());
        for (index, statement) in statements.enumerate() {
            let statement = statement?;
            if is_terminal(&statement) && index + 1 < rule.statements.len() {
                let next = rule.statements[index + 1].span;
                let message = "Statement after terminal statement has no effect";
                return Err(Fault::new(next, message).with(rule.statements[index].span));
            }
            evaluated.push(statement);
        }
        let comment = rule.comment.as_ref().map(|comment| comment.text.clone().into());
        Ok(Rule { statements: evaluated, comment, ..Rule::default() })
    }

    fn enter(&mut self, family: Family, table: &str) {
        self.context = Context::new(family);
        if &*self.table != table {
            self.table = table.into();
        }
    }

    /// A set of the table by its name: declared before, or the kernel's.
    fn set_named(&mut self, name: &str, span: Span) -> Evaluated<Set> {
        let family = self.context.family;
        if let Some(set) = self.declared(name) {
            return Ok(set.clone());
        }
        match self.world.set(family, &self.table, name) {
            Ok(Some(set)) => {
                self.sets.insert((family, self.table.clone(), name.into()), set.clone());
                Ok(set)
            }
            Ok(None) => Err(Fault::new(span, "No such file or directory")),
            Err(error) => Err(Fault::new(span, error.to_string())),
        }
    }

    /// As [`Self::set_named`]; `None` for one that does not exist, which the kernel refuses.
    fn known_set(&mut self, name: &str, span: Span) -> Evaluated<Option<Set>> {
        let family = self.context.family;
        if self.declared(name).is_none() {
            match self.world.set(family, &self.table, name) {
                Ok(Some(set)) => drop(self.sets.insert((family, self.table.clone(), name.into()), set)),
                Ok(None) => return Ok(None),
                Err(error) => return Err(Fault::new(span, error.to_string())),
            }
        }
        Ok(self.declared(name).cloned())
    }

    fn declared(&self, name: &str) -> Option<&Set> {
        self.sets.get(&(self.context.family, self.table.clone(), name.into()))
    }
}

/// Whether nothing after it is reached.
fn is_terminal(statement: &crate::Statement) -> bool {
    use crate::Statement as S;
    match statement {
        S::Verdict(verdict) => !matches!(verdict, Verdict::Continue),
        S::Reject(_) | S::Nat(_) | S::Synproxy(_) | S::Queue(_) | S::Forward(_) => true,
        _ => false,
    }
}

//! Adds tables, chains, sets, objects, flowtables and rules.

use nftwire::expr::Immediate;
use nftwire::{BatchPosition, ChainFlags, Expr, Family, Position, Socket, Verdict, uapi};

use super::{Change, Subject, compiled, failure};
use crate::nft::compile::{Compiled, NotCompiled, compile_with, table as wire};
use crate::nft::parse::evaluate::{ANONYMOUS_CHAIN, Item, ItemData};
use crate::nft::parse::source::Fault;
use crate::nft::parse::syntax::{RulePosition, Verb};
use crate::plan::add_anonymous_set;
use crate::{Rule, Set};

impl Change {
    /// Adds one object.
    pub(in super::super) fn add(&mut self, item: Item, socket: &mut Socket) -> Result<(), Fault> {
        let Item { family, table, verb, data, span, table_span, name_span } = item;
        let subject = Subject { command: span, table: table_span, name: name_span, position: name_span };
        let refuse = |error: NotCompiled| Fault::new(span, error.to_string());
        let create = verb == Verb::Create;
        match &data {
            ItemData::Table(model) => {
                let userdata = model.userdata.with(model.comment.as_ref()).map_err(refuse)?;
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
                let userdata = model.userdata.with(model.comment.as_ref()).map_err(refuse)?;
                let message = wire::chain(family, (&table).into(), model, *policy, &userdata);
                self.push(subject, |batch| match create {
                    true => batch.create_chain(&message),
                    false => batch.add_chain(&message),
                });
            }
            ItemData::Object(model) => {
                let userdata = model.userdata.with(model.comment.as_ref()).map_err(refuse)?;
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
                let model = &Set {
                    flags: model.flags | self.updates.flags(family, &table, model),
                    ..(**model).clone()
                };
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
        let named = compiled(subject, set)?;
        self.push(subject, |batch| {
            let message = named.head(family, table, &set.name, batch.take_set_id());
            if create { batch.create_set(&message) } else { batch.add_set(&message) }
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
        if let RulePosition::Replace(handle, _) = position {
            self.replaced.push((family, table.into(), handle));
        }
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

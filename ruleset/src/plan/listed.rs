//! A desired rule as it would be listed, so that a person can compare it with the current one: by way of the
//! kernel's expressions, which do not contain what nft leaves out.

use nftwire::expr::{Lookup, Objref};
use nftwire::{AttrReader, AttrWriter, DecodeError, Expr, Message, uapi};

use crate::nft::compile::{AnonymousSet, NotCompiled, compile_in};
use crate::nft::decompile::{self, Decompiler, SetReader, Sets};
use crate::{Family, Name, Rule, Table};

/// The rule of a table as a listing has it; as it was given, where that cannot be read back.
pub(super) fn as_listed(table: &Table, rule: &Rule) -> Result<Rule, NotCompiled> {
    let family = table.family;
    let mut compiled = compile_in(table, rule, 1)?;
    let anonymous = (1..).zip(&compiled.sets).map(|(id, set)| (name(id, set), as_set(&name(id, set), set)));
    let named = table.sets.iter().map(|set| (set.name.clone(), set.clone()));
    let sets: Sets = anonymous.chain(named).collect();
    let names: Vec<_> = (1..).zip(&compiled.sets).map(|(id, set)| (id, name(id, set))).collect();
    for expression in &mut compiled.expressions {
        if let Expr::Lookup(Lookup { set, set_id, .. }) | Expr::Objref(Objref::Map { set, set_id, .. }) =
            expression
            && let Some((_, name)) = names.iter().find(|(id, _)| id == set_id)
        {
            (*set, *set_id) = (name.into(), 0);
        }
    }
    let read = read(family, &compiled.expressions, &compiled.userdata, &sets);
    Ok(read.unwrap_or_else(|_| rule.clone()))
}

fn name(id: u32, set: &AnonymousSet) -> Name {
    set.meter.as_ref().map_or_else(|| format!("__set{id}").into(), |meter| meter.name.clone())
}

fn as_set(name: &Name, set: &AnonymousSet) -> crate::Set {
    let head = nftwire::Set { name: name.into(), ..set.head(Family::Unspec, "", 0) };
    let mut reader = SetReader::new(decompile::set(&head));
    for key in &set.keys {
        reader.add(&key.element());
    }
    reader.finish()
}

fn read(family: Family, expressions: &[Expr<'_>], userdata: &[u8], sets: &Sets) -> Result<Rule, DecodeError> {
    let mut writer = AttrWriter::default();
    // The table and chain names do not matter here.
    writer.put_str(uapi::NFTA_RULE_TABLE, "desired");
    writer.put_str(uapi::NFTA_RULE_CHAIN, "desired");
    writer.nest(uapi::NFTA_RULE_EXPRESSIONS, |writer| {
        for expression in expressions {
            expression.encode(writer);
        }
    });
    writer.put(uapi::NFTA_RULE_USERDATA, userdata);
    let attributes = AttrReader::new(writer.as_bytes());
    let message = Message { kind: uapi::NFT_MSG_NEWRULE, family, generation: 0, attributes };
    Decompiler::new(family, sets).rule(&nftwire::Rule::decode(&message)?)
}

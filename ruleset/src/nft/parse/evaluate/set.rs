//! Declarations of sets and maps.

use nftwire::uapi;

use super::super::source::{Fault, Span};
use super::super::syntax::{Expr, ExprKind, Name, SetBlock, TypeSpec, ValueSpec};
use super::element::{key_kinds, value_kinds};
use super::{Evaluated, Evaluator};
use crate::nft::compile::named_set;
use crate::{DataType, Element, FieldType, Set, SetType, SetValue};

impl Evaluator<'_> {
    /// A set or a map as it was declared, and its elements.
    pub(super) fn set_block(&mut self, name: &Name, block: &SetBlock) -> Evaluated<Set> {
        let what = if block.map { "map" } else { "set" };
        let Some(key) = &block.key else {
            return Err(Fault::new(block.span, format!("{what} definition does not specify key")));
        };
        let key = self.set_type(key, what)?;
        let mut flags = block.flags;
        let value = match &block.value {
            None if block.map => {
                return Err(Fault::new(block.span, "map definition does not specify mapping data type"));
            }
            None => None,
            Some(ValueSpec::Object(kind)) => {
                flags |= uapi::NFT_SET_OBJECT;
                Some(SetValue::Object(*kind))
            }
            Some(ValueSpec::Data(spec, interval)) => {
                flags |= uapi::NFT_SET_MAP;
                Some(self.set_value(spec, *interval, what)?)
            }
        };
        if block.auto_merge && flags & uapi::NFT_SET_INTERVAL == 0 {
            return Err(Fault::new(block.span, "auto-merge only works with interval sets"));
        }
        if block.timeout.is_some() {
            flags |= uapi::NFT_SET_TIMEOUT;
        }
        if flags & uapi::NFT_SET_INTERVAL != 0 && key.types.len() > 1 {
            flags |= uapi::NFT_SET_CONCAT;
        }
        if block.statements.len() > 1 {
            flags |= uapi::NFT_SET_EXPR;
        }
        let narrow = |value: Option<u64>| match u32::try_from(value.unwrap_or(0)) {
            Ok(value) => Ok(value),
            Err(_) => Err(Fault::new(name.span, "value too large")),
        };
        let statements = block.statements.iter().map(|statement| self.statement(statement));
        let statements = statements.collect::<Result<_, _>>()?;
        Ok(Set {
            flags,
            key,
            value,
            size: narrow(block.size)?,
            timeout: block.timeout.unwrap_or(0),
            gc_interval: narrow(block.gc_interval)?,
            memory_policy: block.memory_policy.unwrap_or(false),
            auto_merge: block.auto_merge,
            comment: block.comment.as_ref().map(|comment| comment.text.clone().into()),
            statements,
            ..Set::new(&name.text, DataType::Integer)
        })
    }

    fn set_value(&mut self, spec: &TypeSpec, interval: bool, what: &str) -> Evaluated<SetValue> {
        let is_verdict = match spec {
            TypeSpec::Names(names) => names.len() == 1 && &*names[0].text == "verdict",
            TypeSpec::Of(expr) => matches!(&expr.kind, ExprKind::Word(word) if &**word == "verdict"),
        };
        if is_verdict {
            return Ok(SetValue::Verdict);
        }
        Ok(SetValue::Data { data_type: self.set_type(spec, what)?, interval })
    }

    fn set_type(&mut self, spec: &TypeSpec, what: &str) -> Evaluated<SetType> {
        match spec {
            TypeSpec::Names(names) => {
                let types = names.iter().map(|name| named_type(name, what));
                Ok(SetType { types: types.collect::<Result<_, _>>()?, expression: None })
            }
            TypeSpec::Of(expr) => {
                // What is declared need not be in a packet of the table.
                let context = self.context.clone();
                let read = self.read(expr);
                self.context = context;
                let read = read?;
                let types = read
                    .kinds
                    .iter()
                    .map(|kind| FieldType { data_type: kind.data_type, len: kind.bits.div_ceil(8) });
                Ok(SetType { types: types.collect(), expression: Some(read.expression) })
            }
        }
    }

    /// The elements of a set that is known.
    pub(super) fn all_elements(&mut self, set: &Set, elements: &Expr) -> Evaluated<Vec<Element>> {
        let mut all = Vec::new();
        self.set_elements(set, elements, usize::MAX, &mut |elements| all = elements)?;
        Ok(all)
    }

    /// Hands the elements of a set that is known to `sink`, so many at a time; never none.
    pub(super) fn set_elements(
        &mut self,
        set: &Set,
        elements: &Expr,
        at_a_time: usize,
        sink: &mut dyn FnMut(Vec<Element>),
    ) -> Evaluated<()> {
        let ExprKind::Set(items) = &elements.kind else {
            let message = format!("Set {}: Unexpected initial type, missing {{ }}?", set.name);
            return Err(Fault::new(elements.span, message));
        };
        let (keys, values) = (key_kinds(set), value_kinds(set));
        let mut items = items.iter();
        loop {
            let some = items.by_ref().take(at_a_time);
            let evaluated = self.elements(some, &keys, values.as_deref(), Some(set))?;
            if evaluated.is_empty() {
                return Ok(());
            }
            check_timeouts(set, &evaluated, elements.span)?;
            sink(evaluated);
        }
    }

    /// How many elements a set is to have that never changes: those that it begins with, as nft counts them.
    pub(super) fn constant_size(&mut self, set: &Set, block: &SetBlock) -> u32 {
        let Some(elements) = &block.elements else { return set.size };
        if set.flags & uapi::NFT_SET_CONSTANT == 0 || set.size > 0 {
            return set.size;
        }
        // What is wrong with them is said where they are added.
        let Ok(elements) = self.all_elements(set, elements) else { return set.size };
        let count = match set.flags & uapi::NFT_SET_INTERVAL {
            0 => elements.len(),
            _ => named_set(&Set { elements, ..set.clone() }).map_or(0, |compiled| compiled.keys.len()),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Remembers a set for what comes after.
    pub(super) fn declare(&mut self, set: &Set) {
        let key = (self.context.family, self.table.clone(), set.name.to_string().into());
        self.sets.entry(key).or_insert_with(|| set.clone());
    }
}

/// The type with this name of nft's.
fn named_type(name: &Name, what: &str) -> Evaluated<FieldType> {
    let known = (1..=46).filter_map(DataType::from_number).find(|known| known.name() == &*name.text);
    let Some(data_type) = known else {
        return Err(Fault::new(name.span, format!("unknown datatype {}", name.text)));
    };
    match data_type.size() {
        0 => {
            let message = format!(
                "unqualified type {} specified in {what} definition. Try \"typeof expression\" instead of \"type datatype\".",
                name.text
            );
            Err(Fault::new(name.span, message))
        }
        len => Ok(FieldType { data_type, len }),
    }
}

fn check_timeouts(set: &Set, elements: &[Element], span: Span) -> Evaluated<()> {
    let timed =
        elements.iter().any(|element| element.details.as_ref().is_some_and(|details| details.timeout > 0));
    if timed && set.flags & uapi::NFT_SET_TIMEOUT == 0 {
        return Err(Fault::new(
            span,
            "You must add 'flags timeout' to your set declaration if you want to add elements with a timeout",
        ));
    }
    Ok(())
}

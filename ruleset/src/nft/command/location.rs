//! Where in a text an element is that was refused.
//!
//! Elements are sent in another order than they are written in, and as the ends of ranges. Where each of them was is not kept
//! while they are many: when one is refused, they are evaluated once more, one after the other.

use nftwire::{ElementLocation, Family};

use super::interval;
use crate::nft::compile::named_set;
use crate::nft::parse::evaluate::Evaluator;
use crate::nft::parse::source::{Fault, Span};
use crate::nft::parse::syntax::{Command, CommandKind, Deletion, Expr, ExprKind, Name, TableSpec};
use crate::{Element, Set};

/// The elements of a set that something is said of.
#[derive(Clone, Debug)]
pub(super) struct Location {
    /// Where the text names the set
    pub(super) set: Span,
    pub(super) element: Which,
    /// Another one that it is about, too
    pub(super) related: Option<Which>,
}

/// One element of a set.
#[derive(Clone, Debug)]
pub(super) enum Which {
    /// By what was sent; of ranges that became one, the one that begins it
    Sent(ElementLocation),
    /// By what it is
    Written(Box<Element>),
}

/// A fault with the location of the element that it is about; with its own where that is not found.
pub(super) fn of_element(
    commands: &[Command],
    location: Option<&Location>,
    evaluator: &mut Evaluator<'_>,
    fault: Fault,
) -> Fault {
    let Some(location) = location else { return fault };
    let Some((table, name, elements)) = commands.iter().find_map(|command| written(command, location.set))
    else {
        return fault;
    };
    let mut find = |which| within((table.family, &table.name.text, &name.text), elements, evaluator, which);
    let span = find(&location.element);
    let related = location.related.as_ref().and_then(find);
    Fault { span: span.or(fault.span), related: related.or(fault.related), ..fault }
}

/// The elements in a command of the set that is named at this location.
fn written(command: &Command, set: Span) -> Option<(&TableSpec, &Name, &Expr)> {
    match &command.kind {
        CommandKind::AddTable(_, table, Some(block)) => {
            let (name, block) = block.sets.iter().find(|(name, _)| name.span == set)?;
            Some((table, name, block.elements.as_ref()?))
        }
        CommandKind::AddSet(_, item, block) if item.name.span == set => {
            Some((&item.table, &item.name, block.elements.as_ref()?))
        }
        CommandKind::AddElements(_, item, elements)
        | CommandKind::Delete { what: Deletion::Elements(item, elements), .. }
            if item.name.span == set =>
        {
            Some((&item.table, &item.name, elements))
        }
        _ => None,
    }
}

fn within(
    set: (Family, &str, &str),
    elements: &Expr,
    evaluator: &mut Evaluator<'_>,
    which: &Which,
) -> Option<Span> {
    let ExprKind::Set(entries) = &elements.kind else { return None };
    entries.iter().find_map(|entry| {
        let element = entry.element();
        if let ExprKind::Set(_) = element.key.kind {
            return within(set, &element.key, evaluator, which);
        }
        let (family, table, name) = set;
        let alone = evaluator.element_of(family, table, name, entry).ok()?;
        is(&alone, which).then(|| entry.span())
    })
}

/// Whether the only element of a set is this one.
fn is(set: &Set, which: &Which) -> bool {
    let location = match which {
        Which::Written(element) => return set.elements.first() == Some(&**element),
        Which::Sent(location) => location,
    };
    let Ok(compiled) = named_set(set) else { return false };
    let mut keys = interval::without_start(&compiled.keys).iter();
    keys.any(|key| key.key == location.key && key.end == location.interval_end)
}

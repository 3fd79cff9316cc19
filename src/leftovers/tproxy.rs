//! The rules that Istio's command puts into the chains of iptables themselves for TPROXY, by their expressions.

use nftwire::expr::{Access, CmpOp, Immediate, Match, Meta, MetaKey, Target};
use nftwire::{Expr, Verdict};

use crate::mesh::istio::sidecar::OUTBOUND_MARK;

/// What such a rule consists of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Tcp,
    ToLoopback,
    Marked,
    OfMarkedConnection,
    NotToOwnAddress,
    OfOwner,
    SaveMark,
    RestoreMark,
    MarkOutbound,
    Return,
}

/// Each rule, in the order in which iptables-nft writes its expressions: a connection keeps its mark, and what the proxy sends
/// over `lo` gets one.
const RULES: [&[Part]; 4] = [
    &[Part::Tcp, Part::Marked, Part::SaveMark],
    &[Part::ToLoopback, Part::Tcp, Part::Marked, Part::Return],
    &[Part::ToLoopback, Part::Tcp, Part::NotToOwnAddress, Part::OfOwner, Part::MarkOutbound],
    &[Part::Tcp, Part::OfMarkedConnection, Part::RestoreMark],
];

/// `XT_CONNMARK_SAVE` and `XT_CONNMARK_RESTORE` (linux/netfilter/xt_connmark.h).
const SAVE: u8 = 1;
const RESTORE: u8 = 2;

/// Whether a rule is one of them, for this mark; its counter does not matter.
pub(super) fn is_of_tproxy(expressions: &[Expr<'_>], mark: u32) -> bool {
    parts(expressions, mark).is_some_and(|parts| RULES.contains(&parts.as_slice()))
}

/// None if there is something else in it.
fn parts(expressions: &[Expr<'_>], mark: u32) -> Option<Vec<Part>> {
    let (mut parts, mut loaded) = (Vec::new(), None);
    for expression in expressions {
        parts.push(match expression {
            Expr::Counter(_) => continue,
            Expr::Meta(_) | Expr::Payload(_) => {
                loaded = Some(expression);
                continue;
            }
            Expr::Cmp(cmp) => compared(loaded.take()?, cmp.op, cmp.data.as_bytes(), mark)?,
            Expr::Match(Match { name: "mark", info, .. }) if is_mark(info, mark) => Part::Marked,
            Expr::Match(Match { name: "connmark", info, .. }) if is_mark(info, mark) => {
                Part::OfMarkedConnection
            }
            Expr::Match(Match { name: "owner", .. }) => Part::OfOwner,
            Expr::Target(target) => action(target)?,
            Expr::Immediate(Immediate::Verdict(Verdict::Return)) => Part::Return,
            _ => return None,
        });
    }
    Some(parts)
}

fn compared(loaded: &Expr<'_>, op: CmpOp, data: &[u8], mark: u32) -> Option<Part> {
    match (loaded, op) {
        (Expr::Payload(_), CmpOp::Neq) => Some(Part::NotToOwnAddress),
        (Expr::Meta(Meta { key, access: Access::Load(_) }), CmpOp::Eq) => match (*key, data) {
            (MetaKey::L4Proto, [6]) => Some(Part::Tcp),
            (MetaKey::OifName, b"lo\0") => Some(Part::ToLoopback),
            (MetaKey::Mark, data) if data == mark.to_ne_bytes() => Some(Part::Marked),
            _ => None,
        },
        _ => None,
    }
}

/// `struct xt_mark_mtinfo1` and `xt_connmark_mtinfo1`, which are alike: the mark, its mask, and whether it is inverted.
fn is_mark(info: &[u8], mark: u32) -> bool {
    info.starts_with(&[mark.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat()) && info.get(8) == Some(&0)
}

/// `struct xt_mark_tginfo2`: the mark, then the mask; `xt_connmark_tginfo1` and `2`: the mark, two masks, and what is done.
fn action(target: &Target<'_>) -> Option<Part> {
    let info = target.info;
    match target.name {
        "MARK" => info.starts_with(&OUTBOUND_MARK.to_ne_bytes()).then_some(Part::MarkOutbound),
        "CONNMARK" if info.get(4..12)? == [u8::MAX; 8] => {
            match *info.get(if target.revision < 2 { 12 } else { 14 })? {
                SAVE => Some(Part::SaveMark),
                RESTORE => Some(Part::RestoreMark),
                _ => None,
            }
        }
        _ => None,
    }
}

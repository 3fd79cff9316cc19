//! What two rulesets have to have in common, so that connections of one live on under the other: the marks and the zones that
//! they set.

use nft_ruleset::{Expression, Rule, Ruleset, Selector, Statement};
use nftwire::Expr;
use nftwire::expr::{CtKey, MetaKey, Target};

/// The marks and zones that a rule sets, in the order in which it does.
pub(crate) fn of_rule(rule: &Rule) -> (Vec<u32>, Vec<u32>) {
    let (mut marks, mut zones) = (Vec::new(), Vec::new());
    for statement in &rule.statements {
        let Statement::Set { target, value } = statement else { continue };
        match target {
            Selector::Meta(MetaKey::Mark) | Selector::Ct(CtKey::Mark) => marks.extend(constant(value)),
            Selector::Ct(CtKey::Zone) => zones.extend(constant(value)),
            _ => {}
        }
    }
    (marks, zones)
}

/// Those of targets of xtables, which are structures: `xt_mark_tginfo2` (linux/netfilter/xt_mark.h),
/// `xt_tproxy_target_info` and its revision 1 (xt_TPROXY.h), `xt_connmark_tginfo1` and `2` (xt_connmark.h), `xt_ct_target_info`
/// (xt_CT.h), all in host order.
pub(crate) fn of_targets(expressions: &[Expr<'_>], marks: &mut Vec<u32>, zones: &mut Vec<u32>) {
    for expression in expressions {
        let Expr::Target(Target { name, revision, info }) = expression else { continue };
        let long = |offset: usize| info.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let short = |offset: usize| info.get(offset..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes));
        match *name {
            "MARK" => marks.extend(long(0)),
            "TPROXY" => marks.extend(long(4)),
            "CONNMARK" if info.get(if *revision < 2 { 12 } else { 14 }) == Some(&CONNMARK_SET) => {
                marks.extend(long(0));
            }
            "CT" => zones.extend(short(2).filter(|zone| *zone != 0).map(u32::from)),
            _ => {}
        }
    }
}

/// `XT_CONNMARK_SET`: it does not copy a mark.
const CONNMARK_SET: u8 = 0;

/// Those of all rules, sorted, each of them once.
pub(super) fn of_ruleset(ruleset: &Ruleset) -> (Vec<u32>, Vec<u32>) {
    let (mut marks, mut zones) = (Vec::new(), Vec::new());
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    for rule in chains.flat_map(|chain| &chain.rules) {
        let (some_marks, some_zones) = of_rule(rule);
        marks.extend(some_marks);
        zones.extend(some_zones);
    }
    (sorted(marks), sorted(zones))
}

pub(super) fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A constant, or the one that a mask is followed by.
fn constant(value: &Expression) -> Option<u32> {
    match value {
        Expression::Constant(constant) => match constant.data.as_bytes() {
            [byte] => Some(u32::from(*byte)),
            &[a, b] => Some(u32::from(u16::from_ne_bytes([a, b]))),
            bytes => bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)),
        },
        Expression::Binary(binary) => constant(&binary.right),
        _ => None,
    }
}

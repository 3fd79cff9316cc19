//! A rule as expressions: the same ones, in the same order and registers, that `nft` makes of the same text.
//!
//! A header field is only meaningful for packets that have its header, so a match on it needs a match on what says so
//! before: `meta nfproto`, `meta l4proto`, `ether type`, … Where the rule has none, it is put in, as `nft` does
//! (`payload_gen_dependency` in nftables' src/payload.c, 1.0.6). What is known of the packets is kept in the same
//! context that reading uses.

mod bits;
mod dependency;
mod error;
mod load;
mod matching;
mod nat;
pub(crate) mod original;
pub(crate) mod set;
mod statement;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use nftwire::expr::MetaKey;
use nftwire::{Compat, Expr, Register, uapi, userdata};
use smallvec::SmallVec;

pub use error::{NotCompiled, SetFault};
pub(crate) use set::named_set_as_written;
pub use set::{AnonymousSet, KeyDetails, Meter, NamedSet, SetKey, named_set};

use crate::nft::decompile::context::Context;
use crate::{Data, Expression, Family, Name, Op, Origin, Rule, Selector, Set, Statement, Table};

/// A rule as the kernel expects it.
#[derive(Debug)]
pub struct Compiled<'a> {
    /// The expressions, in the order of evaluation
    pub expressions: Vec<Expr<'a>>,
    /// The sets that its lookups name, by numbers that count up from the one that was given
    pub sets: Vec<AnonymousSet>,
    /// What the kernel keeps for user space: nft's form of the comment
    pub userdata: Vec<u8>,
    /// What xtables' extensions need to know of the rule, where it has some
    pub compat: Option<Compat>,
}

/// The name by which the kernel is asked to number an anonymous set itself.
pub const ANONYMOUS_SET_NAME: &str = "__set%d";

/// Bytes of a comment, its NUL included, that nft can read (`NFTNL_UDATA_RULE_COMMENT`): a length is one byte.
pub const COMMENT_MAX: usize = 128;

/// `ETH_P_IP` and `ETH_P_IPV6` of linux/if_ether.h
const ETHERTYPE_IP: u16 = 0x0800;
const ETHERTYPE_IP6: u16 = 0x86dd;

/// Compiles a rule of a table of this family, of whose sets nothing is known. Its anonymous sets are numbered from
/// `first_set_id` on.
///
/// # Errors
/// It has something that can be shown, but not sent.
pub fn compile(family: Family, rule: &Rule, first_set_id: u32) -> Result<Compiled<'_>, NotCompiled> {
    compile_with(family, &[], rule, first_set_id)
}

/// Compiles a rule of this table. Its anonymous sets are numbered from `first_set_id` on.
///
/// # Errors
/// It has something that can be shown, but not sent.
pub fn compile_in<'a>(table: &Table, rule: &'a Rule, first_set_id: u32) -> Result<Compiled<'a>, NotCompiled> {
    compile_with(table.family, &table.sets, rule, first_set_id)
}

/// As [`compile_in`]; refuses a rule that needs more expressions than the kernel takes.
pub(crate) fn compile_for_kernel<'a>(
    table: &Table,
    rule: &'a Rule,
    first_set_id: u32,
) -> Result<Compiled<'a>, NotCompiled> {
    let compiled = compile_in(table, rule, first_set_id)?;
    match compiled.expressions.len() {
        expressions if expressions > uapi::NFT_RULE_MAXEXPRS => {
            Err(NotCompiled::TooManyExpressions(expressions))
        }
        _ => Ok(compiled),
    }
}

/// Compiles a rule of a table of this family, of whose sets these are known. Its anonymous sets are numbered from
/// `first_set_id` on.
///
/// # Errors
/// It has something that can be shown, but not sent.
pub(crate) fn compile_with<'a>(
    family: Family,
    sets: &[Set],
    rule: &'a Rule,
    first_set_id: u32,
) -> Result<Compiled<'a>, NotCompiled> {
    let Rule { handle: _, statements, comment, origin } = rule;
    match origin {
        Origin::Written => {}
        Origin::Kernel(original) => return original.compile(statements, comment.as_ref(), first_set_id),
        Origin::Listed => return Err(NotCompiled::Listed),
        Origin::Inexact => return Err(NotCompiled::Inexact),
    }
    let userdata = self::comment(comment.as_ref())?;
    let mut compiler = Compiler {
        expressions: Vec::with_capacity(3 * statements.len()),
        sets: Vec::new(),
        next_set_id: first_set_id,
        known_sets: sets,
        context: Context::new(family),
        next_word: 0,
        mergeable: SmallVec::new(),
    };
    for (index, statement) in statements.iter().enumerate() {
        // nft drops it on the way to the next statement (`stmt_reduce` in src/rule.c, 1.0.6): the last one stays.
        let is_last = index + 1 == statements.len();
        if is_last || !is_sure(family, statement) {
            compiler.statement(statement)?;
        }
    }
    compiler.merge();
    Ok(Compiled { expressions: compiler.expressions, sets: compiler.sets, userdata, compat: None })
}

/// Whether it matches all packets of the family: `meta protocol ip` in a table of the family `ip`, and so for `ip6`.
fn is_sure(family: Family, statement: &Statement) -> bool {
    let own = match family {
        Family::Ipv4 => ETHERTYPE_IP,
        Family::Ipv6 => ETHERTYPE_IP6,
        _ => return false,
    };
    match statement {
        Statement::Match {
            left: Expression::Selector(Selector::Meta(MetaKey::Protocol)),
            op: Op::Eq,
            right: Expression::Constant(constant),
        } => constant.data == Data::be16(own),
        _ => false,
    }
}

/// The expressions that a set or an element has, such as a counter.
///
/// # Errors
/// Any that needs a register.
pub(crate) fn stateful(statements: &[Statement]) -> Result<Vec<Expr<'static>>, NotCompiled> {
    statements.iter().map(statement::stateful).collect()
}

/// The userdata of a table, a chain, a rule or an object, which nft takes its comment from.
///
/// # Errors
/// nft could not read the comment.
pub(crate) fn comment(comment: Option<&Name>) -> Result<Vec<u8>, NotCompiled> {
    let Some(text) = comment else { return Ok(Vec::new()) };
    let too_long = NotCompiled::Comment(text.len());
    if text.len() >= COMMENT_MAX {
        return Err(too_long);
    }
    userdata::with_comment(text).map_err(|_| too_long)
}

struct Compiler<'a, 's> {
    expressions: Vec<Expr<'a>>,
    sets: Vec<AnonymousSet>,
    next_set_id: u32,
    known_sets: &'s [Set],
    context: Context,
    /// The lowest of the 16 registers of four bytes that nothing uses
    next_word: u32,
    /// Where comparisons of header fields are, which may become one
    mergeable: SmallVec<[matching::Mergeable; 4]>,
}

/// Registers of four bytes in one of 16 bytes.
const WORDS_IN_16_BYTES: u32 = 4;
/// Registers of four bytes.
const WORDS: u32 = 16;

impl<'a> Compiler<'a, '_> {
    /// Reserves so many registers of four bytes; returns the first.
    fn reserve(&mut self, words: u32) -> Result<u32, NotCompiled> {
        let first = self.next_word;
        self.next_word += words;
        if self.next_word > WORDS { Err(NotCompiled::Registers) } else { Ok(first) }
    }

    /// What takes a register: 16 bytes, or as many as several fields need.
    fn words(&self, expression: &Expression) -> u32 {
        match expression {
            Expression::Concat(parts) => {
                parts.iter().map(|part| load::len(part).div_ceil(WORDS_IN_16_BYTES)).sum()
            }
            _ => WORDS_IN_16_BYTES,
        }
    }

    fn emit(&mut self, expression: impl Into<Expr<'a>>) {
        self.expressions.push(expression.into());
    }
}

/// The register that starts at this one of the 16 registers of four bytes.
fn register(word: u32) -> Register {
    Register::new(uapi::NFT_REG32_00 + word)
}

/// The byte with this number of a mask of `len` ones.
fn mask_byte(len: u32, index: u32) -> u8 {
    let ones = len.saturating_sub(8 * index).min(8);
    !u8::try_from(0xff_u16 >> ones).unwrap_or(0)
}

/// The bytes of a constant, or of flags together.
fn constant(expression: &Expression) -> Result<Data, NotCompiled> {
    match expression {
        Expression::Constant(constant) => Ok(constant.data.clone()),
        Expression::List(flags) => {
            flags.iter().try_fold(Data::default(), |all, flag| Ok(or(&all, &constant(flag)?)))
        }
        Expression::Binary(binary) if binary.operator == crate::Operator::Or => {
            Ok(or(&constant(&binary.left)?, &constant(&binary.right)?))
        }
        _ => Err(NotCompiled::NotConstant),
    }
}

fn or(left: &Data, right: &Data) -> Data {
    let mut bytes = left.as_bytes().to_vec();
    bytes.resize(bytes.len().max(right.as_bytes().len()), 0);
    for (byte, other) in bytes.iter_mut().zip(right.as_bytes()) {
        *byte |= other;
    }
    Data::new(&bytes)
}

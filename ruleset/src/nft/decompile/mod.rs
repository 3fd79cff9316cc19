//! Expressions back to statements, as nft shows them.
//!
//! The kernel keeps a rule as instructions for a machine with registers; nft reads statements out of them, and so does
//! this. Matches that nft puts in by itself are left out where nft leaves them out: a match on `meta l4proto` before
//! one on a port, for example. An expression that cannot be shown becomes a comment; the rest of the rule stays.

pub(crate) mod context;
mod inner;
mod interval;
mod matching;
mod object;
mod payload;
pub(crate) mod register;
mod resolve;
mod set;
mod statement;
pub(crate) mod type_of;
mod xtables;

use std::collections::HashMap;

use nftwire::expr::{Access, Operation, PayloadAction, TunnelKey, TunnelMode};
use nftwire::{DecodeError, Expr, Family, userdata};

use self::context::Context;
use self::register::{Loaded, Registers};
use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::{CtOf, Fib, HashRange, Ipsec, Numgen, Osf, RawPayload, Tunnel};
use crate::{
    Constant, Data, DataType, Expression, Hash, Name, Operator, Origin, Rule, Selector, Set, Statement,
};

pub(crate) use interval::{predecessor, range};
pub(crate) use object::device;
pub use object::{flowtable, object};
pub(crate) use register::len as loaded_len;
pub use set::{SetReader, set};

/// The sets of a table, anonymous ones included, with their elements, by their names.
pub type Sets = HashMap<Name, Set>;

/// Turns the rules of one table into the model, one after the other.
#[derive(Debug)]
pub struct Decompiler<'t> {
    sets: &'t Sets,
    registers: Registers,
    context: Context,
    /// Of the tunnel whose inside was read last
    inner: Option<(Tunnel, Context)>,
    /// Whether the context is that inside a tunnel, and `inner` the other
    tunnel: Option<Tunnel>,
    statements: Vec<Statement>,
    /// The number of the last statement, where it is a match
    previous: Option<usize>,
}

impl<'t> Decompiler<'t> {
    /// For rules of a table of this family, which has these sets.
    #[must_use]
    pub fn new(family: Family, sets: &'t Sets) -> Self {
        Self {
            sets,
            registers: Registers::default(),
            context: Context::new(family),
            inner: None,
            tunnel: None,
            statements: Vec::new(),
            previous: None,
        }
    }

    /// The rule as statements, to be shown, without a check that they say all that the expressions do
    /// ([`Origin::Listed`]).
    ///
    /// # Errors
    /// Its expressions have lengths that do not fit.
    pub fn rule(&mut self, rule: &nftwire::Rule<'_>) -> Result<Rule, DecodeError> {
        self.restart();
        for expression in rule.expressions() {
            self.expression(&expression?);
        }
        let comment = if rule.userdata.is_empty() { None } else { userdata::comment(rule.userdata) };
        let statements = std::mem::replace(&mut self.statements, Vec::with_capacity(4));
        let comment = comment.map(Into::into);
        Ok(Rule { handle: rule.handle, statements, comment, origin: Origin::Listed })
    }

    /// The statements that expressions of a set or an element are, such as a counter.
    #[must_use]
    pub fn stateful(expressions: &[Expr<'_>]) -> Vec<Statement> {
        expressions.iter().map(statement::of_set).collect()
    }

    fn restart(&mut self) {
        self.registers.clear();
        self.context.restart();
        self.inner = None;
        self.statements.clear();
        self.previous = None;
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Payload(payload) => match (payload.action, raw(payload)) {
                (PayloadAction::Load(dreg), Some(raw)) => self.load(dreg, Selector::Raw(raw), payload.len),
                (PayloadAction::Store { sreg, .. }, Some(raw)) => self.payload_set(raw, sreg),
                (_, None) => self.unknown_load("payload", &format!("{payload:?}")),
            },
            Expr::Meta(meta) => match meta.access {
                Access::Load(dreg) => {
                    let selector = Selector::Meta(meta.key);
                    self.load(dreg, selector, register::len(selector));
                }
                Access::Store(sreg) => self.selector_set(Selector::Meta(meta.key), sreg),
            },
            Expr::Ct(ct) => {
                let selector = match ct.direction {
                    None => Selector::Ct(ct.key),
                    Some(direction) => {
                        Selector::CtOf(CtOf { key: ct.key, reply: direction != 0, family: None })
                    }
                };
                match ct.access {
                    Access::Load(dreg) => self.load(dreg, selector, register::len(selector)),
                    Access::Store(sreg) => self.selector_set(selector, sreg),
                }
            }
            Expr::Immediate(nftwire::expr::Immediate::Value { dreg, data }) => {
                let len = u32::try_from(data.as_bytes().len()).unwrap_or(0);
                let constant = Expression::constant(DataType::Hex, data.clone());
                self.registers.put(*dreg, Loaded::new(constant, len));
            }
            Expr::Bitwise(bitwise) => self.bitwise(bitwise),
            Expr::Byteorder(byteorder) => match self.registers.get(byteorder.sreg) {
                Some(loaded) => {
                    let swapped = !loaded.swapped;
                    self.registers.put(byteorder.dreg, Loaded { swapped, ..loaded });
                }
                None => self.registers.remove(byteorder.dreg),
            },
            Expr::Cmp(cmp) => self.compare(cmp),
            Expr::Range(range) => self.range(range),
            Expr::Lookup(lookup) => self.lookup(lookup),
            Expr::Exthdr(exthdr) => self.option(exthdr),
            Expr::Inner(inner) => self.load_inner(inner),
            other => {
                if !self.other_load(other) {
                    self.statement(other);
                }
            }
        }
    }

    /// Expressions that fill a register and are seldom seen.
    fn other_load(&mut self, expression: &Expr<'_>) -> bool {
        let (dreg, selector) = match expression {
            Expr::Socket(socket) => (socket.dreg, Selector::Socket(socket.key, socket.level.unwrap_or(0))),
            Expr::Fib(fib) => (fib.dreg, Selector::Fib(Fib { flags: fib.flags, result: fib.result })),
            Expr::Rt(rt) => (rt.dreg, Selector::Rt(rt.key)),
            // nft has no word for one way alone.
            Expr::Tunnel(nftwire::expr::Tunnel {
                key: key @ (TunnelKey::Path | TunnelKey::Id),
                mode: None | Some(TunnelMode::None),
                dreg,
            }) => (*dreg, Selector::Tunnel(*key)),
            Expr::Osf(osf) => (osf.dreg, Selector::Osf(Osf { ttl: osf.ttl, version: osf.flags & 1 != 0 })),
            Expr::Xfrm(xfrm) => (
                xfrm.dreg,
                Selector::Ipsec(Ipsec { key: xfrm.key, out: xfrm.direction == 1, spnum: xfrm.number }),
            ),
            Expr::Numgen(numgen) => {
                let range = HashRange { modulus: numgen.modulus, offset: numgen.offset };
                (numgen.dreg, Selector::Numgen(Numgen { random: numgen.kind.number() == 1, range }))
            }
            Expr::Hash(hash) => {
                self.hash(hash);
                return true;
            }
            _ => return false,
        };
        self.load(dreg, selector, register::len(selector));
        true
    }

    fn load(&mut self, dreg: nftwire::Register, selector: Selector, len: u32) {
        self.registers.put(dreg, Loaded::new(selector.into(), len));
    }

    fn hash(&mut self, hash: &nftwire::expr::Hash) {
        let range = HashRange { modulus: hash.modulus, offset: hash.offset };
        let loaded = match hash.sreg {
            None => Loaded::new(Selector::SymmetricHash(range).into(), 4),
            Some(sreg) => {
                let Some(of) = self.registers.join(sreg, hash.len) else {
                    return self.registers.remove(hash.dreg);
                };
                let weight = of.weight.saturating_add(1);
                let (of, modulus, offset, seed) = (of.expression, hash.modulus, hash.offset, hash.seed);
                let expression = Expression::Hash(Box::new(Hash { of, modulus, offset, seed }));
                Loaded { weight, ..Loaded::new(expression, 4) }
            }
        };
        self.registers.put(hash.dreg, loaded);
    }

    fn option(&mut self, exthdr: &nftwire::expr::Exthdr) {
        use nftwire::expr::ExthdrOp;
        let kind = match exthdr.op {
            ExthdrOp::Ipv6 => OptionKind::Ipv6,
            ExthdrOp::TcpOption => OptionKind::Tcp,
            ExthdrOp::Ipv4 => OptionKind::Ipv4,
            ExthdrOp::Sctp => OptionKind::Sctp,
            _ => {
                self.unknown_load("exthdr", &format!("op {} type {}", exthdr.op.number(), exthdr.kind));
                return;
            }
        };
        let field = OptionField {
            kind,
            number: exthdr.kind,
            offset: u16::try_from(exthdr.offset.saturating_mul(8)).unwrap_or(u16::MAX),
            len: u16::try_from(exthdr.len.saturating_mul(8)).unwrap_or(u16::MAX),
            presence: exthdr.present,
        };
        match exthdr.access {
            Some(Access::Load(dreg)) => self.load(dreg, Selector::Option(field), exthdr.len),
            Some(Access::Store(sreg)) => self.selector_set(Selector::Option(field), sreg),
            None => self.strip(field),
        }
    }

    fn bitwise(&mut self, bitwise: &nftwire::expr::Bitwise) {
        let Some(mut loaded) = self.registers.get(bitwise.sreg) else {
            return self.registers.remove(bitwise.dreg);
        };
        loaded.weight = loaded.weight.saturating_add(1);
        loaded.expression = match &bitwise.operation {
            Operation::MaskXor { mask, xor } => {
                let data_type = constant_type(&loaded, mask.as_bytes().len());
                masked(loaded.expression, mask, xor, data_type)
            }
            Operation::Other { op, data, sreg2 } => {
                let operator = match op {
                    1 => Operator::ShiftLeft,
                    2 => Operator::ShiftRight,
                    3 => Operator::And,
                    4 => Operator::Or,
                    5 => Operator::Xor,
                    _ => return self.unknown_load("bitwise", &format!("op {op}")),
                };
                let right = match (data, sreg2.and_then(|register| self.registers.get(register))) {
                    (Some(data), _) => Expression::constant(DataType::Integer, data.clone()),
                    (None, Some(second)) => {
                        loaded.weight = loaded.weight.saturating_add(second.weight);
                        second.expression
                    }
                    (None, None) => return self.registers.remove(bitwise.dreg),
                };
                Expression::binary(loaded.expression, operator, right)
            }
        };
        self.registers.put(bitwise.dreg, loaded);
    }
}

/// The bits that a payload expression is about; none for more than the registers hold.
fn raw(payload: &nftwire::expr::Payload) -> Option<RawPayload> {
    let (offset_max, len_max) = (u16::MAX.into(), 64);
    let fits = payload.offset <= offset_max && (1..=len_max).contains(&payload.len);
    fits.then(|| RawPayload { base: payload.base, offset: 8 * payload.offset, len: 8 * payload.len })
}

/// The type of a constant by which a value is changed: [`DataType::Hex`] where it is the value's own, which shows where it
/// is used; a number where the value was converted to the other byte order, or widened to it.
fn constant_type(loaded: &Loaded, len: usize) -> DataType {
    let host = loaded.expression.data_type().is_some_and(DataType::is_host_order);
    let widened = loaded.len == 1 && len > 1;
    match (loaded.swapped || widened, host) {
        (false, _) => DataType::Hex,
        (true, false) => DataType::Integer,
        (true, true) => DataType::NetworkInteger,
    }
}

/// `(value & mask) ^ xor` as `value & m ^ x | o`, without what changes nothing.
fn masked(value: Expression, mask: &Data, xor: &Data, data_type: DataType) -> Expression {
    let pairs = || mask.as_bytes().iter().zip(xor.as_bytes());
    let bytes = |byte: fn(u8, u8) -> u8| -> Constant {
        let mut buffer = [0; 64];
        let len = mask.as_bytes().len().min(64);
        for (to, (&mask, &xor)) in buffer[..len].iter_mut().zip(pairs()) {
            *to = byte(mask, xor);
        }
        Constant::new(data_type, Data::new(&buffer[..len]))
    };
    let mut result = value;
    if pairs().any(|(&mask, &xor)| mask | xor != 0xff) {
        result = Expression::binary(result, Operator::And, bytes(|mask, xor| mask | xor).into());
    }
    if pairs().any(|(&mask, &xor)| mask & xor != 0) {
        result = Expression::binary(result, Operator::Xor, bytes(|mask, xor| mask & xor).into());
    }
    if pairs().any(|(&mask, &xor)| !mask & xor != 0) {
        result = Expression::binary(result, Operator::Or, bytes(|mask, xor| !mask & xor).into());
    }
    result
}

//! A rule as expressions: the same ones, in the same order and registers, that `nft` makes of the same text.
//!
//! In the family inet a header field is only meaningful for packets of its protocol, so a match on it needs a match
//! on `meta nfproto` or `meta l4proto` before. Where the rule has none, it is put in, as `nft` does.

pub(crate) mod set;
#[cfg(test)]
mod tests;

use nftwire::expr::{
    Access, Bitwise, Cmp, CmpOp, Counter, Ct, Fib, FibResult, Immediate, Lookup, Masq, Meta, MetaKey, Nat,
    NatKind, Operation, Payload, PayloadAction, Redir, Tproxy,
};
use nftwire::{Expr, Register, uapi};

use crate::Statement;
use crate::model::statement::{self, NatKind as Kind};
use crate::{
    Data, DataType, Element, Expression, Family, Field, Map, Name, Op, Operator, Prefix, Protocol, Rule,
    Selector, Text,
};
pub use set::{AnonymousSet, NamedSet, SetKey, named_set};

/// A rule as the kernel wants it.
#[derive(Debug)]
pub struct Compiled<'a> {
    /// The expressions, in the order of evaluation
    pub expressions: Vec<Expr<'a>>,
    /// The sets that its lookups name, by numbers that count up from the one that was given
    pub sets: Vec<AnonymousSet>,
    /// What the kernel keeps for user space: nft's form of the comment
    pub userdata: Vec<u8>,
}

/// A rule has something that only can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} can be listed, but not loaded, by this program")]
pub struct NotCompiled {
    /// What
    pub what: &'static str,
}

/// The name by which the kernel is asked to number an anonymous set itself.
pub const ANONYMOUS_SET_NAME: &str = "__set%d";

/// Bytes of a comment, its NUL included, that nft can read (`NFTNL_UDATA_RULE_COMMENT`): a length is one byte.
pub const COMMENT_MAX: usize = 128;

/// `NFTNL_UDATA_RULE_COMMENT`, the comment's type in a rule's userdata.
const UDATA_RULE_COMMENT: u8 = 0;

/// Compiles a rule of a table of this family. Its anonymous sets are numbered from `first_set_id` on.
///
/// # Errors
/// It has something that only can be shown.
pub fn compile(family: Family, rule: &Rule, first_set_id: u32) -> Result<Compiled<'_>, NotCompiled> {
    let mut compiler = Compiler {
        expressions: Vec::with_capacity(3 * rule.statements.len()),
        sets: Vec::new(),
        next_set_id: first_set_id,
        network: (family != Family::Inet).then_some(family),
        transport: None,
    };
    for statement in &rule.statements {
        compiler.statement(statement)?;
    }
    let userdata = rule.comment.as_ref().map_or(Ok(Vec::new()), comment)?;
    Ok(Compiled { expressions: compiler.expressions, sets: compiler.sets, userdata })
}

/// A comment in libnftnl's form: type, length, text with its NUL.
fn comment(text: &Name) -> Result<Vec<u8>, NotCompiled> {
    let len = text.len() + 1;
    let length = u8::try_from(len).ok().filter(|_| len <= COMMENT_MAX);
    let mut bytes =
        vec![UDATA_RULE_COMMENT, length.ok_or(NotCompiled { what: "a comment of over 127 bytes" })?];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    Ok(bytes)
}

struct Compiler<'a> {
    expressions: Vec<Expr<'a>>,
    sets: Vec<AnonymousSet>,
    next_set_id: u32,
    /// The network protocol that packets which come this far have, where it is known
    network: Option<Family>,
    /// The transport protocol that packets which come this far have, where it is known
    transport: Option<u8>,
}

impl<'a> Compiler<'a> {
    fn statement(&mut self, statement: &'a Statement) -> Result<(), NotCompiled> {
        match statement {
            Statement::Match { left, op, right } => self.matches(left, *op, right)?,
            Statement::Counter(counter) => {
                self.emit(Counter { packets: counter.packets, bytes: counter.bytes });
            }
            Statement::Set { target, value } => {
                match value {
                    Expression::Constant(constant) => self.immediate(Register::R1, constant.data.clone()),
                    value => self.load(value)?,
                }
                self.store(*target)?;
            }
            Statement::Nat(nat) => self.nat(nat)?,
            Statement::Tproxy(tproxy) => {
                let port = tproxy.port.as_ref().ok_or(NotCompiled { what: "tproxy without a port" })?;
                self.immediate(Register::R1, constant(port)?);
                self.emit(Tproxy {
                    family: tproxy.family.unwrap_or(Family::Unspec),
                    addr: None,
                    port: Some(Register::R1),
                });
            }
            Statement::Verdict(verdict) => self.emit(Immediate::Verdict(verdict.into())),
            Statement::VerdictMap(Expression::Map(map)) => self.verdict_map(map)?,
            _ => return Err(NotCompiled { what: "a statement of this kind" }),
        }
        Ok(())
    }

    fn verdict_map(&mut self, map: &'a Map) -> Result<(), NotCompiled> {
        let Expression::Set(elements) = &map.map else {
            return Err(NotCompiled { what: "a map that has a name" });
        };
        if elements.iter().any(|element| element.value.is_none()) {
            return Err(NotCompiled { what: "a map with a key that leads nowhere" });
        }
        self.load_key(&map.key)?;
        self.anonymous_lookup(&map.key, elements, Some(Register::VERDICT), Op::Eq)
    }

    fn nat(&mut self, nat: &statement::Nat) -> Result<(), NotCompiled> {
        let address = match &nat.address {
            Some(address) => {
                self.immediate(Register::R1, constant(address)?);
                Some(Register::R1)
            }
            None => None,
        };
        let port_register = if address.is_some() { Register::R2 } else { Register::R1 };
        let port = match &nat.port {
            Some(port) => {
                self.immediate(port_register, constant(port)?);
                Some(port_register)
            }
            None => None,
        };
        // The kernel tells both ends of a range in a dump, even where one was given.
        let flags = nat.flags
            | if address.is_some() { uapi::NF_NAT_RANGE_MAP_IPS } else { 0 }
            | if port.is_some() { uapi::NF_NAT_RANGE_PROTO_SPECIFIED } else { 0 };
        match nat.kind {
            Kind::Redirect => self.emit(Redir { proto_min: port, proto_max: port, flags }),
            Kind::Masquerade => self.emit(Masq { proto_min: port, proto_max: port, flags }),
            Kind::Source | Kind::Destination => {
                let family = nat.family.or(self.network);
                self.emit(Nat {
                    kind: if nat.kind == Kind::Source { NatKind::Snat } else { NatKind::Dnat },
                    family: family.ok_or(NotCompiled { what: "nat without a family" })?,
                    addr_min: address,
                    addr_max: address,
                    proto_min: port,
                    proto_max: port,
                    flags,
                });
            }
        }
        Ok(())
    }

    /// Loads what is looked up, from packets that have it.
    fn load_key(&mut self, key: &Expression) -> Result<(), NotCompiled> {
        if let Expression::Selector(Selector::Payload(field)) = key {
            self.depend_on(field.protocol)?;
        }
        self.load(key)
    }

    fn matches(&mut self, left: &'a Expression, op: Op, right: &'a Expression) -> Result<(), NotCompiled> {
        if let Expression::Selector(Selector::Payload(field)) = left {
            self.depend_on(field.protocol)?;
        }
        match (right, op) {
            (Expression::Prefix(prefix), _) => self.match_prefix(left, op, prefix),
            (Expression::Set(elements), _) => {
                self.load(left)?;
                self.anonymous_lookup(left, elements, None, op)
            }
            (Expression::SetName(name), _) => {
                self.load(left)?;
                self.lookup(name, 0, None, op);
                Ok(())
            }
            (Expression::Range(range), Op::Eq) => {
                self.load(left)?;
                self.compare(CmpOp::Gte, constant(&range.from)?);
                self.compare(CmpOp::Lte, constant(&range.to)?);
                Ok(())
            }
            (flags, Op::In) => {
                self.load(left)?;
                let flags = constant(flags)?;
                let none = Data::zero(flags.as_bytes().len());
                self.bitwise(flags, none.clone());
                self.compare(CmpOp::Neq, none);
                Ok(())
            }
            (right, _) => {
                self.load(left)?;
                let data = constant(right)?;
                self.compare(comparison(op)?, data.clone());
                if let (Expression::Selector(selector), Op::Eq) = (left, op) {
                    self.learn(*selector, &data);
                }
                Ok(())
            }
        }
    }

    /// Makes sure that only packets with a header of this protocol come further.
    fn depend_on(&mut self, protocol: Protocol) -> Result<(), NotCompiled> {
        let link = matches!(self.network, Some(Family::Bridge | Family::Netdev));
        let (selector, number) = match protocol {
            // Where frames of any kind come by, the family of the table is not that of the packet.
            Protocol::Ip | Protocol::Ip6 if link => {
                let (family, ether_type) = match protocol {
                    Protocol::Ip => (Family::Ipv4, uapi::ETH_P_IP),
                    _ => (Family::Ipv6, uapi::ETH_P_IPV6),
                };
                self.load_selector(Selector::Meta(MetaKey::Protocol))?;
                self.compare(CmpOp::Eq, Data::be16(ether_type));
                self.network = Some(family);
                return Ok(());
            }
            Protocol::Ip if self.network != Some(Family::Ipv4) => (Selector::NFPROTO, Family::Ipv4.number()),
            Protocol::Ip6 if self.network != Some(Family::Ipv6) => (Selector::NFPROTO, Family::Ipv6.number()),
            Protocol::Tcp if self.transport != Some(Protocol::TCP) => (Selector::L4PROTO, Protocol::TCP),
            Protocol::Udp if self.transport != Some(Protocol::UDP) => (Selector::L4PROTO, Protocol::UDP),
            Protocol::Ip | Protocol::Ip6 | Protocol::Tcp | Protocol::Udp => return Ok(()),
            _ => return Err(NotCompiled { what: "a match on this protocol" }),
        };
        let data = Data::new(&[number]);
        self.load_selector(selector)?;
        self.compare(CmpOp::Eq, data.clone());
        self.learn(selector, &data);
        Ok(())
    }

    /// Notes what a match on `meta nfproto` or `meta l4proto` tells about the packets that pass it.
    fn learn(&mut self, selector: Selector, data: &Data) {
        match (selector, data.as_bytes()) {
            (Selector::Meta(MetaKey::NfProto), &[number]) => {
                self.network = Some(Family::from_number(number));
            }
            (Selector::Meta(MetaKey::Protocol), &[high, low]) => match u16::from_be_bytes([high, low]) {
                uapi::ETH_P_IP => self.network = Some(Family::Ipv4),
                uapi::ETH_P_IPV6 => self.network = Some(Family::Ipv6),
                _ => {}
            },
            (Selector::Meta(MetaKey::L4Proto), &[number]) => self.transport = Some(number),
            _ => {}
        }
    }

    /// A prefix of whole bytes of a field loads only those; any other loads the address and masks it.
    fn match_prefix(&mut self, left: &Expression, op: Op, prefix: &Prefix) -> Result<(), NotCompiled> {
        let network = constant(&prefix.value)?;
        let bytes = network.as_bytes();
        match left {
            Expression::Selector(Selector::Payload(field))
                if prefix.len > 0 && prefix.len.is_multiple_of(8) =>
            {
                let len = u16::try_from(prefix.len).unwrap_or(field.len);
                self.load_payload(&Field { len, ..*field })?;
                self.compare(comparison(op)?, Data::new(&bytes[..usize::from(len / 8)]));
            }
            left => {
                self.load(left)?;
                let mask: Vec<_> = (0..).zip(bytes).map(|(index, _)| mask_byte(prefix.len, index)).collect();
                self.bitwise(Data::new(&mask), Data::zero(bytes.len()));
                self.compare(comparison(op)?, network);
            }
        }
        Ok(())
    }

    /// A look-up in a set of the rule's own, by what is in the first register.
    fn anonymous_lookup(
        &mut self,
        key: &Expression,
        elements: &[Element],
        dreg: Option<Register>,
        op: Op,
    ) -> Result<(), NotCompiled> {
        let set = AnonymousSet::new(data_type(key), elements)?;
        self.lookup(ANONYMOUS_SET_NAME, self.next_set_id, dreg, op);
        self.next_set_id += 1;
        self.sets.push(set);
        Ok(())
    }

    fn lookup(&mut self, set: impl Into<Text<'a>>, set_id: u32, dreg: Option<Register>, op: Op) {
        self.emit(Lookup { set: set.into(), set_id, sreg: Register::R1, dreg, inverted: op == Op::Ne });
    }

    fn load(&mut self, expression: &Expression) -> Result<(), NotCompiled> {
        match expression {
            Expression::Selector(selector) => self.load_selector(*selector),
            Expression::Binary(binary) => match (binary.operator, &binary.left) {
                (Operator::And, Expression::Selector(selector)) => {
                    let mask = constant(&binary.right)?;
                    self.load_selector(*selector)?;
                    let none = Data::zero(mask.as_bytes().len());
                    self.bitwise(mask, none);
                    Ok(())
                }
                (Operator::Or, left) => self.load_or(left, constant(&binary.right)?),
                _ => Err(NotCompiled { what: "an operation of this kind" }),
            },
            _ => Err(NotCompiled { what: "an expression of this kind" }),
        }
    }

    /// `(value & mask) | or`, in the kernel's form `(value & mask') ^ or`.
    fn load_or(&mut self, left: &Expression, or: Data) -> Result<(), NotCompiled> {
        let (selector, mask) = match left {
            Expression::Selector(selector) => (*selector, Data::new(&vec![0xff; or.as_bytes().len()])),
            Expression::Binary(inner) => match (inner.operator, &inner.left) {
                (Operator::And, Expression::Selector(selector)) => (*selector, constant(&inner.right)?),
                _ => return Err(NotCompiled { what: "an operation of this kind" }),
            },
            _ => return Err(NotCompiled { what: "an operation of this kind" }),
        };
        self.load_selector(selector)?;
        let masks = mask.as_bytes().iter().zip(or.as_bytes());
        let mask: Vec<u8> = masks.map(|(mask, or)| mask & !or).collect();
        self.bitwise(Data::new(&mask), or);
        Ok(())
    }

    fn load_selector(&mut self, selector: Selector) -> Result<(), NotCompiled> {
        let access = Access::Load(Register::R1);
        match selector {
            Selector::Payload(field) => self.load_payload(&field)?,
            Selector::Meta(key) => self.emit(Meta { key, access }),
            Selector::Ct(key) => self.emit(Ct { key, direction: None, access }),
            Selector::Fib(fib) => {
                let result = FibResult::from_number(fib.result);
                self.emit(Fib { result, flags: fib.flags, dreg: Register::R1 });
            }
            _ => return Err(NotCompiled { what: "a match of this kind" }),
        }
        Ok(())
    }

    fn load_payload(&mut self, field: &Field) -> Result<(), NotCompiled> {
        if !field.is_whole_bytes() {
            return Err(NotCompiled { what: "a match on a field that starts between bytes" });
        }
        self.emit(Payload {
            base: field.protocol.base(),
            offset: u32::from(field.offset / 8),
            len: u32::from(field.len / 8),
            action: PayloadAction::Load(Register::R1),
        });
        Ok(())
    }

    fn store(&mut self, target: Selector) -> Result<(), NotCompiled> {
        let access = Access::Store(Register::R1);
        match target {
            Selector::Meta(key) => self.emit(Meta { key, access }),
            Selector::Ct(key) => self.emit(Ct { key, direction: None, access }),
            _ => return Err(NotCompiled { what: "setting this" }),
        }
        Ok(())
    }

    fn bitwise(&mut self, mask: Data, xor: Data) {
        self.emit(Bitwise {
            sreg: Register::R1,
            dreg: Register::R1,
            len: u32::try_from(mask.as_bytes().len()).unwrap_or(u32::MAX),
            operation: Operation::MaskXor { mask, xor },
        });
    }

    fn compare(&mut self, op: CmpOp, data: Data) {
        self.emit(Cmp { sreg: Register::R1, op, data });
    }

    fn immediate(&mut self, dreg: Register, data: Data) {
        self.emit(Immediate::Value { dreg, data });
    }

    fn emit(&mut self, expression: impl Into<Expr<'a>>) {
        self.expressions.push(expression.into());
    }
}

/// The byte with this number of a mask of `len` ones.
fn mask_byte(len: u32, index: u32) -> u8 {
    let ones = len.saturating_sub(8 * index).min(8);
    !u8::try_from(0xff_u16 >> ones).unwrap_or(0)
}

fn comparison(op: Op) -> Result<CmpOp, NotCompiled> {
    Ok(match op {
        Op::Eq | Op::In => CmpOp::Eq,
        Op::Ne => CmpOp::Neq,
        Op::Lt => CmpOp::Lt,
        Op::Gt => CmpOp::Gt,
        Op::Le => CmpOp::Lte,
        Op::Ge => CmpOp::Gte,
        Op::NotIn => return Err(NotCompiled { what: "a match on flags that are not set" }),
    })
}

fn data_type(expression: &Expression) -> DataType {
    expression.data_type().unwrap_or(DataType::Integer)
}

/// The bytes of a constant, or of flags together.
fn constant(expression: &Expression) -> Result<Data, NotCompiled> {
    match expression {
        Expression::Constant(constant) => Ok(constant.data.clone()),
        Expression::List(flags) => {
            let mut bytes = Vec::new();
            for flag in flags {
                let flag = constant(flag)?;
                bytes.resize(flag.as_bytes().len(), 0);
                for (byte, flag) in bytes.iter_mut().zip(flag.as_bytes()) {
                    *byte |= flag;
                }
            }
            Ok(Data::new(&bytes))
        }
        _ => Err(NotCompiled { what: "a value of this kind" }),
    }
}

//! A rule as expressions: the same ones, in the same order and registers, that `nft` makes of the same text.
//!
//! In the family inet a header field is only meaningful for packets of its protocol, so a match on it needs a match
//! on `meta nfproto` or `meta l4proto` before. Where the rule has none, it is put in, as `nft` does.

use ipnet::IpNet;
use nftwire::expr::{
    Access, Bitwise, Cmp, CmpOp, Counter, Ct, Immediate, Lookup, Meta, MetaKey, Operation, Payload,
    PayloadAction, Redir, Tproxy,
};
use nftwire::{Expr, Register, uapi};

use super::{Data, DataType, Family, Field, Op, Operand, Protocol, Rule, Selector, Source, Statement};
use super::{Target, Value, Verdict};

/// A rule as the kernel wants it.
#[derive(Debug)]
pub struct Compiled<'a> {
    /// The expressions, in the order of evaluation
    pub expressions: Vec<Expr<'a>>,
    /// The sets that its lookups name, by numbers that count up from the one that was given
    pub sets: Vec<AnonymousSet>,
}

/// A set that belongs to one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnonymousSet {
    /// What its keys are
    pub data_type: DataType,
    /// Bytes of a key
    pub key_len: u32,
    /// The keys, ascending, each once
    pub elements: Vec<Data>,
}

/// The name by which the kernel is asked to number an anonymous set itself.
pub const ANONYMOUS_SET_NAME: &str = "__set%d";

/// Compiles a rule of a table of this family. Its anonymous sets are numbered from `first_set_id` on.
#[must_use]
pub fn compile(family: Family, rule: &Rule, first_set_id: u32) -> Compiled<'_> {
    let mut compiler = Compiler {
        expressions: Vec::with_capacity(3 * rule.statements.len()),
        sets: Vec::new(),
        next_set_id: first_set_id,
        network: (family != Family::Inet).then_some(family),
        transport: None,
    };
    for statement in &rule.statements {
        compiler.statement(statement);
    }
    Compiled { expressions: compiler.expressions, sets: compiler.sets }
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
    fn statement(&mut self, statement: &'a Statement) {
        match statement {
            Statement::Match { left, op, right } => self.matches(left, *op, right),
            Statement::Counter => self.emit(Counter::default()),
            Statement::Set { target, value } => {
                match value {
                    Value::Data(data) => self.immediate(data.clone()),
                    Value::Source(source) => self.load(source),
                }
                self.store(*target);
            }
            Statement::Redirect { port } => {
                self.immediate(Data::be16(*port));
                // The kernel tells both ends of the range in a dump, even where one was given.
                self.emit(Redir {
                    proto_min: Some(Register::R1),
                    proto_max: Some(Register::R1),
                    flags: uapi::NF_NAT_RANGE_PROTO_SPECIFIED,
                });
            }
            Statement::Tproxy { family, port } => {
                self.immediate(Data::be16(*port));
                self.emit(Tproxy { family: *family, addr: None, port: Some(Register::R1) });
            }
            Statement::Verdict(verdict) => self.emit(Immediate::Verdict(match verdict {
                Verdict::Accept => nftwire::Verdict::Accept,
                Verdict::Drop => nftwire::Verdict::Drop,
                Verdict::Return => nftwire::Verdict::Return,
                Verdict::Jump(chain) => nftwire::Verdict::Jump(chain),
            })),
        }
    }

    fn matches(&mut self, left: &Source, op: Op, right: &Operand) {
        if let Selector::Payload(field) = left.selector {
            self.depend_on(field.protocol);
        }
        match (right, op) {
            (Operand::Prefix(prefix), _) => self.match_prefix(left, op, prefix),
            (Operand::Set(elements), _) => {
                self.load(left);
                self.lookup(left.selector.data_type(), op, elements);
            }
            (Operand::Data(flags), Op::In) => {
                self.load(left);
                let none = Data::zero(flags.as_bytes().len());
                self.bitwise(flags.clone(), none.clone());
                self.compare(CmpOp::Neq, none);
            }
            (Operand::Data(data), _) => {
                self.load(left);
                self.compare(comparison(op), data.clone());
                if op == Op::Eq {
                    self.learn(left.selector, data);
                }
            }
        }
    }

    /// Makes sure that only packets with a header of this protocol come further.
    fn depend_on(&mut self, protocol: Protocol) {
        let (selector, number) = match protocol {
            Protocol::Ip if self.network != Some(Family::Ipv4) => {
                (Selector::NFPROTO, Family::Ipv4.number())
            }
            Protocol::Ip6 if self.network != Some(Family::Ipv6) => {
                (Selector::NFPROTO, Family::Ipv6.number())
            }
            Protocol::Tcp if self.transport != Some(Protocol::TCP) => (Selector::L4PROTO, Protocol::TCP),
            Protocol::Udp if self.transport != Some(Protocol::UDP) => (Selector::L4PROTO, Protocol::UDP),
            Protocol::Ip | Protocol::Ip6 | Protocol::Tcp | Protocol::Udp => return,
        };
        let data = Data::new(&[number]);
        self.load_selector(selector);
        self.compare(CmpOp::Eq, data.clone());
        self.learn(selector, &data);
    }

    /// Notes what a match on `meta nfproto` or `meta l4proto` tells about the packets that pass it.
    fn learn(&mut self, selector: Selector, data: &Data) {
        match (selector, data.as_bytes()) {
            (Selector::Meta(MetaKey::NfProto), &[number]) => {
                self.network = Some(Family::from_number(number));
            }
            (Selector::Meta(MetaKey::L4Proto), &[number]) => self.transport = Some(number),
            _ => {}
        }
    }

    /// A prefix of whole bytes of a field loads only those; any other loads the address and masks it.
    fn match_prefix(&mut self, left: &Source, op: Op, prefix: &IpNet) {
        let (network, mask): (Data, Data) = match prefix {
            IpNet::V4(prefix) => (prefix.network().into(), prefix.netmask().into()),
            IpNet::V6(prefix) => (prefix.network().into(), prefix.netmask().into()),
        };
        let length = prefix.prefix_len();
        match left.selector {
            Selector::Payload(field) if length > 0 && length.is_multiple_of(8) => {
                let bytes = length / 8;
                self.load_payload(&Field { len: u32::from(bytes), ..field });
                self.compare(comparison(op), Data::new(&network.as_bytes()[..usize::from(bytes)]));
            }
            _ => {
                self.load(left);
                self.bitwise(mask, Data::zero(network.as_bytes().len()));
                self.compare(comparison(op), network);
            }
        }
    }

    fn lookup(&mut self, data_type: DataType, op: Op, elements: &[Data]) {
        let mut elements = elements.to_vec();
        elements.sort_unstable();
        elements.dedup();
        let key_len = elements.first().map_or(0, |element| element.as_bytes().len());
        self.emit(Lookup {
            set: ANONYMOUS_SET_NAME,
            set_id: self.next_set_id,
            sreg: Register::R1,
            dreg: None,
            inverted: op == Op::Ne,
        });
        self.next_set_id += 1;
        let key_len = u32::try_from(key_len).unwrap_or(u32::MAX);
        self.sets.push(AnonymousSet { data_type, key_len, elements });
    }

    fn load(&mut self, source: &Source) {
        self.load_selector(source.selector);
        if let Some(bits) = &source.bits {
            // (value & mask) | or, in the kernel's form (value & mask') ^ or
            let masks = bits.mask.as_bytes().iter().zip(bits.or.as_bytes());
            let mask: Vec<u8> = masks.map(|(mask, or)| mask & !or).collect();
            self.bitwise(Data::new(&mask), bits.or.clone());
        }
    }

    fn load_selector(&mut self, selector: Selector) {
        let access = Access::Load(Register::R1);
        match selector {
            Selector::Payload(field) => self.load_payload(&field),
            Selector::Meta(key) => self.emit(Meta { key, access }),
            Selector::Ct(key) => self.emit(Ct { key, direction: None, access }),
        }
    }

    fn load_payload(&mut self, field: &Field) {
        self.emit(Payload {
            base: field.protocol.base(),
            offset: field.offset,
            len: field.len,
            action: PayloadAction::Load(Register::R1),
        });
    }

    fn store(&mut self, target: Target) {
        let access = Access::Store(Register::R1);
        match target {
            Target::Meta(key) => self.emit(Meta { key, access }),
            Target::Ct(key) => self.emit(Ct { key, direction: None, access }),
        }
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

    fn immediate(&mut self, data: Data) {
        self.emit(Immediate::Value { dreg: Register::R1, data });
    }

    fn emit(&mut self, expression: impl Into<Expr<'a>>) {
        self.expressions.push(expression.into());
    }
}

fn comparison(op: Op) -> CmpOp {
    match op {
        Op::Eq | Op::In => CmpOp::Eq,
        Op::Ne => CmpOp::Neq,
    }
}

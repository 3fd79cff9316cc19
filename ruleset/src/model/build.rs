//! Making rules.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::statement::{Counter, Nat, NatKind, Tproxy};
use super::{BaseChain, Chain, ChainKind, Hook, Policy, Table};
use super::{
    Data, DataType, Element, Expression, Family, Field, IP_DADDR, IP_SADDR, IP6_DADDR, IP6_SADDR, IpPrefix,
    Name, Op, Protocol,
};
use super::{Range, Rule, Selector, Statement, Target, Verdict};

/// What a [`Selector`] is compared with: constants are of the selector's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A constant: bytes as they are in a register
    Data(Data),
    /// All addresses that begin alike
    Prefix(IpPrefix),
    /// Any of these constants
    Set(Vec<Data>),
    /// Any element of the set with this name
    SetName(Name),
    /// Anything else
    Expression(Expression),
}

impl Operand {
    fn of_type(self, data_type: DataType, op: Op) -> Expression {
        match self {
            Self::Data(data) if matches!(op, Op::In | Op::NotIn) => Expression::flags(data_type, data),
            Self::Data(data) => Expression::constant(data_type, data),
            Self::Prefix(network) => Expression::network(network),
            Self::Set(elements) => Expression::set(data_type, elements),
            Self::SetName(name) => Expression::SetName(name),
            Self::Expression(expression) => expression,
        }
    }
}

/// What a [`Target`] is set to: a constant is of the target's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A constant: bytes as they are in a register
    Data(Data),
    /// Anything else
    Expression(Expression),
}

impl From<Selector> for Value {
    fn from(selector: Selector) -> Self {
        Self::Expression(selector.into())
    }
}

impl From<Data> for Value {
    fn from(data: Data) -> Self {
        Self::Data(data)
    }
}

impl From<Expression> for Value {
    fn from(expression: Expression) -> Self {
        Self::Expression(expression)
    }
}

impl Table {
    /// A table of these chains.
    #[must_use]
    pub fn with_chains(family: Family, name: impl Into<Name>, chains: impl Into<Vec<Chain>>) -> Self {
        Self { chains: chains.into(), ..Self::new(family, name) }
    }
}

impl Chain {
    /// A base chain that accepts what no rule decides about.
    #[must_use]
    pub fn at_hook(
        name: impl Into<Name>,
        kind: ChainKind,
        hook: Hook,
        priority: i32,
        rules: Vec<Rule>,
    ) -> Self {
        let base = BaseChain { kind, hook, priority, policy: Policy::Accept };
        Self { base: Some(base), ..Self::regular(name, rules) }
    }

    /// A chain that only jumps lead to.
    #[must_use]
    pub fn regular(name: impl Into<Name>, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), rules, ..Self::default() }
    }
}

impl Rule {
    /// A rule without statements: it matches every packet and does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a statement.
    #[must_use]
    pub fn then(mut self, statement: Statement) -> Self {
        self.statements.push(statement);
        self
    }

    /// Matches packets whose `selector` compares to a constant.
    #[must_use]
    pub fn matches(self, selector: Selector, op: Op, right: impl Into<Data>) -> Self {
        self.compare(selector, op, Operand::Data(right.into()))
    }

    /// Matches packets whose `selector` compares to an operand.
    #[must_use]
    pub fn compare(self, selector: Selector, op: Op, right: Operand) -> Self {
        self.test(selector.into(), op, right.of_type(selector.data_type(), op))
    }

    /// Matches packets whose `left` compares to `right`.
    #[must_use]
    pub fn test(self, left: Expression, op: Op, right: Expression) -> Self {
        self.then(Statement::Match { left, op, right })
    }

    /// `iifname NAME`
    #[must_use]
    pub fn iifname(self, name: &str) -> Self {
        self.matches(Selector::IIFNAME, Op::Eq, Data::interface(name))
    }

    /// `oifname NAME`
    #[must_use]
    pub fn oifname(self, name: &str) -> Self {
        self.matches(Selector::OIFNAME, Op::Eq, Data::interface(name))
    }

    /// `meta l4proto tcp`
    #[must_use]
    pub fn tcp(self) -> Self {
        self.matches(Selector::L4PROTO, Op::Eq, Data::new(&[Protocol::TCP]))
    }

    /// `meta nfproto ipv6`
    #[must_use]
    pub fn ipv6(self) -> Self {
        self.matches(Selector::NFPROTO, Op::Eq, Data::new(&[Family::Ipv6.number()]))
    }

    /// `skuid UID`, or with [`Op::Ne`] `skuid != UID`
    #[must_use]
    pub fn skuid(self, op: Op, uid: u32) -> Self {
        self.matches(Selector::SKUID, op, Data::ne32(uid))
    }

    /// `skgid GID`, or with [`Op::Ne`] `skgid != GID`
    #[must_use]
    pub fn skgid(self, op: Op, gid: u32) -> Self {
        self.matches(Selector::SKGID, op, Data::ne32(gid))
    }

    /// `meta mark MARK`, or with [`Op::Ne`] `meta mark != MARK`
    #[must_use]
    pub fn mark(self, op: Op, mark: u32) -> Self {
        self.matches(Selector::MARK, op, Data::ne32(mark))
    }

    /// `ct state FLAGS`: any of these bits of [`nftwire::expr::CtKey`]
    #[must_use]
    pub fn ct_state(self, flags: u32) -> Self {
        self.matches(Selector::CT_STATE, Op::In, Data::ne32(flags))
    }

    /// A port field compared to one port
    #[must_use]
    pub fn port(self, field: Field, op: Op, port: u16) -> Self {
        self.matches(Selector::Payload(field), op, Data::be16(port))
    }

    /// A port field that is any of these ports: one comparison or one lookup in a set, however many there are.
    /// Ranges include both their ends; without any, no packet matches.
    #[must_use]
    pub fn ports(self, field: Field, ports: &[RangeInclusive<u16>]) -> Self {
        let ports = merged(ports);
        let right = match &ports[..] {
            [range] => expression(range),
            ranges => Expression::Set(ranges.iter().map(|range| Element::new(expression(range))).collect()),
        };
        self.test(Selector::Payload(field).into(), Op::Eq, right)
    }

    /// `ip saddr`, `ip daddr` or, by the prefix's family, `ip6 saddr`, `ip6 daddr`
    #[must_use]
    pub fn saddr(self, op: Op, prefix: impl Into<IpPrefix>) -> Self {
        self.address(IP_SADDR, IP6_SADDR, op, prefix.into())
    }

    /// `ip daddr` or, by the prefix's family, `ip6 daddr`
    #[must_use]
    pub fn daddr(self, op: Op, prefix: impl Into<IpPrefix>) -> Self {
        self.address(IP_DADDR, IP6_DADDR, op, prefix.into())
    }

    /// `snat to ADDRESS` or `dnat to ADDRESS`, in a table of the family inet
    #[must_use]
    pub fn nat(self, kind: NatKind, address: IpAddr) -> Self {
        let family = Some(if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 });
        let address = Some(Expression::network(address.into()));
        self.then(Statement::Nat(Box::new(Nat { family, address, ..Nat::new(kind) })))
    }

    /// Sets the rule's comment.
    #[must_use]
    pub fn comment(self, comment: impl Into<Name>) -> Self {
        Self { comment: Some(comment.into()), ..self }
    }

    fn address(self, v4: Field, v6: Field, op: Op, prefix: IpPrefix) -> Self {
        let (field, address): (_, Data) = match prefix.network() {
            IpAddr::V4(network) => (v4, network.into()),
            IpAddr::V6(network) => (v6, network.into()),
        };
        let right =
            if prefix.is_single() { Operand::Data(address) } else { Operand::Prefix(prefix.truncated()) };
        self.compare(Selector::Payload(field), op, right)
    }

    /// `counter`
    #[must_use]
    pub fn counter(self) -> Self {
        self.then(Statement::Counter(Counter::default()))
    }

    /// `meta mark set MARK`, `ct zone set ZONE`, …
    #[must_use]
    pub fn set(self, target: Target, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::Data(data) => Expression::constant(target.data_type(), data),
            Value::Expression(expression) => expression,
        };
        self.then(Statement::Set { target, value })
    }

    /// `redirect to :PORT`
    #[must_use]
    pub fn redirect(self, port: u16) -> Self {
        let port = Some(Expression::constant(DataType::InetService, Data::be16(port)));
        self.then(Statement::Nat(Box::new(Nat { port, ..Nat::new(NatKind::Redirect) })))
    }

    /// `tproxy ip to :PORT` or `tproxy ip6 to :PORT`
    #[must_use]
    pub fn tproxy(self, family: Family, port: u16) -> Self {
        let family = matches!(family, Family::Ipv4 | Family::Ipv6).then_some(family);
        let port = Some(Expression::constant(DataType::InetService, Data::be16(port)));
        self.then(Statement::Tproxy(Box::new(Tproxy { family, address: None, port })))
    }

    /// `accept`
    #[must_use]
    pub fn accept(self) -> Self {
        self.then(Statement::Verdict(Verdict::Accept))
    }

    /// `drop`
    #[must_use]
    pub fn drop(self) -> Self {
        self.then(Statement::Verdict(Verdict::Drop))
    }

    /// `return`
    #[must_use]
    pub fn returns(self) -> Self {
        self.then(Statement::Verdict(Verdict::Return))
    }

    /// `jump CHAIN`
    #[must_use]
    pub fn jump(self, chain: impl Into<Name>) -> Self {
        self.then(Statement::Verdict(Verdict::Jump(chain.into())))
    }
}

/// Ascending, and as nft shows them: where there is any range, those that overlap or touch are one.
fn merged(ports: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut ports: Vec<_> = ports.iter().filter(|range| !range.is_empty()).cloned().collect();
    ports.sort_unstable_by_key(|range| (*range.start(), *range.end()));
    ports.dedup();
    if ports.iter().all(is_single) {
        return ports;
    }
    let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(ports.len());
    for range in ports {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn expression(range: &RangeInclusive<u16>) -> Expression {
    let port = |port: &u16| Expression::constant(DataType::InetService, Data::be16(*port));
    match is_single(range) {
        true => port(range.start()),
        false => Expression::Range(Box::new(Range { from: port(range.start()), to: port(range.end()) })),
    }
}

fn is_single(range: &RangeInclusive<u16>) -> bool {
    range.start() == range.end()
}

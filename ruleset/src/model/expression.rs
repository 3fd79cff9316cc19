//! Expressions: what a rule reads, and what it compares that with. The shape is that of libnftables' JSON.

use std::net::IpAddr;

use super::statement::{Statement, Verdict};
use super::{Data, DataType, IpPrefix, Name, Selector};

/// Something that has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Read from the packet
    Selector(Selector),
    /// A constant
    Constant(Constant),
    /// All values that begin alike
    Prefix(Box<Prefix>),
    /// All values from one to another, both included
    Range(Box<Range>),
    /// Several values as one, one after the other
    Concat(Vec<Expression>),
    /// Any of these flags
    List(Vec<Expression>),
    /// Any of these elements
    Set(Vec<Element>),
    /// Any element of the set with this name
    SetName(Name),
    /// What a map has for a key
    Map(Box<Map>),
    /// An operation on bits
    Binary(Box<Binary>),
    /// A hash
    Hash(Box<Hash>),
    /// What happens to the packet, as a value of a map
    Verdict(Verdict),
    /// The name of an object
    Name(Name),
    /// What no other element of a set or map is about
    Wildcard,
}

/// A constant: bytes as they are in a register, and what they are. A value that does not take whole bytes is in
/// the lowest bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// What it is
    pub data_type: DataType,
    /// The bytes
    pub data: Data,
}

/// All values that begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The lowest one
    pub value: Expression,
    /// How many bits are alike
    pub len: u32,
}

/// All values from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest one
    pub from: Expression,
    /// The highest one
    pub to: Expression,
}

/// A lookup in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// What is looked up
    pub key: Expression,
    /// An [`Expression::Set`] or an [`Expression::SetName`]
    pub map: Expression,
    /// Whether it holds verdicts
    pub verdicts: bool,
}

/// An operation on bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Which
    pub operator: Operator,
    /// The left operand
    pub left: Expression,
    /// The right operand
    pub right: Expression,
}

/// An operation on bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
}

impl Operator {
    /// nft's sign for it.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
        }
    }

    /// How tightly it binds: the lowest number first.
    #[must_use]
    pub fn precedence(self) -> u8 {
        match self {
            Self::ShiftLeft | Self::ShiftRight => 1,
            Self::And => 2,
            Self::Xor => 3,
            Self::Or => 4,
        }
    }
}

/// Jenkins' hash of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// Of what
    pub of: Expression,
    /// How many different values
    pub modulus: u32,
    /// The lowest value
    pub offset: u32,
    /// What the hash begins with, where it is given
    pub seed: Option<u32>,
}

/// An element of a set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key
    pub key: Expression,
    /// What a map has for the key
    pub value: Option<Expression>,
    /// What is rarely there
    pub details: Option<Box<ElementDetails>>,
}

/// What few elements have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElementDetails {
    /// Milliseconds after which it expires; 0 for the set's own time
    pub timeout: u64,
    /// Milliseconds until it expires; 0 where it does not
    pub expires: u64,
    /// The comment
    pub comment: Option<Name>,
    /// Counters and limits of its own
    pub statements: Vec<Statement>,
}

impl Element {
    /// An element with nothing but its key.
    #[must_use]
    pub fn new(key: Expression) -> Self {
        Self { key, value: None, details: None }
    }
}

impl Constant {
    /// A constant of this type.
    #[must_use]
    pub fn new(data_type: DataType, data: Data) -> Self {
        Self { data_type, data }
    }

    /// The bytes with the most significant one first.
    #[must_use]
    pub fn most_significant_first(&self) -> Data {
        if self.data_type.is_host_order() { swap_host_order(&self.data) } else { self.data.clone() }
    }

    /// As a number, where it has at most 16 bytes.
    #[must_use]
    pub fn number(&self) -> Option<u128> {
        let bytes = self.data.as_bytes();
        if bytes.len() > 16 {
            return None;
        }
        let join = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
        let least_first = self.data_type.is_host_order() && cfg!(target_endian = "little");
        Some(if least_first { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    }

    /// How many bits are set.
    #[must_use]
    pub fn count_ones(&self) -> u32 {
        self.data.as_bytes().iter().map(|byte| byte.count_ones()).sum()
    }

    /// The flags in it, each alone, the lowest first.
    pub(crate) fn flags(&self) -> impl Iterator<Item = Self> + '_ {
        let len = self.data.as_bytes().len();
        let least_first = self.data_type.is_host_order() && cfg!(target_endian = "little");
        (0..len).flat_map(move |index| {
            let index = if least_first { index } else { len - 1 - index };
            let byte = self.data.as_bytes()[index];
            (0..8).map(move |bit| byte & (1_u8 << bit)).filter(|&flag| flag != 0).map(move |flag| {
                let mut bytes = vec![0; len];
                bytes[index] = flag;
                Self::new(self.data_type, Data::new(&bytes))
            })
        })
    }
}

/// The bytes of a number in the machine's order with the most significant one first, or back.
pub(crate) fn swap_host_order(data: &Data) -> Data {
    if cfg!(target_endian = "little") { reversed(data) } else { data.clone() }
}

/// The bytes in the other order.
pub(crate) fn reversed(data: &Data) -> Data {
    let mut bytes = [0; 64];
    let bytes = &mut bytes[..data.as_bytes().len().min(64)];
    for (to, from) in bytes.iter_mut().zip(data.as_bytes().iter().rev()) {
        *to = *from;
    }
    Data::new(bytes)
}

impl Expression {
    /// A constant of this type.
    #[must_use]
    pub fn constant(data_type: DataType, data: Data) -> Self {
        Self::Constant(Constant::new(data_type, data))
    }

    /// A set of constants of this type.
    #[must_use]
    pub fn set(data_type: DataType, elements: impl IntoIterator<Item = Data>) -> Self {
        Self::Set(elements.into_iter().map(|data| Element::new(Self::constant(data_type, data))).collect())
    }

    /// The addresses that begin alike; one alone for the longest prefix.
    #[must_use]
    pub fn network(prefix: IpPrefix) -> Self {
        let (data_type, data) = match prefix.network() {
            IpAddr::V4(network) => (DataType::Ipv4Addr, network.into()),
            IpAddr::V6(network) => (DataType::Ipv6Addr, network.into()),
        };
        let value = Self::constant(data_type, data);
        if prefix.is_single() {
            return value;
        }
        Self::Prefix(Box::new(Prefix { value, len: prefix.length().into() }))
    }

    /// Any of the flags that are set in the constant.
    #[must_use]
    pub fn flags(data_type: DataType, data: Data) -> Self {
        let constant = Constant::new(data_type, data);
        if constant.count_ones() < 2 {
            return Self::Constant(constant);
        }
        Self::List(constant.flags().map(Self::Constant).collect())
    }

    /// `left OPERATOR right`
    #[must_use]
    pub fn binary(left: Self, operator: Operator, right: Self) -> Self {
        Self::Binary(Box::new(Binary { operator, left, right }))
    }

    /// Calls `each` with the name of every set and map in it.
    pub(crate) fn each_set_name(&self, each: &mut impl FnMut(&Name)) {
        match self {
            Self::SetName(name) => each(name),
            Self::Map(map) => {
                map.key.each_set_name(each);
                map.map.each_set_name(each);
            }
            Self::Concat(parts) => parts.iter().for_each(|part| part.each_set_name(each)),
            Self::Binary(binary) => {
                binary.left.each_set_name(each);
                binary.right.each_set_name(each);
            }
            Self::Hash(hash) => hash.of.each_set_name(each),
            Self::Range(range) => {
                range.from.each_set_name(each);
                range.to.each_set_name(each);
            }
            Self::Prefix(prefix) => prefix.value.each_set_name(each),
            Self::Selector(_)
            | Self::Constant(_)
            | Self::List(_)
            | Self::Set(_)
            | Self::Verdict(_)
            | Self::Name(_)
            | Self::Wildcard => {}
        }
    }

    /// What kind of value it has; `None` where it has several or none.
    #[must_use]
    pub fn data_type(&self) -> Option<DataType> {
        match self {
            Self::Selector(selector) => Some(selector.data_type()),
            Self::Constant(constant) => Some(constant.data_type),
            Self::Prefix(prefix) => prefix.value.data_type(),
            Self::Range(range) => range.from.data_type(),
            Self::List(list) => list.first()?.data_type(),
            Self::Binary(binary) => binary.left.data_type(),
            Self::Hash(_) => Some(DataType::Integer),
            Self::Verdict(_) => Some(DataType::Verdict),
            Self::Concat(_)
            | Self::Set(_)
            | Self::SetName(_)
            | Self::Map(_)
            | Self::Name(_)
            | Self::Wildcard => None,
        }
    }
}

impl From<Selector> for Expression {
    fn from(selector: Selector) -> Self {
        Self::Selector(selector)
    }
}

impl From<Constant> for Expression {
    fn from(constant: Constant) -> Self {
        Self::Constant(constant)
    }
}

//! Expressions: the instructions of the kernel's virtual machine, one file each.
//!
//! A rule is a list of expressions. Each loads something into a [`Register`], looks at one, or
//! acts on the packet; one that does not match ends the rule. The names are the kernel's (`NFTA_EXPR_NAME`); an
//! expression that this crate has no type for is kept as [`Unknown`].

mod bitwise;
mod cmp;
mod counter;
mod ct;
mod immediate;
mod lookup;
mod masq;
mod meta;
mod nat;
mod payload;
mod range;
mod redir;
mod socket;
mod tproxy;
mod unknown;

pub use bitwise::{Bitwise, Operation};
pub use cmp::{Cmp, CmpOp};
pub use counter::Counter;
pub use ct::{Ct, CtKey};
pub use immediate::Immediate;
pub use lookup::Lookup;
pub use masq::Masq;
pub use meta::{Meta, MetaKey};
pub use nat::{Nat, NatKind};
pub use payload::{Payload, PayloadAction, PayloadBase};
pub use range::Range;
pub use redir::Redir;
pub use socket::{Socket, SocketKey};
pub use tproxy::Tproxy;
pub use unknown::Unknown;

use crate::{Attr, AttrReader, AttrWriter, DecodeError, Family, Register, uapi};

/// Whether an expression fills a register or uses what is in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads from the packet into this destination register
    Load(Register),
    /// Writes what is in this source register
    Store(Register),
}

/// Declares [`Expr`]: a variant for each type, its name in the kernel, and the conversions.
macro_rules! expressions {
    ($($variant:ident $(<$life:lifetime>)? = $name:literal),+ $(,)?) => {
        /// Any expression.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Expr<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant($variant $(<$life>)?),)+
            /// One that this crate has no type for
            Unknown(Unknown<'a>),
        }

        impl<'a> Expr<'a> {
            /// The kernel's name for it.
            #[must_use]
            pub fn name(&self) -> &'a str {
                match self {
                    $(Self::$variant(_) => $name,)+
                    Self::Unknown(unknown) => unknown.name,
                }
            }

            fn put_attributes(&self, writer: &mut AttrWriter) {
                match self {
                    $(Self::$variant(expression) => expression.put(writer),)+
                    Self::Unknown(unknown) => unknown.put(writer),
                }
            }

            fn parse(name: &'a str, attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
                match name {
                    $($name => $variant::parse(attributes).map(Self::$variant),)+
                    _ => Ok(Self::Unknown(Unknown { name, attributes: attributes.as_bytes() })),
                }
            }
        }

        $(impl<'a> From<$variant $(<$life>)?> for Expr<'a> {
            fn from(expression: $variant $(<$life>)?) -> Self {
                Self::$variant(expression)
            }
        })+
    };
}

expressions! {
    Bitwise = "bitwise",
    Cmp = "cmp",
    Counter = "counter",
    Ct = "ct",
    Immediate<'a> = "immediate",
    Lookup<'a> = "lookup",
    Masq = "masq",
    Meta = "meta",
    Nat = "nat",
    Payload = "payload",
    Range = "range",
    Redir = "redir",
    Socket = "socket",
    Tproxy = "tproxy",
}

impl<'a> Expr<'a> {
    /// Writes the expression as one element of a list.
    pub fn encode(&self, writer: &mut AttrWriter) {
        writer.nest(uapi::NFTA_LIST_ELEM, |writer| {
            writer.put_str(uapi::NFTA_EXPR_NAME, self.name());
            writer.nest(uapi::NFTA_EXPR_DATA, |writer| self.put_attributes(writer));
        });
    }

    /// Reads a list of expressions.
    pub fn decode_list(list: AttrReader<'a>) -> impl Iterator<Item = Result<Self, DecodeError>> + use<'a> {
        list.map(|element| Self::decode(element?.nested()))
    }

    fn decode(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let mut data = AttrReader::new(&[]);
        for attribute in attributes {
            let attribute = attribute?;
            if attribute.kind == uapi::NFTA_EXPR_DATA {
                data = attribute.nested();
            }
        }
        Self::parse(name_of(attributes)?, data)
    }
}

/// The name in an element of a list of expressions.
pub(crate) fn name_of(attributes: AttrReader<'_>) -> Result<&str, DecodeError> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == uapi::NFTA_EXPR_NAME {
            return attribute.str();
        }
    }
    Err(DecodeError::Missing { attribute: uapi::NFTA_EXPR_NAME })
}

/// Declares an enum for a number of the kernel's; a number without a name is kept.
macro_rules! kernel_number {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A number that this crate has no name for
            Other(u32),
        }

        impl $name {
            /// The value with this number.
            #[must_use]
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    number => Self::Other(number),
                }
            }

            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Other(number) => number,
                }
            }
        }
    };
}
pub(crate) use kernel_number;

/// Reads a register number.
fn register(attribute: Attr<'_>) -> Result<Register, DecodeError> {
    attribute.be32().map(Register::new)
}

/// Reads a family that an expression holds as 32 bits.
fn family(attribute: Attr<'_>) -> Result<Family, DecodeError> {
    let too_large = DecodeError::ValueLength { attribute: attribute.kind, expected: 1, found: 4 };
    attribute.be32()?.try_into().map(Family::from_number).map_err(|_| too_large)
}

/// The value of an attribute that must be there.
fn required<T>(value: Option<T>, attribute: u16) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing { attribute })
}

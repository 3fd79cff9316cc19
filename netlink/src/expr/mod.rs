//! Expressions: the instructions of the kernel's virtual machine, one file each.
//!
//! A rule is a list of expressions. Each loads something into a [`Register`], looks at one, or acts on the packet; one
//! that does not match ends the rule. The names are the kernel's (`NFTA_EXPR_NAME`); an expression that this crate has
//! no type for is kept as [`Unknown`]. The kernel takes one of a family before one for all (`__nft_expr_type_get` in
//! net/netfilter/nf_tables_api.c, Linux 6.12); the files here name the function that reads theirs.

mod bitwise;
mod byteorder;
mod cmp;
mod connlimit;
mod counter;
mod ct;
mod dup;
mod dynset;
mod exthdr;
mod fib;
mod flow_offload;
mod fwd;
mod hash;
mod immediate;
mod inner;
mod last;
mod limit;
mod log;
mod lookup;
mod masq;
mod meta;
mod nat;
mod notrack;
mod numgen;
mod objref;
mod osf;
mod payload;
mod queue;
mod quota;
mod range;
mod redir;
mod reject;
mod rt;
mod socket;
mod synproxy;
mod tproxy;
mod tunnel;
mod unknown;
mod xfrm;
mod xt_match;
mod xt_target;

pub use bitwise::{Bitwise, Operation};
pub use byteorder::{Byteorder, ByteorderOp};
pub use cmp::{Cmp, CmpOp};
pub use connlimit::Connlimit;
pub use counter::Counter;
pub use ct::{Ct, CtKey};
pub use dup::Dup;
pub use dynset::{Dynset, DynsetOp};
pub use exthdr::{Exthdr, ExthdrOp};
pub use fib::{Fib, FibResult};
pub use flow_offload::FlowOffload;
pub use fwd::Fwd;
pub use hash::{Hash, HashKind};
pub use immediate::Immediate;
pub use inner::{Inner, InnerKind};
pub use last::Last;
pub use limit::{Limit, LimitKind};
pub use log::{Log, LogLevel};
pub use lookup::Lookup;
pub use masq::Masq;
pub use meta::{Meta, MetaKey};
pub use nat::{Nat, NatKind};
pub use notrack::Notrack;
pub use numgen::{Numgen, NumgenKind};
pub use objref::Objref;
pub use osf::Osf;
pub use payload::{Payload, PayloadAction, PayloadBase};
pub use queue::{Queue, QueueNumber};
pub use quota::Quota;
pub use range::Range;
pub use redir::Redir;
pub use reject::{Reject, RejectKind};
pub use rt::{Rt, RtKey};
pub use socket::{Socket, SocketKey};
pub use synproxy::Synproxy;
pub use tproxy::Tproxy;
pub use tunnel::{Tunnel, TunnelKey, TunnelMode};
pub use unknown::Unknown;
pub use xfrm::{Xfrm, XfrmKey};
pub use xt_match::Match;
pub use xt_target::Target;

use netlink_packet_core::NLA_F_NESTED;

use crate::{Attr, AttrReader, AttrWriter, DecodeError, Family, Register, attr, uapi};

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

            /// Writes the expression as an attribute of this type.
            pub(crate) fn encode_as(&self, writer: &mut AttrWriter, kind: u16) {
                match self {
                    $(Self::$variant(expression) => {
                        const HEAD: [u8; head_len($name)] = head($name);
                        put_known(writer, kind, &HEAD, |writer| expression.put(writer));
                    })+
                    Self::Unknown(unknown) => writer.nest(kind, |writer| {
                        writer.put_str(uapi::NFTA_EXPR_NAME, unknown.name);
                        writer.nest(uapi::NFTA_EXPR_DATA, |writer| unknown.put(writer));
                    }),
                }
            }

            /// Names are compared as bytes: only one that is not known here has to be read as text.
            fn parse(name: Attr<'a>, attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
                let text = name.text().as_bytes();
                $(if text == $name.as_bytes() {
                    return $variant::parse(attributes).map(Self::$variant);
                })+
                Ok(Self::Unknown(Unknown { name: name.str()?, attributes: attributes.as_bytes() }))
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
    Byteorder = "byteorder",
    Cmp = "cmp",
    Connlimit = "connlimit",
    Counter = "counter",
    Ct = "ct",
    Dup = "dup",
    Dynset<'a> = "dynset",
    Exthdr = "exthdr",
    Fib = "fib",
    FlowOffload<'a> = "flow_offload",
    Fwd = "fwd",
    Hash = "hash",
    Immediate<'a> = "immediate",
    Inner<'a> = "inner",
    Last = "last",
    Limit = "limit",
    Log<'a> = "log",
    Lookup<'a> = "lookup",
    Masq = "masq",
    Meta = "meta",
    Nat = "nat",
    Notrack = "notrack",
    Numgen = "numgen",
    Objref<'a> = "objref",
    Osf = "osf",
    Payload = "payload",
    Queue = "queue",
    Quota = "quota",
    Range = "range",
    Redir = "redir",
    Reject = "reject",
    Rt = "rt",
    Socket = "socket",
    Synproxy = "synproxy",
    Tproxy = "tproxy",
    Tunnel = "tunnel",
    Xfrm = "xfrm",
    Match<'a> = "match",
    Target<'a> = "target",
}

impl<'a> Expr<'a> {
    /// Writes the expression as one element of a list.
    pub fn encode(&self, writer: &mut AttrWriter) {
        self.encode_as(writer, uapi::NFTA_LIST_ELEM);
    }

    /// Reads a list of expressions.
    pub fn decode_list(list: AttrReader<'a>) -> impl Iterator<Item = Result<Self, DecodeError>> + use<'a> {
        list.map(|element| Self::decode(element?.nested()))
    }

    /// Writes the expressions of an element: a single one as an attribute `one`, which every kernel knows, several as
    /// a list `many`, which Linux does from 5.11 on, up to two of them (`NFT_SET_EXPR_MAX` in
    /// include/net/netfilter/nf_tables.h, Linux 6.12).
    pub(crate) fn put_stateful(writer: &mut AttrWriter, expressions: &[Self], one: u16, many: u16) {
        match expressions {
            [] => {}
            [expression] => expression.encode_as(writer, one),
            expressions => writer.nest(many, |writer| {
                for expression in expressions {
                    expression.encode(writer);
                }
            }),
        }
    }

    /// Reads an expression that belongs to an expression, to a set or to an element.
    ///
    /// There, none holds further ones; one that claims to is kept as [`Unknown`], so that no message makes this
    /// reader call itself without end.
    pub(crate) fn decode_inside(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (name, data) = name_and_data(attributes)?;
        match name.text().as_bytes() {
            b"dynset" | b"inner" => {
                Ok(Self::Unknown(Unknown { name: name.str()?, attributes: data.as_bytes() }))
            }
            _ => Self::parse(name, data),
        }
    }

    /// Reads a list of such expressions.
    pub(crate) fn decode_list_inside(
        list: AttrReader<'a>,
        expressions: &mut Vec<Self>,
    ) -> Result<(), DecodeError> {
        for element in list {
            expressions.push(Self::decode_inside(element?.nested())?);
        }
        Ok(())
    }

    fn decode(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (name, data) = name_and_data(attributes)?;
        Self::parse(name, data)
    }
}

/// Bytes before an expression's own attributes: its header, its name with header and NUL, and the header of the data.
const fn head_len(name: &str) -> usize {
    4 + 4 + (name.len() + 1).next_multiple_of(4) + 4
}

/// These bytes, with what is known of them at compile time.
const fn head<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    // Names are a few letters: their length is the lowest byte, whatever the machine's byte order.
    let [length, ..] = name.len().to_le_bytes();
    let [l0, l1, k0, k1] = attr::header(5 + length as u16, uapi::NFTA_EXPR_NAME);
    (bytes[4], bytes[5], bytes[6], bytes[7]) = (l0, l1, k0, k1);
    let mut index = 0;
    while index < name.len() {
        bytes[8 + index] = name.as_bytes()[index];
        index += 1;
    }
    let [_, _, k0, k1] = attr::header(0, uapi::NFTA_EXPR_DATA | NLA_F_NESTED);
    (bytes[N - 2], bytes[N - 1]) = (k0, k1);
    bytes
}

/// Writes an expression whose name is known at compile time: the head in one piece.
#[inline]
fn put_known<const N: usize>(
    writer: &mut AttrWriter,
    kind: u16,
    head: &[u8; N],
    put: impl FnOnce(&mut AttrWriter),
) {
    let start = writer.len();
    writer.raw(head);
    put(writer);
    writer.patch(start, &attr::header(0, kind | NLA_F_NESTED));
    writer.close(start + N - 4);
    writer.close(start);
}

/// The name in an element of a list of expressions, and the attributes of the expression itself.
fn name_and_data(attributes: AttrReader<'_>) -> Result<(Attr<'_>, AttrReader<'_>), DecodeError> {
    let (mut name, mut data) = (None, AttrReader::new(&[]));
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_EXPR_NAME => name = Some(attribute),
            uapi::NFTA_EXPR_DATA => data = attribute.nested(),
            _ => {}
        }
    }
    Ok((required(name, uapi::NFTA_EXPR_NAME)?, data))
}

/// The name in an element of a list of expressions.
pub(crate) fn name_of(attributes: AttrReader<'_>) -> Result<&str, DecodeError> {
    name_and_data(attributes)?.0.str()
}

/// Reads a register number.
fn register(attribute: Attr<'_>) -> Result<Register, DecodeError> {
    attribute.be32().map(Register::new)
}

/// Reads a family that an expression holds as 32 bits.
fn family(attribute: Attr<'_>) -> Result<Family, DecodeError> {
    let too_large = DecodeError::ValueLength { attribute: attribute.kind, expected: 1, found: 4 };
    attribute.be32()?.try_into().map(Family::from_number).map_err(|_| too_large)
}

/// The value of an attribute that must be present.
fn required<T>(value: Option<T>, attribute: u16) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing { attribute })
}

//! `describe`: what kind of value something has, and the names of its values (nftables, `expr_describe` in
//! src/expression.c).

use std::fmt::Write as _;

use super::super::syntax::{Expr, ExprKind};
use super::expression::kind_of;
use super::value::describe;
use super::{Evaluator, Kind};
use crate::model::symbols;
use crate::{DataType, Selector};

impl Evaluator<'_> {
    /// The kind, the type and the named values of what is read from a packet, or of a type.
    #[must_use]
    pub(crate) fn describe(&self, expr: &Expr) -> String {
        let mut out = String::new();
        // A String takes everything.
        let _ = match &expr.kind {
            ExprKind::Selector(selector) => {
                let (word, kind) = (word(selector), kind_of(**selector));
                write!(out, "{word} expression, ").and_then(|()| details(&mut out, kind, true))
            }
            ExprKind::Hash(_) => {
                let kind = Kind { data_type: DataType::Integer, bits: 32 };
                write!(out, "hash expression, ").and_then(|()| details(&mut out, kind, true))
            }
            ExprKind::Word(name) => match data_type(name) {
                Some(data_type) => details(&mut out, Kind { data_type, bits: bits(data_type) }, false),
                None => writeln!(out, "symbol expression, datatype invalid (invalid)"),
            },
            _ => writeln!(out, "symbol expression, datatype invalid (invalid)"),
        };
        out
    }
}

/// nft's word for what reads it.
fn word(selector: &Selector) -> &'static str {
    match selector {
        Selector::Payload(_) | Selector::Raw(_) | Selector::Inner(_) => "payload",
        Selector::Meta(_) => "meta",
        Selector::Ct(_) | Selector::CtOf(_) => "ct",
        Selector::Option(_) => "exthdr",
        Selector::Socket(..) => "socket",
        Selector::Fib(_) => "fib",
        Selector::Rt(_) => "rt",
        Selector::Osf(_) => "osf",
        Selector::Tunnel(_) => "tunnel",
        Selector::Ipsec(_) => "xfrm",
        Selector::Numgen(_) => "numgen",
        Selector::SymmetricHash(_) => "hash",
    }
}

fn data_type(name: &str) -> Option<DataType> {
    (1..=46).filter_map(DataType::from_number).find(|known| known.name() == name)
}

/// Bits of a value of the type.
fn bits(data_type: DataType) -> u32 {
    match data_type {
        DataType::Boolean => 1,
        DataType::Ecn => 2,
        DataType::DccpType => 4,
        DataType::Dscp => 6,
        data_type => 8 * data_type.size(),
    }
}

fn details(out: &mut String, kind: Kind, is_read: bool) -> std::fmt::Result {
    let Kind { data_type, bits } = kind;
    write!(out, "datatype {} ({})", data_type.name(), describe(data_type))?;
    let base = match data_type {
        DataType::Integer
        | DataType::NetworkInteger
        | DataType::Hex
        | DataType::String
        | DataType::Verdict => "",
        DataType::InterfaceName => "string",
        DataType::EtherAddr => "link layer address, integer",
        data_type if data_type.has_flags() => "bitmask, integer",
        _ => "integer",
    };
    if !base.is_empty() {
        write!(out, " (basetype {base})")?;
    }
    match data_type.is_text() && is_read {
        true if bits == 0 => writeln!(out, ", dynamic length")?,
        true => writeln!(out, ", {} characters", bits / 8)?,
        false => writeln!(out, ", {bits} bits")?,
    }
    names(out, data_type)
}

fn names(out: &mut String, data_type: DataType) -> std::fmt::Result {
    use DataType as T;
    let symbols = symbols::table(data_type);
    // The names of realms and device groups are the system's.
    if symbols.is_empty() || matches!(data_type, T::Realm | T::DeviceGroup) {
        return Ok(());
    }
    let is_hex = data_type.is_bitmask()
        || matches!(data_type, T::EtherType | T::ArpOperation | T::DccpType | T::InterfaceType)
        || matches!(data_type, T::Dscp | T::Ecn);
    if data_type != T::InetProto {
        let base = if is_hex { "hexadecimal" } else { "decimal" };
        writeln!(out, "\npre-defined symbolic constants (in {base}):")?;
    }
    let digits = usize::try_from(2 * data_type.size()).unwrap_or(0);
    for (value, name) in symbols {
        match (is_hex, data_type) {
            (true, _) => writeln!(out, "\t{name:<30}\t0x{value:0digits$x}")?,
            (false, T::InetProto) => writeln!(out, "\t{name:<30}\t{value}")?,
            (false, _) => writeln!(out, "\t{name:<30}\t{value:>20}")?,
        }
    }
    Ok(())
}

//! Changes of addresses and ports.

use nftwire::Family;

use super::super::source::{Fault, Span};
use super::super::syntax::{self, Expr, ExprKind, NatShape};
use super::statement::address_kind;
use super::{Evaluated, Evaluator, Kind};
use crate::model::statement::{Nat, NatKind};
use crate::{DataType, Expression, Protocol, Selector, Statement};

impl Evaluator<'_> {
    pub(super) fn nat(&mut self, nat: &syntax::Nat, span: Span) -> Evaluated<Statement> {
        let table = self.context.family;
        if !matches!(table, Family::Ipv4 | Family::Ipv6 | Family::Inet) {
            return Err(Fault::new(span, "NAT is only supported for IPv4/IPv6"));
        }
        let family = match nat.family {
            Some(family) => Some(family),
            None if table == Family::Inet => self.context.network(),
            None => Some(table),
        };
        if let (Some(family), Some(network)) = (family, self.context.network())
            && family != network
            && nat.address.is_some()
        {
            let message = format!(
                "conflicting protocols specified: {network} vs. {family}. You must specify ip or ip6 family in nat statement"
            );
            return Err(Fault::new(span, message));
        }
        let mut flags = nat.flags;
        let address = match &nat.address {
            Some(address) => {
                let Some(family) = family else {
                    let message = "ip or ip6 must be specified with address for inet tables.";
                    return Err(Fault::new(span, message));
                };
                if nat.prefix || is_prefix(address) {
                    flags |= if nat.prefix { Nat::NETMAP } else { 0 };
                }
                Some(self.nat_address(address, family, nat.shape, span)?)
            }
            None => None,
        };
        let port = match &nat.port {
            Some(port) => {
                self.need_transport(nat.address.as_ref(), port.span, span)?;
                Some(self.value_of(port, &[Kind::new(DataType::InetService)])?)
            }
            None => None,
        };
        let shown = matches!(nat.kind, NatKind::Source | NatKind::Destination) && table == Family::Inet;
        let family = if shown && address.is_some() { family } else { None };
        Ok(Statement::Nat(Box::new(Nat { kind: nat.kind, family, address, port, flags })))
    }

    fn nat_address(
        &mut self,
        address: &Expr,
        family: Family,
        shape: NatShape,
        span: Span,
    ) -> Evaluated<Expression> {
        let kind = address_kind(Some(family));
        let both = [kind, Kind::new(DataType::InetService)];
        let ExprKind::Map(pair) = &address.kind else { return self.value_of(address, &[kind]) };
        let with_port = match &pair.1.kind {
            ExprKind::SetName(name) => self.value_kinds(name, pair.1.span)?.len() > 1,
            ExprKind::Set(elements) => elements
                .iter()
                .any(|entry| matches!(entry.element().value, Some(Expr { kind: ExprKind::Concat(_), .. }))),
            _ => false,
        };
        if with_port || shape == NatShape::AddressAndPort {
            let value = self.value_of(address, &both)?;
            self.need_transport(Some(address), address.span, span)?;
            return Ok(value);
        }
        self.value_of(address, &[kind])
    }

    /// A port is changed only in packets that have one.
    fn need_transport(&mut self, address: Option<&Expr>, place: Span, span: Span) -> Evaluated<()> {
        if self.context.has_transport() || address.is_some_and(reads_transport) {
            return Ok(());
        }
        let message = "transport protocol mapping is only valid after transport protocol match";
        Err(Fault::new(place, message).with(span))
    }
}

fn is_prefix(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Prefix(..))
}

/// Whether the key of a map has a field of a transport header, or the protocol's number.
fn reads_transport(address: &Expr) -> bool {
    let ExprKind::Map(pair) = &address.kind else { return false };
    let ExprKind::Concat(parts) = &pair.0.kind else { return false };
    parts.iter().any(|part| {
        let ExprKind::Selector(selector) = &part.kind else { return false };
        match &**selector {
            Selector::Payload(field) => {
                let transport = field.protocol.base() == nftwire::expr::PayloadBase::Transport;
                (transport && field.protocol != Protocol::Th)
                    || (field.is_protocol_key() && matches!(field.protocol, Protocol::Ip | Protocol::Ip6))
            }
            selector => *selector == Selector::L4PROTO,
        }
    })
}

//! Translations of addresses and ports, and `tproxy`.

use nftwire::expr::{Immediate, Masq, Nat as WireNat, NatKind as WireNatKind, Redir, Tproxy as WireTproxy};
use nftwire::{Register, uapi};

use super::load;
use super::{Compiler, NotCompiled, WORDS_IN_16_BYTES, constant, register};
use crate::model::statement::{Nat, NatKind, Tproxy};
use crate::nft::decompile::context::NETWORK;
use crate::{Expression, Family, Map, Protocol, SetValue};

impl<'a> Compiler<'a, '_> {
    pub(super) fn nat(&mut self, nat: &'a Nat) -> Result<(), NotCompiled> {
        let Nat { kind, family, address, port, flags } = nat;
        let table = match self.context.family {
            family @ (Family::Ipv4 | Family::Ipv6) => Some(family),
            _ => None,
        };
        let known = match self.context.protocol(NETWORK) {
            Some(Protocol::Ip) => Some(Family::Ipv4),
            Some(Protocol::Ip6) => Some(Family::Ipv6),
            _ => None,
        };
        // A port alone is translated in both.
        let both = (self.context.family == Family::Inet && address.is_none()).then_some(Family::Inet);
        let family = family.or(table).or(both).or(known);
        let start = self.next_word;
        let (mut addresses, mut ports) = ([None; 2], [None; 2]);
        if let Some(address) = address {
            addresses = self.ends(address)?;
            if let (Expression::Map(map), Some(first)) = (address, addresses[0]) {
                let words = if family == Some(Family::Ipv4) { 1 } else { 4 };
                self.nat_map(map, first, words, (&mut addresses, &mut ports))?;
            }
        }
        if let Some(port) = port {
            ports = self.ends(port)?;
        }
        self.next_word = start;
        let flags = flags
            | if address.is_some() { uapi::NF_NAT_RANGE_MAP_IPS } else { 0 }
            | if ports[0].is_some() { uapi::NF_NAT_RANGE_PROTO_SPECIFIED } else { 0 };
        let [addr_min, addr_max] = addresses.map(|word| word.map(register));
        let [proto_min, proto_max] = ports.map(|word| word.map(register));
        // The kernel reports both ends of a range in a dump, even where one was given.
        let (addr_max, proto_max) = (addr_max.or(addr_min), proto_max.or(proto_min));
        match kind {
            NatKind::Redirect => self.emit(Redir { proto_min, proto_max, flags }),
            NatKind::Masquerade => self.emit(Masq { proto_min, proto_max, flags }),
            NatKind::Source | NatKind::Destination => self.emit(WireNat {
                kind: if *kind == NatKind::Source { WireNatKind::Snat } else { WireNatKind::Dnat },
                family: family.ok_or(NotCompiled::NoFamily(kind.name()))?,
                addr_min,
                addr_max,
                proto_min,
                proto_max,
                flags,
            }),
        }
        Ok(())
    }

    /// One register, or two for a range.
    fn ends(&mut self, value: &'a Expression) -> Result<[Option<u32>; 2], NotCompiled> {
        Ok(match value {
            Expression::Range(range) => {
                let [first, last] = [self.reserve(WORDS_IN_16_BYTES)?, self.reserve(WORDS_IN_16_BYTES)?];
                self.load_end(&range.from, first)?;
                self.load_end(&range.to, last)?;
                [Some(first), Some(last)]
            }
            Expression::Prefix(_) => {
                let (from, to) = super::set::range(value)?;
                let [first, last] = [self.reserve(WORDS_IN_16_BYTES)?, self.reserve(WORDS_IN_16_BYTES)?];
                self.emit(Immediate::Value { dreg: register(first), data: from });
                self.emit(Immediate::Value { dreg: register(last), data: to });
                [Some(first), Some(last)]
            }
            value => {
                self.depend(value)?;
                let word = self.reserve(WORDS_IN_16_BYTES)?;
                self.load_end(value, word)?;
                [Some(word), None]
            }
        })
    }

    fn load_end(&mut self, value: &'a Expression, word: u32) -> Result<(), NotCompiled> {
        match constant(value) {
            Ok(data) => self.emit(Immediate::Value { dreg: register(word), data }),
            Err(_) => self.load(value, word)?,
        }
        Ok(())
    }

    /// A map gives addresses, ranges of them, or addresses with ports.
    fn nat_map(
        &self,
        map: &Map,
        first: u32,
        words: u32,
        (addresses, ports): (&mut [Option<u32>; 2], &mut [Option<u32>; 2]),
    ) -> Result<(), NotCompiled> {
        let (several, interval) = match &map.map {
            Expression::SetName(name) => {
                let set = self.known_set(name).ok_or_else(|| NotCompiled::UnknownSet(name.clone()))?;
                match &set.value {
                    Some(SetValue::Data { data_type, interval }) => (data_type.types.len() > 1, *interval),
                    _ => return Err(super::SetFault::Value.into()),
                }
            }
            Expression::Set(elements) => match elements.first().and_then(|element| element.value.as_ref()) {
                Some(Expression::Concat(parts)) => (true, parts.iter().any(load::is_range)),
                Some(value) => (false, load::is_range(value)),
                None => return Err(super::SetFault::Value.into()),
            },
            _ => return Ok(()),
        };
        match (several, interval) {
            (false, false) => {}
            (false, true) => addresses[1] = Some(first + words),
            (true, false) => ports[0] = Some(first + words),
            (true, true) => {
                *ports = [Some(first + words), Some(first + 2 * words + 1)];
                addresses[1] = Some(first + words + 1);
            }
        }
        Ok(())
    }

    pub(super) fn tproxy(&mut self, tproxy: &'a Tproxy) -> Result<(), NotCompiled> {
        let Tproxy { family, address, port } = tproxy;
        let table = match self.context.family {
            family @ (Family::Ipv4 | Family::Ipv6) => Some(family),
            _ => None,
        };
        let start = self.next_word;
        let addr = address.as_ref().map(|address| self.operand_in_16_bytes(address)).transpose()?;
        let port = port.as_ref().map(|port| self.operand_in_16_bytes(port)).transpose()?;
        self.next_word = start;
        let family = family.or(table).unwrap_or(Family::Unspec);
        self.emit(WireTproxy { family, addr, port });
        Ok(())
    }

    fn operand_in_16_bytes(&mut self, value: &'a Expression) -> Result<Register, NotCompiled> {
        self.depend(value)?;
        let word = self.reserve(WORDS_IN_16_BYTES)?;
        self.load_end(value, word)?;
        Ok(register(word))
    }
}

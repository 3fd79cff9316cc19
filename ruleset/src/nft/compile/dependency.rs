//! Matches that a rule needs before it looks into a header.

use nftwire::expr::{CmpOp, Lookup, MetaKey};

use super::{Compiler, ETHERTYPE_IP, ETHERTYPE_IP6, NotCompiled};
use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::CtOf;
use crate::nft::decompile::context::{LINK, Layer, NETWORK, TRANSPORT, layer_of, upper};
use crate::{Data, DataType, Element, Expression, Family, Field, Protocol, Selector};

use nftwire::expr::CtKey;

/// `ARPHRD_ETHER`
const ETHERNET: u16 = 1;

impl Compiler<'_, '_> {
    /// Makes sure that only packets with the headers that the expression reads come further.
    pub(super) fn depend(&mut self, expression: &Expression) -> Result<(), NotCompiled> {
        match expression {
            Expression::Selector(selector) => self.depend_on_selector(selector),
            Expression::Concat(parts) => parts.iter().try_for_each(|part| self.depend(part)),
            Expression::Map(map) => self.depend(&map.key),
            Expression::Binary(binary) => {
                self.depend(&binary.left)?;
                self.depend(&binary.right)
            }
            Expression::Hash(hash) => self.depend(&hash.of),
            Expression::Range(range) => {
                self.depend(&range.from)?;
                self.depend(&range.to)
            }
            Expression::Prefix(prefix) => self.depend(&prefix.value),
            Expression::Constant(_)
            | Expression::List(_)
            | Expression::Set(_)
            | Expression::SetName(_)
            | Expression::Verdict(_)
            | Expression::Name(_)
            | Expression::Wildcard => Ok(()),
        }
    }

    fn depend_on_selector(&mut self, selector: &Selector) -> Result<(), NotCompiled> {
        match selector {
            Selector::Payload(field) => self.depend_on_field(field),
            Selector::Option(option) => self.depend_on_option(option),
            Selector::CtOf(CtOf { key: CtKey::Src | CtKey::Dst, family: Some(family), .. }) => {
                let ip = if *family == Family::Ipv4 { Protocol::Ip } else { Protocol::Ip6 };
                match (self.context.layers[NETWORK], self.context.family) {
                    (Some(_), _) | (None, Family::Ipv4 | Family::Ipv6) => Ok(()),
                    (None, _) => {
                        let selector = Selector::Ct(CtKey::L3Protocol);
                        self.emit_match(selector, Data::new(&[family.number()]))?;
                        self.context.layers[NETWORK] = Some(Layer::Protocol(ip));
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn depend_on_option(&mut self, option: &OptionField) -> Result<(), NotCompiled> {
        let header = match option.kind {
            OptionKind::Ipv6 => Protocol::Ip6,
            OptionKind::Ipv4 => Protocol::Ip,
            OptionKind::Tcp | OptionKind::Sctp => return Ok(()),
        };
        match self.context.layers[NETWORK] {
            Some(Layer::Protocol(known)) if known == header => Ok(()),
            Some(_) => Err(self.no_header(header)),
            None => {
                // nft puts this one at the rule's beginning (`expr_evaluate_exthdr` in src/evaluate.c, 1.0.6).
                let rule = std::mem::take(&mut self.expressions);
                self.depend_on_network(header, false)?;
                let added = self.expressions.len();
                self.expressions.extend(rule);
                self.mergeable.iter_mut().for_each(|place| place.load += added);
                Ok(())
            }
        }
    }

    fn depend_on_field(&mut self, field: &Field) -> Result<(), NotCompiled> {
        // What many headers begin with says nothing about which it is.
        if field.protocol == Protocol::Th {
            return Ok(());
        }
        let layer = layer_of(field.protocol.base()).unwrap_or(TRANSPORT);
        match self.context.layers[layer] {
            Some(Layer::Protocol(known)) if known == field.protocol => {}
            None => self.add_dependency(field, layer)?,
            Some(_) if layer == LINK => self.settle_link(field)?,
            Some(_) => return Err(self.no_header(field.protocol)),
        }
        self.depend_on_message(field)
    }

    fn add_dependency(&mut self, field: &Field, layer: usize) -> Result<(), NotCompiled> {
        match layer {
            LINK => self.settle_link(field),
            NETWORK => self.depend_on_network(field.protocol, true),
            _ => self.depend_on_transport(field.protocol),
        }
    }

    /// The families of network protocols and of devices do not say that there is an Ethernet header.
    fn settle_link(&mut self, field: &Field) -> Result<(), NotCompiled> {
        match self.context.layers[LINK] {
            None | Some(Layer::Inet | Layer::Netdev) => {
                self.emit_match(Selector::Meta(MetaKey::IifType), Data::new(&ETHERNET.to_ne_bytes()))?;
                self.context.learn_meta(MetaKey::IifType, ETHERNET.into());
            }
            Some(_) if self.context.stacked.contains(&field.protocol) => return Ok(()),
            Some(_) => {}
        }
        let known = self.context.protocol(LINK);
        if known == Some(field.protocol) {
            return Ok(());
        }
        if known != Some(Protocol::Ether)
            || field.protocol != Protocol::Vlan
            || (self.context.layers[NETWORK].is_some()
                && !matches!(self.context.family, Family::Ipv4 | Family::Ipv6 | Family::Arp))
        {
            return Err(self.no_header(field.protocol));
        }
        self.emit_next_header(Protocol::Ether, 0x8100)
    }

    /// `direct` says whether it is a field of this header that is read, or one of a header that follows it: in a bridge
    /// nft asks the packet in the one case, and its header in the other (`payload_add_dependency` in src/payload.c, 1.0.6).
    fn depend_on_network(&mut self, protocol: Protocol, direct: bool) -> Result<(), NotCompiled> {
        let (ether_type, family) = match protocol {
            Protocol::Ip => (ETHERTYPE_IP, Family::Ipv4),
            Protocol::Ip6 => (ETHERTYPE_IP6, Family::Ipv6),
            Protocol::Arp => (0x0806, Family::Arp),
            _ => return Err(self.no_header(protocol)),
        };
        match (self.context.layers[LINK], self.context.family) {
            (None | Some(Layer::Inet | Layer::Unknown), Family::Inet) if protocol != Protocol::Arp => {
                self.emit_match(Selector::NFPROTO, Data::new(&[family.number()]))?;
                self.context.learn_meta(MetaKey::NfProto, family.number().into());
                self.context.layers[NETWORK] = Some(Layer::Protocol(protocol));
            }
            (Some(Layer::Netdev), _) => self.emit_ether_type(ether_type)?,
            // skb->protocol, unlike the header, is the same with and without a VLAN.
            (Some(Layer::Protocol(Protocol::Ether)), Family::Bridge)
                if direct && protocol != Protocol::Arp =>
            {
                self.emit_ether_type(ether_type)?;
            }
            (Some(Layer::Protocol(link @ (Protocol::Ether | Protocol::Vlan))), _) => {
                self.emit_next_header(link, ether_type)?;
            }
            _ => return Err(self.no_header(protocol)),
        }
        Ok(())
    }

    fn emit_ether_type(&mut self, ether_type: u16) -> Result<(), NotCompiled> {
        self.emit_match(Selector::Meta(MetaKey::Protocol), Data::be16(ether_type))?;
        self.context.learn_meta(MetaKey::Protocol, ether_type.into());
        Ok(())
    }

    /// `ether type …` or `vlan type …`
    fn emit_next_header(&mut self, link: Protocol, ether_type: u16) -> Result<(), NotCompiled> {
        let Some(field) = link.field("type") else { return Err(self.no_header(link)) };
        self.emit_match(Selector::Payload(field), Data::be16(ether_type))?;
        self.context.learn_field(&field, LINK, ether_type.into());
        Ok(())
    }

    fn depend_on_transport(&mut self, protocol: Protocol) -> Result<(), NotCompiled> {
        let message = match protocol {
            Protocol::Icmp | Protocol::Igmp => Some(Protocol::Ip),
            Protocol::Icmp6 => Some(Protocol::Ip6),
            _ => None,
        };
        if let (Some(network), None) = (message, self.context.layers[NETWORK]) {
            self.depend_on_network(network, false)?;
        }
        let number = (0..=u8::MAX).find(|number| {
            let base =
                Layer::Protocol(if protocol == Protocol::Icmp6 { Protocol::Ip6 } else { Protocol::Ip });
            upper(base, (*number).into()) == Some(Layer::Protocol(protocol))
        });
        let Some(number) = number else { return Err(self.no_header(protocol)) };
        self.emit_match(Selector::L4PROTO, Data::new(&[number]))?;
        self.context.layers[TRANSPORT] = Some(Layer::Protocol(protocol));
        Ok(())
    }

    /// Some fields of ICMP and ICMPv6 are only in messages of one type, or in requests and replies.
    fn depend_on_message(&mut self, field: &Field) -> Result<(), NotCompiled> {
        let Some(message) = field.message else { return Ok(()) };
        match self.context.icmp_type {
            Some(known) if known == message => return Ok(()),
            Some(_) => return Err(self.no_header(field.protocol)),
            None => {}
        }
        let Some(kind) = field.protocol.field("type") else { return Ok(()) };
        let left = Selector::Payload(kind);
        let reply = match (field.protocol, message) {
            (Protocol::Icmp, 8) => Some(0),
            (Protocol::Icmp6, 128) => Some(129),
            _ => None,
        };
        match reply {
            None => self.emit_match(left, Data::new(&[message]))?,
            Some(reply) => {
                let element =
                    |number| Element::new(Expression::constant(kind.data_type, Data::new(&[number])));
                let word = self.reserve(super::WORDS_IN_16_BYTES)?;
                self.load_selector(&left, word, None)?;
                self.next_word = word;
                let elements = [element(message), element(reply)];
                let set_id = self.own_set(&left.into(), &elements)?;
                let (set, sreg) = (super::ANONYMOUS_SET_NAME.into(), super::register(word));
                self.emit(Lookup { set, set_id, sreg, dreg: None, inverted: false });
            }
        }
        self.context.icmp_type = Some(message);
        Ok(())
    }

    fn emit_match(&mut self, selector: Selector, data: Data) -> Result<(), NotCompiled> {
        let word = self.reserve(super::WORDS_IN_16_BYTES)?;
        let load = self.expressions.len();
        self.load_selector(&selector, word, None)?;
        self.next_word = word;
        self.compare(word, CmpOp::Eq, data);
        self.note_mergeable(&selector, load);
        Ok(())
    }

    fn no_header(&self, header: Protocol) -> NotCompiled {
        NotCompiled::Header { header, family: self.context.family }
    }

    /// Notes what a match says about the packets that pass it.
    pub(super) fn learn(&mut self, left: &Expression, right: &Expression) {
        let Expression::Selector(selector) = left else { return };
        let number = match right {
            Expression::Constant(constant) => constant.number(),
            // The first of several types of ICMP message says which fields may follow.
            Expression::Set(elements) => {
                let Selector::Payload(Field { data_type: DataType::IcmpType | DataType::Icmp6Type, .. }) =
                    selector
                else {
                    return;
                };
                elements.iter().find_map(|element| match &element.key {
                    Expression::Constant(constant) => constant.number().filter(|number| *number != 0),
                    _ => None,
                })
            }
            _ => return,
        };
        let Some(number) = number.and_then(|number| u32::try_from(number).ok()) else { return };
        match selector {
            Selector::Meta(key) => self.context.learn_meta(*key, number),
            Selector::Ct(CtKey::L3Protocol) => self.context.learn_ct(LINK, number),
            Selector::Ct(CtKey::Protocol) => self.context.learn_ct(NETWORK, number),
            Selector::Payload(field) if field.is_protocol_key() => {
                let layer = layer_of(field.protocol.base()).unwrap_or(TRANSPORT);
                self.context.learn_field(field, layer, number);
            }
            _ => {}
        }
    }
}

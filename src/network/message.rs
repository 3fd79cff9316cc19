//! The messages of rtnetlink: requests from our types, our types from replies. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use neli::consts::rtnl::{
    FrAct, Frattr, Frf, Ifa, Ifla, RtAddrFamily, RtScope, RtTable, Rta, RtaType, Rtn, Rtprot,
};
use neli::rtnl::{
    Fibmsg, FibmsgBuilder, Ifaddrmsg, IfaddrmsgBuilder, Ifinfomsg, IfinfomsgBuilder, Rtattr, RtattrBuilder,
    Rtmsg, RtmsgBuilder,
};
use neli::types::{Buffer, RtBuffer};
use neli::{Size, ToBytes};
use nftwire::{AttrReader, DecodeError};

use super::wire::{Encoded, decode};
use super::{Family, FoundRoute, InterfaceAddress, LocalRoute, PolicyRule, ResolvedRoute, RouteQuery};

/// `lo` is the first link of every network namespace (LOOPBACK_IFINDEX in net/flow.h).
pub(super) const LOOPBACK_INDEX: u32 = 1;

/// `linux/if_link.h`: a link's settings for IPv6, each an `int`.
const IFLA_INET6_CONF: u16 = 2;
/// `linux/ipv6.h`: the place of `disable_ipv6` among them.
const DEVCONF_DISABLE_IPV6: usize = 26;

/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

/// A request for all addresses: of AF_UNSPEC the kernel dumps family by family in the order of their numbers.
pub(super) fn any_address() -> Encoded<Ifaddrmsg> {
    Ok(IfaddrmsgBuilder::default()
        .ifa_family(RtAddrFamily::Unspecified)
        .ifa_prefixlen(0)
        .ifa_scope(RtScope::Universe)
        .ifa_index(0)
        .build()?)
}

/// A /128 on `lo`, as iproute2 describes it: without a peer, permanent, and with duplicate address detection,
/// which the kernel skips on `lo` (`nodad` would show for as long as the address exists).
pub(super) fn loopback_address(address: Ipv6Addr) -> Encoded<Ifaddrmsg> {
    Ok(IfaddrmsgBuilder::default()
        .ifa_family(RtAddrFamily::Inet6)
        .ifa_prefixlen(128)
        .ifa_scope(RtScope::Universe)
        .ifa_index(LOOPBACK_INDEX)
        .rtattrs(RtBuffer::from_iter([
            attribute(Ifa::Local, address.octets())?,
            attribute(Ifa::Address, address.octets())?,
        ]))
        .build()?)
}

/// IFA_LOCAL is the link's own address; IFA_ADDRESS is its peer's where there is one, and IPv6 leaves
/// IFA_LOCAL out where there is none.
pub(super) fn interface_address(message: &Ifaddrmsg) -> Option<InterfaceAddress> {
    let attributes = message.rtattrs();
    let bytes = find(attributes, Ifa::Local).or_else(|| find(attributes, Ifa::Address))?;
    let address = match message.ifa_family() {
        RtAddrFamily::Inet => IpAddr::from(Ipv4Addr::from(*bytes.first_chunk()?)),
        RtAddrFamily::Inet6 => IpAddr::from(Ipv6Addr::from(*bytes.first_chunk()?)),
        _ => return None,
    };
    Some(InterfaceAddress { index: *message.ifa_index(), address })
}

/// A request for one link, or with index 0 for all of them.
pub(super) fn link(index: i32) -> Encoded<Ifinfomsg> {
    Ok(IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(index).build()?)
}

pub(super) fn link_name(message: &Ifinfomsg) -> Option<String> {
    let name = find(message.rtattrs(), Ifla::Ifname)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

pub(super) fn index_and_name(message: &Ifinfomsg) -> Option<(u32, String)> {
    Some((u32::try_from(*message.ifi_index()).ok()?, link_name(message)?))
}

/// Whether the link does without IPv6 by its setting `disable_ipv6`; `None` where the kernel has no IPv6 at all.
///
/// # Errors
/// A length does not fit.
pub(super) fn disables_ipv6(link: &[u8]) -> Result<Option<bool>, DecodeError> {
    let mut value = link.get(LINK_HEADER..).ok_or(DecodeError::MessageLength)?;
    for kind in [u16::from(&Ifla::AfSpec), u8::from(RtAddrFamily::Inet6).into(), IFLA_INET6_CONF] {
        let Some(nested) = nested(value, kind)? else { return Ok(None) };
        value = nested;
    }
    let disabled = value.get(4 * DEVCONF_DISABLE_IPV6..).and_then(native_u32);
    Ok(disabled.map(|disabled| disabled != 0))
}

/// The value of the attribute of this kind in a list of attributes, which look the same in all of netlink.
fn nested(attributes: &[u8], kind: u16) -> Result<Option<&[u8]>, DecodeError> {
    for attribute in AttrReader::new(attributes) {
        let attribute = attribute?;
        if attribute.kind == kind {
            return Ok(Some(attribute.value));
        }
    }
    Ok(None)
}

pub(super) fn name_if_peer_elsewhere(message: &Ifinfomsg) -> Option<String> {
    find(message.rtattrs(), Ifla::LinkNetnsid).and_then(|_| link_name(message))
}

/// A request for all rules of a family.
pub(super) fn any_rule(family: Family) -> Encoded<Fibmsg> {
    rule_message(family, FrAct::Unspec, RtBuffer::new())
}

/// The rule at this priority; without one, at a priority that the kernel picks.
///
/// The mask is always given: the kernel's own, where it is not, is "all bits" only for a mark other than 0.
pub(super) fn rule(rule: &PolicyRule, priority: Option<u32>) -> Encoded<Fibmsg> {
    let mut attributes = RtBuffer::from_iter([
        attribute(Frattr::Fwmark, rule.mark)?,
        attribute(Frattr::Fwmask, mask(rule))?,
        attribute(Frattr::Table, rule.table)?,
    ]);
    if let Some(priority) = priority {
        attributes.push(attribute(Frattr::Priority, priority)?);
    }
    rule_message(rule.family, FrAct::FrActToTbl, attributes)
}

fn rule_message(family: Family, action: FrAct, attributes: RtBuffer<Frattr, Buffer>) -> Encoded<Fibmsg> {
    Ok(FibmsgBuilder::default()
        .fib_family(address_family(family))
        .fib_dst_len(0)
        .fib_src_len(0)
        .fib_tos(0)
        .fib_table(RtTable::Unspec)
        .fib_action(action)
        .rtattrs(attributes)
        .build()?)
}

/// A policy rule that the kernel takes for ours when it is asked to remove ours.
#[derive(Debug)]
pub(super) struct Alike {
    pub(super) priority: u32,
    /// Whether it does nothing more
    pub(super) same: bool,
    /// As it was received; nothing where it does nothing more, and need not be copied
    found: Vec<u8>,
}

/// The found rule, if removing `rule` can remove it: if it has the same family, mark, table and place. The kernel does not
/// look at what the request leaves out, such as an interface, addresses or `not` (`rule_find` of net/core/fib_rules.c).
///
/// # Errors
/// A length does not fit.
pub(super) fn alike(found: &[u8], rule: &PolicyRule) -> Result<Option<Alike>, DecodeError> {
    // `struct fib_rule_hdr` (linux/fib_rules.h); the byte after the first four is the table's lowest.
    let (&[family, to, from, tos, _, _, _, action, f0, f1, f2, f3], attributes) =
        found.split_first_chunk().ok_or(DecodeError::MessageLength)?;
    let is_inverted = Frf::from(u32::from_ne_bytes([f0, f1, f2, f3])).contains(Frf::INVERT);
    // Whether it has no other condition or effect, also none by an attribute that this code does not know.
    let mut same = !is_inverted && (to, from, tos) == (0, 0, 0);
    let (mut mark, mut found_mask, mut table, mut priority) = (0, 0, None, 0);
    for attribute in AttrReader::new(attributes) {
        let attribute = attribute?;
        match Frattr::from(attribute.kind) {
            Frattr::Fwmark => mark = attribute.ne32()?,
            Frattr::Fwmask => found_mask = attribute.ne32()?,
            Frattr::Table => table = Some(attribute.ne32()?),
            Frattr::Priority => priority = attribute.ne32()?,
            kind => same &= is_in_every_rule(&kind, attribute.value),
        }
    }
    let alike = RtAddrFamily::from(family) == address_family(rule.family)
        && FrAct::from(action) == FrAct::FrActToTbl
        && (mark, found_mask, table) == (rule.mark, mask(rule), Some(rule.table))
        && rule.priority.is_none_or(|desired| desired == priority);
    let copied = |found: &[u8]| if same { Vec::new() } else { found.to_owned() };
    Ok(alike.then(|| Alike { priority, same, found: copied(found) }))
}

/// The routing table of the found rule, if it is for packets with this mark.
pub(super) fn table_of_mark(found: &Fibmsg, mark: u32) -> Option<u32> {
    let number = |kind| find(found.rtattrs(), kind).and_then(native_u32);
    (number(Frattr::Fwmark) == Some(mark)).then(|| number(Frattr::Table))?
}

/// Whether the attribute is one that every rule has, and is no condition.
pub(super) fn is_in_every_rule(kind: &Frattr, value: &[u8]) -> bool {
    match kind {
        Frattr::Table | Frattr::Priority | Frattr::Protocol => true,
        // All ones is "off".
        Frattr::SuppressPrefixlen => native_u32(value) == Some(u32::MAX),
        _ => false,
    }
}

impl Alike {
    /// Of one that does more, a request for the very same once more, at the end of those of its priority.
    pub(super) fn copy(self) -> Encoded<Fibmsg> {
        let found: Fibmsg = decode(&self.found)?;
        // What else is among the flags the kernel has found out itself, such as that an interface is gone.
        let flags = *found.fib_flags() & Frf::INVERT;
        Ok(FibmsgBuilder::default()
            .fib_family(*found.fib_family())
            .fib_dst_len(*found.fib_dst_len())
            .fib_src_len(*found.fib_src_len())
            .fib_tos(*found.fib_tos())
            .fib_table(RtTable::Unspec)
            .fib_action(*found.fib_action())
            .fib_flags(flags)
            .rtattrs(found.rtattrs().clone())
            .build()?)
    }
}

fn mask(rule: &PolicyRule) -> u32 {
    rule.mask.unwrap_or(u32::MAX)
}

/// A request for all routes of a family and table.
pub(super) fn any_route(family: Family, table: u32) -> Encoded<Rtmsg> {
    let table = RtBuffer::from_iter([attribute(Rta::Table, table)?]);
    route_message(family, Rtn::Unspec, RtScope::Universe, Rtprot::Unspec, table)
}

/// The route itself. `protocol` says who adds it, or when removing, whose may be removed (Unspec: anyone's).
pub(super) fn local_route(route: LocalRoute, protocol: Rtprot) -> Encoded<Rtmsg> {
    let scope = match route.family {
        Family::V4 => RtScope::Host,
        // IPv6 has no scopes.
        Family::V6 => RtScope::Universe,
    };
    let attributes = RtBuffer::from_iter([
        attribute(Rta::Table, route.table)?,
        attribute(Rta::Oif, LOOPBACK_INDEX)?,
        attribute(Rta::Priority, metric(route.family))?,
    ]);
    route_message(route.family, Rtn::Local, scope, protocol, attributes)
}

fn route_message(
    family: Family,
    kind: Rtn,
    scope: RtScope,
    protocol: Rtprot,
    attributes: RtBuffer<Rta, Buffer>,
) -> Encoded<Rtmsg> {
    Ok(RtmsgBuilder::default()
        .rtm_family(address_family(family))
        .rtm_dst_len(0)
        .rtm_src_len(0)
        .rtm_tos(0)
        .rtm_table(RtTable::Unspec)
        .rtm_protocol(protocol)
        .rtm_scope(scope)
        .rtm_type(kind)
        .rtattrs(attributes)
        .build()?)
}

/// `RTA_UID` (linux/rtnetlink.h), which neli does not name on every target.
const RTA_UID: u16 = 25;

/// `ip route get`: what the kernel does with a packet such as this.
pub(super) fn route_query(query: &RouteQuery) -> Encoded<Rtmsg> {
    let mut attributes = RtBuffer::from_iter([
        attribute(Rta::Dst, octets(query.destination))?,
        attribute(Rta::Mark, query.mark)?,
    ]);
    if let Some(source) = query.source {
        attributes.push(attribute(Rta::Src, octets(source))?);
    }
    if let Some(input) = query.input {
        attributes.push(attribute(Rta::Iif, input)?);
    }
    if let Some(uid) = query.uid {
        attributes.push(attribute(Rta::from(RTA_UID), uid)?);
    }
    Ok(RtmsgBuilder::default()
        .rtm_family(address_family(Family::of(query.destination)))
        .rtm_dst_len(bits(query.destination))
        .rtm_src_len(query.source.map_or(0, bits))
        .rtm_tos(0)
        .rtm_table(RtTable::Unspec)
        .rtm_protocol(Rtprot::Unspec)
        .rtm_scope(RtScope::Universe)
        .rtm_type(Rtn::Unspec)
        .rtattrs(attributes)
        .build()?)
}

/// The route that the kernel found.
pub(super) fn resolved(found: &Rtmsg) -> Option<ResolvedRoute> {
    let attributes = found.rtattrs();
    let source = find(attributes, Rta::Prefsrc).or_else(|| find(attributes, Rta::Src));
    let source = source.and_then(|bytes| match found.rtm_family() {
        RtAddrFamily::Inet => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        RtAddrFamily::Inet6 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    });
    let output = find(attributes, Rta::Oif).and_then(native_u32).unwrap_or(0);
    Some(ResolvedRoute { kind: (*found.rtm_type()).into(), output, source })
}

/// What a route gets that is added without a metric: the best one, and IP6_RT_PRIO_USER.
fn metric(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 1024,
    }
}

/// The found route, if adding `route` would be refused because of it. The table is compared here once more: a
/// kernel without IPv6 replies with the routes of IPv4.
///
/// # Errors
/// A length does not fit.
pub(super) fn found_in_place_of(found: &[u8], route: LocalRoute) -> Result<Option<FoundRoute>, DecodeError> {
    // `struct rtmsg` (linux/rtnetlink.h), up to its flags.
    let (&[family, to, from, tos, _, _, _, kind, _, _, _, _], attributes) =
        found.split_first_chunk().ok_or(DecodeError::MessageLength)?;
    let (mut table, mut priority, mut device) = (None, 0, None);
    for attribute in AttrReader::new(attributes) {
        let attribute = attribute?;
        match Rta::from(attribute.kind) {
            Rta::Table => table = Some(attribute.ne32()?),
            Rta::Priority => priority = attribute.ne32()?,
            Rta::Oif => device = Some(attribute.ne32()?),
            _ => {}
        }
    }
    let in_its_place = RtAddrFamily::from(family) == address_family(route.family)
        && table == Some(route.table)
        && (to, from, tos) == (0, 0, 0)
        && priority == metric(route.family);
    Ok(in_its_place.then_some(FoundRoute { kind, device }))
}

impl FoundRoute {
    /// Is it a [`LocalRoute`]? Who added it does not matter.
    pub(super) fn is_local(&self) -> bool {
        Rtn::from(self.kind) == Rtn::Local && self.device == Some(LOOPBACK_INDEX)
    }
}

pub(super) fn address_family(family: Family) -> RtAddrFamily {
    match family {
        Family::V4 => RtAddrFamily::Inet,
        Family::V6 => RtAddrFamily::Inet6,
    }
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The length of a prefix that is one address.
pub(super) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

pub(super) fn attribute<T: RtaType, V: Size + ToBytes>(kind: T, value: V) -> Encoded<Rtattr<T, Buffer>> {
    Ok(RtattrBuilder::default().rta_type(kind).rta_payload(value).build()?)
}

pub(super) fn find<T: RtaType>(attributes: &RtBuffer<T, Buffer>, kind: T) -> Option<&[u8]> {
    attributes
        .iter()
        .find(|attribute| *attribute.rta_type() == kind)
        .map(|found| found.rta_payload().as_ref())
}

pub(super) fn native_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use nftwire::AttrWriter;

    use super::*;

    const RULE: PolicyRule =
        PolicyRule { family: Family::V4, mark: 0x111, mask: Some(0xfff), priority: Some(32764), table: 100 };
    const ROUTE: LocalRoute = LocalRoute { family: Family::V6, table: 70_000 };
    const SIX: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

    fn priority_if_same(found: &Fibmsg, rule: &PolicyRule) -> Option<u32> {
        let alike = alike(&encoded(found), rule).unwrap();
        alike.filter(|alike| alike.same).map(|alike| alike.priority)
    }

    fn encoded(found: &impl ToBytes) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        found.to_bytes(&mut bytes).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn objects_that_are_cut_off_are_errors() {
        let (rule, route) =
            (encoded(&rule(&RULE, None).unwrap()), encoded(&local_route(ROUTE, Rtprot::Boot).unwrap()));
        let link = encoded(&link(1).unwrap());
        for length in [0, 11] {
            assert_eq!(alike(&rule[..length], &RULE).unwrap_err(), DecodeError::MessageLength);
            assert_eq!(found_in_place_of(&route[..length], ROUTE), Err(DecodeError::MessageLength));
            assert_eq!(disables_ipv6(&link[..length]), Err(DecodeError::MessageLength));
        }
        let (rule, route) = (&rule[..rule.len() - 1], &route[..route.len() - 1]);
        assert_eq!(alike(rule, &RULE).unwrap_err(), DecodeError::AttributeLength);
        assert_eq!(found_in_place_of(route, ROUTE), Err(DecodeError::AttributeLength));
        assert_eq!(disables_ipv6(&[&link[..], &[9, 0, 26, 0]].concat()), Err(DecodeError::AttributeLength));
    }

    fn address(family: RtAddrFamily, attributes: &[(Ifa, &[u8])]) -> Ifaddrmsg {
        IfaddrmsgBuilder::default()
            .ifa_family(family)
            .ifa_prefixlen(24)
            .ifa_scope(RtScope::Universe)
            .ifa_index(3)
            .rtattrs(attributes.iter().map(|(kind, bytes)| attribute(*kind, *bytes).unwrap()).collect())
            .build()
            .unwrap()
    }

    #[test]
    fn a_links_own_address_is_preferred_to_its_peers() {
        let own = InterfaceAddress { index: 3, address: "10.0.0.1".parse().unwrap() };
        let both = [(Ifa::Address, &[10, 0, 0, 2][..]), (Ifa::Local, &[10, 0, 0, 1])];
        assert_eq!(interface_address(&address(RtAddrFamily::Inet, &both)), Some(own));
        let only = [(Ifa::Address, &SIX.octets()[..])];
        let six = InterfaceAddress { index: 3, address: SIX.into() };
        assert_eq!(interface_address(&address(RtAddrFamily::Inet6, &only)), Some(six));
    }

    #[test]
    fn short_absent_and_foreign_addresses_are_left_out() {
        let four = [(Ifa::Local, &[10, 0, 0, 1][..])];
        assert_eq!(interface_address(&address(RtAddrFamily::Inet6, &four)), None);
        assert_eq!(interface_address(&address(RtAddrFamily::Inet, &[])), None);
        assert_eq!(interface_address(&address(RtAddrFamily::Packet, &four)), None);
    }

    #[test]
    fn a_link_reports_whether_ipv6_is_disabled() {
        let with = |family: u16, kind: u16, disabled: i32| {
            let mut settings = vec![0; 4 * 60];
            settings[4 * DEVCONF_DISABLE_IPV6..][..4].copy_from_slice(&disabled.to_ne_bytes());
            let mut writer = AttrWriter::default();
            writer.nest(family, |writer| writer.put(kind, &settings));
            let list = attribute(Ifla::AfSpec, writer.into_buffer()).unwrap();
            let link = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified);
            encoded(&link.rtattrs(RtBuffer::from_iter([list])).build().unwrap())
        };
        assert_eq!(disables_ipv6(&with(10, IFLA_INET6_CONF, 0)), Ok(Some(false)));
        assert_eq!(disables_ipv6(&with(10, IFLA_INET6_CONF, 1)), Ok(Some(true)));
        assert_eq!(disables_ipv6(&with(2, IFLA_INET6_CONF, 1)), Ok(None));
        assert_eq!(disables_ipv6(&with(10, 1, 1)), Ok(None));
    }

    #[test]
    fn a_rule_is_the_same_only_if_everything_is() {
        let found = rule(&RULE, Some(32764)).unwrap();
        assert_eq!(priority_if_same(&found, &RULE), Some(32764));
        assert_eq!(priority_if_same(&found, &PolicyRule { priority: None, ..RULE }), Some(32764));
        for other in [
            PolicyRule { family: Family::V6, ..RULE },
            PolicyRule { mark: 0x112, ..RULE },
            PolicyRule { mask: None, ..RULE },
            PolicyRule { priority: Some(32765), ..RULE },
            PolicyRule { table: 101, ..RULE },
        ] {
            assert_eq!(priority_if_same(&found, &other), None, "{other}");
        }
    }

    #[test]
    fn a_rule_with_an_attribute_that_nobody_knows_is_another_rule() {
        let message = |extra: Rtattr<Frattr, Buffer>| {
            let mut attributes = rule(&RULE, Some(32764)).unwrap().rtattrs().clone();
            attributes.push(extra);
            rule_message(Family::V4, FrAct::FrActToTbl, attributes).unwrap()
        };
        let off = message(attribute(Frattr::SuppressPrefixlen, u32::MAX).unwrap());
        assert_eq!(priority_if_same(&off, &RULE), Some(32764));
        let on = message(attribute(Frattr::SuppressPrefixlen, 0_u32).unwrap());
        assert_eq!(priority_if_same(&on, &RULE), None);
        let unknown = message(attribute(Frattr::from(999), 0_u32).unwrap());
        assert_eq!(priority_if_same(&unknown, &RULE), None);
        // The kernel takes it for ours nevertheless, and a copy of it is what it is.
        let found = alike(&encoded(&unknown), &RULE).unwrap().unwrap();
        assert!(!found.same);
        assert_eq!(format!("{:?}", found.copy().unwrap()), format!("{unknown:?}"));
    }

    #[test]
    fn a_route_is_in_the_place_of_ours_only_in_the_same_family_and_table() {
        let found = encoded(&local_route(ROUTE, Rtprot::Static).unwrap());
        let same = found_in_place_of(&found, ROUTE).unwrap();
        assert_eq!(same, Some(FoundRoute { kind: 2, device: Some(1) }));
        assert!(same.is_some_and(|route| route.is_local()));
        assert_eq!(found_in_place_of(&found, LocalRoute { table: 133, ..ROUTE }), Ok(None));
        assert_eq!(found_in_place_of(&found, LocalRoute { family: Family::V4, ..ROUTE }), Ok(None));
    }
}

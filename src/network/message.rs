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
use nftwire::AttrReader;

use super::wire::Encoded;
use super::{Family, FoundRoute, InterfaceAddress, LocalRoute, PolicyRule, ResolvedRoute, RouteQuery};

/// `lo` is the first link of every network namespace (LOOPBACK_IFINDEX in net/flow.h).
pub(super) const LOOPBACK_INDEX: u32 = 1;

/// `linux/if_link.h`: a link's settings for IPv6, each an `int`.
const IFLA_INET6_CONF: u16 = 2;
/// `linux/ipv6.h`: the place of `disable_ipv6` among them.
const DEVCONF_DISABLE_IPV6: usize = 26;

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
pub(super) fn disables_ipv6(message: &Ifinfomsg) -> Option<bool> {
    let of_ipv6 = nested(find(message.rtattrs(), Ifla::AfSpec)?, u8::from(RtAddrFamily::Inet6).into())?;
    let settings = nested(of_ipv6, IFLA_INET6_CONF)?;
    let disabled = settings.get(4 * DEVCONF_DISABLE_IPV6..)?.first_chunk()?;
    Some(i32::from_ne_bytes(*disabled) != 0)
}

/// The value of the attribute of this kind in a list of attributes, which look the same in all of netlink.
fn nested(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut attributes = AttrReader::new(attributes).map_while(Result::ok);
    attributes.find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
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
    /// A request for the very same rule once more, at the end of those of its priority
    pub(super) copy: Encoded<Fibmsg>,
}

/// The found rule, if removing `rule` can remove it: if it has the same family, mark, table and place. The kernel does not
/// look at what the request leaves out, such as an interface, addresses or `not` (`rule_find` of net/core/fib_rules.c).
pub(super) fn alike(found: &Fibmsg, rule: &PolicyRule) -> Option<Alike> {
    let attributes = found.rtattrs();
    let number = |kind| find(attributes, kind).and_then(native_u32);
    let priority = number(Frattr::Priority).unwrap_or(0);
    let alike = *found.fib_family() == address_family(rule.family)
        && *found.fib_action() == FrAct::FrActToTbl
        && number(Frattr::Fwmark).unwrap_or(0) == rule.mark
        && number(Frattr::Fwmask).unwrap_or(0) == mask(rule)
        && number(Frattr::Table) == Some(rule.table)
        && rule.priority.is_none_or(|desired| desired == priority);
    alike.then(|| Alike { priority, same: does_nothing_more(found), copy: copy(found) })
}

/// The routing table of the found rule, if it is for packets with this mark.
pub(super) fn table_of_mark(found: &Fibmsg, mark: u32) -> Option<u32> {
    let number = |kind| find(found.rtattrs(), kind).and_then(native_u32);
    (number(Frattr::Fwmark) == Some(mark)).then(|| number(Frattr::Table))?
}

/// Whether the rule has no other condition or effect, also none by an attribute that this code does not know.
fn does_nothing_more(found: &Fibmsg) -> bool {
    !found.fib_flags().contains(Frf::INVERT)
        && (*found.fib_dst_len(), *found.fib_src_len(), *found.fib_tos()) == (0, 0, 0)
        && found.rtattrs().iter().all(|attribute| {
            matches!(attribute.rta_type(), Frattr::Fwmark | Frattr::Fwmask) || is_in_every_rule(attribute)
        })
}

/// Whether the attribute is one that every rule has, and is no condition.
pub(super) fn is_in_every_rule(attribute: &Rtattr<Frattr, Buffer>) -> bool {
    match attribute.rta_type() {
        Frattr::Table | Frattr::Priority | Frattr::Protocol => true,
        // All ones is "off".
        Frattr::SuppressPrefixlen => native_u32(attribute.rta_payload().as_ref()) == Some(u32::MAX),
        _ => false,
    }
}

fn copy(found: &Fibmsg) -> Encoded<Fibmsg> {
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
pub(super) fn found_in_place_of(found: &Rtmsg, route: LocalRoute) -> Option<FoundRoute> {
    let attributes = found.rtattrs();
    let number = |kind| find(attributes, kind).and_then(native_u32);
    let in_its_place = *found.rtm_family() == address_family(route.family)
        && number(Rta::Table) == Some(route.table)
        && (*found.rtm_dst_len(), *found.rtm_src_len(), *found.rtm_tos()) == (0, 0, 0)
        && number(Rta::Priority).unwrap_or(0) == metric(route.family);
    in_its_place.then(|| FoundRoute { kind: (*found.rtm_type()).into(), device: number(Rta::Oif) })
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
        alike(found, rule).filter(|alike| alike.same).map(|alike| alike.priority)
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
            link.rtattrs(RtBuffer::from_iter([list])).build().unwrap()
        };
        assert_eq!(disables_ipv6(&with(10, IFLA_INET6_CONF, 0)), Some(false));
        assert_eq!(disables_ipv6(&with(10, IFLA_INET6_CONF, 1)), Some(true));
        assert_eq!(disables_ipv6(&with(2, IFLA_INET6_CONF, 1)), None);
        assert_eq!(disables_ipv6(&with(10, 1, 1)), None);
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
        let found = alike(&unknown, &RULE).unwrap();
        assert!(!found.same);
        assert_eq!(format!("{:?}", found.copy.unwrap()), format!("{unknown:?}"));
    }

    #[test]
    fn a_route_is_in_the_place_of_ours_only_in_the_same_family_and_table() {
        let found = local_route(ROUTE, Rtprot::Static).unwrap();
        let same = found_in_place_of(&found, ROUTE);
        assert_eq!(same, Some(FoundRoute { kind: 2, device: Some(1) }));
        assert!(same.is_some_and(|route| route.is_local()));
        assert_eq!(found_in_place_of(&found, LocalRoute { table: 133, ..ROUTE }), None);
        assert_eq!(found_in_place_of(&found, LocalRoute { family: Family::V4, ..ROUTE }), None);
    }
}

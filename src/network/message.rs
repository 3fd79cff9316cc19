//! Messages of rtnetlink about addresses, links and routes, and the parts that all messages share. Pure.

use std::net::{IpAddr, Ipv6Addr};

use neli::consts::rtnl::{Ifa, Ifla, RtAddrFamily, RtScope, Rta, Rtn, Rtprot};
use nftwire::{Attr, AttrReader, AttrWriter, DecodeError};

use super::{Family, FoundRoute, InterfaceAddress, LocalRoute, ResolvedRoute, RouteQuery};

/// `lo` is the first link of every network namespace (LOOPBACK_IFINDEX in net/flow.h).
pub(super) const LOOPBACK_INDEX: u32 = 1;

/// `linux/if_link.h`: a link's settings for IPv6, each an `int`.
const IFLA_INET6_CONF: u16 = 2;
/// `linux/ipv6.h`: the place of `disable_ipv6` among them.
const DEVCONF_DISABLE_IPV6: usize = 26;

/// Bytes of `struct ifaddrmsg` (linux/if_addr.h).
const ADDRESS_HEADER: usize = 8;
/// Bytes of `struct ifinfomsg` (linux/rtnetlink.h).
const LINK_HEADER: usize = 16;
/// Bytes of `struct rtmsg` (linux/rtnetlink.h).
pub(super) const ROUTE_HEADER: usize = 12;

/// What a request has after `struct nlmsghdr`: the header of what it is about, then attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request<const HEADER: usize> {
    pub(super) header: [u8; HEADER],
    pub(super) attributes: Vec<u8>,
}

impl<const HEADER: usize> Request<HEADER> {
    pub(super) fn new(header: [u8; HEADER], attributes: AttrWriter) -> Self {
        debug_assert_eq!(attributes.overflow(), None, "only names have no fixed length, and they are cut");
        Self { header, attributes: attributes.into_buffer() }
    }
}

pub(super) type AddressRequest = Request<ADDRESS_HEADER>;
pub(super) type LinkRequest = Request<LINK_HEADER>;
pub(super) type RouteRequest = Request<ROUTE_HEADER>;

/// The header of a received object, and its attributes.
///
/// # Errors
/// The object is shorter than its header.
pub(super) fn split<const HEADER: usize>(
    object: &[u8],
) -> Result<(&[u8; HEADER], AttrReader<'_>), DecodeError> {
    let (header, attributes) = object.split_first_chunk().ok_or(DecodeError::MessageLength)?;
    Ok((header, AttrReader::new(attributes)))
}

/// The first attribute of this kind. What follows it is not checked.
///
/// # Errors
/// An attribute's length is wrong.
pub(super) fn find(
    mut attributes: AttrReader<'_>,
    kind: impl Into<u16>,
) -> Result<Option<Attr<'_>>, DecodeError> {
    let kind = kind.into();
    attributes.find(|attribute| !matches!(attribute, Ok(other) if other.kind != kind)).transpose()
}

/// The value of the first attribute of this kind, an integer in host order.
///
/// # Errors
/// An attribute's length is wrong.
pub(super) fn find_u32(attributes: AttrReader<'_>, kind: impl Into<u16>) -> Result<Option<u32>, DecodeError> {
    find(attributes, kind)?.map(|attribute| attribute.ne32()).transpose()
}

/// Room for the attributes of the longest request.
pub(super) fn writer() -> AttrWriter {
    AttrWriter::with_buffer(Vec::with_capacity(64))
}

pub(super) fn put_address(writer: &mut AttrWriter, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => writer.put(kind, &address.octets()),
        IpAddr::V6(address) => writer.put(kind, &address.octets()),
    }
}

/// A request for all addresses: of AF_UNSPEC the kernel dumps family by family in the order of their numbers.
pub(super) fn any_address() -> AddressRequest {
    Request { header: [0; ADDRESS_HEADER], attributes: Vec::new() }
}

/// A /128 on `lo`, as iproute2 describes it: without a peer, permanent, and with duplicate address detection,
/// which the kernel skips on `lo` (`nodad` would show for as long as the address exists).
pub(super) fn loopback_address(address: Ipv6Addr) -> AddressRequest {
    let mut attributes = writer();
    attributes.put(Ifa::Local.into(), &address.octets());
    attributes.put(Ifa::Address.into(), &address.octets());
    let [i0, i1, i2, i3] = LOOPBACK_INDEX.to_ne_bytes();
    let scope = u8::from(RtScope::Universe);
    Request::new([u8::from(RtAddrFamily::Inet6), 128, 0, scope, i0, i1, i2, i3], attributes)
}

/// IFA_LOCAL is the link's own address; IFA_ADDRESS is its peer's where there is one, and IPv6 leaves
/// IFA_LOCAL out where there is none.
///
/// # Errors
/// The object is cut off, or an attribute's length is wrong.
pub(super) fn interface_address(object: &[u8]) -> Result<Option<InterfaceAddress>, DecodeError> {
    let (&[family, _, _, _, i0, i1, i2, i3], attributes) = split::<ADDRESS_HEADER>(object)?;
    let found = match find(attributes, Ifa::Local)? {
        None => find(attributes, Ifa::Address)?,
        local => local,
    };
    let address = found.and_then(|found| ip_address(family, found.value));
    Ok(address.map(|address| InterfaceAddress { index: u32::from_ne_bytes([i0, i1, i2, i3]), address }))
}

/// An IPv4 or IPv6 address; `None` for another family or a wrong length.
pub(super) fn ip_address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match RtAddrFamily::from(family) {
        RtAddrFamily::Inet => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        RtAddrFamily::Inet6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A request for one link, or with index 0 for all of them.
pub(super) fn link(index: u32) -> LinkRequest {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    Request { header, attributes: Vec::new() }
}

/// The link's index and name.
///
/// # Errors
/// The object is cut off, or an attribute's length is wrong.
pub(super) fn index_and_name(link: &[u8]) -> Result<Option<(u32, String)>, DecodeError> {
    let (&[_, _, _, _, i0, i1, i2, i3, ..], attributes) = split::<LINK_HEADER>(link)?;
    let name = find(attributes, Ifla::Ifname)?;
    Ok(name.map(|name| (u32::from_ne_bytes([i0, i1, i2, i3]), text(name))))
}

/// The link's name, if its other side is in another namespace.
///
/// # Errors
/// The object is cut off, or an attribute's length is wrong.
pub(super) fn name_if_peer_elsewhere(link: &[u8]) -> Result<Option<String>, DecodeError> {
    let (_, attributes) = split::<LINK_HEADER>(link)?;
    let is_elsewhere = find(attributes, Ifla::LinkNetnsid)?.is_some();
    Ok(find(attributes, Ifla::Ifname)?.filter(|_| is_elsewhere).map(text))
}

fn text(name: Attr<'_>) -> String {
    String::from_utf8_lossy(name.text().as_bytes()).into_owned()
}

/// Whether the link does without IPv6 by its setting `disable_ipv6`; `None` where the kernel has no IPv6 at all.
///
/// # Errors
/// The object is cut off, or an attribute's length is wrong.
pub(super) fn disables_ipv6(link: &[u8]) -> Result<Option<bool>, DecodeError> {
    let (_, mut attributes) = split::<LINK_HEADER>(link)?;
    for kind in [u16::from(Ifla::AfSpec), u8::from(RtAddrFamily::Inet6).into()] {
        let Some(list) = find(attributes, kind)? else { return Ok(None) };
        attributes = list.nested();
    }
    // A kernel may know fewer settings, or more.
    let settings = find(attributes, IFLA_INET6_CONF)?.map(|settings| settings.value.as_chunks().0);
    let disabled = settings.and_then(|settings| settings.get(DEVCONF_DISABLE_IPV6).copied());
    Ok(disabled.map(|disabled| i32::from_ne_bytes(disabled) != 0))
}

/// A request for all routes of a family and table.
pub(super) fn any_route(family: Family, table: u32) -> RouteRequest {
    let mut attributes = writer();
    attributes.put_ne32(Rta::Table.into(), table);
    let mut header = [0; ROUTE_HEADER];
    header[0] = address_family(family).into();
    Request::new(header, attributes)
}

/// The route itself. `protocol` says who adds it, or when removing, whose may be removed (Unspec: anyone's).
pub(super) fn local_route(route: LocalRoute, protocol: Rtprot) -> RouteRequest {
    let scope = match route.family {
        Family::V4 => RtScope::Host,
        // IPv6 has no scopes.
        Family::V6 => RtScope::Universe,
    };
    let mut attributes = writer();
    attributes.put_ne32(Rta::Table.into(), route.table);
    attributes.put_ne32(Rta::Oif.into(), LOOPBACK_INDEX);
    attributes.put_ne32(Rta::Priority.into(), metric(route.family));
    let family = address_family(route.family).into();
    let header = [family, 0, 0, 0, 0, protocol.into(), scope.into(), Rtn::Local.into(), 0, 0, 0, 0];
    Request::new(header, attributes)
}

/// `RTA_UID` (linux/rtnetlink.h), which neli does not name on every target.
const RTA_UID: u16 = 25;

/// `ip route get`: what the kernel does with a packet such as this.
pub(super) fn route_query(query: &RouteQuery) -> RouteRequest {
    let mut attributes = writer();
    put_address(&mut attributes, Rta::Dst.into(), query.destination);
    attributes.put_ne32(Rta::Mark.into(), query.mark);
    if let Some(source) = query.source {
        put_address(&mut attributes, Rta::Src.into(), source);
    }
    if let Some(input) = query.input {
        attributes.put_ne32(Rta::Iif.into(), input);
    }
    if let Some(uid) = query.uid {
        attributes.put_ne32(RTA_UID, uid);
    }
    let mut header = [0; ROUTE_HEADER];
    header[0] = address_family(Family::of(query.destination)).into();
    header[1] = bits(query.destination);
    header[2] = query.source.map_or(0, bits);
    Request::new(header, attributes)
}

/// The route that the kernel found.
///
/// # Errors
/// The object is cut off, or an attribute's length is wrong.
pub(super) fn resolved(found: &[u8]) -> Result<Option<ResolvedRoute>, DecodeError> {
    let (&[family, _, _, _, _, _, _, kind, ..], attributes) = split::<ROUTE_HEADER>(found)?;
    let source = match find(attributes, Rta::Prefsrc)? {
        None => find(attributes, Rta::Src)?,
        preferred => preferred,
    };
    let source = source.and_then(|source| ip_address(family, source.value));
    let output = find_u32(attributes, Rta::Oif)?.unwrap_or(0);
    Ok(Some(ResolvedRoute { kind, output, source }))
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
/// The object is cut off, or an attribute's length is wrong.
pub(super) fn found_in_place_of(found: &[u8], route: LocalRoute) -> Result<Option<FoundRoute>, DecodeError> {
    let (&[family, to, from, tos, _, _, _, kind, ..], attributes) = split::<ROUTE_HEADER>(found)?;
    let (mut table, mut priority, mut device) = (None, 0, None);
    for attribute in attributes {
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

/// The length of a prefix that is one address.
pub(super) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
pub(super) mod testing {
    use neli::consts::rtnl::RtaType;
    use neli::rtnl::{Rtattr, RtattrBuilder};
    use neli::types::Buffer;
    use neli::{Size, ToBytes};

    use super::*;

    pub(in crate::network) fn bytes<const HEADER: usize>(request: &Request<HEADER>) -> Vec<u8> {
        [&request.header[..], &request.attributes].concat()
    }

    /// The message as somebody else encodes it.
    pub(in crate::network) fn encoded(message: &impl ToBytes) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        message.to_bytes(&mut bytes).unwrap();
        bytes.into_inner()
    }

    pub(in crate::network) fn attribute<T: RtaType, V: Size + ToBytes>(
        kind: T,
        value: V,
    ) -> Rtattr<T, Buffer> {
        RtattrBuilder::default().rta_type(kind).rta_payload(value).build().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use neli::consts::rtnl::RtTable;
    use neli::rtnl::{IfaddrmsgBuilder, IfinfomsgBuilder, RtmsgBuilder};
    use neli::types::RtBuffer;

    use super::testing::{attribute, bytes, encoded};
    use super::*;

    const ROUTE: LocalRoute = LocalRoute { family: Family::V6, table: 70_000 };
    const SIX: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

    #[test]
    fn requests_are_what_another_encoder_makes_of_them() {
        let address = IfaddrmsgBuilder::default()
            .ifa_family(RtAddrFamily::Inet6)
            .ifa_prefixlen(128)
            .ifa_scope(RtScope::Universe)
            .ifa_index(1)
            .rtattrs(RtBuffer::from_iter([
                attribute(Ifa::Local, SIX.octets()),
                attribute(Ifa::Address, SIX.octets()),
            ]));
        assert_eq!(bytes(&loopback_address(SIX)), encoded(&address.build().unwrap()));
        let of_link = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(7);
        assert_eq!(bytes(&link(7)), encoded(&of_link.build().unwrap()));
        let route = |bits: u8, protocol: Rtprot, kind: Rtn| {
            RtmsgBuilder::default()
                .rtm_family(RtAddrFamily::Inet6)
                .rtm_dst_len(bits)
                .rtm_src_len(bits)
                .rtm_tos(0)
                .rtm_table(RtTable::Unspec)
                .rtm_protocol(protocol)
                .rtm_scope(RtScope::Universe)
                .rtm_type(kind)
        };
        let local = route(0, Rtprot::Boot, Rtn::Local).rtattrs(RtBuffer::from_iter([
            attribute(Rta::Table, 70_000_u32),
            attribute(Rta::Oif, 1_u32),
            attribute(Rta::Priority, 1024_u32),
        ]));
        assert_eq!(bytes(&local_route(ROUTE, Rtprot::Boot)), encoded(&local.build().unwrap()));
        let query = RouteQuery {
            destination: SIX.into(),
            source: Some(Ipv6Addr::LOCALHOST.into()),
            input: Some(3),
            mark: 9,
            uid: Some(1000),
        };
        let get = route(128, Rtprot::Unspec, Rtn::Unspec).rtattrs(RtBuffer::from_iter([
            attribute(Rta::Dst, SIX.octets()),
            attribute(Rta::Mark, 9_u32),
            attribute(Rta::Src, Ipv6Addr::LOCALHOST.octets()),
            attribute(Rta::Iif, 3_u32),
            attribute(Rta::from(RTA_UID), 1000_u32),
        ]));
        assert_eq!(bytes(&route_query(&query)), encoded(&get.build().unwrap()));
    }

    #[test]
    fn objects_that_are_cut_off_are_errors() {
        let (route, link) = (bytes(&local_route(ROUTE, Rtprot::Boot)), bytes(&link(1)));
        for length in [0, 11] {
            assert_eq!(found_in_place_of(&route[..length], ROUTE), Err(DecodeError::MessageLength));
            assert_eq!(resolved(&route[..length]), Err(DecodeError::MessageLength));
            assert_eq!(disables_ipv6(&link[..length]), Err(DecodeError::MessageLength));
            assert_eq!(index_and_name(&link[..length]), Err(DecodeError::MessageLength));
            assert_eq!(interface_address(&link[..length.min(7)]), Err(DecodeError::MessageLength));
        }
        let route = &route[..route.len() - 1];
        let link = [&link[..], &[9, 0, 26, 0]].concat();
        assert_eq!(found_in_place_of(route, ROUTE), Err(DecodeError::AttributeLength));
        assert_eq!(resolved(route), Err(DecodeError::AttributeLength));
        assert_eq!(disables_ipv6(&link), Err(DecodeError::AttributeLength));
        assert_eq!(index_and_name(&link), Err(DecodeError::AttributeLength));
    }

    fn address(family: RtAddrFamily, attributes: &[(Ifa, &[u8])]) -> Vec<u8> {
        let mut writer = AttrWriter::default();
        for &(kind, value) in attributes {
            writer.put(kind.into(), value);
        }
        let [i0, i1, i2, i3] = 3_u32.to_ne_bytes();
        bytes(&Request::new([family.into(), 24, 0, 0, i0, i1, i2, i3], writer))
    }

    #[test]
    fn a_links_own_address_is_preferred_to_its_peers() {
        let own = InterfaceAddress { index: 3, address: "10.0.0.1".parse().unwrap() };
        let both = [(Ifa::Address, &[10, 0, 0, 2][..]), (Ifa::Local, &[10, 0, 0, 1])];
        assert_eq!(interface_address(&address(RtAddrFamily::Inet, &both)), Ok(Some(own)));
        let only = [(Ifa::Address, &SIX.octets()[..])];
        let six = InterfaceAddress { index: 3, address: SIX.into() };
        assert_eq!(interface_address(&address(RtAddrFamily::Inet6, &only)), Ok(Some(six)));
    }

    #[test]
    fn short_absent_and_foreign_addresses_are_left_out() {
        let four = [(Ifa::Local, &[10, 0, 0, 1][..])];
        assert_eq!(interface_address(&address(RtAddrFamily::Inet6, &four)), Ok(None));
        assert_eq!(interface_address(&address(RtAddrFamily::Inet, &[])), Ok(None));
        assert_eq!(interface_address(&address(RtAddrFamily::Packet, &four)), Ok(None));
    }

    #[test]
    fn a_link_reports_whether_ipv6_is_disabled() {
        let with = |family: u16, kind: u16, disabled: i32| {
            let mut settings = vec![0; 4 * 60];
            settings[4 * DEVCONF_DISABLE_IPV6..][..4].copy_from_slice(&disabled.to_ne_bytes());
            let mut writer = AttrWriter::default();
            writer.nest(Ifla::AfSpec.into(), |writer| {
                writer.nest(family, |writer| writer.put(kind, &settings));
            });
            bytes(&Request::new(link(1).header, writer))
        };
        assert_eq!(disables_ipv6(&with(10, IFLA_INET6_CONF, 0)), Ok(Some(false)));
        assert_eq!(disables_ipv6(&with(10, IFLA_INET6_CONF, 1)), Ok(Some(true)));
        assert_eq!(disables_ipv6(&with(2, IFLA_INET6_CONF, 1)), Ok(None));
        assert_eq!(disables_ipv6(&with(10, 1, 1)), Ok(None));
    }

    #[test]
    fn a_route_is_in_the_place_of_ours_only_in_the_same_family_and_table() {
        let found = bytes(&local_route(ROUTE, Rtprot::Static));
        let same = found_in_place_of(&found, ROUTE).unwrap();
        assert_eq!(same, Some(FoundRoute { kind: 2, device: Some(1) }));
        assert!(same.is_some_and(|route| route.is_local()));
        assert_eq!(found_in_place_of(&found, LocalRoute { table: 133, ..ROUTE }), Ok(None));
        assert_eq!(found_in_place_of(&found, LocalRoute { family: Family::V4, ..ROUTE }), Ok(None));
    }
}

//! Links, addresses and routes over rtnetlink. Everything acts on the calling thread's network namespace.

use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifa, IfaF, Ifla, IflaInfo, Rta, RtaType};
use neli::consts::rtnl::{RtAddrFamily, RtScope, RtTable, Rtm, Rtn, Rtprot};
use neli::consts::socket::NlFamily;
use neli::nl::NlPayload;
use neli::router::synchronous::NlRouter;
use neli::rtnl::{Ifaddrmsg, Ifinfomsg, Rtattr, Rtmsg};
use neli::rtnl::{IfaddrmsgBuilder, IfinfomsgBuilder, RtattrBuilder, RtmsgBuilder};
use neli::types::{Buffer, RtBuffer};
use neli::utils::Groups;
use neli::{FromBytesWithInput, Size, ToBytes};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use crate::Namespace;

/// VETH_INFO_PEER (`linux/veth.h`): the other end, as a link message of its own.
const VETH_INFO_PEER: u16 = 1;

/// A veth pair: `name` here and `name` in the other namespace, both up and ready to carry packets.
pub fn veth_pair(name: &str, other: &Namespace) {
    let descriptor = other.as_fd().as_raw_fd();
    let there = link([text(Ifla::Ifname, name), attribute(Ifla::NetNsFd, descriptor)]);
    let data: RtBuffer<u16, Buffer> = [attribute(VETH_INFO_PEER, there)].into_iter().collect();
    let info: RtBuffer<IflaInfo, Buffer> =
        [text(IflaInfo::Kind, "veth"), attribute(IflaInfo::Data, data)].into_iter().collect();
    let here = link([text(Ifla::Ifname, name), attribute(Ifla::Linkinfo, info)]);
    request::<Ifinfomsg>(Rtm::Newlink, NlmF::CREATE | NlmF::EXCL, here);

    up(name);
    other.run(|| up(name));
    wait_until_running(name);
}

/// Sets the link up.
pub fn up(name: &str) {
    let link = IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_index(index(name).cast_signed())
        .up();
    request::<Ifinfomsg>(Rtm::Newlink, NlmF::empty(), link.build().unwrap());
}

/// Gives the link an address that is usable at once, without duplicate address detection.
pub fn address(name: &str, address: IpAddr, prefix: u8) {
    let message = IfaddrmsgBuilder::default()
        .ifa_family(family(address))
        .ifa_prefixlen(prefix)
        .ifa_flags(IfaF::NODAD)
        .ifa_scope(RtScope::Universe)
        .ifa_index(index(name))
        .rtattrs([octets(Ifa::Local, address), octets(Ifa::Address, address)].into_iter().collect())
        .build()
        .unwrap();
    request::<Ifaddrmsg>(Rtm::Newaddr, NlmF::CREATE | NlmF::EXCL, message);
    wait_until_local(address);
}

/// Routes everything of the gateway's family that has no route of its own through the gateway.
pub fn default_route(gateway: IpAddr) {
    let message = RtmsgBuilder::default()
        .rtm_family(family(gateway))
        .rtm_dst_len(0)
        .rtm_src_len(0)
        .rtm_tos(0)
        .rtm_table(RtTable::Main)
        .rtm_protocol(Rtprot::Boot)
        .rtm_scope(RtScope::Universe)
        .rtm_type(Rtn::Unicast)
        .rtattrs([octets(Rta::Gateway, gateway)].into_iter().collect())
        .build()
        .unwrap();
    request::<Rtmsg>(Rtm::Newroute, NlmF::CREATE | NlmF::EXCL, message);
}

/// An IPv6 address exists before a worker of the kernel has added its route; until then, packets to it leave.
fn wait_until_local(address: IpAddr) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let to_itself = || socket.send_to(b"?", socket.local_addr()?).and_then(|_| socket.recv(&mut [0]));
    while to_itself().is_err() {
        assert!(Instant::now() < deadline, "{address} did not become local");
    }
}

/// The end of a veth pair that is set up first has no carrier then. The kernel makes it ready once the other one is up, in
/// a work queue; until then it drops what it is given. The end that is set up last is ready at once.
fn wait_until_running(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let running = || {
        let mut entries = getifaddrs().unwrap();
        entries.any(|entry| entry.interface_name == name && entry.flags.contains(InterfaceFlags::IFF_RUNNING))
    };
    while !running() {
        assert!(Instant::now() < deadline, "{name} found no carrier");
        thread::sleep(Duration::from_millis(1));
    }
}

fn request<P>(kind: Rtm, flags: NlmF, message: P)
where
    P: Size + ToBytes + FromBytesWithInput<Input = usize> + fmt::Debug,
{
    let (router, _) = NlRouter::connect(NlFamily::Route, None, Groups::empty()).unwrap();
    let answers =
        router.send::<Rtm, P, Rtm, P>(kind, flags | NlmF::ACK, NlPayload::Payload(message)).unwrap();
    for answer in answers {
        answer.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
}

fn link<const N: usize>(attributes: [Rtattr<Ifla, Buffer>; N]) -> Ifinfomsg {
    let attributes = attributes.into_iter().collect();
    IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).rtattrs(attributes).build().unwrap()
}

fn index(name: &str) -> u32 {
    if_nametoindex(name).unwrap_or_else(|errno| panic!("{name}: {errno}"))
}

fn family(address: IpAddr) -> RtAddrFamily {
    if address.is_ipv4() { RtAddrFamily::Inet } else { RtAddrFamily::Inet6 }
}

fn text<T: RtaType>(kind: T, text: &str) -> Rtattr<T, Buffer> {
    attribute(kind, format!("{text}\0").into_bytes())
}

fn octets<T: RtaType>(kind: T, address: IpAddr) -> Rtattr<T, Buffer> {
    match address {
        IpAddr::V4(address) => attribute(kind, address.octets()),
        IpAddr::V6(address) => attribute(kind, address.octets()),
    }
}

fn attribute<T: RtaType>(kind: T, payload: impl Size + ToBytes) -> Rtattr<T, Buffer> {
    RtattrBuilder::default().rta_type(kind).rta_payload(payload).build().unwrap()
}

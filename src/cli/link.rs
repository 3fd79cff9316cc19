//! Links and addresses over rtnetlink, in the calling thread's network namespace.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifa, Ifla, IflaInfo, RtAddrFamily, RtScope, RtaType, Rtm};
use neli::consts::socket::{Msg, NlFamily};
use neli::nl::{NlPayload, Nlmsghdr, NlmsghdrBuilder};
use neli::rtnl::{Ifaddrmsg, IfaddrmsgBuilder, Ifinfomsg, IfinfomsgBuilder, Rtattr, RtattrBuilder};
use neli::socket::NlSocket;
use neli::types::{Buffer, RtBuffer};
use neli::utils::Groups;
use neli::{FromBytes, FromBytesWithInput, Size, ToBytes};
use nix::libc::c_int;
use nix::net::if_::if_nametoindex;

/// `linux/veth.h`: the other end, as a link message of its own.
const VETH_INFO_PEER: u16 = 1;

/// How long a link may take to find its carrier.
const CARRIER_LIMIT: Duration = Duration::from_secs(1);

/// `linux/if.h`
const IF_OPER_UP: u8 = 6;

/// The fixed part of a message, its attributes after it.
trait Message: Size + ToBytes + FromBytesWithInput<Input = usize> {}
impl<T: Size + ToBytes + FromBytesWithInput<Input = usize>> Message for T {}

/// Anything that went wrong while a message was made or sent.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// `ip link add NAME type veth peer name NAME netns OTHER`
pub(super) fn add_veth_pair(name: &str, other: &File) -> io::Result<()> {
    let veth = || -> Result<Ifinfomsg, Error> {
        let peer = link([text(Ifla::Ifname, name)?, attribute(Ifla::NetNsFd, other.as_raw_fd())?])?;
        let data: RtBuffer<u16, Buffer> = RtBuffer::from_iter([attribute(VETH_INFO_PEER, peer)?]);
        let info = RtBuffer::from_iter([text(IflaInfo::Kind, "veth")?, attribute(IflaInfo::Data, data)?]);
        link([text(Ifla::Ifname, name)?, attribute(Ifla::Linkinfo, info)?])
    };
    request(Rtm::Newlink, NlmF::CREATE | NlmF::EXCL, veth())
}

/// `ip link set NAME up`
pub(super) fn set_up(name: &str) -> io::Result<()> {
    let index = if_nametoindex(name)?.cast_signed();
    let message = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(index).up();
    request(Rtm::Newlink, NlmF::empty(), message.build().map_err(Error::from))
}

/// `ip address add ADDRESS/PREFIX dev NAME`
pub(super) fn add_address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let index = if_nametoindex(name)?;
    let message = || -> Result<Ifaddrmsg, Error> {
        let attributes =
            [attribute(Ifa::Local, address.octets())?, attribute(Ifa::Address, address.octets())?];
        Ok(IfaddrmsgBuilder::default()
            .ifa_family(RtAddrFamily::Inet)
            .ifa_prefixlen(prefix)
            .ifa_scope(RtScope::Universe)
            .ifa_index(index)
            .rtattrs(RtBuffer::from_iter(attributes))
            .build()?)
    };
    request(Rtm::Newaddr, NlmF::CREATE | NlmF::EXCL, message())
}

/// Waits until the link carries packets. The end of a veth pair that is set up first finds its carrier in a work queue of
/// the kernel, once the other one is up, and drops what it is given before; the end that is set up last is ready.
///
/// IFF_RUNNING would not help: it is also set before the kernel has looked at the carrier for the first time.
pub(super) fn wait_for_carrier(name: &str) -> io::Result<()> {
    let index = if_nametoindex(name)?.cast_signed();
    let deadline = Instant::now() + CARRIER_LIMIT;
    while operational_state(index)? != Some(IF_OPER_UP) {
        if Instant::now() > deadline {
            return Err(io::Error::other("it finds no carrier"));
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

fn operational_state(index: c_int) -> io::Result<Option<u8>> {
    let message = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(index);
    match exchange(Rtm::Getlink, NlmF::empty(), message.build().map_err(Error::from))?.nl_payload() {
        NlPayload::Payload(link) => {
            let state = link.rtattrs().iter().find(|attribute| *attribute.rta_type() == Ifla::Operstate);
            Ok(state.and_then(|attribute| attribute.rta_payload().as_ref().first().copied()))
        }
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn request<M: Message>(kind: Rtm, flags: NlmF, message: Result<M, Error>) -> io::Result<()> {
    match exchange(kind, flags | NlmF::ACK, message)?.nl_payload() {
        NlPayload::Ack(_) => Ok(()),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// One message out, one in, which is queued when the first call returns.
fn exchange<M: Message>(kind: Rtm, flags: NlmF, message: Result<M, Error>) -> io::Result<Nlmsghdr<Rtm, M>> {
    let message = NlmsghdrBuilder::default()
        .nl_type(kind)
        .nl_flags(flags | NlmF::REQUEST)
        .nl_payload(NlPayload::Payload(message.map_err(io::Error::other)?))
        .build()
        .map_err(io::Error::other)?;
    let mut bytes = Cursor::new(Vec::new());
    message.to_bytes(&mut bytes).map_err(io::Error::other)?;

    let socket = NlSocket::connect(NlFamily::Route, None, Groups::empty())?;
    socket.send(bytes.into_inner(), Msg::empty())?;
    let mut answer = vec![0; 8192];
    let (length, _) = socket.recv(&mut answer, Msg::DONTWAIT)?;
    answer.truncate(length);
    let answer =
        Nlmsghdr::<Rtm, M>::from_bytes(&mut Cursor::new(answer.as_slice())).map_err(io::Error::other)?;
    match answer.nl_payload() {
        NlPayload::Err(refusal) => Err(io::Error::from_raw_os_error(refusal.error().saturating_neg())),
        _ => Ok(answer),
    }
}

fn link(attributes: impl IntoIterator<Item = Rtattr<Ifla, Buffer>>) -> Result<Ifinfomsg, Error> {
    let link = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified);
    Ok(link.rtattrs(attributes.into_iter().collect()).build()?)
}

fn text<T: RtaType>(kind: T, text: &str) -> Result<Rtattr<T, Buffer>, Error> {
    attribute(kind, format!("{text}\0").into_bytes())
}

fn attribute<T: RtaType>(kind: T, value: impl Size + ToBytes) -> Result<Rtattr<T, Buffer>, Error> {
    Ok(RtattrBuilder::default().rta_type(kind).rta_payload(value).build()?)
}

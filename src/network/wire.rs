//! One request, its replies, one result: the netlink conversation under [`RouteSocket`](super::RouteSocket).

use std::io::{self, Cursor, ErrorKind};
use std::time::{Duration, Instant};

use neli::consts::nl::{NlmF, Nlmsg, NlmsgerrAttr};
use neli::consts::rtnl::Rtm;
use neli::nl::{NlPayload, Nlmsghdr};
use neli::types::{Buffer, GenlBuffer};
use neli::{FromBytes, Header};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nftwire::DecodeError;
use nix::libc::{MSG_DONTWAIT, MSG_TRUNC};

use super::message::Request;
use super::{Attempt, RouteError, lock};

/// The kernel's dumps fill up to this many bytes of a reader's buffer and never more (netlink_recvmsg in
/// net/netlink/af_netlink.c).
const BUFFER_BYTES: usize = 32 * 1024;

/// As many as the kernel allocates for the first part of a dump of objects that are all small (`NLMSG_GOODSIZE` in
/// include/linux/netlink.h); for its other parts it looks at the buffer. A larger one costs pages that most pods do not need.
const SMALL_BUFFER_BYTES: usize = 8 * 1024;

/// How long a dump is started again while the lists that it walks change.
const DUMP_LIMIT: Duration = Duration::from_secs(2);

/// The longest pause before it is: where many change a list, one that waits longer and longer finds a quiet moment.
const DUMP_PAUSE: Duration = Duration::from_millis(16);

/// A NETLINK_ROUTE socket that has at most one request under way.
///
/// netlink-sys's socket and not neli's, which does not report a datagram's real length, so that a cut-off reply would not be seen,
/// and makes a list of multicast groups of each.
pub(super) struct Wire {
    socket: Socket,
    /// For the next request
    request: Vec<u8>,
    sequence: u32,
    is_lock: bool,
    /// Whether the options are set that all requests but the plainest need
    has_options: bool,
}

impl Wire {
    /// With `as_lock` it takes the lock if nobody else has it.
    pub(super) fn open(as_lock: bool) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Before it is connected, which would give it a port ID of the kernel's choice.
        let is_lock = as_lock && socket.bind(&SocketAddr::new(lock::PORT, 0)).is_ok();
        // To the kernel, and the kernel refuses what other processes send to it: neither can they pass for the kernel,
        // nor fill the queue (`netlink_getsockbyportid` in net/netlink/af_netlink.c).
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, request: Vec::new(), sequence: 0, is_lock, has_options: false })
    }

    /// Whether it has the port ID that is the lock.
    pub(super) fn is_lock(&self) -> bool {
        self.is_lock
    }

    /// A list of all addresses has no filter, and no privilege or object whose lack the kernel could explain; for most pods it
    /// is the only request.
    fn set_options(&mut self, kind: Rtm) -> io::Result<()> {
        if !self.has_options && kind != Rtm::Getaddr {
            self.socket.set_ext_ack(true)?;
            // Without it the kernel ignores a dump's filters.
            self.socket.set_netlink_get_strict_chk(true)?;
            self.has_options = true;
        }
        Ok(())
    }

    /// One change: one message out, one acknowledgement in.
    pub(super) fn change<const HEADER: usize>(
        &mut self,
        attempt: Attempt,
        kind: Rtm,
        flags: NlmF,
        request: &Request<HEADER>,
    ) -> Result<(), RouteError> {
        self.exchange(attempt, kind, flags | NlmF::ACK, request, |_| Ok(None::<()>))?;
        Ok(())
    }

    /// The one object that `request` names, as `read` sees it; `None` if `read` skips it.
    pub(super) fn get<const HEADER: usize, T>(
        &mut self,
        attempt: Attempt,
        kind: Rtm,
        request: &Request<HEADER>,
        read: impl Fn(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, RouteError> {
        Ok(self.exchange(attempt, kind, NlmF::empty(), request, read)?.pop())
    }

    /// All objects of a kind, in the kernel's order, as `read` sees them, without those that it
    /// skips. They are of one moment: a dump that something changed under is started over.
    pub(super) fn dump<const HEADER: usize, T>(
        &mut self,
        attempt: Attempt,
        kind: Rtm,
        request: &Request<HEADER>,
        read: impl Fn(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, RouteError> {
        self.exchange(attempt, kind, NlmF::DUMP, request, read)
    }

    fn exchange<const HEADER: usize, T>(
        &mut self,
        attempt: Attempt,
        kind: Rtm,
        flags: NlmF,
        request: &Request<HEADER>,
        read: impl Fn(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, RouteError> {
        self.set_options(kind).map_err(|error| RouteError::Socket { attempt, error })?;
        self.sequence = self.sequence.wrapping_add(1);
        encode(&mut self.request, kind, flags | NlmF::REQUEST, self.sequence, request);
        let bytes = if kind == Rtm::Getaddr { SMALL_BUFFER_BYTES } else { BUFFER_BYTES };
        // Not kept: another socket, which reads the rules, takes its memory.
        let mut buffer = Vec::with_capacity(bytes);
        let (mut started, mut tries, mut pause) = (None, 1, Duration::from_micros(250));
        loop {
            uninterrupted(|| self.socket.send(&self.request, 0))
                .map_err(|error| RouteError::Socket { attempt, error })?;
            if let Some(reply) = self.reply(attempt, &mut buffer, &read)? {
                return Ok(reply);
            }
            let started = started.get_or_insert_with(Instant::now);
            if started.elapsed() >= DUMP_LIMIT {
                return Err(RouteError::Interrupted { attempt, tries });
            }
            // What the clock's last digits say differs from process to process.
            std::thread::sleep(pause + pause * (started.elapsed().subsec_nanos() % 1_000) / 1_000);
            (tries, pause) = (tries + 1, (2 * pause).min(DUMP_PAUSE));
        }
    }

    /// Reads up to the end of the reply, also of one that is already known to be useless: the next request
    /// would fail with EBUSY while a dump is under way. `None` is a dump whose parts are of different
    /// moments.
    fn reply<T>(
        &self,
        attempt: Attempt,
        buffer: &mut Vec<u8>,
        read: impl Fn(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<Vec<T>>, RouteError> {
        let sequence = self.sequence;
        let mut found = Ok(Vec::new());
        let mut interrupted = false;
        loop {
            let datagram = self.receive(attempt, buffer)?;
            let malformed =
                |reason: String| RouteError::Malformed { attempt, length: datagram.len(), reason };
            let mut rest = datagram;
            while !rest.is_empty() {
                let (bytes, tail) =
                    split_message(rest).ok_or_else(|| malformed("bad nlmsg_len".to_owned()))?;
                rest = tail;
                let head = Head::of(bytes).ok_or_else(|| malformed("bad nlmsg_len".to_owned()))?;
                if head.sequence != sequence {
                    continue;
                }
                interrupted |= head.flags.contains(NlmF::DUMP_INTR);
                if let Some(object) = head.object {
                    if let Ok(list) = &mut found {
                        match read(object) {
                            Ok(one) => list.extend(one),
                            Err(error) => found = Err(malformed(error.to_string())),
                        }
                    }
                    // One object that was asked for is the whole reply; those of a dump are parts of one.
                    if !head.flags.contains(NlmF::MULTI) {
                        return found.map(Some);
                    }
                    continue;
                }
                if head.status.is_some_and(|status| status >= 0) {
                    return found.map(|found| (!interrupted).then_some(found));
                }
                let message = Nlmsghdr::<Rtm, Buffer>::from_bytes(&mut Cursor::new(bytes))
                    .map_err(|error| malformed(error.to_string()))?;
                match message.nl_payload() {
                    NlPayload::Err(refusal) => {
                        return Err(refused(attempt, *refusal.error(), refusal.ext_ack()));
                    }
                    NlPayload::DumpExtAck(end) => {
                        return Err(refused(attempt, *end.error(), end.ext_ack()));
                    }
                    NlPayload::Ack(_) | NlPayload::Empty | NlPayload::Payload(_) => {}
                }
            }
        }
    }

    /// The next datagram. The kernel has queued it by the time that the request was sent or the one before it
    /// was read, so waiting could only mean waiting forever.
    fn receive<'a>(&self, attempt: Attempt, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], RouteError> {
        let mut receive = || {
            uninterrupted(|| {
                buffer.clear();
                self.socket.recv(buffer, MSG_DONTWAIT | MSG_TRUNC)
            })
        };
        // Once more where it failed: the kernel reports a socket's error once, and what is queued stays; without its
        // reply it would not be known whether a change was made.
        let length =
            receive().or_else(|_| receive()).map_err(|error| RouteError::Reply { attempt, error })?;
        buffer.get(..length).filter(|datagram| !datagram.is_empty()).ok_or_else(|| RouteError::Malformed {
            attempt,
            length,
            reason: format!("a datagram has 1 to {} bytes", buffer.capacity()),
        })
    }
}

/// Writes the message in place of what the buffer holds.
fn encode<const HEADER: usize>(
    buffer: &mut Vec<u8>,
    kind: Rtm,
    flags: NlmF,
    sequence: u32,
    request: &Request<HEADER>,
) {
    // `struct nlmsghdr`; the port ID is the kernel's business.
    let length = Nlmsghdr::<Rtm, Buffer>::header_size() + HEADER + request.attributes.len();
    buffer.clear();
    buffer.reserve(length);
    buffer.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    buffer.extend_from_slice(&u16::from(kind).to_ne_bytes());
    buffer.extend_from_slice(&flags.bits().to_ne_bytes());
    buffer.extend_from_slice(&sequence.to_ne_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&request.header);
    buffer.extend_from_slice(&request.attributes);
}

/// Cuts off the first message, with its padding. Messages are cut apart here, for an acknowledgement's own
/// attributes are left unread by the decoder, and it counts on lengths that are right.
fn split_message(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
    if length < Nlmsghdr::<Rtm, Buffer>::header_size() {
        return None;
    }
    datagram.split_at_checked(length.checked_next_multiple_of(4)?)
}

/// A message by what its header says (`struct nlmsghdr`).
struct Head<'a> {
    flags: NlmF,
    sequence: u32,
    /// What follows the header, where that is an object and not the end of a reply
    object: Option<&'a [u8]>,
    /// At the end of a reply: 0, or the error's negative number (`struct nlmsgerr`)
    status: Option<i32>,
}

impl<'a> Head<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        /// `NLMSG_MIN_TYPE` (linux/netlink.h).
        const FIRST_OF_OBJECTS: u16 = 16;
        let (&[_, _, _, _, kind_0, kind_1, flags_0, flags_1, s0, s1, s2, s3, ..], content) =
            message.split_first_chunk::<16>()?;
        let kind = u16::from_ne_bytes([kind_0, kind_1]);
        let is_end = matches!(Nlmsg::from(kind), Nlmsg::Error | Nlmsg::Done);
        let status = content.first_chunk().filter(|_| is_end);
        Some(Self {
            flags: NlmF::from(u16::from_ne_bytes([flags_0, flags_1])),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            object: (kind >= FIRST_OF_OBJECTS).then_some(content),
            status: status.copied().map(i32::from_ne_bytes),
        })
    }
}

fn refused(attempt: Attempt, error: i32, attributes: &GenlBuffer<NlmsgerrAttr, Buffer>) -> RouteError {
    let message = attributes.get_attr_handle().get_attribute(NlmsgerrAttr::Msg).map(|attribute| {
        let text = String::from_utf8_lossy(attribute.nla_payload().as_ref());
        text.trim_end_matches('\0').to_owned()
    });
    RouteError::refused(attempt, error.saturating_neg(), message)
}

/// Calls again whatever a signal has interrupted.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use neli::ToBytes;
    use neli::consts::rtnl::RtAddrFamily;
    use neli::nl::NlmsghdrBuilder;
    use neli::rtnl::IfinfomsgBuilder;

    use super::super::message;
    use super::*;

    #[test]
    fn messages_are_cut_apart_by_their_length_and_padding() {
        let mut datagram = vec![0; 40];
        datagram[..4].copy_from_slice(&18_u32.to_ne_bytes());
        let (first, rest) = split_message(&datagram).unwrap();
        assert_eq!((first.len(), rest.len()), (20, 20));
        assert!(split_message(rest).is_none(), "shorter than its own header");
        datagram[..4].copy_from_slice(&41_u32.to_ne_bytes());
        assert!(split_message(&datagram).is_none(), "longer than the datagram");
        datagram[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(split_message(&datagram).is_none());
        assert!(split_message(&[16, 0]).is_none());
    }

    #[test]
    fn a_message_is_what_another_encoder_makes_of_it() {
        let link = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(7);
        let message = NlmsghdrBuilder::default()
            .nl_type(Rtm::Getlink)
            .nl_flags(NlmF::REQUEST | NlmF::DUMP)
            .nl_seq(9)
            .nl_payload(NlPayload::Payload(link.build().unwrap()));
        let mut expected = Cursor::new(Vec::new());
        message.build().unwrap().to_bytes(&mut expected).unwrap();
        // What an earlier request was is gone.
        let mut written = vec![1; 100];
        encode(&mut written, Rtm::Getlink, NlmF::REQUEST | NlmF::DUMP, 9, &message::link(7));
        assert_eq!(written, expected.into_inner());
    }

    #[test]
    fn interrupted_calls_are_repeated_and_other_errors_are_not() {
        let mut results = [Err(ErrorKind::Interrupted), Ok(7), Err(ErrorKind::WouldBlock)].into_iter();
        let mut call = || results.next().unwrap().map_err(io::Error::from);
        assert_eq!(uninterrupted(&mut call).unwrap(), 7);
        assert_eq!(uninterrupted(call).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

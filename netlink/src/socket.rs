//! The socket: one transaction is one send, and every reply is queued when it returns.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BufMut;
use bytes::buf::Limit;
use netlink_packet_core::NLM_F_DUMP;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, MSG_TRUNC};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use crate::dump::Progress;
use crate::message::{self, Header};
use crate::outcome::Outcome;
use crate::{
    AttrWriter, Batch, DecodeError, Error, Family, Location, Message, Namespace, Received, Refusal, uapi,
};

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;

/// The kernel puts as much of a dump into one datagram as the reader's buffer holds, up to this
/// (`netlink_recvmsg` in net/netlink/af_netlink.c).
pub(crate) const RECEIVE_BUFFER: usize = 32 * 1024;

/// The parts of the dumps that witnesses receive, one after the other: larger than any rule, whose 128 expressions take some
/// 12 KiB, and no simple fractions of [`RECEIVE_BUFFER`] and each other, so that parts seldom end at the same place.
pub(crate) const WITNESS_BUFFERS: [usize; 4] = [27 * 1024, 23 * 1024, 29 * 1024, 31 * 1024];

/// What the kernel keeps free of the send buffer (`netlink_sendmsg` in net/netlink/af_netlink.c).
const SEND_RESERVE: usize = 32;

/// A socket to the kernel's nf_tables, in the network namespace in which it was opened.
///
/// An open socket keeps its network namespace alive.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
    pub(crate) buffer: Vec<u8>,
    /// For the next request
    request_buffer: Vec<u8>,
    /// How much is received at once, which is how large the kernel makes a dump's parts
    window: usize,
    /// The [`thread_number`] of the one that opened it, in whose network namespace it is
    opened_by: usize,
    /// Repeats dumps in parts of another size; see [`crate::Reader`]
    witness: Option<Box<Socket>>,
    /// How many transactions in a row lost a race
    #[cfg(feature = "tracing")]
    lost_races: u32,
}

/// A transaction that was applied. The default is one that was not needed: nothing was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Messages in the batch, BATCH_BEGIN and BATCH_END not counted
    pub messages: usize,
    /// Bytes that were sent
    pub bytes: usize,
    /// From the send to the last reply
    pub elapsed: Duration,
}

impl Socket {
    /// Opens a socket in the caller's network namespace.
    ///
    /// # Errors
    /// The kernel has no netlink socket for netfilter, or no descriptor is left.
    pub fn open() -> Result<Self, Error> {
        let inner = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(Error::Open)?;
        // To the kernel, and the kernel refuses what other processes send to it: neither can they pass for the kernel,
        // nor fill the queue, which would look like lost replies (`netlink_getsockbyportid` in net/netlink/af_netlink.c).
        inner.connect(&SocketAddr::new(0, 0)).map_err(Error::Open)?;
        // Both are in every kernel since 4.12: which attribute was wrong, and replies without the message itself.
        inner.set_ext_ack(true).map_err(Error::Open)?;
        inner.set_cap_ack(true).map_err(Error::Open)?;
        let opened_by = thread_number();
        let (sequence, window) = (0, RECEIVE_BUFFER);
        Ok(Self {
            inner,
            sequence,
            buffer: Vec::new(),
            request_buffer: Vec::new(),
            window,
            opened_by,
            witness: None,
            #[cfg(feature = "tracing")]
            lost_races: 0,
        })
    }

    /// A second socket in the same network namespace that receives in parts of this size. None on another thread than the one
    /// that opened this socket, as that may be in another namespace; and where no more descriptors can be had, or what
    /// it sees is not of this generation.
    pub(crate) fn witness(&mut self, generation: u32, window: usize) -> Option<&mut Self> {
        let has_it = self.witness.as_ref().is_some_and(|witness| witness.window == window);
        if !has_it && self.is_opened_here() {
            self.witness = Self::open_witness(generation, window).map(Box::new);
        }
        self.witness.as_deref_mut().filter(|witness| witness.window == window)
    }

    /// As [`Socket::witness`], in the thread's network namespace.
    pub(crate) fn open_witness(generation: u32, window: usize) -> Option<Self> {
        // The kernel remembers the largest buffer of a socket, so each size needs its own.
        let mut witness = Self { window, ..Self::open().ok()? };
        // Only once something was received does the kernel make parts of the size that is asked for.
        (witness.generation().ok()? == generation).then_some(witness)
    }

    /// Whether this thread has opened it, and is in its network namespace unless it went elsewhere.
    pub(crate) fn is_opened_here(&self) -> bool {
        thread_number() == self.opened_by
    }

    /// Opens a socket in another network namespace; the caller stays in its own.
    ///
    /// # Errors
    /// [`Error::Namespace`] if the namespace cannot be entered; inside, as [`Socket::open`].
    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        namespace.enter(Self::open)?
    }

    /// Applies the batch as one atomic transaction.
    ///
    /// The batch stays as it is and can be sent again.
    ///
    /// # Errors
    /// With [`Error::Receive`] and [`Error::Unconfirmed`] the outcome is unknown; with any other error nothing was
    /// applied. [`Error::GenerationChanged`] means that the generation which the batch requires is not the
    /// current one.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<Commit, Error> {
        self.transact(batch, true)
    }

    /// Lets the kernel validate the batch and throw it away.
    ///
    /// Since per-table validation (6.12) the kernel does not look at hooks and loops of tables that are new in the
    /// batch. While it validates, hooks are registered and connection tracking may start; it takes an RCU grace
    /// period, some 10 ms.
    ///
    /// # Errors
    /// As [`Socket::commit`].
    pub fn check(&mut self, batch: &mut Batch) -> Result<Commit, Error> {
        self.transact(batch, false)
    }

    #[cfg(not(feature = "tracing"))]
    fn transact(&mut self, batch: &mut Batch, apply: bool) -> Result<Commit, Error> {
        self.send_batch(batch, apply)
    }

    #[cfg(feature = "tracing")]
    fn transact(&mut self, batch: &mut Batch, apply: bool) -> Result<Commit, Error> {
        let span = crate::span::Transaction::begin(batch, apply, self.lost_races.saturating_add(1));
        let result = self.send_batch(batch, apply);
        let is_lost = matches!(result, Err(Error::GenerationChanged));
        self.lost_races = if is_lost { self.lost_races.saturating_add(1) } else { 0 };
        span.end(&result);
        result
    }

    fn send_batch(&mut self, batch: &mut Batch, apply: bool) -> Result<Commit, Error> {
        if let Some(message) = batch.overflow() {
            return Err(Error::AttributeTooLong { message });
        }
        let messages = batch.messages();
        let first = self.sequence.wrapping_add(1);
        // BATCH_BEGIN and BATCH_END have numbers, too.
        let numbers = u32::try_from(messages + 2).unwrap_or(u32::MAX);
        self.sequence = self.sequence.wrapping_add(numbers);

        let started = Instant::now();
        let sealed = batch.seal(first, apply);
        let bytes = sealed.as_bytes().len();
        self.send(sealed.as_bytes())?;
        drop(sealed);
        // Where no object was sent, nothing can have been applied.
        let unread = if messages > 0 { Error::Receive } else { Error::Reply };
        let outcome = self.replies(first, messages).map_err(unread)?;
        let elapsed = started.elapsed();
        let proven = outcome.confirmed && !outcome.overrun;
        if let Some(refusal) = outcome.into_refusal(batch) {
            return Err(match refusal.errno {
                errno if errno == Errno::ERESTART as i32 => Error::GenerationChanged,
                _ => Error::Refused(Box::new(refusal)),
            });
        }
        if messages > 0 && !proven {
            return Err(Error::Unconfirmed);
        }
        Ok(Commit { messages, bytes, elapsed })
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let send = || retry_interrupted(|| self.inner.send(bytes, 0));
        let sent = match send() {
            // Nothing was sent yet: the kernel compares the length with the buffer first.
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                self.raise_send_buffer(bytes.len() + SEND_RESERVE)?;
                send()
            }
            result => result,
        };
        sent.map(drop).map_err(|error| Error::Send { bytes: bytes.len(), error })
    }

    /// Asks for a send buffer of `needed` bytes: beyond net.core.wmem_max with CAP_NET_ADMIN in the initial user
    /// namespace, up to it without.
    fn raise_send_buffer(&self, needed: usize) -> Result<(), Error> {
        // The kernel doubles what is asked for (socket(7), SO_SNDBUF).
        let ask = needed.div_ceil(2);
        if setsockopt(&self.inner, sockopt::SndBufForce, &ask).is_ok() {
            return Ok(());
        }
        // SO_SNDBUF cuts off at net.core.wmem_max without a word, so what was granted is read back.
        let granted = setsockopt(&self.inner, sockopt::SndBuf, &ask)
            .and_then(|()| getsockopt(&self.inner, sockopt::SndBuf))
            .map_err(|errno| Error::Send { bytes: needed, error: errno.into() })?;
        if granted < needed { Err(Error::SendBuffer { needed, granted }) } else { Ok(()) }
    }

    /// Reads every reply to the messages numbered from `first` (BATCH_BEGIN) on.
    ///
    /// A success of the last object does not end it: from 6.10 on, until "nfnetlink: reset nlh pointer during batch
    /// replay" (6.17), a kernel that has loaded a module for an object acknowledges it before it replies with what it
    /// really has to say.
    fn replies(&mut self, first: u32, messages: usize) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        loop {
            let datagram = match self.receive() {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(outcome),
                // Replies were lost. The error is delivered before those that are queued, so read on.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    outcome.overrun = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let read = outcome.read(datagram, first, messages);
            read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// The kernel replies inside the send, and fills the next part of a dump inside the receive of this one: what is not
    /// there now will not come, so there is no reason to ever wait.
    fn receive(&mut self) -> io::Result<&[u8]> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.receive_into(&mut buffer);
        self.buffer = buffer;
        received.map(|()| self.buffer.as_slice())
    }

    /// Receives a datagram of the kernel into a buffer that is handed on afterwards; what the buffer held is dropped.
    pub(crate) fn receive_into(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        // Without the sender's address, which costs a copy: a connected socket hears the kernel alone.
        let length =
            receive(buffer, self.window, |window| self.inner.recv(window, MSG_DONTWAIT | MSG_TRUNC))?;
        if length > buffer.len() {
            return Err(io::Error::other("a datagram larger than the buffer"));
        }
        Ok(())
    }

    /// Sends one request and hands every message of the reply to `each`.
    pub(crate) fn request(
        &mut self,
        kind: u8,
        flags: u16,
        family: Family,
        ask: impl FnOnce(&mut AttrWriter),
        mut each: impl FnMut(&Message<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let replied = self.exchange(kind, flags, family, ask, &mut buffer, |received| {
            received.messages().try_for_each(|message| each(&message?))?;
            Ok(received.into_buffer())
        });
        self.buffer = buffer;
        replied
    }

    /// Sends one request and hands every datagram of the reply to `each`, which gives a buffer for the next one.
    pub(crate) fn exchange(
        &mut self,
        kind: u8,
        flags: u16,
        family: Family,
        ask: impl FnOnce(&mut AttrWriter),
        buffer: &mut Vec<u8>,
        each: impl FnMut(Received) -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        let sequence = self.ask(kind, flags, family, ask)?;
        self.answers(sequence, flags & NLM_F_DUMP != NLM_F_DUMP, buffer, each)
    }

    /// Hands every datagram of the reply to this request to `each`, which gives a buffer for the next one.
    pub(crate) fn answers(
        &self,
        sequence: u32,
        single: bool,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(Received) -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        let mut progress = Progress::default();
        // After an error of the reader the dump is still received to its end: what is left of it would come up as the
        // next request's reply, and the kernel refuses a second dump while one is under way (EBUSY).
        let mut failure = None;
        while !progress.done {
            self.receive_into(buffer).map_err(Error::Reply)?;
            let messages = progress.examine(buffer, sequence)?;
            progress.done |= single && messages > 0;
            if messages > 0 && failure.is_none() && !progress.interrupted {
                match each(Received::new(std::mem::take(buffer), sequence)) {
                    Ok(next) => *buffer = next,
                    Err(error) => failure = Some(error),
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None if progress.interrupted => Err(Error::GenerationChanged),
            None => Ok(()),
        }
    }

    /// Sends one request; returns its sequence number, which the replies have, too.
    pub(crate) fn ask(
        &mut self,
        kind: u8,
        flags: u16,
        family: Family,
        ask: impl FnOnce(&mut AttrWriter),
    ) -> Result<u32, Error> {
        self.ask_of(uapi::NFNL_SUBSYS_NFTABLES, kind, flags, family, ask)
    }

    /// As [`Socket::ask`], of another subsystem of netfilter.
    pub(crate) fn ask_of(
        &mut self,
        subsystem: u8,
        kind: u8,
        flags: u16,
        family: Family,
        ask: impl FnOnce(&mut AttrWriter),
    ) -> Result<u32, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut writer = AttrWriter::with_buffer(std::mem::take(&mut self.request_buffer));
        let nlmsg_type = u16::from_be_bytes([subsystem, kind]);
        let start = message::begin_raw(&mut writer, nlmsg_type, flags, family.number(), 0);
        ask(&mut writer);
        message::end(&mut writer, start);
        message::number(&mut writer, start, self.sequence, false);
        let sent = self.send(writer.as_bytes());
        self.request_buffer = writer.into_buffer();
        sent.map(|()| self.sequence)
    }
}

/// What no other thread of the process has, nor has had. [`std::thread::current`] says as much, for the price of four to six
/// system calls with musl: it allocates with the C library's allocator, and makes a key for the thread's end.
fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.get().unwrap_or_else(|| {
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(Some(number));
        number
    })
}

/// The errno with which a dump ended, 0 for success.
pub(crate) fn end_of_dump(header: &Header<'_>) -> Result<i32, DecodeError> {
    let (&code, _) = header.payload.split_first_chunk().ok_or(DecodeError::MessageLength)?;
    Ok(i32::from_ne_bytes(code).saturating_neg())
}

pub(crate) fn refused_request(errno: i32, text: Option<&str>) -> Error {
    if errno == Errno::EINTR as i32 {
        return Error::GenerationChanged;
    }
    let text = text.map(str::to_owned);
    Error::Refused(Box::new(Refusal { message: None, errno, location: Location::default(), text }))
}

/// Receives a datagram of up to `window` bytes.
pub(crate) fn receive<T>(
    buffer: &mut Vec<u8>,
    window: usize,
    call: impl Fn(&mut Limit<&mut Vec<u8>>) -> io::Result<T>,
) -> io::Result<T> {
    retry_receive(|| {
        buffer.clear();
        buffer.reserve_exact(window);
        // The kernel looks at the length that is offered, not at what is left of a larger buffer.
        call(&mut (&mut *buffer).limit(window))
    })
}

/// Repeats a receive that failed: the kernel reports a socket's error once, and what is queued stays (`sock_error` in
/// include/net/sock.h). An empty queue and lost replies are for the caller.
fn retry_receive<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const FINAL: [Option<i32>; 2] = [Some(Errno::EAGAIN as i32), Some(Errno::ENOBUFS as i32)];
    match retry_interrupted(&mut call) {
        Err(error) if !FINAL.contains(&error.raw_os_error()) => retry_interrupted(call),
        result => result,
    }
}

pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uapi;

    /// A reply that was left in the socket is not taken for the next request's.
    #[test]
    fn an_answer_that_nobody_read() {
        meshwire_testkit::in_new_namespace(|| {
            let mut socket = Socket::open().unwrap();
            let mut writer = AttrWriter::default();
            let start = message::begin(&mut writer, uapi::NFT_MSG_GETGEN, 0, Family::Unspec);
            message::end(&mut writer, start);
            message::number(&mut writer, start, 4711, false);
            socket.send(writer.as_bytes()).unwrap();
            socket.tables(Family::Unspec, |table| panic!("{table:?}")).unwrap();

            socket.send(writer.as_bytes()).unwrap();
            assert_eq!(socket.generation().unwrap(), Socket::open().unwrap().generation().unwrap());
        });
    }

    #[test]
    fn interrupted_calls_are_repeated() {
        let mut results =
            vec![Ok(7), Err(io::ErrorKind::Interrupted.into()), Err(io::ErrorKind::Interrupted.into())];
        assert_eq!(retry_interrupted(|| results.pop().unwrap()).unwrap(), 7);
        let failed: io::Result<()> =
            retry_interrupted(|| Err(io::Error::from_raw_os_error(Errno::ENOBUFS as i32)));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(Errno::ENOBUFS as i32));
    }

    #[test]
    fn a_receive_that_failed_is_repeated_once() {
        let failed = |errno: Errno| Err(io::Error::from_raw_os_error(errno as i32));
        let mut results = vec![Ok(7), failed(Errno::EINTR), failed(Errno::ENOMEM)];
        assert_eq!(retry_receive(|| results.pop().unwrap()).unwrap(), 7);
        for (errno, calls) in [(Errno::ENOMEM, 2), (Errno::EAGAIN, 1), (Errno::ENOBUFS, 1)] {
            let mut count = 0;
            let result = retry_receive(|| {
                count += 1;
                failed(errno)
            });
            assert_eq!((result.unwrap_err().raw_os_error(), count), (Some(errno as i32), calls));
        }
    }

    #[test]
    fn a_request_that_was_interrupted_is_a_change_of_the_ruleset() {
        assert!(matches!(refused_request(Errno::EINTR as i32, None), Error::GenerationChanged));
        let Error::Refused(refusal) = refused_request(2, Some("words")) else { panic!("not refused") };
        assert_eq!((refusal.message, refusal.errno, refusal.text.as_deref()), (None, 2, Some("words")));
    }

    #[test]
    fn other_processes_cannot_send_to_it() {
        meshwire_testkit::in_new_namespace(|| {
            let socket = Socket::open().unwrap();
            let mut address = SocketAddr::new(0, 0);
            socket.inner.get_address(&mut address).unwrap();
            assert_ne!(address.port_number(), 0);
            let other = netlink_sys::Socket::new(NETLINK_NETFILTER).unwrap();
            let refused = other.send_to(&[0; 16], &address, 0).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        });
    }
}

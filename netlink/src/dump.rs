//! Dumps: what can be asked for, and what comes.

use bytes::Bytes;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_DUMP, NLM_F_DUMP_INTR};

use crate::Text;
use crate::message::{Datagram, Header};
use crate::reply::Reply;
use crate::socket::{NLMSG_DONE, NLMSG_ERROR, end_of_dump, refused_request};
use crate::{
    AttrWriter, DecodeError, ElementList, Error, Family, Message, Object, ObjectKind, Rule, Socket, uapi,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// Tables
    Tables,
    /// One table; ENOENT if there is none
    Table {
        /// Its name
        table: Text<'a>,
    },
    /// Chains
    Chains,
    /// One chain, without its rules; ENOENT if there is none
    Chain {
        /// Its table
        table: Text<'a>,
        /// Its name
        chain: Text<'a>,
    },
    /// Rules, chain by chain, in the order of evaluation
    Rules {
        /// Only those of this table
        table: Option<Text<'a>>,
        /// Only those of this chain; it needs a table
        chain: Option<Text<'a>>,
    },
    /// Sets, anonymous ones included
    Sets {
        /// Only those of this table; ENOENT if there is none
        table: Option<Text<'a>>,
    },
    /// One set, without its elements; ENOENT if there is none
    Set {
        /// Its table
        table: Text<'a>,
        /// Its name
        set: Text<'a>,
    },
    /// The elements of a set; ENOENT if there is none
    Elements {
        /// Its table
        table: Text<'a>,
        /// Its name
        set: Text<'a>,
    },
    /// Named objects
    Objects {
        /// Only those of this table
        table: Option<Text<'a>>,
        /// Only those of this kind
        kind: Option<ObjectKind>,
    },
    /// Flowtables
    Flowtables {
        /// Only those of this table
        table: Option<Text<'a>>,
    },
}

impl Query<'_> {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Tables | Self::Table { .. } => uapi::NFT_MSG_GETTABLE,
            Self::Chains | Self::Chain { .. } => uapi::NFT_MSG_GETCHAIN,
            Self::Rules { .. } => uapi::NFT_MSG_GETRULE,
            Self::Sets { .. } | Self::Set { .. } => uapi::NFT_MSG_GETSET,
            Self::Elements { .. } => uapi::NFT_MSG_GETSETELEM,
            Self::Objects { .. } => uapi::NFT_MSG_GETOBJ,
            Self::Flowtables { .. } => uapi::NFT_MSG_GETFLOWTABLE,
        }
    }

    /// `NLM_F_DUMP` where many messages may come, 0 where one comes.
    pub(crate) fn flags(&self) -> u16 {
        match self {
            Self::Table { .. } | Self::Chain { .. } | Self::Set { .. } => 0,
            _ => NLM_F_DUMP,
        }
    }

    pub(crate) fn put(&self, writer: &mut AttrWriter) {
        let mut name = |attribute, name: Option<Text<'_>>| {
            if let Some(name) = name {
                writer.put_text(attribute, name);
            }
        };
        match *self {
            Self::Tables | Self::Chains => {}
            Self::Table { table } => name(uapi::NFTA_TABLE_NAME, Some(table)),
            Self::Chain { table, chain } => {
                name(uapi::NFTA_CHAIN_TABLE, Some(table));
                name(uapi::NFTA_CHAIN_NAME, Some(chain));
            }
            Self::Set { table, set } => {
                name(uapi::NFTA_SET_TABLE, Some(table));
                name(uapi::NFTA_SET_NAME, Some(set));
            }
            Self::Rules { table, chain } => {
                name(uapi::NFTA_RULE_TABLE, table);
                name(uapi::NFTA_RULE_CHAIN, chain);
            }
            Self::Sets { table } => name(uapi::NFTA_SET_TABLE, table),
            Self::Elements { table, set } => {
                name(uapi::NFTA_SET_ELEM_LIST_TABLE, Some(table));
                name(uapi::NFTA_SET_ELEM_LIST_SET, Some(set));
            }
            Self::Objects { table, kind } => {
                name(uapi::NFTA_OBJ_TABLE, table);
                if let Some(kind) = kind {
                    writer.put_be32(uapi::NFTA_OBJ_TYPE, kind.number());
                }
            }
            Self::Flowtables { table } => name(uapi::NFTA_FLOWTABLE_TABLE, table),
        }
    }
}

/// One datagram of a dump: up to 32 KiB of messages that are not decoded yet.
///
/// It owns its bytes, so that another thread can decode it while the next one is received.
#[derive(Debug)]
pub struct Received {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Received {
    pub(crate) fn new(bytes: Vec<u8>, sequence: u32) -> Self {
        Self { bytes, sequence }
    }

    /// The messages of the dump in it, in order.
    pub fn messages(&self) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
        self.messages_of(uapi::NFNL_SUBSYS_NFTABLES)
    }

    /// As [`Received::messages`], of another subsystem of netfilter.
    pub(crate) fn messages_of(
        &self,
        subsystem: u8,
    ) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
        headers(&self.bytes, self.sequence).map(move |header| {
            let header = header?;
            Message::decode_of(subsystem, header.nlmsg_type, header.payload)
        })
    }

    /// Its bytes as received, headers included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its buffer, to be used again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// The headers of a dump's messages in a datagram.
fn headers(datagram: &[u8], sequence: u32) -> impl Iterator<Item = Result<Header<'_>, DecodeError>> {
    Datagram(datagram).filter(move |header| match header {
        Ok(header) => header.sequence == sequence && !is_control(header),
        Err(_) => true,
    })
}

/// What a [`crate::Reader`] has read: the messages of one complete dump, each once.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    parts: Vec<(Bytes, u32)>,
}

impl Dump {
    /// Keeps a datagram; returns a buffer for the next one, its own where it was hardly filled.
    pub(crate) fn keep(&mut self, received: Received) -> Vec<u8> {
        let sequence = received.sequence;
        let buffer = received.into_buffer();
        if buffer.len() < buffer.capacity() / 2 {
            self.parts.push((Bytes::copy_from_slice(&buffer), sequence));
            return buffer;
        }
        self.parts.push((Bytes::from(buffer), sequence));
        Vec::new()
    }

    /// The same in up to `count` pieces of about as many datagrams each, which share its memory, in order: for as many
    /// threads.
    #[must_use]
    pub fn split(&self, count: usize) -> Vec<Self> {
        let datagrams = self.parts.len().div_ceil(count.max(1)).max(1);
        self.parts.chunks(datagrams).map(|parts| Self { parts: parts.to_vec() }).collect()
    }

    /// How many datagrams it came in, of up to 32 KiB each.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.parts.len()
    }

    /// The messages, in the kernel's order.
    pub fn messages(&self) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
        let headers = self.parts.iter().flat_map(|(bytes, sequence)| headers(bytes, *sequence));
        headers.map(|header| header.and_then(|header| Message::decode(header.nlmsg_type, header.payload)))
    }

    /// The objects that the messages hold: `dump.decode(Rule::decode)`.
    pub fn decode<'d, T>(
        &'d self,
        decode: impl Fn(&Message<'d>) -> Result<T, DecodeError>,
    ) -> impl Iterator<Item = Result<T, DecodeError>> {
        self.messages().map(move |message| decode(&message?))
    }

    /// The messages, each on its own and sharing the memory of what was received.
    ///
    /// # Errors
    /// A length does not fit.
    pub fn records(&self) -> Result<Vec<Record>, DecodeError> {
        let mut records = Vec::new();
        for (bytes, sequence) in &self.parts {
            for header in headers(bytes, *sequence) {
                let header = header?;
                // Refuses messages of other subsystems.
                Message::decode(header.nlmsg_type, header.payload)?;
                records.push(Record::new(&header, bytes.slice_ref(header.payload)));
            }
        }
        Ok(records)
    }
}

/// One message of a [`Dump`]: it keeps the memory of the datagram that it came in.
#[derive(Clone, Debug)]
pub struct Record {
    nlmsg_type: u16,
    flags: u16,
    /// From `struct nfgenmsg` on
    payload: Bytes,
}

impl Record {
    /// What follows the `nlmsghdr` of a message of nf_tables.
    pub(crate) fn new(header: &Header<'_>, payload: Bytes) -> Self {
        Self { nlmsg_type: header.nlmsg_type, flags: header.flags, payload }
    }

    /// Of the event of a new rule: whether it was added after others, and not inserted before them (`NLM_F_APPEND`).
    #[must_use]
    pub fn is_appended(&self) -> bool {
        self.flags & NLM_F_APPEND != 0
    }

    /// The message.
    ///
    /// # Errors
    /// None for a record of a [`Dump`], whose headers have been looked at.
    pub fn message(&self) -> Result<Message<'_>, DecodeError> {
        Message::decode(self.nlmsg_type, &self.payload)
    }
}

/// What was read is read again with its counters set to zero, or only handed out undecoded: without a proof.
impl Socket {
    /// Hands every named object to `each`, and sets counters to zero and the consumption of quotas, too.
    ///
    /// What `each` sees is what was before, and has been reset, even where an error follows: do not throw it away.
    ///
    /// # Errors
    /// Those of `each`; [`Error::GenerationChanged`] when the ruleset changed meanwhile.
    pub fn reset_objects(
        &mut self,
        family: Family,
        table: Option<Text<'_>>,
        kind: Option<ObjectKind>,
        mut each: impl FnMut(Object<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let query = Query::Objects { table, kind };
        let each = |message: &Message<'_>| each(Object::decode(message)?);
        self.request(uapi::NFT_MSG_GETOBJ_RESET, NLM_F_DUMP, family, |writer| query.put(writer), each)
    }

    /// Every rule of a table or of one of its chains; sets the counters, quotas and times inside to zero (from 6.2
    /// on).
    ///
    /// What `each` sees is what was before, and has been reset, even where an error follows: do not throw it away.
    ///
    /// # Errors
    /// As [`Socket::reset_objects`]; EINVAL before 6.2.
    pub fn reset_rules<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        chain: Option<Text<'_>>,
        mut each: impl FnMut(Rule<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let query = Query::Rules { table: Some(table.into()), chain };
        let each = |message: &Message<'_>| each(Rule::decode(message)?);
        self.request(uapi::NFT_MSG_GETRULE_RESET, NLM_F_DUMP, family, |writer| query.put(writer), each)
    }

    /// The elements of a set; sets the counters, quotas and times inside to zero (from 6.5 on).
    ///
    /// What `each` sees is what was before, and has been reset, even where an error follows: do not throw it away.
    ///
    /// # Errors
    /// As [`Socket::reset_objects`]; ENOENT if there is no such set, EINVAL before 6.5.
    pub fn reset_elements<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        set: impl Into<Text<'n>>,
        mut each: impl FnMut(ElementList<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let query = Query::Elements { table: table.into(), set: set.into() };
        let each = |message: &Message<'_>| each(ElementList::decode(message)?);
        self.request(uapi::NFT_MSG_GETSETELEM_RESET, NLM_F_DUMP, family, |writer| query.put(writer), each)
    }

    /// Hands every datagram of a dump to `each`, undecoded and as it comes; `each` gives a buffer for the next one: one
    /// that it is done with, or a new one.
    ///
    /// Nothing proves that nothing is missing or there twice: see [`Socket::read`].
    ///
    /// # Errors
    /// Those of `each`; [`Error::GenerationChanged`] when the ruleset changed meanwhile. Then, what was handed out is
    /// worth nothing.
    pub fn dump(
        &mut self,
        family: Family,
        query: Query<'_>,
        each: impl FnMut(Received) -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        let ask = |writer: &mut AttrWriter| query.put(writer);
        let mut buffer = std::mem::take(&mut self.buffer);
        let dumped = self.exchange(query.kind(), query.flags(), family, ask, &mut buffer, each);
        self.buffer = buffer;
        dumped
    }
}

/// How far a dump is.
#[derive(Default)]
pub(crate) struct Progress {
    /// Whether the ruleset changed meanwhile
    pub(crate) interrupted: bool,
    /// Whether nothing comes any more
    pub(crate) done: bool,
}

impl Progress {
    /// Looks at the headers of a datagram; returns how many messages of the dump are in it.
    pub(crate) fn examine(&mut self, datagram: &[u8], sequence: u32) -> Result<usize, Error> {
        let mut messages = 0;
        for header in Datagram(datagram) {
            let header = header?;
            if header.sequence != sequence {
                continue;
            }
            self.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match header.nlmsg_type {
                NLMSG_ERROR => {
                    let reply = Reply::decode(&header)?;
                    return Err(refused_request(reply.errno, reply.text));
                }
                NLMSG_DONE => match end_of_dump(&header)? {
                    0 => self.done = true,
                    errno => return Err(refused_request(errno, None)),
                },
                _ => messages += 1,
            }
        }
        Ok(messages)
    }
}

fn is_control(header: &Header<'_>) -> bool {
    matches!(header.nlmsg_type, NLMSG_ERROR | NLMSG_DONE)
}

//! Dumps that `socket.rs` has no method for: of objects and flowtables, with a reset, and undecoded.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR};

use crate::message::{Datagram, Header};
use crate::reply::Reply;
use crate::socket::{NLMSG_DONE, NLMSG_ERROR, end_of_dump, refused_request};
use crate::{
    AttrWriter, DecodeError, ElementList, Error, Family, Flowtable, Message, Object, ObjectKind, Rule,
    Socket, uapi,
};

/// What [`Socket::dump`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// Tables
    Tables,
    /// Chains
    Chains,
    /// Rules, chain by chain, in the order of evaluation
    Rules {
        /// Only those of this table
        table: Option<&'a str>,
        /// Only those of this chain; it needs a table
        chain: Option<&'a str>,
    },
    /// Sets, anonymous ones included
    Sets {
        /// Only those of this table; ENOENT if there is none
        table: Option<&'a str>,
    },
    /// The elements of a set; ENOENT if there is none
    Elements {
        /// Its table
        table: &'a str,
        /// Its name
        set: &'a str,
    },
    /// Named objects
    Objects {
        /// Only those of this table
        table: Option<&'a str>,
        /// Only those of this kind
        kind: Option<ObjectKind>,
    },
    /// Flowtables
    Flowtables {
        /// Only those of this table
        table: Option<&'a str>,
    },
}

impl Query<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Tables => uapi::NFT_MSG_GETTABLE,
            Self::Chains => uapi::NFT_MSG_GETCHAIN,
            Self::Rules { .. } => uapi::NFT_MSG_GETRULE,
            Self::Sets { .. } => uapi::NFT_MSG_GETSET,
            Self::Elements { .. } => uapi::NFT_MSG_GETSETELEM,
            Self::Objects { .. } => uapi::NFT_MSG_GETOBJ,
            Self::Flowtables { .. } => uapi::NFT_MSG_GETFLOWTABLE,
        }
    }

    fn put(&self, writer: &mut AttrWriter) {
        let mut name = |attribute, name: Option<&str>| {
            if let Some(name) = name {
                writer.put_str(attribute, name);
            }
        };
        match *self {
            Self::Tables | Self::Chains => {}
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
    #[cfg(fuzzing)]
    pub(crate) fn new(bytes: Vec<u8>, sequence: u32) -> Self {
        Self { bytes, sequence }
    }

    /// The messages of the dump in it, in order.
    pub fn messages(&self) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
        Datagram(&self.bytes).filter_map(|header| match header {
            Ok(header) if header.sequence != self.sequence || is_control(&header) => None,
            Ok(header) => Some(Message::decode(header.nlmsg_type, header.payload)),
            Err(error) => Some(Err(error)),
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

impl Socket {
    /// Every object of a table, or of all tables, of one kind, or of all kinds.
    ///
    /// # Errors
    /// As [`Socket::tables`].
    pub fn objects(
        &mut self,
        family: Family,
        table: Option<&str>,
        kind: Option<ObjectKind>,
        mut each: impl FnMut(Object<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let ask = |writer: &mut AttrWriter| Query::Objects { table, kind }.put(writer);
        let each = |message: &Message<'_>| each(Object::decode(message)?);
        self.request(uapi::NFT_MSG_GETOBJ, NLM_F_DUMP, family, ask, each)
    }

    /// As [`Socket::objects`], and sets counters to zero and the consumption of quotas, too.
    ///
    /// What `each` sees is what was before, and has been reset, even where an error follows: do not throw it away,
    /// as [`Socket::consistent`] would.
    ///
    /// # Errors
    /// As [`Socket::objects`].
    pub fn reset_objects(
        &mut self,
        family: Family,
        table: Option<&str>,
        kind: Option<ObjectKind>,
        mut each: impl FnMut(Object<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let ask = |writer: &mut AttrWriter| Query::Objects { table, kind }.put(writer);
        let each = |message: &Message<'_>| each(Object::decode(message)?);
        self.request(uapi::NFT_MSG_GETOBJ_RESET, NLM_F_DUMP, family, ask, each)
    }

    /// Every rule of a table or of one of its chains; sets the counters, quotas and times inside to zero (from 6.2
    /// on).
    ///
    /// What `each` sees is what was before, and has been reset, even where an error follows: do not throw it away,
    /// as [`Socket::consistent`] would.
    ///
    /// # Errors
    /// As [`Socket::rules`]; EINVAL before 6.2.
    pub fn reset_rules(
        &mut self,
        family: Family,
        table: &str,
        chain: Option<&str>,
        mut each: impl FnMut(Rule<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let query = Query::Rules { table: Some(table), chain };
        let each = |message: &Message<'_>| each(Rule::decode(message)?);
        self.request(uapi::NFT_MSG_GETRULE_RESET, NLM_F_DUMP, family, |writer| query.put(writer), each)
    }

    /// The elements of a set; sets the counters, quotas and times inside to zero (from 6.5 on).
    ///
    /// What `each` sees is what was before, and has been reset, even where an error follows: do not throw it away,
    /// as [`Socket::consistent`] would.
    ///
    /// # Errors
    /// As [`Socket::elements`]; EINVAL before 6.5.
    pub fn reset_elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        mut each: impl FnMut(ElementList<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let query = Query::Elements { table, set };
        let each = |message: &Message<'_>| each(ElementList::decode(message)?);
        self.request(uapi::NFT_MSG_GETSETELEM_RESET, NLM_F_DUMP, family, |writer| query.put(writer), each)
    }

    /// Every flowtable of a table, or of all tables.
    ///
    /// # Errors
    /// As [`Socket::tables`].
    pub fn flowtables(
        &mut self,
        family: Family,
        table: Option<&str>,
        mut each: impl FnMut(Flowtable<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let ask = |writer: &mut AttrWriter| Query::Flowtables { table }.put(writer);
        let each = |message: &Message<'_>| each(Flowtable::decode(message)?);
        self.request(uapi::NFT_MSG_GETFLOWTABLE, NLM_F_DUMP, family, ask, each)
    }

    /// Hands every datagram of a dump to `each`, undecoded; `each` gives a buffer for the next one: one that it is
    /// done with, or a new one.
    ///
    /// As with the other dumps, the ruleset may have changed between this dump and another: see
    /// [`Socket::consistent`].
    ///
    /// # Errors
    /// Those of `each`; [`Error::GenerationChanged`] when the ruleset changed meanwhile. Then, what was handed out is
    /// worth nothing.
    pub fn dump(
        &mut self,
        family: Family,
        query: Query<'_>,
        mut each: impl FnMut(Received) -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        let sequence = self.ask(query.kind(), NLM_F_DUMP, family, |writer| query.put(writer))?;
        let mut buffer = Vec::new();
        let mut progress = Progress::default();
        let mut failure = None;
        while !progress.done {
            self.receive_into(&mut buffer).map_err(Error::Receive)?;
            let messages = progress.examine(&buffer, sequence)?;
            // As in `request`: what is left of the dump is received after an error, too.
            if messages > 0 && failure.is_none() && !progress.interrupted {
                match each(Received { bytes: std::mem::take(&mut buffer), sequence }) {
                    Ok(next) => buffer = next,
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
}

/// How far a dump is.
#[derive(Default)]
pub(crate) struct Progress {
    /// Whether the ruleset changed meanwhile
    interrupted: bool,
    /// Whether nothing comes any more
    done: bool,
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

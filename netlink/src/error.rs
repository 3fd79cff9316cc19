//! What can go wrong, typed.

use std::io;

use nix::errno::Errno;

use crate::{Location, NamespaceError};

/// An errno by name and in words: `ENOENT: No such file or directory`, and by its number where it has no name.
#[must_use]
pub fn errno_text(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => known.to_string(),
    }
}

/// What a system call said, as [`errno_text`] has it; in its own words where there is no errno.
#[must_use]
pub fn io_text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), errno_text)
}

/// Bytes that are not what the protocol says.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A message is shorter than its header, or its length points outside of what was received.
    #[error("a netlink message has a length that does not fit")]
    MessageLength,
    /// A message of another subsystem.
    #[error("unexpected netlink message type {nlmsg_type:#06x}")]
    MessageType {
        /// `nlmsg_type`
        nlmsg_type: u16,
    },
    /// An attribute is shorter than its header, or its length points outside of its surroundings.
    #[error("a netlink attribute has a length that does not fit")]
    AttributeLength,
    /// An attribute's value has another length than its type needs.
    #[error("attribute {attribute} holds {found} bytes where {expected} belong")]
    ValueLength {
        /// The attribute's type
        attribute: u16,
        /// The length its type needs
        expected: usize,
        /// The length it has
        found: usize,
    },
    /// A name that is not UTF-8.
    #[error("attribute {attribute} is not UTF-8 text")]
    Text {
        /// The attribute's type
        attribute: u16,
    },
    /// A required attribute is missing.
    #[error("attribute {attribute} is missing")]
    Missing {
        /// The attribute's type
        attribute: u16,
    },
}

/// Why a transaction or a request did not happen.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network namespace in which the socket was to be opened cannot be entered.
    #[error("{0}")]
    Namespace(NamespaceError),
    /// No netlink socket could be opened.
    #[error("cannot open a netlink socket for netfilter: {}", io_text(.0))]
    Open(io::Error),
    /// The batch could not be handed to the kernel. Nothing was applied.
    #[error("cannot send {bytes} bytes to the kernel: {}", io_text(error))]
    Send {
        /// Bytes of the batch
        bytes: usize,
        /// What the system call said
        error: io::Error,
    },
    /// The batch needs a larger send buffer than this process may ask for. Nothing was sent.
    #[error(
        "the transaction needs {needed} bytes of send buffer, the kernel grants {granted} (twice net.core.wmem_max)"
    )]
    SendBuffer {
        /// Bytes that the socket buffer must hold
        needed: usize,
        /// Bytes that it holds after asking for more
        granted: usize,
    },
    /// One attribute holds more than its 16-bit length can say. Nothing was sent.
    #[error("message {message} of the transaction has an attribute of more than 65,535 bytes")]
    AttributeTooLong {
        /// The message's number in the batch, from 0
        message: usize,
    },
    /// The kernel's replies could not be read: whether the transaction was applied is not known.
    #[error("the transaction was sent, but the kernel's reply could not be read: {}", io_text(.0))]
    Receive(io::Error),
    /// The kernel's reply to a request could not be read. Nothing was changed.
    #[error("cannot read the kernel's reply: {}", io_text(.0))]
    Reply(io::Error),
    /// The kernel did not reply to the last message: whether the transaction was applied is not known.
    #[error("the transaction was sent, but the kernel did not confirm it")]
    Unconfirmed,
    /// The kernel refused. Nothing was applied.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A lost race: other processes changed the ruleset while it was read or since, or disturbed every reading by
    /// preparing transactions.
    #[error("lost race: other processes keep changing or checking the ruleset")]
    GenerationChanged,
    /// The kernel answered with something that is not nf_tables' protocol.
    #[error("cannot understand the kernel's reply: {0}")]
    Decode(DecodeError),
}

impl From<NamespaceError> for Error {
    fn from(error: NamespaceError) -> Self {
        Self::Namespace(error)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl Error {
    /// Whether other processes were faster, so that the same can be tried again from the beginning.
    #[must_use]
    pub fn is_lost_race(&self) -> bool {
        matches!(self, Self::GenerationChanged)
    }
}

/// The kernel's refusal of a transaction or a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the first message that was refused, from 0 for the first object of the batch; `None` when
    /// the refusal is about the transaction as a whole.
    pub message: Option<usize>,
    /// The errno, such as 2 for ENOENT.
    pub errno: i32,
    /// Where in the message the kernel's extended reply points.
    pub location: Location,
    /// The kernel's own words, where it has some.
    pub text: Option<String>,
}

impl Refusal {
    /// What the kernel says about it: the errno by name and in words, and its own words where it has some.
    #[must_use]
    pub fn reason(&self) -> String {
        let errno = errno_text(self.errno);
        self.text.as_ref().map_or_else(|| errno.clone(), |text| format!("{errno} ({text})"))
    }

    /// The expression, the element or the attribute that it is about: `expression 5 (tproxy)`, `element 3`,
    /// `attribute 7 (type)`.
    #[must_use]
    pub fn part(&self) -> Option<String> {
        if let Some((index, name)) = &self.location.expression {
            return Some(format!("expression {} ({name})", index + 1));
        }
        if let Some(element) = &self.location.element {
            return Some(format!("element {}", element.index + 1));
        }
        self.location.attribute.map(|(number, name)| match name {
            "" => format!("attribute {number}"),
            name => format!("attribute {number} ({name})"),
        })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message {
            Some(message) => write!(f, "the kernel refused message {message} of the transaction")?,
            None => f.write_str("the kernel refused the request")?,
        }
        if let Some(part) = self.part() {
            write!(f, ", {part}")?;
        }
        write!(f, ": {}", self.reason())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal { message: Some(7), errno: 95, location: Location::default(), text: None }
    }

    #[test]
    fn refusals_say_where_and_why() {
        let expression = Some((4, "tproxy".to_owned()));
        let location = Location { attribute: Some((4, "expressions")), expression, ..Location::default() };
        assert_eq!(
            Refusal { location, ..refusal() }.to_string(),
            "the kernel refused message 7 of the transaction, expression 5 (tproxy): \
             EOPNOTSUPP: Operation not supported on transport endpoint"
        );
        let location = Location { attribute: Some((3, "")), ..Location::default() };
        let text = Some("Attribute failed policy validation".to_owned());
        assert_eq!(
            Refusal { errno: 22, location, text, ..refusal() }.to_string(),
            "the kernel refused message 7 of the transaction, attribute 3: EINVAL: Invalid argument \
             (Attribute failed policy validation)"
        );
        assert_eq!(
            Refusal { message: None, errno: 1, ..refusal() }.to_string(),
            "the kernel refused the request: EPERM: Operation not permitted"
        );
    }

    #[test]
    fn an_errno_has_a_name_or_at_least_a_number() {
        assert_eq!(errno_text(2), "ENOENT: No such file or directory");
        // ENOTSUPP, which the kernel should keep to itself.
        assert_eq!(errno_text(524), "errno 524");
        assert_eq!(io_text(&io::Error::from_raw_os_error(1)), "EPERM: Operation not permitted");
        assert_eq!(io_text(&io::Error::other("a datagram")), "a datagram");
    }
}

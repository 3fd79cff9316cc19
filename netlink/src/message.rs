//! Message headers: `struct nlmsghdr`, followed by `struct nfgenmsg`.

use std::fmt;
use std::str::FromStr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};

use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Text, uapi};

/// Bytes of `struct nlmsghdr`: length (4), type (2), flags (2), sequence number (4), port id (4), in host order.
pub(crate) const NLMSG_HEADER: usize = 16;
/// Bytes of `struct nfgenmsg`: family (1), version (1), resource id (2, network order).
pub(crate) const NFGEN_HEADER: usize = 4;
/// Where the flags are in the header.
const FLAGS: std::ops::Range<usize> = 6..8;
/// The offset of the sequence number in the header.
const SEQUENCE: std::ops::Range<usize> = 8..12;

kernel_number! {
    /// A protocol family (`NFPROTO_*` in `include/uapi/linux/netfilter.h`).
    Family: u8 {
        /// No family: every family, in a dump
        Unspec = uapi::NFPROTO_UNSPEC,
        /// IPv4 and IPv6
        Inet = uapi::NFPROTO_INET,
        /// IPv4
        Ipv4 = uapi::NFPROTO_IPV4,
        /// ARP
        Arp = uapi::NFPROTO_ARP,
        /// Packets at a device, before the stack sees them
        Netdev = uapi::NFPROTO_NETDEV,
        /// Packets that a bridge forwards
        Bridge = uapi::NFPROTO_BRIDGE,
        /// IPv6
        Ipv6 = uapi::NFPROTO_IPV6,
    }
}

impl Family {
    /// The families that a table can have, in the order of nft's manual.
    pub const TABLES: [Self; 6] = [Self::Ipv4, Self::Ipv6, Self::Inet, Self::Arp, Self::Bridge, Self::Netdev];

    /// The name in nft's grammar: `inet`, `ip`, `ip6`, …
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Unspec => "unspec",
            Self::Inet => "inet",
            Self::Ipv4 => "ip",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Ipv6 => "ip6",
            _ => return None,
        })
    }
}

/// Its name, or its number where it has none.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "family {}", self.number()),
        }
    }
}

/// No table can have a family of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of ip, ip6, inet, arp, bridge, netdev")]
pub struct UnknownFamilyError(String);

/// One of [`Family::TABLES`], by its name in nft's grammar.
impl FromStr for Family {
    type Err = UnknownFamilyError;

    fn from_str(name: &str) -> Result<Self, UnknownFamilyError> {
        let family = Self::TABLES.into_iter().find(|family| family.name() == Some(name));
        family.ok_or_else(|| UnknownFamilyError(name.to_owned()))
    }
}

/// A received message of nf_tables: header fields and attributes.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is about, among `enum nf_tables_msg_types`: `NFT_MSG_NEWRULE`, …
    pub kind: u8,
    /// The family it concerns
    pub family: Family,
    /// The low 16 bits of the ruleset's generation
    pub generation: u16,
    /// The attributes after the headers
    pub attributes: AttrReader<'a>,
}

impl<'a> Message<'a> {
    /// The attribute with the table's name, which has the same number in all messages, those about tables included.
    pub(crate) const TABLE: u16 = uapi::NFTA_CHAIN_TABLE;

    /// Reads what follows the `nlmsghdr` of a message of nf_tables of type `nlmsg_type`.
    pub(crate) fn decode(nlmsg_type: u16, payload: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_of(uapi::NFNL_SUBSYS_NFTABLES, nlmsg_type, payload)
    }

    /// As [`Message::decode`], of another subsystem of netfilter.
    pub(crate) fn decode_of(wanted: u8, nlmsg_type: u16, payload: &'a [u8]) -> Result<Self, DecodeError> {
        let [subsystem, kind] = nlmsg_type.to_be_bytes();
        let Some((&[family, _version, resource_0, resource_1], attributes)) = payload.split_first_chunk()
        else {
            return Err(DecodeError::MessageLength);
        };
        if subsystem != wanted {
            return Err(DecodeError::MessageType { nlmsg_type });
        }
        Ok(Self {
            kind,
            family: Family::from_number(family),
            generation: u16::from_be_bytes([resource_0, resource_1]),
            attributes: AttrReader::new(attributes),
        })
    }

    /// The name of the table that a chain, a rule, a set, an object or a flowtable belongs to.
    ///
    /// # Errors
    /// The message has none, or a length does not fit.
    pub fn table(&self) -> Result<Text<'a>, DecodeError> {
        for attribute in self.attributes {
            let attribute = attribute?;
            if attribute.kind == Self::TABLE {
                return Ok(attribute.text());
            }
        }
        Err(DecodeError::Missing { attribute: Self::TABLE })
    }

    /// The attribute with the handle of what the message describes, if that has one.
    pub(crate) fn handle_attribute(&self) -> Option<u16> {
        Some(match self.kind {
            uapi::NFT_MSG_NEWTABLE => uapi::NFTA_TABLE_HANDLE,
            uapi::NFT_MSG_NEWCHAIN => uapi::NFTA_CHAIN_HANDLE,
            uapi::NFT_MSG_NEWRULE => uapi::NFTA_RULE_HANDLE,
            uapi::NFT_MSG_NEWSET => uapi::NFTA_SET_HANDLE,
            uapi::NFT_MSG_NEWOBJ => uapi::NFTA_OBJ_HANDLE,
            uapi::NFT_MSG_NEWFLOWTABLE => uapi::NFTA_FLOWTABLE_HANDLE,
            _ => return None,
        })
    }
}

/// A message's `nlmsghdr`, as received, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) nlmsg_type: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram.
pub(crate) struct Datagram<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Datagram<'a> {
    type Item = Result<Header<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        Some(split(bytes).map(|(header, rest)| {
            self.0 = rest;
            header
        }))
    }
}

fn split(bytes: &[u8]) -> Result<(Header<'_>, &[u8]), DecodeError> {
    let (header, _) = bytes.split_first_chunk::<NLMSG_HEADER>().ok_or(DecodeError::MessageLength)?;
    let [l0, l1, l2, l3, t0, t1, f0, f1, s0, s1, s2, s3, ..] = *header;
    let length =
        usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).map_err(|_| DecodeError::MessageLength)?;
    let payload = bytes.get(NLMSG_HEADER..length).ok_or(DecodeError::MessageLength)?;
    let header = Header {
        nlmsg_type: u16::from_ne_bytes([t0, t1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        payload,
    };
    Ok((header, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Writes the two headers of an nf_tables message and returns where it starts; [`end`] fills in its length.
pub(crate) fn begin(writer: &mut AttrWriter, kind: u8, flags: u16, family: Family) -> usize {
    let nlmsg_type = u16::from_be_bytes([uapi::NFNL_SUBSYS_NFTABLES, kind]);
    begin_raw(writer, nlmsg_type, flags, family.number(), 0)
}

/// Like [`begin`] for any type and resource id.
pub(crate) fn begin_raw(
    writer: &mut AttrWriter,
    nlmsg_type: u16,
    flags: u16,
    family: u8,
    resource: u16,
) -> usize {
    let start = writer.len();
    let mut header = [0; NLMSG_HEADER + NFGEN_HEADER];
    header[4..6].copy_from_slice(&nlmsg_type.to_ne_bytes());
    header[FLAGS].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    header[16] = family;
    header[17] = uapi::NFNETLINK_V0;
    header[18..20].copy_from_slice(&resource.to_be_bytes());
    writer.raw(&header);
    start
}

/// Fills in the length of the message that starts at `start` and ends here.
pub(crate) fn end(writer: &mut AttrWriter, start: usize) {
    // A message longer than 4 GiB cannot be: an attribute longer than 64 KiB has been refused before.
    let length = u32::try_from(writer.len() - start).unwrap_or(u32::MAX);
    writer.patch(start, &length.to_ne_bytes());
}

/// Sets the sequence number of the message that starts at `start`, and whether it asks for a reply.
pub(crate) fn number(writer: &mut AttrWriter, start: usize, sequence: u32, acknowledge: bool) {
    writer.patch(start + SEQUENCE.start, &sequence.to_ne_bytes());
    let at = start + FLAGS.start;
    let flags = u16::from_ne_bytes([writer.as_bytes()[at], writer.as_bytes()[at + 1]]);
    let flags = if acknowledge { flags | NLM_F_ACK } else { flags & !NLM_F_ACK };
    writer.patch(at, &flags.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bytes;

    #[test]
    fn families_have_names() {
        for family in Family::TABLES {
            assert_eq!(family.to_string().parse(), Ok(family));
        }
        for name in ["", "unspec", "ipv4", "INET", "family 200"] {
            assert_eq!(name.parse::<Family>(), Err(UnknownFamilyError(name.to_owned())));
        }
    }

    /// The generation, as the kernel reported it to nft: NFT_MSG_NEWGEN, generation 2, pid 14661, `nft`.
    const GENERATION: &str = "
        2c000000 0f0a 0000 01000000 45390000  00000002
          0800 0100 00000002
          0800 0200 00003945
          0800 0300 6e667400
    ";

    #[test]
    fn message_of_the_kernel() {
        let golden = bytes(GENERATION);
        let header = Datagram(&golden).next().unwrap().unwrap();
        assert_eq!((header.nlmsg_type, header.flags, header.sequence), (0x0a0f, 0, 1));
        let message = Message::decode(header.nlmsg_type, header.payload).unwrap();
        assert_eq!((message.kind, message.family), (uapi::NFT_MSG_NEWGEN, Family::Unspec));
        assert_eq!(message.generation, 2);
        let attributes: Vec<_> = message.attributes.map(Result::unwrap).collect();
        assert_eq!(attributes[0].be32(), Ok(2));
        assert_eq!(attributes[2].str(), Ok("nft"));
    }

    #[test]
    fn several_messages_in_a_datagram() {
        let one = bytes(GENERATION);
        let three = [&one[..], &one, &one].concat();
        assert_eq!(Datagram(&three).map(|header| header.unwrap().sequence).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(Datagram(&[]).count(), 0);
    }

    #[test]
    fn padding_between_messages() {
        let two = bytes(
            "
            15000000 0f0a 0000 01000000 00000000  00000000
              07000000
            14000000 0f0a 0000 02000000 00000000  00000000
            ",
        );
        assert_eq!(Datagram(&two).map(|header| header.unwrap().sequence).collect::<Vec<_>>(), [1, 2]);
        // That of the last one may be missing.
        assert_eq!(Datagram(&two[..21]).map(|header| header.unwrap().sequence).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn lengths_that_do_not_fit_end_the_datagram() {
        let one = bytes(GENERATION);
        for length in [0, 1, 15, 45, u32::MAX] {
            let mut wrong = one.clone();
            wrong[..4].copy_from_slice(&u32::to_ne_bytes(length));
            let read: Vec<_> = Datagram(&wrong).map(|header| header.map(|header| header.sequence)).collect();
            assert_eq!(read, [Err(DecodeError::MessageLength)], "{length}");
        }
        // Shorter than the datagram: the rest is not a message.
        let cut = Datagram(&one[..18]).next().unwrap().map(|header| header.sequence);
        assert_eq!(cut, Err(DecodeError::MessageLength));
    }

    #[test]
    fn messages_of_others_are_refused() {
        let wrong = DecodeError::MessageType { nlmsg_type: 0x0100 };
        assert_eq!(Message::decode(0x0100, &[0; 4]).map(|message| message.kind), Err(wrong));
        let short = Message::decode(0x0a00, &[0; 3]).map(|message| message.kind);
        assert_eq!(short, Err(DecodeError::MessageLength));
    }

    #[test]
    fn families() {
        for number in 0..=u8::MAX {
            assert_eq!(Family::from_number(number).number(), number);
        }
        let names: Vec<_> =
            [0, 1, 2, 3, 5, 7, 10, 12].map(|number| Family::from_number(number).to_string()).into();
        assert_eq!(names, ["unspec", "inet", "ip", "arp", "netdev", "bridge", "ip6", "family 12"]);
    }
}

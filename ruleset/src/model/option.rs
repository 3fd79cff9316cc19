//! Options and extension headers, as nft names them (nft(8), "Extension header expressions").

use super::DataType;

/// Where an option is (`enum nft_exthdr_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// An extension header of IPv6
    Ipv6,
    /// An option of TCP
    Tcp,
    /// An option of IPv4
    Ipv4,
    /// A chunk of SCTP
    Sctp,
}

/// A part of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionField {
    /// Where it is
    pub kind: OptionKind,
    /// The option's number
    pub number: u8,
    /// Bits from the option's start
    pub offset: u16,
    /// How many bits
    pub len: u16,
    /// Whether only the option's presence is asked for
    pub presence: bool,
}

/// nft's names for a part of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionNames {
    /// The option
    pub option: &'static str,
    /// The field
    pub field: &'static str,
    /// What kind of value it has
    pub data_type: DataType,
    /// Which of several blocks of the option, from 0
    pub block: u16,
}

struct Description {
    kind: OptionKind,
    number: u8,
    name: &'static str,
    fields: &'static [(&'static str, u16, u16, DataType)],
}

impl OptionField {
    /// The part of an option with these names of nft's.
    #[must_use]
    pub fn named(kind: OptionKind, option: &str, field: &str) -> Option<Self> {
        let named = OPTIONS.iter().filter(|known| known.kind == kind && known.name == option);
        let found = named.flat_map(|known| known.fields.iter().map(move |field| (known.number, field)));
        let (number, &(_, offset, len, _)) = found.into_iter().find(|(_, known)| known.0 == field)?;
        Some(Self { kind, number, offset, len, presence: false })
    }

    /// Whether a packet has the option with this number.
    #[must_use]
    pub fn presence_of(kind: OptionKind, number: u8) -> Self {
        Self { kind, number, offset: 0, len: 8, presence: true }
    }

    /// The number of the field in nft's list of those of its option, where it has a name (`enum tcpopt_kind_field` and its
    /// like of nftables' include, 1.0.6).
    pub(crate) fn index(&self) -> Option<u32> {
        let names = self.names().filter(|_| !self.presence)?;
        if self.kind == OptionKind::Ipv4 {
            return (1..).zip(IPV4_FIELDS).find(|(_, name)| *name == names.field).map(|(index, _)| index);
        }
        let description = self.descriptions().find(|description| description.name == names.option)?;
        let position = description.fields.iter().position(|field| field.0 == names.field)?;
        let position = u32::try_from(position).ok()?;
        Some(match self.kind {
            OptionKind::Ipv6 => position + 1,
            // Each further block of the option sack has a left and a right edge.
            _ => position + 2 * u32::from(names.block),
        })
    }

    /// The field with this number of the option or header with this name of nft's.
    pub(crate) fn at(kind: OptionKind, option: &str, index: u32) -> Option<Self> {
        let index = usize::try_from(index).ok()?;
        if kind == OptionKind::Ipv4 {
            return Self::named(kind, option, IPV4_FIELDS.get(index.checked_sub(1)?)?);
        }
        let fields = OPTIONS.iter().find(|known| known.kind == kind && known.name == option)?.fields;
        let index = if kind == OptionKind::Ipv6 { index.checked_sub(1)? } else { index };
        if option != "sack" || index < fields.len() {
            return Self::named(kind, option, fields.get(index)?.0);
        }
        let edge = Self::named(kind, option, fields.get(2 + index % 2)?.0)?;
        let block = u16::try_from(index / 2 - 1).ok().filter(|block| *block < SACK_BLOCKS)?;
        Some(Self { offset: edge.offset + 64 * block, ..edge })
    }

    /// nft's name for the option or header with this number.
    pub(crate) fn name_of(kind: OptionKind, number: u32) -> Option<&'static str> {
        OPTIONS
            .iter()
            .find(|known| known.kind == kind && u32::from(known.number) == number)
            .map(|known| known.name)
    }

    /// The number of the option with this name of nft's.
    #[must_use]
    pub fn number_of(kind: OptionKind, option: &str) -> Option<u8> {
        OPTIONS.iter().find(|known| known.kind == kind && known.name == option).map(|known| known.number)
    }

    /// nft's names for it, where it has some.
    #[must_use]
    pub fn names(&self) -> Option<OptionNames> {
        self.descriptions().find_map(|description| {
            // The blocks of the TCP option sack are alike.
            let repeats = self.kind == OptionKind::Tcp && self.number == TCP_SACK && self.offset >= 80;
            let (offset, block) = if repeats {
                (16 + (self.offset - 16) % 64, (self.offset - 16) / 64)
            } else {
                (self.offset, 0)
            };
            let field = description.fields.iter().find(|field| (field.1, field.2) == (offset, self.len))?;
            Some(OptionNames { option: description.name, field: field.0, data_type: field.3, block })
        })
    }

    /// nft's name for the option itself, where it has one.
    #[must_use]
    pub fn option_name(&self) -> Option<&'static str> {
        self.descriptions().next().map(|description| description.name)
    }

    /// What kind of value it has.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        if self.presence {
            return DataType::Boolean;
        }
        self.names().map_or(DataType::NetworkInteger, |names| names.data_type)
    }

    fn descriptions(&self) -> impl Iterator<Item = &'static Description> + use<> {
        let (kind, number) = (self.kind, self.number);
        OPTIONS.iter().filter(move |option| option.kind == kind && option.number == number)
    }
}

const TCP_SACK: u8 = 5;
/// As many blocks as fit into the option (RFC 2018, 3).
const SACK_BLOCKS: u16 = 4;
/// nft's fields of an option of IPv4, from 1 on (`enum ip_hdr_fields`).
const IPV4_FIELDS: [&str; 5] = ["type", "length", "value", "ptr", "addr"];

/// An INIT chunk and the one that acknowledges it have the same fields (RFC 9260, 3.3.2 and 3.3.3).
const SCTP_INIT: &[(&str, u16, u16, DataType)] = &[
    ("type", 0, 8, DataType::NetworkInteger),
    ("flags", 8, 8, DataType::NetworkInteger),
    ("length", 16, 16, DataType::NetworkInteger),
    ("init-tag", 32, 32, DataType::NetworkInteger),
    ("a-rwnd", 64, 32, DataType::NetworkInteger),
    ("num-outbound-streams", 96, 16, DataType::NetworkInteger),
    ("num-inbound-streams", 112, 16, DataType::NetworkInteger),
    ("initial-tsn", 128, 32, DataType::NetworkInteger),
];

const OPTIONS: &[Description] = &[
    Description {
        kind: OptionKind::Ipv6,
        number: 0,
        name: "hbh",
        fields: &[("nexthdr", 0, 8, DataType::InetProto), ("hdrlength", 8, 8, DataType::NetworkInteger)],
    },
    Description {
        kind: OptionKind::Ipv6,
        number: 43,
        name: "rt",
        fields: &[
            ("nexthdr", 0, 8, DataType::InetProto),
            ("hdrlength", 8, 8, DataType::NetworkInteger),
            ("type", 16, 8, DataType::NetworkInteger),
            ("seg-left", 24, 8, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Ipv6,
        number: 43,
        name: "srh",
        fields: &[
            ("last-entry", 32, 8, DataType::NetworkInteger),
            ("flags", 40, 8, DataType::NetworkInteger),
            ("tag", 48, 16, DataType::NetworkInteger),
            ("sid[1]", 64, 128, DataType::Ipv6Addr),
            ("sid[2]", 192, 128, DataType::Ipv6Addr),
        ],
    },
    Description {
        kind: OptionKind::Ipv6,
        number: 43,
        name: "rt0",
        fields: &[
            ("reserved", 32, 32, DataType::NetworkInteger),
            ("addr[1]", 64, 128, DataType::Ipv6Addr),
            ("addr[2]", 192, 128, DataType::Ipv6Addr),
        ],
    },
    Description {
        kind: OptionKind::Ipv6,
        number: 44,
        name: "frag",
        fields: &[
            ("nexthdr", 0, 8, DataType::InetProto),
            ("reserved", 8, 8, DataType::NetworkInteger),
            ("frag-off", 16, 13, DataType::NetworkInteger),
            ("reserved2", 29, 2, DataType::NetworkInteger),
            ("more-fragments", 31, 1, DataType::NetworkInteger),
            ("id", 32, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Ipv6,
        number: 60,
        name: "dst",
        fields: &[("nexthdr", 0, 8, DataType::InetProto), ("hdrlength", 8, 8, DataType::NetworkInteger)],
    },
    Description {
        kind: OptionKind::Ipv6,
        number: 135,
        name: "mh",
        fields: &[
            ("nexthdr", 0, 8, DataType::InetProto),
            ("hdrlength", 8, 8, DataType::NetworkInteger),
            ("type", 16, 8, DataType::MobilityType),
            ("reserved", 24, 8, DataType::NetworkInteger),
            ("checksum", 32, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 0,
        name: "eol",
        fields: &[("kind", 0, 8, DataType::NetworkInteger)],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 1,
        name: "nop",
        fields: &[("kind", 0, 8, DataType::NetworkInteger)],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 2,
        name: "maxseg",
        fields: &[
            ("kind", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("size", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 3,
        name: "window",
        fields: &[
            ("kind", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("count", 16, 8, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 4,
        name: "sack-perm",
        fields: &[("kind", 0, 8, DataType::NetworkInteger), ("length", 8, 8, DataType::NetworkInteger)],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 5,
        name: "sack",
        fields: &[
            ("kind", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("left", 16, 32, DataType::NetworkInteger),
            ("right", 48, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 8,
        name: "timestamp",
        fields: &[
            ("kind", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("tsval", 16, 32, DataType::NetworkInteger),
            ("tsecr", 48, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 19,
        name: "md5sig",
        fields: &[("kind", 0, 8, DataType::NetworkInteger), ("length", 8, 8, DataType::NetworkInteger)],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 30,
        name: "mptcp",
        fields: &[
            ("kind", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("subtype", 16, 4, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Tcp,
        number: 34,
        name: "fastopen",
        fields: &[("kind", 0, 8, DataType::NetworkInteger), ("length", 8, 8, DataType::NetworkInteger)],
    },
    Description {
        kind: OptionKind::Ipv4,
        number: 131,
        name: "lsrr",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("ptr", 16, 8, DataType::NetworkInteger),
            ("addr", 24, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Ipv4,
        number: 7,
        name: "rr",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("ptr", 16, 8, DataType::NetworkInteger),
            ("addr", 24, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Ipv4,
        number: 137,
        name: "ssrr",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("ptr", 16, 8, DataType::NetworkInteger),
            ("addr", 24, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Ipv4,
        number: 148,
        name: "ra",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("length", 8, 8, DataType::NetworkInteger),
            ("value", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 0,
        name: "data",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("tsn", 32, 32, DataType::NetworkInteger),
            ("stream", 64, 16, DataType::NetworkInteger),
            ("ssn", 80, 16, DataType::NetworkInteger),
            ("ppid", 96, 32, DataType::NetworkInteger),
        ],
    },
    Description { kind: OptionKind::Sctp, number: 1, name: "init", fields: SCTP_INIT },
    Description { kind: OptionKind::Sctp, number: 2, name: "init-ack", fields: SCTP_INIT },
    Description {
        kind: OptionKind::Sctp,
        number: 3,
        name: "sack",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("cum-tsn-ack", 32, 32, DataType::NetworkInteger),
            ("a-rwnd", 64, 32, DataType::NetworkInteger),
            ("num-gap-ack-blocks", 96, 16, DataType::NetworkInteger),
            ("num-dup-tsns", 112, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 4,
        name: "heartbeat",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 5,
        name: "heartbeat-ack",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 6,
        name: "abort",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 7,
        name: "shutdown",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("cum-tsn-ack", 32, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 8,
        name: "shutdown-ack",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 9,
        name: "error",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 10,
        name: "cookie-echo",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 11,
        name: "cookie-ack",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 12,
        name: "ecne",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("lowest-tsn", 32, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 13,
        name: "cwr",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("lowest-tsn", 32, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 14,
        name: "shutdown-complete",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 128,
        name: "asconf-ack",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("seqno", 32, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 192,
        name: "forward-tsn",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("new-cum-tsn", 32, 32, DataType::NetworkInteger),
        ],
    },
    Description {
        kind: OptionKind::Sctp,
        number: 193,
        name: "asconf",
        fields: &[
            ("type", 0, 8, DataType::NetworkInteger),
            ("flags", 8, 8, DataType::NetworkInteger),
            ("length", 16, 16, DataType::NetworkInteger),
            ("seqno", 32, 32, DataType::NetworkInteger),
        ],
    },
];

//! What can be read from a packet or set on it.

use nftwire::expr::{CtKey, FibResult, MetaKey, PayloadBase, RtKey, SocketKey, TunnelKey, XfrmKey};
use nftwire::{Family, uapi};

use super::option::OptionField;
use super::{DataType, Field, Protocol};

/// What is read from a packet or set on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A field of a header
    Payload(Field),
    /// Bits of a header, by their place
    Raw(RawPayload),
    /// What the kernel keeps with the packet
    Meta(MetaKey),
    /// What the kernel keeps of its connection
    Ct(CtKey),
    /// What the kernel keeps of one direction of its connection
    CtOf(CtOf),
    /// A part of an option or an extension header
    Option(OptionField),
    /// What the kernel keeps of its socket; for `cgroupv2` with the depth in the tree of control groups
    Socket(SocketKey, u32),
    /// What a route lookup of the packet's addresses gives
    Fib(Fib),
    /// What the kernel keeps of its route
    Rt(RtKey),
    /// What the fingerprint of a TCP SYN says about the operating system
    Osf(Osf),
    /// What the kernel keeps of its IPsec state
    Ipsec(Ipsec),
    /// A number that is generated
    Numgen(Numgen),
    /// A hash of the connection's addresses and ports that is the same in both directions
    SymmetricHash(HashRange),
    /// A part of the packet inside a tunnel's packet
    Inner(Inner),
    /// What the kernel keeps of the tunnel through which the packet came or leaves (nft 1.1.6)
    Tunnel(TunnelKey),
}

/// A part of the packet inside a tunnel's packet, or of the tunnel's own header (nft 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Which tunnel
    pub tunnel: Tunnel,
    /// Which part
    pub part: InnerPart,
}

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerPart {
    /// A field of a header
    Field(Field),
    /// Bits of a header, by their place
    Raw(RawPayload),
    /// Which protocol follows
    Meta(MetaKey),
}

/// A tunnel (`enum nft_inner_type` and, for those that the kernel needs no number for, nft's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// VXLAN (RFC 7348)
    Vxlan,
    /// GENEVE (RFC 8926)
    Geneve,
    /// GRE (RFC 2784) with packets of the network layer
    Gre,
    /// GRE with Ethernet frames
    Gretap,
}

impl Tunnel {
    /// The tunnel with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Vxlan,
            2 => Self::Geneve,
            3 => Self::Gre,
            4 => Self::Gretap,
            _ => return None,
        })
    }

    /// nft's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::Gretap => "gretap",
        }
    }

    /// Its own header, where nft has names for the fields.
    #[must_use]
    pub fn header(self) -> Option<Protocol> {
        match self {
            Self::Vxlan => Some(Protocol::Vxlan),
            Self::Geneve => Some(Protocol::Geneve),
            Self::Gre | Self::Gretap => None,
        }
    }

    /// Whether Ethernet frames are inside.
    #[must_use]
    pub fn has_link_layer(self) -> bool {
        self != Self::Gre
    }
}

impl InnerPart {
    /// As a part of the packet itself.
    #[must_use]
    pub fn selector(self) -> Selector {
        match self {
            Self::Field(field) => Selector::Payload(field),
            Self::Raw(raw) => Selector::Raw(raw),
            Self::Meta(key) => Selector::Meta(key),
        }
    }

    /// A part of the packet itself, where a tunnel's packet has it, too.
    #[must_use]
    pub fn from_selector(selector: Selector) -> Option<Self> {
        Some(match selector {
            Selector::Payload(field) => Self::Field(field),
            Selector::Raw(raw) => Self::Raw(raw),
            Selector::Meta(key) => Self::Meta(key),
            _ => return None,
        })
    }
}

/// Bits of a header, by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPayload {
    /// From where the offset counts
    pub base: PayloadBase,
    /// Bits from there
    pub offset: u32,
    /// How many bits
    pub len: u32,
}

impl RawPayload {
    /// nft's name for the base.
    #[must_use]
    pub fn base_name(&self) -> &'static str {
        match self.base {
            PayloadBase::LinkLayer => "ll",
            PayloadBase::Network => "nh",
            PayloadBase::Transport => "th",
            PayloadBase::Inner => "ih",
            _ => "invalid",
        }
    }

    /// What kind of value it has: a port where the transport protocols have their ports, as in `payload_init_raw` of
    /// nftables' src/payload.c (1.0.6).
    fn data_type(self) -> DataType {
        match self {
            Self { base: PayloadBase::Transport, offset: 0 | 16, len: 16 } => DataType::InetService,
            _ => DataType::Hex,
        }
    }
}

/// What the kernel keeps of one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtOf {
    /// What
    pub key: CtKey,
    /// Whether it is the direction of the replies
    pub reply: bool,
    /// The family of an address whose key does not say it
    pub family: Option<Family>,
}

/// A route lookup (`enum nft_fib_flags`, `enum nft_fib_result`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fib {
    /// What is looked up (`NFTA_FIB_F_*`)
    pub flags: u32,
    /// What of the route is read
    pub result: FibResult,
}

impl Fib {
    /// `fib daddr type`: whether the destination is an address of this host, or what else (`RTN_*` of
    /// linux/rtnetlink.h)
    pub const DADDR_TYPE: Self = Self { flags: uapi::NFTA_FIB_F_DADDR, result: FibResult::AddrType };
    /// `NFTA_FIB_F_PRESENT`
    pub const PRESENT: u32 = uapi::NFTA_FIB_F_PRESENT;
    /// nft's names for the flags, from the lowest bit on.
    pub const FLAGS: [&'static str; 5] = ["saddr", "daddr", "mark", "iif", "oif"];

    /// nft's name for the result.
    #[must_use]
    pub fn result_name(self) -> &'static str {
        match self.result {
            FibResult::Oif => "oif",
            FibResult::OifName => "oifname",
            FibResult::AddrType => "type",
            _ => "unknown",
        }
    }

    /// nft's names for what is looked up.
    pub fn flag_names(self) -> impl Iterator<Item = &'static str> {
        let set = move |(bit, _): &(usize, &str)| self.flags & (1 << bit) != 0;
        Self::FLAGS.into_iter().enumerate().filter(set).map(|(_, name)| name)
    }
}

/// What a fingerprint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Osf {
    /// How the TTL is compared: 0 exactly, 1 loosely, 2 not at all
    pub ttl: u8,
    /// Whether the version follows the name
    pub version: bool,
}

/// What the kernel keeps of a packet's IPsec state (`enum nft_xfrm_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipsec {
    /// What of the state is read
    pub key: XfrmKey,
    /// Whether it is the outgoing policy
    pub out: bool,
    /// Which of several states, from 0
    pub spnum: u32,
}

impl Ipsec {
    /// nft's name for the key and the family it belongs to.
    #[must_use]
    pub fn key_name(self) -> (&'static str, Option<&'static str>) {
        match self.key {
            XfrmKey::DaddrIp4 => ("daddr", Some("ip")),
            XfrmKey::DaddrIp6 => ("daddr", Some("ip6")),
            XfrmKey::SaddrIp4 => ("saddr", Some("ip")),
            XfrmKey::SaddrIp6 => ("saddr", Some("ip6")),
            XfrmKey::ReqId => ("reqid", None),
            XfrmKey::Spi => ("spi", None),
            _ => ("unknown", None),
        }
    }
}

/// The numbers that a hash or a generator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    /// How many different ones
    pub modulus: u32,
    /// The lowest one
    pub offset: u32,
}

/// A generator of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numgen {
    /// Random numbers instead of one after the other
    pub random: bool,
    /// Which numbers
    pub range: HashRange,
}

impl Selector {
    /// `iifname`
    pub const IIFNAME: Self = Self::Meta(MetaKey::IifName);
    /// `oifname`
    pub const OIFNAME: Self = Self::Meta(MetaKey::OifName);
    /// `meta l4proto`
    pub const L4PROTO: Self = Self::Meta(MetaKey::L4Proto);
    /// `meta nfproto`
    pub const NFPROTO: Self = Self::Meta(MetaKey::NfProto);
    /// `meta skuid`
    pub const SKUID: Self = Self::Meta(MetaKey::SkUid);
    /// `meta skgid`
    pub const SKGID: Self = Self::Meta(MetaKey::SkGid);
    /// `meta mark`
    pub const MARK: Self = Self::Meta(MetaKey::Mark);
    /// `ct state`
    pub const CT_STATE: Self = Self::Ct(CtKey::State);
    /// `ct mark`
    pub const CT_MARK: Self = Self::Ct(CtKey::Mark);
    /// `ct zone`
    pub const CT_ZONE: Self = Self::Ct(CtKey::Zone);

    /// What kind of value it has.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Payload(field) => field.data_type,
            Self::Raw(raw) => raw.data_type(),
            Self::Inner(inner) => inner.part.selector().data_type(),
            Self::Meta(key) => meta_type(key),
            Self::Ct(key) => ct_type(key),
            Self::CtOf(CtOf { key: CtKey::Src | CtKey::Dst, family, .. }) => match family {
                Some(Family::Ipv4) => DataType::Ipv4Addr,
                Some(Family::Ipv6) => DataType::Ipv6Addr,
                _ => DataType::Hex,
            },
            Self::CtOf(of) => ct_type(of.key),
            Self::Option(option) => option.data_type(),
            Self::Socket(SocketKey::Mark, _) => DataType::Mark,
            Self::Socket(SocketKey::CgroupV2, _) => DataType::CgroupV2,
            Self::Socket(..) => DataType::Integer,
            Self::Fib(fib) if fib.flags & Fib::PRESENT != 0 => DataType::Boolean,
            Self::Fib(fib) => match fib.result {
                FibResult::Oif => DataType::InterfaceIndex,
                FibResult::OifName => DataType::InterfaceName,
                _ => DataType::FibAddrType,
            },
            Self::Rt(RtKey::ClassId) => DataType::Realm,
            Self::Rt(RtKey::NextHop4) => DataType::Ipv4Addr,
            Self::Rt(RtKey::NextHop6) => DataType::Ipv6Addr,
            Self::Rt(RtKey::Xfrm) => DataType::Boolean,
            Self::Rt(_) => DataType::Integer,
            Self::Osf(_) => DataType::String,
            Self::Ipsec(Ipsec { key: XfrmKey::DaddrIp4 | XfrmKey::SaddrIp4, .. }) => DataType::Ipv4Addr,
            Self::Ipsec(Ipsec { key: XfrmKey::DaddrIp6 | XfrmKey::SaddrIp6, .. }) => DataType::Ipv6Addr,
            Self::Tunnel(TunnelKey::Path) => DataType::Boolean,
            Self::Ipsec(Ipsec { key: XfrmKey::Spi, .. }) => DataType::NetworkInteger,
            Self::Ipsec(_) | Self::Numgen(_) | Self::SymmetricHash(_) | Self::Tunnel(_) => DataType::Integer,
        }
    }
}

fn meta_type(key: MetaKey) -> DataType {
    match key {
        MetaKey::Protocol | MetaKey::BriIifVproto => DataType::EtherType,
        MetaKey::NfProto => DataType::NfProto,
        MetaKey::L4Proto => DataType::InetProto,
        MetaKey::Priority => DataType::ClassId,
        MetaKey::Mark => DataType::Mark,
        MetaKey::Iif | MetaKey::Oif | MetaKey::Sdif => DataType::InterfaceIndex,
        MetaKey::IifName
        | MetaKey::OifName
        | MetaKey::IifKind
        | MetaKey::OifKind
        | MetaKey::BriIifName
        | MetaKey::BriOifName
        | MetaKey::SdifName => DataType::InterfaceName,
        MetaKey::IifType | MetaKey::OifType => DataType::InterfaceType,
        MetaKey::SkUid => DataType::Uid,
        MetaKey::SkGid => DataType::Gid,
        MetaKey::RtClassId => DataType::Realm,
        MetaKey::PktType => DataType::PacketType,
        MetaKey::IifGroup | MetaKey::OifGroup => DataType::DeviceGroup,
        MetaKey::SecPath => DataType::Boolean,
        MetaKey::Prandom => DataType::NetworkInteger,
        MetaKey::TimeNs => DataType::Date,
        MetaKey::TimeDay => DataType::Day,
        MetaKey::TimeHour => DataType::Hour,
        // Its length, numbers, and keys that have no name here.
        _ => DataType::Integer,
    }
}

fn ct_type(key: CtKey) -> DataType {
    match key {
        CtKey::State => DataType::CtState,
        CtKey::Direction => DataType::CtDirection,
        CtKey::Status => DataType::CtStatus,
        CtKey::Mark => DataType::Mark,
        CtKey::Expiration => DataType::Time,
        CtKey::Helper => DataType::String,
        CtKey::L3Protocol => DataType::NfProto,
        CtKey::Protocol => DataType::InetProto,
        CtKey::ProtoSrc | CtKey::ProtoDst => DataType::InetService,
        CtKey::Labels => DataType::CtLabel,
        CtKey::EventMask => DataType::CtEvent,
        CtKey::SrcIp | CtKey::DstIp => DataType::Ipv4Addr,
        CtKey::SrcIp6 | CtKey::DstIp6 => DataType::Ipv6Addr,
        CtKey::Id => DataType::NetworkInteger,
        CtKey::Src | CtKey::Dst => DataType::Hex,
        // Counts, marks, and keys that have no name here.
        _ => DataType::Integer,
    }
}

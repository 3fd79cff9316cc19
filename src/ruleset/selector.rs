//! What can be read from a packet, and what kind of value it has.

use nftwire::expr::{CtKey, MetaKey, PayloadBase};

/// What is read from a packet or set on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A field of a header
    Payload(Field),
    /// What the kernel keeps beside the packet
    Meta(MetaKey),
    /// What the kernel keeps of its connection
    Ct(CtKey),
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
            Self::Meta(MetaKey::IifName | MetaKey::OifName) => DataType::InterfaceName,
            Self::Meta(MetaKey::L4Proto) => DataType::InetProto,
            Self::Meta(MetaKey::NfProto) => DataType::NfProto,
            Self::Meta(MetaKey::SkUid) => DataType::Uid,
            Self::Meta(MetaKey::SkGid) => DataType::Gid,
            Self::Meta(MetaKey::Mark) | Self::Ct(CtKey::Mark) => DataType::Mark,
            Self::Ct(CtKey::State) => DataType::CtState,
            Self::Meta(_) | Self::Ct(_) => DataType::Integer,
        }
    }
}

/// A header that nft has a name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// IPv4 (RFC 791)
    Ip,
    /// IPv6 (RFC 8200)
    Ip6,
    /// TCP (RFC 9293)
    Tcp,
    /// UDP (RFC 768)
    Udp,
}

impl Protocol {
    /// IPPROTO_TCP
    pub const TCP: u8 = 6;
    /// IPPROTO_UDP
    pub const UDP: u8 = 17;

    /// nft's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// From where the offsets of its fields count.
    #[must_use]
    pub fn base(self) -> PayloadBase {
        match self {
            Self::Ip | Self::Ip6 => PayloadBase::Network,
            Self::Tcp | Self::Udp => PayloadBase::Transport,
        }
    }
}

/// A field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The header
    pub protocol: Protocol,
    /// nft's name for the field
    pub name: &'static str,
    /// Bytes from the start of the header
    pub offset: u32,
    /// Bytes of the field
    pub len: u32,
    /// What kind of value it has
    pub data_type: DataType,
}

impl Field {
    const fn new(protocol: Protocol, name: &'static str, offset: u32, len: u32, data_type: DataType) -> Self {
        Self { protocol, name, offset, len, data_type }
    }
}

/// `ip saddr`
pub const IP_SADDR: Field = Field::new(Protocol::Ip, "saddr", 12, 4, DataType::Ipv4Addr);
/// `ip daddr`
pub const IP_DADDR: Field = Field::new(Protocol::Ip, "daddr", 16, 4, DataType::Ipv4Addr);
/// `ip6 saddr`
pub const IP6_SADDR: Field = Field::new(Protocol::Ip6, "saddr", 8, 16, DataType::Ipv6Addr);
/// `ip6 daddr`
pub const IP6_DADDR: Field = Field::new(Protocol::Ip6, "daddr", 24, 16, DataType::Ipv6Addr);
/// `tcp sport`
pub const TCP_SPORT: Field = Field::new(Protocol::Tcp, "sport", 0, 2, DataType::InetService);
/// `tcp dport`
pub const TCP_DPORT: Field = Field::new(Protocol::Tcp, "dport", 2, 2, DataType::InetService);
/// `udp sport`
pub const UDP_SPORT: Field = Field::new(Protocol::Udp, "sport", 0, 2, DataType::InetService);
/// `udp dport`
pub const UDP_DPORT: Field = Field::new(Protocol::Udp, "dport", 2, 2, DataType::InetService);

/// What kind of value something has: how it is shown, and the number that nft keeps for it in a set
/// (nftables, `enum datatypes` in include/datatype.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// A number in host order
    Integer,
    /// An IPv4 address
    Ipv4Addr,
    /// An IPv6 address
    Ipv6Addr,
    /// `IPPROTO_*`
    InetProto,
    /// A port, in network order
    InetService,
    /// A packet's or a connection's mark, in host order
    Mark,
    /// `NFPROTO_*`
    NfProto,
    /// A uid, in host order
    Uid,
    /// A gid, in host order
    Gid,
    /// Bits of a connection's state, in host order
    CtState,
    /// An interface's name
    InterfaceName,
}

impl DataType {
    /// nft's number for the type.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Integer => 4,
            Self::NfProto => 2,
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::Mark => 19,
            Self::CtState => 26,
            Self::Uid => 31,
            Self::Gid => 32,
            Self::InterfaceName => 41,
        }
    }
}

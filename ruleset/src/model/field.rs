//! Headers and their fields, as nft names them (nft(8), "Payload expressions").

use nftwire::expr::PayloadBase;

use super::DataType;

/// A header that nft has a name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Ethernet
    Ether,
    /// IEEE 802.1Q
    Vlan,
    /// ARP (RFC 826)
    Arp,
    /// IPv4 (RFC 791)
    Ip,
    /// IPv6 (RFC 8200)
    Ip6,
    /// ICMP (RFC 792)
    Icmp,
    /// ICMPv6 (RFC 4443)
    Icmp6,
    /// IGMP (RFC 3376)
    Igmp,
    /// TCP (RFC 9293)
    Tcp,
    /// UDP (RFC 768)
    Udp,
    /// UDP-Lite (RFC 3828)
    Udplite,
    /// DCCP (RFC 4340)
    Dccp,
    /// SCTP (RFC 9260)
    Sctp,
    /// Authentication header (RFC 4302)
    Ah,
    /// Encapsulating security payload (RFC 4303)
    Esp,
    /// IP payload compression (RFC 3173)
    Comp,
    /// Generic routing encapsulation (RFC 2784; nft 1.0.7)
    Gre,
    /// Any transport header that begins with two ports
    Th,
    /// VXLAN (RFC 7348)
    Vxlan,
    /// GENEVE (RFC 8926)
    Geneve,
}

/// A field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The header
    pub protocol: Protocol,
    /// nft's name for the field
    pub name: &'static str,
    /// Bits from the start of the header
    pub offset: u16,
    /// Bits of the field
    pub len: u16,
    /// What kind of value it has
    pub data_type: DataType,
    /// The type of ICMP or ICMPv6 message that has the field; `None` where all have it
    pub message: Option<u8>,
}

impl Protocol {
    /// IPPROTO_TCP
    pub const TCP: u8 = 6;
    /// IPPROTO_UDP
    pub const UDP: u8 = 17;

    /// The transport protocols with a header that nft has a name for, by their numbers (IPPROTO_*).
    const TRANSPORT: [(u8, Self); 12] = [
        (1, Self::Icmp),
        (2, Self::Igmp),
        (Self::TCP, Self::Tcp),
        (Self::UDP, Self::Udp),
        (33, Self::Dccp),
        (47, Self::Gre),
        (50, Self::Esp),
        (51, Self::Ah),
        (58, Self::Icmp6),
        (108, Self::Comp),
        (132, Self::Sctp),
        (136, Self::Udplite),
    ];

    /// The transport protocol with this number (IPPROTO_*).
    pub(crate) fn from_transport_number(number: u32) -> Option<Self> {
        let found = Self::TRANSPORT.iter().find(|(known, _)| u32::from(*known) == number);
        found.map(|(_, protocol)| *protocol)
    }

    /// Its number (IPPROTO_*), where it is a transport protocol.
    pub(crate) fn transport_number(self) -> Option<u8> {
        Self::TRANSPORT.iter().find(|(_, protocol)| *protocol == self).map(|(number, _)| *number)
    }

    /// nft's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ether => "ether",
            Self::Vlan => "vlan",
            Self::Arp => "arp",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmpv6",
            Self::Igmp => "igmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Udplite => "udplite",
            Self::Dccp => "dccp",
            Self::Sctp => "sctp",
            Self::Ah => "ah",
            Self::Esp => "esp",
            Self::Comp => "comp",
            Self::Gre => "gre",
            Self::Th => "th",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
        }
    }

    /// From where the offsets of its fields count.
    #[must_use]
    pub fn base(self) -> PayloadBase {
        match self {
            Self::Ether | Self::Vlan => PayloadBase::LinkLayer,
            Self::Arp | Self::Ip | Self::Ip6 => PayloadBase::Network,
            Self::Vxlan | Self::Geneve => PayloadBase::Tunnel,
            _ => PayloadBase::Transport,
        }
    }

    /// Its fields, in the order in which they are looked for.
    #[must_use]
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::Ether => ETHER,
            Self::Vlan => VLAN,
            Self::Arp => ARP,
            Self::Ip => IP,
            Self::Ip6 => IP6,
            Self::Icmp => ICMP,
            Self::Icmp6 => ICMP6,
            Self::Igmp => IGMP,
            Self::Tcp => TCP,
            Self::Udp => UDP,
            Self::Udplite => UDPLITE,
            Self::Dccp => DCCP,
            Self::Sctp => SCTP,
            Self::Ah => AH,
            Self::Esp => ESP,
            Self::Comp => COMP,
            Self::Gre => GRE,
            Self::Th => TH,
            Self::Vxlan => VXLAN,
            Self::Geneve => GENEVE,
        }
    }

    /// The field with this name.
    #[must_use]
    pub fn field(self, name: &str) -> Option<Field> {
        self.fields().iter().find(|field| field.name == name).copied()
    }
}

impl Field {
    const fn new(protocol: Protocol, name: &'static str, offset: u16, len: u16, data_type: DataType) -> Self {
        Self { protocol, name, offset, len, data_type, message: None }
    }

    /// A field that only ICMP messages of one type have.
    const fn of_message(self, message: u8) -> Self {
        Self { message: Some(message), ..self }
    }

    /// Whether it starts and ends between bytes.
    #[must_use]
    pub fn is_whole_bytes(&self) -> bool {
        self.offset.is_multiple_of(8) && self.len.is_multiple_of(8)
    }

    /// Bits from the field's end to the end of its last byte: by how much a value is shifted in the packet.
    #[must_use]
    pub fn shift(&self) -> u32 {
        u32::from((8 - (self.offset + self.len) % 8) % 8)
    }

    /// Whether it says which header comes next.
    #[must_use]
    pub fn is_protocol_key(&self) -> bool {
        matches!(
            (self.protocol, self.name),
            (Protocol::Ether | Protocol::Vlan | Protocol::Icmp | Protocol::Icmp6 | Protocol::Igmp, "type")
                | (Protocol::Ip, "protocol")
                | (Protocol::Ip6 | Protocol::Ah | Protocol::Comp, "nexthdr")
        )
    }
}

/// `ip saddr`
pub const IP_SADDR: Field = IP[10];
/// `ip daddr`
pub const IP_DADDR: Field = IP[11];
/// `ip6 saddr`
pub const IP6_SADDR: Field = IP6[7];
/// `ip6 daddr`
pub const IP6_DADDR: Field = IP6[8];
/// `tcp sport`
pub const TCP_SPORT: Field = TCP[0];
/// `tcp dport`
pub const TCP_DPORT: Field = TCP[1];
/// `udp sport`
pub const UDP_SPORT: Field = UDP[0];
/// `udp dport`
pub const UDP_DPORT: Field = UDP[1];

const ETHER: &[Field] = &[
    Field::new(Protocol::Ether, "daddr", 0, 48, DataType::EtherAddr),
    Field::new(Protocol::Ether, "saddr", 48, 48, DataType::EtherAddr),
    Field::new(Protocol::Ether, "type", 96, 16, DataType::EtherType),
];

const VLAN: &[Field] = &[
    Field::new(Protocol::Vlan, "pcp", 0, 3, DataType::NetworkInteger),
    Field::new(Protocol::Vlan, "dei", 3, 1, DataType::NetworkInteger),
    Field::new(Protocol::Vlan, "id", 4, 12, DataType::NetworkInteger),
    Field::new(Protocol::Vlan, "type", 16, 16, DataType::EtherType),
];

const ARP: &[Field] = &[
    Field::new(Protocol::Arp, "htype", 0, 16, DataType::NetworkInteger),
    Field::new(Protocol::Arp, "ptype", 16, 16, DataType::EtherType),
    Field::new(Protocol::Arp, "hlen", 32, 8, DataType::NetworkInteger),
    Field::new(Protocol::Arp, "plen", 40, 8, DataType::NetworkInteger),
    Field::new(Protocol::Arp, "operation", 48, 16, DataType::ArpOperation),
    Field::new(Protocol::Arp, "saddr ether", 64, 48, DataType::EtherAddr),
    Field::new(Protocol::Arp, "saddr ip", 112, 32, DataType::Ipv4Addr),
    Field::new(Protocol::Arp, "daddr ether", 144, 48, DataType::EtherAddr),
    Field::new(Protocol::Arp, "daddr ip", 192, 32, DataType::Ipv4Addr),
];

const IP: &[Field] = &[
    Field::new(Protocol::Ip, "version", 0, 4, DataType::NetworkInteger),
    Field::new(Protocol::Ip, "hdrlength", 4, 4, DataType::NetworkInteger),
    Field::new(Protocol::Ip, "dscp", 8, 6, DataType::Dscp),
    Field::new(Protocol::Ip, "ecn", 14, 2, DataType::Ecn),
    Field::new(Protocol::Ip, "length", 16, 16, DataType::NetworkInteger),
    Field::new(Protocol::Ip, "id", 32, 16, DataType::NetworkInteger),
    Field::new(Protocol::Ip, "frag-off", 48, 16, DataType::NetworkInteger),
    Field::new(Protocol::Ip, "ttl", 64, 8, DataType::NetworkInteger),
    Field::new(Protocol::Ip, "protocol", 72, 8, DataType::InetProto),
    Field::new(Protocol::Ip, "checksum", 80, 16, DataType::NetworkInteger),
    Field::new(Protocol::Ip, "saddr", 96, 32, DataType::Ipv4Addr),
    Field::new(Protocol::Ip, "daddr", 128, 32, DataType::Ipv4Addr),
];

const IP6: &[Field] = &[
    Field::new(Protocol::Ip6, "version", 0, 4, DataType::NetworkInteger),
    Field::new(Protocol::Ip6, "dscp", 4, 6, DataType::Dscp),
    Field::new(Protocol::Ip6, "ecn", 10, 2, DataType::Ecn),
    Field::new(Protocol::Ip6, "flowlabel", 12, 20, DataType::NetworkInteger),
    Field::new(Protocol::Ip6, "length", 32, 16, DataType::NetworkInteger),
    Field::new(Protocol::Ip6, "nexthdr", 48, 8, DataType::InetProto),
    Field::new(Protocol::Ip6, "hoplimit", 56, 8, DataType::NetworkInteger),
    Field::new(Protocol::Ip6, "saddr", 64, 128, DataType::Ipv6Addr),
    Field::new(Protocol::Ip6, "daddr", 192, 128, DataType::Ipv6Addr),
];

const ICMP: &[Field] = &[
    Field::new(Protocol::Icmp, "type", 0, 8, DataType::IcmpType),
    Field::new(Protocol::Icmp, "code", 8, 8, DataType::IcmpCode),
    Field::new(Protocol::Icmp, "checksum", 16, 16, DataType::NetworkInteger),
    Field::new(Protocol::Icmp, "id", 32, 16, DataType::NetworkInteger).of_message(8),
    Field::new(Protocol::Icmp, "sequence", 48, 16, DataType::NetworkInteger).of_message(8),
    Field::new(Protocol::Icmp, "gateway", 32, 32, DataType::NetworkInteger).of_message(5),
    Field::new(Protocol::Icmp, "mtu", 48, 16, DataType::NetworkInteger).of_message(3),
];

const ICMP6: &[Field] = &[
    Field::new(Protocol::Icmp6, "type", 0, 8, DataType::Icmp6Type),
    Field::new(Protocol::Icmp6, "code", 8, 8, DataType::Icmp6Code),
    Field::new(Protocol::Icmp6, "checksum", 16, 16, DataType::NetworkInteger),
    Field::new(Protocol::Icmp6, "parameter-problem", 32, 32, DataType::NetworkInteger).of_message(4),
    Field::new(Protocol::Icmp6, "mtu", 32, 32, DataType::NetworkInteger).of_message(2),
    Field::new(Protocol::Icmp6, "id", 32, 16, DataType::NetworkInteger).of_message(128),
    Field::new(Protocol::Icmp6, "sequence", 48, 16, DataType::NetworkInteger).of_message(128),
    Field::new(Protocol::Icmp6, "max-delay", 32, 16, DataType::NetworkInteger).of_message(130),
];

const IGMP: &[Field] = &[
    Field::new(Protocol::Igmp, "type", 0, 8, DataType::IgmpType),
    Field::new(Protocol::Igmp, "mrt", 8, 8, DataType::NetworkInteger),
    Field::new(Protocol::Igmp, "checksum", 16, 16, DataType::NetworkInteger),
    Field::new(Protocol::Igmp, "group", 32, 32, DataType::Ipv4Addr),
];

const TCP: &[Field] = &[
    Field::new(Protocol::Tcp, "sport", 0, 16, DataType::InetService),
    Field::new(Protocol::Tcp, "dport", 16, 16, DataType::InetService),
    Field::new(Protocol::Tcp, "sequence", 32, 32, DataType::NetworkInteger),
    Field::new(Protocol::Tcp, "ackseq", 64, 32, DataType::NetworkInteger),
    Field::new(Protocol::Tcp, "doff", 96, 4, DataType::NetworkInteger),
    Field::new(Protocol::Tcp, "reserved", 100, 4, DataType::NetworkInteger),
    Field::new(Protocol::Tcp, "flags", 104, 8, DataType::TcpFlag),
    Field::new(Protocol::Tcp, "window", 112, 16, DataType::NetworkInteger),
    Field::new(Protocol::Tcp, "checksum", 128, 16, DataType::NetworkInteger),
    Field::new(Protocol::Tcp, "urgptr", 144, 16, DataType::NetworkInteger),
];

const UDP: &[Field] = &[
    Field::new(Protocol::Udp, "sport", 0, 16, DataType::InetService),
    Field::new(Protocol::Udp, "dport", 16, 16, DataType::InetService),
    Field::new(Protocol::Udp, "length", 32, 16, DataType::NetworkInteger),
    Field::new(Protocol::Udp, "checksum", 48, 16, DataType::NetworkInteger),
];

const UDPLITE: &[Field] = &[
    Field::new(Protocol::Udplite, "sport", 0, 16, DataType::InetService),
    Field::new(Protocol::Udplite, "dport", 16, 16, DataType::InetService),
    Field::new(Protocol::Udplite, "csumcov", 32, 16, DataType::NetworkInteger),
    Field::new(Protocol::Udplite, "checksum", 48, 16, DataType::NetworkInteger),
];

const DCCP: &[Field] = &[
    Field::new(Protocol::Dccp, "sport", 0, 16, DataType::InetService),
    Field::new(Protocol::Dccp, "dport", 16, 16, DataType::InetService),
    Field::new(Protocol::Dccp, "type", 67, 4, DataType::DccpType),
];

const SCTP: &[Field] = &[
    Field::new(Protocol::Sctp, "sport", 0, 16, DataType::InetService),
    Field::new(Protocol::Sctp, "dport", 16, 16, DataType::InetService),
    Field::new(Protocol::Sctp, "vtag", 32, 32, DataType::NetworkInteger),
    Field::new(Protocol::Sctp, "checksum", 64, 32, DataType::NetworkInteger),
];

const AH: &[Field] = &[
    Field::new(Protocol::Ah, "nexthdr", 0, 8, DataType::InetProto),
    Field::new(Protocol::Ah, "hdrlength", 8, 8, DataType::NetworkInteger),
    Field::new(Protocol::Ah, "reserved", 16, 16, DataType::NetworkInteger),
    Field::new(Protocol::Ah, "spi", 32, 32, DataType::NetworkInteger),
    Field::new(Protocol::Ah, "sequence", 64, 32, DataType::NetworkInteger),
];

const ESP: &[Field] = &[
    Field::new(Protocol::Esp, "spi", 0, 32, DataType::NetworkInteger),
    Field::new(Protocol::Esp, "sequence", 32, 32, DataType::NetworkInteger),
];

const COMP: &[Field] = &[
    Field::new(Protocol::Comp, "nexthdr", 0, 8, DataType::InetProto),
    Field::new(Protocol::Comp, "flags", 8, 8, DataType::Bitmask),
    Field::new(Protocol::Comp, "cpi", 16, 16, DataType::NetworkInteger),
];

const GRE: &[Field] = &[
    Field::new(Protocol::Gre, "flags", 0, 5, DataType::NetworkInteger),
    Field::new(Protocol::Gre, "version", 13, 3, DataType::NetworkInteger),
    Field::new(Protocol::Gre, "protocol", 16, 16, DataType::EtherType),
];

const TH: &[Field] = &[
    Field::new(Protocol::Th, "sport", 0, 16, DataType::InetService),
    Field::new(Protocol::Th, "dport", 16, 16, DataType::InetService),
];

const VXLAN: &[Field] = &[
    Field::new(Protocol::Vxlan, "flags", 0, 8, DataType::Bitmask),
    Field::new(Protocol::Vxlan, "vni", 32, 24, DataType::NetworkInteger),
];

const GENEVE: &[Field] = &[
    Field::new(Protocol::Geneve, "type", 16, 16, DataType::EtherType),
    Field::new(Protocol::Geneve, "vni", 32, 24, DataType::NetworkInteger),
];

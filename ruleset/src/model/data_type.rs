//! What kind of value something has: how it is shown, in which byte order it is in a register, and the number
//! that nft keeps for it in a set (nftables, `enum datatypes` in include/datatype.h).

use super::symbols;

/// Declares [`DataType`] with nft's number and name for each.
macro_rules! data_types {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)+) => {
        /// What kind of value something has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DataType {
            $($(#[$doc])* $variant,)+
        }

        impl DataType {
            /// nft's number for the type.
            #[must_use]
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)+
                }
            }

            /// nft's name for the type, as in `type ipv4_addr`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The type with this number; of those that share one, the first.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

data_types! {
    /// A verdict, in a map
    Verdict = 1, "verdict";
    /// `NFPROTO_*`
    NfProto = 2, "nf_proto";
    /// Bits without names, in network order
    Bitmask = 3, "bitmask";
    /// A number in host order
    Integer = 4, "integer";
    /// Text, padded with NUL
    String = 5, "string";
    /// A link layer address
    LinkAddr = 6, "ll_addr";
    /// An IPv4 address
    Ipv4Addr = 7, "ipv4_addr";
    /// An IPv6 address
    Ipv6Addr = 8, "ipv6_addr";
    /// An Ethernet address
    EtherAddr = 9, "ether_addr";
    /// `ETH_P_*`, in network order
    EtherType = 10, "ether_type";
    /// `ARPOP_*`, in network order
    ArpOperation = 11, "arp_op";
    /// `IPPROTO_*`
    InetProto = 12, "inet_proto";
    /// A port, in network order
    InetService = 13, "inet_service";
    /// An ICMP type
    IcmpType = 14, "icmp_type";
    /// Bits of TCP's flags
    TcpFlag = 15, "tcp_flag";
    /// A DCCP packet type
    DccpType = 16, "dccp_pkttype";
    /// A mobility header's type
    MobilityType = 17, "mh_type";
    /// Milliseconds, in host order
    Time = 18, "time";
    /// A packet's or a connection's mark, in host order
    Mark = 19, "mark";
    /// An interface's index, in host order
    InterfaceIndex = 20, "iface_index";
    /// `ARPHRD_*`, in host order
    InterfaceType = 21, "iface_type";
    /// A routing realm, in host order
    Realm = 22, "realm";
    /// A traffic class, in host order
    ClassId = 23, "classid";
    /// A uid, in host order
    Uid = 24, "uid";
    /// A gid, in host order
    Gid = 25, "gid";
    /// Bits of a connection's state, in host order
    CtState = 26, "ct_state";
    /// A connection's direction
    CtDirection = 27, "ct_dir";
    /// Bits of a connection's status, in host order
    CtStatus = 28, "ct_status";
    /// An ICMPv6 type
    Icmp6Type = 29, "icmpv6_type";
    /// Bits of a connection's labels, in host order
    CtLabel = 30, "ct_label";
    /// `PACKET_*`
    PacketType = 31, "pkt_type";
    /// An ICMP code
    IcmpCode = 32, "icmp_code";
    /// An ICMPv6 code
    Icmp6Code = 33, "icmpv6_code";
    /// A code that nf_tables translates to ICMP or ICMPv6
    IcmpxCode = 34, "icmpx_code";
    /// A device group, in host order
    DeviceGroup = 35, "devgroup";
    /// A differentiated services code point; 6 bits
    Dscp = 36, "dscp";
    /// Explicit congestion notification; 2 bits
    Ecn = 37, "ecn";
    /// A type of address (`RTN_*`), in host order
    FibAddrType = 38, "fib_addrtype";
    /// Whether something exists
    Boolean = 39, "boolean";
    /// Bits of a connection's events, in host order
    CtEvent = 40, "ct_event";
    /// An interface's name, padded with NUL
    InterfaceName = 41, "ifname";
    /// An IGMP type
    IgmpType = 42, "igmp_type";
    /// Nanoseconds since the epoch, in host order
    Date = 43, "time";
    /// Seconds since midnight UTC, in host order
    Hour = 44, "hour";
    /// A day of the week, 0 for Sunday
    Day = 45, "day";
    /// A control group's inode number, in host order
    CgroupV2 = 46, "cgroupsv2";
    /// A number in network order; nft has one type for both orders
    NetworkInteger = 0x1_0004, "integer";
    /// Bytes of a header that nft has no name for, in network order, shown in hexadecimal
    Hex = 0x2_0004, "integer";
}

impl DataType {
    /// The type of verdicts in a map, as the kernel expects it (`NFT_DATA_VERDICT`).
    pub const VERDICT: u32 = 0xffff_ff00;

    /// The number by which nft remembers the type in a set.
    #[must_use]
    pub fn set_number(self) -> u32 {
        self.number() & 0xffff
    }

    /// Whether values are in the machine's own byte order, and not in network order.
    #[must_use]
    pub fn is_host_order(self) -> bool {
        use DataType as T;
        matches!(
            self,
            T::Integer
                | T::Time
                | T::Mark
                | T::InterfaceIndex
                | T::InterfaceType
                | T::Realm
                | T::ClassId
                | T::Uid
                | T::Gid
                | T::CtState
                | T::CtStatus
                | T::CtLabel
                | T::DeviceGroup
                | T::FibAddrType
                | T::CtEvent
                | T::Date
                | T::Hour
                | T::CgroupV2
        )
    }

    /// Whether values are bits with a meaning each.
    #[must_use]
    pub fn is_bitmask(self) -> bool {
        matches!(
            self,
            Self::Bitmask | Self::TcpFlag | Self::CtState | Self::CtStatus | Self::CtLabel | Self::CtEvent
        )
    }

    /// Whether values are bits with a name each.
    #[must_use]
    pub fn has_flags(self) -> bool {
        self.is_bitmask() && self != Self::Bitmask
    }

    /// Whether values are text.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::String | Self::InterfaceName)
    }

    /// Whether nft shows values that begin alike as a prefix.
    #[must_use]
    pub fn has_prefixes(self) -> bool {
        matches!(self, Self::Ipv4Addr | Self::Ipv6Addr | Self::Mark)
    }

    /// Bytes that a value takes in a set's key; 0 where the type does not say.
    #[must_use]
    pub fn size(self) -> u32 {
        use DataType as T;
        match self {
            T::Verdict | T::Bitmask | T::Integer | T::NetworkInteger | T::Hex | T::String | T::LinkAddr => 0,
            T::NfProto
            | T::InetProto
            | T::IcmpType
            | T::TcpFlag
            | T::DccpType
            | T::MobilityType
            | T::CtDirection
            | T::Icmp6Type
            | T::PacketType
            | T::IcmpCode
            | T::Icmp6Code
            | T::IcmpxCode
            | T::Dscp
            | T::Ecn
            | T::Boolean
            | T::IgmpType
            | T::Day => 1,
            T::EtherType | T::ArpOperation | T::InetService | T::InterfaceType => 2,
            T::EtherAddr => 6,
            T::Ipv4Addr
            | T::Time
            | T::Mark
            | T::InterfaceIndex
            | T::Realm
            | T::ClassId
            | T::Uid
            | T::Gid
            | T::CtState
            | T::CtStatus
            | T::DeviceGroup
            | T::FibAddrType
            | T::CtEvent
            | T::Hour => 4,
            T::Date | T::CgroupV2 => 8,
            T::Ipv6Addr | T::CtLabel | T::InterfaceName => 16,
        }
    }

    /// nft's name for a value, where it has one.
    #[must_use]
    pub fn symbol(self, value: u64) -> Option<&'static str> {
        symbols::table(self).iter().find(|(number, _)| *number == value).map(|&(_, name)| name)
    }
}

//! nft's names for numbers (`nft describe`): where several names mean the same number, the first one is shown.

use super::DataType;

type Symbols = &'static [(u64, &'static str)];

/// The names of a type's values.
pub(crate) fn table(data_type: DataType) -> Symbols {
    match data_type {
        DataType::NfProto => NFPROTO,
        DataType::EtherType => ETHER_TYPE,
        DataType::ArpOperation => ARP_OPERATION,
        DataType::InetProto => INET_PROTO,
        DataType::IcmpType => ICMP_TYPE,
        DataType::TcpFlag => TCP_FLAG,
        DataType::DccpType => DCCP_TYPE,
        DataType::MobilityType => MOBILITY_TYPE,
        DataType::InterfaceType => INTERFACE_TYPE,
        DataType::Realm => REALM,
        DataType::CtState => CT_STATE,
        DataType::CtDirection => CT_DIRECTION,
        DataType::CtStatus => CT_STATUS,
        DataType::Icmp6Type => ICMP6_TYPE,
        DataType::PacketType => PACKET_TYPE,
        DataType::IcmpCode => ICMP_CODE,
        DataType::Icmp6Code => ICMP6_CODE,
        DataType::IcmpxCode => ICMPX_CODE,
        DataType::DeviceGroup => DEVICE_GROUP,
        DataType::Dscp => DSCP,
        DataType::Ecn => ECN,
        DataType::FibAddrType => FIB_ADDR_TYPE,
        DataType::Boolean => BOOLEAN,
        DataType::CtEvent => CT_EVENT,
        DataType::IgmpType => IGMP_TYPE,
        DataType::Day => DAY,
        _ => &[],
    }
}

const NFPROTO: Symbols = &[(2, "ipv4"), (10, "ipv6")];

const ETHER_TYPE: Symbols =
    &[(0x800, "ip"), (0x806, "arp"), (0x86dd, "ip6"), (0x8100, "8021q"), (0x88a8, "8021ad")];

const ARP_OPERATION: Symbols = &[
    (1, "request"),
    (2, "reply"),
    (3, "rrequest"),
    (4, "rreply"),
    (8, "inrequest"),
    (9, "inreply"),
    (10, "nak"),
];

/// As in Debian's /etc/protocols, which nft asks.
const INET_PROTO: Symbols = &[
    (0, "ip"),
    (1, "icmp"),
    (2, "igmp"),
    (3, "ggp"),
    (4, "ipencap"),
    (5, "st"),
    (6, "tcp"),
    (8, "egp"),
    (9, "igp"),
    (12, "pup"),
    (17, "udp"),
    (20, "hmp"),
    (22, "xns-idp"),
    (27, "rdp"),
    (29, "iso-tp4"),
    (33, "dccp"),
    (36, "xtp"),
    (37, "ddp"),
    (38, "idpr-cmtp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (45, "idrp"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (57, "skip"),
    (58, "ipv6-icmp"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (73, "rspf"),
    (81, "vmtp"),
    (88, "eigrp"),
    (89, "ospf"),
    (93, "ax.25"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (124, "isis"),
    (132, "sctp"),
    (133, "fc"),
    (135, "mobility-header"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
    (138, "manet"),
    (139, "hip"),
    (140, "shim6"),
    (141, "wesp"),
    (142, "rohc"),
    (143, "ethernet"),
];

const ICMP_TYPE: Symbols = &[
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (4, "source-quench"),
    (5, "redirect"),
    (8, "echo-request"),
    (9, "router-advertisement"),
    (10, "router-solicitation"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
    (15, "info-request"),
    (16, "info-reply"),
    (17, "address-mask-request"),
    (18, "address-mask-reply"),
];

const TCP_FLAG: Symbols = &[
    (0x1, "fin"),
    (0x2, "syn"),
    (0x4, "rst"),
    (0x8, "psh"),
    (0x10, "ack"),
    (0x20, "urg"),
    (0x40, "ecn"),
    (0x80, "cwr"),
];

const DCCP_TYPE: Symbols = &[
    (0, "request"),
    (1, "response"),
    (2, "data"),
    (3, "ack"),
    (4, "dataack"),
    (5, "closereq"),
    (6, "close"),
    (7, "reset"),
    (8, "sync"),
    (9, "syncack"),
];

const MOBILITY_TYPE: Symbols = &[
    (0, "binding-refresh-request"),
    (1, "home-test-init"),
    (2, "careof-test-init"),
    (3, "home-test"),
    (4, "careof-test"),
    (5, "binding-update"),
    (6, "binding-acknowledgement"),
    (7, "binding-error"),
    (8, "fast-binding-update"),
    (9, "fast-binding-acknowledgement"),
    (10, "fast-binding-advertisement"),
    (11, "experimental-mobility-header"),
    (12, "home-agent-switch-message"),
];

const INTERFACE_TYPE: Symbols = &[
    (0x1, "ether"),
    (0x200, "ppp"),
    (0x300, "ipip"),
    (0x301, "ipip6"),
    (0x304, "loopback"),
    (0x308, "sit"),
    (0x30a, "ipgre"),
];

const CT_STATE: Symbols =
    &[(0x1, "invalid"), (0x8, "new"), (0x2, "established"), (0x4, "related"), (0x40, "untracked")];

const CT_DIRECTION: Symbols = &[(0, "original"), (1, "reply")];

const CT_STATUS: Symbols = &[
    (0x1, "expected"),
    (0x2, "seen-reply"),
    (0x4, "assured"),
    (0x8, "confirmed"),
    (0x10, "snat"),
    (0x20, "dnat"),
    (0x200, "dying"),
];

const ICMP6_TYPE: Symbols = &[
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
    (138, "router-renumbering"),
    (141, "ind-neighbor-solicit"),
    (142, "ind-neighbor-advert"),
    (143, "mld2-listener-report"),
];

const PACKET_TYPE: Symbols = &[(0, "host"), (1, "broadcast"), (2, "multicast"), (3, "other")];

const ICMP_CODE: Symbols = &[
    (0, "net-unreachable"),
    (1, "host-unreachable"),
    (2, "prot-unreachable"),
    (3, "port-unreachable"),
    (9, "net-prohibited"),
    (10, "host-prohibited"),
    (13, "admin-prohibited"),
    (4, "frag-needed"),
];

const ICMP6_CODE: Symbols = &[
    (0, "no-route"),
    (1, "admin-prohibited"),
    (3, "addr-unreachable"),
    (4, "port-unreachable"),
    (5, "policy-fail"),
    (6, "reject-route"),
];

const DSCP: Symbols = &[
    (0x0, "cs0"),
    (0x8, "cs1"),
    (0x10, "cs2"),
    (0x18, "cs3"),
    (0x20, "cs4"),
    (0x28, "cs5"),
    (0x30, "cs6"),
    (0x38, "cs7"),
    (0x1, "lephb"),
    (0xa, "af11"),
    (0xc, "af12"),
    (0xe, "af13"),
    (0x12, "af21"),
    (0x14, "af22"),
    (0x16, "af23"),
    (0x1a, "af31"),
    (0x1c, "af32"),
    (0x1e, "af33"),
    (0x22, "af41"),
    (0x24, "af42"),
    (0x26, "af43"),
    (0x2c, "va"),
    (0x2e, "ef"),
];

const ECN: Symbols = &[(0, "not-ect"), (1, "ect1"), (2, "ect0"), (3, "ce")];

const FIB_ADDR_TYPE: Symbols = &[
    (0, "unspec"),
    (1, "unicast"),
    (2, "local"),
    (3, "broadcast"),
    (4, "anycast"),
    (5, "multicast"),
    (6, "blackhole"),
    (7, "unreachable"),
    (8, "prohibit"),
];

const CT_EVENT: Symbols = &[
    (0x1, "new"),
    (0x2, "related"),
    (0x4, "destroy"),
    (0x8, "reply"),
    (0x10, "assured"),
    (0x20, "protoinfo"),
    (0x40, "helper"),
    (0x80, "mark"),
    (0x100, "seqadj"),
    (0x200, "secmark"),
    (0x400, "label"),
];

const IGMP_TYPE: Symbols = &[
    (17, "membership-query"),
    (18, "membership-report-v1"),
    (22, "membership-report-v2"),
    (34, "membership-report-v3"),
    (23, "leave-group"),
];

const DAY: Symbols = &[
    (0, "Sunday"),
    (1, "Monday"),
    (2, "Tuesday"),
    (3, "Wednesday"),
    (4, "Thursday"),
    (5, "Friday"),
    (6, "Saturday"),
];

/// `enum nft_reject_inet_code`
const ICMPX_CODE: Symbols =
    &[(1, "port-unreachable"), (3, "admin-prohibited"), (0, "no-route"), (2, "host-unreachable")];

const BOOLEAN: Symbols = &[(1, "exists"), (0, "missing")];

/// As in iproute2's rt_realms.
const REALM: Symbols = &[(0, "cosmos")];

/// As in iproute2's group.
const DEVICE_GROUP: Symbols = &[(0, "default")];

//! nft's names for hooks, priorities and keys.

use nftwire::expr::{CtKey, MetaKey};
use nftwire::{Family, Hook, Policy};

/// nft's name for a hook, whose number depends on the family.
#[must_use]
pub fn hook_name(family: Family, hook: Hook) -> &'static str {
    match (family, hook.number()) {
        (Family::Netdev, 0) => "ingress",
        (Family::Netdev, 1) => "egress",
        (Family::Arp, 0) | (Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge, 1) => "input",
        (Family::Arp, 1) | (Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge, 3) => "output",
        (Family::Arp | Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge, 2) => "forward",
        (Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge, 0) => "prerouting",
        (Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge, 4) => "postrouting",
        (Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge, 5) | (Family::Arp, 3) => "ingress",
        _ => "unknown",
    }
}

pub(crate) fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Accept => "accept",
        Policy::Drop => "drop",
    }
}

/// nft's name for a priority, alone or with what is to be added to it (nft(8), "Standard priority names").
pub(crate) fn priority_name(family: Family, hook: Hook, priority: i32) -> String {
    let (pre, out, post) = (hook.number() == 0, hook.number() == 3, hook.number() == 4);
    let ip = matches!(family, Family::Inet | Family::Ipv4 | Family::Ipv6);
    let bridge = [(-300, "dstnat", pre), (-200, "filter", true), (100, "out", out), (300, "srcnat", post)];
    let others = [
        (-300, "raw", ip),
        (-150, "mangle", ip),
        (-100, "dstnat", ip && pre),
        (0, "filter", true),
        (50, "security", ip),
        (100, "srcnat", ip && post),
    ];
    let known: &[(i32, &str, bool)] = if family == Family::Bridge { &bridge } else { &others };
    let near = known.iter().find(|(base, ..)| priority.abs_diff(*base) <= 10);
    match near.filter(|(_, _, here)| *here) {
        Some(&(base, name, _)) if base == priority => name.to_owned(),
        Some(&(base, name, _)) if priority > base => format!("{name} + {}", priority - base),
        Some(&(base, name, _)) => format!("{name} - {}", base - priority),
        None => priority.to_string(),
    }
}

/// nft's name for a key, and whether `meta` precedes it.
pub(crate) fn meta_name(key: MetaKey) -> (&'static str, bool) {
    match key {
        MetaKey::Len => ("length", true),
        MetaKey::Protocol => ("protocol", true),
        MetaKey::Priority => ("priority", true),
        MetaKey::Mark => ("mark", true),
        MetaKey::Iif => ("iif", false),
        MetaKey::Oif => ("oif", false),
        MetaKey::IifName => ("iifname", false),
        MetaKey::OifName => ("oifname", false),
        MetaKey::IifType => ("iiftype", true),
        MetaKey::OifType => ("oiftype", true),
        MetaKey::SkUid => ("skuid", true),
        MetaKey::SkGid => ("skgid", true),
        MetaKey::NfTrace => ("nftrace", true),
        MetaKey::RtClassId => ("rtclassid", true),
        MetaKey::SecMark => ("secmark", true),
        MetaKey::NfProto => ("nfproto", true),
        MetaKey::L4Proto => ("l4proto", true),
        MetaKey::BriIifName => ("ibrname", true),
        MetaKey::BriOifName => ("obrname", true),
        MetaKey::PktType => ("pkttype", true),
        MetaKey::Cpu => ("cpu", true),
        MetaKey::IifGroup => ("iifgroup", false),
        MetaKey::OifGroup => ("oifgroup", false),
        MetaKey::Cgroup => ("cgroup", true),
        MetaKey::Prandom => ("random", true),
        MetaKey::SecPath => ("ipsec", true),
        MetaKey::IifKind => ("iifkind", true),
        MetaKey::OifKind => ("oifkind", true),
        MetaKey::BriIifPvid => ("ibrpvid", true),
        MetaKey::BriIifVproto => ("ibrvproto", true),
        MetaKey::TimeNs => ("time", true),
        MetaKey::TimeDay => ("day", true),
        MetaKey::TimeHour => ("hour", true),
        MetaKey::Sdif => ("sdif", true),
        MetaKey::SdifName => ("sdifname", true),
        _ => ("unknown", true),
    }
}

/// nft's name for a key.
pub(crate) fn ct_name(key: CtKey) -> &'static str {
    match key {
        CtKey::State => "state",
        CtKey::Direction => "direction",
        CtKey::Status => "status",
        CtKey::Mark => "mark",
        CtKey::Secmark => "secmark",
        CtKey::Expiration => "expiration",
        CtKey::Helper => "helper",
        CtKey::L3Protocol => "l3proto",
        CtKey::Src => "saddr",
        CtKey::Dst => "daddr",
        CtKey::Protocol => "protocol",
        CtKey::ProtoSrc => "proto-src",
        CtKey::ProtoDst => "proto-dst",
        CtKey::Labels => "label",
        CtKey::Pkts => "packets",
        CtKey::Bytes => "bytes",
        CtKey::Avgpkt => "avgpkt",
        CtKey::Zone => "zone",
        CtKey::EventMask => "event",
        CtKey::SrcIp => "ip saddr",
        CtKey::DstIp => "ip daddr",
        CtKey::SrcIp6 => "ip6 saddr",
        CtKey::DstIp6 => "ip6 daddr",
        CtKey::Id => "id",
        _ => "unknown",
    }
}

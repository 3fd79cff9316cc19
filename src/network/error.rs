//! What can go wrong on rtnetlink, and what to do about it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use neli::consts::rtnl::Rtn;
use nftwire::{errno_text, io_text};
use nix::errno::Errno;
use thiserror::Error;

use super::{Family, LocalRoute, PolicyRule};
use crate::diagnostic::{self, Explain, Explanation, Remedy};

/// What a [`RouteSocket`](super::RouteSocket) was doing; its text completes the sentence "cannot …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The dump of [`interface_addresses`](super::RouteSocket::interface_addresses).
    ListAddresses,
    /// The dump of [`links_with_peer_elsewhere`](super::RouteSocket::links_with_peer_elsewhere).
    ListLinks,
    /// The query of [`loopback_disables_ipv6`](super::RouteSocket::loopback_disables_ipv6), with the link's index.
    ReadLinkSettings(u32),
    /// The query of [`resolve`](super::RouteSocket::resolve).
    Resolve(IpAddr),
    /// An address for `lo`.
    AddAddress(Ipv6Addr),
    /// An address of `lo`.
    RemoveAddress(Ipv6Addr),
    /// The dump that finds out whether a policy rule exists.
    ListRules(Family),
    /// A policy rule.
    AddRule(PolicyRule),
    /// A policy rule.
    RemoveRule(PolicyRule),
    /// The rules for probes of a pod with a branch interface.
    AddProbeRules(IpAddr),
    /// The rules for probes of a pod with a branch interface.
    RemoveProbeRules(IpAddr),
    /// The dump of a table's routes.
    ReadTable(Family, u32),
    /// The dump that finds out which default route a table has.
    ReadRoutes(LocalRoute),
    /// A table's local default route.
    AddRoute(LocalRoute),
    /// A table's local default route.
    RemoveRoute(LocalRoute),
}

impl Attempt {
    /// The address family that the request was about, if it was about one.
    fn family(self) -> Option<Family> {
        match self {
            Self::ListAddresses | Self::ListLinks | Self::ReadLinkSettings(_) => None,
            Self::Resolve(address) | Self::AddProbeRules(address) | Self::RemoveProbeRules(address) => {
                Some(Family::of(address))
            }
            Self::AddAddress(_) | Self::RemoveAddress(_) => Some(Family::V6),
            Self::ListRules(family) | Self::ReadTable(family, _) => Some(family),
            Self::AddRule(rule) | Self::RemoveRule(rule) => Some(rule.family),
            Self::ReadRoutes(route) | Self::AddRoute(route) | Self::RemoveRoute(route) => Some(route.family),
        }
    }

    fn is_change(self) -> bool {
        match self {
            Self::ListAddresses
            | Self::ListLinks
            | Self::ReadLinkSettings(_)
            | Self::Resolve(_)
            | Self::ListRules(_)
            | Self::ReadTable(..)
            | Self::ReadRoutes(_) => false,
            Self::AddAddress(_)
            | Self::RemoveAddress(_)
            | Self::AddRule(_)
            | Self::RemoveRule(_)
            | Self::AddProbeRules(_)
            | Self::RemoveProbeRules(_)
            | Self::AddRoute(_)
            | Self::RemoveRoute(_) => true,
        }
    }

    fn is_about_rules(self) -> bool {
        match self {
            Self::ListRules(_)
            | Self::AddRule(_)
            | Self::RemoveRule(_)
            | Self::AddProbeRules(_)
            | Self::RemoveProbeRules(_) => true,
            Self::ListAddresses
            | Self::ListLinks
            | Self::ReadLinkSettings(_)
            | Self::Resolve(_)
            | Self::AddAddress(_)
            | Self::RemoveAddress(_)
            | Self::ReadTable(..)
            | Self::ReadRoutes(_)
            | Self::AddRoute(_)
            | Self::RemoveRoute(_) => false,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListAddresses => write!(f, "list the interface addresses"),
            Self::ListLinks => write!(f, "list the links"),
            Self::ReadLinkSettings(index) => write!(f, "read the settings of link {index}"),
            Self::Resolve(address) => write!(f, "resolve the route to {address}"),
            Self::AddAddress(address) => write!(f, "add {address}/128 to lo"),
            Self::RemoveAddress(address) => write!(f, "remove {address}/128 from lo"),
            Self::ListRules(family) => write!(f, "list the {family} rules"),
            Self::AddRule(rule) => write!(f, "add the {rule}"),
            Self::RemoveRule(rule) => write!(f, "remove the {rule}"),
            Self::AddProbeRules(address) => write!(f, "add the rules for probes of {address}"),
            Self::RemoveProbeRules(address) => write!(f, "remove the rules for probes of {address}"),
            Self::ReadTable(family, table) => write!(f, "read the {family} routes of table {table}"),
            Self::ReadRoutes(route) => write!(f, "read the {} routes of table {}", route.family, route.table),
            Self::AddRoute(route) => write!(f, "add the {route}"),
            Self::RemoveRoute(route) => write!(f, "remove the {route}"),
        }
    }
}

/// A failure of a [`RouteSocket`](super::RouteSocket). Where the kernel refused, nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RouteError {
    /// No socket, or one of its options was refused. Extended acknowledgements need Linux 4.12, strict
    /// checking 4.20.
    #[error("cannot open a NETLINK_ROUTE socket: {}", io_text(.0))]
    Open(io::Error),

    /// Sending failed. Nothing was changed.
    #[error("cannot {attempt}: netlink socket: {}", io_text(error))]
    Socket {
        /// What was attempted.
        attempt: Attempt,
        /// The system call's error.
        error: io::Error,
    },

    /// Receiving failed; EAGAIN means that the kernel gave no reply. Of a change it is not known whether it was made.
    #[error("cannot {attempt}: the kernel's reply could not be read{}: {}", outcome(*.attempt), io_text(error))]
    Reply {
        /// What was attempted.
        attempt: Attempt,
        /// The system call's error.
        error: io::Error,
    },

    /// A reply that is not a well-formed netlink message.
    #[error("cannot {attempt}: malformed reply of {length} bytes: {reason}")]
    Malformed {
        /// What was attempted.
        attempt: Attempt,
        /// Length of the datagram, in bytes.
        length: usize,
        /// What is wrong with it.
        reason: String,
    },

    /// The reply was complete, and what was asked for was not in it.
    #[error("cannot {attempt}: the kernel's reply does not say")]
    Unknown {
        /// What was attempted.
        attempt: Attempt,
    },

    /// The lists that a dump walks kept changing under it.
    #[error("cannot {attempt}: the list kept changing ({tries} attempts)")]
    Interrupted {
        /// What was attempted.
        attempt: Attempt,
        /// How often the dump was started.
        tries: u32,
    },

    /// EPERM.
    #[error("cannot {attempt}: {}", Errno::EPERM)]
    NotPermitted {
        /// What was attempted.
        attempt: Attempt,
    },

    /// EACCES, which rtnetlink replies only where a device does without IPv6.
    #[error("cannot {attempt}: EACCES: IPv6 is disabled on lo (net.ipv6.conf.lo.disable_ipv6=1)")]
    Ipv6DisabledOnLoopback {
        /// What was attempted.
        attempt: Attempt,
    },

    /// No address or route handler is registered for IPv6.
    #[error("cannot {attempt}: {}: this kernel has no IPv6", diagnostic::errno_name(*.errno))]
    NoIpv6 {
        /// What was attempted.
        attempt: Attempt,
        /// The errno that the kernel replied.
        errno: i32,
    },

    /// No policy rules for this family.
    #[error("cannot {attempt}: EAFNOSUPPORT: this kernel has no {family} policy routing")]
    NoPolicyRouting {
        /// What was attempted.
        attempt: Attempt,
        /// The family that lacks it.
        family: Family,
    },

    /// The table has another default route where ours belongs. It was left as it is.
    #[error("cannot add the {route}: EEXIST: the table has a default route that is not ours ({found})")]
    ForeignDefaultRoute {
        /// The route that was to be added.
        route: LocalRoute,
        /// The one that is in its place.
        found: FoundRoute,
    },

    /// Any other errno.
    #[error("cannot {attempt}: {}{}", errno_text(*.errno), in_brackets(.message.as_deref()))]
    Refused {
        /// What was attempted.
        attempt: Attempt,
        /// The errno that the kernel replied.
        errno: i32,
        /// The extended acknowledgement's text, where the kernel gave one.
        message: Option<String>,
    },
}

impl RouteError {
    /// The kernel's refusal, with its reason where the errno and the attempt together give it.
    pub(super) fn refused(attempt: Attempt, errno: i32, message: Option<String>) -> Self {
        match (Errno::from_raw(errno), attempt.family()) {
            (Errno::EPERM, _) => Self::NotPermitted { attempt },
            (Errno::EACCES, Some(Family::V6)) => Self::Ipv6DisabledOnLoopback { attempt },
            (Errno::EAFNOSUPPORT, Some(family)) if attempt.is_about_rules() => {
                Self::NoPolicyRouting { attempt, family }
            }
            (Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP, Some(Family::V6)) => Self::NoIpv6 { attempt, errno },
            _ => Self::Refused { attempt, errno, message },
        }
    }

    /// What it was that failed.
    fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Open(_) => None,
            Self::ForeignDefaultRoute { route, .. } => Some(Attempt::AddRoute(*route)),
            Self::Socket { attempt, .. }
            | Self::Reply { attempt, .. }
            | Self::Malformed { attempt, .. }
            | Self::Unknown { attempt }
            | Self::Interrupted { attempt, .. }
            | Self::NotPermitted { attempt }
            | Self::Ipv6DisabledOnLoopback { attempt }
            | Self::NoIpv6 { attempt, .. }
            | Self::NoPolicyRouting { attempt, .. }
            | Self::Refused { attempt, .. } => Some(*attempt),
        }
    }

    /// The request was to add what exists.
    pub(super) fn says_present(&self) -> bool {
        self.refusal() == Some(Errno::EEXIST)
    }

    /// The request was to remove or to list what is not, or cannot be, there: no such address, rule, route,
    /// table or device, or a kernel or device that does without the whole family.
    pub(super) fn says_absent(&self) -> bool {
        match self {
            Self::Ipv6DisabledOnLoopback { .. } | Self::NoIpv6 { .. } | Self::NoPolicyRouting { .. } => true,
            _ => matches!(
                self.refusal(),
                Some(Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENOENT | Errno::ENXIO | Errno::ESRCH)
            ),
        }
    }

    /// The request was for a route, and there is none: no entry, or one that forbids it (fib_props in
    /// net/ipv4/fib_semantics.c).
    pub(super) fn says_unroutable(&self) -> bool {
        matches!(
            self.refusal(),
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL)
        )
    }

    /// The errno of a [`Self::Refused`].
    fn refusal(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(Errno::from_raw(*errno)),
            _ => None,
        }
    }
}

impl Explain for RouteError {
    fn explanation(&self) -> Explanation {
        let of = |errno: Errno| Explanation::of_errno(errno as i32);
        let explanation = match self {
            Self::Open(error) | Self::Socket { error, .. } => error.explanation(),
            Self::Reply { attempt, error } if attempt.is_change() => {
                error.explanation().remedy(Remedy::Verify)
            }
            Self::Reply { error, .. } => error.explanation(),
            Self::Malformed { .. } | Self::Unknown { .. } => Explanation::default(),
            Self::Interrupted { .. } => Explanation::default()
                .help("something changes it again and again: try again when it is quieter"),
            Self::NotPermitted { .. } => diagnostic::not_permitted(),
            Self::Ipv6DisabledOnLoopback { .. } => of(Errno::EACCES)
                .at("sysctl", "net.ipv6.conf.lo.disable_ipv6")
                .help("set net.ipv6.conf.lo.disable_ipv6 to 0, or turn IPv6 off"),
            Self::NoIpv6 { errno, .. } => Explanation::of_errno(*errno).help(
                "turn IPv6 off, or take a kernel with CONFIG_IPV6 that is not booted with ipv6.disable=1",
            ),
            Self::NoPolicyRouting { family, .. } => {
                of(Errno::EAFNOSUPPORT).help(format!("it takes a kernel with {}", needed_for_rules(*family)))
            }
            Self::ForeignDefaultRoute { route, .. } => {
                of(Errno::EEXIST).at("table", route.table).help("remove that route, or choose another table")
            }
            Self::Refused { errno, message, .. } => {
                let mut explanation = Explanation::of_errno(*errno);
                if let Some(message) = message {
                    explanation = explanation.at("message", message.as_str());
                }
                match Errno::from_raw(*errno) {
                    Errno::ENETDOWN => explanation.help("set the link lo up first"),
                    _ => explanation,
                }
            }
        };
        match self.attempt() {
            Some(attempt) => explanation.at("attempt", attempt.to_string()),
            None => explanation,
        }
    }
}

/// A default route that a table already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRoute {
    /// The route's type, RTN_ in linux/rtnetlink.h: 1 is unicast.
    pub kind: u8,
    /// The index of the link that it leads out of; more than one, or none at all, is `None`.
    pub device: Option<u32>,
}

impl fmt::Display for FoundRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Rtn::from(self.kind) {
            Rtn::UnrecognizedConst(number) => write!(f, "type {number}")?,
            kind => write!(f, "{}", format!("{kind:?}").to_lowercase())?,
        }
        match self.device {
            Some(index) => write!(f, ", link {index}"),
            None => Ok(()),
        }
    }
}

fn outcome(attempt: Attempt) -> &'static str {
    if attempt.is_change() { ", so it may have been done" } else { "" }
}

fn needed_for_rules(family: Family) -> &'static str {
    match family {
        Family::V4 => "CONFIG_IP_MULTIPLE_TABLES",
        Family::V6 => "CONFIG_IPV6_MULTIPLE_TABLES, and no ipv6.disable=1 on its command line",
    }
}

fn in_brackets(message: Option<&str>) -> String {
    message.map_or_else(String::new, |text| format!(" ({text})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PolicyRule =
        PolicyRule { family: Family::V6, mark: 0x111, mask: Some(0xfff), priority: Some(32764), table: 100 };
    const ROUTE: LocalRoute = LocalRoute { family: Family::V6, table: 133 };

    fn refusal(attempt: Attempt, errno: Errno) -> RouteError {
        RouteError::refused(attempt, errno as i32, None)
    }

    #[test]
    fn says_what_was_attempted_and_why_it_failed() {
        let address = Attempt::AddAddress(Ipv6Addr::from(6));
        let texts = [
            (
                refusal(Attempt::AddRule(RULE), Errno::EPERM),
                "cannot add the IPv6 rule fwmark 0x111/0xfff pref 32764 lookup 100: EPERM: Operation not permitted",
                "CAP_NET_ADMIN",
            ),
            (
                refusal(address, Errno::EACCES),
                "cannot add ::6/128 to lo: EACCES: IPv6 is disabled on lo (net.ipv6.conf.lo.disable_ipv6=1)",
                "set net.ipv6.conf.lo.disable_ipv6 to 0",
            ),
            (
                refusal(address, Errno::EOPNOTSUPP),
                "cannot add ::6/128 to lo: EOPNOTSUPP: this kernel has no IPv6",
                "turn IPv6 off, or take a kernel with CONFIG_IPV6",
            ),
            (
                refusal(Attempt::ListRules(Family::V4), Errno::EAFNOSUPPORT),
                "cannot list the IPv4 rules: EAFNOSUPPORT: this kernel has no IPv4 policy routing",
                "it takes a kernel with CONFIG_IP_MULTIPLE_TABLES",
            ),
            (
                RouteError::refused(
                    Attempt::AddRoute(ROUTE),
                    Errno::ENETDOWN as i32,
                    Some("Nexthop device is not up".to_owned()),
                ),
                "cannot add the IPv6 route local default dev lo table 133: ENETDOWN: Network is down (Nexthop device is \
                 not up)",
                "set the link lo up",
            ),
            (
                RouteError::Reply { attempt: address, error: Errno::ENOMEM.into() },
                "cannot add ::6/128 to lo: the kernel's reply could not be read, so it may have been done: \
                 ENOMEM: Out of memory",
                "",
            ),
            (
                RouteError::Reply { attempt: Attempt::ListLinks, error: Errno::ENOMEM.into() },
                "cannot list the links: the kernel's reply could not be read: ENOMEM: Out of memory",
                "",
            ),
            (
                RouteError::ForeignDefaultRoute {
                    route: ROUTE,
                    found: FoundRoute { kind: 1, device: Some(2) },
                },
                "cannot add the IPv6 route local default dev lo table 133: EEXIST: the table has a default route \
                 that is not ours (unicast, link 2)",
                "remove that route, or choose another table",
            ),
        ];
        for (error, text, help) in texts {
            assert_eq!(error.to_string(), text);
            assert!(error.explanation().help.unwrap_or_default().starts_with(help), "{error}");
        }
    }

    #[test]
    fn a_missing_family_means_absent_and_a_missing_privilege_does_not() {
        let removal = Attempt::RemoveAddress(Ipv6Addr::from(6));
        for errno in
            [Errno::EADDRNOTAVAIL, Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP, Errno::EACCES, Errno::ENXIO]
        {
            assert!(refusal(removal, errno).says_absent(), "{errno}");
        }
        assert!(!refusal(removal, Errno::EPERM).says_absent());
        assert!(!refusal(removal, Errno::EINVAL).says_absent());
        assert!(refusal(Attempt::ListRules(Family::V6), Errno::EAFNOSUPPORT).says_absent());
    }

    #[test]
    fn what_was_attempted_is_a_part_of_its_own() {
        let explanation = refusal(Attempt::AddAddress(Ipv6Addr::from(6)), Errno::EPERM).explanation();
        assert_eq!(explanation.location().0["attempt"], "add ::6/128 to lo");
        assert_eq!(explanation.errno, Some(Errno::EPERM as i32));
    }
}

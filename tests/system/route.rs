//! Policy rules, routes and addresses against iproute2: what remains must print the same.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use meshwire::network::{
    BranchRoute, Change, Family, FoundRoute, InterfaceAddress, LocalRoute, PolicyRule, Removal, RouteError,
    RouteSocket,
};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket,
};

use crate::harness::{self, Namespace};

const SIX: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What `work` makes of a socket opened inside the namespace.
fn with_socket<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce(&mut RouteSocket) -> Result<T, RouteError> + Send + 'static,
) -> Result<T, RouteError> {
    namespace.run(|| work(&mut RouteSocket::open()?))
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn ip(namespace: &Namespace, family: Family, arguments: &str) -> String {
    let mut command = vec!["ip", "-details", flag(family)];
    command.extend(words(arguments));
    namespace.command(&command)
}

/// The IPv6 addresses of `lo`, once a new one is no longer tentative; `ip` does not wait for that either.
fn settled_addresses(namespace: &Namespace) -> String {
    harness::settle(namespace);
    ip(namespace, Family::V6, "address show dev lo")
}

fn sidecar_rule(family: Family) -> PolicyRule {
    PolicyRule { family, mark: 1337, mask: None, priority: None, table: 133 }
}

fn sidecar_route(family: Family) -> LocalRoute {
    LocalRoute { family, table: 133 }
}

#[test]
fn rules_are_the_ones_that_ip_adds() {
    if !harness::privileged() {
        return;
    }
    for family in FAMILIES {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        let rules = [
            (sidecar_rule(family), "rule add fwmark 1337 lookup 133"),
            (
                PolicyRule { family, mark: 0x111, mask: Some(0xfff), priority: Some(32764), table: 100 },
                "rule add fwmark 0x111/0xfff pref 32764 lookup 100",
            ),
            (
                PolicyRule { family, mark: u32::MAX, mask: None, priority: None, table: 70_000 },
                "rule add fwmark 0xffffffff lookup 70000",
            ),
        ];
        for (rule, words) in rules {
            assert_eq!(with_socket(&ours, move |socket| socket.add_rule(&rule)).unwrap(), Change::Made);
            ip(&theirs, family, words);
        }
        let listed = ip(&ours, family, "rule");
        assert_eq!(listed, ip(&theirs, family, "rule"));
        assert!(listed.contains("32765:\tfrom all fwmark 0x539 lookup 133 proto unspec"), "{listed}");
    }
}

#[test]
fn rules_are_added_and_removed_once() {
    if !harness::privileged() {
        return;
    }
    for family in FAMILIES {
        for priority in [None, Some(100)] {
            let namespace = Namespace::new();
            let before = ip(&namespace, family, "rule");
            let rule = PolicyRule { priority, ..sidecar_rule(family) };
            let changes = with_socket(&namespace, move |socket| {
                Ok((
                    [socket.add_rule(&rule)?, socket.add_rule(&rule)?],
                    [socket.remove_rule(&rule)?, socket.remove_rule(&rule)?],
                ))
            });
            assert_eq!(
                changes.unwrap(),
                ([Change::Made, Change::AlreadyThere], [Removal::Made, Removal::AlreadyAbsent])
            );
            assert_eq!(ip(&namespace, family, "rule"), before);
        }
    }
}

/// Other tools add the same rule again on each run, at a priority of its own.
#[test]
fn all_copies_of_a_rule_are_removed() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    let before = ip(&namespace, Family::V4, "rule");
    for _ in 0..3 {
        ip(&namespace, Family::V4, "rule add fwmark 1337 lookup 133");
    }
    let rule = sidecar_rule(Family::V4);
    let changes =
        with_socket(&namespace, move |socket| Ok((socket.add_rule(&rule)?, socket.remove_rule(&rule)?)));
    assert_eq!(changes.unwrap(), (Change::AlreadyThere, Removal::Made));
    assert_eq!(ip(&namespace, Family::V4, "rule"), before);
}

#[test]
fn rules_that_ask_for_more_are_not_ours() {
    if !harness::privileged() {
        return;
    }
    let selectors = [
        (Family::V4, "from 10.0.0.0/8"),
        (Family::V4, "to 10.0.0.0/8"),
        (Family::V4, "tos 0x10"),
        (Family::V6, "from fd00::/8"),
    ];
    let both =
        ["not", "iif lo", "oif lo", "uidrange 5-6", "ipproto tcp", "dport 80", "suppress_prefixlength 0"];
    let anywhere = FAMILIES.into_iter().flat_map(|family| both.map(|selector| (family, selector)));
    for (family, selector) in selectors.into_iter().chain(anywhere) {
        let namespace = Namespace::new();
        ip(&namespace, family, &format!("rule add {selector} fwmark 1337 pref 50 lookup 133"));
        let before = ip(&namespace, family, "rule");
        let rule = sidecar_rule(family);
        let changes = with_socket(&namespace, move |socket| {
            let absent = socket.remove_rule(&rule)?;
            Ok((absent, socket.add_rule(&rule)?, socket.remove_rule(&rule)?))
        });
        assert_eq!(changes.unwrap(), (Removal::AlreadyAbsent, Change::Made, Removal::Made), "{selector}");
        assert_eq!(ip(&namespace, family, "rule"), before);
    }
}

/// The kernel takes one for the other where they have the same place, and the foreign one comes first.
#[test]
fn a_foreign_rule_in_the_same_place_survives_ours() {
    if !harness::privileged() {
        return;
    }
    let v4 = ["from 10.0.0.0/8", "to 10.0.0.0/8", "tos 0x10"].map(|selector| (Family::V4, selector));
    let both =
        ["not", "iif lo", "oif lo", "uidrange 5-6", "ipproto tcp", "dport 80", "suppress_prefixlength 0"];
    let both = FAMILIES.into_iter().flat_map(|family| both.map(|selector| (family, selector)));
    for (family, selector) in v4.into_iter().chain(both) {
        let rule = PolicyRule { mask: Some(0xfff), mark: 0x111, priority: Some(50), ..sidecar_rule(family) };
        let namespace = Namespace::new();
        let foreign = format!("rule add {selector} fwmark 0x111/0xfff pref 50 lookup 133");
        ip(&namespace, family, &foreign);
        ip(&namespace, family, "rule add iif lo fwmark 0x111/0xfff pref 50 lookup 134");
        let before = ip(&namespace, family, "rule");
        let changes =
            with_socket(&namespace, move |socket| Ok((socket.add_rule(&rule)?, socket.add_rule(&rule)?)));
        assert_eq!(changes.unwrap(), (Change::Made, Change::AlreadyThere), "{selector}");
        ip(&namespace, family, &foreign.replace("50 lookup 133", "51 lookup 133"));
        let removals = with_socket(&namespace, move |socket| {
            Ok((socket.remove_rule(&rule)?, socket.remove_rule(&rule)?))
        });
        assert_eq!(removals.unwrap(), (Removal::Made, Removal::AlreadyAbsent), "{selector}");
        ip(&namespace, family, "rule del pref 51");
        let sorted = |listing: &str| {
            let mut lines: Vec<_> = listing.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(sorted(&ip(&namespace, family, "rule")), sorted(&before), "{selector}");
    }
}

/// Whoever may change the network could send replies of its own, or fill the queue.
/// As above, for the rules of probes: each has one in the same place before it, and each of those stays.
#[test]
fn a_foreign_rule_in_the_place_of_a_probes_rule_survives_it() {
    if !harness::privileged() {
        return;
    }
    for (family, address) in [(Family::V4, "10.1.2.3"), (Family::V6, "fd00::3")] {
        let namespace = Namespace::new();
        for selector in [
            format!("to {address} fwmark 7 pref 512 lookup 77"),
            "iif eni1 uidrange 5-6 pref 1535 lookup local".into(),
        ] {
            ip(&namespace, family, &format!("rule add {selector}"));
        }
        let before = ip(&namespace, family, "rule");
        let branch =
            BranchRoute { address: address.parse().unwrap(), link: "eni1".into(), table: 77, priority: 1536 };
        let added = branch.clone();
        assert_eq!(
            with_socket(&namespace, move |socket| socket.add_branch_rules(&added)).unwrap(),
            Change::Made
        );
        let length = if family == Family::V4 { 32 } else { 128 };
        let ours =
            [format!("from all to {address} lookup 77"), "from all iif eni1 [detached] lookup local".into()];
        let listed = ip(&namespace, family, "rule").replace(&format!("{address}/{length}"), address);
        assert!(ours.iter().all(|ours| listed.contains(ours.as_str())), "{listed}");
        let removed = branch.clone();
        assert_eq!(
            with_socket(&namespace, move |socket| socket.remove_branch_rules(&removed)).unwrap(),
            Removal::Made
        );
        assert_eq!(ip(&namespace, family, "rule"), before);
        let removed = with_socket(&namespace, move |socket| socket.remove_branch_rules(&branch)).unwrap();
        assert_eq!((removed, ip(&namespace, family, "rule")), (Removal::AlreadyAbsent, before));
    }
}

/// A name that is longer than a link's can be is refused, however long, and nothing is left.
#[test]
fn a_link_with_a_name_that_is_too_long_is_refused() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    let before = ip(&namespace, Family::V4, "rule");
    for length in [16, 70_000] {
        let branch = BranchRoute {
            address: "10.1.2.3".parse().unwrap(),
            link: "e".repeat(length),
            table: 77,
            priority: 9,
        };
        let refused = with_socket(&namespace, move |socket| socket.add_branch_rules(&branch)).unwrap_err();
        assert!(matches!(refused, RouteError::Refused { .. }), "{refused}");
        assert_eq!(ip(&namespace, Family::V4, "rule"), before);
    }
}

#[test]
fn only_the_kernel_can_send_to_a_socket() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    namespace.run(|| {
        let _sockets = (nftwire::Socket::open().unwrap(), RouteSocket::open().unwrap());
        let bound = || {
            let listing = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
            let sockets: Vec<(i32, u32)> = listing
                .lines()
                .skip(1)
                .map(|line| words(line))
                .map(|words| (words[1].parse().unwrap(), words[2].parse().unwrap()))
                .filter(|&(_, port)| port != 0)
                .collect();
            (sockets, listing)
        };
        // A command that another test starts right now holds copies of sockets that were closed here, until its exec.
        let (sockets, listing) = (0..1000)
            .map(|_| {
                thread::sleep(Duration::from_millis(5));
                bound()
            })
            .find(|(sockets, _)| sockets.len() == 2)
            .unwrap_or_else(bound);
        assert_eq!(sockets.len(), 2, "{listing}");
        for (protocol, port) in sockets {
            let protocol =
                if protocol == 0 { SockProtocol::NetlinkRoute } else { SockProtocol::NetlinkNetFilter };
            let other = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), protocol).unwrap();
            let sent = sendto(other.as_raw_fd(), &[0; 16], &NetlinkAddr::new(port, 0), MsgFlags::empty());
            assert_eq!(sent, Err(Errno::ECONNREFUSED), "{listing}");
        }
    });
}

/// Somebody adds and removes addresses without a pause; each reading must be of one moment.
#[test]
fn a_list_that_keeps_changing_is_read_nevertheless() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    let mut batch = tempfile::NamedTempFile::new().unwrap();
    for n in 0..1500_u32 {
        writeln!(batch, "rule add from 10.{}.{}.0/24 lookup 7", n / 256, n % 256).unwrap();
    }
    namespace.command(&["ip", "-batch", batch.path().to_str().unwrap()]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let rule = PolicyRule { priority: Some(9), ..sidecar_rule(Family::V4) };
            namespace.run(|| {
                let mut socket = RouteSocket::open().unwrap();
                while !done.load(Ordering::Relaxed) {
                    let _ = socket.add_rule(&rule);
                    let _ = socket.remove_rule(&rule);
                }
            });
        });
        let rule = PolicyRule { mark: 7, ..sidecar_rule(Family::V4) };
        let found = with_socket(&namespace, move |socket| {
            (0..50).map(|_| socket.has_rule(&rule)).collect::<Result<Vec<_>, _>>()
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(found.unwrap(), vec![false; 50]);
    });
}

#[test]
fn routes_are_the_ones_that_ip_adds() {
    if !harness::privileged() {
        return;
    }
    for family in FAMILIES {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        for table in [133, 70_000] {
            let route = LocalRoute { family, table };
            let changes = with_socket(&ours, move |socket| {
                Ok([socket.add_local_route(route)?, socket.add_local_route(route)?])
            });
            assert_eq!(changes.unwrap(), [Change::Made, Change::AlreadyThere]);
            ip(&theirs, family, &format!("route add local default dev lo table {table}"));
        }
        let listed = ip(&ours, family, "route show table all");
        assert_eq!(listed, ip(&theirs, family, "route show table all"));
        assert!(listed.contains("local default dev lo table 133 proto boot scope"), "{listed}");

        for table in [133, 70_000] {
            let route = LocalRoute { family, table };
            let removals = with_socket(&ours, move |socket| {
                Ok([socket.remove_local_route(route)?, socket.remove_local_route(route)?])
            });
            assert_eq!(removals.unwrap(), [Removal::Made, Removal::AlreadyAbsent]);
            ip(&theirs, family, &format!("route delete local default dev lo table {table}"));
        }
        assert_eq!(ip(&ours, family, "route show table all"), ip(&theirs, family, "route show table all"));
    }
}

#[test]
fn foreign_default_routes_stay() {
    if !harness::privileged() {
        return;
    }
    let found = |kind, device| FoundRoute { kind, device };
    let routes = [
        (Family::V4, "route add default dev lo table 133", found(1, Some(1))),
        (Family::V4, "route add local default dev other table 133", found(2, Some(7))),
        (Family::V4, "route add blackhole default table 133", found(6, None)),
        (Family::V6, "route add default dev lo table 133", found(1, Some(1))),
        (Family::V6, "route add default dev other table 133", found(1, Some(7))),
        (Family::V6, "route add unreachable default table 133", found(7, Some(1))),
    ];
    for (family, words, expected) in routes {
        let namespace = Namespace::new();
        namespace
            .command(&["ip", "link", "add", "other", "index", "7", "type", "veth", "peer", "name", "end"]);
        namespace.command(&["ip", "link", "set", "other", "up"]);
        ip(&namespace, family, words);
        let before = ip(&namespace, family, "route show table 133");
        let route = sidecar_route(family);
        let error = with_socket(&namespace, move |socket| socket.add_local_route(route)).unwrap_err();
        assert!(
            matches!(error, RouteError::ForeignDefaultRoute { route: r, found } if r == route && found == expected),
            "{words}: {error:?}"
        );
        let removal = with_socket(&namespace, move |socket| socket.remove_local_route(route)).unwrap();
        assert_eq!(removal, Removal::AlreadyAbsent, "{words}");
        assert_eq!(ip(&namespace, family, "route show table 133"), before, "{words}");
    }
}

/// A route of another metric is next to ours, not in its place.
#[test]
fn routes_of_another_metric_are_preserved() {
    if !harness::privileged() {
        return;
    }
    for family in FAMILIES {
        let namespace = Namespace::new();
        ip(&namespace, family, "route add local default dev lo metric 5000 table 133");
        ip(&namespace, family, "route add unreachable default metric 500 table 133");
        let before = ip(&namespace, family, "route show table 133");
        let route = sidecar_route(family);
        let changes = with_socket(&namespace, move |socket| {
            let absent = socket.remove_local_route(route)?;
            Ok((absent, socket.add_local_route(route)?, socket.remove_local_route(route)?))
        });
        assert_eq!(changes.unwrap(), (Removal::AlreadyAbsent, Change::Made, Removal::Made));
        assert_eq!(ip(&namespace, family, "route show table 133"), before);
    }
}

#[test]
fn the_address_is_the_one_that_ip_adds() {
    if !harness::privileged() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let before = ip(&ours, Family::V6, "address show dev lo");
    let changes = with_socket(&ours, |socket| {
        Ok([socket.add_loopback_address(SIX)?, socket.add_loopback_address(SIX)?])
    });
    assert_eq!(changes.unwrap(), [Change::Made, Change::AlreadyThere]);
    ip(&theirs, Family::V6, "address add ::6/128 dev lo");
    let listed = settled_addresses(&ours);
    assert_eq!(listed, settled_addresses(&theirs));
    assert!(listed.contains("inet6 ::6/128 scope global"), "{listed}");
    assert_eq!(
        ip(&ours, Family::V6, "route show table all"),
        ip(&theirs, Family::V6, "route show table all")
    );

    let removals = with_socket(&ours, |socket| {
        Ok([socket.remove_loopback_address(SIX)?, socket.remove_loopback_address(SIX)?])
    });
    assert_eq!(removals.unwrap(), [Removal::Made, Removal::AlreadyAbsent]);
    assert_eq!(ip(&ours, Family::V6, "address show dev lo"), before);
}

#[test]
fn without_ipv6_on_lo_adding_says_so_and_removing_finds_nothing() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    namespace.run(|| std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1")).unwrap();
    let error = with_socket(&namespace, |socket| socket.add_loopback_address(SIX)).unwrap_err();
    assert!(matches!(error, RouteError::Ipv6DisabledOnLoopback { .. }), "{error}");
    let route = sidecar_route(Family::V6);
    let error = with_socket(&namespace, move |socket| socket.add_local_route(route)).unwrap_err();
    assert!(matches!(error, RouteError::Ipv6DisabledOnLoopback { .. }), "{error}");
    let removals = with_socket(&namespace, move |socket| {
        Ok([socket.remove_loopback_address(SIX)?, socket.remove_local_route(route)?])
    });
    assert_eq!(removals.unwrap(), [Removal::AlreadyAbsent; 2]);
}

#[test]
fn with_lo_down_only_the_ipv6_route_is_refused() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    namespace.command(&["ip", "link", "set", "lo", "down"]);
    let changes = with_socket(&namespace, |socket| {
        let address = socket.add_loopback_address(SIX)?;
        Ok([address, socket.add_local_route(sidecar_route(Family::V4))?])
    });
    assert_eq!(changes.unwrap(), [Change::Made; 2]);
    let route = sidecar_route(Family::V6);
    let error = with_socket(&namespace, move |socket| socket.add_local_route(route)).unwrap_err();
    assert!(error.to_string().contains("ENETDOWN"), "{error}");
}

#[test]
fn addresses_come_in_the_kernels_order_ipv4_first() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    for arguments in [
        "link add uplink index 7 type veth peer name far-end",
        "address add fd00::7/64 dev uplink nodad",
        "address add 10.0.0.7/24 dev uplink",
        "address add 10.1.0.1 peer 10.1.0.2/32 dev uplink",
        "address add fd01::1 peer fd01::2/128 dev uplink nodad",
    ] {
        namespace.command(&[&["ip"], words(arguments).as_slice()].concat());
    }
    let addresses = with_socket(&namespace, RouteSocket::interface_addresses).unwrap();
    let expected =
        [(1, "127.0.0.1"), (7, "10.0.0.7"), (7, "10.1.0.1"), (1, "::1"), (7, "fd01::1"), (7, "fd00::7")]
            .map(|(index, address)| InterfaceAddress { index, address: address.parse::<IpAddr>().unwrap() });
    assert_eq!(addresses, expected);
}

#[test]
fn a_list_of_many_datagrams_is_complete() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    let mut batch = tempfile::NamedTempFile::new().unwrap();
    let desired: Vec<IpAddr> = (0..1000_u32)
        .flat_map(|n| {
            [
                IpAddr::from((0x0a00_0000 + n).to_be_bytes()),
                IpAddr::V6((0xfd00 << 112 | u128::from(n)).into()),
            ]
        })
        .collect();
    for address in &desired {
        writeln!(batch, "address add {address} dev lo").unwrap();
    }
    namespace.command(&["ip", "-batch", batch.path().to_str().unwrap()]);
    let addresses = with_socket(&namespace, |socket| {
        socket.interface_addresses()?;
        socket.interface_addresses()
    });
    let mut found: Vec<IpAddr> = addresses.unwrap().into_iter().map(|found| found.address).collect();
    found.retain(|address| !address.is_loopback());
    found.sort_unstable();
    let mut desired = desired;
    desired.sort_unstable();
    assert_eq!(found, desired);
}

#[test]
fn some_links_have_their_peer_elsewhere() {
    if !harness::privileged() {
        return;
    }
    let (here, there) = (Namespace::new(), Namespace::new());
    here.command(&["ip", "link", "add", "inside", "type", "veth", "peer", "name", "also-inside"]);
    here.command(&["ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far-end"]);
    let other = there.run(|| File::open("/proc/thread-self/ns/net").unwrap());
    let path = format!("/proc/{}/fd/{}", std::process::id(), other.as_raw_fd());
    here.command(&["ip", "link", "set", "far-end", "netns", &path]);
    let elsewhere = with_socket(&here, RouteSocket::links_with_peer_elsewhere).unwrap();
    assert_eq!(elsewhere, ["uplink"]);
}

#[test]
fn a_socket_stays_with_its_namespace_on_any_thread() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    namespace.command(&["ip", "address", "add", "10.99.0.1/32", "dev", "lo"]);
    let mut socket = namespace.run(RouteSocket::open).unwrap();
    let addresses = socket.interface_addresses().unwrap();
    assert!(addresses.iter().any(|found| found.address == IpAddr::from([10, 99, 0, 1])), "{addresses:?}");
}

#[test]
fn what_exists_is_reported_exactly() {
    if !(harness::privileged() && harness::oracle("ip")) {
        return;
    }
    let namespace = Namespace::new();
    let there = |family| {
        let (rule, route) = (sidecar_rule(family), LocalRoute { family, table: 133 });
        let ask = move |socket: &mut RouteSocket| {
            Ok((socket.has_rule(&rule)?, socket.has_local_route(route)?, socket.has_loopback_address(SIX)?))
        };
        with_socket(&namespace, ask).unwrap()
    };
    for family in FAMILIES {
        assert_eq!(there(family), (false, false, false));
        ip(&namespace, family, "rule add fwmark 1337 iif lo lookup 133");
        ip(&namespace, family, "route add unreachable default table 133");
        assert_eq!(there(family), (false, false, false));
        ip(&namespace, family, "route flush table 133");
        ip(&namespace, family, "rule add fwmark 1337 lookup 133");
        ip(&namespace, family, "route add local default dev lo table 133");
        assert_eq!(there(family), (true, true, false));
    }
    ip(&namespace, Family::V6, "address add ::6/128 dev lo");
    assert_eq!(there(Family::V6), (true, true, true));
}

//! A pod with an app and a proxy in it, and the world around.
//!
//! ```text
//!   pod                                    peer
//!     app    1000: 80, 81, 8080              servers: 53, 80, 81, 8080, 15008
//!     proxy  1337: 15001, 15006, 15008, 15053
//!     eth0  10.0.0.2/24  fd00::2/64 ───────── eth0  10.0.0.1/24  fd00::1/64
//!     eth1  10.2.0.2/24  fd02::2/64 ───────── eth1  10.2.0.1/24  fd02::1/64
//!     default by 10.0.0.1, fd00::1           default by 10.2.0.2, fd02::2
//!                                            lo    10.1.0.1/32  fd01::1/128
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::client::Client;
use super::intercept::{Intercept, intercept};
use super::{Namespace, Server, link, privileged, segment};

/// The ports of the app in the pod.
const APP_PORTS: [u16; 3] = [80, 81, 8080];
/// The ports of the proxy in the pod, without its inbound one.
const PROXY_PORTS: [u16; 3] = [15001, 15008, 15053];
/// The ports of the servers outside.
const PEER_PORTS: [u16; 5] = [53, 80, 81, 8080, 15008];

/// Who somebody is on the system.
#[derive(Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };
    pub(crate) const APP: Self = Self { uid: 1000, gid: 1000 };
    pub(crate) const PROXY: Self = Self { uid: 1337, gid: 1337 };

    /// Makes the calling thread this user in the eyes of `meta skuid` and `meta skgid`, which look at the file system
    /// ids of whoever opened a socket. All capabilities that sockets need stay.
    pub(crate) fn take_on(self) {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setfsgid(gid);
        setfsuid(uid);
        // Neither call reports failure; both return the id from before.
        assert!(setfsgid(gid) == gid && setfsuid(uid) == uid);
    }
}

/// The addresses of one family.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pod: IpAddr,
    peer: IpAddr,
    pod_eth1: IpAddr,
    peer_eth1: IpAddr,
    elsewhere: IpAddr,
    beyond: IpAddr,
    loopback: IpAddr,
    passthrough: IpAddr,
    prefix: u8,
}

/// IPv4.
pub(crate) const V4: Addresses = Addresses {
    pod: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    peer: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    pod_eth1: IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2)),
    peer_eth1: IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1)),
    elsewhere: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)),
    beyond: IpAddr::V4(Ipv4Addr::new(10, 3, 0, 1)),
    loopback: IpAddr::V4(Ipv4Addr::LOCALHOST),
    passthrough: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
    prefix: 24,
};

/// IPv6.
pub(crate) const V6: Addresses = Addresses {
    pod: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
    peer: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    pod_eth1: IpAddr::V6(Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 2)),
    peer_eth1: IpAddr::V6(Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1)),
    elsewhere: IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1)),
    beyond: IpAddr::V6(Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, 1)),
    loopback: IpAddr::V6(Ipv6Addr::LOCALHOST),
    passthrough: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
    prefix: 64,
};

/// IPv4 and IPv6.
pub(crate) const BOTH: [Addresses; 2] = [V4, V6];

impl Addresses {
    /// The pod, at eth0.
    pub(crate) fn pod(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.pod, port)
    }

    /// The pod's neighbour at eth0.
    pub(crate) fn peer(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.peer, port)
    }

    /// The pod, at eth1.
    pub(crate) fn pod_eth1(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.pod_eth1, port)
    }

    /// The pod's neighbour at eth1.
    pub(crate) fn peer_eth1(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.peer_eth1, port)
    }

    /// Reached through the pod's neighbour at eth0, in 10.1.0.0/16 and fd01::/64.
    pub(crate) fn elsewhere(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.elsewhere, port)
    }

    /// Where the peer comes through the pod's eth1 only, in 10.3.0.0/16 and fd03::/64. Nobody replies.
    pub(crate) fn beyond(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.beyond, port)
    }

    /// 127.0.0.1 and ::1.
    pub(crate) fn loopback(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.loopback, port)
    }

    /// 127.0.0.6 and ::6, from where the proxy connects to the app.
    pub(crate) fn passthrough(&self) -> SocketAddr {
        SocketAddr::new(self.passthrough, 0)
    }
}

/// A pod and its peer, with servers at work in both.
pub(crate) struct Pod {
    /// The pod's namespace.
    pub(crate) namespace: Namespace,
    peer: Namespace,
    _servers: [Server; 6],
}

impl Pod {
    /// A pod with addresses of these families. None where the [privileges](privileged) are missing.
    pub(crate) fn new(families: &[Addresses]) -> Option<Self> {
        if !privileged() {
            return None;
        }
        Some(Self::inside(Namespace::new(), families))
    }

    /// A pod in a namespace that has nothing but `lo` yet, with addresses of these families.
    pub(crate) fn inside(namespace: Namespace, families: &[Addresses]) -> Self {
        let peer = Namespace::new();
        connect(&namespace, &peer, families);
        let servers = servers(&namespace, &peer, families);
        Self { namespace, peer, _servers: servers }
    }

    /// A pod with both families in which the command has run, with `--dual-stack` and these arguments.
    pub(crate) fn intercepted(args: &[&str]) -> Option<Self> {
        Self::intercepted_by(Intercept::new(&[&["--dual-stack"], args].concat()))
    }

    /// A pod with both families in which the command has run as given.
    pub(crate) fn intercepted_by(command: Intercept) -> Option<Self> {
        let pod = Self::new(&BOTH)?;
        command.apply(&pod.namespace);
        Some(pod)
    }

    /// Runs the command once more, with `--dual-stack` and these arguments.
    pub(crate) fn intercept(&self, args: &[&str]) {
        intercept(&self.namespace, &[&["--dual-stack"], args].concat());
    }

    /// The app, as a client.
    pub(crate) fn app(&self) -> Client<'_> {
        self.user(User::APP)
    }

    /// The proxy, as a client.
    pub(crate) fn proxy(&self) -> Client<'_> {
        self.user(User::PROXY)
    }

    /// A client in the pod with this uid and gid.
    pub(crate) fn user(&self, user: User) -> Client<'_> {
        Client::new(&self.namespace, user)
    }

    /// What of the peer's segments to a port where nobody listens is refused: see [`segment::refused`].
    pub(crate) fn refused(&self, ip: Addresses, stray: u16, proper: u16) -> Vec<u16> {
        self.peer.run(|| segment::refused(ip.peer, stray, proper, ip.pod(9)))
    }

    /// A client outside the pod.
    pub(crate) fn peer(&self) -> Client<'_> {
        self.peer_user(User::ROOT)
    }

    /// A client outside the pod with this uid and gid.
    pub(crate) fn peer_user(&self, user: User) -> Client<'_> {
        Client::new(&self.peer, user)
    }

    /// The namespace outside the pod, which has the other ends of its links: its node.
    pub(crate) fn node(&self) -> &Namespace {
        &self.peer
    }
}

fn connect(pod: &Namespace, peer: &Namespace, families: &[Addresses]) {
    pod.run(|| {
        link::veth_pair("eth0", peer);
        link::veth_pair("eth1", peer);
    });
    for ip in families {
        let host_prefix = if ip.pod.is_ipv4() { 32 } else { 128 };
        pod.run(|| {
            link::address("eth0", ip.pod, ip.prefix);
            link::address("eth1", ip.pod_eth1, ip.prefix);
            link::default_route(ip.peer);
        });
        peer.run(|| {
            link::address("eth0", ip.peer, ip.prefix);
            link::address("eth1", ip.peer_eth1, ip.prefix);
            link::address("lo", ip.elsewhere, host_prefix);
            link::default_route(ip.pod_eth1);
        });
    }
}

fn servers(pod: &Namespace, peer: &Namespace, families: &[Addresses]) -> [Server; 6] {
    let agent: Vec<_> = BOTH.iter().map(|ip| ip.loopback(15053)).collect();
    let resolvers: Vec<_> = families.iter().flat_map(|ip| [ip.peer(53), ip.elsewhere(53)]).collect();
    let others: Vec<_> = families.iter().flat_map(|ip| [ip.peer(80), ip.elsewhere(80)]).collect();
    [
        Server::tcp(pod, User::APP, &APP_PORTS),
        Server::tcp(pod, User::PROXY, &PROXY_PORTS),
        // Envoy's inbound listener is transparent in TPROXY mode; in the other one the option changes nothing.
        Server::transparent(pod, User::PROXY, &[15006]),
        Server::udp(pod, User::PROXY, &agent),
        Server::tcp(peer, User::ROOT, &PEER_PORTS),
        Server::udp(peer, User::ROOT, &[resolvers, others].concat()),
    ]
}

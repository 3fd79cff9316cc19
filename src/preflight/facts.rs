//! Facts about this network namespace and its kernel, as values. Nothing is judged, nothing is changed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use nftwire::{Error, Socket};
use nix::errno::Errno;

use super::is_initial_namespace;
use super::modules::{self, Module, Sources, State};
use super::owners::{self, Owner};
use super::probe::{Answer, Probed, Stage};
use crate::network::{Family, RouteSocket};
use crate::privilege::Capabilities;
use nftwire::{Version, feature, release};

/// Everything that is known about a network namespace and its kernel.
#[derive(Debug)]
pub struct Facts {
    /// As `uname -r` prints it
    pub release: String,
    /// The effective capabilities; `None` where the system call is forbidden
    pub capabilities: Option<Capabilities>,
    /// Whether the user namespace is another one than the machine's own; `None` without a mounted /proc
    pub users_of_its_own: Option<bool>,
    /// Whether the network namespace is the machine's own; `None` without a mounted /proc
    pub network_of_the_machine: Option<bool>,
    /// Links whose other end is in another namespace
    pub links_to_others: Vec<String>,
    /// Whether rules may be read and changed
    pub access: Access,
    /// Which parts of nf_tables exist
    pub asked: Probed,
    /// Modules that the probe loaded
    pub loaded_by_asking: Vec<String>,
    /// IPv6
    pub ipv6: Ipv6,
    /// Whether packets can be routed by rules, IPv4 and IPv6; `None` where that could not be asked
    pub policy_routing: [Option<bool>; 2],
    /// net.core.wmem_max, in bytes; older kernels report it in the machine's own network namespace alone
    pub wmem_max: Option<u64>,
    /// Entries of connection tracking in this network namespace, and the most there may be; `None` where it is not in
    /// the kernel (yet)
    pub conntrack: Option<[u64; 2]>,
    /// The modules of the nftables backends
    pub for_nftables: Vec<(&'static Module, State)>,
    /// The modules of the iptables backends
    pub for_iptables: Vec<(&'static Module, State)>,
    /// Whether SELinux enforces its policy, which may keep modules from being loaded on demand
    pub selinux_enforces: bool,
    /// Who else has rules in nf_tables here; `None` where that may not be read
    pub owners: Option<Vec<Owner>>,
    /// Tables of legacy iptables that are in use here; `None` where that may not be read
    pub legacy_iptables: Option<Vec<String>>,
}

/// Whether rules may be read and changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Rules may be read and changed
    Granted,
    /// EPERM
    Denied,
    /// The kernel has no nf_tables
    NoNfTables,
    /// It was not probed, since that could have loaded a module
    NotProbed,
    /// Something else went wrong: its text
    Unknown(String),
}

/// The state of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6 {
    /// It exists
    On,
    /// `lo` does without it (net.ipv6.conf.lo.disable_ipv6)
    OffOnLoopback,
    /// The kernel has none
    Absent,
    /// It cannot be seen from here
    Unknown,
}

impl Facts {
    /// Collects the facts of the thread's network namespace. nf_tables is probed separately, with
    /// [`Facts::set_asked`]. Without `autoload`, nothing is asked that could make the kernel load a module.
    #[must_use]
    pub fn gather(autoload: bool) -> Self {
        let release = release();
        let sources = Sources::read(&release);
        let version = Version::of_release(&release);
        let (access, owners) = if autoload || !sources.may_be_loaded(feature::CORE) {
            access()
        } else {
            (Access::NotProbed, None)
        };
        let states = |modules: &'static [Module]| {
            modules.iter().map(|module| (module, sources.state(module, version))).collect()
        };
        let mut routes = RouteSocket::open().ok();
        let routing = |routes: &mut Option<RouteSocket>, family| {
            routes.as_mut().and_then(|routes| routes.has_policy_routing(family).ok())
        };
        Self {
            capabilities: Capabilities::effective(),
            users_of_its_own: has_users_of_its_own(),
            network_of_the_machine: is_initial_namespace(),
            links_to_others: routes
                .as_mut()
                .and_then(|routes| routes.links_with_peer_elsewhere().ok())
                .unwrap_or_default(),
            access,
            asked: Probed::nothing(&[]),
            loaded_by_asking: Vec::new(),
            ipv6: ipv6(),
            policy_routing: [Family::V4, Family::V6].map(|family| routing(&mut routes, family)),
            wmem_max: number("/proc/sys/net/core/wmem_max"),
            conntrack: number("/proc/sys/net/netfilter/nf_conntrack_count")
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max"))
                .map(<[u64; 2]>::from),
            for_nftables: states(&modules::FOR_NFTABLES),
            for_iptables: states(&modules::FOR_IPTABLES),
            selinux_enforces: number("/sys/fs/selinux/enforce") == Some(1),
            owners,
            legacy_iptables: owners::of_legacy_iptables(),
            release,
        }
    }

    /// Adds what was asked, and what it shows about modules: `before` are those that were loaded then.
    pub fn set_asked(&mut self, asked: Probed, before: Option<&HashSet<String>>) {
        if let (Some(before), Some(after)) = (before, modules::loaded()) {
            self.loaded_by_asking = after.difference(before).cloned().collect();
            self.loaded_by_asking.sort_unstable();
            for (module, state) in &mut self.for_nftables {
                let works = |(feature, answer): &(&feature::Feature, Answer)| {
                    feature.module == module.name && *answer == Answer::Works
                };
                if after.contains(module.name) {
                    *state = State::Loaded;
                } else if asked.stage != Stage::Nowhere && asked.answers.iter().any(works) {
                    *state = State::BuiltIn;
                }
            }
        }
        self.asked = asked;
    }

    /// The kernel's version.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        Version::of_release(&self.release)
    }
}

fn access() -> (Access, Option<Vec<Owner>>) {
    let owners = Socket::open().and_then(|mut socket| owners::of_nf_tables(&mut socket));
    match owners {
        Ok(owners) => (Access::Granted, Some(owners)),
        Err(Error::Refused(refusal)) => match Errno::from_raw(refusal.errno) {
            Errno::EPERM => (Access::Denied, None),
            Errno::EINVAL | Errno::EOPNOTSUPP => (Access::NoNfTables, None),
            _ => (Access::Unknown(refusal.reason()), None),
        },
        Err(Error::Open(error)) if error.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32) => {
            (Access::NoNfTables, None)
        }
        Err(error) => (Access::Unknown(error.to_string()), None),
    }
}

/// A user namespace that maps all users to themselves is the first one (user_namespaces(7)).
fn has_users_of_its_own() -> Option<bool> {
    let map = fs::read_to_string("/proc/thread-self/uid_map").ok()?;
    Some(map.split_whitespace().ne(["0", "0", "4294967295"]))
}

fn ipv6() -> Ipv6 {
    if !Path::new("/proc/sys/net").exists() {
        return Ipv6::Unknown;
    }
    match number("/proc/sys/net/ipv6/conf/lo/disable_ipv6") {
        Some(0) => Ipv6::On,
        Some(_) => Ipv6::OffOnLoopback,
        None => Ipv6::Absent,
    }
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

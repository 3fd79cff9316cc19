//! Who else has rules in this network namespace.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nftwire::{Error, Family, Socket};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{getpid, gettid};

use crate::{mesh, trace};

/// Somebody's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose they are
    pub name: &'static str,
    /// In which tables: `inet firewalld`, `ip nat`
    pub tables: Vec<String>,
    /// Whether they are tables that meshwire makes, as Istio's native backend does under the same names
    pub is_mesh: bool,
}

impl Owner {
    /// Whether a mesh's own command made them with iptables, so that a [migration](crate::migrate) can take their place.
    #[must_use]
    pub fn is_mesh_by_iptables(&self) -> bool {
        CHAINS.iter().any(|(chain, name)| *name == self.name && mesh::is_iptables_chain(chain.as_bytes()))
    }
}

/// The chains and tables by which one is known: how a name begins.
const CHAINS: [(&str, &str); 7] = [
    ("ISTIO_", "istio-iptables (its iptables backend)"),
    ("PROXY_INIT_", "Linkerd's proxy-init (iptables)"),
    ("KUBE-", "kube-proxy or the kubelet (iptables)"),
    ("DOCKER", "Docker (iptables)"),
    ("CILIUM_", "Cilium"),
    ("cali-", "Calico (iptables)"),
    ("ts-", "Tailscale"),
];
const TABLES: [(&str, &str); 7] = [
    ("kube-proxy", "kube-proxy"),
    ("firewalld", "firewalld"),
    ("docker-", "Docker"),
    ("calico", "Calico"),
    ("netavark", "Podman"),
    ("libvirt", "libvirt"),
    ("nm-", "NetworkManager"),
];
/// iptables' own tables; with its nf_tables variant they are tables of nf_tables.
const OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
/// Bytes that are read of such a list at most: a module can add tables of other names.
const LONGEST: u64 = 1 << 16;
const IPTABLES_NFT: &str = "iptables-nft";
const OTHERS: &str = "others";
/// Nobody sees from outside which of the two has made them.
const MESH: &str = "meshwire or Istio's native backend";

/// The owners of nf_tables state in the socket's network namespace.
///
/// # Errors
/// It cannot be read: EPERM without CAP_NET_ADMIN.
pub fn of_nf_tables(socket: &mut Socket) -> Result<Vec<Owner>, Error> {
    let snapshot = Snapshot::read(socket, Scope::Family(Family::Unspec), Depth::Chains)?;
    let mut tables = BTreeMap::new();
    for table in snapshot.tables() {
        let head = table.head();
        let chains: Vec<_> = table.chain_names()?.iter().map(ToString::to_string).collect();
        let is_mesh = mesh::owns(head) || head.name == *trace::NAME;
        tables.insert((head.family, head.name.to_string()), (is_mesh, chains));
    }
    let mut owners: Vec<Owner> = Vec::new();
    for ((family, table), (is_mesh, chains)) in tables {
        let names = if is_mesh { vec![MESH] } else { owners_of(family, &table, &chains) };
        for name in names {
            let table = format!("{family} {table}");
            match owners.iter_mut().find(|owner| owner.name == name) {
                Some(owner) => owner.tables.push(table),
                None => owners.push(Owner { name, tables: vec![table], is_mesh }),
            }
        }
    }
    Ok(owners)
}

/// The tables of legacy iptables that are in use in the thread's network namespace, as `ip nat`; `None` where that may
/// not be read.
#[must_use]
pub fn of_legacy_iptables() -> Option<Vec<String>> {
    let (mut tables, of_ipv6) = (IPV4.tables()?, IPV6.tables()?);
    tables.extend(of_ipv6);
    Some(tables)
}

/// As [`of_legacy_iptables`], where a mesh may have rules in them. The meshes' commands call iptables in every pod and ip6tables
/// only besides, and a table stays when its rules go: without tables of IPv4, those of IPv6 are not a mesh's.
#[must_use]
pub(crate) fn of_a_mesh_by_legacy_iptables() -> Option<Vec<String>> {
    let mut tables = IPV4.tables()?;
    if !tables.is_empty() {
        tables.extend(IPV6.tables()?);
    }
    Some(tables)
}

/// A family of legacy tables.
struct Legacy {
    /// As nft writes it
    family: &'static str,
    /// Where the kernel lists those in the network namespace of the process's first thread. The process's entry in /proc is made
    /// when it is first asked for, and a thread's own in addition, which takes longer than to read the file.
    of_process: &'static str,
    /// The same for the calling thread
    of_thread: &'static str,
}

const IPV4: Legacy = Legacy {
    family: "ip",
    of_process: "/proc/self/net/ip_tables_names",
    of_thread: "/proc/thread-self/net/ip_tables_names",
};
const IPV6: Legacy = Legacy {
    family: "ip6",
    of_process: "/proc/self/net/ip6_tables_names",
    of_thread: "/proc/thread-self/net/ip6_tables_names",
};

impl Legacy {
    fn tables(&self) -> Option<Vec<String>> {
        let file = if gettid() == getpid() { self.of_process } else { self.of_thread };
        match names_in(file) {
            Ok(names) => Some(names.lines().map(|name| format!("{} {name}", self.family)).collect()),
            // Without the module there are no such tables.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

/// The lines of such a file. It is empty where no table is in use, and one reading says so.
fn names_in(path: &str) -> io::Result<String> {
    // All five names are shorter.
    let mut start = [0; 64];
    // Not open(2): musl's sets the flag once more, with a system call.
    let mut file = File::from(openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
    let length = file.read(&mut start)?;
    let mut names = start[..length].to_vec();
    if length > 0 {
        file.take(LONGEST).read_to_end(&mut names)?;
    }
    Ok(String::from_utf8_lossy(&names).into_owned())
}

fn owners_of(family: Family, table: &str, chains: &[String]) -> Vec<&'static str> {
    if let Some((_, name)) = TABLES.iter().find(|(beginning, _)| table.starts_with(beginning)) {
        return vec![name];
    }
    let has = |beginning: &str| chains.iter().any(|chain| chain.starts_with(beginning));
    let mut owners: Vec<_> = CHAINS.iter().filter(|(chain, _)| has(chain)).map(|(_, name)| *name).collect();
    if owners.is_empty() {
        let of_iptables = OF_IPTABLES.contains(&table) && matches!(family, Family::Ipv4 | Family::Ipv6);
        owners.push(if of_iptables { IPTABLES_NFT } else { OTHERS });
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_known_by_their_tables_and_chains() {
        let of = |family, table: &str, chains: &[&str]| {
            let chains: Vec<_> = chains.iter().map(ToString::to_string).collect();
            owners_of(family, table, &chains)
        };
        assert_eq!(of(Family::Inet, "firewalld", &["filter_INPUT"]), ["firewalld"]);
        assert_eq!(of(Family::Ipv4, "kube-proxy", &[]), ["kube-proxy"]);
        assert_eq!(of(Family::Ipv4, "nat", &["PREROUTING"]), ["iptables-nft"]);
        assert_eq!(
            of(Family::Ipv4, "nat", &["PREROUTING", "KUBE-SERVICES", "DOCKER"]),
            ["kube-proxy or the kubelet (iptables)", "Docker (iptables)"]
        );
        assert_eq!(of(Family::Inet, "filter", &["input"]), ["others"]);
    }
}

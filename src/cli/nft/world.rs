//! What texts refer to outside of themselves: the system's tables of names, and what the kernel holds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use nft_ruleset::nft::decompile;
use nft_ruleset::nft::parse::evaluate::World;
use nft_ruleset::nft::print::Names;
use nft_ruleset::{Family, Set};
use nftwire::{Error, Socket};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use super::options::Named;
use crate::cli::accounts;

/// This system. Its files are read when the first name of their kind is asked for.
#[derive(Debug, Default)]
pub(super) struct System {
    services: Option<HashMap<String, u16>>,
    hosts: Option<HashMap<String, Vec<IpAddr>>>,
    socket: Option<Socket>,
}

impl World for System {
    fn interface(&mut self, name: &str) -> Option<u32> {
        if_nametoindex(name).ok()
    }

    fn service(&mut self, name: &str) -> Option<u16> {
        self.services.get_or_insert_with(|| services(&read("/etc/services"))).get(name).copied()
    }

    fn host(&mut self, name: &str) -> Vec<IpAddr> {
        self.hosts.get_or_insert_with(|| hosts(&read("/etc/hosts"))).get(name).cloned().unwrap_or_default()
    }

    fn user(&mut self, name: &str) -> Option<u32> {
        accounts::uid(name).ok().flatten()
    }

    fn group(&mut self, name: &str) -> Option<u32> {
        accounts::gid(name).ok().flatten()
    }

    fn number(&mut self, file: &str, name: &str) -> Option<u32> {
        let text = read(file);
        let mut lines = text.lines().filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            Some((words.next()?, words.next()?))
        });
        lines.find(|(_, named)| *named == name).and_then(|(number, _)| match number.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => number.parse().ok(),
        })
    }

    fn cgroup(&mut self, path: &str) -> Option<u64> {
        let path = std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
        std::fs::metadata(path).ok().map(|metadata| metadata.ino())
    }

    fn is_utc(&mut self) -> bool {
        let is_utc =
            |name: &str| matches!(name.trim_start_matches(':'), "" | "UTC" | "Etc/UTC" | "UTC0" | "GMT");
        if let Ok(zone) = std::env::var("TZ") {
            return is_utc(&zone);
        }
        match std::fs::canonicalize("/etc/localtime") {
            Ok(path) => path.ends_with("UTC") || path.ends_with("UCT") || path.ends_with("GMT"),
            Err(_) => true,
        }
    }

    fn set(&mut self, family: Family, table: &str, name: &str) -> Result<Option<Set>, Error> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::open()?),
        };
        let mut found = None;
        let read = socket.set(family, table.into(), name.into(), |set| {
            found = Some(decompile::set(&set));
            Ok(())
        });
        match read {
            Ok(()) => Ok(found),
            Err(Error::Refused(refusal)) if refusal.errno == Errno::ENOENT as i32 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The names that this system has for numbers and addresses, as far as they are to be shown.
#[derive(Debug, Default)]
pub(super) struct SystemNames {
    services: Option<HashMap<u16, String>>,
    users: Option<HashMap<u32, String>>,
    groups: Option<HashMap<u32, String>>,
    hosts: Option<HashMap<IpAddr, String>>,
}

impl SystemNames {
    pub(super) fn read(wanted: Named) -> Self {
        let Named { services, accounts, hosts } = wanted;
        Self {
            services: services.then(|| names_of_services(&read("/etc/services"))),
            users: accounts.then(|| names_of_accounts(&read("/etc/passwd"))),
            groups: accounts.then(|| names_of_accounts(&read("/etc/group"))),
            hosts: hosts.then(|| hosts_by_address(&read("/etc/hosts"))),
        }
    }

    pub(super) fn as_names(&self) -> Names<'_> {
        let Self { services, users, groups, hosts } = self;
        Names {
            services: services.as_ref(),
            users: users.as_ref(),
            groups: groups.as_ref(),
            hosts: hosts.as_ref(),
        }
    }
}

/// Ports with the first name of each, whatever the protocol, as getservbyport(3) without one.
fn names_of_services(text: &str) -> HashMap<u16, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
        if let Some(port) = port.split('/').next().and_then(|port| port.parse().ok()) {
            names.entry(port).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// passwd(5) and group(5): the name in the first field, the number in the third.
fn names_of_accounts(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
        if let Ok(number) = number.parse() {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// hosts(5): an address, and the first of its names.
fn hosts_by_address(text: &str) -> HashMap<IpAddr, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let (Some(address), Some(name)) = (words.next(), words.next()) else { continue };
        if let Ok(address) = address.parse() {
            names.entry(address).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// A file's text; an empty one where it cannot be read.
fn read(path: &str) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// services(5): a name, a port and a protocol, then other names. The first port of a name counts.
fn services(text: &str) -> HashMap<String, u16> {
    let mut services = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
        let Some(port) = port.split('/').next().and_then(|port| port.parse().ok()) else { continue };
        for name in std::iter::once(name).chain(words) {
            services.entry(name.to_owned()).or_insert(port);
        }
    }
    services
}

/// hosts(5): an address, then names.
fn hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words {
            let addresses = hosts.entry(name.to_owned()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ports() {
        let found =
            services("# comment\nssh\t22/tcp\nhttp 80/tcp www # web\nhttp 8080/udp\nbad\nworse x/tcp\n");
        assert_eq!(found.get("ssh"), Some(&22));
        assert_eq!((found.get("http"), found.get("www")), (Some(&80), Some(&80)));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn names_for_numbers() {
        let services = names_of_services("# c\nssh 22/tcp\nother 22/udp\nbad\nworse x/tcp\n");
        assert_eq!(services, HashMap::from([(22, "ssh".to_owned())]));
        let users = names_of_accounts("root:x:0:0::/:\ntoor:x:0:0::/:\nbad\nworse:x:y\n");
        assert_eq!(users, HashMap::from([(0, "root".to_owned())]));
        let hosts = hosts_by_address("127.0.0.1 localhost other\n127.0.0.1 vm\nx y\n::1\n");
        assert_eq!(hosts, HashMap::from([(IpAddr::from([127, 0, 0, 1]), "localhost".to_owned())]));
    }

    #[test]
    fn names_of_hosts() {
        let found = hosts("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.0.1 localhost\nx y\n");
        assert_eq!(found["localhost"].len(), 2);
        assert_eq!(found["ip6-localhost"], ["::1".parse::<IpAddr>().unwrap()]);
    }
}

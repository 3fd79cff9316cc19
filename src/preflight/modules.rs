//! Which modules of the kernel exist: built in, loaded, to be loaded, or not at all.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;

use nftwire::Version;

/// Where a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the kernel itself
    BuiltIn,
    /// In the kernel by now
    Loaded,
    /// On the disk, or at least part of this kernel's build
    Loadable,
    /// Not part of this kernel's build
    Absent,
    /// Nothing that can be read from here says
    Unknown,
}

impl State {
    /// In words, for a message.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BuiltIn => "built in",
            Self::Loaded => "loaded",
            Self::Loadable => "loadable",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

/// A module that a backend of Istio's or Linkerd's needs.
#[derive(Debug)]
pub struct Module {
    /// Its name
    pub name: &'static str,
    /// The options with which it is built; any of them
    options: &'static [&'static str],
    /// The module that it is a part of since this version
    part_of: Option<(&'static str, Version)>,
}

const fn module(name: &'static str, options: &'static [&'static str]) -> Module {
    Module { name, options, part_of: None }
}

const fn merged(name: &'static str, into: &'static str, major: u16, minor: u16) -> Module {
    Module { name, options: &[], part_of: Some((into, Version::new(major, minor))) }
}

/// What the nftables backends need, and meshwire.
pub static FOR_NFTABLES: [Module; 10] = [
    module("nf_tables", &["NF_TABLES"]),
    module("nf_conntrack", &["NF_CONNTRACK"]),
    module("nf_defrag_ipv4", &["NF_DEFRAG_IPV4"]),
    module("nf_defrag_ipv6", &["NF_DEFRAG_IPV6"]),
    module("nft_chain_nat", &["NFT_NAT"]),
    module("nft_ct", &["NFT_CT"]),
    module("nft_nat", &["NFT_NAT"]),
    module("nft_redir", &["NFT_REDIR"]),
    module("nft_socket", &["NFT_SOCKET"]),
    module("nft_tproxy", &["NFT_TPROXY"]),
];

/// What the iptables backends need. meshwire does without.
pub static FOR_IPTABLES: [Module; 28] = [
    module("br_netfilter", &["BRIDGE_NETFILTER"]),
    module("bridge", &["BRIDGE"]),
    module("ip_set", &["IP_SET"]),
    module("ip_set_hash_ip", &["IP_SET_HASH_IP"]),
    module("ip_tables", &["IP_NF_IPTABLES_LEGACY", "IP_NF_IPTABLES"]),
    module("iptable_mangle", &["IP_NF_MANGLE"]),
    module("iptable_nat", &["IP_NF_NAT"]),
    module("iptable_raw", &["IP_NF_RAW"]),
    module("ip6_tables", &["IP6_NF_IPTABLES_LEGACY", "IP6_NF_IPTABLES"]),
    module("ip6table_mangle", &["IP6_NF_MANGLE"]),
    module("ip6table_nat", &["IP6_NF_NAT"]),
    module("ip6table_raw", &["IP6_NF_RAW"]),
    module("nf_conntrack", &["NF_CONNTRACK"]),
    merged("nf_conntrack_ipv4", "nf_conntrack", 4, 19),
    merged("nf_conntrack_ipv6", "nf_conntrack", 4, 19),
    module("nf_nat", &["NF_NAT"]),
    merged("nf_nat_ipv4", "nf_nat", 5, 1),
    merged("nf_nat_ipv6", "nf_nat", 5, 1),
    merged("nf_nat_redirect", "nf_nat", 4, 18),
    module("x_tables", &["NETFILTER_XTABLES"]),
    module("xt_REDIRECT", &["NETFILTER_XT_TARGET_REDIRECT"]),
    module("xt_connmark", &["NETFILTER_XT_CONNMARK"]),
    module("xt_conntrack", &["NETFILTER_XT_MATCH_CONNTRACK"]),
    module("xt_mark", &["NETFILTER_XT_MARK"]),
    module("xt_multiport", &["NETFILTER_XT_MATCH_MULTIPORT"]),
    module("xt_owner", &["NETFILTER_XT_MATCH_OWNER"]),
    module("xt_tcpudp", &["NETFILTER_XTABLES"]),
    module("xt_TPROXY", &["NETFILTER_XT_TARGET_TPROXY"]),
];

/// What can be read about modules from here.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// /proc/modules; a kernel that knows no modules has no such file, and then this is empty
    pub loaded: Option<HashSet<String>>,
    /// modules.builtin of the running kernel
    built_in: Option<HashSet<String>>,
    /// modules.dep of the running kernel
    loadable: Option<HashSet<String>>,
    /// The configuration of the running kernel: `y` or `m`, without CONFIG_
    configuration: Option<HashMap<String, char>>,
}

impl Sources {
    /// Reads what there is, of the kernel with this release.
    #[must_use]
    pub fn read(release: &str) -> Self {
        let folder = format!("/lib/modules/{release}");
        let names = |file: &str| Some(names_in(&fs::read_to_string(format!("{folder}/{file}")).ok()?));
        let configuration = decompressed("/proc/config.gz")
            .or_else(|| fs::read_to_string(format!("/boot/config-{release}")).ok())
            .or_else(|| fs::read_to_string(format!("{folder}/config")).ok());
        Self {
            loaded: loaded(),
            built_in: names("modules.builtin"),
            loadable: names("modules.dep"),
            configuration: configuration.as_deref().map(options_in),
        }
    }

    /// Whether asking for something that is in this module may make the kernel load it.
    #[must_use]
    pub fn may_be_loaded(&self, module: &str) -> bool {
        let known = FOR_NFTABLES.iter().find(|known| known.name == module);
        let state = known.map_or(State::Unknown, |known| self.state(known, None));
        // A kernel that knows no modules loads none.
        let knows_modules = self.loaded.as_ref().is_none_or(|loaded| !loaded.is_empty());
        knows_modules && !matches!(state, State::BuiltIn | State::Loaded | State::Absent)
    }

    /// Where a module is, for this version of the kernel.
    #[must_use]
    pub fn state(&self, module: &Module, version: Option<Version>) -> State {
        if let Some((into, since)) = module.part_of
            && version.is_some_and(|version| version >= since)
            && let Some(into) = FOR_NFTABLES.iter().chain(&FOR_IPTABLES).find(|module| module.name == into)
        {
            return self.state(into, version);
        }
        let is_in =
            |names: &Option<HashSet<String>>| names.as_ref().is_some_and(|names| names.contains(module.name));
        if is_in(&self.loaded) {
            return State::Loaded;
        }
        if is_in(&self.built_in) {
            return State::BuiltIn;
        }
        let by_option = self.configuration.as_ref().map(|configuration| {
            let mut set = module.options.iter().filter_map(|option| configuration.get(*option));
            set.next().copied()
        });
        match (by_option, &self.loadable) {
            (Some(Some('y')), _) => State::BuiltIn,
            (_, Some(names)) if names.contains(module.name) => State::Loadable,
            (Some(Some(_)), None) => State::Loadable,
            (Some(Some(_) | None), _) | (None, Some(_)) => State::Absent,
            (None, None) => State::Unknown,
        }
    }
}

/// The modules that are loaded now; none where the kernel knows no modules, `None` where no /proc is mounted.
#[must_use]
pub fn loaded() -> Option<HashSet<String>> {
    match fs::read_to_string("/proc/modules") {
        Ok(text) => Some(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()),
        Err(_) => fs::exists("/proc/self").is_ok_and(|is| is).then(HashSet::new),
    }
}

fn decompressed(path: &str) -> Option<String> {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).ok()?).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The modules in modules.dep or modules.builtin: `kernel/net/netfilter/nft-x.ko.xz: …` is `nft_x`.
fn names_in(text: &str) -> HashSet<String> {
    let name = |line: &str| {
        let path = line.split(':').next()?;
        let file = path.rsplit('/').next()?;
        Some(file.split_once(".ko")?.0.replace('-', "_"))
    };
    text.lines().filter_map(name).collect()
}

fn options_in(configuration: &str) -> HashMap<String, char> {
    let option = |line: &str| {
        let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
        matches!(value, "y" | "m").then(|| (name.to_owned(), value.chars().next().unwrap_or('y')))
    };
    configuration.lines().filter_map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Option<HashSet<String>> {
        Some(names.iter().map(ToString::to_string).collect())
    }

    fn state(sources: &Sources, name: &str) -> State {
        let module = FOR_NFTABLES.iter().chain(&FOR_IPTABLES).find(|module| module.name == name).unwrap();
        sources.state(module, Some(Version::new(6, 12)))
    }

    #[test]
    fn files_of_depmod_name_modules() {
        let dep = "kernel/net/netfilter/nft_tproxy.ko.xz: kernel/net/netfilter/nf_tables.ko.xz\n\
                   kernel/net/netfilter/nf-odd.ko:\nno module\n";
        assert_eq!(names_in(dep), names(&["nft_tproxy", "nf_odd"]).unwrap());
    }

    #[test]
    fn a_configuration_names_what_is_built() {
        let text = "# CONFIG_NFT_QUEUE is not set\nCONFIG_NFT_CT=y\nCONFIG_NFT_NAT=m\nCONFIG_HZ=250\n";
        let options = options_in(text);
        assert_eq!((options.get("NFT_CT"), options.get("NFT_NAT")), (Some(&'y'), Some(&'m')));
        assert_eq!((options.get("NFT_QUEUE"), options.get("HZ")), (None, None));
    }

    #[test]
    fn a_distribution_has_files_of_depmod() {
        let sources = Sources {
            loaded: names(&["nf_tables", "nf_nat"]),
            built_in: names(&["nf_conntrack"]),
            loadable: names(&["nf_tables", "nft_tproxy"]),
            configuration: None,
        };
        assert_eq!(state(&sources, "nf_tables"), State::Loaded);
        assert_eq!(state(&sources, "nf_conntrack"), State::BuiltIn);
        assert_eq!(state(&sources, "nft_tproxy"), State::Loadable);
        assert_eq!(state(&sources, "nft_redir"), State::Absent);
        // What has been merged is where the other one is.
        assert_eq!(state(&sources, "nf_conntrack_ipv4"), State::BuiltIn);
        assert_eq!(state(&sources, "nf_nat_ipv6"), State::Loaded);
        assert!(sources.may_be_loaded("nft_tproxy") && !sources.may_be_loaded("nf_tables"));
    }

    #[test]
    fn a_container_sees_a_configuration_at_most() {
        let configuration =
            Some(options_in("CONFIG_NF_TABLES=y\nCONFIG_NFT_TPROXY=m\nCONFIG_IP_NF_IPTABLES=m\n"));
        let sources = Sources { loaded: names(&["xt_mark"]), configuration, ..Sources::default() };
        assert_eq!(state(&sources, "nf_tables"), State::BuiltIn);
        assert_eq!(state(&sources, "nft_tproxy"), State::Loadable);
        assert_eq!(state(&sources, "ip_tables"), State::Loadable);
        assert_eq!(state(&sources, "nft_redir"), State::Absent);
        let sources = Sources { loaded: names(&["nft_ct"]), ..Sources::default() };
        assert_eq!(
            (state(&sources, "nft_ct"), state(&sources, "nft_redir")),
            (State::Loaded, State::Unknown)
        );
        assert!(sources.may_be_loaded("nft_redir"));
    }

    #[test]
    fn a_kernel_without_modules_loads_none() {
        let sources = Sources { loaded: names(&[]), ..Sources::default() };
        assert!(!sources.may_be_loaded("nft_redir"));
        assert!(Sources::default().may_be_loaded("nft_redir"));
    }
}

//! What of nf_tables a kernel may lack: the option with which it is built, its module, and the first kernel that has
//! it. One table, for the help after a refusal and for what is probed beforehand.
//!
//! Options: net/netfilter/Kconfig; modules: net/netfilter/Makefile.

use crate::expr::{Ct, CtKey};
use crate::{Expr, Family, SetFlags};

use crate::Version;

/// Something of nf_tables that a kernel may lack.
#[derive(Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is
    pub kind: Kind,
    /// The kernel's name for it, with what it is about where that has an option of its own: `ct zone`
    pub name: &'static str,
    /// The option with which a kernel has it, such as `CONFIG_NFT_TPROXY`
    pub option: &'static str,
    /// The module that it is in
    pub module: &'static str,
    /// The first kernel that has it, in tables of the family inet where it is for those
    pub since: Version,
    /// The first kernel in which it is in [`CORE`] and has neither option nor module of its own
    pub merged: Option<Version>,
}

/// What a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A family of tables
    Family,
    /// A type of base chains in inet tables
    Chain,
    /// An expression
    Expression,
    /// A type of sets
    Set,
}

impl Kind {
    /// In a word, for a message.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Chain => "chain type",
            Self::Expression => "expression",
            Self::Set => "set type",
        }
    }
}

/// The module without which there are no rules at all.
pub const CORE: &str = "nf_tables";
/// Its option.
pub const CORE_OPTION: &str = "CONFIG_NF_TABLES";

/// All of them.
pub static FEATURES: &[Feature] = &[
    core(Kind::Family, "inet", "CONFIG_NF_TABLES_INET", (3, 14)),
    core(Kind::Chain, "filter", "CONFIG_NF_TABLES_INET", (3, 14)),
    core(Kind::Chain, "route", "CONFIG_NF_TABLES_INET", (5, 2)),
    module(Kind::Chain, "nat", "CONFIG_NFT_NAT", "nft_chain_nat", (5, 2)),
    core(Kind::Set, "hash", CORE_OPTION, (3, 13)),
    core(Kind::Set, "interval", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "bitwise", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "byteorder", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "cmp", CORE_OPTION, (3, 13)),
    Feature {
        merged: Some(Version::new(5, 17)),
        ..module(Kind::Expression, "counter", "CONFIG_NFT_COUNTER", "nft_counter", (3, 13))
    },
    core(Kind::Expression, "dynset", CORE_OPTION, (4, 1)),
    core(Kind::Expression, "exthdr", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "immediate", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "inner", CORE_OPTION, (6, 2)),
    core(Kind::Expression, "last", CORE_OPTION, (5, 14)),
    core(Kind::Expression, "lookup", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "meta", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "payload", CORE_OPTION, (3, 13)),
    core(Kind::Expression, "range", CORE_OPTION, (4, 9)),
    core(Kind::Expression, "rt", CORE_OPTION, (4, 10)),
    module(Kind::Expression, "connlimit", "CONFIG_NFT_CONNLIMIT", "nft_connlimit", (4, 18)),
    module(Kind::Expression, "ct", "CONFIG_NFT_CT", "nft_ct", (3, 13)),
    module(Kind::Expression, "ct mark", "CONFIG_NF_CONNTRACK_MARK", "nft_ct", (3, 15)),
    module(Kind::Expression, "ct zone", "CONFIG_NF_CONNTRACK_ZONES", "nft_ct", (4, 11)),
    module(Kind::Expression, "dup", "CONFIG_NFT_DUP_IPV4", "nft_dup_ipv4", (4, 3)),
    module(Kind::Expression, "fib", "CONFIG_NFT_FIB_INET", "nft_fib_inet", (4, 10)),
    module(Kind::Expression, "flow_offload", "CONFIG_NFT_FLOW_OFFLOAD", "nft_flow_offload", (4, 16)),
    module(Kind::Expression, "fwd", "CONFIG_NFT_FWD_NETDEV", "nft_fwd_netdev", (4, 5)),
    module(Kind::Expression, "hash", "CONFIG_NFT_HASH", "nft_hash", (4, 9)),
    module(Kind::Expression, "limit", "CONFIG_NFT_LIMIT", "nft_limit", (3, 13)),
    module(Kind::Expression, "log", "CONFIG_NFT_LOG", "nft_log", (3, 13)),
    module(Kind::Expression, "masq", "CONFIG_NFT_MASQ", "nft_masq", (5, 2)),
    module(Kind::Expression, "match", "CONFIG_NFT_COMPAT", "nft_compat", (3, 13)),
    module(Kind::Expression, "nat", "CONFIG_NFT_NAT", "nft_nat", (5, 2)),
    module(Kind::Expression, "notrack", "CONFIG_NFT_CT", "nft_ct", (4, 9)),
    module(Kind::Expression, "numgen", "CONFIG_NFT_NUMGEN", "nft_numgen", (4, 9)),
    module(Kind::Expression, "osf", "CONFIG_NFT_OSF", "nft_osf", (4, 19)),
    module(Kind::Expression, "queue", "CONFIG_NFT_QUEUE", "nft_queue", (3, 14)),
    module(Kind::Expression, "quota", "CONFIG_NFT_QUOTA", "nft_quota", (4, 9)),
    module(Kind::Expression, "redir", "CONFIG_NFT_REDIR", "nft_redir", (5, 2)),
    module(Kind::Expression, "reject", "CONFIG_NFT_REJECT_INET", "nft_reject_inet", (3, 14)),
    module(Kind::Expression, "socket", "CONFIG_NFT_SOCKET", "nft_socket", (4, 18)),
    module(Kind::Expression, "synproxy", "CONFIG_NFT_SYNPROXY", "nft_synproxy", (5, 3)),
    module(Kind::Expression, "target", "CONFIG_NFT_COMPAT", "nft_compat", (3, 13)),
    module(Kind::Expression, "tproxy", "CONFIG_NFT_TPROXY", "nft_tproxy", (4, 19)),
    module(Kind::Expression, "tunnel", "CONFIG_NFT_TUNNEL", "nft_tunnel", (4, 19)),
    module(Kind::Expression, "xfrm", "CONFIG_NFT_XFRM", "nft_xfrm", (4, 20)),
];

const fn core(kind: Kind, name: &'static str, option: &'static str, since: (u16, u16)) -> Feature {
    module(kind, name, option, CORE, since)
}

const fn module(
    kind: Kind,
    name: &'static str,
    option: &'static str,
    module: &'static str,
    (major, minor): (u16, u16),
) -> Feature {
    Feature { kind, name, option, module, since: Version::new(major, minor), merged: None }
}

impl Feature {
    /// The feature of this kind and name.
    #[must_use]
    pub fn find(kind: Kind, name: &str) -> Option<&'static Self> {
        FEATURES.iter().find(|feature| feature.kind == kind && feature.name == name)
    }

    /// What an expression takes.
    #[must_use]
    pub fn of_expression(expression: &Expr<'_>) -> Option<&'static Self> {
        let name = match expression {
            Expr::Ct(Ct { key: CtKey::Mark, .. }) => "ct mark",
            Expr::Ct(Ct { key: CtKey::Zone, .. }) => "ct zone",
            other => other.name(),
        };
        Self::find(Kind::Expression, name)
    }

    /// What a base chain of this type takes.
    #[must_use]
    pub fn of_chain(kind: &str) -> Option<&'static Self> {
        Self::find(Kind::Chain, kind)
    }

    /// What a set with these flags takes.
    #[must_use]
    pub fn of_set(flags: SetFlags) -> Option<&'static Self> {
        Self::find(Kind::Set, if flags.contains(SetFlags::INTERVAL) { "interval" } else { "hash" })
    }

    /// What a table takes.
    #[must_use]
    pub fn of_family(family: Family) -> Option<&'static Self> {
        Self::find(Kind::Family, &family.to_string())
    }

    /// The module that it is in, in a kernel of this version.
    #[must_use]
    pub fn module_in(&self, kernel: Option<Version>) -> &'static str {
        let is_merged = self.merged.is_some_and(|merged| kernel.is_some_and(|kernel| kernel >= merged));
        if is_merged { CORE } else { self.module }
    }

    /// Whether its option decides what its module can do, and not whether there is a module.
    #[must_use]
    pub fn is_compiled_in(&self) -> bool {
        matches!(self.name, "ct mark" | "ct zone")
    }

    /// What to do where this kernel does not have it.
    #[must_use]
    pub fn help(&self, kernel: Option<Version>) -> String {
        let Self { kind, name, option, since, .. } = self;
        let module = self.module_in(kernel);
        let what = format!("this kernel has no {} {name}", kind.word());
        if let Some(kernel) = kernel.filter(|kernel| kernel < since) {
            return format!("{what}: it came with Linux {since}, and this is {kernel}");
        }
        if module == CORE || self.is_compiled_in() {
            format!("{what}: it takes a kernel with {option}")
        } else {
            format!(
                "{what}: load the module {module} on the node (modprobe {module}), or take a kernel with {option}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_twice() {
        for (index, feature) in FEATURES.iter().enumerate() {
            let same = |other: &&Feature| (other.kind, other.name) == (feature.kind, feature.name);
            assert_eq!(FEATURES.iter().position(|other| same(&other)), Some(index), "{feature:?}");
            assert!(feature.option.starts_with("CONFIG_N"));
        }
    }

    #[test]
    fn help_names_the_module_the_option_or_the_kernel() {
        let help = |kind, name, kernel: (u16, u16)| {
            Feature::find(kind, name).unwrap().help(Some(Version::new(kernel.0, kernel.1)))
        };
        assert_eq!(
            help(Kind::Expression, "tproxy", (6, 12)),
            "this kernel has no expression tproxy: load the module nft_tproxy on the node (modprobe nft_tproxy), or take \
             a kernel with CONFIG_NFT_TPROXY"
        );
        assert_eq!(
            help(Kind::Expression, "ct zone", (6, 12)),
            "this kernel has no expression ct zone: it takes a kernel with CONFIG_NF_CONNTRACK_ZONES"
        );
        assert_eq!(
            help(Kind::Chain, "nat", (4, 19)),
            "this kernel has no chain type nat: it came with Linux 5.2, and this is 4.19"
        );
        assert!(help(Kind::Expression, "counter", (5, 16)).contains("modprobe nft_counter"));
        assert!(!help(Kind::Expression, "counter", (5, 17)).contains("modprobe"));
    }
}

//! Profiles: a mesh's settings in, a [`Ruleset`] out. Pure: no I/O, no clock, no process.

pub mod istio;
pub mod linkerd;
pub mod pod;
mod presence;
pub mod selector;
pub mod value;

use std::ops::RangeInclusive;

use nft_ruleset::desired::Owned;
use nft_ruleset::{IpPrefix, Name, Ruleset, Table};
pub use presence::Profile;

/// How the names of the tables begin that meshwire, Istio and Linkerd have for themselves.
const TABLES: [&str; 3] = ["istio-proxy-", "istio-ambient-", "linkerd-proxy-init"];
/// How the names of the chains begin that iptables makes for Istio and Linkerd, in tables that all share.
const CHAINS: [&str; 2] = ["ISTIO_", "PROXY_INIT_"];

/// The end of the names of tables that stand in for others during a migration.
const BRIDGE: &str = "-bridge";

/// The name of the table that temporarily replaces this one; those of a mesh are texts.
pub(crate) fn bridge_name(table: &Name) -> Name {
    format!("{table}{BRIDGE}").into()
}

/// Whether a mesh's table of this name temporarily replaces another one.
pub(crate) fn is_bridge(table: &Name) -> bool {
    owns_name(table.as_bytes()) && table.as_bytes().ends_with(BRIDGE.as_bytes())
}

/// The same of a table's family and name as text.
pub(crate) fn is_bridge_text(table: &str) -> bool {
    table.split_once(' ').is_some_and(|(_, name)| is_bridge(&name.into()))
}

/// The tables that stand in for these, empty.
pub(crate) fn bridges(ruleset: &Ruleset) -> Ruleset {
    let tables = ruleset.tables.iter().map(|table| Table::new(table.family, bridge_name(&table.name)));
    Ruleset { tables: tables.collect() }
}

/// What a mesh owns whose settings make these tables: them, and those that stand in for them.
fn with_bridges(ruleset: &Ruleset) -> Owned {
    Owned::with_kept_sets(ruleset).and(&bridges(ruleset))
}

/// Whether a mesh has this table for itself.
#[must_use]
pub fn owns(table: &Table) -> bool {
    owns_name(table.name.as_bytes())
}

/// The same by the table's name.
#[must_use]
pub fn owns_name(table: &[u8]) -> bool {
    TABLES.iter().any(|beginning| table.starts_with(beginning.as_bytes()))
}

/// Whether a mesh has this table for itself, or chains in it.
#[must_use]
pub fn uses(table: &Table) -> bool {
    owns(table) || table.chains.iter().any(|chain| is_iptables_chain(chain.name.as_bytes()))
}

/// Whether iptables makes a chain of this name for a mesh.
#[must_use]
pub fn is_iptables_chain(name: &[u8]) -> bool {
    CHAINS.iter().any(|beginning| name.starts_with(beginning.as_bytes()))
}

/// Whether these ranges leave no port out; 0 is not one that anybody connects to.
fn are_all_ports(ranges: &[RangeInclusive<u16>]) -> bool {
    (1..=u16::MAX).all(|port| ranges.iter().any(|range| range.contains(&port)))
}

/// Whether these networks leave no address out, of IPv6 only where that counts.
fn are_all_networks(networks: &[IpPrefix], ipv6: bool) -> bool {
    let merged = IpPrefix::merged(networks);
    let all = |is_ipv6: bool| {
        merged.iter().any(|network| network.length() == 0 && network.address().is_ipv6() == is_ipv6)
    };
    all(false) && (!ipv6 || all(true))
}

#[cfg(test)]
mod tests {
    use nftwire::Family;

    use super::*;
    use nft_ruleset::Chain;

    #[test]
    fn lists_that_cover_all_ports_or_networks() {
        assert!(are_all_ports(&[0..=1023, 1024..=65535]) && are_all_ports(&[1..=40000, 30000..=65535]));
        assert!(!are_all_ports(&[]) && !are_all_ports(&[1..=65534]) && !are_all_ports(&[2..=65535]));
        let networks =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpPrefix>>();
        assert!(are_all_networks(&networks(&["0.0.0.0/0"]), false));
        assert!(are_all_networks(&networks(&["128.0.0.0/1", "0.0.0.0/1", "::/0"]), true));
        assert!(!are_all_networks(&networks(&["0.0.0.0/0"]), true));
        assert!(!are_all_networks(&networks(&["0.0.0.0/1", "::/0"]), false) && !are_all_networks(&[], false));
    }

    #[test]
    fn tables_and_chains_of_meshes() {
        let table = |name: &str| Table::new(Family::Inet, name);
        let with = |chain: &str| Table::with_chains(Family::Ipv4, "nat", [Chain::regular(chain, Vec::new())]);
        for name in ["istio-proxy-nat", "istio-ambient-nat", "istio-ambient-mangle", "istio-ambient-raw"] {
            assert!(owns(&table(name)), "{name}");
        }
        assert!(owns(&table("linkerd-proxy-init")));
        assert!(!owns(&table("filter")) && !uses(&table("istio")));
        assert!(
            uses(&with("ISTIO_REDIRECT"))
                && uses(&with("PROXY_INIT_OUTPUT"))
                && !owns(&with("ISTIO_REDIRECT"))
        );
        assert!(!uses(&with("KUBE-SERVICES")));
    }
}

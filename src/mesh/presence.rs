//! Whether a mesh's rules get packets, whoever has made them: by the names of its tables, and of the chains that iptables
//! makes for it.

use nft_ruleset::{Chain, Ruleset, Statement, Table};
use nftwire::Family;

/// What rules are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Istio's pods with a proxy of their own
    Sidecar,
    /// Istio's pods and nodes of ambient mode
    Ambient,
    /// Linkerd's pods
    Linkerd,
}

impl Profile {
    /// How the names of its own tables begin.
    const fn tables(self) -> &'static str {
        match self {
            Self::Sidecar => "istio-proxy-",
            Self::Ambient => "istio-ambient-",
            Self::Linkerd => "linkerd-proxy-init",
        }
    }

    /// How the names of its chains begin in the tables of iptables, which all share.
    const fn chains(self) -> &'static str {
        match self {
            Self::Sidecar | Self::Ambient => "ISTIO_",
            Self::Linkerd => "PROXY_INIT_",
        }
    }

    /// Whether packets get to its rules: a table of its own has rules in a base chain, or
    /// [iptables' chains](Self::is_in_force_by_iptables) have.
    #[must_use]
    pub fn is_in_force(self, ruleset: &Ruleset) -> bool {
        let own = |table: &&Table| table.name.as_bytes().starts_with(self.tables().as_bytes());
        let enters = |chain: &Chain| chain.base.is_some() && !chain.rules.is_empty();
        ruleset.tables.iter().filter(own).any(|table| table.chains.iter().any(enters))
            || [Family::Ipv4, Family::Ipv6]
                .iter()
                .any(|family| self.is_in_force_by_iptables(ruleset, *family))
    }

    /// Whether iptables-nft has made them for this family, in its table `nat`: a base chain leads to a chain of the mesh
    /// that has rules. A chain that nothing leads to, and an empty one, do nothing.
    #[must_use]
    pub fn is_in_force_by_iptables(self, ruleset: &Ruleset, family: Family) -> bool {
        let nat = ruleset.tables.iter().find(|table| table.family == family && table.name == "nat");
        let chains = nat.map_or(&[][..], |table| &table.chains);
        let works = |chain: &&Chain| {
            chain.name.as_bytes().starts_with(self.chains().as_bytes()) && !chain.rules.is_empty()
        };
        let leads_to = |statement: &Statement, to: &Chain| match statement {
            Statement::Verdict(verdict) => verdict.chain() == Some(&to.name),
            _ => false,
        };
        chains.iter().filter(works).any(|to| {
            let bases = chains.iter().filter(|chain| chain.base.is_some());
            bases
                .flat_map(|base| &base.rules)
                .flat_map(|rule| &rule.statements)
                .any(|jump| leads_to(jump, to))
        })
    }
}

#[cfg(test)]
mod tests {
    use nft_ruleset::{ChainKind, Hook, Rule};

    use super::*;
    use crate::mesh::istio::ambient::PodInterception;
    use crate::mesh::linkerd;

    const ALL: [Profile; 3] = [Profile::Sidecar, Profile::Ambient, Profile::Linkerd];

    fn in_force(ruleset: &Ruleset) -> Vec<Profile> {
        ALL.into_iter().filter(|profile| profile.is_in_force(ruleset)).collect()
    }

    /// A table with a base chain, and a chain that may be reached from it.
    fn with(table: &str, family: Family, first: Rule, chain: &str, rules: Vec<Rule>) -> Ruleset {
        let output = Chain::at_hook("OUTPUT", ChainKind::Nat, Hook::LocalOut, -100, vec![first]);
        let table = Table::with_chains(family, table, [output, Chain::regular(chain, rules)]);
        Ruleset { tables: vec![table] }
    }

    #[test]
    fn rules_count_for_the_mesh_that_they_are_of() {
        assert_eq!(in_force(&Ruleset::default()), []);
        assert_eq!(in_force(&PodInterception::default().interception().ruleset), [Profile::Ambient]);
        let own = |table| with(table, Family::Inet, Rule::new().jump("x"), "x", Vec::new());
        assert_eq!(in_force(&own("istio-proxy-nat")), [Profile::Sidecar]);
        assert_eq!(in_force(&own("linkerd-proxy-init")), [Profile::Linkerd]);
        assert_eq!(in_force(&own("kube-proxy")), []);
        // Tables and chains without a rule.
        assert_eq!(in_force(&linkerd::owned()), []);
    }

    #[test]
    fn chains_of_iptables_count_where_packets_get_to_their_rules() {
        let nat = |first: Rule, chain: &str, rules| with("nat", Family::Ipv4, first, chain, rules);
        let redirect = || vec![Rule::new().tcp().redirect(15001)];
        let jump = |chain: &str| Rule::new().tcp().jump(chain);
        let istio = nat(jump("ISTIO_OUTPUT"), "ISTIO_OUTPUT", redirect());
        assert_eq!(in_force(&istio), [Profile::Sidecar, Profile::Ambient]);
        assert!(Profile::Ambient.is_in_force_by_iptables(&istio, Family::Ipv4));
        assert!(!Profile::Ambient.is_in_force_by_iptables(&istio, Family::Ipv6));
        let linkerd = nat(jump("PROXY_INIT_OUTPUT"), "PROXY_INIT_OUTPUT", redirect());
        assert_eq!(in_force(&linkerd), [Profile::Linkerd]);
        for nothing in [
            nat(Rule::new().accept(), "ISTIO_OUTPUT", redirect()),
            nat(jump("ISTIO_OUTPUT"), "ISTIO_OUTPUT", Vec::new()),
            nat(jump("KUBE-SERVICES"), "KUBE-SERVICES", redirect()),
            with("filter", Family::Ipv4, jump("ISTIO_OUTPUT"), "ISTIO_OUTPUT", redirect()),
        ] {
            assert_eq!(in_force(&nothing), [], "{nothing}");
        }
    }
}

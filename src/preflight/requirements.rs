//! What each profile needs of a kernel.

use std::net::Ipv4Addr;

use crate::interception::Interception;
use crate::mesh::istio::ambient::{HostInterception, PodInterception};
use crate::mesh::istio::sidecar::{DnsCapture, InboundPorts, Mode, ServiceCidr, Sidecar};
use crate::mesh::linkerd::ProxyInit;
use crate::network::Family;
use nft_ruleset::Ruleset;
use nft_ruleset::nft::compile::{NotCompiled, compile_in, named_set};
use nftwire::feature::Feature;

/// Something that meshwire does to a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Istio's sidecar, inbound traffic redirected
    SidecarRedirect,
    /// Istio's sidecar, inbound traffic handed to a transparent socket
    SidecarTproxy,
    /// Istio's sidecar with DNS
    SidecarDns,
    /// Istio's ambient mode, in a pod
    AmbientPod,
    /// Istio's ambient mode, on the node
    AmbientHost,
    /// Linkerd's proxy-init
    Linkerd,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SidecarRedirect,
        Self::SidecarTproxy,
        Self::SidecarDns,
        Self::AmbientPod,
        Self::AmbientHost,
        Self::Linkerd,
    ];

    /// Their names.
    pub const NAMES: [&str; 6] = {
        let mut names = [""; 6];
        let mut index = 0;
        while index < names.len() {
            names[index] = Self::ALL[index].name();
            index += 1;
        }
        names
    };

    /// Its name, for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SidecarRedirect => "sidecar-redirect",
            Self::SidecarTproxy => "sidecar-tproxy",
            Self::SidecarDns => "sidecar-dns",
            Self::AmbientPod => "ambient-pod",
            Self::AmbientHost => "ambient-host",
            Self::Linkerd => "linkerd",
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Settings that make it use all that it ever uses.
    pub fn interception(self) -> Interception {
        let sidecar = Sidecar {
            inbound_ports: InboundPorts::AllExcept([15090].map(|port| port..=port).into()),
            service_cidr: ServiceCidr::All,
            drop_invalid: true,
            ipv6: true,
            ..Sidecar::default()
        };
        match self {
            Self::SidecarRedirect => sidecar.interception(),
            Self::SidecarTproxy => Sidecar { mode: Mode::Tproxy, ..sidecar }.interception(),
            Self::SidecarDns => Sidecar { dns: Some(DnsCapture::All), ..sidecar }.interception(),
            Self::AmbientPod => {
                PodInterception { ipv6: true, dns: true, ..PodInterception::default() }.interception()
            }
            Self::AmbientHost => HostInterception { ipv6: true, ..HostInterception::new([0]) }.interception(),
            Self::Linkerd => ProxyInit {
                incoming_proxy_port: 4143,
                outgoing_proxy_port: 4140,
                proxy_uid: Some(2102),
                proxy_gid: Some(2102),
                ports_to_redirect: Vec::new(),
                inbound_ports_to_ignore: vec![25..=30, 4190..=4191],
                outbound_ports_to_ignore: vec![25..=25, 3306..=3306],
                subnets_to_ignore: vec![Ipv4Addr::UNSPECIFIED.into()],
                ipv6: true,
            }
            .interception(),
        }
    }

    /// What of nf_tables it cannot do without and a kernel may lack, in the table's order.
    ///
    /// # Errors
    /// None of the rulesets here has anything that only can be shown.
    pub fn features(self) -> Result<Vec<&'static Feature>, NotCompiled> {
        let interception = self.interception();
        let needed = interception.without_fib().unwrap_or(interception);
        let mut features = used(&needed.ruleset)?;
        features.sort_unstable_by_key(|feature| (feature.kind, feature.name));
        features.dedup();
        Ok(features)
    }

    /// The address families for which it needs policy routing.
    #[must_use]
    pub fn routed_families(self) -> Vec<Family> {
        let rules = self.interception().network.rules;
        let uses = |family| rules.iter().any(|rule| rule.family == family);
        [Family::V4, Family::V6].into_iter().filter(|&family| uses(family)).collect()
    }
}

fn used(ruleset: &Ruleset) -> Result<Vec<&'static Feature>, NotCompiled> {
    let mut features = Vec::new();
    for table in &ruleset.tables {
        features.extend(Feature::of_family(table.family));
        for set in &table.sets {
            features.extend(Feature::of_set(named_set(set)?.flags));
        }
        for chain in &table.chains {
            features.extend(chain.base.and_then(|base| Feature::of_chain(base.kind.name())));
            for rule in &chain.rules {
                let compiled = compile_in(table, rule, 1)?;
                features.extend(compiled.expressions.iter().filter_map(Feature::of_expression));
                features.extend(
                    compiled
                        .sets
                        .iter()
                        .filter_map(|set| Feature::of_set(set.head(table.family, &table.name, 0).flags)),
                );
            }
        }
    }
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(profile: Profile) -> Vec<&'static str> {
        profile.features().unwrap().iter().map(|feature| feature.name).collect()
    }

    #[test]
    fn names_lead_back() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(profile.name()), Some(profile));
        }
        assert_eq!(Profile::from_name("sidecar"), None);
    }

    #[test]
    fn each_takes_what_its_rules_are_made_of() {
        let has = |profile, name| features(profile).contains(&name);
        assert!(has(Profile::SidecarRedirect, "redir") && !has(Profile::SidecarRedirect, "tproxy"));
        assert!(has(Profile::SidecarTproxy, "tproxy") && has(Profile::SidecarTproxy, "route"));
        assert!(has(Profile::SidecarDns, "ct zone") && !has(Profile::SidecarRedirect, "ct zone"));
        assert!(has(Profile::AmbientPod, "ct mark"));
        assert!(has(Profile::Linkerd, "interval") && !has(Profile::Linkerd, "route"));
        assert!(has(Profile::AmbientHost, "nat") && has(Profile::AmbientHost, "lookup"));
        for profile in Profile::ALL {
            assert_eq!(features(profile)[0], "inet", "{profile:?}");
        }
    }

    #[test]
    fn every_expression_is_one_that_the_table_knows() {
        for profile in Profile::ALL {
            let ruleset = profile.interception().ruleset;
            for rule in ruleset.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules) {
                for expression in
                    nft_ruleset::nft::compile::compile(nftwire::Family::Inet, rule, 1).unwrap().expressions
                {
                    assert!(Feature::of_expression(&expression).is_some(), "{expression:?}");
                }
            }
        }
    }

    #[test]
    fn policy_routing_is_for_those_that_mark() {
        assert_eq!(Profile::SidecarRedirect.routed_families(), []);
        assert_eq!(Profile::SidecarTproxy.routed_families(), [Family::V4, Family::V6]);
        assert_eq!(Profile::AmbientPod.routed_families(), [Family::V4, Family::V6]);
    }
}

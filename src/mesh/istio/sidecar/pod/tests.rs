use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn map(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A pod as Istio's injector leaves it, with more annotations.
fn injected(annotations: &[(&str, &str)]) -> Pod {
    let args = ["proxy", "sidecar"].map(str::to_owned).to_vec();
    let proxy = Container { name: PROXY.to_owned(), args, run_as_user: Some(1337), ..Container::default() };
    let mut annotations = map(annotations);
    annotations.insert(STATUS.to_owned(), "{}".to_owned());
    Pod { annotations, containers: vec![proxy], ..Pod::default() }
}

#[track_caller]
fn sidecar(pod: &Pod) -> Sidecar {
    match decide(pod).unwrap() {
        Decision::Intercept(settings) => settings.sidecar,
        Decision::Leave(leave) => panic!("{leave}"),
    }
}

/// What the plugin does without annotations.
fn by_default() -> Sidecar {
    Sidecar {
        inbound_ports: InboundPorts::AllExcept([15020, 15021, 15090].map(|port| port..=port).into()),
        outbound_ports_exclude: [15020].map(|port| port..=port).into(),
        service_cidr: ServiceCidr::All,
        ..Sidecar::default()
    }
}

fn networks_of(texts: &[&str]) -> Vec<IpPrefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn each_annotation_and_its_default() {
    assert_eq!(sidecar(&injected(&[])), by_default());
    let eth = |name: &str| vec![name.parse::<Interface>().unwrap()];
    let only = |ports: &[u16]| InboundPorts::Only(ports.iter().map(|&port| port..=port).collect());
    let except = |ports: &[u16]| InboundPorts::AllExcept(ports.iter().map(|&port| port..=port).collect());
    let default = by_default;
    for (name, value, expected) in [
        (annotation::INTERCEPTION_MODE, "TPROXY", Sidecar { mode: Mode::Tproxy, ..default() }),
        (
            annotation::INCLUDE_OUTBOUND_IP_RANGES,
            "10.0.0.0/8,fd00::/8",
            Sidecar {
                service_cidr: ServiceCidr::Only(networks_of(&["10.0.0.0/8", "fd00::/8"])),
                ..default()
            },
        ),
        (
            annotation::INCLUDE_OUTBOUND_IP_RANGES,
            "",
            Sidecar { service_cidr: ServiceCidr::Only(Vec::new()), ..default() },
        ),
        (
            annotation::EXCLUDE_OUTBOUND_IP_RANGES,
            "10.1.0.0/16",
            Sidecar { service_cidr_exclude: networks_of(&["10.1.0.0/16"]), ..default() },
        ),
        (
            annotation::INCLUDE_INBOUND_PORTS,
            "80, 8080",
            Sidecar { inbound_ports: only(&[80, 8080]), ..default() },
        ),
        (annotation::INCLUDE_INBOUND_PORTS, "", Sidecar { inbound_ports: only(&[]), ..default() }),
        (
            annotation::EXCLUDE_INBOUND_PORTS,
            "80,15021,80",
            Sidecar { inbound_ports: except(&[80, 15021, 15020, 15090]), ..default() },
        ),
        (annotation::EXCLUDE_INBOUND_PORTS, "", default()),
        (
            annotation::INCLUDE_OUTBOUND_PORTS,
            "3306",
            Sidecar { outbound_ports: [3306].map(|port| port..=port).into(), ..default() },
        ),
        (
            annotation::EXCLUDE_OUTBOUND_PORTS,
            "25,26",
            Sidecar { outbound_ports_exclude: [25, 26].map(|port| port..=port).into(), ..default() },
        ),
        (annotation::EXCLUDE_OUTBOUND_PORTS, "", Sidecar { outbound_ports_exclude: Vec::new(), ..default() }),
        (annotation::EXCLUDE_INTERFACES, "eth1", Sidecar { exclude_interfaces: eth("eth1"), ..default() }),
        (
            annotation::REROUTE_VIRTUAL_INTERFACES,
            "tap0",
            Sidecar { virtual_interfaces: eth("tap0"), ..default() },
        ),
        (annotation::KUBEVIRT_INTERFACES, "k0", Sidecar { virtual_interfaces: eth("k0"), ..default() }),
    ] {
        assert_eq!(sidecar(&injected(&[(name, value)])), expected, "{name}: {value:?}");
    }
}

#[test]
fn the_newer_name_wins_even_where_it_is_empty() {
    let both = [(annotation::REROUTE_VIRTUAL_INTERFACES, ""), (annotation::KUBEVIRT_INTERFACES, "k0")];
    assert_eq!(sidecar(&injected(&both)), by_default());
}

#[test]
fn an_error_names_the_annotation_and_the_value() {
    for (name, value, fault) in [
        (annotation::INTERCEPTION_MODE, "tproxy", "\"tproxy\" is neither REDIRECT nor TPROXY"),
        (annotation::INTERCEPTION_MODE, "", "\"\" is neither REDIRECT nor TPROXY"),
        (annotation::INCLUDE_OUTBOUND_IP_RANGES, "10.0.0.0", "\"10.0.0.0\" has no prefix length"),
        (annotation::INCLUDE_OUTBOUND_IP_RANGES, "10.0.0.0/8, 11.0.0.0/8", "\" 11.0.0.0/8\" is not"),
        (annotation::INCLUDE_OUTBOUND_IP_RANGES, "10.0.0.0/8,*", "`*` is not allowed here"),
        (annotation::EXCLUDE_OUTBOUND_IP_RANGES, "*", "`*` is not allowed here"),
        (annotation::INCLUDE_INBOUND_PORTS, "80,http", "\"http\" is not a port"),
        (annotation::EXCLUDE_INBOUND_PORTS, "70000", "\"70000\" is not a port"),
        (annotation::EXCLUDE_INBOUND_PORTS, "*", "`*` is not allowed here"),
        (annotation::INCLUDE_OUTBOUND_PORTS, "-1", "\"-1\" is not a port"),
        (annotation::EXCLUDE_OUTBOUND_PORTS, "0x50", "\"0x50\" is not a port"),
        (annotation::EXCLUDE_INTERFACES, "an-interface-of-20", "at most 15"),
        (annotation::KUBEVIRT_INTERFACES, "a b", "white space"),
        (annotation::REROUTE_VIRTUAL_INTERFACES, "..", "`..`"),
    ] {
        let error = decide(&injected(&[(name, value)])).unwrap_err().to_string();
        assert!(error.starts_with(&format!("annotation {name}: ")) && error.contains(fault), "{error}");
    }
}

#[test]
fn the_proxys_users_and_variables() {
    let with = |change: &dyn Fn(&mut Container)| {
        let mut pod = injected(&[]);
        change(&mut pod.containers[0]);
        match decide(&pod).unwrap() {
            Decision::Intercept(settings) => *settings,
            Decision::Leave(leave) => panic!("{leave}"),
        }
    };
    let ids = with(&|proxy| (proxy.run_as_user, proxy.run_as_group) = (Some(7), Some(8))).sidecar;
    assert_eq!((ids.proxy_uids, ids.proxy_gids), (vec![7], vec![8]));
    let ids = with(&|proxy| (proxy.run_as_user, proxy.run_as_group) = (Some(0), Some(0))).sidecar;
    assert_eq!((ids.proxy_uids, ids.proxy_gids), (vec![1337], vec![1337]));
    let on = with(&|proxy| {
        proxy.env =
            map(&[("ISTIO_META_DNS_CAPTURE", "true"), ("ISTIO_DUAL_STACK", "1"), ("INVALID_DROP", "T")]);
    });
    assert_eq!((on.sidecar.dns, on.dual_stack, on.sidecar.drop_invalid), (Some(DnsCapture::All), true, true));
    let odd = with(&|proxy| proxy.env = map(&[("INVALID_DROP", "yes")]));
    assert_eq!((odd.sidecar.drop_invalid, odd.ignored.len()), (false, 1));
}

#[test]
fn a_native_sidecar_is_programmed_likewise() {
    let mut pod = injected(&[]);
    pod.init_containers = std::mem::take(&mut pod.containers);
    pod.init_containers[0].run_as_user = Some(7);
    assert_eq!(sidecar(&pod).proxy_uids, [7]);
}

#[test]
fn pods_that_are_left_alone() {
    #[track_caller]
    fn left(change: impl FnOnce(&mut Pod)) -> Option<Leave> {
        let mut pod = injected(&[]);
        change(&mut pod);
        match decide(&pod).unwrap() {
            Decision::Leave(leave) => Some(leave),
            Decision::Intercept(_) => None,
        }
    }
    let init = || Container { name: INIT.to_owned(), ..Container::default() };
    assert_eq!(left(|pod| pod.init_containers.push(init())), Some(Leave::InitContainer));
    assert_eq!(left(|pod| pod.containers.push(init())), Some(Leave::InitContainer));
    let disabled = map(&[("DISABLE_ENVOY", "true")]);
    assert_eq!(left(|pod| pod.containers[0].env = disabled), Some(Leave::EnvoyDisabled));
    assert_eq!(left(|pod| pod.containers.clear()), Some(Leave::NoProxy));
    assert_eq!(left(|pod| pod.containers[0].args[1] = "router".to_owned()), Some(Leave::NotASidecar));
    assert_eq!(left(|pod| pod.containers[0].args.truncate(1)), None);
    assert_eq!(left(|pod| pod.labels = map(&[(INJECT, "false")])), Some(Leave::InjectionOff));
    assert_eq!(left(|pod| pod.labels = map(&[(INJECT, "no")])), None);
    let annotated = |pod: &mut Pod| pod.annotations.insert(INJECT.to_owned(), "0".to_owned());
    assert_eq!(left(|pod| drop(annotated(pod))), Some(Leave::InjectionOff));
    // The label wins.
    let both = |pod: &mut Pod| {
        annotated(pod);
        pod.labels = map(&[(INJECT, "true")]);
    };
    assert_eq!(left(both), None);
    assert_eq!(left(|pod| drop(pod.annotations.remove(STATUS))), Some(Leave::NotInjected));
}

#[test]
fn the_first_address_decides_about_ipv6() {
    let v4: IpAddr = Ipv4Addr::new(10, 0, 0, 5).into();
    let v6: IpAddr = "fd00::5".parse().unwrap();
    let local: [IpAddr; 4] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
        "fe80::1".parse().unwrap(),
        PASSTHROUGH_V6.into(),
    ];
    let decides = |of_the_pod: &[IpAddr], dual| {
        deciding_address(local.into_iter().chain(of_the_pod.iter().copied()), dual)
    };
    assert_eq!(decides(&[v4, v6], false), Some(v4));
    assert_eq!(decides(&[v4, v6], true), Some(v6));
    assert_eq!(decides(&[v4], true), Some(v4));
    assert_eq!(decides(&[v6], false), Some(v6));
    assert_eq!(decides(&[], true), None);
}

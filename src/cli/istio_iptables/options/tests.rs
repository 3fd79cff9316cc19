use nft_ruleset::IpPrefix;

use super::*;
use crate::apply::Counters;
use crate::cli::istio_iptables::{command, flags::FLAGS};
use crate::mesh::istio::sidecar::{Interface, Mode, ServiceCidr};

fn options(flags: &[&str], environment: &[(&str, &str)]) -> Result<Options, String> {
    let flags = command().try_get_matches_from([&["istio-iptables"], flags].concat()).unwrap();
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let environment = environment.iter().map(owned).collect();
    Options::new(&Values::with_environment(&flags, environment)).map_err(|error| error.to_string())
}

#[track_caller]
fn sidecar(flags: &[&str], environment: &[(&str, &str)]) -> Sidecar {
    options(flags, environment).unwrap().sidecar
}

/// These flags and variables are refused with this text.
#[track_caller]
fn refused(flags: &[&str], environment: &[(&str, &str)], text: &str) {
    assert_eq!(options(flags, environment).map(|options| options.sidecar), Err(text.to_owned()));
}

fn networks(texts: &[&str]) -> Vec<IpPrefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn interfaces(names: &[&str]) -> Vec<Interface> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// `ENVOY_USER` names nobody, so that the result does not depend on the machine's users.
const NO_ENVOY: (&str, &str) = ("ENVOY_USER", "no-such-user");

#[test]
fn nothing_given() {
    let options = options(&[], &[NO_ENVOY]).unwrap();
    let sidecar = Sidecar {
        envoy_port: 15001,
        inbound_capture_port: 15006,
        inbound_tunnel_port: 15008,
        proxy_uids: vec![1337],
        proxy_gids: vec![1337],
        mode: Mode::Redirect,
        tproxy_mark: 1337,
        tproxy_route_table: 133,
        inbound_ports: InboundPorts::Only(vec![]),
        outbound_ports: vec![],
        outbound_ports_exclude: vec![],
        service_cidr: ServiceCidr::Only(vec![]),
        service_cidr_exclude: vec![],
        owner_groups: OwnerGroups::AllExcept(vec![]),
        virtual_interfaces: vec![],
        exclude_interfaces: vec![],
        dns: None,
        drop_invalid: false,
        ipv6: false,
        native_nftables: false,
        loopback_v4: "127.0.0.1/32".parse().unwrap(),
    };
    assert_eq!(options.sidecar, sidecar);
    assert_eq!(options.action, Action::Apply(Counters::Reset));
    assert_eq!(options.output, Output::Text);
    assert_eq!(options.network_namespace, None);
    assert!(options.validation.is_none() && options.warnings.is_empty());
    assert!(!options.dual_stack && !options.allow_host_network);
}

/// What the help says of defaults is what a run does without the flag.
#[test]
fn defaults_are_those_in_the_help() {
    let read = |flag: &str| {
        let options = options(&["--run-validation", flag], &[NO_ENVOY]).unwrap();
        format!("{options:?}")
    };
    let in_words = ["proxy-uid", "proxy-gid", "istio-inbound-ports", "istio-service-cidr"];
    let flags = FLAGS.iter().filter(|flag| !in_words.contains(&flag.definition().name));
    let given = flags.filter_map(|flag| Some((flag.definition().name, flag.shown_default()?)));
    let given: Vec<_> = given.map(|(name, default)| format!("--{name}={default}")).collect();
    assert!(given.len() >= 8, "{given:?}");
    for flag in given {
        assert_eq!(read(&flag), read("--run-validation"), "{flag}");
    }
}

#[test]
fn every_setting_by_its_short_flag() {
    let flags = [
        "-p",
        "1",
        "-z",
        "2",
        "-e",
        "3",
        "-u",
        "4",
        "-g",
        "5",
        "-m",
        "TPROXY",
        "-b",
        "*",
        "-d",
        "6,7",
        "-c",
        "a",
        "-i",
        "10.0.0.0/8",
        "-x",
        "fd00::/8",
        "-q",
        "8",
        "-o",
        "9",
        "-k",
        "b*",
        "-t",
        "10",
        "-r",
        "11",
    ];
    let expected = Sidecar {
        envoy_port: 1,
        inbound_capture_port: 2,
        inbound_tunnel_port: 3,
        proxy_uids: vec![4],
        proxy_gids: vec![5],
        mode: Mode::Tproxy,
        tproxy_mark: 10,
        tproxy_route_table: 11,
        inbound_ports: InboundPorts::AllExcept([6, 7].map(|port| port..=port).into()),
        outbound_ports: [8].map(|port| port..=port).into(),
        outbound_ports_exclude: [9].map(|port| port..=port).into(),
        service_cidr: ServiceCidr::Only(networks(&["10.0.0.0/8"])),
        service_cidr_exclude: networks(&["fd00::/8"]),
        virtual_interfaces: interfaces(&["b*"]),
        exclude_interfaces: interfaces(&["a"]),
        ..sidecar(&[], &[])
    };
    assert_eq!(sidecar(&flags, &[]), expected);
    assert_eq!(options(&["-n"], &[]).unwrap().action, Action::Print);
}

#[test]
fn every_setting_by_its_variable() {
    let environment = [
        ("INBOUND_CAPTURE_PORT", "2"),
        ("INBOUND_TUNNEL_PORT", "3"),
        ("PROXY_UID", "4"),
        ("PROXY_GID", "5"),
        ("ISTIO_INBOUND_INTERCEPTION_MODE", "TPROXY"),
        ("ISTIO_INBOUND_PORTS", "6,7"),
        ("ISTIO_EXCLUDE_INTERFACES", "a"),
        ("ISTIO_SERVICE_CIDR", "*"),
        ("ISTIO_SERVICE_EXCLUDE_CIDR", "10.0.0.0/8,fd00::/8"),
        ("ISTIO_OUTBOUND_PORTS", "8"),
        ("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", "9"),
        ("KUBE_VIRT_INTERFACES", "b,c"),
        ("ISTIO_INBOUND_TPROXY_MARK", "0x539"),
        ("ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "11"),
        ("ISTIO_META_DNS_CAPTURE", "true"),
        ("CAPTURE_ALL_DNS", "true"),
        ("INVALID_DROP", "true"),
        ("NATIVE_NFTABLES", "true"),
        ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.1.2.3/8"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "12,13"),
    ];
    let expected = Sidecar {
        inbound_capture_port: 2,
        inbound_tunnel_port: 3,
        proxy_uids: vec![4],
        proxy_gids: vec![5],
        mode: Mode::Tproxy,
        tproxy_mark: 1337,
        tproxy_route_table: 11,
        envoy_port: 15001,
        inbound_ports: InboundPorts::Only([6, 7].map(|port| port..=port).into()),
        outbound_ports: [8].map(|port| port..=port).into(),
        outbound_ports_exclude: [9].map(|port| port..=port).into(),
        service_cidr: ServiceCidr::All,
        service_cidr_exclude: networks(&["10.0.0.0/8", "fd00::/8"]),
        owner_groups: OwnerGroups::AllExcept(vec![12, 13]),
        virtual_interfaces: interfaces(&["b", "c"]),
        exclude_interfaces: interfaces(&["a"]),
        dns: Some(DnsCapture::All),
        drop_invalid: true,
        ipv6: false,
        native_nftables: true,
        loopback_v4: "127.0.0.0/8".parse().unwrap(),
    };
    assert_eq!(sidecar(&[], &environment), expected);
    assert!(options(&[], &[("ISTIO_DUAL_STACK", "true")]).unwrap().dual_stack);
}

/// As Istio's agent passes them on: what is set for the pod's proxy overrides the flag's own variable.
#[test]
fn istios_own_variables_come_first() {
    let dns = |own, meta| {
        let environment =
            [("REDIRECT_DNS", own), ("ISTIO_META_DNS_CAPTURE", meta), ("CAPTURE_ALL_DNS", "true")];
        sidecar(&[], &environment).dns.is_some()
    };
    assert_eq!((dns("true", "false"), dns("false", "true"), dns("true", "")), (false, true, true));
    let invalid = |own, meta| sidecar(&[], &[("DROP_INVALID", own), ("INVALID_DROP", meta)]).drop_invalid;
    assert_eq!((invalid("false", "true"), invalid("true", "false")), (true, false));
    let dual = |own, meta| options(&[], &[("DUAL_STACK", own), ("ISTIO_DUAL_STACK", meta)]).unwrap();
    assert!(!dual("true", "false").dual_stack && dual("false", "true").dual_stack);
    // What is not a boolean is as if it were not set, but for a warning.
    let ignored = dual("true", "yes");
    let warning = "environment variable ISTIO_DUAL_STACK: \"yes\" is neither true nor false: it is ignored";
    assert!(
        ignored.dual_stack && ignored.warnings.iter().any(|text| text == warning),
        "{:?}",
        ignored.warnings
    );
    assert_eq!(sidecar(&[], &[("ENVOY_PORT", "18000")]).envoy_port, 15001);
}

#[test]
fn ports_are_what_iptables_and_nft_take() {
    let ports = |text: &str| sidecar(&["-o", text], &[]).outbound_ports_exclude;
    assert_eq!(ports("10000:20000"), [10000..=20000]);
    assert_eq!(ports("80,10000-20000,443"), [80..=80, 10000..=20000, 443..=443]);
    for flag in ["-b", "-q"] {
        assert!(options(&[flag, "9000:9100"], &[]).is_ok());
    }
    assert_eq!(
        sidecar(&["-b", "*", "-d", "9000:9100"], &[]).inbound_ports,
        InboundPorts::AllExcept([9000..=9100].into())
    );
    let wrong = options(&["-o", "80,20000:10000"], &[]).unwrap_err().to_string();
    let fault = "\"20000:10000\" is not a range: it ends before it begins (item 2)";
    assert_eq!(wrong, format!("--istio-local-outbound-ports-exclude: {fault}"));
}

#[test]
fn a_flag_wins_over_its_variable() {
    let environment = [("INBOUND_CAPTURE_PORT", "1"), ("ISTIO_INBOUND_PORTS", "*"), ("DROP_INVALID", "true")];
    let flags = ["--inbound-capture-port=2", "--istio-inbound-ports=", "--drop-invalid=false"];
    let sidecar = sidecar(&flags, &environment);
    assert_eq!(sidecar.inbound_capture_port, 2);
    assert_eq!(sidecar.inbound_ports, InboundPorts::Only(vec![]));
    assert!(!sidecar.drop_invalid);
}

#[test]
fn an_empty_variable_is_ignored() {
    let names = FLAGS.iter().flat_map(|flag| flag.definition().environment.iter().copied());
    let empty: Vec<_> = names.map(|name| (name, "")).chain([NO_ENVOY]).collect();
    let options = options(&[], &empty).unwrap();
    assert_eq!(options.sidecar, sidecar(&[], &[NO_ENVOY]));
    assert_eq!((options.action, options.network_namespace), (Action::Apply(Counters::Reset), None));
}

#[test]
fn the_proxy_is_a_user_and_a_group() {
    let ids = |flags: &[&str], environment: &[(&str, &str)]| {
        let sidecar = sidecar(flags, environment);
        (sidecar.proxy_uids, sidecar.proxy_gids)
    };
    assert_eq!(ids(&[], &[("ENVOY_USER", "root")]), (vec![0], vec![0]));
    assert_eq!(ids(&[], &[NO_ENVOY]), (vec![1337], vec![1337]));
    assert_eq!(ids(&["-u", "3,4"], &[]), (vec![3, 4], vec![3, 4]));
    assert_eq!(ids(&["-u", "3", "-g", "1,2"], &[]), (vec![3], vec![1, 2]));
    assert_eq!(ids(&["-u", "", "-g", ""], &[NO_ENVOY]), (vec![1337], vec![1337]));
    assert_eq!(ids(&["-u", "root,4294967295"], &[]), (vec![0, u32::MAX], vec![0, u32::MAX]));
}

#[test]
fn owner_groups_are_names_or_numbers() {
    let groups = |value| sidecar(&[], &[("ISTIO_OUTBOUND_OWNER_GROUPS", value)]).owner_groups;
    assert_eq!(groups("*"), OwnerGroups::AllExcept(vec![]));
    assert_eq!(groups("root,202"), OwnerGroups::Only(vec![0, 202]));
    // Set, but to nothing: nobody's traffic is intercepted.
    assert_eq!(groups(""), OwnerGroups::Only(vec![]));
    let many: Vec<_> = (1..=1000).collect();
    let list = many.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(groups(&list), OwnerGroups::Only(many));
}

#[test]
fn dns_is_redirected_only_where_that_is_asked_for() {
    assert_eq!(sidecar(&["--redirect-dns", "--capture-all-dns"], &[]).dns, Some(DnsCapture::All));
    assert_eq!(sidecar(&["--capture-all-dns"], &[]).dns, None);
    assert_eq!(sidecar(&["--redirect-dns=false", "--capture-all-dns"], &[]).dns, None);
}

#[test]
fn of_several_actions_the_one_that_changes_least() {
    let action = |flags: &[&str]| options(flags, &[]).unwrap().action;
    assert_eq!(action(&["--keep-counters"]), Action::Apply(Counters::Keep));
    assert_eq!(action(&["--cleanup-only"]), Action::Remove);
    assert_eq!(action(&["--cleanup-only", "--check"]), Action::CheckRemoval);
    refused(
        &["--dry-run", "--check"],
        &[],
        "--check: it asks the kernel, which a dry run does not: give one of the two",
    );
    assert_eq!(action(&["--check", "--skip-rule-apply"]), Action::Nothing);
    assert_eq!(action(&["--skip-rule-apply", "--dry-run"]), Action::Print);
}

#[test]
fn validation_has_a_port_and_a_time() {
    let validation = |flags: &[&str]| {
        let probe = options(flags, &[]).unwrap().validation;
        probe.map(|probe| (probe.port, probe.timeout))
    };
    assert_eq!(validation(&["--run-validation"]), Some((15002, Duration::from_secs(5))));
    let flags = ["--run-validation", "--iptables-probe-port=1", "--probe-timeout=500ms"];
    assert_eq!(validation(&flags), Some((1, Duration::from_millis(500))));
}

#[test]
fn settings_without_effect_are_reported_or_ignored() {
    let flags = ["--force-iptables-binary=legacy", "--cni-mode", "--reconcile", "--force-apply=true"];
    let warning = "--force-iptables-binary is ignored: no iptables is used here";
    assert_eq!(options(&flags, &[]).unwrap().warnings, [warning]);
    assert!(options(&["--force-iptables-binary="], &[]).unwrap().warnings.is_empty());
}

/// Each line names the flag or the variable, the value, and what is wrong with it.
#[test]
fn every_wrong_value_is_refused_by_name() {
    for (flag, value, fault) in [
        ("envoy-port", "70000", r#""70000" is not a port (0 to 65535)"#),
        ("envoy-port", "0", "cannot listen on port 0"),
        ("inbound-capture-port", "", r#""" is not a port (0 to 65535)"#),
        ("inbound-tunnel-port", "15008,15009", r#""15008,15009" is not a port (0 to 65535)"#),
        ("proxy-uid", "no-such-user", r#"there is no user "no-such-user" here, and it is not a number"#),
        ("proxy-uid", "4294967296", r#""4294967296" is not a number from 0 to 4294967295"#),
        (
            "proxy-gid",
            "1,no-such-group",
            r#"there is no group "no-such-group" here, and it is not a number (item 2)"#,
        ),
        ("istio-inbound-interception-mode", "tproxy", r#""tproxy" is neither REDIRECT nor TPROXY"#),
        (
            "istio-inbound-ports",
            "80,70000",
            r#""70000" is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080) (item 2)"#,
        ),
        (
            "istio-inbound-ports",
            "*,80",
            r#""*" is neither a port (0 to 65535), nor a range of ports, nor a service that is known here (item 1)"#,
        ),
        (
            "istio-local-exclude-ports",
            "8000-70000",
            r#""8000-70000" is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)"#,
        ),
        (
            "istio-exclude-interfaces",
            "abcdefghijklmnop",
            r#""abcdefghijklmnop": an interface's name has at most 15 bytes"#,
        ),
        (
            "kube-virt-interfaces",
            "eth0,abcdefghijklmno*",
            r#""abcdefghijklmno*": an interface's name has at most 15 bytes (item 2)"#,
        ),
        (
            "kube-virt-interfaces",
            "*",
            r#""*": an interface's name has no slash, backslash, colon, white space or quote, and is not `.` or `..`"#,
        ),
        ("istio-service-cidr", "10.0.0.0/33", r#""10.0.0.0/33" is not a network (ADDRESS/PREFIX-LENGTH)"#),
        ("istio-service-cidr", "10.0.0.1", r#""10.0.0.1" has no prefix length: write 10.0.0.1/32"#),
        (
            "istio-service-exclude-cidr",
            "10.0.0.0/8,10.0.0/8",
            r#""10.0.0/8" is not a network (ADDRESS/PREFIX-LENGTH) (item 2)"#,
        ),
        (
            "istio-service-exclude-cidr",
            "*",
            "* would exclude all traffic: name the networks, or leave it out",
        ),
        (
            "istio-outbound-ports",
            "no-service",
            r#""no-service" is neither a port (0 to 65535), nor a range of ports, nor a service that is known here"#,
        ),
        (
            "istio-local-outbound-ports-exclude",
            "-1",
            r#""-1" is neither a port (0 to 65535), nor a range of ports, nor a service that is known here"#,
        ),
        ("istio-inbound-tproxy-mark", "0", "mark 0 is that of all packets"),
        ("istio-inbound-tproxy-route-table", "254", "table 254 is one of the system's own"),
        ("iptables-probe-port", "70000", r#""70000" is not a port (0 to 65535)"#),
        ("probe-timeout", "5", r#""5" is not a duration (such as 5s, 1m30s or 500ms)"#),
        ("dry-run", "yes", r#""yes" is neither true nor false"#),
        ("reconcile", "maybe", r#""maybe" is neither true nor false"#),
        ("force-iptables-binary", "iptables", r#""iptables" is neither legacy nor nft"#),
    ] {
        refused(&[&format!("--{flag}={value}")], &[], &format!("--{flag}: {fault}"));
        // The first has no variable, and in a variable what is not a boolean is ignored.
        if value.is_empty() || ["envoy-port", "dry-run", "reconcile"].contains(&flag) {
            continue;
        }
        let variable = flag.to_uppercase().replace('-', "_");
        let text = format!("environment variable {variable}: {fault}");
        refused(&[], &[(&variable, value)], &text);
    }
    refused(&["--output=yaml"], &[], r#"--output: "yaml" is neither text nor json"#);
}

#[test]
fn every_wrong_value_of_what_has_no_flag() {
    let loopback = "is not a loopback network of IPv4 (127.0.0.0/8 or a part of it)";
    let cidr = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR";
    for (name, value, fault) in [
        (cidr, "10.0.0.0/8", format!(r#""10.0.0.0/8" {loopback}"#)),
        (cidr, "127.0.0.0/7", format!(r#""127.0.0.0/7" {loopback}"#)),
        (cidr, "::1/128", format!(r#""::1/128" {loopback}"#)),
        (cidr, "", r#""" is not a network (ADDRESS/PREFIX-LENGTH)"#.to_owned()),
        (
            "ISTIO_OUTBOUND_OWNER_GROUPS",
            "no-such-group",
            r#"there is no group "no-such-group" here, and it is not a number"#.to_owned(),
        ),
        (
            "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
            "1,no-such-group",
            r#"there is no group "no-such-group" here, and it is not a number (item 2)"#.to_owned(),
        ),
    ] {
        refused(&[], &[(name, value)], &format!("environment variable {name}: {fault}"));
    }
}

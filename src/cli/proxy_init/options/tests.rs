use super::*;
use crate::apply::Counters;
use crate::cli::proxy_init::command;
use nft_ruleset::Ruleset;

/// What every call needs.
const PORTS: [&str; 4] = ["-p", "4143", "-o", "4140"];

fn parsed<T>(flags: &[&str], parse: impl FnOnce(&Values<'_>) -> Result<T, UsageError>) -> Result<T, String> {
    let flags = command().try_get_matches_from([&["proxy-init"], flags].concat()).unwrap();
    let values = Values::with_environment(&flags, Default::default());
    parse(&values).map_err(|error| error.to_string())
}

#[track_caller]
fn options(flags: &[&str]) -> Options {
    parsed(&[&PORTS, flags].concat(), Options::new).unwrap()
}

#[track_caller]
fn settings(flags: &[&str]) -> ProxyInit {
    parsed(&[&PORTS, flags].concat(), proxy_init).unwrap()
}

/// These flags are refused with this text.
#[track_caller]
fn refused(flags: &[&str], text: &str) {
    let refused = parsed(&[&PORTS, flags].concat(), Options::new).map(|options| options.desired.ruleset);
    assert_eq!(refused, Err(text.to_owned()), "{flags:?}");
}

fn defaults() -> ProxyInit {
    ProxyInit {
        incoming_proxy_port: 4143,
        outgoing_proxy_port: 4140,
        proxy_uid: None,
        proxy_gid: None,
        ports_to_redirect: vec![],
        inbound_ports_to_ignore: vec![],
        outbound_ports_to_ignore: vec![],
        subnets_to_ignore: vec![],
        ipv6: true,
    }
}

#[test]
fn the_ports_alone() {
    assert_eq!(settings(&[]), defaults());
    let options = options(&[]);
    assert_eq!(options.action, Action::Apply(Counters::Reset));
    assert_eq!((options.close_wait_timeout, options.netns, options.note), (None, None, None));
    assert_eq!((options.output, options.level), (Output::Text, Level::Info));
    assert!(!options.allow_host_network && options.warnings.is_empty());
}

#[test]
fn without_a_proxys_port_nothing_can_be_done_but_a_clean_up() {
    let given = |flags: &[&str]| parsed(flags, Options::new).map(|options| options.desired.ruleset);
    let missing = |name| Err(format!("--{name}: it is required: a port of the proxy, 1 to 65535"));
    assert_eq!(given(&["-o", "4140"]), missing("incoming-proxy-port"));
    assert_eq!(given(&["-p", "4143"]), missing("outgoing-proxy-port"));
    for flags in [&["--cleanup-only"][..], &["--cleanup-only", "--simulate"]] {
        assert_eq!(given(flags), Ok(Ruleset::default()));
    }
}

#[test]
fn all_settings_in_all_the_ways_that_pflag_takes_them() {
    let all = ProxyInit {
        proxy_uid: Some(2102),
        proxy_gid: Some(2103),
        ports_to_redirect: vec![80, 443],
        inbound_ports_to_ignore: vec![4190..=4190, 25..=27],
        outbound_ports_to_ignore: vec![443..=443],
        subnets_to_ignore: ["10.0.0.0/8", "fd00::/8"].map(|subnet| subnet.parse().unwrap()).into(),
        ipv6: false,
        ..defaults()
    };
    for flags in [
        "--proxy-uid 2102 --proxy-gid 2103 --ports-to-redirect 80,443 --inbound-ports-to-ignore 4190,25-27 \
         --outbound-ports-to-ignore 443 --subnets-to-ignore 10.0.0.0/8,fd00::/8 --ipv6=false",
        "-u 2102 -g 2103 -r 80 -r 443 --inbound-ports-to-ignore=4190 --inbound-ports-to-ignore 25-27, \
         --outbound-ports-to-ignore=,443 --subnets-to-ignore=10.0.0.0/8 --subnets-to-ignore=fd00::/8 --ipv6=F",
        "-u7 -u=2102 -g0x837 -r80,443 --inbound-ports-to-ignore= --inbound-ports-to-ignore 4190,,25-27 \
         --outbound-ports-to-ignore 443-443 --subnets-to-ignore 10.0.0.0/8,fd00::/8 --ipv6 --ipv6=0 -w",
    ] {
        assert_eq!(settings(&flags.split_whitespace().collect::<Vec<_>>()), all, "{flags}");
    }
}

#[test]
fn an_owner_that_is_not_above_0_is_none() {
    for nobody in ["-1", "0", "-2102"] {
        let settings = settings(&["--proxy-uid", nobody, "-g", nobody]);
        assert_eq!((settings.proxy_uid, settings.proxy_gid), (None, None));
    }
    refused(&["-u", "4294967296"], "--proxy-uid: \"4294967296\" is not a number from 0 to 4294967295");
    refused(&["-g", "--"], "--proxy-gid: \"--\" is not a number from 0 to 4294967295");
}

#[test]
fn ports_that_linkerd_drops_are_named() {
    let range = "is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)";
    for flag in ["--inbound-ports-to-ignore", "--outbound-ports-to-ignore"] {
        refused(&[flag, "4190,http"], &format!("{flag}: \"http\" {range} (item 2)"));
        refused(&[flag, "4190", flag, "25-70000"], &format!("{flag}: \"25-70000\" {range} (item 2)"));
        refused(&[flag, "27-25"], &format!("{flag}: \"27-25\" is not a range: it ends before it begins"));
    }
}

#[test]
fn what_linkerd_refuses_is_refused() {
    refused(&["-p", "0"], "--incoming-proxy-port: cannot listen on port 0");
    refused(&["-o", "-1"], "--outgoing-proxy-port: \"-1\" is not a port (0 to 65535)");
    refused(&["-o", "65536"], "--outgoing-proxy-port: \"65536\" is not a port (0 to 65535)");
    refused(&["-r", "80,443-445"], "--ports-to-redirect: \"443-445\" is not a port (0 to 65535) (item 2)");
    refused(&["-r", "80,"], "--ports-to-redirect: \"\" is not a port (0 to 65535) (item 2)");
    refused(&["-r", ""], "--ports-to-redirect: \"\" is not a port (0 to 65535)");
    refused(
        &["--subnets-to-ignore", "10.0.0.0/8,10.0.0.1"],
        "--subnets-to-ignore: \"10.0.0.1\" has no prefix length: write 10.0.0.1/32 (item 2)",
    );
    refused(
        &["--subnets-to-ignore", "10.0.0.0/8,"],
        "--subnets-to-ignore: \"\" is not a network (ADDRESS/PREFIX-LENGTH) (item 2)",
    );
    refused(&["--iptables-mode", "ebtables"], "--iptables-mode: \"ebtables\" is none of legacy, nft, plain");
    refused(
        &["--firewall-bin-path", "/sbin/iptables"],
        "--firewall-bin-path: \"/sbin/iptables\" is none of iptables-legacy, iptables-nft, iptables",
    );
    refused(
        &["--log-level", "loud"],
        "--log-level: \"loud\" is none of panic, fatal, error, warn, info, debug, trace",
    );
    refused(&["--ipv6=no"], "--ipv6: \"no\" is neither true nor false");
    refused(
        &["--timeout-close-wait-secs", "1m"],
        "--timeout-close-wait-secs: \"1m\" is not a number from 0 to 4294967295",
    );
}

#[test]
fn a_port_of_0_may_be_listed_and_a_list_may_be_empty() {
    let settings = settings(&["-r", "0", "--inbound-ports-to-ignore", "0", "--subnets-to-ignore", ""]);
    let listed = ProxyInit { ports_to_redirect: vec![0], inbound_ports_to_ignore: vec![0..=0], ..defaults() };
    assert_eq!(settings, listed);
}

#[test]
fn what_chooses_an_iptables_is_taken_and_said_to_mean_nothing() {
    let note = |flags: &[&str]| options(flags).note;
    let text = |flags: &str| {
        let native = "the backend is native nf_tables and no iptables is used, so this means nothing here";
        Some(format!("{native}: {flags}"))
    };
    for mode in ["legacy", "nft", "plain"] {
        assert_eq!(note(&["--iptables-mode", mode]), text("--iptables-mode"));
    }
    for path in ["iptables-legacy", "iptables-nft", "iptables"] {
        assert_eq!(note(&["--firewall-bin-path", path]), text("--firewall-bin-path"));
    }
    // With a mode, the path is not looked at.
    let all = ["--iptables-mode=nft", "--firewall-bin-path=x", "--firewall-save-bin-path=y", "-w"];
    let flags = "--iptables-mode, --firewall-bin-path, --firewall-save-bin-path, --use-wait-flag";
    assert_eq!(note(&all), text(flags));
    let nothing =
        ["--iptables-mode=", "--firewall-bin-path=", "--firewall-save-bin-path=", "--use-wait-flag=false"];
    assert_eq!(note(&nothing), None);
}

#[test]
fn a_network_without_rules_for_its_family_is_warned_of() {
    let flags = ["--subnets-to-ignore", "10.0.0.0/8,fd00::/8,fe80::/10"];
    assert!(options(&flags).warnings.is_empty());
    let warnings = options(&[&flags[..], &["--ipv6=false"]].concat()).warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("fd00::/8") && warnings[1].contains("fe80::/10"), "{warnings:?}");
}

#[test]
fn of_several_actions_the_most_cautious_wins() {
    let action = |flags: &[&str]| options(flags).action;
    assert_eq!(action(&["--keep-counters"]), Action::Apply(Counters::Keep));
    assert_eq!(action(&["--simulate"]), Action::Print);
    assert_eq!(action(&["--simulate=false", "--check", "--cleanup-only"]), Action::CheckRemoval);
    assert_eq!(action(&["--cleanup-only"]), Action::Remove);
    assert_eq!(action(&["--cleanup-only", "--check=0", "--simulate"]), Action::PrintRemoval);
}

#[test]
fn flags_that_do_not_change_the_rules() {
    let flags = ["--timeout-close-wait-secs", "3600", "--netns", "/proc/1/ns/net", "--log-level", "WARNING"];
    let options = options(&[&flags[..], &["--output=json", "--allow-host-network"]].concat());
    assert_eq!(options.close_wait_timeout, Some(3600));
    assert_eq!(options.netns.unwrap().text, "/proc/1/ns/net");
    assert_eq!((options.level, options.output), (Level::Warn, Output::Json));
    assert!(options.allow_host_network);
}

//! Which address decides whether there are rules for IPv6.

use std::net::IpAddr;

use crate::harness::nft::objects;
use crate::harness::{Intercept, Namespace, link, network, of_the_command, oracle, privileged};

/// A namespace with an eth0 and an eth1 that have these addresses.
pub(crate) fn with_links(eth0: &[&str], eth1: &[&str]) -> Option<(Namespace, Namespace)> {
    if !privileged() {
        return None;
    }
    let (namespace, other) = (Namespace::new(), Namespace::new());
    namespace.run(|| {
        for (name, addresses) in [("eth0", eth0), ("eth1", eth1)] {
            link::veth_pair(name, &other);
            for address in addresses {
                let address: IpAddr = address.parse().unwrap();
                link::address(name, address, if address.is_ipv4() { 24 } else { 64 });
            }
        }
    });
    Some((namespace, other))
}

#[test]
fn the_log_names_the_address_that_decided() {
    for (eth0, eth1, single, dual) in [
        (&["10.0.0.2"][..], &["10.2.0.2"][..], "off: 10.0.0.2", "off: 10.0.0.2"),
        (&["10.0.0.2", "fd00::2"], &["10.2.0.2"], "off: 10.0.0.2", "on: fd00::2"),
        (&["10.0.0.2"], &["fd02::2"], "off: 10.0.0.2", "on: fd02::2"),
        (&["fd00::2"], &["10.2.0.2"], "off: 10.2.0.2", "on: fd00::2"),
        (&["fd00::2"], &["fd02::2"], "on: fd00::2", "on: fd00::2"),
        (&[], &["fd02::2"], "on: fd02::2", "on: fd02::2"),
        (&["169.254.0.2"], &["10.2.0.2"], "off: 10.2.0.2", "off: 10.2.0.2"),
    ] {
        let Some((namespace, _other)) = with_links(eth0, eth1) else { return };
        for (args, decision) in [(&["-b", "*"][..], single), (&["-b", "*", "--dual-stack"], dual)] {
            // The second time, ::6 exists.
            for _ in 0..2 {
                let output = Intercept::new(args).run(&namespace);
                assert_eq!(
                    String::from_utf8_lossy(&output.stderr),
                    format!("info: {}\n", log_line(args, decision))
                );
                assert!(output.status.success());
            }
            let printed = Intercept::new(args).with(&["--dry-run"]).apply(&namespace);
            let has_rules = printed.contains("ip6 daddr");
            assert_eq!(has_rules, decision.starts_with("on"), "{decision}");
        }
    }
}

/// What is logged of a decision, which is "off" or "on" and the address.
fn log_line(args: &[&str], decision: &str) -> String {
    let (state, address) = decision.split_once(": ").unwrap();
    match (state, args.contains(&"--dual-stack")) {
        ("on", true) => format!("IPv6 on: the pod has an IPv6 address, {address}"),
        (_, true) => "IPv6 off: the pod has no IPv6 address".to_owned(),
        ("on", false) => format!("IPv6 on: the pod's first address, {address}, is IPv6"),
        (_, false) => format!("IPv6 off: the pod's first address, {address}, is IPv4"),
    }
}

#[test]
fn without_an_address_nothing_is_done() {
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    for eth0 in [&[][..], &["169.254.0.2"]] {
        let Some((namespace, _other)) = with_links(eth0, &[]) else { return };
        let output = Intercept::new(&["-b", "*", "-m", "TPROXY"]).run(&namespace);
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "error: no interface has an address but loopback and link local ones: cannot determine whether the \
             pod is IPv4 or IPv6\nhelp: run it when the pod's network is set up\n"
        );
        assert_eq!(output.status.code(), Some(1));
        assert!(objects(&namespace).is_empty());
        assert!(of_the_command(&network(&namespace)).is_empty());
        // Cleaning up needs no family.
        Intercept::new(&["--cleanup-only"]).apply(&namespace);
    }
}

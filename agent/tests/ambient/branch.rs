//! Pods with a branch interface of AWS: all that they send and get takes the provider's network, but probes.

use std::net::TcpListener;
use std::process::Command;
use std::{fs, io};

use meshwire::netns::Namespace as Netns;

use super::harness::{Namespace, Node, Sandbox, run, soon};
use super::{BOTH, add, assert_captured, privileged};

const TABLE: &str = "101";
const PORT: u16 = 8080;

/// What AWS's plugin has made on a node whose pods have security groups, in strict mode.
struct Provider {
    _network: Namespace,
}

impl Provider {
    fn new(node: &Node) -> Self {
        let (network, host) = (Namespace::new(), node.host.name.as_str());
        run(
            "ip",
            &["-n", host, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", &network.name],
        );
        run("ip", &["-n", host, "address", "add", "10.9.9.1/24", "dev", "eth0"]);
        run("ip", &["-n", host, "-6", "address", "add", "fd00:9::1/64", "dev", "eth0", "nodad"]);
        for namespace in [host, &network.name] {
            run("ip", &["-n", namespace, "link", "set", "eth0", "up"]);
        }
        for (family, gateway) in [("-4", "10.9.9.254"), ("-6", "fd00:9::fe")] {
            let default = ["-n", host, family, "route", "add", "default", "via", gateway];
            run("ip", &default);
            run("ip", &[&default[..], &["table", TABLE]].concat());
        }
        node.host.output("sysctl -qw net.ipv4.tcp_early_demux=0");
        Self { _network: network }
    }

    /// A pod's namespace, to which `link` leads.
    fn sandbox(node: &Node, link: &str) -> Sandbox {
        let sandbox = node.sandbox(&[]);
        let (host, pod) = (node.host.name.as_str(), sandbox.namespace.name.as_str());
        run("ip", &["-n", host, "link", "add", link, "type", "veth", "peer", "eth0", "netns", pod]);
        run("ip", &["-n", pod, "link", "set", "eth0", "up"]);
        run("ip", &["-n", host, "link", "set", link, "up"]);
        let address = node.host.output(&format!("cat /sys/class/net/{link}/address"));
        for (family, address, bits, gateway) in [
            ("-4", BOTH[0], 32, "169.254.7.127"),
            ("-6", BOTH[1], 128, "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"),
        ]
        .map(|(family, own, bits, probe)| (family, own, bits, (probe, address.trim())))
        {
            let nodad: &[&str] = if family == "-6" { &["nodad"] } else { &[] };
            let add = ["-n", pod, family, "address", "add", &format!("{address}/{bits}"), "dev", "eth0"];
            run("ip", &[&add[..], nodad].concat());
            run("ip", &["-n", pod, family, "route", "add", "default", "dev", "eth0"]);
            // Whatever it is, the node takes it.
            run("ip", &["-n", pod, "neigh", "add", gateway.0, "lladdr", gateway.1, "dev", "eth0"]);
            run("ip", &["-n", host, family, "route", "add", address, "dev", link, "table", TABLE]);
            run("ip", &["-n", host, family, "rule", "add", "iif", link, "lookup", TABLE, "pref", "10"]);
        }
        sandbox
    }
}

fn early_demux(node: &Node, value: &str) {
    let folder = node.proc().join("sys/net/ipv4");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("tcp_early_demux"), value).unwrap();
    // So that the node is looked at.
    node.host.output("nft add table inet other");
    node.host.output("nft delete table inet other");
}

/// Whether the kubelet, which has a user of its own here, gets a connection.
fn is_probed(node: &Node, address: &str) -> bool {
    let connect = format!(": < /dev/tcp/{address}/{PORT}");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &node.host.name, "setpriv", "--reuid=4711", "--clear-groups"]);
    command.args(["timeout", "1", "bash", "-c", &connect]).output().unwrap().status.success()
}

fn listen(sandbox: &Sandbox) -> io::Result<TcpListener> {
    let inside = Netns::from_path(sandbox.namespace.path()).unwrap();
    inside.enter(|| TcpListener::bind(("::", PORT))).unwrap()
}

/// The rules of a family, those of every namespace aside.
fn rules(node: &Node, family: &str) -> Vec<String> {
    let listed = node.host.output(&format!("ip {family} rule"));
    let lines = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !["0:", "32766:", "32767:"].iter().any(|usual| line.starts_with(usual))).collect()
}

#[test]
fn probes_of_a_pod_with_a_branch_interface_stay_on_the_node() {
    if !privileged() {
        return;
    }
    let (mut node, ztunnel) = super::running(true);
    let provider = Provider::new(&node);
    let sandbox = Provider::sandbox(&node, "vlan1");
    early_demux(&node, "1\n");
    let theirs = rules(&node, "-4");
    assert_eq!(theirs, ["10: from all iif vlan1 lookup 101"]);

    // Without AWS's setting nothing is looked for, and the probe takes the provider's network.
    let (uid, sandbox) = add_in(&node, sandbox);
    let _listener = listen(&sandbox).unwrap();
    assert_captured(&node, &ztunnel, "p", &uid, &sandbox, BOTH);
    assert!(BOTH.iter().all(|address| !is_probed(&node, address)));
    assert_eq!(rules(&node, "-4"), theirs);

    early_demux(&node, "0\n");
    let with_ours = |to: &str| {
        let ours = ["9: from all iif vlan1 lookup local", "10: from all iif vlan1 lookup 101"];
        ours.map(str::to_owned)
            .into_iter()
            .chain([format!("512: from all to {to} lookup 101")])
            .collect::<Vec<_>>()
    };
    for (family, address) in [("-4", BOTH[0]), ("-6", BOTH[1])] {
        soon("the rules", || rules(&node, family) == with_ours(address));
        soon("the address is probed", || is_probed(&node, address));
    }
    // Somebody removes one of them, and the node is looked at.
    node.host.output("ip rule del pref 512");
    early_demux(&node, "0\n");
    soon("the rule is back", || rules(&node, "-4") == with_ours(BOTH[0]));

    // The next agent knows them, too, though the provider's are gone before the pod is.
    node.start();
    soon("it has taken over", || node.summary().enabled == 1);
    node.host.output("ip route flush table 101");
    node.host.output("ip rule del pref 10");
    node.api().remove(&Node::pod_path("p"));
    soon("the rules are gone", || rules(&node, "-4").is_empty());
    soon("those of IPv6, too", || rules(&node, "-6") == ["10: from all iif vlan1 lookup 101"]);
    drop(provider);
}

#[test]
fn an_uninstalled_agent_takes_the_rules_for_probes_along() {
    if !privileged() {
        return;
    }
    let mut node = Node::new(true);
    let _provider = Provider::new(&node);
    early_demux(&node, "0\n");
    node.start();
    let ztunnel = node.ztunnel();
    soon("ztunnel is ready", || ztunnel.is_ready());
    let sandbox = Provider::sandbox(&node, "vlan1");
    let (_, sandbox) = add_in(&node, sandbox);
    assert_eq!(rules(&node, "-4").len(), 3, "they are made before the plugin hears of it");
    let _listener = listen(&sandbox).unwrap();
    // Each end has to find the other's link address first.
    soon("both addresses are probed", || BOTH.iter().all(|address| is_probed(&node, address)));
    // Another pod gets none.
    let (_, _other) = add(&node, "q", &["10.1.0.6"]);
    assert_eq!(rules(&node, "-4").len(), 3);
    node.uninstall();
    for family in ["-4", "-6"] {
        soon("only the provider's rule is left", || {
            rules(&node, family) == ["10: from all iif vlan1 lookup 101"]
        });
    }
}

/// A pod `p` in this sandbox, which its plugin reports.
fn add_in(node: &Node, mut sandbox: Sandbox) -> (String, Sandbox) {
    let uid = node.create("p");
    let (code, text) = node.report("p", Some(&uid), &sandbox.namespace.path(), BOTH);
    assert_eq!((code, text.as_str()), (200, ""));
    node.start_process(&mut sandbox, &uid);
    node.running("p", BOTH);
    (uid, sandbox)
}

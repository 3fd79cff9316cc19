//! By hand: what the real ztunnel makes of what the agent hands over. `MESHWIRE_ZTUNNEL` names its executable.

use std::env;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use meshwire::netns::Namespace as Netns;
use serde_json::json;

use super::harness::{Node, run, soon, within};
use super::mesh::{Mesh, Program, cluster};
use super::privileged;
use super::traffic::{APPLICATION, Talker, Traffic, connect, exchange};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const NODE: &str = "10.9.0.100";
const PROBED: u16 = 8080;

/// The node is on the pods' wire, and they know the way back to it.
fn join(node: &Node, traffic: &Traffic) {
    let (host, wire) = (node.host.name.as_str(), traffic.wire.name.as_str());
    run("ip", &["-n", wire, "link", "add", "node", "type", "veth", "peer", "eth0", "netns", host]);
    run("ip", &["-n", wire, "link", "set", "node", "master", "wire", "up"]);
    run("ip", &["-n", host, "address", "add", &format!("{NODE}/24"), "dev", "eth0"]);
    run("ip", &["-n", host, "link", "set", "eth0", "up"]);
    let address = node.host.output("cat /sys/class/net/eth0/address");
    for pod in &traffic.talkers {
        let pod = pod.sandbox.namespace.name.as_str();
        run("ip", &["-n", pod, "route", "add", "default", "dev", "eth0"]);
        run("ip", &["-n", pod, "neigh", "add", "169.254.7.127", "lladdr", address.trim(), "dev", "eth0"]);
    }
    // TLS 1.2 and 1.3 alike: handshakes, and records of application data.
    let records = |name: &str, start: &str| format!("tcp dport 15008 @th,256,24 {start} counter name {name}");
    let rules = [records("handshakes", "0x160301"), records("data", "0x170303")].join("\n");
    let chain = format!("chain forward {{ type filter hook forward priority 1;\n{rules}\n}}");
    traffic.wire.feed(
        "nft -f -",
        &format!("table bridge tls {{\ncounter handshakes {{ }}\ncounter data {{ }}\n{chain}\n}}\n"),
    );
}

/// One question and its answer from within the first pod; how long it took until there was one.
fn ask(pod: &Talker, to: Ipv4Addr) -> Duration {
    let inside = Netns::from_path(pod.sandbox.namespace.path()).unwrap();
    let begun = Instant::now();
    let to = SocketAddrV4::new(to, APPLICATION);
    let answered = || connect(to).and_then(|mut stream| exchange(&mut stream)).is_ok();
    within(Duration::from_secs(30), "an answer", || inside.enter(answered).unwrap());
    begun.elapsed()
}

/// Who the pod's application sees when this user of the node connects.
fn seen_as(node: &Node, pod: &Talker, listener: &TcpListener, uid: &str) -> String {
    let probe = format!(": < /dev/tcp/{}/{PROBED}", pod.address);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &node.host.name, "setpriv", &format!("--reuid={uid}"), "--clear-groups"]);
    let mut command = command.args(["timeout", "5", "bash", "-c", &probe]).spawn().unwrap();
    let (_, peer) = listener.accept().unwrap();
    assert!(command.wait().unwrap().success());
    peer.ip().to_string()
}

/// Connections that ztunnel has counted, by how they were secured.
fn counted(program: &Program) -> String {
    let text = program.metrics();
    let lines = text.lines().filter(|line| line.starts_with("istio_tcp_connections_opened_total{"));
    let part = |line: &str, name: &str| {
        let value = line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.map_or_else(String::new, |(value, _)| value.to_owned())
    };
    let short = lines.map(|line| {
        let names = ["reporter", "source_principal", "destination_principal", "destination_service_name"];
        let names = [&names[..], &["connection_security_policy"]].concat();
        let parts: Vec<_> = names.into_iter().map(|name| part(line, name)).collect();
        format!("  {} = {}", parts.join(" "), line.rsplit(' ').next().unwrap_or_default())
    });
    short.collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs the real ztunnel, which MESHWIRE_ZTUNNEL names"]
fn the_real_ztunnel_carries_what_the_agent_hands_over() {
    let (true, Some(path)) = (privileged(), env::var_os("MESHWIRE_ZTUNNEL")) else { return };
    let mut node = Node::new(true);
    let mut traffic = Traffic::new(&node, 1);
    join(&node, &traffic);
    node.start();
    let pods = traffic.talkers.iter().map(|pod| (pod.name.clone(), vec![pod.address.to_string()]));
    let text = cluster(pods, &[("app", &SERVICE.to_string(), "talker2")]);
    let mesh = Mesh::Program(Program::start(path.into(), &node, &text));
    let Mesh::Program(program) = &mesh else { return };
    program.settle();
    let uids = traffic.talkers.iter().map(|pod| pod.uid.clone()).collect();
    soon("both pods have a proxy", || program.proxies() == uids);
    traffic.start(&mesh);

    let ledger = traffic.ledgers[0].clone();
    let count = |name: &str| {
        let listed = traffic.wire.output(&format!("nft list counter bridge tls {name}"));
        let number =
            listed.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next().map(str::to_owned));
        number.unwrap().parse::<u64>().unwrap()
    };
    let state = |what: &str| {
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        eprintln!(
            "{what}: {} bytes, {} cut, {} refused; on the wire {} in the tunnel ({} TLS handshakes, {} records), {} plain",
            load(&ledger.bytes),
            load(&ledger.cut),
            load(&ledger.refused),
            traffic.seen("tunnel", 0),
            count("handshakes"),
            count("data"),
            traffic.seen("plain", 0)
        );
        assert_eq!(traffic.seen("plain", 0), 0);
    };
    soon("they talk", || ledger.bytes.load(Ordering::Relaxed) > 1000);
    assert!(count("handshakes") > 0 && count("data") > 0);
    state("HBONE");

    let took = ask(&traffic.talkers[0], SERVICE);
    state(&format!("an address of a service answers after {took:?}"));
    eprintln!("{}", counted(program));

    let pod = &traffic.talkers[1];
    let inside = Netns::from_path(pod.sandbox.namespace.path()).unwrap();
    let listener = inside.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PROBED)).unwrap()).unwrap();
    let probed = seen_as(&node, pod, &listener, "4711");
    eprintln!(
        "the kubelet's probe comes from {probed}; another connection of the node's from {}",
        seen_as(&node, pod, &listener, "0")
    );
    assert_eq!(probed, "169.254.7.127");
    eprintln!("{}", counted(program));

    program.kill();
    let took = ask(&traffic.talkers[0], SERVICE);
    state(&format!("ztunnel was killed and started: an answer after {took:?}"));
    program.settle();

    program.replace();
    soon("two ztunnels are connected", || node.summary().ztunnels == 2);
    assert_eq!(program.count(), 2);
    let took = ask(&traffic.talkers[0], SERVICE);
    state(&format!("two ztunnels at once: an answer after {took:?}"));
    program.settle();
    let took = ask(&traffic.talkers[0], SERVICE);
    within(Duration::from_secs(30), "one is connected", || node.summary().ztunnels == 1);
    state(&format!("the old one has ended: an answer after {took:?}"));

    let before = ledger.cut.load(Ordering::Relaxed) + ledger.refused.load(Ordering::Relaxed);
    node.start();
    soon("ztunnel has connected again", || node.summary().ztunnels == 1 && node.summary().enabled == 2);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(ledger.cut.load(Ordering::Relaxed) + ledger.refused.load(Ordering::Relaxed), before);
    state("the agent was restarted");
    assert_eq!(program.proxies(), uids);

    node.update("talker1", |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": "none" }));
    soon("it is released", || node.annotation("talker1").is_none());
    soon("it has no proxy", || program.proxies().len() == 1);
    assert!(traffic.talkers[0].sandbox.namespace.tables().is_empty());
    let took = ask(&traffic.talkers[0], traffic.talkers[1].address);
    eprintln!("a pod left the mesh: its plain text is answered after {took:?}");
    assert!(traffic.seen("plain", 0) > 0);
    mesh.assert_well();
}

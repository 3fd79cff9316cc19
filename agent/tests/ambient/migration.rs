//! From Istio's own agent to ours and back: traffic flows after each step, and a connection that existed before survives.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use meshwire::mesh::istio::ambient::{HostInterception, PodInterception};
use meshwire::netns::{Namespace as Netns, inside};
use meshwire::network::RouteSocket;
use meshwire::nft_ruleset::Ruleset;
use meshwire::verify::{VerifyError, verify};
use meshwire_testkit::{ISTIO_AMBIENT_POD, oracle};
use nftwire::Socket;
use serde_json::json;

use super::common::PATIENCE;
use super::harness::{Namespace, Node, Sandbox, run, soon};
use super::{assert_captured, privileged};

/// What it makes on the node; its set of addresses is left out, which needs ipset.
const HOST: &str = "*nat
:ISTIO_POSTRT - [0:0]
-A POSTROUTING -j ISTIO_POSTRT
-A ISTIO_POSTRT -p tcp -m owner --socket-exists -j SNAT --to-source 169.254.7.127
COMMIT
";

/// What Istio's agent makes for IPv4, and what it adds besides.
fn by_istio(namespace: &Namespace, rules: &str, is_pod: bool) {
    namespace.feed("iptables-nft-restore --noflush", rules);
    if is_pod && !namespace.output("ip rule").contains("32764:") {
        namespace.output("ip rule add fwmark 0x111/0xfff pref 32764 lookup 100");
        namespace.output("ip route add local default dev lo table 100");
    }
}

/// The same rules for IPv6.
fn by_istio_for_ipv6(namespace: &Namespace, rules: &str) {
    let rules = rules
        .replace("169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128")
        .replace("169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff")
        .replace("127.0.0.1/32", "::1/128");
    namespace.feed("ip6tables-nft-restore --noflush", &rules);
}

/// Loads rules by nft, in place of what its tables have.
fn by_nft(namespace: &Namespace, ruleset: &Ruleset) {
    let names = ruleset.tables.iter().map(|table| format!("{} {}", table.family, table.name));
    let removal: String = names.map(|name| format!("add table {name}\nflush table {name}\n")).collect();
    namespace.feed("nft -f -", &format!("{removal}{ruleset}"));
}

fn has_istios_chains(namespace: &Namespace) -> bool {
    namespace.output("iptables-nft-save").contains("ISTIO_")
}

/// A listener that says who it is, and then repeats what it gets.
fn listen(namespace: &Namespace, port: u16, name: &'static str) {
    let inside = Netns::from_path(namespace.path()).unwrap();
    let listener = inside.enter(move || TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let _ = stream.write_all(name.as_bytes());
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

/// A pod on a link to a client, with a proxy and an application inside.
struct Linked {
    sandbox: Sandbox,
    client: Namespace,
    address: String,
    uid: String,
}

impl Linked {
    fn new(node: &Node, name: &str, number: u8) -> Self {
        let mut sandbox = node.sandbox(&[]);
        let client = Namespace::new();
        let (pod, address) = (&sandbox.namespace.name, format!("10.1.{number}.5"));
        run(
            "ip",
            &[
                "-n",
                &client.name,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                pod,
            ],
        );
        for (namespace, address) in
            [(&client.name, format!("10.1.{number}.1/24")), (pod, format!("{address}/24"))]
        {
            run("ip", &["-n", namespace, "address", "add", &address, "dev", "eth0"]);
            run("ip", &["-n", namespace, "link", "set", "eth0", "up"]);
        }
        listen(&sandbox.namespace, 15006, "proxy");
        listen(&sandbox.namespace, 80, "app!!");
        let uid = node.create(name);
        node.start_process(&mut sandbox, &uid);
        node.running(name, &[&address]);
        Self { sandbox, client, address, uid }
    }

    /// A connection to the application, and who took it.
    fn connect(&self) -> (TcpStream, String) {
        let address = format!("{}:80", self.address);
        let inside = Netns::from_path(self.client.path()).unwrap();
        let mut stream = inside.enter(move || TcpStream::connect(address).unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut name = [0; 5];
        stream.read_exact(&mut name).unwrap();
        (stream, String::from_utf8(name.to_vec()).unwrap())
    }

    #[track_caller]
    fn assert_reaches(&self, name: &str) {
        assert_eq!(self.connect().1, name);
    }
}

#[track_caller]
fn assert_alive(stream: &mut TcpStream) {
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

/// Whether a namespace holds exactly this.
fn holds(
    namespace: &Namespace,
    check: impl FnOnce(&mut Socket, &mut RouteSocket) -> Result<bool, VerifyError> + Send,
) -> bool {
    #[derive(Debug)]
    struct Any(#[expect(dead_code, reason = "it is printed")] String);
    impl From<VerifyError> for Any {
        fn from(error: VerifyError) -> Self {
            Self(error.to_string())
        }
    }
    impl From<nftwire::NamespaceError> for Any {
        fn from(error: nftwire::NamespaceError) -> Self {
            Self(error.to_string())
        }
    }
    impl From<nftwire::Error> for Any {
        fn from(error: nftwire::Error) -> Self {
            Self(error.to_string())
        }
    }
    impl From<meshwire::network::RouteError> for Any {
        fn from(error: meshwire::network::RouteError) -> Self {
            Self(error.to_string())
        }
    }
    let inside_it = Netns::from_path(namespace.path()).unwrap();
    inside(&inside_it, |nft, routes| check(nft, routes).map_err(Any::from)).unwrap()
}

#[test]
fn from_istios_agent_in_iptables_mode_to_ours_to_istios_in_nft_mode() {
    if !privileged() || !oracle("iptables-nft-restore") {
        return;
    }
    let mut node = Node::new(false);
    let (pod, other) = (Linked::new(&node, "p", 7), Linked::new(&node, "q", 6));
    by_istio(&pod.sandbox.namespace, ISTIO_AMBIENT_POD, true);
    by_istio(&other.sandbox.namespace, ISTIO_AMBIENT_POD, true);
    by_istio(&node.host, HOST, false);
    for name in ["p", "q"] {
        node.update(name, |pod| {
            pod["metadata"]["annotations"] = json!({ "ambient.istio.io/redirection": "enabled" });
        });
    }
    let (mut connection, taker) = pod.connect();
    assert_eq!(taker, "proxy");
    let (mut others_connection, taker) = other.connect();
    assert_eq!(taker, "proxy");

    node.start();
    let ztunnel = node.ztunnel();
    soon("ztunnel is ready", || ztunnel.is_ready());
    soon("nothing of Istio's is left in the pod", || !has_istios_chains(&pod.sandbox.namespace));
    soon("nor on the node", || !has_istios_chains(&node.host));
    soon("all is as desired", || node.summary().enabled == 2);
    assert_alive(&mut connection);
    pod.assert_reaches("proxy");

    // To the rules that Istio's agent knows in nft mode, and back, and there again.
    for (backend, native) in [("nft", true), ("meshwire", false), ("nft", true)] {
        let Some(output) = node.meshwire(&["node", "release", "--backend", backend]) else { return };
        assert!(output.status.success(), "{output:?}");
        let PodInterception { ipv6, dns, .. } = node.settings().pod;
        let settings = PodInterception { ipv6, dns, native_nftables: native, ..PodInterception::default() };
        let is_exact = holds(&pod.sandbox.namespace, |nft, routes| {
            Ok(verify(&settings.interception(), nft, routes)?.is_empty())
        });
        assert!(is_exact, "{backend}: {}", pod.sandbox.namespace.output("nft list ruleset"));
        let host = HostInterception { native_nftables: native, ..HostInterception::new([4711]) };
        let is_exact =
            holds(&node.host, |nft, routes| Ok(verify(&host.interception(), nft, routes)?.is_empty()));
        assert!(is_exact, "{backend}: {}", node.host.output("nft list ruleset"));
        soon("the pod is in the probe set", || node.probes().get(&pod.address) == Some(&pod.uid));
        assert_alive(&mut connection);
        pod.assert_reaches("proxy");
        assert_eq!(node.summary().heals, meshwire_agent::ambient::state::Heals::default());
    }
    assert_eq!(node.annotation("p").as_deref(), Some("enabled"));

    node.update("p", |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": "none" }));
    soon("it is released", || node.annotation("p").is_none());
    pod.assert_reaches("app!!");
    other.assert_reaches("proxy");
    assert_alive(&mut others_connection);
    node.uninstall();
    assert_eq!(node.host.tables(), ["table ip nat"], "iptables' own, which is empty");
    pod.assert_reaches("app!!");
    other.assert_reaches("proxy");
    assert_alive(&mut others_connection);
    assert_eq!(ztunnel.violations(), [""; 0]);
}

/// Istio's agent ran in between, and did not clean up: in either mode.
#[test]
fn from_ours_by_way_of_istios_agent_to_ours() {
    if !privileged() || !oracle("iptables-nft-restore") {
        return;
    }
    let mut node = Node::new(false);
    let pod = Linked::new(&node, "p", 5);
    let PodInterception { ipv6, dns, .. } = node.settings().pod;
    let ours = PodInterception { ipv6, dns, ..PodInterception::default() };
    let is_ours = |node: &Node| {
        let host = HostInterception::new([4711]).interception();
        holds(&pod.sandbox.namespace, |nft, routes| Ok(verify(&ours.interception(), nft, routes)?.is_empty()))
            && holds(&node.host, |nft, routes| Ok(verify(&host, nft, routes)?.is_empty()))
            && !has_istios_chains(&pod.sandbox.namespace)
            && !has_istios_chains(&node.host)
    };
    node.start();
    let ztunnel = node.ztunnel();
    assert_captured(&node, &ztunnel, "p", &pod.uid, &pod.sandbox, &[&pod.address]);
    let (mut connection, taker) = pod.connect();
    assert_eq!(taker, "proxy");
    for mode in ["iptables", "nft"] {
        node.kill();
        if mode == "iptables" {
            by_istio(&pod.sandbox.namespace, ISTIO_AMBIENT_POD, true);
            by_istio(&node.host, HOST, false);
        } else {
            let native = PodInterception { native_nftables: true, ..ours.clone() };
            by_nft(&pod.sandbox.namespace, &native.interception().ruleset);
            let native = HostInterception { native_nftables: true, ..HostInterception::new([4711]) };
            by_nft(&node.host, &native.interception().ruleset);
            assert!(!is_ours(&node), "they differ");
        }
        pod.assert_reaches("proxy");
        assert_alive(&mut connection);
        node.start();
        soon(&format!("ours again, after Istio's in {mode} mode"), || {
            is_ours(&node) && node.summary().enabled == 1
        });
        soon("the pod is in the probe set", || node.probes().get(&pod.address) == Some(&pod.uid));
        pod.assert_reaches("proxy");
        assert_alive(&mut connection);
    }
    assert_eq!(ztunnel.violations(), [""; 0]);
}

#[test]
fn to_istios_agent_in_iptables_mode() {
    if !privileged() || !oracle("iptables-nft-restore") {
        return;
    }
    let mut node = Node::new(true);
    let (pod, other) = (Linked::new(&node, "p", 8), Linked::new(&node, "q", 9));
    node.start();
    let ztunnel = node.ztunnel();
    assert_captured(&node, &ztunnel, "p", &pod.uid, &pod.sandbox, &[&pod.address]);
    assert_captured(&node, &ztunnel, "q", &other.uid, &other.sandbox, &[&other.address]);
    let (mut connection, taker) = pod.connect();
    assert_eq!(taker, "proxy");
    let (mut others_connection, taker) = other.connect();
    assert_eq!(taker, "proxy");
    // The image is another one, whose agent has not found the second pod yet.
    node.kill();
    by_istio(&pod.sandbox.namespace, ISTIO_AMBIENT_POD, true);
    by_istio_for_ipv6(&pod.sandbox.namespace, ISTIO_AMBIENT_POD);
    by_istio(&node.host, HOST, false);
    by_istio_for_ipv6(&node.host, HOST);
    let proc = node.proc();
    let release = |wait: &str| {
        let proc = proc.to_str().unwrap();
        node.meshwire(&["node", "release", "--backend", "iptables", "--proc", proc, "--wait", wait])
    };
    let Some(output) = release("0s") else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(text.lines().filter(|line| line.starts_with("released ")).count(), 2, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("kept ")).count(), 1, "{text}");
    assert!(text.contains(": no ip rules of Istio's agent are in force"), "{text}");
    let has_ours = |namespace: &Namespace| namespace.output("nft list tables").contains("istio-ambient-");
    assert!(!has_ours(&pod.sandbox.namespace) && !has_ours(&node.host) && has_ours(&other.sandbox.namespace));
    assert!(pod.sandbox.namespace.output("ip rule").contains("32764:"), "Istio's agent needs it, too");
    assert_alive(&mut connection);
    pod.assert_reaches("proxy");
    other.assert_reaches("proxy");

    // Half of what the agent makes: chains that nothing leads to, then one family.
    other.sandbox.namespace.output("iptables-nft -t nat -N ISTIO_PRERT");
    assert_eq!(release("0s").unwrap().status.code(), Some(3));
    by_istio(&other.sandbox.namespace, ISTIO_AMBIENT_POD, true);
    let text = String::from_utf8(release("0s").unwrap().stdout).unwrap();
    assert!(text.contains(": no ip6 rules of Istio's agent are in force"), "{text}");
    assert!(has_ours(&other.sandbox.namespace));
    let output = thread::scope(|scope| {
        let waiting = scope.spawn(|| release("30s").unwrap());
        thread::sleep(Duration::from_millis(300));
        by_istio_for_ipv6(&other.sandbox.namespace, ISTIO_AMBIENT_POD);
        waiting.join().unwrap()
    });
    assert!(output.status.success() && !has_ours(&other.sandbox.namespace), "{output:?}");
    other.assert_reaches("proxy");
    assert_alive(&mut others_connection);
    assert!(release("30s").unwrap().stdout.is_empty(), "nothing is left to release");

    // Istio's agent takes a pod out of the mesh: it knows its own chains alone.
    pod.sandbox.namespace.output("iptables-nft -t nat -F");
    pod.assert_reaches("app!!");
    other.assert_reaches("proxy");
    assert_alive(&mut others_connection);
    // And is uninstalled: the pods' rules stay.
    for program in ["iptables-nft", "ip6tables-nft"] {
        node.host.output(&format!("{program} -t nat -F"));
        node.host.output(&format!("{program} -t nat -X"));
    }
    pod.assert_reaches("app!!");
    other.assert_reaches("proxy");
    assert_alive(&mut others_connection);
}

//! From Istio's own agent to ours and back: traffic flows after each step, and a connection that was there before survives.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use meshwire::mesh::istio::ambient::{HostInterception, PodInterception};
use meshwire::netns::{Namespace as Netns, inside};
use meshwire::network::RouteSocket;
use meshwire::verify::{VerifyError, verify};
use meshwire_testkit::{ISTIO_AMBIENT_POD, oracle};
use nftwire::Socket;
use serde_json::json;

use super::harness::{Namespace, Node, Sandbox, run, soon};
use super::{assert_captured, privileged};

/// What it makes on the node; its set of addresses is left out, which needs ipset.
const HOST: &str = "*nat
:ISTIO_POSTRT - [0:0]
-A POSTROUTING -j ISTIO_POSTRT
-A ISTIO_POSTRT -p tcp -m owner --socket-exists -j SNAT --to-source 169.254.7.127
COMMIT
";

/// Loads rules of iptables, and what Istio's agent adds besides.
fn by_istio(namespace: &Namespace, rules: &str, is_pod: bool) {
    let enter = format!("--net=/run/netns/{}", namespace.name);
    let mut command = std::process::Command::new("nsenter");
    let output = meshwire_testkit::finish(command.args([&enter, "iptables-nft-restore", "--noflush"]), rules);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if is_pod && !namespace.output("ip rule").contains("32764:") {
        namespace.output("ip rule add fwmark 0x111/0xfff pref 32764 lookup 100");
        namespace.output("ip route add local default dev lo table 100");
    }
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
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
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
    let pod = Linked::new(&node, "p", 7);
    by_istio(&pod.sandbox.namespace, ISTIO_AMBIENT_POD, true);
    by_istio(&node.host, HOST, false);
    node.update("p", |pod| {
        pod["metadata"]["annotations"] = json!({ "ambient.istio.io/redirection": "enabled" });
    });
    let (mut connection, taker) = pod.connect();
    assert_eq!(taker, "proxy");

    node.start();
    let ztunnel = node.ztunnel();
    soon("ztunnel is ready", || ztunnel.is_ready());
    soon("nothing of Istio's is left in the pod", || !has_istios_chains(&pod.sandbox.namespace));
    soon("nor on the node", || !has_istios_chains(&node.host));
    soon("all is as desired", || node.summary().enabled == 1);
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
        assert_eq!(node.probes().get(&pod.address), Some(&pod.uid));
        assert_alive(&mut connection);
        pod.assert_reaches("proxy");
        assert_eq!(node.summary().heals, meshwire_agent::ambient::state::Heals::default());
    }
    assert_eq!(node.annotation("p").as_deref(), Some("enabled"));

    node.update("p", |pod| pod["metadata"]["labels"] = json!({ "istio.io/dataplane-mode": "none" }));
    soon("it is released", || node.annotation("p").is_none());
    pod.assert_reaches("app!!");
    node.uninstall();
    assert_eq!(node.host.tables(), ["table ip nat"], "iptables' own, which is empty");
    assert_eq!(ztunnel.violations(), [""; 0]);
}

#[test]
fn to_istios_agent_in_iptables_mode() {
    if !privileged() || !oracle("iptables-nft-restore") {
        return;
    }
    let mut node = Node::new(false);
    let (pod, other) = (Linked::new(&node, "p", 8), Linked::new(&node, "q", 9));
    node.start();
    let ztunnel = node.ztunnel();
    assert_captured(&node, &ztunnel, "p", &pod.uid, &pod.sandbox, &[&pod.address]);
    assert_captured(&node, &ztunnel, "q", &other.uid, &other.sandbox, &[&other.address]);
    let (mut connection, taker) = pod.connect();
    assert_eq!(taker, "proxy");
    // The image is another one, whose agent has not found the second pod yet.
    node.kill();
    by_istio(&pod.sandbox.namespace, ISTIO_AMBIENT_POD, true);
    by_istio(&node.host, HOST, false);
    let proc = node.proc();
    let release = || {
        let proc = proc.to_str().unwrap();
        node.meshwire(&["node", "release", "--backend", "iptables", "--proc", proc])
    };
    let Some(output) = release() else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(text.lines().filter(|line| line.starts_with("released ")).count(), 2, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("kept ")).count(), 1, "{text}");
    let has_ours = |namespace: &Namespace| namespace.output("nft list tables").contains("istio-ambient-");
    assert!(!has_ours(&pod.sandbox.namespace) && !has_ours(&node.host) && has_ours(&other.sandbox.namespace));
    assert!(pod.sandbox.namespace.output("ip rule").contains("32764:"), "Istio's agent needs it, too");
    assert_alive(&mut connection);
    pod.assert_reaches("proxy");
    other.assert_reaches("proxy");

    by_istio(&other.sandbox.namespace, ISTIO_AMBIENT_POD, true);
    assert!(release().unwrap().status.success());
    other.assert_reaches("proxy");
    assert!(release().unwrap().stdout.is_empty(), "nothing is left to release");
    // Istio's agent takes a pod out of the mesh: it knows its own chains alone.
    pod.sandbox.namespace.output("iptables-nft -t nat -F");
    pod.assert_reaches("app!!");
}

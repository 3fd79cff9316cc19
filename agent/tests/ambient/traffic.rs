//! Connections between pods of the mesh while everything else goes wrong: how many are cut, and how much of what they say is
//! seen on the wire in plain text.
//!
//! In the pods' namespaces are an application that repeats what it hears, and what ztunnel would run there: it takes
//! connections on 15001 and 15006, and carries them to the other pod's 15008 in another form. A bridge is the wire.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use meshwire::netns::Namespace as Netns;
use meshwire_testkit::ztunnel::Ztunnel;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockopt, listen, setsockopt, socket,
    sockopt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{self, TcpSocket};
use tokio::task::JoinSet;

use super::harness::{Namespace, Node, Sandbox, run, within};
use super::mesh::Mesh;

/// What ztunnel's own packets have, so that they are not intercepted again.
const MARK: u32 = 0x539;
const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;
const TUNNEL: u16 = 15008;
pub(super) const APPLICATION: u16 = 80;
/// Makes bytes others than those that the application wrote, and back: what TLS is here.
const KEY: u8 = 0x5a;
/// How long anything on the wire may take: pods on the same machine, on a busy one.
const LIMIT: Duration = Duration::from_secs(10);

/// A pod that talks.
pub(super) struct Talker {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) sandbox: Sandbox,
    pub(super) address: Ipv4Addr,
}

/// The outcomes of one pair's connections.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Bytes that came back
    pub(super) bytes: AtomicU64,
    /// Connections that were there, and ended
    pub(super) cut: AtomicU64,
    /// Connections that were not made
    pub(super) refused: AtomicU64,
    /// Why, and after how long
    pub(super) errors: Mutex<Vec<String>>,
    /// The connection that is to live is to be another one
    renew: AtomicBool,
}

/// Pods that talk in pairs: 0 to 1, 2 to 3, and so on.
pub(super) struct Traffic {
    pub(super) wire: Namespace,
    pub(super) talkers: Vec<Talker>,
    pub(super) ledgers: Vec<Arc<Ledger>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts the pods, which the plugin has not reported.
    pub(super) fn new(node: &Node, pairs: u8) -> Self {
        let wire = Namespace::new();
        run("ip", &["-n", &wire.name, "link", "add", "wire", "type", "bridge"]);
        run("ip", &["-n", &wire.name, "link", "set", "wire", "up"]);
        let talkers: Vec<_> = (1..=2 * pairs).map(|number| Talker::new(node, &wire, number)).collect();
        let mut rules = "table bridge wire {\n".to_owned();
        let mut chain = String::new();
        for (pair, two) in talkers.chunks(2).enumerate() {
            for (form, number) in [("plain", APPLICATION), ("tunnel", TUNNEL)] {
                rules += &format!("counter {form}{pair} {{ }}\n");
                for (from, to, port) in [(&two[0], &two[1], "dport"), (&two[1], &two[0], "sport")] {
                    // What is longer than its headers says something.
                    chain += &format!(
                        "ip saddr {} ip daddr {} tcp {port} {number} meta length > 60 counter name {form}{pair}\n",
                        from.address, to.address
                    );
                }
            }
        }
        wire.feed(
            "nft -f -",
            &format!("{rules}chain forward {{ type filter hook forward priority 0;\n{chain}}}\n}}\n"),
        );
        let traffic = Self { wire, talkers, ledgers: Vec::new(), over: Arc::default(), threads: Vec::new() };
        traffic.prove();
        traffic
    }

    /// Before there is a mesh all is plain text, and is seen.
    fn prove(&self) {
        for (pair, two) in self.talkers.chunks(2).enumerate() {
            serve(&two[1], Arc::clone(&self.over));
            let to = SocketAddrV4::new(two[1].address, APPLICATION);
            let inside = Netns::from_path(two[0].sandbox.namespace.path()).unwrap();
            inside.enter(|| connect(to).and_then(|mut stream| exchange(&mut stream)).unwrap()).unwrap();
            assert!(self.seen("plain", pair) > 0, "plain text is not seen");
        }
        self.wire.output("nft reset counters");
    }

    /// Starts the applications, and the proxies that the testkit's ztunnel lacks, for as long as it has them.
    pub(super) fn start(&mut self, mesh: &Mesh) {
        if let Mesh::Peer(ztunnel) = mesh {
            self.start_proxies(Arc::clone(ztunnel));
        }
        for two in self.talkers.chunks(2) {
            let ledger = Arc::new(Ledger::default());
            self.ledgers.push(Arc::clone(&ledger));
            let (to, over) = (SocketAddrV4::new(two[1].address, APPLICATION), Arc::clone(&self.over));
            let inside = Netns::from_path(two[0].sandbox.namespace.path()).unwrap();
            self.threads.push(thread::spawn(move || inside.enter(|| talk(to, &ledger, &over)).unwrap()));
        }
    }

    fn start_proxies(&mut self, ztunnel: Arc<Ztunnel>) {
        let pods =
            self.talkers.iter().map(|pod| (pod.uid.clone(), (pod.sandbox.namespace.path(), pod.address)));
        let (pods, over) = (pods.collect(), Arc::clone(&self.over));
        let (sender, all_run) = mpsc::channel();
        self.threads.push(thread::spawn(move || proxies(&ztunnel, &pods, &over, &sender)));
        // As ztunnel acknowledges a pod once its proxy listens.
        all_run.recv_timeout(2 * LIMIT).unwrap();
    }

    /// Ends all connections, and waits until there are others.
    pub(super) fn connect_anew(&self) {
        self.ledgers.iter().for_each(|ledger| ledger.renew.store(true, Ordering::Relaxed));
        let is_new = || self.ledgers.iter().all(|ledger| !ledger.renew.load(Ordering::Relaxed));
        within(2 * LIMIT, "all connections are new ones", is_new);
    }

    /// How many bytes of a pair were seen on the wire so far, `plain` or in the `tunnel`, with their headers.
    pub(super) fn seen(&self, form: &str, pair: usize) -> u64 {
        let listed = self.wire.output(&format!("nft -j list counter bridge wire {form}{pair}"));
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let counters =
            listed["nftables"].as_array().unwrap().iter().filter_map(|object| object.get("counter"));
        counters.map(|counter| counter["bytes"].as_u64().unwrap()).sum()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Talker {
    fn new(node: &Node, wire: &Namespace, number: u8) -> Self {
        let mut sandbox = node.sandbox(&[]);
        let (pod, port) = (sandbox.namespace.name.clone(), format!("pod{number}"));
        let address = Ipv4Addr::new(10, 9, 0, number);
        let link =
            ["-n", &wire.name, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pod];
        run("ip", &link);
        run("ip", &["-n", &wire.name, "link", "set", &port, "master", "wire", "up"]);
        run("ip", &["-n", &pod, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        run("ip", &["-n", &pod, "link", "set", "eth0", "up"]);
        let name = format!("talker{number}");
        let uid = node.create(&name);
        node.start_process(&mut sandbox, &uid);
        node.running(&name, &[&address.to_string()]);
        Self { name, uid, sandbox, address }
    }
}

/// The application that listens, until all is over.
fn serve(pod: &Talker, over: Arc<AtomicBool>) {
    let inside = Netns::from_path(pod.sandbox.namespace.path()).unwrap();
    let listener = inside.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, APPLICATION)).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(2 * LIMIT)).unwrap();
            thread::spawn(move || {
                let mut words = [0; WORDS.len()];
                while stream.read_exact(&mut words).is_ok() && stream.write_all(&words).is_ok() {}
            });
        }
    });
}

const WORDS: &[u8; 16] = b"in plain text...";

/// The application that connects: one connection that is to live, and new ones meanwhile.
fn talk(to: SocketAddrV4, ledger: &Ledger, over: &AtomicBool) {
    let mut lasting: Option<TcpStream> = None;
    while !over.load(Ordering::Relaxed) {
        if ledger.renew.swap(false, Ordering::Relaxed) {
            lasting = None;
        }
        if let Some(stream) = &mut lasting {
            let begun = Instant::now();
            match exchange(stream) {
                Ok(()) => {
                    ledger.bytes.fetch_add(WORDS.len() as u64, Ordering::Relaxed);
                }
                Err(error) => {
                    ledger.cut.fetch_add(1, Ordering::Relaxed);
                    ledger.errors.lock().unwrap().push(format!("{error} after {:?}", begun.elapsed()));
                    lasting = None;
                }
            }
        }
        let begun = Instant::now();
        match connect(to).and_then(|mut stream| exchange(&mut stream).map(|()| stream)) {
            Ok(stream) => {
                ledger.bytes.fetch_add(WORDS.len() as u64, Ordering::Relaxed);
                lasting.get_or_insert(stream);
            }
            Err(error) => {
                ledger.refused.fetch_add(1, Ordering::Relaxed);
                ledger.errors.lock().unwrap().push(format!("{error} after {:?}", begun.elapsed()));
            }
        }
        thread::sleep(Duration::from_millis(30));
    }
}

pub(super) fn connect(to: SocketAddrV4) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to.into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(WORDS)?;
    let mut back = [0; WORDS.len()];
    stream.read_exact(&mut back)?;
    if &back == WORDS { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// By UID: the pod's namespace and address.
type Pods = BTreeMap<String, (PathBuf, Ipv4Addr)>;

/// Runs a proxy in each pod for as long as ztunnel has one there.
fn proxies(ztunnel: &Ztunnel, pods: &Pods, over: &AtomicBool, all_run: &mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let meshed = Arc::new(Mutex::new(BTreeMap::new()));
        let mut running = BTreeMap::new();
        while !over.load(Ordering::Relaxed) {
            let has = ztunnel.proxies();
            running.retain(|uid, _| has.contains_key(*uid));
            let addresses =
                pods.iter().filter(|(uid, _)| has.contains_key(*uid)).map(|(_, (_, address))| (*address, ()));
            *meshed.lock().unwrap() = addresses.collect();
            for (uid, (path, address)) in pods {
                if has.contains_key(uid) && !running.contains_key(uid) {
                    let inside = Netns::from_path(path).unwrap();
                    let proxy =
                        Proxy { inside: Arc::new(inside), address: *address, meshed: Arc::clone(&meshed) };
                    running.insert(uid, proxy.start());
                }
            }
            if running.len() == pods.len() {
                let _ = all_run.send(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// What ztunnel runs in one pod.
#[derive(Clone)]
struct Proxy {
    inside: Arc<Netns>,
    address: Ipv4Addr,
    /// Where else one runs
    meshed: Arc<Mutex<BTreeMap<Ipv4Addr, ()>>>,
}

impl Proxy {
    /// Everything ends when the set is dropped: listeners, and connections.
    fn start(self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for port in [OUTBOUND, INBOUND, TUNNEL] {
            let listener = self.inside.enter(|| listener(port).unwrap()).unwrap();
            let listener = net::TcpListener::from_std(listener).unwrap();
            let proxy = self.clone();
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let proxy = proxy.clone();
                    connections.spawn(async move {
                        // Whoever made the connection notices.
                        let _ = proxy.carry(stream, port).await;
                    });
                    while connections.try_join_next().is_some() {}
                }
            });
        }
        tasks
    }

    async fn carry(&self, mut stream: net::TcpStream, port: u16) -> io::Result<()> {
        let own = SocketAddrV4::new(self.address, APPLICATION);
        match port {
            TUNNEL => {
                let mut header = [0; 6];
                stream.read_exact(&mut header).await?;
                let to = self.connect(own).await?;
                carry_both(stream, to).await
            }
            OUTBOUND => {
                let original = getsockopt(&stream.as_fd(), sockopt::OriginalDst)?;
                let ip = Ipv4Addr::from(u32::from_be(original.sin_addr.s_addr));
                let to = SocketAddrV4::new(ip, u16::from_be(original.sin_port));
                if !self.meshed.lock().unwrap().contains_key(&ip) {
                    let mut to = self.connect(to).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut to).await?;
                    return Ok(());
                }
                let mut tunnel = self.connect(SocketAddrV4::new(ip, TUNNEL)).await?;
                let header = [&ip.octets()[..], &to.port().to_be_bytes()].concat();
                tunnel.write_all(&header).await?;
                carry_both(stream, tunnel).await
            }
            _ => {
                let mut to = self.connect(own).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut to).await?;
                Ok(())
            }
        }
    }

    async fn connect(&self, to: SocketAddrV4) -> io::Result<net::TcpStream> {
        let socket = self.inside.enter(|| marked(SockFlag::SOCK_NONBLOCK)).unwrap()?;
        let stream = TcpSocket::from_std_stream(socket.into()).connect(SocketAddr::V4(to)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// What one side says in plain text is said in the tunnel in the other form, and the other way round: to do it twice is to
/// undo it.
async fn carry_both(one: net::TcpStream, two: net::TcpStream) -> io::Result<()> {
    one.set_nodelay(true)?;
    let ((from_one, to_one), (from_two, to_two)) = (one.into_split(), two.into_split());
    let done = tokio::join!(carry(from_one, to_two), carry(from_two, to_one));
    done.0.and(done.1)
}

async fn carry(mut from: net::tcp::OwnedReadHalf, mut to: net::tcp::OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        buffer[..length].iter_mut().for_each(|byte| *byte ^= KEY);
        to.write_all(&buffer[..length]).await?;
    }
}

fn listener(port: u16) -> io::Result<TcpListener> {
    let socket = marked(SockFlag::SOCK_NONBLOCK)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    listen(&socket, Backlog::new(128)?)?;
    Ok(socket.into())
}

fn marked(flags: SockFlag) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC | flags, None)?;
    setsockopt(&socket, sockopt::Mark, &MARK)?;
    Ok(socket)
}

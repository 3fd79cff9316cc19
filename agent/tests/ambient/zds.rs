//! The agent's side of ZDS, against a peer that decodes with prost and notes every breach of the protocol.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwire_agent::zds::{
    Ack, Command, ConnectionError, ConnectionId, Event, Listener, Request, Workload, serve,
};
use meshwire_testkit::ztunnel::{Fault, Proxy, Received, Ztunnel};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(15);

/// A listening agent, which does what the test says.
struct Agent {
    folder: TempDir,
    events: mpsc::Receiver<Event>,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind(folder.path().join("ztunnel.sock")).unwrap();
        let (sender, events) = mpsc::channel(16);
        tokio::spawn(serve(listener, sender));
        Self { folder, events }
    }

    fn ztunnel(&self) -> Ztunnel {
        Ztunnel::start(self.folder.path().join("ztunnel.sock"))
    }

    async fn connected(&mut self) -> (ConnectionId, mpsc::Sender<Command>) {
        match timeout(SOON, self.events.recv()).await.unwrap().unwrap() {
            Event::Connected(id, commands) => (id, commands),
            Event::Disconnected(id, error) => panic!("{id:?} is disconnected: {error}"),
        }
    }

    async fn disconnected(&mut self) -> (ConnectionId, ConnectionError) {
        match timeout(SOON * 3, self.events.recv()).await.unwrap().unwrap() {
            Event::Disconnected(id, error) => (id, error),
            Event::Connected(id, _) => panic!("{id:?} is connected"),
        }
    }
}

/// The acknowledgement; `None` if the connection ended before it came.
async fn ask(commands: &mpsc::Sender<Command>, request: &Request) -> Option<Ack> {
    let netns = matches!(request, Request::Add { .. }).then(own_namespace);
    send(commands, request.encode().unwrap(), netns).await
}

async fn send(commands: &mpsc::Sender<Command>, packet: Vec<u8>, netns: Option<OwnedFd>) -> Option<Ack> {
    let (reply, answer) = oneshot::channel();
    commands.send(Command { packet, netns: netns.map(Arc::new), reply }).await.ok()?;
    answer.await.ok()
}

/// Any namespace will do: nobody enters it.
fn own_namespace() -> OwnedFd {
    File::open("/proc/self/ns/net").unwrap().into()
}

fn add(uid: &str) -> Request {
    let workload =
        Workload { name: format!("pod-{uid}"), namespace: "n".to_owned(), service_account: "sa".to_owned() };
    Request::Add { uid: uid.to_owned(), workload }
}

fn keep(uid: &str) -> Request {
    Request::Keep { uid: uid.to_owned() }
}

fn del(uid: &str) -> Request {
    Request::Del { uid: uid.to_owned() }
}

#[tokio::test]
async fn a_snapshot_and_what_follows_it() {
    let mut agent = Agent::start();
    let ztunnel = agent.ztunnel();
    let (_, commands) = agent.connected().await;
    for request in [add("a"), keep("b"), Request::SnapshotSent] {
        assert_eq!(ask(&commands, &request).await, Some(Ack::Accepted), "{request:?}");
    }
    assert!(ztunnel.is_ready());
    assert_eq!(ask(&commands, &add("c")).await, Some(Ack::Accepted));
    assert_eq!(ask(&commands, &del("a")).await, Some(Ack::Accepted));

    let own = File::open("/proc/self/ns/net").unwrap().metadata().unwrap();
    let proxy = Proxy {
        name: "pod-c".to_owned(),
        namespace: "n".to_owned(),
        service_account: "sa".to_owned(),
        netns: (own.dev(), own.ino()),
    };
    assert_eq!(ztunnel.proxies().into_iter().collect::<Vec<_>>(), [("c".to_owned(), proxy)]);
    let names = ["a", "b", "c", "a"].map(str::to_owned);
    let [a, b, c, a_again] = names;
    assert_eq!(
        ztunnel.received(),
        [
            Received::Add(a),
            Received::Keep(b),
            Received::SnapshotSent,
            Received::Add(c),
            Received::Del(a_again)
        ]
    );
    assert_eq!(ztunnel.violations(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_leaves_the_connection() {
    let mut agent = Agent::start();
    let ztunnel = agent.ztunnel();
    let (_, commands) = agent.connected().await;
    ztunnel.meet([Fault::Nack("no room".to_owned())]);
    assert_eq!(ask(&commands, &add("a")).await, Some(Ack::Refused("no room".to_owned())));
    assert_eq!(ask(&commands, &add("a")).await, Some(Ack::Accepted));
    assert_eq!(ztunnel.connections(), 1);
}

#[tokio::test]
async fn a_late_acknowledgement_does_not_count_for_the_next_request() {
    let mut agent = Agent::start();
    let ztunnel = agent.ztunnel();
    let (id, commands) = agent.connected().await;
    // So late that the agent's five seconds are over before, even if it is looked at late that they are.
    ztunnel.meet([Fault::Late(Duration::from_secs(10))]);
    let asked = Instant::now();
    assert_eq!(ask(&commands, &add("a")).await, None);
    assert!(asked.elapsed() >= Duration::from_secs(5), "{:?}", asked.elapsed());
    let (ended, error) = agent.disconnected().await;
    assert_eq!(ended, id);
    assert_eq!(error.to_string(), "ztunnel did not acknowledge the request within 5 s");
    let (next, commands) = agent.connected().await;
    assert!(next > id);
    assert_eq!(ask(&commands, &Request::SnapshotSent).await, Some(Ack::Accepted));
}

#[tokio::test]
async fn whatever_goes_wrong_closes_the_connection() {
    for (fault, expected) in [
        (Fault::Disappear, "ztunnel closed the connection"),
        (Fault::Twice, "ztunnel sent a packet without a request"),
        (Fault::Garbage, "ztunnel sent a packet that cannot be read: field 1 has the unknown wire type 3"),
    ] {
        let mut agent = Agent::start();
        let ztunnel = agent.ztunnel();
        let (id, commands) = agent.connected().await;
        ztunnel.meet([fault.clone()]);
        let _ = ask(&commands, &keep("a")).await;
        let (ended, error) = agent.disconnected().await;
        assert_eq!((ended, error.to_string().as_str()), (id, expected), "{fault:?}");
        agent.connected().await;
        assert_eq!(ztunnel.connections(), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_ends_is_noticed_at_once() {
    let mut agent = Agent::start();
    let ztunnel = agent.ztunnel();
    let (id, _commands) = agent.connected().await;
    ztunnel.reconnect();
    let (ended, error) = agent.disconnected().await;
    assert_eq!((ended, error.to_string().as_str()), (id, "ztunnel closed the connection"));
}

#[tokio::test]
async fn two_ztunnels_at_once_are_two_connections() {
    let mut agent = Agent::start();
    let old = agent.ztunnel();
    let (first, old_commands) = agent.connected().await;
    let new = agent.ztunnel();
    let (second, new_commands) = agent.connected().await;
    assert!(first < second);
    assert_eq!(ask(&old_commands, &add("a")).await, Some(Ack::Accepted));
    assert_eq!(ask(&new_commands, &add("b")).await, Some(Ack::Accepted));
    assert_eq!(old.proxies().into_keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(new.proxies().into_keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn at_most_five_connections_a_second() {
    let mut agent = Agent::start();
    let started = Instant::now();
    let ztunnels: Vec<_> = (0..6).map(|_| agent.ztunnel()).collect();
    let mut open = Vec::new();
    for _ in &ztunnels {
        open.push(agent.connected().await);
    }
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_peer_notices_breaches_of_the_protocol() {
    for (packets, violation) in [
        (vec![Request::SnapshotSent, keep("a")], "Keep of a after SnapshotSent"),
        (vec![Request::SnapshotSent, Request::SnapshotSent], "a second SnapshotSent"),
    ] {
        let mut agent = Agent::start();
        let ztunnel = agent.ztunnel();
        let (_, commands) = agent.connected().await;
        for packet in &packets {
            let _ = ask(&commands, packet).await;
        }
        assert_eq!(ztunnel.violations(), [violation]);
    }
    let mut agent = Agent::start();
    let ztunnel = agent.ztunnel();
    let (_, commands) = agent.connected().await;
    let _ = send(&commands, add("a").encode().unwrap(), None).await;
    let (_, commands) = match timeout(SOON, agent.events.recv()).await.unwrap().unwrap() {
        Event::Disconnected(..) => agent.connected().await,
        Event::Connected(id, commands) => (id, commands),
    };
    let _ = send(&commands, keep("a").encode().unwrap(), Some(own_namespace())).await;
    let violations = ztunnel.violations();
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(violations[0].starts_with("0 descriptors with Add"), "{violations:?}");
    assert!(violations[1].starts_with("1 descriptors with Keep"), "{violations:?}");
}

#[tokio::test]
async fn the_socket_replaces_a_stale_one_and_is_roots_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ztunnel.sock");
    drop(Listener::bind(&path).unwrap());
    let _listener = Listener::bind(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let error = Listener::bind(folder.path().join("missing/ztunnel.sock")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

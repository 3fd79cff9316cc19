//! A Kubernetes API server in process, as much of one as a CNI plugin and a node agent talk to.
//!
//! It serves get, list, watch, create, update, merge patch and delete of any resource, over HTTPS with its own CA, from
//! its own thread: tests need no runtime. [`Fault`]s make replies go wrong. What it does was compared with
//! kube-apiserver 1.20 and is checked against the client of the crate `kube` and against `kubectl` in `tests/kubernetes.rs`.

mod access;
mod discovery;
mod fault;
mod reply;
mod selector;
mod serve;
mod status;
mod store;
mod target;
mod tls;
mod verbs;
mod watch;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch as signal};

pub use access::{Access, Rule};
pub use fault::{Effect, Fault};
pub use tls::Tls;

use fault::Faults;
use serve::Command;
use store::{Key, Store};
use target::Target;

/// The token that may do everything, from the start.
pub const ADMIN: &str = "admin-token";

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How it proves who it is.
    pub tls: Tls,
    /// How many changes watches can look back.
    pub history: usize,
    /// How often a watch that allows bookmarks gets one.
    pub bookmark_every: Duration,
    /// How a watch learns that its revision is too old.
    pub expiry: Expiry,
    /// Whether `sendInitialEvents` is served.
    pub initial_events: InitialEvents,
}

/// How a watch from a revision that is too old fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// HTTP 200 and one `ERROR` event with code 410, as kube-apiserver does.
    ErrorEvent,
    /// HTTP 410.
    Status,
}

/// What `sendInitialEvents` gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InitialEvents {
    /// 422 Invalid, as servers before 1.27 reply.
    Refuse,
    /// The objects of now, then a bookmark.
    Serve,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: Tls::Own,
            history: 1000,
            bookmark_every: Duration::from_secs(2),
            expiry: Expiry::ErrorEvent,
            initial_events: InitialEvents::Refuse,
        }
    }
}

/// A request that arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// The path.
    pub path: String,
    /// What follows the `?`, still encoded.
    pub query: String,
    /// The bearer token, empty if there was none.
    pub token: String,
    /// The body, null if it is not JSON.
    pub body: Value,
    /// The HTTP status code of the reply; 0 if it got none, or not yet.
    pub code: u16,
}

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    /// The CA's certificate in PEM; `None` for plain HTTP.
    ca: Option<String>,
    shared: Arc<Shared>,
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What requests and tests share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes watches.
    changes: signal::Sender<()>,
}

#[derive(Debug)]
struct State {
    options: Options,
    store: Store,
    /// Token → user and what the user may do.
    tokens: HashMap<String, (String, Access)>,
    faults: Faults,
    received: Vec<Received>,
    quorum_lists: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed while holding it has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_replace(());
    }
}

impl ApiServer {
    /// Starts a server with the default options.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or the certificate not be made.
    pub fn start() -> io::Result<Self> {
        Self::with(Options::default())
    }

    /// Starts a server.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or the certificate is not one.
    pub fn with(options: Options) -> io::Result<Self> {
        let (acceptor, ca) = tls::acceptor(&options.tls)?.unzip();
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = State {
            store: Store::new(options.history),
            options,
            tokens: HashMap::from([(ADMIN.to_owned(), ("admin".to_owned(), Access::Everything))]),
            faults: Faults::default(),
            received: Vec::new(),
            quorum_lists: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changes: signal::Sender::new(()) });
        let (commands, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_the_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("fake-apiserver".into()).spawn(move || {
            if let Err(error) = runtime.block_on(serve::serve(of_the_thread, listener, acceptor, receiver)) {
                eprintln!("fake API server: {error}");
            }
        })?;
        Ok(Self { address, ca, shared, commands: Some(commands), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The CA's certificate in PEM; empty for plain HTTP.
    pub fn ca(&self) -> &str {
        self.ca.as_deref().unwrap_or_default()
    }

    /// Accepts `token` from now on, as `user`.
    pub fn allow(&self, token: &str, user: &str, access: Access) {
        self.shared.lock().tokens.insert(token.to_owned(), (user.to_owned(), access));
    }

    /// Refuses `token` from now on: 401.
    pub fn revoke(&self, token: &str) {
        self.shared.lock().tokens.remove(token);
    }

    /// Stores an object, its status too: creates it, or replaces the one of the same name. Returns it as stored.
    ///
    /// A new object of the same name with another life has to be deleted first, as in a cluster.
    pub fn put(&self, object: Value) -> Value {
        let target = target_of(&object);
        let stored = self.shared.lock().store.put(Key::of(&target), object);
        self.shared.changed();
        Value::clone(&stored)
    }

    /// The object at `path`, such as `/api/v1/namespaces/default/pods/p`.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.shared.lock().store.get(&Key::of(&Target::parse(path)?)).map(|object| Value::clone(object))
    }

    /// All objects at `path`, such as `/api/v1/pods` or `/api/v1/namespaces/default/events`.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let Some(target) = Target::parse(path) else { return Vec::new() };
        let state = self.shared.lock();
        let inside = |key: &Key| target.namespace.is_empty() || key.namespace == target.namespace;
        state
            .store
            .list(&target)
            .filter(|(key, _)| inside(key))
            .map(|(_, object)| Value::clone(object))
            .collect()
    }

    /// Removes the object at `path` at once.
    pub fn remove(&self, path: &str) -> Option<Value> {
        let removed = self.shared.lock().store.remove(&Key::of(&Target::parse(path)?));
        self.shared.changed();
        removed.map(|object| Value::clone(&object))
    }

    /// Makes requests fail.
    pub fn fault(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// Makes no request fail any more.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Forgets all changes: watches end with 410, running ones and those from an older revision.
    pub fn expire_watches(&self) {
        self.shared.lock().store.compact();
        self.shared.changed();
    }

    /// Refuses connections and cuts those that exist.
    pub fn refuse(&self) {
        self.command(Command::Refuse);
    }

    /// Accepts connections again, at the same address.
    pub fn accept(&self) {
        self.command(Command::Accept);
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// Lists so far that a real server reads from etcd with a quorum: those without resourceVersion=0.
    pub fn quorum_lists(&self) -> usize {
        self.shared.lock().quorum_lists
    }

    /// A kubeconfig for this server, with one context.
    pub fn kubeconfig(&self, context: &str, user: &str, token: &str) -> String {
        use std::fmt::Write as _;
        let mut cluster = format!("    server: {}\n", self.url());
        if let Some(ca) = &self.ca {
            let _ = writeln!(cluster, "    certificate-authority-data: {}", base64(ca.as_bytes()));
        }
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n{cluster}users:\n- name: {user}\n  user:\n    \
             token: \"{token}\"\ncontexts:\n- name: {context}\n  context:\n    cluster: local\n    user: {user}\n\
             current-context: {context}\n"
        )
    }

    fn command(&self, command: fn(std::sync::mpsc::Sender<()>) -> Command) {
        let (done, acknowledged) = std::sync::mpsc::channel();
        if self.commands.as_ref().is_some_and(|commands| commands.send(command(done)).is_ok()) {
            let _ = acknowledged.recv();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where an object belongs, by its apiVersion, kind and metadata.
fn target_of(object: &Value) -> Target {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = target::plural_of(&text(&object["kind"]));
    let namespace = match text(&object["metadata"]["namespace"]) {
        namespace if namespace.is_empty() && target::namespaced(&resource) => "default".to_owned(),
        namespace => namespace,
    };
    let name = text(&object["metadata"]["name"]);
    let group_version = text(&object["apiVersion"]);
    Target { group_version, namespace, resource, name, subresource: String::new() }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| char::from(ALPHABET[(bits & 63) as usize]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(if index <= chunk.len() { letter(bits >> shift) } else { '=' });
        }
    }
    text
}

//! The listener, its connections, and what a request goes through.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::fault::Effect;
use super::reply::{self, Cut, ReplyBody};
use super::status::Failure;
use super::target::{Query, Target};
use super::{Received, Shared, discovery, verbs, watch};

/// What the test asks the listener to do; each is acknowledged.
#[derive(Debug)]
pub(super) enum Command {
    /// New connections are refused, and those that exist end.
    Refuse(std::sync::mpsc::Sender<()>),
    /// Connections are accepted again, at the same address.
    Accept(std::sync::mpsc::Sender<()>),
}

/// Serves until the test is over.
pub(super) async fn serve(
    shared: Arc<Shared>,
    listener: StdListener,
    tls: Option<TlsAcceptor>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut listener = Some(TcpListener::from_std(listener)?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return Ok(()),
                Some(Command::Refuse(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    let _ = done.send(());
                }
                Some(Command::Accept(done)) => {
                    listener = Some(bind(address).await?);
                    let _ = done.send(());
                }
            },
            Ok((stream, _)) = accept(listener.as_ref()) => {
                connections.spawn(connection(Arc::clone(&shared), stream, tls.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// The address was ours a moment ago; connections that just ended may still hold it, and so may a command that another test
/// starts right now, which has a copy of the listener until its exec.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if attempts < 1500 && error.kind() == io::ErrorKind::AddrInUse => attempts += 1,
            other => return other,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let _ = stream.set_nodelay(true);
    let socket = Arc::new(socket);
    match tls {
        None => requests(shared, stream, socket).await,
        Some(tls) => {
            // A client that refuses the certificate is the client's matter.
            if let Ok(stream) = tls.accept(stream).await {
                requests(shared, stream, socket).await;
            }
        }
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin>(shared: Arc<Shared>, stream: S, socket: Arc<OwnedFd>) {
    let service = service_fn(|request| handle(Arc::clone(&shared), request, Arc::clone(&socket)));
    // An error is a client that went, or a cut that a fault asked for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The socket's close sends RST instead of FIN.
fn reset_on_close(socket: &OwnedFd) {
    let _ = setsockopt(socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 });
}

async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    socket: Arc<OwnedFd>,
) -> Result<Response<ReplyBody>, Cut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
    let target = Target::parse(&path);
    let verb = verb(&head.method, target.as_ref(), &Query::parse(&query));
    let header =
        |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let token = header(AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default().to_owned();
    let content_type = header(CONTENT_TYPE).to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let received = Received { verb, path, query, token, body, code: 0 };
    let (index, effect) = {
        let mut state = shared.lock();
        state.received.push(received.clone());
        (state.received.len() - 1, state.faults.take(verb, &received.path))
    };
    match effect {
        Some(Effect::Delay(milliseconds)) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        Some(Effect::Hang) => std::future::pending().await,
        Some(Effect::Reset) => {
            reset_on_close(&socket);
            return Err(Cut);
        }
        Some(Effect::Empty) => return Err(Cut),
        Some(Effect::ResetMidway) => reset_on_close(&socket),
        _ => {}
    }
    let replied = respond(&shared, received, target, &content_type, effect);
    let mut response = replied.unwrap_or_else(|failure| reply::failure(&failure));
    if let Some(received) = shared.lock().received.get_mut(index) {
        received.code = response.status().as_u16();
    }
    if let Some(Effect::RetryAfter(_, seconds)) = effect {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(Effect::Late(milliseconds)) = effect {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let cut = matches!(effect, Some(Effect::ResetMidway | Effect::HalfBody)) && verb != "watch";
    Ok(if cut { half(response).await } else { response })
}

/// The verb as roles name it.
fn verb(method: &Method, target: Option<&Target>, query: &Query) -> &'static str {
    match *method {
        Method::GET if query.is_true("watch") => "watch",
        Method::GET if target.is_some_and(|target| target.name.is_empty()) => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn respond(
    shared: &Arc<Shared>,
    request: Received,
    target: Option<Target>,
    content_type: &str,
    effect: Option<Effect>,
) -> Result<Response<ReplyBody>, Failure> {
    if let Some(Effect::Code(code) | Effect::RetryAfter(code, _)) = effect {
        return Err(Failure::of_code(code));
    }
    let access = shared.lock().tokens.get(&request.token).cloned();
    let (user, access) = access.ok_or_else(Failure::unauthorized)?;
    let Some(target) = target else {
        return discovery::reply(&request.path)
            .map(|found| reply::object(200, &found))
            .ok_or_else(Failure::no_such_path);
    };
    let (verb, body) = (request.verb, request.body);
    if !access.allows(verb, &target) {
        return Err(Failure::forbidden(&user, verb, &target));
    }
    let query = Query::parse(&request.query);
    if matches!(verb, "create" | "update" | "patch") && !body.is_object() {
        return Err(Failure::bad_request("the object provided is unrecognized: not a JSON object".into()));
    }
    let mut code = 200;
    let replied = match verb {
        "watch" => return watch::start(shared, target, &query, effect),
        "get" => verbs::get(&shared.lock(), &target),
        "list" => verbs::list(&mut shared.lock(), &target, &query),
        "create" => {
            code = 201;
            verbs::create(&mut shared.lock(), &target, body)
        }
        "update" => verbs::update(&mut shared.lock(), &target, body),
        "patch" => verbs::patch(&mut shared.lock(), &target, content_type, &body),
        "delete" => verbs::delete(shared, &target, &query, &body),
        _ => Err(Failure::method_not_allowed()),
    };
    if !matches!(verb, "get" | "list") {
        shared.changed();
    }
    replied.map(|object| reply::object(code, &object))
}

/// Half of the body that the headers announce, then the end of the connection.
async fn half(response: Response<ReplyBody>) -> Response<ReplyBody> {
    let (mut head, body) = response.into_parts();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Cut>>(2);
    tokio::spawn(async move {
        let _ = sender.send(Ok(whole.slice(..whole.len() / 2))).await;
        // The half has to leave before the connection is cut.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = sender.send(Err(Cut)).await;
    });
    Response::from_parts(head, ReplyBody::Pieces(receiver))
}

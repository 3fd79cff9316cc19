//! `meshwire validate linkerd`: the proof by a token, where connections are redirected and where they are not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use meshwire::redirect_check::token::{self, TokenError, TokenValidation};

use crate::harness::{BOTH, Intercept, Namespace, Pod, User};

/// As Linkerd's chart has them, for IPv4 and for IPv6.
const ADDRESSES: [[&str; 4]; 2] = [
    ["--listen-addr", "0.0.0.0:4140", "--connect-addr", "1.1.1.1:20001"],
    ["--listen-addr", "[::]:4140", "--connect-addr", "[fd00::1]:20001"],
];

const NOBODY: User = User { uid: 65534, gid: 65534 };

/// Outbound connections go to this port.
fn intercept(pod: &Pod, port: &str) {
    Intercept::linkerd(&["-p", "4143", "-o", port, "--proxy-uid", "2102"]).apply(&pod.namespace);
}

fn validate(pod: &Pod, args: &[&str]) -> Output {
    Intercept::command_line(&["validate", "linkerd"]).with(args).user(NOBODY).run(&pod.namespace)
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, text: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), text);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0));
}

const HELP: &str = "has proxy-init run in this pod, or the CNI plugin on this node before the pod was scheduled there? If \
                    not, delete the pod, so that it is created again. (Connections of the proxy's own user are never \
                    redirected: does this run as another one?)";

#[test]
fn a_token_that_arrives_is_the_proof() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    intercept(&pod, "4140");
    for args in ADDRESSES {
        let [_, listen, _, connect] = args;
        let started = Instant::now();
        let output = validate(&pod, &[&["--timeout", "50s"], &args[..]].concat());
        assert_ends(&output, 0, &format!("info: a connection to {connect} was redirected to {listen}\n"));
        assert!(started.elapsed() < Duration::from_secs(40));
        assert_ends(&validate(&pod, &[&["--log-level=warn"], &args[..]].concat()), 0, "");
    }
    // The proxy's own connections are not redirected.
    let proxy = User { uid: 2102, gid: 2102 };
    let args = [&["validate", "linkerd", "--timeout", "200ms"], &ADDRESSES[0][..]].concat();
    let output = Intercept::command_line(&args).user(proxy).run(&pod.namespace);
    assert_eq!(output.status.code(), Some(95));
}

#[test]
fn without_rules_it_ends_with_95() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    let started = Instant::now();
    let output = validate(&pod, &[&["--timeout", "300ms"], &ADDRESSES[0][..]].concat());
    let text = "a connection to 1.1.1.1:20001 was not redirected to 0.0.0.0:4140";
    assert_ends(&output, 95, &format!("error: {text} within 300ms\nhelp: {HELP}\n"));
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < Duration::from_secs(20));

    // The peer replies, and nobody listens at its port: that is known at once.
    let output = validate(&pod, &[&["--timeout", "10s"], &ADDRESSES[1][..]].concat());
    let text = "a connection to [fd00::1]:20001 was not redirected to [::]:4140";
    assert_ends(&output, 95, &format!("error: {text}: ECONNREFUSED: Connection refused\nhelp: {HELP}\n"));

    let output =
        Intercept::command_line(&["validate", "linkerd", "--log-format=json"]).run(&Namespace::new());
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    // Nothing is known of what would happen on the way, and that is no reason to delete the pod.
    let text = "cannot determine whether connections are redirected: 192.0.2.2:1404 cannot be reached: ENETUNREACH: Network \
                is unreachable";
    let help = "the pod needs a route there, usually its default route, even though nothing replies there";
    assert_eq!(
        (line["level"].as_str(), line["msg"].as_str(), line["error"]["help"].as_str()),
        (Some("error"), Some(text), Some(help))
    );
    assert_eq!(output.status.code(), Some(95));
}

#[test]
fn without_its_port_it_ends_with_95() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    intercept(&pod, "4140");
    let _other = pod.namespace.run(|| TcpListener::bind("0.0.0.0:4140").unwrap());
    let text = "error: cannot listen on 0.0.0.0:4140: EADDRINUSE: Address already in use\n\
                help: is the proxy running already, or another program at its port?\n";
    assert_ends(&validate(&pod, &ADDRESSES[0]), 95, text);
}

#[test]
fn rules_that_lead_elsewhere_prove_nothing() {
    let validation = TokenValidation {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4140)),
        connect: "1.1.1.1:20001".parse().unwrap(),
        timeout: Duration::from_secs(30),
    };
    // A pod for each: a command that another test starts right now holds a copy of a listener that was closed, until its exec.
    for answer in [&b""[..], b"x", &[b'0'; 100]] {
        let Some(pod) = Pod::new(&BOTH) else { return };
        intercept(&pod, "4141");
        let other = pod.namespace.run(|| TcpListener::bind("0.0.0.0:4141").unwrap());
        let server = thread::spawn(move || other.accept().unwrap().0.write_all(answer).unwrap());
        let result = pod.namespace.run(|| token::run(&validation));
        server.join().unwrap();
        assert!(matches!(result, Err(TokenError::AnsweredElsewhere { .. })), "{result:?}");
    }
}

/// They get the token, and that changes nothing.
#[test]
fn the_connections_of_others_prove_nothing() {
    let Some(pod) = Pod::new(&BOTH) else { return };
    let validation = TokenValidation {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4140)),
        connect: "1.1.1.1:20001".parse().unwrap(),
        // Somebody else has to come while it lasts, on a busy machine, too.
        timeout: Duration::from_secs(10),
    };
    thread::scope(|scope| {
        let validator = scope.spawn(|| pod.namespace.run(|| token::run(&validation)));
        let token = || {
            let mut token = String::new();
            let mut stranger = pod.namespace.run(|| TcpStream::connect("127.0.0.1:4140"))?;
            stranger.read_to_string(&mut token).map(|_| token)
        };
        let token = loop {
            match token() {
                Ok(token) => break token,
                Err(_) => assert!(!validator.is_finished(), "the validator does not listen"),
            }
        };
        assert_eq!((token.len(), token.lines().count()), (33, 1), "{token}");
        let result = validator.join().unwrap();
        assert!(matches!(result, Err(TokenError::NoAnswer { .. })), "{result:?}");
    });
}

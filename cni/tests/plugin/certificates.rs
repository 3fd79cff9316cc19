//! Certificates that Go accepts and webpki does not, or nobody does: they work, or the error says what is wrong with them.
//!
//! `openssl` makes them and serves them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use meshwire_testkit::kubernetes::{ADMIN, ApiServer};
use serde_json::json;
use tempfile::TempDir;

use super::call::Node;
use super::netns::skip;

/// Makes certificates in a folder: `NAME.key` and `NAME.crt`.
struct Authority(TempDir);

/// How one certificate is made.
#[derive(Clone, Copy)]
struct Request<'a> {
    name: &'a str,
    /// An argument of `openssl genpkey`
    key: &'a str,
    /// Who signs it; nobody is itself
    issuer: Option<&'a str>,
    /// The extensions; without any it is of version 1
    extensions: &'a str,
    days: &'a str,
}

const P256: &str = "P-256";
const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
const SERVER: &str = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";

impl Authority {
    fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            skip("there is no openssl to make certificates");
            return None;
        }
        Some(Self(tempfile::tempdir().unwrap()))
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn make(&self, request: Request<'_>) {
        let Request { name, key, issuer, extensions, days } = request;
        let file = |suffix: &str| format!("{name}.{suffix}");
        let curve = format!("ec_paramgen_curve:{key}");
        self.openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &curve, "-out", &file("key")]);
        let subject = format!("/CN={name}");
        self.openssl(&["req", "-new", "-key", &file("key"), "-subj", &subject, "-out", &file("csr")]);
        fs::write(self.0.path().join(file("ext")), extensions).unwrap();
        let (csr, out, own_key, ext) = (file("csr"), file("crt"), file("key"), file("ext"));
        let mut sign = vec!["x509", "-req", "-sha256", "-in", &csr, "-out", &out, "-days", days];
        let (issuer_key, issuer_file);
        match issuer {
            None => sign.extend(["-signkey", &own_key]),
            Some(issuer) => {
                (issuer_key, issuer_file) = (format!("{issuer}.key"), format!("{issuer}.crt"));
                sign.extend(["-CA", &issuer_file, "-CAkey", &issuer_key, "-CAcreateserial"]);
            }
        }
        if !extensions.is_empty() {
            sign.extend(["-extfile", &ext]);
        }
        self.openssl(&sign);
    }

    /// A kubeconfig whose CA is in a file.
    fn kubeconfig(&self, port: u16, ca: &str) -> String {
        let file = self.0.path().join(ca);
        json!({
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": file}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        })
        .to_string()
    }

    /// What `doctor --api` prints, and how it ends.
    fn doctor(&self, url: &str, ca: &str) -> (Option<i32>, String) {
        let node = Node::new();
        let kubeconfig = self
            .kubeconfig(0, ca)
            .replace("https://127.0.0.1:0", url)
            .replace(r#"{"token":"t"}"#, &json!({ "token": ADMIN }).to_string());
        node.write_kubeconfig(&kubeconfig);
        let mut command = Command::new(node.path().join("istio-cni"));
        command.args(["doctor", "--api", "--kubeconfig"]).arg(node.kubeconfig()).env_clear();
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    }

    /// What the plugin says of a server with this certificate and a client that knows this CA.
    fn message(&self, server: &str, ca: &str) -> String {
        let server = Server::new(self.0.path(), server);
        let node = Node::new();
        node.write_kubeconfig(&self.kubeconfig(server.port, ca));
        let config = node.istio(&json!({"api_timeout_seconds": 10}));
        node.add(&config, "/run/netns/none", "shop", "web").refused()
    }
}

/// `openssl s_server`, which replies to any GET with a page.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn new(folder: &Path, name: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let process = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-cert", &certificate, "-key", &key])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "openssl s_server does not listen");
            thread::sleep(Duration::from_millis(25));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_named() {
    let Some(authority) = Authority::new() else { return };
    let request = Request { name: "", key: P256, issuer: None, extensions: CA, days: "30" };
    authority.make(Request { name: "ca", ..request });
    authority.make(Request { name: "other-ca", ..request });
    authority.make(Request { name: "p521-ca", key: "P-521", ..request });
    authority.make(Request {
        name: "self-signed-ca",
        extensions: &format!("{CA}{SERVER}").replace("basicConstraints=CA:FALSE\n", ""),
        ..request
    });
    let server = Request { issuer: Some("ca"), extensions: SERVER, ..request };
    authority.make(Request { name: "good", ..server });
    authority.make(Request { name: "expired", days: "-1", ..server });
    authority.make(Request { name: "elsewhere", extensions: "subjectAltName=IP:10.96.0.1\n", ..server });
    authority.make(Request { name: "version-1", extensions: "", ..server });
    authority.make(Request { name: "of-p521", issuer: Some("p521-ca"), ..server });
    authority.make(Request { name: "with-p521", key: "P-521", ..server });
    authority.make(Request { name: "not-a-ca", issuer: Some("good"), ..server });
    for (server, ca, fault) in [
        ("good", "other-ca", "its issuer is none of the certificate authorities that the kubeconfig has (1)"),
        ("expired", "ca", "it has expired"),
        ("elsewhere", "ca", "not valid for name"),
        ("version-1", "ca", "X.509 version 1"),
        ("of-p521", "p521-ca", "ECDSA P-521"),
        ("with-p521", "ca", "ECDSA P-521"),
        ("self-signed-ca", "self-signed-ca", "a certificate authority's own (basicConstraints CA:TRUE)"),
    ] {
        let message = authority.message(server, &format!("{ca}.crt"));
        assert!(
            message.contains("the certificate of the API server at https://127.0.0.1"),
            "{server}: {message}"
        );
        assert!(message.contains(fault), "{server}: {message}");
        assert!(message.contains("the certificate authority is the one in"), "{message}");
    }
    // What openssl's server replies with is not a pod, but the certificate is good.
    assert!(authority.message("good", "ca.crt").contains("is not the object"));
}

#[test]
fn doctor_reports_it_before_a_rollout() {
    let Some(authority) = Authority::new() else { return };
    let request = Request { name: "", key: P256, issuer: None, extensions: CA, days: "30" };
    authority.make(Request { name: "ca", ..request });
    authority.make(Request { name: "version-1", issuer: Some("ca"), extensions: "", ..request });
    let server = Server::new(authority.0.path(), "version-1");
    let (code, text) = authority.doctor(&format!("https://127.0.0.1:{}", server.port), "ca.crt");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("error: the certificate of the API server at https://127.0.0.1"), "{text}");
    assert!(text.contains("it is X.509 version 1, and a server's has to be version 3"), "{text}");
    // One that can be used.
    let api = ApiServer::start().unwrap();
    fs::write(authority.0.path().join("api.crt"), api.ca()).unwrap();
    let (code, text) = authority.doctor(&api.url(), "api.crt");
    assert_eq!((code, text.contains("its certificate is accepted")), (Some(0), true), "{text}");
    let usage = Command::new(Node::new().path().join("istio-cni")).arg("doctor").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8(usage.stderr).unwrap().contains("usage: istio-cni doctor --api"));
}

/// As a bundle for a while after a CA was replaced; and certificates that only look wrong.
#[test]
fn unusual_certificate_authorities_that_work() {
    let Some(authority) = Authority::new() else { return };
    let request = Request { name: "", key: P256, issuer: None, extensions: CA, days: "30" };
    authority.make(Request { name: "old", ..request });
    authority.make(Request { name: "new", ..request });
    authority.make(Request { name: "version-1-ca", extensions: "", ..request });
    authority.make(Request { name: "leaf", extensions: SERVER, ..request });
    let server = Request { extensions: SERVER, ..request };
    authority.make(Request { name: "of-new", issuer: Some("new"), ..server });
    authority.make(Request { name: "of-version-1", issuer: Some("version-1-ca"), ..server });
    let read = |name: &str| fs::read_to_string(authority.0.path().join(name)).unwrap();
    fs::write(
        authority.0.path().join("bundle"),
        read("old.crt") + &read("version-1-ca.crt") + &read("new.crt"),
    )
    .unwrap();
    for (server, ca) in [("of-new", "bundle"), ("of-version-1", "version-1-ca.crt"), ("leaf", "leaf.crt")] {
        let message = authority.message(server, ca);
        assert!(message.contains("is not the object"), "{server}: {message}");
    }
}

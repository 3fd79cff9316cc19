//! The API server, as far as a plugin needs it: GET of one object, with a kubeconfig that an installer wrote.
//!
//! Proxy variables of the container runtime are ignored: the API server is on the cluster's own network.

mod certificate;
mod error;
mod kubeconfig;
mod name;
mod object;
mod retry;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

pub use certificate::CertificateFault;
pub use error::{ApiError, Fault, Remedy};
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use name::{PodName, PodNameError};
pub use object::{Namespace, PodObject, Service};
use retry::Attempts;
pub use retry::Limits;

/// How long a connection may take, its TLS handshake included.
const CONNECT: Duration = Duration::from_secs(2);
/// ureq's buffers, of which TCP and TLS have one each: a TLS record has at most 16 KiB, a request less than 4. Its own sizes
/// are 128 KiB, which take longer to clear than the rest of the request.
const INPUT_BUFFER: usize = 17 << 10;
const OUTPUT_BUFFER: usize = 8 << 10;
/// The longest object that is read; etcd's own limit is 1.5 MiB.
const MAX_BODY: u64 = 4 << 20;

/// Where the kubeconfig is, and who writes it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file
    pub path: PathBuf,
    /// The context in it; `None` is its current one
    pub context: Option<&'static str>,
    /// The API server's address in the place of the file's
    pub server: Option<String>,
}

/// A connection to the API server, made when it is needed first.
#[derive(Debug)]
pub struct Client {
    source: Source,
    kubeconfig: Kubeconfig,
    agent: Agent,
    limits: Limits,
    user_agent: &'static str,
}

/// Whether an API server can be used with this kubeconfig: one GET of its version, which everybody may read.
///
/// # Errors
/// No connection, or a certificate that is not accepted; or no API server replies. A refusal of the token is one, too.
pub fn probe(kubeconfig: Kubeconfig, limits: Limits, user_agent: &'static str) -> Result<String, Fault> {
    let source = Source { path: PathBuf::new(), context: None, server: None };
    let agent = agent(&kubeconfig, limits);
    let client = &mut Client { source, kubeconfig, agent, limits, user_agent };
    let ServerVersion { git_version } = Get { client, path: "/version" }.attempt(limits.attempt)?;
    Ok(git_version)
}

/// What every API server replies to everybody.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerVersion {
    git_version: String,
}

impl Client {
    /// Reads the kubeconfig.
    ///
    /// # Errors
    /// It cannot be read or used.
    pub fn new(source: Source, limits: Limits, user_agent: &'static str) -> Result<Self, KubeconfigError> {
        let kubeconfig = Kubeconfig::read(&source)?;
        let agent = agent(&kubeconfig, limits);
        Ok(Self { source, kubeconfig, agent, limits, user_agent })
    }

    /// The file that it was made from.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.source.path
    }

    /// GET of one object, again and again where that can help, within the limits.
    ///
    /// `agent_replies` says whether the node agent, which renews the token, runs.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        agent_replies: impl Fn() -> bool,
    ) -> Result<T, ApiError> {
        retry::retry(self.limits, agent_replies, &mut Get { client: self, path })
    }
}

/// GET of the object at a path.
struct Get<'a> {
    client: &'a mut Client,
    path: &'a str,
}

impl<T: DeserializeOwned> Attempts<T> for Get<'_> {
    fn attempt(&self, limit: Duration) -> Result<T, Fault> {
        let Client { kubeconfig, agent, user_agent, .. } = &*self.client;
        let url = format!("{}{}", kubeconfig.server, self.path);
        let request = agent.get(url).config().timeout_global(Some(limit)).build();
        let request = request.header("accept", "application/json").header("user-agent", *user_agent);
        let request = match &kubeconfig.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let mut reply = request.call().map_err(|error| Fault::of_request(error, kubeconfig))?;
        let status = reply.status().as_u16();
        let retry_after =
            reply.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = reply.body_mut().with_config().limit(MAX_BODY).read_to_vec();
        if status != 200 {
            let body = body.unwrap_or_default();
            return Err(Fault::of_status(status, &body, retry_after.map(Duration::from_secs)));
        }
        let body = body.map_err(|error| Fault::of_request(error, kubeconfig))?;
        serde_json::from_slice(&body).map_err(Fault::of_body)
    }

    /// Its token may be a new one, or its CA. Where it cannot be read now, the one that is known is as good.
    fn renew(&mut self) -> bool {
        let client = &mut *self.client;
        match Kubeconfig::read(&client.source) {
            Ok(kubeconfig) if kubeconfig != client.kubeconfig => {
                client.agent = agent(&kubeconfig, client.limits);
                client.kubeconfig = kubeconfig;
                true
            }
            _ => false,
        }
    }
}

fn agent(kubeconfig: &Kubeconfig, limits: Limits) -> Agent {
    let certificates: Vec<_> =
        kubeconfig.ca.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::from(certificates.into_iter()))
        .disable_verification(kubeconfig.insecure)
        .unversioned_rustls_crypto_provider(rustls::crypto::ring::default_provider().into())
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .timeout_connect(Some(CONNECT.min(limits.attempt)))
        .timeout_global(Some(limits.attempt))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), AddressFirst::default())
}

/// Addresses are taken as they are; only names are looked up, on a thread of its own, by the C library.
#[derive(Debug, Default)]
struct AddressFirst(DefaultResolver);

impl Resolver for AddressFirst {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => {
                let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
                let mut addresses = self.empty();
                addresses.push((address, uri.port_u16().unwrap_or(default)).into());
                Ok(addresses)
            }
            Err(_) => self.0.resolve(uri, config, timeout),
        }
    }
}

//! The kubeconfig that an installer writes: one cluster, one user, one context; YAML, of which JSON is a part.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use saphyr::{LoadableYamlNode, Yaml};

use super::Source;

/// Installers of others write the file in place; a reader can find half of it for a moment.
const HALF_WRITTEN: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// What a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The API server: scheme, host and port, without a slash at the end
    pub server: String,
    /// The CA's certificates, DER
    pub ca: Vec<Vec<u8>>,
    /// Whether the server's certificate is not verified
    pub insecure: bool,
    /// The bearer token
    pub token: Option<String>,
}

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// There is none
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// It, or a file that it names, cannot be read
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file
        path: PathBuf,
        /// What the system call said
        error: io::Error,
    },
    /// It is not what it should be
    #[error("{}: {fault}", path.display())]
    Content {
        /// The file
        path: PathBuf,
        /// What is wrong
        fault: ContentFault,
    },
}

/// What is wrong with a kubeconfig's content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentFault {
    /// Not YAML
    #[error("it is not YAML: {0}")]
    Yaml(String),
    /// Something is missing
    #[error("it has no {0}")]
    Missing(String),
    /// Not base64
    #[error("its certificate-authority-data is not base64")]
    Base64,
    /// Not PEM
    #[error("its certificate authority is not PEM")]
    Pem,
    /// No certificate
    #[error("its certificate authority holds no certificate")]
    NoCertificate,
    /// A way to authenticate that is not supported
    #[error("its user authenticates by {0}, which is not supported: it needs a token or a tokenFile")]
    Authentication(&'static str),
    /// Not a URL of the API server
    #[error("its server {0:?} is not a URL such as https://10.96.0.1:443 (an IPv6 address in brackets)")]
    Server(String),
}

impl Kubeconfig {
    /// What a pod has in place of a file: the API server's URL, and the folder of its service account.
    ///
    /// # Errors
    /// The CA cannot be read or used. Without a token requests are anonymous.
    pub fn of_service_account(server: String, folder: &Path) -> Result<Self, KubeconfigError> {
        let path = folder.join("ca.crt");
        let ca = der(&path, read_file(&path)?.as_bytes())?;
        let token = read_file(&folder.join("token")).ok().map(|token| token.trim().to_owned());
        Ok(Self { server, ca, insecure: false, token })
    }

    /// Reads the file; once more where it is not complete.
    ///
    /// # Errors
    /// See [`KubeconfigError`].
    pub fn read(source: &Source) -> Result<Self, KubeconfigError> {
        let mut tries = HALF_WRITTEN;
        loop {
            match read_once(source) {
                Err(KubeconfigError::Content { .. }) if tries > 0 => {
                    tries -= 1;
                    sleep(PAUSE);
                }
                result => return result,
            }
        }
    }
}

fn read_once(source: &Source) -> Result<Kubeconfig, KubeconfigError> {
    let path = &source.path;
    let content = |fault| KubeconfigError::Content { path: path.clone(), fault };
    let text = read_file(path)?;
    let documents =
        Yaml::load_from_str(&text).map_err(|error| content(ContentFault::Yaml(error.to_string())))?;
    let root = documents.first().ok_or_else(|| content(ContentFault::Missing("content".to_owned())))?;
    let missing = |what: String| content(ContentFault::Missing(what));
    let context = match source.context {
        Some(context) => context,
        None => string(root, "current-context").ok_or_else(|| missing("current-context".to_owned()))?,
    };
    let entry = |list: &str, name: &str, part: &str| {
        entry(root, list, name, part).ok_or_else(|| missing(format!("{part} {name:?}")))
    };
    let part = |of: &str| {
        let context_entry = entry("contexts", context, "context")?;
        string(context_entry, of).ok_or_else(|| missing(format!("{of} in its context {context:?}")))
    };
    let cluster = entry("clusters", part("cluster")?, "cluster")?;
    let user = entry("users", part("user")?, "user")?;
    let server = source.server.as_deref().or_else(|| string(cluster, "server"));
    let server = server.ok_or_else(|| missing("server in its cluster".to_owned()))?;
    let server = server.trim_end_matches('/').to_owned();
    check_server(&server).map_err(content)?;
    let insecure =
        cluster.as_mapping_get("insecure-skip-tls-verify").and_then(Yaml::as_bool).unwrap_or(false);
    let ca = match insecure || server.starts_with("http://") {
        true => Vec::new(),
        false => certificates(path, cluster)?,
    };
    Ok(Kubeconfig { server, ca, insecure, token: token(path, user)? })
}

fn check_server(server: &str) -> Result<(), ContentFault> {
    let uri: Option<ureq::http::Uri> = server.parse().ok();
    let is_url = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && (uri.port().is_none() || uri.port_u16().is_some_and(|port| port != 0))
    });
    if is_url { Ok(()) } else { Err(ContentFault::Server(server.to_owned())) }
}

/// The CA's certificates: inline, or in a file.
fn certificates(path: &Path, cluster: &Yaml<'_>) -> Result<Vec<Vec<u8>>, KubeconfigError> {
    let content = |fault| KubeconfigError::Content { path: path.to_owned(), fault };
    let pem = if let Some(data) = string(cluster, "certificate-authority-data") {
        let data: String = data.split_whitespace().collect();
        STANDARD.decode(data).map_err(|_| content(ContentFault::Base64))?
    } else if let Some(file) = string(cluster, "certificate-authority") {
        read_file(&path.with_file_name(file))?.into_bytes()
    } else {
        let what = "certificate-authority-data in its cluster (nor insecure-skip-tls-verify)";
        return Err(content(ContentFault::Missing(what.to_owned())));
    };
    der(path, &pem)
}

/// The certificates of a file.
fn der(path: &Path, pem: &[u8]) -> Result<Vec<Vec<u8>>, KubeconfigError> {
    let content = |fault| KubeconfigError::Content { path: path.to_owned(), fault };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| content(ContentFault::Pem))?;
    if certificates.is_empty() {
        return Err(content(ContentFault::NoCertificate));
    }
    Ok(certificates.iter().map(|der| der.to_vec()).collect())
}

/// The bearer token: inline, or in a file.
fn token(path: &Path, user: &Yaml<'_>) -> Result<Option<String>, KubeconfigError> {
    if let Some(token) = string(user, "token") {
        return Ok(Some(token.trim().to_owned()));
    }
    if let Some(file) = string(user, "tokenFile") {
        return Ok(Some(read_file(&path.with_file_name(file))?.trim().to_owned()));
    }
    let others = ["client-certificate-data", "client-certificate", "exec", "auth-provider", "username"];
    match others.into_iter().find(|name| user.as_mapping_get(name).is_some()) {
        Some(other) => Err(KubeconfigError::Content {
            path: path.to_owned(),
            fault: ContentFault::Authentication(other),
        }),
        None => Ok(None),
    }
}

fn read_file(path: &Path) -> Result<String, KubeconfigError> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KubeconfigError::Missing(path.to_owned()),
        _ => KubeconfigError::Read { path: path.to_owned(), error },
    })
}

/// The part of a list's entry with this name.
fn entry<'a, 'b>(root: &'a Yaml<'b>, list: &str, name: &str, part: &str) -> Option<&'a Yaml<'b>> {
    let entries = root.as_mapping_get(list)?.as_sequence()?;
    entries.iter().find(|entry| string(entry, "name") == Some(name))?.as_mapping_get(part)
}

/// A text; an empty one is none.
fn string<'a>(of: &'a Yaml<'_>, name: &str) -> Option<&'a str> {
    of.as_mapping_get(name)?.as_str().filter(|text| !text.is_empty())
}

//! The kubeconfig that a plugin reads: one cluster, one user, one context.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::files::{self, FileError};

/// What is in a kubeconfig, and where it comes from.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// The API server's URL.
    pub server: String,
    /// The CA's certificates in PEM; `None` to verify nothing.
    pub ca: Option<PathBuf>,
    /// The service account's token, which the kubelet replaces from time to time.
    pub token: PathBuf,
    /// The user's name.
    pub user: &'static str,
    /// The context's name.
    pub context: &'static str,
}

/// Why there is no kubeconfig.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// A file cannot be read or written
    #[error(transparent)]
    File(#[from] FileError),
    /// The token or the CA is not mounted
    #[error("{} does not exist: the pod needs its service account's token (automountServiceAccountToken)", .0.display())]
    Missing(PathBuf),
    /// It is mounted, and has no content
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// Not a certificate
    #[error("{} holds no PEM certificate", .0.display())]
    NoCertificate(PathBuf),
}

/// The API server's URL: the host of an IPv6 address goes into brackets, whether it has them already or not.
pub fn server(protocol: &str, host: &str, port: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.contains(':') {
        format!("{protocol}://[{host}]:{port}")
    } else {
        format!("{protocol}://{host}:{port}")
    }
}

impl Kubeconfig {
    /// The file's text, with the token and the CA of now.
    ///
    /// # Errors
    /// See [`KubeconfigError`].
    pub fn text(&self) -> Result<String, KubeconfigError> {
        let token = read(&self.token)?;
        let token = String::from_utf8_lossy(&token).trim().to_owned();
        if token.is_empty() {
            return Err(KubeconfigError::Empty(self.token.clone()));
        }
        let authority = match &self.ca {
            None => "insecure-skip-tls-verify: true".to_owned(),
            Some(path) => {
                let ca = read(path)?;
                if !String::from_utf8_lossy(&ca).contains("-----BEGIN CERTIFICATE-----") {
                    return Err(KubeconfigError::NoCertificate(path.clone()));
                }
                format!("certificate-authority-data: {}", STANDARD.encode(ca))
            }
        };
        // JSON's strings are YAML's.
        let (server, token) = (Value::from(self.server.as_str()), Value::from(token));
        let (user, context) = (self.user, self.context);
        Ok(format!(
            "# Written by the installer of the CNI plugin; changes are overwritten.\n\
             apiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    server: {server}\n    {authority}\n\
             users:\n- name: {user}\n  user:\n    token: {token}\n\
             contexts:\n- name: {context}\n  context:\n    cluster: local\n    user: {user}\n\
             current-context: {context}\n"
        ))
    }

    /// Writes the file if its content or mode differs. Returns whether it did.
    ///
    /// # Errors
    /// See [`KubeconfigError`]; the file is as it was.
    pub fn write(&self, path: &Path, mode: u32) -> Result<bool, KubeconfigError> {
        let text = self.text()?;
        if files::mode(path)? == Some(mode) && files::read(path)?.as_deref() == Some(text.as_bytes()) {
            return Ok(false);
        }
        files::replace(path, text.as_bytes(), mode, self.user)?;
        Ok(true)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    files::read(path)?.ok_or_else(|| KubeconfigError::Missing(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        assert_eq!(server("https", "10.96.0.1", "443"), "https://10.96.0.1:443");
        assert_eq!(server("https", "fd00::1", "443"), "https://[fd00::1]:443");
        assert_eq!(server("https", "[fd00::1]", "443"), "https://[fd00::1]:443");
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (token, ca) = (folder.path().join("token"), folder.path().join("ca.crt"));
        let kubeconfig = Kubeconfig {
            server: "https://[fd00::1]:443".into(),
            ca: Some(ca.clone()),
            token: token.clone(),
            user: "istio-cni",
            context: "istio-cni-context",
        };
        assert!(kubeconfig.text().unwrap_err().to_string().contains("automountServiceAccountToken"));
        std::fs::write(&token, "\n").unwrap();
        assert!(kubeconfig.text().unwrap_err().to_string().ends_with("token is empty"));
        std::fs::write(&token, "t\n").unwrap();
        std::fs::write(&ca, "x").unwrap();
        assert!(kubeconfig.text().unwrap_err().to_string().contains("no PEM certificate"));
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let text = kubeconfig.text().unwrap();
        assert!(
            text.contains("server: \"https://[fd00::1]:443\"") && text.contains("token: \"t\"\n"),
            "{text}"
        );
        let path = folder.path().join("kubeconfig");
        assert!(kubeconfig.write(&path, 0o600).unwrap() && !kubeconfig.write(&path, 0o600).unwrap());
        assert_eq!(files::mode(&path).unwrap(), Some(0o600));
        assert!(kubeconfig.write(&path, 0o640).unwrap());
    }
}

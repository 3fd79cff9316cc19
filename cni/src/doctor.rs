//! `istio-cni doctor --api`: whether the plugin will be able to ask the API server, before it is rolled out.
//!
//! TLS is stricter here than in Go: some certificates that Istio's and Linkerd's own plugins accept are refused.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::kubernetes::{Fault, Kubeconfig, KubeconfigError, Limits, Source, probe};

/// The command.
pub(crate) const NAME: &str = "doctor";

const USAGE: &str = "usage: istio-cni doctor --api [--kubeconfig FILE]

Asks the API server for its version as the plugin would, with the kubeconfig's certificate authority and token; without
one, with the service account of the pod that this runs in.";

/// Where Kubernetes mounts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const LIMIT: Duration = Duration::from_secs(5);

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
enum DoctorError {
    #[error("{0}")]
    Usage(&'static str),
    #[error("{0} is not set: run it in a pod, or pass --kubeconfig FILE")]
    Variable(&'static str),
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Api(#[from] Fault),
}

/// Runs the command; `arguments` are those after its name.
pub(crate) fn run(arguments: &[String], variable: impl Fn(&'static str) -> Option<String>) -> ExitCode {
    match check(arguments, variable) {
        Ok(text) => match writeln!(io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            if matches!(error, DoctorError::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn check(
    arguments: &[String],
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<String, DoctorError> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let kubeconfig = match arguments[..] {
        ["--api"] => of_pod(variable)?,
        ["--api", "--kubeconfig", path] | ["--kubeconfig", path, "--api"] => {
            Kubeconfig::read(&Source { path: PathBuf::from(path), context: None, server: None })?
        }
        _ => return Err(DoctorError::Usage(USAGE)),
    };
    let server = kubeconfig.server.clone();
    let limits = Limits { total: LIMIT, attempt: LIMIT };
    let version = match probe(kubeconfig, limits, NAME) {
        Ok(version) => version,
        // The account may not be allowed to read the version; the certificate is accepted.
        Err(Fault::Forbidden(_)) => "its version is not for this user".to_owned(),
        Err(fault) => return Err(fault.into()),
    };
    Ok(format!("the API server at {server} can be used ({version}): its certificate is accepted"))
}

fn of_pod(variable: impl Fn(&'static str) -> Option<String>) -> Result<Kubeconfig, DoctorError> {
    let needed = |name| variable(name).filter(|value| !value.is_empty()).ok_or(DoctorError::Variable(name));
    let (host, port) = (needed("KUBERNETES_SERVICE_HOST")?, needed("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let server = format!("https://{host}:{port}");
    Ok(Kubeconfig::of_service_account(server, Path::new(SERVICE_ACCOUNT))?)
}

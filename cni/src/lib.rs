//! The CNI plugins of Istio and Linkerd, in one small executable.
//!
//! A container runtime calls it once for each sandbox, after the plugins that make the pod's network. It asks the API
//! server for the pod, turns the pod's annotations into the settings that the init container's flags would be, and
//! programs them in the pod's network namespace. It fails closed: a pod that should have rules and has none is not started.
//!
//! Its parts: [`protocol`] is the CNI itself, [`kubernetes`] the one GET, [`istio`] and [`linkerd`] what each mesh's
//! plugin makes of them.
//!
//! The library is for the executable and its tests. Its items are not a public interface and have no stable versions; what is
//! public are the CNI protocol, the configuration and the files.

mod add;
mod doctor;
pub mod istio;
pub mod kubernetes;
pub mod linkerd;
mod program;
pub mod protocol;
mod unix_http;

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

pub use add::{AddError, Agent};
pub use program::ProgramError;
use protocol::{CniError, Invocation, Outcome, Plugin};

/// What it does, for people who call it by hand.
const ABOUT: &str = "CNI plugin of Istio (istio-cni) and Linkerd (linkerd-cni), by meshwire";

/// Which mesh's plugin it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mesh {
    Istio,
    Linkerd,
}

impl Mesh {
    /// By its name, which is its `type` in a network configuration.
    fn named(name: &str) -> Option<Self> {
        match name {
            istio::NAME => Some(Self::Istio),
            linkerd::NAME => Some(Self::Linkerd),
            _ => None,
        }
    }
}

/// Neither the executable's name nor the configuration's type says which plugin it is to be.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is neither {istio} nor {linkerd}: install the executable by one of these names",
    istio = istio::NAME,
    linkerd = linkerd::NAME
)]
struct UnknownPlugin(String);

/// Both plugins: the executable's name says which, else the configuration's `type`.
struct ByName(Option<Mesh>);

impl Plugin for ByName {
    fn add(&self, invocation: &Invocation) -> Result<String, CniError> {
        let mesh = match self.0 {
            Some(mesh) => mesh,
            None => {
                let kind = protocol::plugin_type(&invocation.config).unwrap_or_default();
                Mesh::named(&kind).ok_or_else(|| CniError::internal(&UnknownPlugin(kind)))?
            }
        };
        match mesh {
            Mesh::Istio => istio::add(invocation),
            Mesh::Linkerd => linkerd::add(invocation),
        }
        .map_err(|error| CniError::internal(&error))
    }
}

/// Does what the environment and standard input ask for, as the CNI specifies it.
#[must_use]
pub fn run() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(&program).file_name().and_then(|name| name.to_str());
    let plugin = ByName(name.and_then(Mesh::named));
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    // Runtimes pass no arguments.
    let arguments: Vec<_> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    if let Some((doctor::NAME, arguments)) = arguments.split_first().map(|(name, rest)| (name.as_str(), rest))
    {
        return doctor::run(arguments, variable);
    }
    let stdin = || {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    };
    let (text, code) = match protocol::dispatch(&plugin, variable, stdin) {
        Outcome::About => {
            let versions = protocol::Version::ALL.map(protocol::Version::as_str).join(", ");
            // Standard output is for the runtime alone.
            let _ = writeln!(io::stderr(), "{ABOUT}\nCNI protocol versions supported: {versions}");
            return ExitCode::SUCCESS;
        }
        Outcome::Done(text) => (text, ExitCode::SUCCESS),
        Outcome::Failed(text) => (text, ExitCode::FAILURE),
    };
    // Where the result cannot be written the runtime must not take it for a success.
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

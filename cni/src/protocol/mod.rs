//! The container network interface: what a runtime asks of a plugin, and how the plugin replies.
//!
//! The contract is that of the CNI's specification 1.1.0 and of the library that Istio's and Linkerd's plugins are built
//! on (containernetworking/cni pkg/skel, at 3f51e88): the same variables are required for the same verbs, and the same
//! errors carry the same codes.

mod arguments;
mod error;
mod object;
mod result;
mod version;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use serde::Deserialize;

pub use arguments::{Arguments, ArgumentsError};
pub use error::{CniError, Code};
pub use object::Object;
pub use result::{Address, Previous, ResultError, empty};
pub use version::Version;
use version::VersionError;

/// A plugin: what it does for each pod that is added. All other verbs are the same for every plugin here, as rules die
/// with their network namespace.
pub trait Plugin {
    /// Prepares a pod's network namespace; returns the result to print.
    ///
    /// # Errors
    /// The pod must not be started.
    fn add(&self, invocation: &Invocation) -> Result<String, CniError>;
}

/// What a runtime calls the plugin with.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// CNI_CONTAINERID
    pub container_id: String,
    /// CNI_NETNS: the network namespace's file; empty where the verb does not need one
    pub netns: String,
    /// CNI_ARGS
    pub arguments: String,
    /// The network configuration, as it came on standard input
    pub config: Vec<u8>,
    /// Its version
    pub version: Version,
}

/// What is to be printed on standard output, and how the process ends.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing, but what this is, for people; exit code 0
    About,
    /// The result; exit code 0
    Done(String),
    /// The error; exit code 1
    Failed(String),
}

/// The environment variables of the interface.
const VARIABLES: [&str; 5] = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];

/// What a runtime can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            _ => return None,
        })
    }

    /// The variables that must not be empty.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &VARIABLES,
            Self::Del => &["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc | Self::Status => &["CNI_COMMAND", "CNI_PATH"],
            Self::Version => &["CNI_COMMAND"],
        }
    }

    /// The configuration's version that brought the verb, if it did not exist from the beginning.
    fn since(self) -> Option<(&'static str, Version)> {
        match self {
            Self::Check => Some(("CHECK", Version::V0_4_0)),
            Self::Gc => Some(("GC", Version::V1_1_0)),
            Self::Status => Some(("STATUS", Version::V1_1_0)),
            Self::Add | Self::Del | Self::Version => None,
        }
    }
}

/// Does what the variables and standard input ask for.
pub fn dispatch(
    plugin: &impl Plugin,
    variable: impl Fn(&str) -> Option<String>,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Outcome {
    let command = variable("CNI_COMMAND").unwrap_or_default();
    if command.is_empty() {
        return Outcome::About;
    }
    match handle(plugin, &command, &variable, stdin) {
        Ok(text) => Outcome::Done(text),
        Err((version, error)) => Outcome::Failed(error.to_json(version)),
    }
}

/// An error, and the version of the configuration if it is known by then.
type Failed = (Option<Version>, CniError);

fn handle(
    plugin: &impl Plugin,
    command: &str,
    variable: &impl Fn(&str) -> Option<String>,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<String, Failed> {
    let early = |error| (None, error);
    let value = |name: &str| variable(name).unwrap_or_default();
    let verb = Verb::parse(command);
    let required = verb.map_or(&[][..], Verb::required);
    check_variables(required, value).map_err(early)?;
    if verb == Some(Verb::Version) {
        return Ok(version::supported() + "\n");
    }
    let config = stdin().map_err(|error| early(CniError::io(&error)))?;
    check_name(&config).map_err(early)?;
    let verb = verb.ok_or_else(|| early(CniError::unknown_command(command)))?;
    let version = check_version(&config, verb).map_err(early)?;
    let invocation = Invocation {
        container_id: value("CNI_CONTAINERID"),
        netns: value("CNI_NETNS"),
        arguments: value("CNI_ARGS"),
        config,
        version,
    };
    let overridden = is_true(&value("CNI_NETNS_OVERRIDE"));
    match verb {
        // Before any rule is made: in the plugin's own namespace, it would be in the node's.
        Verb::Add | Verb::Del if !overridden && is_own_namespace(&invocation.netns) => {
            Err((Some(version), CniError::own_namespace()))
        }
        Verb::Add => plugin.add(&invocation).map_err(|error| (Some(version), error)),
        _ => Ok(String::new()),
    }
}

fn check_variables(required: &[&str], value: impl Fn(&str) -> String) -> Result<(), CniError> {
    let mut missing = Vec::new();
    for &name in required {
        let text = value(name);
        match name {
            _ if text.is_empty() => missing.push(name),
            "CNI_CONTAINERID" if !is_name(&text) => return Err(CniError::container_id(&text)),
            "CNI_IFNAME" => check_interface(&text)?,
            _ => {}
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(CniError::missing_variables(&missing)) }
}

/// Letters and digits, and after the first one also `_`, `.` and `-`.
fn is_name(text: &str) -> bool {
    let more = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) && text.bytes().all(more)
}

/// As the kernel has it (dev_valid_name in net/core/dev.c).
fn check_interface(text: &str) -> Result<(), CniError> {
    if text.len() > 15 {
        return Err(CniError::interface(
            "interface name is too long",
            "interface name should be less than 16 characters",
        ));
    }
    if text == "." || text == ".." {
        return Err(CniError::interface("interface name is . or ..", ""));
    }
    if text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        return Err(CniError::interface("interface name contains / or : or whitespace characters", ""));
    }
    Ok(())
}

/// The network's name has to be one.
fn check_name(config: &[u8]) -> Result<(), CniError> {
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
    }
    let named: Named = serde_json::from_slice(config)
        .map_err(|error| CniError::decoding(format!("error unmarshall network config: {error}")))?;
    match named.name.as_deref() {
        None | Some("") => Err(CniError::network_config("missing network name", "")),
        Some(name) if !is_name(name) => {
            Err(CniError::network_config("invalid characters found in network name", name))
        }
        Some(_) => Ok(()),
    }
}

/// The configuration's version, if it allows the verb and is supported.
fn check_version(config: &[u8], verb: Verb) -> Result<Version, CniError> {
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(rename = "cniVersion")]
        cni_version: Option<String>,
    }
    let versioned: Versioned = serde_json::from_slice(config)
        .map_err(|error| CniError::decoding(format!("decoding version from network config: {error}")))?;
    let text = versioned.cni_version.unwrap_or_default();
    let decoding = |error: VersionError| CniError::decoding(error.to_string());
    if let Some((verb, since)) = verb.since() {
        let numbers = version::numbers(&text).map_err(decoding)?;
        if numbers < since.numbers() {
            let fault = format!("config version does not allow {verb}");
            return Err(CniError::new(Code::IncompatibleVersion, fault, String::new()));
        }
        if numbers > Version::LATEST.numbers() {
            let fault = format!("plugin version does not allow {verb}");
            return Err(CniError::new(Code::IncompatibleVersion, fault, String::new()));
        }
    }
    Version::parse(&text).ok_or_else(|| CniError::incompatible(&text))
}

/// The configuration's `type`: the plugin's name.
#[must_use]
pub fn plugin_type(config: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    serde_json::from_slice::<Typed>(config).ok()?.kind
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text == "1"
}

/// Whether a file is the network namespace of this process. One that cannot be looked at is another's, or gone.
fn is_own_namespace(path: &str) -> bool {
    let identity = |path: &str| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let given = (!path.is_empty()).then(|| identity(path)).flatten();
    given.is_some() && given == identity("/proc/thread-self/ns/net")
}

#[cfg(test)]
mod tests;

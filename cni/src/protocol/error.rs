//! Errors as a runtime reads them.

use std::error::Error;
use std::io;

use serde::Serialize;

use super::version::Version;

/// The codes of the CNI's specification (section 5, "Error"), as far as a plugin here has use for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The configuration's version is not supported
    IncompatibleVersion = 1,
    /// A variable is missing or wrong
    InvalidEnvironment = 4,
    /// Standard input cannot be read
    Io = 5,
    /// The configuration is not what it should be
    Decoding = 6,
    /// The network's name is wrong
    InvalidConfig = 7,
    /// The network namespace is the plugin's own
    InvalidNamespace = 8,
    /// Everything else
    Internal = 999,
}

/// An error: code, message and details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniError {
    code: Code,
    message: String,
    details: String,
}

impl CniError {
    pub(super) fn new(code: Code, message: String, details: String) -> Self {
        Self { code, message, details }
    }

    /// What the plugin itself cannot do.
    #[must_use]
    pub fn internal(error: &dyn Error) -> Self {
        Self::new(Code::Internal, error.to_string(), String::new())
    }

    pub(super) fn io(error: &io::Error) -> Self {
        Self::new(Code::Io, format!("error reading from stdin: {error}"), String::new())
    }

    pub(super) fn decoding(message: String) -> Self {
        Self::new(Code::Decoding, message, String::new())
    }

    pub(super) fn network_config(message: &str, details: &str) -> Self {
        Self::new(Code::InvalidConfig, message.to_owned(), details.to_owned())
    }

    pub(super) fn interface(message: &str, details: &str) -> Self {
        Self::new(Code::InvalidEnvironment, message.to_owned(), details.to_owned())
    }

    pub(super) fn container_id(id: &str) -> Self {
        Self::interface("invalid characters in containerID", id)
    }

    pub(super) fn missing_variables(names: &[&str]) -> Self {
        let message = format!("required env variables [{}] missing", names.join(","));
        Self::new(Code::InvalidEnvironment, message, String::new())
    }

    pub(super) fn unknown_command(command: &str) -> Self {
        Self::new(Code::InvalidEnvironment, format!("unknown CNI_COMMAND: {command}"), String::new())
    }

    pub(super) fn own_namespace() -> Self {
        let message = "plugin's netns and netns from CNI_NETNS should not be the same";
        Self::new(Code::InvalidNamespace, message.to_owned(), String::new())
    }

    pub(super) fn incompatible(version: &str) -> Self {
        let supported: Vec<_> =
            Version::ALL.iter().map(|version| format!("{:?}", version.as_str())).collect();
        let details = format!("config is {version:?}, plugin supports [{}]", supported.join(" "));
        Self::new(Code::IncompatibleVersion, "incompatible CNI versions".to_owned(), details)
    }

    /// As the runtime reads it, with the version of the configuration, or the latest where that is not known.
    pub(super) fn to_json(&self, version: Option<Version>) -> String {
        #[derive(Serialize)]
        struct Printed<'a> {
            #[serde(rename = "cniVersion")]
            cni_version: &'static str,
            code: u32,
            msg: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            details: &'a str,
        }
        super::object::pretty(&Printed {
            cni_version: version.unwrap_or(Version::LATEST).as_str(),
            code: self.code as u32,
            msg: &self.message,
            details: &self.details,
        })
    }
}

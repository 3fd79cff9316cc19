//! Our entry in a file that another CNI owns.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::InstallError;
use super::conflist::{Form, Network};
use crate::files::{self, Replaced};

/// How often a file may change while it is edited.
const ATTEMPTS: u32 = 20;

/// What was done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edited {
    /// It was written
    Written(PathBuf),
    /// It was as desired
    Unchanged,
    /// It does not exist
    Missing,
}

/// The configurations of a folder that parse, in the order in which runtimes read them. Broken ones are logged: another
/// program may be half done with them.
///
/// # Errors
/// The folder cannot be listed.
pub fn configurations(folder: &Path) -> Result<Vec<(String, Network)>, InstallError> {
    let mut found = Vec::new();
    for name in files::names(folder).map_err(InstallError::Config)? {
        let Some(form) = Form::of(&name) else { continue };
        let path = folder.join(&name);
        match files::read(&path) {
            Ok(None) => {}
            Ok(Some(content)) => match Network::parse(&content, form) {
                Ok(network) => found.push((name, network)),
                Err(error) => tracing::debug!(target: "cni-agent", "skipping {}: {error}", path.display()),
            },
            Err(error) => tracing::warn!(target: "cni-agent", "skipping a network configuration: {error}"),
        }
    }
    Ok(found)
}

/// The file of the list that `path` is, or becomes.
pub fn list_path(path: &Path) -> PathBuf {
    path.with_extension("conflist")
}

/// Puts `entry` into the list at `path`; a single configuration becomes a list.
///
/// # Errors
/// The file is as it was.
pub fn add(path: &Path, entry: &Value) -> Result<Edited, InstallError> {
    let form = Form::of(&path.file_name().unwrap_or_default().to_string_lossy()).unwrap_or(Form::List);
    let owner = entry["type"].as_str().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let Some(content) = files::read(path).map_err(InstallError::Config)? else {
            return Ok(Edited::Missing);
        };
        let network = Network::parse(&content, form)
            .map_err(|error| InstallError::Foreign { path: path.to_owned(), error })?;
        if form == Form::List && network.has(entry) {
            return Ok(Edited::Unchanged);
        }
        let text = network.with(entry);
        let mode = files::mode(path).map_err(InstallError::Config)?.unwrap_or(0o600);
        let list = list_path(path);
        if form == Form::List {
            match files::replace_if(path, &content, text.as_bytes(), mode, owner)
                .map_err(InstallError::Config)?
            {
                Replaced::Yes => return Ok(Edited::Written(list)),
                Replaced::Changed => continue,
            }
        }
        files::replace(&list, text.as_bytes(), mode, owner).map_err(InstallError::Config)?;
        // The runtime would read the single configuration first.
        if files::read(path).map_err(InstallError::Config)?.is_none_or(|now| now == content) {
            files::remove(path).map_err(InstallError::Config)?;
            return Ok(Edited::Written(list));
        }
    }
    Err(InstallError::KeepsChanging { path: path.to_owned(), attempts: ATTEMPTS })
}

/// Takes plugins of this type out of the file at `path`; a file that holds nothing else is removed.
///
/// # Errors
/// The file is as it was.
pub fn remove(path: &Path, plugin_type: &str) -> Result<Edited, InstallError> {
    let form = Form::of(&path.file_name().unwrap_or_default().to_string_lossy()).unwrap_or(Form::List);
    for _ in 0..ATTEMPTS {
        let Some(content) = files::read(path).map_err(InstallError::Config)? else {
            return Ok(Edited::Missing);
        };
        // What does not parse is not ours.
        let Ok(network) = Network::parse(&content, form) else { return Ok(Edited::Unchanged) };
        let Some(text) = network.without(plugin_type) else { return Ok(Edited::Unchanged) };
        if text.is_empty() {
            files::remove(path).map_err(InstallError::Config)?;
            return Ok(Edited::Missing);
        }
        let mode = files::mode(path).map_err(InstallError::Config)?.unwrap_or(0o600);
        match files::replace_if(path, &content, text.as_bytes(), mode, plugin_type)
            .map_err(InstallError::Config)?
        {
            Replaced::Yes => return Ok(Edited::Written(path.to_owned())),
            Replaced::Changed => {}
        }
    }
    Err(InstallError::KeepsChanging { path: path.to_owned(), attempts: ATTEMPTS })
}

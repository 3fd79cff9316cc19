//! Files that texts include.

use std::io;
use std::path::Path;

use nft_ruleset::nft::parse::{Files, IncludeError};

/// Where nft looks for what has no path.
const DEFAULT_PATH: &str = "/etc";

/// Files by names and patterns.
#[derive(Debug)]
pub(super) struct Includes {
    paths: Vec<String>,
}

impl Includes {
    pub(super) fn new(paths: &[String]) -> Self {
        Self { paths: std::iter::once(DEFAULT_PATH.to_owned()).chain(paths.iter().cloned()).collect() }
    }

    /// The files that a pattern names, in the order of their names; `None` where it is not a pattern and names none.
    fn matching(pattern: &str) -> Result<Option<Vec<String>>, IncludeError> {
        if !pattern.contains(['*', '?', '[']) {
            return Ok(Path::new(pattern).is_file().then(|| vec![pattern.to_owned()]));
        }
        let options = glob::MatchOptions {
            require_literal_leading_dot: true,
            require_literal_separator: true,
            ..glob::MatchOptions::new()
        };
        let found = glob::glob_with(pattern, options).map_err(|error| IncludeError::Pattern {
            pattern: pattern.to_owned(),
            position: error.pos,
            what: error.msg,
        })?;
        let mut names = Vec::new();
        for path in found {
            let path = path.map_err(|error| IncludeError::Folder {
                pattern: pattern.to_owned(),
                folder: error.path().to_owned(),
                error: error.into(),
            })?;
            if path.is_file() {
                let name = path.to_str().ok_or_else(|| IncludeError::Name(path.clone()))?;
                // The pattern's beginning is dropped from names.
                let dotted = pattern.starts_with("./") && !name.starts_with("./");
                names.push(if dotted { format!("./{name}") } else { name.to_owned() });
            }
        }
        names.sort_unstable();
        Ok(Some(names))
    }
}

impl Files for Includes {
    fn include(&mut self, path: &str) -> Result<Vec<(String, String)>, IncludeError> {
        let direct = path.starts_with(['/', '.']) || path.is_empty();
        let candidates = match direct {
            true => vec![path.to_owned()],
            false => self.paths.iter().map(|directory| format!("{directory}/{path}")).collect(),
        };
        let mut found: Option<Vec<String>> = None;
        for candidate in &candidates {
            match Self::matching(candidate)? {
                Some(names) if !names.is_empty() => {
                    found = Some(names);
                    break;
                }
                Some(names) => found = Some(names),
                None => {}
            }
        }
        let names = found.ok_or_else(|| IncludeError::NotFound(path.to_owned()))?;
        names
            .into_iter()
            .map(|name| match std::fs::read(&name).and_then(text) {
                Ok(text) => Ok((name, text)),
                Err(error) => Err(IncludeError::Open { name, error }),
            })
            .collect()
    }
}

/// What was read, as text.
pub(super) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

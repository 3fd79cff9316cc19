//! What all error types of the workspace have in common. Whoever prints an error with its sources (as `anyhow` does) reads each
//! cause once: an error prints its cause, or returns it by `source()`, never both. What can fail in more ways later is
//! `non_exhaustive`.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

const CRATES: [&str; 5] = ["src", "netlink/src", "ruleset/src", "cni/src", "agent/src"];
/// Those that others use.
const LIBRARIES: [&str; 3] = ["src", "netlink/src", "ruleset/src"];

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension() == Some(OsStr::new("rs")) {
            files.push(path);
        }
    }
}

/// Calls `look` with the numbered lines of each type that derives `Error`, its attributes included.
fn each_error_type(folder: &str, mut look: impl FnMut(&Path, &[(usize, &str)])) {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = (1..).zip(text.lines().map(str::trim_end)).collect();
        for (index, (_, line)) in lines.iter().enumerate() {
            if line.starts_with("#[derive(") && line.contains("Error)]") {
                let before =
                    lines[..index].iter().rev().take_while(|(_, line)| line.starts_with("#[")).count();
                let rest = &lines[index..];
                let length = rest.iter().position(|(_, line)| *line == "}" || line.ends_with(';')).unwrap();
                look(&file, &lines[index - before..=index + length]);
            }
        }
    }
}

/// Only a transparent error has a source: its text is the cause's, and so is its source.
#[test]
fn none_prints_its_cause_and_returns_it() {
    let (mut types, mut both) = (0, Vec::new());
    for folder in CRATES {
        each_error_type(folder, |file, lines| {
            types += 1;
            let mut is_transparent = false;
            for (number, line) in lines {
                let line = line.trim_start();
                if line.starts_with("#[error(") {
                    is_transparent = line == "#[error(transparent)]";
                }
                let has_source = ["#[source]", "#[from]", " source: "]
                    .iter()
                    .any(|mark| format!(" {line}").contains(mark));
                if has_source && !is_transparent && !line.starts_with("//") {
                    both.push(format!("{}:{number}: {line}", file.display()));
                }
            }
        });
    }
    assert!(types > 60, "{types} error types were found");
    assert!(both.is_empty(), "print their cause and return it: {both:#?}");
}

#[test]
fn those_of_libraries_can_get_more_variants() {
    let mut exhaustive = Vec::new();
    for folder in LIBRARIES {
        each_error_type(folder, |file, lines| {
            let is_public_enum = lines.iter().any(|(_, line)| line.starts_with("pub enum "));
            if is_public_enum && !lines.iter().any(|(_, line)| *line == "#[non_exhaustive]") {
                exhaustive.push(format!("{}:{}", file.display(), lines[0].0));
            }
        });
    }
    // The command line is not a library.
    exhaustive.retain(|file| !file.contains("/src/cli/"));
    assert!(exhaustive.is_empty(), "are not non_exhaustive: {exhaustive:#?}");
}

/// What is printed with all sources has each cause once.
#[test]
fn a_cause_is_printed_once() {
    let cause = || io::Error::from_raw_os_error(13);
    let errors: [Box<dyn Error>; 5] = [
        Box::new(nftwire::Error::Open(cause())),
        Box::new(nftwire::Error::Decode(nftwire::DecodeError::MessageLength)),
        Box::new(nftwire::NamespaceError::Open { path: "/x".into(), error: cause() }),
        Box::new(meshwire::network::RouteError::Open(cause())),
        Box::new(meshwire::apply::ApplyError::Route(meshwire::network::RouteError::Open(cause()))),
    ];
    for error in errors {
        let mut texts = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            texts.push(error.to_string());
            source = error.source();
        }
        let printed = texts.join(": ");
        for cause in ["EACCES", "a length that does not fit"] {
            assert!(printed.matches(cause).count() <= 1, "{printed}");
        }
        assert!(printed.contains("EACCES") || printed.contains("length"), "{printed}");
    }
}

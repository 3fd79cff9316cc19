//! What `meshwire --version` says besides the version: the commit and the features.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    let commit = packaged_commit().or_else(checked_out_commit).unwrap_or_else(|| "unknown commit".into());
    println!("cargo::rustc-env=MESHWIRE_COMMIT={commit}");
    let mut features: Vec<_> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")))
        .filter(|feature| feature != "default")
        .collect();
    features.sort();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(" ") };
    println!("cargo::rustc-env=MESHWIRE_FEATURES={features}");
    println!("cargo::rerun-if-changed=build.rs");
}

/// The commit that cargo wrote into a package when it was made.
fn packaged_commit() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, hash) = text.split_once("\"sha1\": \"")?;
    Some(hash.get(..12)?.to_owned())
}

/// The commit of the work tree, if this is one and not a folder inside of another project's.
fn checked_out_commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = env::current_dir().ok()?;
    (Path::new(&top).canonicalize().ok()? == here.canonicalize().ok()?).then_some(())?;
    // Both change when another commit is checked out or made; with packed references only the first one.
    for file in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

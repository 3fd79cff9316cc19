//! What the command leaves can be looked at with any `nft`: newer ones read attributes that older ones do not know, and
//! older ones have crashed on what newer ones wrote.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Namespace, oracle, privileged, say};
use crate::settings;

#[test]
fn every_nft_lists_it() {
    if !oracle("nft") || !privileged() {
        return;
    }
    let programs = programs();
    for program in &programs {
        let version = Command::new(program).arg("--version").output().unwrap();
        say(&format!("{}: {}", program.display(), String::from_utf8_lossy(&version.stdout).trim()));
    }
    for setting in settings::some() {
        let namespace = setting.fresh();
        for program in &programs {
            assert_listed(&namespace, program, setting.args);
        }
    }
}

/// The commands on the PATH that are called `nft`, or `nft-` and something more.
fn programs() -> BTreeSet<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let entries = env::split_paths(&path).filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    let is_nft = |name: &OsStr| name == "nft" || name.to_string_lossy().starts_with("nft-");
    // Folders may be links to each other.
    entries
        .filter(|entry| is_nft(&entry.file_name()))
        .map(|entry| entry.path().canonicalize().unwrap())
        .collect()
}

/// As text, as JSON and by its expressions, without a crash; the text loads again.
fn assert_listed(namespace: &Namespace, program: &Path, what: &str) {
    let list = |flags: &[&str]| {
        let output = namespace.output(Command::new(program).args(flags).args(["list", "ruleset"]), "");
        let (name, errors) = (program.display(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.signal(), None, "{name} {flags:?}: {what}: {errors}");
        assert!(output.status.success() && !output.stdout.is_empty(), "{name} {flags:?}: {what}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = list(&[]);
    for flags in [&["-a"][..], &["-j"], &["--debug=netlink"]] {
        list(flags);
    }
    let again = Namespace::new();
    let output = again.output(Command::new(program).args(["-f", "-"]), &text);
    assert!(
        output.status.success(),
        "{}: {what}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

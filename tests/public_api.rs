//! What the crates for others, nftwire, nft-ruleset and meshwire, make public is what the `public-api.txt` of each lists, so that no
//! commit changes it unseen: what goes or changes there breaks users and needs a new major version (before 1.0: minor), what
//! comes does not. The libraries of the executables meshwire-cni and meshwire-agent are not for others.
//!
//! `UPDATE_PUBLIC_API=1 cargo test --test public_api` writes the files.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use public_api::Error;

/// The crates, and their folders.
const CRATES: [(&str, &str); 3] = [("nftwire", "netlink"), ("nft_ruleset", "ruleset"), ("meshwire", ".")];

/// What signatures may name. The types of a dependency are not among it: a new major version of it would be one of the
/// crate, too.
const OURS: [&str; 7] = ["core", "alloc", "std", "str", "nftwire", "nft_ruleset", "meshwire"];

#[test]
fn the_public_surface_is_the_listed_one() {
    let documented = document();
    for (name, folder) in CRATES {
        let Some(now) = surface(&documented.join(format!("{name}.json"))) else { return };
        let foreign: Vec<_> =
            now.lines().filter(|line| crates_of(line).any(|name| !OURS.contains(&name))).collect();
        assert!(foreign.is_empty(), "these name a dependency's types: {foreign:#?}");
        let listing = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("public-api.txt");
        if env::var_os("UPDATE_PUBLIC_API").is_some() {
            fs::write(listing, now).unwrap();
            continue;
        }
        let listed = fs::read_to_string(&listing).unwrap();
        let only = |these: &str, others: &str| -> Vec<String> {
            these
                .lines()
                .filter(|line| !others.lines().any(|other| other == *line))
                .map(str::to_owned)
                .collect()
        };
        let (gone, new) = (only(&listed, &now), only(&now, &listed));
        assert!(
            listed == now,
            "{}: gone or changed, which breaks users: {gone:#?}\nnew: {new:#?}\nto list it: UPDATE_PUBLIC_API=1 cargo test \
             --test public_api",
            listing.display()
        );
    }
}

/// What paths begin with, apart from type parameters and `Self`.
fn crates_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
        .filter_map(|path| path.split_once("::"))
        .map(|(first, _)| first)
        .filter(|first| first.starts_with(|letter: char| letter.is_ascii_lowercase()))
}

/// Has rustdoc describe all crates as JSON; returns the folder.
fn document() -> PathBuf {
    let temporary = env!("CARGO_TARGET_TMPDIR");
    // The format is unstable, so a stable rustdoc writes it only with this variable. Nobody else may see it: build scripts would run
    // again with it, and all that depends on them be built again.
    let rustdoc = Path::new(temporary).join("rustdoc");
    fs::write(&rustdoc, "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n").unwrap();
    fs::set_permissions(&rustdoc, Permissions::from_mode(0o755)).unwrap();
    // For the whole workspace and with an example, and so with the features that tests and lints have: what these depend on is
    // checked already.
    let output = meshwire_testkit::cargo("doc", temporary)
        .args([
            "--workspace",
            "--no-deps",
            "--lib",
            "--example",
            "atomic",
            "--all-features",
            "--locked",
            "--quiet",
        ])
        .env("RUSTDOC", rustdoc)
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json --cap-lints allow")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Path::new(temporary).with_file_name("doc")
}

/// One line an item, as rustdoc sees the crate; `None` where this toolchain's rustdoc writes another format.
fn surface(described: &Path) -> Option<String> {
    let api = public_api::Builder::from_rustdoc_json(described)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    match api {
        Ok(api) => Some(api.to_string()),
        Err(error @ Error::SerdeJsonError(_)) if env::var_os("CI").is_none() => {
            println!("skipped: this toolchain's rustdoc writes a format that cannot be read: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

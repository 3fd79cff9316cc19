//! Executables: copies, to be started at once, and what else of the workspace a test needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, io};

/// Copies an executable by cp(1).
///
/// A copy by this process would be open for writing here, and so for a moment in every command that another thread starts,
/// until its exec: the copy could not be started then (ETXTBSY).
///
/// # Panics
/// The copy fails.
pub fn copy_executable(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}: {status}", from.display(), to.display());
}

/// Builds more of the workspace, such as `--examples`, as `cargo test --workspace` does: with the features of fewer packages, most of
/// what it depends on would be built once more. Returns the folder with the executables.
///
/// `temporary` is the calling test's `CARGO_TARGET_TMPDIR`.
///
/// # Panics
/// It cannot be built.
pub fn build_tests(temporary: &str, what: &[&str]) -> PathBuf {
    let mut build = cargo("test", temporary);
    build.args(["--no-run", "--workspace", "--locked"]).args(what);
    let status = build.stdin(Stdio::null()).stdout(io::stderr()).status().unwrap();
    assert!(status.success(), "{build:?}: {status}");
    Path::new(temporary).with_file_name("debug")
}

/// A command of cargo as the caller of `cargo test` would give it, with the folder that was built in.
///
/// `temporary` is the calling test's `CARGO_TARGET_TMPDIR`.
pub fn cargo(command: &str, temporary: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([command, "--target-dir"]).arg(Path::new(temporary).parent().unwrap());
    // The build script of ring asks to be run again where these change, which cargo sets for each test.
    let of_this_test = |name: &str| {
        name == "OUT_DIR" || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_")
    };
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_test)) {
        cargo.env_remove(name);
    }
    cargo
}

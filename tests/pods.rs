//! The image in pods as their manifests say, on a real container runtime, with a real Envoy: see `pods/run.py`.
//!
//! It needs what `tests/pods/prepare` installs, and root: `MESHWIRE_PODS=1 cargo test --test pods` asks for it. Under CI it
//! has to be asked for. With MESHWIRE_TEST_FULL in the environment the CNI plugin, too, is the one that is shipped, and sizes and
//! memory have limits.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use meshwire_testkit::{build_tests, full};

/// The flag; its value may be the folder of the Python environment.
const FLAG: &str = "MESHWIRE_PODS";

#[test]
fn pods_run_as_their_manifests_say() {
    let Some(value) = env::var_os(FLAG) else {
        meshwire_testkit::skip(&format!("{FLAG}=1 asks for pods on a container runtime"));
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let environment = if value == "1" { root.join("target/pods") } else { PathBuf::from(value) };
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let out = temporary.join("static");
    let shipped = |package| {
        run(Command::new(root.join("dist/build")).args(["--package", package]).arg("--out").arg(&out));
        out.join(package)
    };
    // What the tests of these names start.
    let built = build_tests(env!("CARGO_TARGET_TMPDIR"), &["--test", "kubernetes", "--test", "plugin"]);
    let plugin = if full() { shipped("meshwire-cni") } else { built.join("meshwire-cni") };
    let python = environment.join("bin/python3");
    assert!(python.exists(), "{}: there is none; tests/pods/prepare makes it", python.display());
    let mut pods = Command::new(python);
    pods.arg(root.join("tests/pods/run.py")).arg("--program").arg(shipped("meshwire"));
    pods.arg("--plugin").arg(plugin).arg("--apiserver").arg(built.join("fake-kube-apiserver"));
    pods.args(full().then_some("--shipped"));
    run(&mut pods);
}

/// Runs a command whose output is for the reader of the test.
fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).stdout(io::stderr()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

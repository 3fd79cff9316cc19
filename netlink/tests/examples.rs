//! The examples print what they promise.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::process::Command;

#[test]
fn examples_run() {
    let examples =
        meshwire_testkit::build_tests(env!("CARGO_TARGET_TMPDIR"), &["--examples"]).join("examples");
    for (example, promise) in [
        ("atomic", "5 objects in 568 bytes, one commit, "),
        (
            "refused",
            "the kernel refused message 2 of the transaction, expression 3 (lookup): ENOENT: No such file or directory\n0 ",
        ),
        ("listing", "generation 2\ntable inet example\n  chain seen, rule "),
    ] {
        let output = Command::new(examples.join(example)).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        if stderr.contains("EPERM") {
            meshwire_testkit::skip(&format!("namespaces cannot be made here: {stderr}"));
            return;
        }
        assert!(output.status.success() && stdout.starts_with(promise), "{example}: {stdout}{stderr}");
    }
}

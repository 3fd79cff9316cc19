//! What `RUST_LOG` shows: a line for each transaction, on standard error and nowhere else.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

#[path = "common/program.rs"]
mod program;

use std::process::{Command, Output};

use meshwire_testkit::in_new_namespace;
use program::program;

const INIT: [&str; 7] = ["proxy-init", "-p", "4143", "-o", "4140", "-u", "2102"];

/// Runs the command, with these directives.
fn run(arguments: &[&str], directives: Option<&str>) -> Output {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .envs(directives.map(|directives| ("RUST_LOG", directives)));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// The lines about transactions.
fn transactions(output: &Output) -> Vec<&str> {
    text(&output.stderr).lines().filter(|line| line.contains("transaction{")).collect()
}

#[test]
fn a_transaction_has_a_line_where_it_is_asked_for() {
    in_new_namespace(|| {
        let first = run(&INIT, Some("nftwire=debug"));
        assert!(first.status.success(), "{first:?}");
        let lines = transactions(&first);
        let [line] = lines.as_slice() else { panic!("one transaction: {lines:?}") };
        for part in [
            " DEBUG ",
            "tables=inet linkerd-proxy-init",
            " messages=",
            " bytes=",
            " generation=",
            " attempt=1 ",
            " check=false",
            "nf_tables took the transaction",
            " elapsed_us=",
        ] {
            assert!(line.contains(part), "{part:?} in {line}");
        }
        // A level for everything is enough.
        assert!(!transactions(&run(&INIT, Some("debug"))).is_empty());
    });
}

/// A refusal says why, with what was refused.
#[test]
fn a_refused_transaction_has_its_reason() {
    in_new_namespace(|| {
        let nft = |text: &str| {
            let mut command = Command::new(program());
            command.args(["nft", text]).env("RUST_LOG", "nftwire=debug");
            command.output().unwrap()
        };
        let refused = nft("delete chain ip t c");
        assert!(!refused.status.success());
        let lines = transactions(&refused);
        assert!(
            lines.iter().any(|line| line.contains("tables=ip t ")
                && line.contains("did not take the transaction")
                && line.contains("ENOENT")),
            "{}",
            text(&refused.stderr)
        );
    });
}

#[test]
fn without_it_nothing_is_different() {
    in_new_namespace(|| {
        let plain = run(&INIT, None);
        assert!(plain.status.success() && transactions(&plain).is_empty(), "{plain:?}");
        let again = run(&INIT, None);
        for directives in ["", "error", "nftwire=info", "other=trace"] {
            let output = run(&INIT, Some(directives));
            assert_eq!(lines(&output.stderr), lines(&again.stderr), "{directives}");
            assert_eq!(lines(&output.stdout), lines(&again.stdout), "{directives}");
        }
    });
}

/// Lines without the numbers in them, such as how long it took.
fn lines(output: &[u8]) -> Vec<String> {
    text(output).lines().map(|line| line.replace(|letter: char| letter.is_ascii_digit(), "")).collect()
}

#[test]
fn what_is_not_understood_is_said_and_changes_nothing() {
    in_new_namespace(|| {
        let output = run(&["list"], Some("nftwire=loud"));
        assert!(output.status.success());
        let stderr = text(&output.stderr);
        assert!(stderr.contains("RUST_LOG: \"nftwire=loud\" is not understood"), "{stderr}");
    });
}

//! `meshwire ambient` in a namespace.

use std::process::Command;

use super::Namespace;
use super::age::without_age;

/// How a run ended: its exit code, standard output and standard error.
pub(crate) type Ended = (i32, String, String);

/// Runs `meshwire ambient` with the arguments, separated by spaces, inside the namespace.
///
/// # Panics
///
/// When it fails, with its standard error.
pub(crate) fn ambient(namespace: &Namespace, args: &str) -> String {
    let (code, stdout, stderr) = ended(namespace, args, "");
    assert_eq!(code, 0, "meshwire ambient {args}: {stderr}");
    stdout
}

/// As [`ambient`], however it ends, with `input` on its standard input.
pub(crate) fn ended(namespace: &Namespace, args: &str, input: &str) -> Ended {
    let mut command = Command::new(super::program());
    let output = without_age(namespace.output(command.arg("ambient").args(args.split_whitespace()), input));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

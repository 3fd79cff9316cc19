//! `/bin/sh` of the image of Linkerd's CNI plugin.

#![cfg(feature = "init")]
#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::os::unix::fs::symlink;
use std::process::Command;

use nix::unistd::geteuid;
use tempfile::TempDir;

/// A folder in which the program is called `sh`.
fn shell() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink(env!("CARGO_BIN_EXE_meshwire"), folder.path().join("sh")).unwrap();
    folder
}

#[test]
fn it_accepts_one_line_and_nothing_else() {
    let folder = shell();
    let refused: [&[&str]; 7] = [
        &[],
        &["-c"],
        &["-c", "true"],
        &["-c", "kill -15 1"],
        &["-c", "kill -15 1; sleep 15s; reboot"],
        &["-x", "kill -15 1; sleep 15s"],
        &["-c", "kill -15 1; sleep 15s", "more"],
    ];
    for arguments in refused {
        let output = Command::new(folder.path().join("sh")).args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            errors.contains("this image has no shell") && errors.contains("kill -15 1; sleep 15s"),
            "{errors}"
        );
    }
}

/// In a process namespace of its own, whose first process this ends.
#[test]
fn the_line_ends_the_first_process() {
    if !geteuid().is_root() {
        meshwire_testkit::skip("only root can make a process namespace");
        return;
    }
    let folder = shell();
    let first = "trap 'echo ended; exit 7' TERM; \"$0/sh\" -c 'kill -15 1; sleep 15s' & \
                 for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; done";
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "sh", "-c", first])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(7), &b"ended\n"[..]), "{output:?}");
}

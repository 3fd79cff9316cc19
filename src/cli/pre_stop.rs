//! `/bin/sh` of the image of Linkerd's CNI plugin: not a shell, but the one line that Linkerd's chart has as its preStop hook.
//!
//! Without it the kubelet reports FailedPreStopHook each time that the pod stops.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failure::USAGE;
use super::log::Log;

const NAME: &str = "sh";
/// linkerd/linkerd2 charts/linkerd2-cni/templates/cni-plugin.yaml, at b24cd4059841.
const LINE: &str = "kill -15 1; sleep 15s";
/// The container ends with its first process, most often before this.
const SLEEP: Duration = Duration::from_secs(15);

/// Does what the line says, if the program was called as `sh`; anything else that a shell is given is refused.
pub(super) fn as_shell(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, given) = arguments.split_first()?;
    if Path::new(program).file_name()? != NAME {
        return None;
    }
    Some(match given {
        [flag, line] if flag == "-c" && line == LINE => stop(),
        _ => {
            let refusal =
                format!("this image has no shell; its {NAME} accepts `-c \"{LINE}\"` and nothing else");
            Log::Plain.error(&refusal);
            ExitCode::from(USAGE)
        }
    })
}

fn stop() -> ExitCode {
    // The shell would go on after a failure, too, and succeed with its last command.
    if let Err(errno) = kill(Pid::from_raw(1), Signal::SIGTERM) {
        Log::Plain.error(&format!("cannot send SIGTERM to process 1: {errno}"));
    }
    sleep(SLEEP);
    ExitCode::SUCCESS
}

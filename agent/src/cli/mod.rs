//! The command lines: which program is called is decided by the name that it is called by.

mod istio;
mod linkerd;
mod service;
mod setting;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::install::linkerd::TemplateError;
use crate::log::LevelError;
use crate::node::RunError;
use setting::SettingError;

/// The programs that this executable is.
const PROGRAMS: [&str; 3] = ["install-cni", "linkerd2-cni-install", "linkerd-cni-repair-controller"];

/// Why a program ends before it was signalled.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The command line
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A setting
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A setting of ambient mode
    #[error(transparent)]
    Ambient(#[from] crate::ambient::settings::SettingError),
    /// A log level
    #[error("--log_output_level or --log-level: {0}")]
    Level(LevelError),
    /// Selectors of pods
    #[error("{name}: {reason}")]
    Selectors { name: &'static str, reason: String },
    /// The plugin's configuration cannot be read
    #[error("cannot read CNI_NETWORK_CONFIG_FILE {}: {error}", path.display())]
    Template { path: PathBuf, error: io::Error },
    /// The plugin's configuration is none
    #[error("CNI_NETWORK_CONFIG: {0}")]
    Entry(TemplateError),
    /// No runtime
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// It could not go on
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<LevelError> for Failure {
    fn from(error: LevelError) -> Self {
        Self::Level(error)
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::Entry(error)
    }
}

/// Runs the program that the first argument names, or the second one after this executable's own name.
pub fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if name(&arguments, 0).is_none_or(|name| !PROGRAMS.contains(&name.as_str())) && !arguments.is_empty() {
        arguments.remove(0);
    }
    let environment = |name: &str| std::env::var(name).ok();
    let result = match name(&arguments, 0).as_deref() {
        Some("install-cni") => istio::main(arguments, &environment),
        Some("linkerd2-cni-install") => linkerd::main(arguments, &environment),
        Some("linkerd-cni-repair-controller") => linkerd::repair_main(arguments, &environment),
        _ => {
            eprintln!("usage: meshwire-agent {{{}}} [OPTIONS]", PROGRAMS.join("|"));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(Failure::Usage(error)) => {
            // `--help` and `--version` are not errors, and go to standard output.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn name(arguments: &[OsString], index: usize) -> Option<String> {
    let path = Path::new(arguments.get(index)?);
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// One thread serves everything: an agent waits most of the time.
fn block_on(run: impl Future<Output = Result<ExitCode, RunError>>) -> Result<ExitCode, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let result = runtime.block_on(run);
    // What waits in a thread of its own is not waited for.
    runtime.shutdown_background();
    Ok(result?)
}

//! `monitor`: what happens to the ruleset, as it happens.

use std::process::ExitCode;

use nft_ruleset::nft::command::{self, Monitored, Settings, monitor};
use nftwire::{Error, Socket};

/// Prints until nobody reads any more.
pub(super) fn run(socket: &mut Socket, monitored: Monitored, settings: Settings<'_>) -> ExitCode {
    until_closed(|show| match monitored {
        Monitored::Changes { watched, json } => {
            monitor(socket, watched, Settings { json: settings.json || json, ..settings }, show)
        }
        // Nothing else can be monitored.
        _ => command::trace(socket, settings, show),
    })
}

fn until_closed(watch: impl FnOnce(&mut dyn FnMut(&str) -> bool) -> Result<(), Error>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let watched = watch(&mut |text| {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        match &written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                code = super::fail(&format!("cannot write: {error}"));
            }
            _ => {}
        }
        written.is_ok()
    });
    match watched {
        Ok(()) => code,
        Err(error) => super::fail(&format!("Error: {error}")),
    }
}

//! `monitor`: what happens to the ruleset, as it happens.

use std::process::ExitCode;

use nft_ruleset::nft::command::{self, Part, Settings, Watched, monitor};
use nft_ruleset::nft::parse::source::Fault;
use nft_ruleset::nft::parse::syntax::Name;
use nftwire::{Error, Socket};

/// What `monitor [new | destroy] [OBJECT]` is about.
pub(super) fn watched(event: Option<&Name>, object: Option<&Name>) -> Result<Watched, Fault> {
    let added = match event.map(|event| (&*event.text, event.span)) {
        None => None,
        Some(("new", _)) => Some(true),
        Some(("destroy", _)) => Some(false),
        Some((_, span)) => return Err(Fault::new(span, "invalid event, expecting new or destroy")),
    };
    let part = match object.map_or("ruleset", |object| &*object.text) {
        "tables" => Some(Part::Tables),
        "chains" => Some(Part::Chains),
        "rules" => Some(Part::Rules),
        "sets" => Some(Part::Sets),
        "elements" => Some(Part::Elements),
        _ => None,
    };
    Ok(Watched { added, part })
}

/// Prints until nobody reads any more.
pub(super) fn run(socket: &mut Socket, watched: Watched, settings: Settings<'_>) -> ExitCode {
    until_closed(|show| monitor(socket, watched, settings, show))
}

/// `monitor trace`: prints the way of traced packets, until nobody reads any more.
pub(super) fn trace(socket: &mut Socket, settings: Settings<'_>) -> ExitCode {
    until_closed(|show| command::trace(socket, settings, show))
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

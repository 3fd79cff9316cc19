//! The names by which the program can be called: an image has one file, and other projects' names as links to it.

use std::ffi::OsString;
use std::path::Path;

use super::{NAME, istio_iptables, proxy_init};

/// Names, and the command that each name means.
const COMMANDS: &[(&str, &str)] = &[
    (istio_iptables::NAME, istio_iptables::NAME),
    (proxy_init::NAME, proxy_init::NAME),
    (proxy_init::LINKERDS_NAME, proxy_init::NAME),
    #[cfg(feature = "nft")]
    (super::nft::NAME, super::nft::NAME),
];

/// The names besides `meshwire` that have flags of their own, and the command that each is: for completions and manual pages.
#[must_use]
pub fn aliases() -> &'static [(&'static str, &'static str)] {
    // The last one is nft, whose options are not in the command line's definition.
    COMMANDS.split_at(3).0
}

/// Istio's agent, of which `istio-iptables` is a command; Istio gives it as the first argument.
const PILOT_AGENT: &str = "pilot-agent";

/// The name is that of a program that does more than this one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{program}: {asked} is not here: this image only initialises a pod's network, and its one command of that name is \
     {}; run Istio's own image as proxy, and this one as init container (global.proxy_init.image)",
    istio_iptables::NAME
)]
pub(super) struct OnlyInitialises {
    program: &'static str,
    asked: String,
}

/// Puts the command that the program's name means in front of the arguments.
///
/// # Errors
/// It is a command of Istio's agent that is not here.
pub(super) fn by_name(arguments: &mut Vec<OsString>) -> Result<(), OnlyInitialises> {
    let Some(called) = arguments.first().and_then(|program| Path::new(program).file_name()) else {
        return Ok(());
    };
    if called == PILOT_AGENT {
        let asked = arguments.get(1);
        if asked.is_none_or(|command| command != istio_iptables::NAME) {
            let asked =
                asked.map_or("the agent itself".into(), |command| command.to_string_lossy().into_owned());
            return Err(OnlyInitialises { program: PILOT_AGENT, asked });
        }
    } else if let Some((_, command)) = COMMANDS.iter().find(|(name, _)| called == *name) {
        if arguments.get(1).is_none_or(|given| given != command) {
            arguments.insert(1, command.into());
        }
    } else {
        return Ok(());
    }
    arguments[0] = NAME.into();
    Ok(())
}

/// Whether a word is the name of a program that makes a mesh's rules, or of its command.
pub(super) fn is_program(word: &str) -> bool {
    [NAME, PILOT_AGENT].contains(&word) || COMMANDS.iter().any(|(name, _)| *name == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[track_caller]
    fn assert_means(given: &str, meant: &str) {
        let mut given = arguments(given);
        assert_eq!((by_name(&mut given), given), (Ok(()), arguments(meant)));
    }

    #[test]
    fn names_stand_for_commands() {
        assert_means("/istio-iptables -p 1", "meshwire istio-iptables -p 1");
        assert_means("/istio-iptables istio-iptables -p 1", "meshwire istio-iptables -p 1");
        assert_means("/usr/local/bin/pilot-agent istio-iptables -p 1", "meshwire istio-iptables -p 1");
        assert_means("/usr/lib/linkerd/linkerd2-proxy-init -p 1", "meshwire proxy-init -p 1");
        assert_means("/meshwire istio-iptables", "/meshwire istio-iptables");
        assert_means("/meshwire list", "/meshwire list");
        assert_means("anything list", "anything list");
    }

    #[test]
    fn the_agents_other_commands_are_refused() {
        for (given, asked) in [("pilot-agent proxy sidecar", "proxy"), ("pilot-agent", "the agent itself")] {
            let error = by_name(&mut arguments(given)).unwrap_err().to_string();
            let start = format!("pilot-agent: {asked} is not here: this image only initialises ");
            assert!(error.starts_with(&start), "{error}");
        }
    }
}

//! Where a command that looks at the kernel looks: `--netns PATH|PID`, families by their names, and the names of what is
//! there.

use std::collections::HashMap;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgMatches};
use nftwire::{Family, Namespace, NamespaceError};
use nix::errno::Errno;
use nix::net::if_::if_nameindex;

use super::failure::Failure;
use super::settings::Given;
use crate::diagnostic::{Explain, Explanation};

/// The flag's name.
pub(super) const NETNS: &str = "netns";
/// The argument's name.
pub(super) const FAMILY: &str = "family";

/// By nft's names for them.
const FAMILIES: [(&str, Family); 6] = [
    ("ip", Family::Ipv4),
    ("ip6", Family::Ipv6),
    ("inet", Family::Inet),
    ("arp", Family::Arp),
    ("bridge", Family::Bridge),
    ("netdev", Family::Netdev),
];

/// A family, by nft's name for it; a [`Family`] when it is read.
pub(super) fn family() -> Arg {
    let named = |name: String| FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, family)| *family);
    let parser = PossibleValuesParser::new(FAMILIES.map(|(name, _)| name));
    Arg::new(FAMILY)
        .help("The table's family")
        .value_name("FAMILY")
        .required(true)
        .value_parser(parser.map(move |name| named(name).unwrap_or(Family::Unspec)))
}

pub(super) fn netns() -> Arg {
    Arg::new(NETNS)
        .long(NETNS)
        .value_name("PATH|PID")
        .help("The network namespace: a file such as /var/run/netns/NAME, or a process in it [default: here]")
}

/// A namespace that cannot be entered, and the setting that named it.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {error}")]
struct NoNamespace {
    origin: String,
    error: NamespaceError,
}

impl NoNamespace {
    /// `origin` is `--netns` or a setting of the same meaning; the file is told where the error itself does not.
    fn new(origin: &str, file: &str, error: NamespaceError) -> Self {
        let origin = match error {
            NamespaceError::Gone { .. } | NamespaceError::Open { .. } => origin.to_owned(),
            _ => format!("{origin}: {file}"),
        };
        Self { origin, error }
    }
}

impl Explain for NoNamespace {
    fn explanation(&self) -> Explanation {
        self.error.explanation()
    }
}

/// Does the work in the namespace whose file a setting names, or here without one.
///
/// What is opened inside is to be closed inside: an open socket would keep a deleted pod's namespace alive.
pub(super) fn inside<T: Send>(
    setting: Option<&Given>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    match setting {
        Some(given) => Namespace::from_path(&given.text)
            .and_then(|namespace| namespace.enter(work))
            .map_err(|error| NoNamespace::new(given.origin(), &given.text, error))?,
        None => work(),
    }
}

/// Runs `work` in the network namespace that `--netns` names, or where the thread is.
pub(super) fn at_netns<T: Send>(
    matches: &ArgMatches,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let Some(netns) = matches.get_one::<String>(NETNS) else { return work() };
    let entered = namespace(netns).and_then(|namespace| namespace.enter(work));
    entered.map_err(|error| NoNamespace::new("--netns", netns, error))?
}

/// A process by its number, or a namespace's file.
pub(super) fn namespace(netns: &str) -> Result<Namespace, NamespaceError> {
    match netns.parse() {
        Ok(pid) if netns.bytes().all(|byte| byte.is_ascii_digit()) => Namespace::from_pid(pid),
        _ => Namespace::from_path(netns),
    }
}

/// The interfaces cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the interfaces: {0}")]
pub(super) struct NoInterfaces(Errno);

impl Explain for NoInterfaces {
    fn explanation(&self) -> Explanation {
        Explanation::of_errno(self.0 as i32)
    }
}

/// The names of the interfaces of the namespace that the thread is in, by their indices.
pub(super) fn interfaces() -> Result<HashMap<u32, String>, NoInterfaces> {
    let interfaces = if_nameindex().map_err(NoInterfaces)?;
    let named = |interface: &nix::net::if_::Interface| {
        (interface.index(), interface.name().to_string_lossy().into_owned())
    };
    Ok(interfaces.iter().map(named).collect())
}

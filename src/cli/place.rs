//! Where a command that looks at the kernel looks: `--netns PATH|PID`, and the names of what is there.

use std::collections::HashMap;

use clap::Arg;
use nftwire::{Namespace, NamespaceError};
use nix::net::if_::if_nameindex;

/// The flag's name.
pub(super) const NETNS: &str = "netns";

pub(super) fn netns() -> Arg {
    Arg::new(NETNS)
        .long(NETNS)
        .value_name("PATH|PID")
        .help("The network namespace: a file such as /var/run/netns/NAME, or a process in it")
}

/// A process by its number, or a namespace's file.
pub(super) fn namespace(netns: &str) -> Result<Namespace, NamespaceError> {
    match netns.parse() {
        Ok(pid) if netns.bytes().all(|byte| byte.is_ascii_digit()) => Namespace::from_pid(pid),
        _ => Namespace::from_path(netns),
    }
}

/// The names of the interfaces of the namespace that the thread is in, by their indices.
pub(super) fn interfaces() -> Result<HashMap<u32, String>, nix::Error> {
    let interfaces = if_nameindex()?;
    let named = |interface: &nix::net::if_::Interface| {
        (interface.index(), interface.name().to_string_lossy().into_owned())
    };
    Ok(interfaces.iter().map(named).collect())
}

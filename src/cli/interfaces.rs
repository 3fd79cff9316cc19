//! The names of interfaces, for listings.

use std::collections::HashMap;

use nix::errno::Errno;
use nix::net::if_::if_nameindex;

use crate::diagnostic::{Explain, Explanation};

/// The interfaces cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the interfaces: {0}")]
pub(super) struct NoInterfacesError(Errno);

impl Explain for NoInterfacesError {
    fn explanation(&self) -> Explanation {
        Explanation::of_errno(self.0 as i32)
    }
}

/// The names of the interfaces of the namespace that the thread is in, by their indices.
pub(super) fn interfaces() -> Result<HashMap<u32, String>, NoInterfacesError> {
    let interfaces = if_nameindex().map_err(NoInterfacesError)?;
    let named = |interface: &nix::net::if_::Interface| {
        (interface.index(), interface.name().to_string_lossy().into_owned())
    };
    Ok(interfaces.iter().map(named).collect())
}

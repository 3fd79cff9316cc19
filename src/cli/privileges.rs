//! Capabilities that the process has been given, but that are not in effect.

use caps::{CapSet, Capability};
use nix::unistd::geteuid;

/// Those that the init container of a mesh has (capabilities(7)).
const USEFUL: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// Puts into effect what is permitted: that of a file with `cap_net_admin,cap_net_raw=ip`, which has no effective bit
/// so that it can be executed without them, too.
///
/// What is not permitted, or cannot be raised, is left to the kernel's refusal: not every command needs it.
pub(super) fn raise() {
    // What root is permitted is in effect already.
    if geteuid().is_root() {
        return;
    }
    for capability in USEFUL {
        let has = |set| caps::has_cap(None, set, capability).unwrap_or(false);
        if !has(CapSet::Effective) && has(CapSet::Permitted) {
            let _ = caps::raise(None, CapSet::Effective, capability);
        }
    }
}

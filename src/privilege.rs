//! The capabilities of this thread (capabilities(7)).

use caps::CapSet;

/// Names by number, from linux/capability.h; those that matter here.
const NAMES: [(u32, &str); 5] = [
    (NET_ADMIN, "NET_ADMIN"),
    (NET_RAW, "NET_RAW"),
    (NET_BIND_SERVICE, "NET_BIND_SERVICE"),
    (SYS_ADMIN, "SYS_ADMIN"),
    (SYS_MODULE, "SYS_MODULE"),
];
const NET_BIND_SERVICE: u32 = 10;
/// Rules, routes and addresses.
pub const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_MODULE: u32 = 16;
/// Making and entering namespaces.
pub const SYS_ADMIN: u32 = 21;

/// A set of capabilities, a bit for each by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The effective set of this thread; `None` where the system call is forbidden.
    #[must_use]
    pub fn effective() -> Option<Self> {
        let set = caps::read(None, CapSet::Effective).ok()?;
        Some(Self(set.iter().fold(0, |mask, capability| mask | capability.bitmask())))
    }

    /// Whether this one is in it.
    #[must_use]
    pub fn has(self, capability: u32) -> bool {
        self.0 & (1 << capability) != 0
    }

    /// The names of those in it that matter to a network, as Kubernetes writes them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(number, _)| self.has(*number)).map(|(_, name)| *name).collect()
    }
}

/// What to do about EPERM where CAP_NET_ADMIN is asked for. The kernel checks it in the user namespace that owns the
/// network namespace, so having it is not always enough.
#[must_use]
pub fn missing_net_admin(capabilities: Option<Capabilities>) -> &'static str {
    if capabilities.is_some_and(|set| set.has(NET_ADMIN)) {
        "CAP_NET_ADMIN is not enough here: this network namespace belongs to another user namespace; it takes a network \
         namespace of the pod's own users, or a pod without hostUsers: false"
    } else {
        "CAP_NET_ADMIN is needed in the user namespace that owns this network namespace; a pod gets it by \
         securityContext.capabilities.add: [NET_ADMIN]"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_names_that_kubernetes_uses() {
        let set = Capabilities(1 << NET_ADMIN | 1 << 40);
        assert!(set.has(NET_ADMIN) && !set.has(NET_RAW));
        assert_eq!(set.names(), ["NET_ADMIN"]);
        assert!(Capabilities::effective().is_some());
    }

    #[test]
    fn having_it_in_the_wrong_user_namespace_is_told_apart() {
        let none = missing_net_admin(Some(Capabilities(0)));
        assert_eq!(missing_net_admin(None), none);
        assert!(none.starts_with("CAP_NET_ADMIN is needed"));
        let all = missing_net_admin(Some(Capabilities(u64::MAX)));
        assert!(all.contains("belongs to another user namespace"));
    }
}

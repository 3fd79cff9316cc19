//! What may happen.

use proptest::prelude::*;
use proptest::sample::Index;

/// Pods are made of a few names and addresses, so that they are used again.
const NAMES: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// A pod of this name comes, inside the mesh or not, on the host's network or not
    Create {
        name: usize,
        member: bool,
        host_network: bool,
    },
    /// Its sandbox is made, or made anew; the plugin reports it, or a plugin of somebody else's made it
    Sandbox {
        pod: Index,
        reported: bool,
    },
    Label {
        pod: Index,
    },
    Finish {
        pod: Index,
    },
    Delete {
        pod: Index,
    },
    Connect,
    Disconnect {
        ztunnel: Index,
    },
    FlushPod {
        pod: Index,
    },
    FlushHost,
    /// The next steps fail
    Fail {
        steps: usize,
    },
    /// Some action is carried out, and its result handed over
    Execute {
        action: Index,
    },
    /// The agent hears of the oldest change that it does not know
    Hear,
    /// The watch is lost, and the list comes from a cache that lacks so many of the last changes
    Relist {
        lag: usize,
    },
    Bookmark,
    /// The agent is killed; each action under way happens or does not
    Kill {
        happen: bool,
        lag: usize,
    },
    Wait {
        milliseconds: u64,
    },
    Pass,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    prop_oneof![
        3 => (0..NAMES, prop::bool::weighted(0.8), prop::bool::weighted(0.1))
            .prop_map(|(name, member, host_network)| Op::Create { name, member, host_network }),
        4 => (index(), prop::bool::weighted(0.7)).prop_map(|(pod, reported)| Op::Sandbox { pod, reported }),
        1 => index().prop_map(|pod| Op::Label { pod }),
        1 => index().prop_map(|pod| Op::Finish { pod }),
        1 => index().prop_map(|pod| Op::Delete { pod }),
        2 => Just(Op::Connect),
        1 => index().prop_map(|ztunnel| Op::Disconnect { ztunnel }),
        1 => index().prop_map(|pod| Op::FlushPod { pod }),
        1 => Just(Op::FlushHost),
        1 => (1..6usize).prop_map(|steps| Op::Fail { steps }),
        20 => index().prop_map(|action| Op::Execute { action }),
        10 => Just(Op::Hear),
        1 => (0..4usize).prop_map(|lag| Op::Relist { lag }),
        2 => Just(Op::Bookmark),
        1 => (any::<bool>(), 0..4usize).prop_map(|(happen, lag)| Op::Kill { happen, lag }),
        2 => (1..3000u64).prop_map(|milliseconds| Op::Wait { milliseconds }),
        1 => Just(Op::Pass),
    ]
}

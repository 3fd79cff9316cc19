//! Objects and flowtables.

use nftwire::{Device, Family, userdata};

use super::statement::{limit, quota, synproxy};
use crate::model::statement::Counter;
use crate::nft::compile::table::ends_like_a_pattern;
use crate::{Flowtable, Name, Object, ObjectData, Userdata};

/// An object of a table of this family.
#[must_use]
pub fn object(object: &nftwire::Object<'_>) -> Object {
    use nftwire::ObjectData as Wire;
    let l3proto = |listed: Option<u16>| {
        let own = match object.family {
            Family::Inet => Family::Unspec,
            family => family,
        };
        listed.and_then(|number| u8::try_from(number).ok()).unwrap_or(own.number())
    };
    let data = match &object.data {
        Wire::Counter(counter) => {
            ObjectData::Counter(Counter { packets: counter.packets, bytes: counter.bytes })
        }
        Wire::Quota(quota) => ObjectData::Quota(self::quota(quota)),
        Wire::Limit(limit) => ObjectData::Limit(self::limit(limit)),
        Wire::Synproxy(synproxy) => ObjectData::Synproxy(self::synproxy(synproxy)),
        Wire::CtHelper(helper) => ObjectData::CtHelper {
            helper: helper.helper.into(),
            l3proto: l3proto(helper.l3proto),
            l4proto: helper.l4proto,
        },
        Wire::CtTimeout(timeout) => ObjectData::CtTimeout {
            l3proto: l3proto(timeout.l3proto),
            l4proto: timeout.l4proto,
            timeouts: timeouts(&timeout.policy),
        },
        Wire::CtExpect(expect) => ObjectData::CtExpectation {
            l3proto: l3proto(expect.l3proto),
            l4proto: expect.l4proto,
            port: expect.dport,
            timeout: expect.timeout,
            size: expect.size,
        },
        Wire::Secmark(context) => ObjectData::Secmark(context.to_name()),
        Wire::Tunnel(tunnel) => ObjectData::Tunnel(tunnel.clone()),
        Wire::Connlimit(limit) => ObjectData::CtCount { count: limit.count, over: limit.inverted },
        Wire::Unknown { .. } => ObjectData::Other(object.data.kind()),
    };
    Object {
        name: object.name.to_name(),
        handle: object.handle,
        comment: userdata::comment(object.userdata).map(Into::into),
        userdata: Userdata::read(object.userdata),
        data,
    }
}

/// Seconds by the state's number, which the kernel counts from 1 on.
fn timeouts(policy: &[(u16, u32)]) -> Vec<u32> {
    let mut timeouts = Vec::new();
    for &(state, seconds) in policy {
        let index = usize::from(state).saturating_sub(1);
        if timeouts.len() <= index {
            timeouts.resize(index + 1, 0);
        }
        timeouts[index] = seconds;
    }
    timeouts
}

/// A flowtable.
#[must_use]
pub fn flowtable(flowtable: &nftwire::Flowtable<'_>) -> Flowtable {
    let mut devices: Vec<_> = flowtable.devices.iter().map(device).collect();
    devices.sort_unstable();
    Flowtable {
        name: flowtable.name.to_name(),
        handle: flowtable.handle,
        priority: flowtable.priority,
        devices,
        flags: flowtable.flags.0,
    }
}

/// A device's name; the beginning of several with an asterisk. One whose own name ends with that gets a backslash.
pub(crate) fn device(device: &Device<'_>) -> Name {
    match device {
        Device::Name(name) if ends_like_a_pattern(name.as_bytes()) => {
            Name::new([name.as_bytes(), b"\\"].concat())
        }
        Device::Name(name) => name.to_name(),
        Device::Prefix(prefix) => Name::new([prefix.as_bytes(), b"*"].concat()),
    }
}

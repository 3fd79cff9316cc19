//! Tables, chains, objects and flowtables as the kernel expects them. What they hold comes in messages of its own.
//!
//! The userdata of each is [its comment](super::comment), which the caller keeps for as long as it needs the message.

use nftwire::expr::{Connlimit, Counter, Limit, LimitKind, Quota, Synproxy};
use nftwire::{ChainFlags, CtExpect, CtHelper, CtTimeout, Device, Family, FlowtableFlags, TableFlags};

use super::NotCompiled;
use crate::model::object::ObjectData;
use crate::{Chain, Flowtable, Name, Object, Policy, Table, Text};

pub(crate) fn table<'a>(table: &'a Table, userdata: &'a [u8]) -> nftwire::Table<'a> {
    // What it holds comes later; a handle is the kernel's to give.
    let Table { family, name, handle: _, flags, comment: _, userdata: _, .. } = table;
    let Table { objects: _, sets: _, flowtables: _, chains: _, anonymous: _, .. } = table;
    nftwire::Table { flags: TableFlags(*flags), userdata, ..nftwire::Table::new(*family, name) }
}

/// The policy of a chain that exists stays where none is said.
pub(crate) fn chain<'a>(
    family: Family,
    table: Text<'a>,
    chain: &'a Chain,
    policy: Option<Policy>,
    userdata: &'a [u8],
) -> nftwire::Chain<'a> {
    let Chain { name, handle: _, comment: _, userdata: _, flags, policy_counter, base, devices, rules: _ } =
        chain;
    let base = base.as_ref().map(|base| nftwire::BaseChain {
        kind: base.kind.name(),
        hook: base.hook,
        priority: base.priority,
        policy,
    });
    let devices = devices.iter().map(device).collect();
    let counters = policy_counter.map(|counter| Counter { packets: counter.packets, bytes: counter.bytes });
    let flags = ChainFlags(*flags);
    nftwire::Chain { base, devices, flags, counters, userdata, ..nftwire::Chain::new(family, table, name) }
}

/// The inverse of [`decompile::device`](crate::nft::decompile::device).
pub(super) fn device(name: &Name) -> Device<'_> {
    let bytes = name.as_bytes();
    match (bytes.strip_suffix(b"*"), bytes.strip_suffix(b"\\")) {
        (Some(prefix), _) => Device::Prefix(Text::from_bytes(prefix)),
        (None, Some(escaped)) if ends_like_a_pattern(escaped) => Device::Name(Text::from_bytes(escaped)),
        _ => Device::Name(name.into()),
    }
}

/// Whether a device's name needs a backslash at its end, so that it is not taken for the beginning of several, or for one that
/// has got one.
pub(crate) fn ends_like_a_pattern(name: &[u8]) -> bool {
    name.iter().rfind(|&&byte| byte != b'\\') == Some(&b'*')
}

/// # Errors
/// It is of a kind that is not known.
pub(crate) fn object<'a>(
    family: Family,
    table: Text<'a>,
    object: &'a Object,
    userdata: &'a [u8],
) -> Result<nftwire::Object<'a>, NotCompiled> {
    let Object { name, handle: _, comment: _, userdata: _, data } = object;
    let data = match data {
        ObjectData::Counter(counter) => {
            nftwire::ObjectData::Counter(Counter { packets: counter.packets, bytes: counter.bytes })
        }
        ObjectData::Quota(quota) => nftwire::ObjectData::Quota(Quota {
            bytes: quota.bytes,
            flags: quota.over.into(),
            consumed: quota.used,
        }),
        ObjectData::Limit(limit) => nftwire::ObjectData::Limit(Limit {
            rate: limit.rate,
            unit: limit.unit,
            burst: limit.burst,
            kind: if limit.bytes { LimitKind::Bytes } else { LimitKind::Packets },
            inverted: limit.over,
        }),
        ObjectData::CtHelper { helper, l3proto, l4proto } => nftwire::ObjectData::CtHelper(CtHelper {
            helper: helper.into(),
            l3proto: Some((*l3proto).into()),
            l4proto: *l4proto,
        }),
        ObjectData::CtTimeout { l3proto, l4proto, timeouts } => {
            // The kernel counts states from 1 on (`enum ctattr_timeout_tcp`).
            let said = (1..).zip(timeouts).filter(|(_, seconds)| **seconds > 0);
            nftwire::ObjectData::CtTimeout(CtTimeout {
                l3proto: Some((*l3proto).into()),
                l4proto: *l4proto,
                policy: said.map(|(state, seconds)| (state, *seconds)).collect(),
            })
        }
        ObjectData::CtExpectation { l3proto, l4proto, port, timeout, size } => {
            nftwire::ObjectData::CtExpect(CtExpect {
                l3proto: Some((*l3proto).into()),
                l4proto: *l4proto,
                dport: *port,
                timeout: *timeout,
                size: *size,
            })
        }
        ObjectData::Secmark(context) => nftwire::ObjectData::Secmark(context.into()),
        ObjectData::Synproxy(synproxy) => nftwire::ObjectData::Synproxy(Synproxy {
            mss: synproxy.mss,
            wscale: synproxy.wscale,
            flags: synproxy.flags,
        }),
        ObjectData::Tunnel(tunnel) => nftwire::ObjectData::Tunnel(tunnel.clone()),
        ObjectData::CtCount { count, over } => {
            nftwire::ObjectData::Connlimit(Connlimit { count: *count, inverted: *over })
        }
        ObjectData::Other(number) => return Err(NotCompiled::Object(*number)),
    };
    Ok(nftwire::Object { userdata, ..nftwire::Object::new(family, table, name, data) })
}

pub(crate) fn flowtable<'a>(
    family: Family,
    table: Text<'a>,
    flowtable: &'a Flowtable,
) -> nftwire::Flowtable<'a> {
    let Flowtable { name, handle: _, priority, devices, flags } = flowtable;
    nftwire::Flowtable {
        flags: FlowtableFlags(*flags),
        priority: *priority,
        devices: devices.iter().map(device).collect(),
        ..nftwire::Flowtable::new(family, table, name)
    }
}

//! Tables, chains, objects and flowtables of the model as the kernel wants them.

use nftwire::expr::{Counter, Limit, LimitKind, Quota, Synproxy};
use nftwire::{CtExpect, CtHelper, CtTimeout, Device, Family, FlowtableFlags, TableFlags, userdata};

use crate::model::object::ObjectData;
use crate::nft::compile::NamedSet;
use crate::{Chain, Flowtable, Object, Policy, Set, Table};
use crate::{Name, Text};

/// What the kernel keeps of a comment.
pub(super) fn comment(comment: Option<&Name>) -> Result<Vec<u8>, String> {
    match comment {
        None => Ok(Vec::new()),
        Some(comment) => userdata::with_comment(comment).map_err(|error| error.to_string()),
    }
}

pub(super) fn table<'a>(table: &'a Table, userdata: &'a [u8]) -> nftwire::Table<'a> {
    nftwire::Table {
        flags: TableFlags(table.flags),
        userdata,
        ..nftwire::Table::new(table.family, &table.name)
    }
}

/// The policy of a chain that exists stays where none is said.
pub(super) fn chain<'a>(
    family: Family,
    table: Text<'a>,
    chain: &'a Chain,
    policy: Option<Policy>,
    userdata: &'a [u8],
) -> nftwire::Chain<'a> {
    let base = chain.base.as_ref().map(|base| nftwire::BaseChain {
        kind: base.kind.name(),
        hook: base.hook,
        priority: base.priority,
        policy,
    });
    let devices = chain.devices.iter().map(|name| device(name)).collect();
    nftwire::Chain { base, devices, userdata, ..nftwire::Chain::new(family, table, &chain.name) }
}

fn device(name: &Name) -> Device<'_> {
    match name.as_bytes().strip_suffix(b"*") {
        Some(prefix) => Device::Prefix(Text::from_bytes(prefix)),
        None => Device::Name(name.into()),
    }
}

pub(super) fn object<'a>(
    family: Family,
    table: Text<'a>,
    object: &'a Object,
    userdata: &'a [u8],
) -> Option<nftwire::Object<'a>> {
    let data = match &object.data {
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
            let said = (0..).zip(timeouts).filter(|(_, seconds)| **seconds > 0);
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
        ObjectData::Other(_) => return None,
    };
    Some(nftwire::Object { userdata, ..nftwire::Object::new(family, table, &object.name, data) })
}

pub(super) fn flowtable<'a>(
    family: Family,
    table: Text<'a>,
    flowtable: &'a Flowtable,
) -> nftwire::Flowtable<'a> {
    nftwire::Flowtable {
        flags: FlowtableFlags(flowtable.flags),
        priority: flowtable.priority,
        devices: flowtable.devices.iter().map(|name| device(name)).collect(),
        ..nftwire::Flowtable::new(family, table, &flowtable.name)
    }
}

pub(super) fn set<'a>(
    family: Family,
    table: Text<'a>,
    set: &'a Set,
    compiled: &'a NamedSet,
) -> nftwire::Set<'a> {
    nftwire::Set {
        flags: compiled.flags,
        key_type: compiled.data_type.set_number(),
        userdata: &compiled.userdata,
        ..nftwire::Set::new(family, table, &set.name, compiled.key_len)
    }
}

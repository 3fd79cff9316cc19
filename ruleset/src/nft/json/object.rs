//! Sets, objects and flowtables.

use nftwire::uapi;
use serde_json::{Value as Json, json};

use super::statement::{limit, synproxy_flags};
use super::{Flowtable, Object, Set, Table, Writer, names, part_of};
use crate::nft::print::{family_name, timeouts};
use crate::{Constant, Data, DataType, Name, ObjectData, SetType, SetValue};

impl Writer<'_> {
    /// A set or map with its elements.
    #[must_use]
    pub fn set(&self, table: &Table, set: &Set) -> Json {
        let mut object = part_of(table, &set.name, set.handle);
        let types: Vec<_> = set.key.types.iter().map(|field| field.data_type.name()).collect();
        names(&mut object, "type", types);
        if let Some(value) = &set.value {
            object["map"] = match value {
                SetValue::Verdict => "verdict".into(),
                SetValue::Object(kind) => kind.name().into(),
                SetValue::Data { data_type, .. } => type_name(data_type).into(),
            };
        }
        if let Some(comment) = &set.comment {
            object["comment"] = comment.to_string().into();
        }
        if set.flags & uapi::NFT_SET_CONSTANT == 0 {
            if set.memory_policy {
                object["policy"] = "memory".into();
            }
            if set.size > 0 {
                object["size"] = set.size.into();
            }
        }
        let flags = [
            (uapi::NFT_SET_CONSTANT, "constant"),
            (uapi::NFT_SET_INTERVAL, "interval"),
            (uapi::NFT_SET_TIMEOUT, "timeout"),
        ];
        let flags: Vec<_> = flags.into_iter().filter(|(flag, _)| set.flags & flag != 0).collect();
        if !flags.is_empty() {
            object["flags"] = flags.into_iter().map(|flag| flag.1).collect::<Vec<_>>().into();
        }
        for (name, milliseconds) in [("timeout", set.timeout), ("gc-interval", set.gc_interval.into())] {
            if milliseconds > 0 {
                object[name] = (milliseconds / 1_000).into();
            }
        }
        if !set.elements.is_empty() {
            object["elem"] = set.elements.iter().map(|element| self.element(element)).collect();
        }
        if !set.statements.is_empty() {
            let stateless =
                Writer { options: crate::nft::print::Options { stateless: true, ..self.options } };
            object["stmt"] = set.statements.iter().map(|statement| stateless.statement(statement)).collect();
        }
        let kind = if set.value.is_some() { "map" } else { "set" };
        json!({ kind: object })
    }

    /// An object.
    #[must_use]
    pub fn object(&self, table: &Table, object: &Object) -> Json {
        let mut json = part_of(table, &object.name, object.handle);
        if let Some(comment) = &object.comment {
            json["comment"] = comment.to_string().into();
        }
        let protocol =
            |number: u8| self.constant(&Constant::new(DataType::InetProto, Data::new(&[number])), false);
        match &object.data {
            ObjectData::Counter(counter) => {
                json["packets"] = counter.packets.into();
                json["bytes"] = counter.bytes.into();
            }
            ObjectData::Quota(quota) => {
                json["bytes"] = quota.bytes.into();
                json["used"] = quota.used.into();
                json["inv"] = quota.over.into();
            }
            ObjectData::Limit(limit) => {
                if let Json::Object(members) = self::limit(limit) {
                    members.into_iter().for_each(|(name, value)| json[name] = value);
                }
            }
            ObjectData::CtHelper { helper, l3proto, l4proto } => {
                json["type"] = helper.to_string().into();
                json["protocol"] = protocol(*l4proto);
                json["l3proto"] = family_name(*l3proto).into();
            }
            ObjectData::CtTimeout { l3proto, l4proto, timeouts: seconds } => {
                json["protocol"] = protocol(*l4proto);
                json["l3proto"] = family_name(*l3proto).into();
                let known = timeouts(*l4proto).iter().zip(seconds);
                let differ = known.filter(|((_, usual), is)| usual != *is);
                json["policy"] =
                    differ.map(|((name, _), is)| ((*name).to_owned(), Json::from(*is))).collect();
            }
            ObjectData::CtExpectation { l3proto, l4proto, port, timeout, size } => {
                json["protocol"] = protocol(*l4proto);
                json["dport"] = (*port).into();
                json["timeout"] = (*timeout).into();
                json["size"] = (*size).into();
                json["l3proto"] = family_name(*l3proto).into();
            }
            ObjectData::Secmark(context) => json["context"] = context.to_string().into(),
            ObjectData::Synproxy(synproxy) => {
                json["mss"] = synproxy.mss.into();
                json["wscale"] = synproxy.wscale.into();
                let flags = synproxy_flags(*synproxy);
                if !flags.is_empty() {
                    json["flags"] = flags.into();
                }
            }
            ObjectData::Other(_) => {}
        }
        json!({ object.data.kind().name(): json })
    }

    /// A flowtable.
    #[must_use]
    pub fn flowtable(&self, table: &Table, flowtable: &Flowtable) -> Json {
        let mut object = part_of(table, &flowtable.name, flowtable.handle);
        object["hook"] = "ingress".into();
        object["prio"] = flowtable.priority.into();
        let devices = flowtable.devices.iter().map(Name::to_string).collect::<Vec<_>>();
        names(&mut object, "dev", devices.iter().map(String::as_str).collect());
        json!({ "flowtable": object })
    }
}

/// nft's name for a type: those of several fields joined.
fn type_name(set_type: &SetType) -> String {
    let names: Vec<_> = set_type.types.iter().map(|field| field.data_type.name()).collect();
    names.join(" . ")
}

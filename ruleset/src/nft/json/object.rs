//! Sets, objects and flowtables.

use nftwire::{TunnelObject, TunnelOptions, uapi};

use super::statement::{counter, named_limit, synproxy_flags};
use super::write::Members;
use super::{Flowtable, Object, Objects, Set, StatementWriter, Table, Writer, handle};
use crate::nft::print::{Numeric, Options, direction, family_name, hexadecimal, timeouts};
use crate::{Constant, Data, DataType, Name, ObjectData, SetType, SetValue};

impl Writer<'_> {
    /// A set or map with its elements.
    pub fn set(&self, table: &Table, set: &Set, objects: &mut Objects) {
        let writer = StatementWriter { options: self.options };
        objects.next().object_of(set.keyword(), |object| {
            place(table, &set.name, object);
            object.names("type", set.key.types.iter().map(|field| field.data_type.name()));
            handle(object, set.handle);
            if let Some(comment) = &set.comment {
                object.text("comment", comment);
            }
            match &set.value {
                None => {}
                Some(SetValue::Verdict) => object.text("map", "verdict"),
                Some(SetValue::Object(kind)) => object.text("map", kind.name()),
                Some(SetValue::Data { data_type, .. }) => object.text("map", type_name(data_type)),
            }
            attributes(set, object);
            if !set.elements.is_empty() {
                writer.elements(&set.elements, object.member("elem"));
            }
            if !set.statements.is_empty() {
                writer.stateless(&set.statements, object.member("stmt"));
            }
        });
    }

    /// Elements alone, with the names of their set and its table.
    pub(crate) fn elements(&self, table: &Table, set: &Set, objects: &mut Objects) {
        let writer = StatementWriter { options: self.options };
        objects.next().object_of("element", |object| {
            object.text("family", table.family);
            object.text("table", &table.name);
            object.text("name", &set.name);
            object.member("elem").of("set", |elements| writer.elements(&set.elements, elements));
        });
    }

    /// An object of which nothing but the name is known.
    pub(crate) fn name(&self, table: &Table, kind: &str, name: &Name, handle: u64, objects: &mut Objects) {
        objects.next().object_of(kind, |object| {
            place(table, name, object);
            self::handle(object, handle);
        });
    }

    /// An object.
    pub fn object(&self, table: &Table, of: &Object, objects: &mut Objects) {
        // By its name, as in nft, also where numbers are asked for.
        let named = StatementWriter { options: Options { numeric: Numeric::default(), ..self.options } };
        let protocol = |number: u8, object: &mut Members<'_>| {
            let constant = Constant::new(DataType::InetProto, Data::new(&[number]));
            named.constant(&constant, false, object.member("protocol"));
        };
        objects.next().object_of(of.data.kind().name(), |object| {
            place(table, &of.name, object);
            handle(object, of.handle);
            if let Some(comment) = &of.comment {
                object.text("comment", comment);
            }
            match &of.data {
                ObjectData::Counter(counted) => counter(*counted, object),
                ObjectData::Quota(quota) => {
                    object.number("bytes", quota.bytes);
                    object.number("used", quota.used);
                    object.member("inv").boolean(quota.over);
                }
                ObjectData::Limit(limit) => named_limit(limit, object),
                ObjectData::CtHelper { helper, l3proto, l4proto } => {
                    object.text("type", helper);
                    protocol(*l4proto, object);
                    object.text("l3proto", family_name(*l3proto));
                }
                ObjectData::CtTimeout { l3proto, l4proto, timeouts: seconds } => {
                    protocol(*l4proto, object);
                    object.text("l3proto", family_name(*l3proto));
                    object.member("policy").object_or_null(|policy| {
                        let known = timeouts(*l4proto).iter().zip(seconds);
                        let differ = known.filter(|((_, usual), is)| usual != *is);
                        differ.for_each(|((name, _), is)| policy.number(name, *is));
                    });
                }
                ObjectData::CtExpectation { l3proto, l4proto, port, timeout, size } => {
                    protocol(*l4proto, object);
                    object.number("dport", *port);
                    object.number("timeout", *timeout);
                    object.number("size", *size);
                    object.text("l3proto", family_name(*l3proto));
                }
                ObjectData::Secmark(context) => object.text("context", context),
                ObjectData::Synproxy(synproxy) => {
                    object.number("mss", synproxy.mss);
                    object.number("wscale", synproxy.wscale);
                    synproxy_flags(*synproxy, object);
                }
                ObjectData::Tunnel(tunnel) => self::tunnel(tunnel, object),
                ObjectData::CtCount { count, over } => {
                    object.number("val", *count);
                    object.member("inv").boolean(*over);
                }
                ObjectData::Other(_) => {}
            }
        });
    }

    /// A flowtable.
    pub fn flowtable(&self, table: &Table, flowtable: &Flowtable, objects: &mut Objects) {
        objects.next().object_of("flowtable", |object| {
            place(table, &flowtable.name, object);
            handle(object, flowtable.handle);
            object.text("hook", "ingress");
            object.number("prio", flowtable.priority);
            object.names("dev", &flowtable.devices);
        });
    }
}

/// As nft 1.1.6 has it.
fn tunnel(tunnel: &TunnelObject, object: &mut Members<'_>) {
    object.number("id", tunnel.id);
    for (v4, v6, address) in
        [("src-ipv4", "src-ipv6", tunnel.source), ("dst-ipv4", "dst-ipv6", tunnel.destination)]
    {
        if let Some(address) = address {
            object.text(if address.is_ipv4() { v4 } else { v6 }, address);
        }
    }
    object.number("sport", tunnel.sport);
    object.number("dport", tunnel.dport);
    object.number("tos", tunnel.tos);
    object.number("ttl", tunnel.ttl);
    match &tunnel.options {
        None => {}
        Some(TunnelOptions::Vxlan(policy)) => {
            object.text("type", "vxlan");
            object.member("tunnel").object(|options| options.number("gbp", *policy));
        }
        Some(TunnelOptions::Erspan1 { index }) => {
            object.text("type", "erspan");
            object.member("tunnel").object(|options| {
                options.number("version", 1);
                options.number("index", *index);
            });
        }
        Some(TunnelOptions::Erspan2 { hardware, egress }) => {
            object.text("type", "erspan");
            object.member("tunnel").object(|options| {
                options.number("version", 2);
                options.text("dir", direction(*egress));
                options.number("hwid", *hardware);
            });
        }
        Some(TunnelOptions::Geneve(options)) => {
            object.text("type", "geneve");
            object.member("tunnel").array(|items| {
                for option in options {
                    items.item().object(|object| {
                        object.number("class", option.class);
                        object.number("opt-type", option.kind);
                        object.text("data", hexadecimal(&option.data));
                    });
                }
            });
        }
    }
}

/// Where something is: nft names the table after the thing here.
fn place(table: &Table, name: &Name, object: &mut Members<'_>) {
    object.text("family", table.family);
    object.text("name", name);
    object.text("table", &table.name);
}

fn attributes(set: &Set, object: &mut Members<'_>) {
    if set.flags & uapi::NFT_SET_CONSTANT == 0 {
        if set.memory_policy {
            object.text("policy", "memory");
        }
        if set.size > 0 {
            object.number("size", set.size);
        }
    }
    let flags = [
        (uapi::NFT_SET_CONSTANT, "constant"),
        (uapi::NFT_SET_INTERVAL, "interval"),
        (uapi::NFT_SET_TIMEOUT, "timeout"),
    ];
    let mut flags = flags.into_iter().filter(|(flag, _)| set.flags & flag != 0).map(|flag| flag.1).peekable();
    if flags.peek().is_some() {
        object.list("flags", flags);
    }
    for (name, milliseconds) in [("timeout", set.timeout), ("gc-interval", set.gc_interval.into())] {
        if milliseconds > 0 {
            object.number(name, milliseconds / 1_000);
        }
    }
}

/// nft's name for a type: those of several fields joined.
fn type_name(set_type: &SetType) -> String {
    let names: Vec<_> = set_type.types.iter().map(|field| field.data_type.name()).collect();
    names.join(" . ")
}

//! Objects and flowtables.

use std::net::IpAddr;

use nftwire::{Family, Hook, TunnelObject, TunnelOptions};

use super::{Numeric, Options, Printer, joined, timeouts};
use crate::model::statement::Synproxy;
use crate::{Constant, Data, DataType, Flowtable, Object, ObjectData};

impl Printer<'_> {
    /// An object.
    pub fn object(&mut self, object: &Object) {
        self.put(format_args!("\t{} {} {{", object.data.kind().name(), object.name));
        self.handle(object.handle);
        if let Some(comment) = &object.comment {
            self.put(format_args!("\n\t\tcomment {}", comment.quoted()));
        }
        self.out.push('\n');
        self.object_data(&object.data);
        self.out.push_str("\t}\n");
    }

    fn object_data(&mut self, data: &ObjectData) {
        match data {
            ObjectData::Counter(counter) => {
                if !self.options.stateless {
                    self.put(format_args!("\t\tpackets {} bytes {}\n", counter.packets, counter.bytes));
                }
            }
            ObjectData::Quota(quota) => {
                self.out.push_str("\t\t");
                self.quota(quota);
                self.out.push('\n');
            }
            ObjectData::Limit(limit) => {
                self.out.push_str("\t\t");
                self.limit(limit);
                self.out.push('\n');
            }
            ObjectData::CtHelper { helper, l3proto, l4proto } => {
                self.put(format_args!("\t\ttype {} protocol ", helper.quoted()));
                self.protocol(*l4proto);
                self.put(format_args!("\t\tl3proto {}\n", family_name(*l3proto)));
            }
            ObjectData::CtTimeout { l3proto, l4proto, timeouts: seconds } => {
                self.out.push_str("\t\tprotocol ");
                self.protocol(*l4proto);
                self.put(format_args!("\t\tl3proto {}\n\t\tpolicy = {{ ", family_name(*l3proto)));
                let differ = timeouts(*l4proto).iter().zip(seconds).filter(|((_, usual), is)| usual != *is);
                let differ: Vec<_> = differ.map(|((name, _), is)| format!("{name} : {is}")).collect();
                self.put(format_args!("{} }}\n", differ.join(", ")));
            }
            ObjectData::CtExpectation { l3proto, l4proto, port, timeout, size } => {
                self.out.push_str("\t\tprotocol ");
                self.protocol(*l4proto);
                self.put(format_args!("\t\tdport {port}\n\t\ttimeout "));
                self.time((*timeout).into());
                self.put(format_args!("\n\t\tsize {size}\n\t\tl3proto {}\n", family_name(*l3proto)));
            }
            ObjectData::Secmark(context) => self.put(format_args!("\t\t{}\n", context.quoted())),
            ObjectData::Synproxy(synproxy) => {
                if synproxy.flags & Synproxy::MSS != 0 {
                    self.put(format_args!("\t\tmss {}\n", synproxy.mss));
                }
                if synproxy.flags & Synproxy::WSCALE != 0 {
                    self.put(format_args!("\t\twscale {}\n", synproxy.wscale));
                }
                let name = |flag, name: &'static str| if synproxy.flags & flag != 0 { name } else { "" };
                let timestamp = name(Synproxy::TIMESTAMP, "timestamp");
                let sack = name(Synproxy::SACK_PERM, "sack-perm");
                if !timestamp.is_empty() || !sack.is_empty() {
                    self.put(format_args!("\t\t{timestamp} {sack}\n"));
                }
            }
            ObjectData::Tunnel(tunnel) => self.tunnel(tunnel),
            // nft has no text for one with a name: it is as in a rule.
            ObjectData::CtCount { count, over } => {
                self.put(format_args!("\t\tct count {}{count}\n", if *over { "over " } else { "" }));
            }
            ObjectData::Other(_) => {}
        }
    }

    /// As nft 1.1.6 lists it, and what that version leaves out as a comment.
    fn tunnel(&mut self, tunnel: &TunnelObject) {
        self.put(format_args!("\t\tid {}\n", tunnel.id));
        for (name, address) in [("saddr", tunnel.source), ("daddr", tunnel.destination)] {
            match address {
                Some(IpAddr::V4(address)) => self.put(format_args!("\t\tip {name} {address}\n")),
                Some(IpAddr::V6(address)) => self.put(format_args!("\t\tip6 {name} {address}\n")),
                None => {}
            }
        }
        let numbers = [
            ("sport", u32::from(tunnel.sport)),
            ("dport", tunnel.dport.into()),
            ("tos", tunnel.tos.into()),
            ("ttl", tunnel.ttl.into()),
        ];
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            self.put(format_args!("\t\t{name} {number}\n"));
        }
        for (name, number) in [("flow label", tunnel.flow_label), ("flags", tunnel.flags)] {
            if number != 0 {
                self.put(format_args!("\t\t# {name} {number:#x}\n"));
            }
        }
        match &tunnel.options {
            None => {}
            Some(TunnelOptions::Vxlan(policy)) => {
                self.put(format_args!("\t\tvxlan {{\n\t\t\tgbp {policy}\n\t\t}}\n"));
            }
            Some(TunnelOptions::Erspan1 { index }) => {
                self.put(format_args!("\t\terspan {{\n\t\t\tversion 1\n\t\t\tindex {index}\n\t\t}}\n"));
            }
            Some(TunnelOptions::Erspan2 { hardware, egress }) => {
                let direction = direction(*egress);
                self.put(format_args!(
                    "\t\terspan {{\n\t\t\tversion 2\n\t\t\tdirection {direction}\n\t\t\tid {hardware}\n\t\t}}\n"
                ));
            }
            Some(TunnelOptions::Geneve(options)) => {
                self.out.push_str("\t\tgeneve {\n");
                for option in options {
                    let (class, kind, data) = (option.class, option.kind, hexadecimal(&option.data));
                    self.put(format_args!("\t\t\tclass {class:#x} opt-type {kind:#x} data \"{data}\"\n"));
                }
                self.out.push_str("\t\t}\n");
            }
        }
    }

    /// The name of a transport protocol: as in nft, also where numbers are asked for.
    fn protocol(&mut self, number: u8) {
        let options = Options { numeric: Numeric::default(), ..self.options };
        let constant = Constant::new(DataType::InetProto, Data::new(&[number]));
        Printer { out: self.out, options }.constant(&constant, false);
        self.out.push('\n');
    }

    /// A flowtable.
    pub fn flowtable(&mut self, flowtable: &Flowtable) {
        self.put(format_args!("\tflowtable {} {{", flowtable.name));
        self.handle(flowtable.handle);
        let priority = self.priority(Family::Netdev, Hook::from_number(0), flowtable.priority);
        self.put(format_args!("\n\t\thook ingress priority {priority}\n"));
        if !flowtable.devices.is_empty() {
            self.put(format_args!("\t\tdevices = {{ {} }}\n", joined(&flowtable.devices)));
        }
        for (flag, line) in [(1, "\t\tflags offload\n"), (2, "\t\tcounter\n")] {
            if flowtable.flags & flag != 0 {
                self.out.push_str(line);
            }
        }
        self.out.push_str("\t}\n");
    }
}

/// nft's word for the way of a packet that an ERSPAN header mirrors.
pub(crate) fn direction(egress: bool) -> &'static str {
    if egress { "egress" } else { "ingress" }
}

/// Two digits for each byte. (nft 1.1.6 prints one for those below 16, and does not read that back.)
pub(crate) fn hexadecimal(data: &[u8]) -> String {
    data.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// nft's name for a family's number.
pub(crate) fn family_name(number: u8) -> String {
    match Family::from_number(number) {
        Family::Unspec => "unknown".to_owned(),
        family => family.name().unwrap_or("unknown").to_owned(),
    }
}

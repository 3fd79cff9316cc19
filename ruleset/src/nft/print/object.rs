//! Objects and flowtables.

use nftwire::{Family, Hook};

use super::{Printer, joined, timeouts};
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
            ObjectData::Other(_) => {}
        }
    }

    fn protocol(&mut self, number: u8) {
        self.constant(&Constant::new(DataType::InetProto, Data::new(&[number])), false);
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

/// nft's name for a family's number.
pub(crate) fn family_name(number: u8) -> String {
    match Family::from_number(number) {
        Family::Unspec => "unknown".to_owned(),
        family => family.name().unwrap_or("unknown").to_owned(),
    }
}

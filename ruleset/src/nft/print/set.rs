//! Named sets and maps.

use nftwire::uapi;

use super::Printer;
use crate::{DataType, Set, SetType, SetValue};

impl Printer<'_> {
    /// A set or map with its elements.
    pub fn set(&mut self, set: &Set) {
        self.set_head(set);
        for (index, element) in set.elements.iter().enumerate() {
            self.out.push_str(if index == 0 { "\t\telements = { " } else { separator(set, index) });
            self.element(element);
        }
        self.out.push_str(if set.elements.is_empty() { "\t}\n" } else { " }\n\t}\n" });
    }

    /// All of a set but its elements.
    pub fn set_head(&mut self, set: &Set) {
        self.put(format_args!("\t{} {} {{", set.keyword(), set.name));
        self.handle(set.handle);
        self.out.push_str("\n\t\t");
        self.set_types(set);
        self.out.push('\n');
        if set.flags & uapi::NFT_SET_CONSTANT == 0 {
            if set.memory_policy {
                self.out.push_str("\t\tpolicy memory\n");
            }
            if set.size > 0 {
                self.put(format_args!("\t\tsize {}\n", set.size));
            }
        }
        self.set_flags(set);
        if !set.statements.is_empty() {
            self.out.push_str("\t\t");
            let stateless = std::mem::replace(&mut self.options.stateless, true);
            for (index, statement) in set.statements.iter().enumerate() {
                if index > 0 {
                    self.out.push(' ');
                }
                self.statement(statement);
            }
            self.options.stateless = stateless;
            self.out.push('\n');
        }
        if set.auto_merge {
            self.out.push_str("\t\tauto-merge\n");
        }
        for (name, milliseconds) in [("timeout", set.timeout), ("gc-interval", set.gc_interval.into())] {
            if milliseconds > 0 {
                self.put(format_args!("\t\t{name} "));
                self.time(milliseconds);
                self.out.push('\n');
            }
        }
        if let Some(comment) = &set.comment {
            self.put(format_args!("\t\tcomment {}\n", comment.quoted()));
        }
    }

    fn set_types(&mut self, set: &Set) {
        let by_expression = set.key.expression.is_some();
        self.out.push_str(if by_expression { "typeof " } else { "type " });
        self.set_type(&set.key, by_expression);
        match &set.value {
            None => {}
            Some(SetValue::Verdict) => self.out.push_str(" : verdict"),
            Some(SetValue::Object(kind)) => self.put(format_args!(" : {}", kind.name())),
            Some(SetValue::Data { data_type, interval }) => {
                self.out.push_str(if *interval { " : interval " } else { " : " });
                self.set_type(data_type, by_expression);
            }
        }
    }

    fn set_type(&mut self, set_type: &SetType, by_expression: bool) {
        if let Some(expression) = set_type.expression.as_ref().filter(|_| by_expression) {
            return self.expression(expression);
        }
        for (index, field) in set_type.types.iter().enumerate() {
            if index > 0 {
                self.out.push_str(" . ");
            }
            self.out.push_str(field.data_type.name());
        }
    }

    fn set_flags(&mut self, set: &Set) {
        // A default timeout implies the flag, so nft does not print it.
        let hidden = if set.timeout > 0 { uapi::NFT_SET_TIMEOUT } else { 0 };
        let names = [
            (uapi::NFT_SET_CONSTANT, "constant"),
            (uapi::NFT_SET_EVAL, "dynamic"),
            (uapi::NFT_SET_INTERVAL, "interval"),
            (uapi::NFT_SET_TIMEOUT, "timeout"),
        ];
        if names.iter().all(|(flag, _)| set.flags & !hidden & flag == 0) {
            return;
        }
        let names: Vec<_> =
            names.into_iter().filter(|(flag, _)| set.flags & flag != 0).map(|(_, name)| name).collect();
        self.put(format_args!("\t\tflags {}\n", names.join(",")));
    }
}

/// What precedes the element with this number: nft puts several short ones on a line.
fn separator(set: &Set, index: usize) -> &'static str {
    use DataType as T;
    let on_a_line = match set.key.types.as_slice() {
        [field] => match field.data_type {
            T::NfProto
            | T::Integer
            | T::NetworkInteger
            | T::Hex
            | T::ArpOperation
            | T::InetProto
            | T::InetService
            | T::TcpFlag
            | T::DccpType
            | T::Mark
            | T::InterfaceIndex
            | T::ClassId
            | T::Uid
            | T::Gid
            | T::CtDirection => 5,
            T::Ipv4Addr | T::CtState | T::CtStatus | T::PacketType => 2,
            _ => 1,
        },
        _ => 1,
    };
    if index.is_multiple_of(on_a_line) { ",\n\t\t\t     " } else { ", " }
}

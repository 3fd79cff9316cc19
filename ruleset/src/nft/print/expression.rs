//! Expressions.

use nftwire::Family;
use nftwire::expr::{CtKey, RtKey, SocketKey, TunnelKey};

use super::{Printer, ct_name, meta_name};
use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::{CtOf, HashRange, InnerPart};
use crate::{Binary, Constant, DataType, Element, Expression, Name, Operator, Rule, Selector, Verdict};

impl Printer<'_> {
    /// Any expression.
    pub fn expression(&mut self, expression: &Expression) {
        self.expression_as(expression, false);
    }

    fn expression_as(&mut self, expression: &Expression, number: bool) {
        match expression {
            Expression::Selector(selector) => self.selector(selector),
            Expression::Constant(constant) => self.constant(constant, number),
            Expression::Prefix(prefix) => {
                self.expression_as(&prefix.value, number);
                self.out.push('/');
                self.number(prefix.len.into());
            }
            Expression::Range(range) => {
                self.expression_as(&range.from, true);
                self.out.push('-');
                self.expression_as(&range.to, true);
            }
            Expression::Concat(parts) => self.list(parts, " . "),
            Expression::List(parts) => self.list(parts, ","),
            Expression::Set(elements) => self.elements(elements),
            Expression::SetName(name) => self.put(format_args!("@{name}")),
            Expression::Map(map) => {
                self.expression(&map.key);
                self.out.push_str(if map.verdicts { " vmap " } else { " map " });
                self.expression(&map.map);
            }
            Expression::Binary(binary) => {
                self.operand(binary, &binary.left);
                self.put(format_args!(" {} ", binary.operator.sign()));
                self.operand(binary, &binary.right);
            }
            Expression::Hash(hash) => {
                self.out.push_str("jhash ");
                self.expression(&hash.of);
                self.put(format_args!(" mod {}", hash.modulus));
                if let Some(seed) = hash.seed {
                    self.put(format_args!(" seed {seed:#x}"));
                }
                if hash.offset > 0 {
                    self.put(format_args!(" offset {}", hash.offset));
                }
            }
            Expression::Verdict(verdict) => self.verdict(verdict),
            Expression::Name(name) => self.put(format_args!("{}", name.quoted())),
            Expression::Wildcard => self.out.push('*'),
        }
    }

    fn list(&mut self, parts: &[Expression], separator: &str) {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.out.push_str(separator);
            }
            self.expression(part);
        }
    }

    fn operand(&mut self, around: &Binary, operand: &Expression) {
        let binds_less = match operand {
            Expression::Binary(binary) => around.operator.precedence() < binary.operator.precedence(),
            _ => false,
        };
        if binds_less {
            self.out.push('(');
        }
        match operand {
            // As wide as what it is applied to has become, nft shows it like that, without names.
            Expression::Constant(constant) if is_wide(around, constant) => {
                self.put(format_args!("{:#x}", constant.number().unwrap_or(0)));
            }
            operand => self.expression(operand),
        }
        if binds_less {
            self.out.push(')');
        }
    }

    fn elements(&mut self, elements: &[Element]) {
        self.out.push_str("{ ");
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            self.element(element);
        }
        self.out.push_str(" }");
    }

    /// An element of a set or a map.
    pub fn element(&mut self, element: &Element) {
        self.expression(&element.key);
        if let Some(details) = &element.details {
            for statement in &details.statements {
                self.out.push(' ');
                self.statement(statement);
            }
            if details.timeout > 0 {
                self.out.push_str(" timeout ");
                self.time(details.timeout);
            }
            if details.expires > 0 && !self.options.stateless {
                self.out.push_str(" expires ");
                self.time(details.expires);
            }
            if let Some(comment) = &details.comment {
                self.put(format_args!(" comment {}", comment.quoted()));
            }
        }
        if let Some(value) = &element.value {
            self.out.push_str(" : ");
            self.expression(value);
        }
    }

    pub(super) fn verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Accept => self.out.push_str("accept"),
            Verdict::Drop => self.out.push_str("drop"),
            Verdict::Return => self.out.push_str("return"),
            Verdict::Continue => self.out.push_str("continue"),
            Verdict::Break => self.out.push_str("break"),
            Verdict::Jump(chain) => self.jump("jump", chain),
            Verdict::Goto(chain) => self.jump("goto", chain),
            Verdict::Other(other) if other.code() & 0xff == 3 => self.out.push_str("queue"),
            Verdict::Other(other) => self.put(format_args!("unknown verdict value {}", other.code())),
        }
    }

    /// To a chain by its name, or to an anonymous one with its rules.
    fn jump(&mut self, word: &str, name: &Name) {
        self.put(format_args!("{word} "));
        match self.options.anonymous.iter().find(|chain| chain.name == *name) {
            None => self.put(format_args!("{name}")),
            Some(chain) => self.block(&chain.rules),
        }
    }

    /// As deep as nft, which has blocks only inside of rules of chains of tables.
    fn block(&mut self, rules: &[Rule]) {
        self.out.push_str("{\n");
        for rule in rules {
            self.out.push('\t');
            self.rule_line(rule);
        }
        self.out.push_str("\t\t}");
    }

    /// What is read from a packet or set on it.
    pub fn selector(&mut self, selector: &Selector) {
        match selector {
            Selector::Payload(field) => {
                self.out.push_str(field.protocol.name());
                self.out.push(' ');
                self.out.push_str(field.name);
            }
            Selector::Raw(raw) => {
                self.put(format_args!("@{},{},{}", raw.base_name(), raw.offset, raw.len));
            }
            Selector::Meta(key) => {
                let (name, qualified) = meta_name(*key);
                self.out.push_str(if qualified { "meta " } else { "" });
                self.out.push_str(name);
            }
            Selector::Ct(key) => self.put(format_args!("ct {}", ct_name(*key))),
            Selector::CtOf(of) => self.ct_of(of),
            Selector::Option(option) => self.option(option),
            Selector::Socket(key, level) => self.put(format_args!("socket {}", socket_name(*key, *level))),
            Selector::Fib(fib) => {
                let flags: Vec<_> = fib.flag_names().collect();
                self.put(format_args!("fib {} {}", flags.join(" . "), fib.result_name()));
            }
            Selector::Rt(key) => self.put(format_args!("rt {}", rt_name(*key))),
            Selector::Inner(inner) => {
                let own = matches!(inner.part, InnerPart::Field(field) if Some(field.protocol) == inner.tunnel.header());
                if !own {
                    self.put(format_args!("{} ", inner.tunnel.name()));
                }
                self.selector(&inner.part.selector());
            }
            Selector::Tunnel(key) => self.put(format_args!("tunnel {}", tunnel_name(*key))),
            Selector::Osf(osf) => {
                let ttl = ["", "ttl loose ", "ttl skip "].get(usize::from(osf.ttl)).unwrap_or(&"");
                self.put(format_args!("osf {ttl}{}", if osf.version { "version" } else { "name" }));
            }
            Selector::Ipsec(ipsec) => {
                let (name, family) = ipsec.key_name();
                self.put(format_args!("ipsec {} ", if ipsec.out { "out" } else { "in" }));
                if ipsec.spnum > 0 {
                    self.put(format_args!("spnum {} ", ipsec.spnum));
                }
                if let Some(family) = family {
                    self.put(format_args!("{family} "));
                }
                self.out.push_str(name);
            }
            Selector::Numgen(numgen) => {
                let mode = if numgen.random { "random" } else { "inc" };
                self.put(format_args!("numgen {mode} mod {}", numgen.range.modulus));
                self.offset(numgen.range);
            }
            Selector::SymmetricHash(range) => {
                self.put(format_args!("symhash mod {}", range.modulus));
                self.offset(*range);
            }
        }
    }

    fn offset(&mut self, range: HashRange) {
        if range.offset > 0 {
            self.put(format_args!(" offset {}", range.offset));
        }
    }

    fn ct_of(&mut self, of: &CtOf) {
        let family = match (of.key, of.family) {
            (CtKey::Src | CtKey::Dst, Some(Family::Ipv4)) => "ip ",
            (CtKey::Src | CtKey::Dst, Some(Family::Ipv6)) => "ip6 ",
            _ => "",
        };
        let direction = if of.reply { "reply" } else { "original" };
        self.put(format_args!("ct {direction} {family}{}", ct_name(of.key)));
    }

    pub(super) fn option(&mut self, option: &OptionField) {
        let kind = match option.kind {
            OptionKind::Tcp => "tcp option ",
            OptionKind::Ipv4 => "ip option ",
            OptionKind::Sctp => "sctp chunk ",
            OptionKind::Ipv6 if option.presence => "exthdr ",
            OptionKind::Ipv6 => "",
        };
        self.out.push_str(kind);
        match (option.presence, option.names(), option.option_name()) {
            (true, _, Some(name)) => self.out.push_str(name),
            (true, _, None) => self.number(option.number.into()),
            (false, Some(names), _) => {
                self.out.push_str(names.option);
                if names.block > 0 {
                    self.number(names.block.into());
                }
                self.out.push(' ');
                self.out.push_str(names.field);
            }
            (false, None, _) => {
                self.put(format_args!("@{},{},{}", option.number, option.offset, option.len));
            }
        }
    }
}

fn is_wide(around: &Binary, constant: &Constant) -> bool {
    let applied = matches!(around.operator, Operator::And | Operator::Or | Operator::Xor);
    let hexadecimal = matches!(around.left.data_type(), Some(DataType::Dscp | DataType::Ecn));
    applied && hexadecimal && constant.data_type == DataType::Integer
}

fn socket_name(key: SocketKey, level: u32) -> String {
    match key {
        SocketKey::Transparent => "transparent".to_owned(),
        SocketKey::Mark => "mark".to_owned(),
        SocketKey::Wildcard => "wildcard".to_owned(),
        SocketKey::CgroupV2 => format!("cgroupv2 level {level}"),
        key => format!("unknown {}", key.number()),
    }
}

pub(crate) fn tunnel_name(key: TunnelKey) -> &'static str {
    match key {
        TunnelKey::Path => "path",
        TunnelKey::Id => "id",
        _ => "unknown",
    }
}

fn rt_name(key: RtKey) -> &'static str {
    match key {
        RtKey::ClassId => "classid",
        RtKey::NextHop4 => "ip nexthop",
        RtKey::NextHop6 => "ip6 nexthop",
        RtKey::TcpMss => "mtu",
        RtKey::Xfrm => "ipsec",
        _ => "unknown",
    }
}

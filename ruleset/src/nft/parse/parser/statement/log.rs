//! `log`, `reject` and `synproxy`.

use super::super::super::lexer::Sign;
use super::super::super::source::Fault;
use super::super::super::syntax::{ExprKind, Log, Name, RejectWith, StmtKind};
use super::super::expression::Side;
use super::super::{Parsed, Parser};
use crate::model::statement::{ObjectKind, Synproxy};

impl Parser<'_> {
    pub(super) fn log(&mut self) -> Parsed<StmtKind> {
        self.next();
        let mut log = Log::default();
        loop {
            match self.word() {
                "prefix" => {
                    self.next();
                    log.prefix = Some(if self.at_sign(Sign::Dollar) {
                        let value = self.primary(Side::Right)?;
                        match value.kind {
                            ExprKind::Quoted(text) | ExprKind::Word(text) => Name { text, span: value.span },
                            _ => return Err(Fault::new(value.span, "not a text")),
                        }
                    } else {
                        let prefix = self.string()?;
                        self.with_variables(&prefix)?
                    });
                }
                "group" => {
                    self.next();
                    log.group = Some(self.number()?);
                }
                "snaplen" => {
                    self.next();
                    log.snaplen = Some(self.number()?);
                }
                "queue-threshold" => {
                    self.next();
                    log.queue_threshold = Some(self.number()?);
                }
                "level" => {
                    self.next();
                    log.level = Some(self.string()?);
                }
                "flags" => {
                    self.next();
                    log.flags |= self.log_flags()?;
                }
                _ => return Ok(StmtKind::Log(Box::new(log))),
            }
        }
    }

    /// A text with the values of the variables that it names.
    fn with_variables(&mut self, text: &Name) -> Parsed<Name> {
        let mut parts = text.text.split('$');
        let mut whole = parts.next().unwrap_or("").to_owned();
        for part in parts {
            let ends = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
            let (name, rest) = part.split_at(part.find(ends).unwrap_or(part.len()));
            match self.variable(&Name { text: name.into(), span: text.span })?.kind {
                ExprKind::Quoted(value) | ExprKind::Word(value) => whole.push_str(&value),
                ExprKind::Number(value) => whole.push_str(&value.to_string()),
                _ => return Err(Fault::new(text.span, "not a text")),
            }
            whole.push_str(rest);
        }
        Ok(Name { text: whole.into(), span: text.span })
    }

    /// `NF_LOG_*` (include/uapi/linux/netfilter/nf_log.h)
    fn log_flags(&mut self) -> Parsed<u32> {
        let flags = match self.word() {
            "tcp" => {
                self.next();
                let mut flags = 0;
                loop {
                    flags |= match self.word() {
                        "sequence" | "seq" => 1,
                        "options" => 2,
                        _ => return Err(self.unexpected()),
                    };
                    self.next();
                    if !self.sign(Sign::Comma) {
                        return Ok(flags);
                    }
                }
            }
            "ip" => {
                self.next();
                if self.word() != "options" {
                    return Err(self.unexpected());
                }
                4
            }
            "skuid" => 8,
            "ether" => 0x20,
            "all" => 0x2f,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(flags)
    }

    pub(super) fn reject(&mut self) -> Parsed<StmtKind> {
        self.next();
        if !self.keyword("with") {
            return Ok(StmtKind::Reject(None));
        }
        let word = self.word().to_owned();
        self.next();
        let kind = match word.as_str() {
            "tcp" => {
                self.expect_keyword("reset")?;
                return Ok(StmtKind::Reject(Some(RejectWith::TcpReset)));
            }
            "icmp" => RejectWith::Icmp,
            "icmpv6" => RejectWith::Icmp6,
            "icmpx" => RejectWith::Icmpx,
            _ => return Err(Fault::new(self.last, "syntax error, unexpected string")),
        };
        self.keyword("type");
        Ok(StmtKind::Reject(Some(kind(self.primary(Side::Right)?))))
    }

    pub(super) fn synproxy(&mut self) -> Parsed<StmtKind> {
        self.next();
        if self.keyword("name") {
            return Ok(StmtKind::Object(ObjectKind::Synproxy, self.value()?));
        }
        Ok(StmtKind::Synproxy(self.synproxy_values(false)?))
    }

    /// `mss … wscale … timestamp sack-perm`; in a block with line ends between.
    pub(in super::super) fn synproxy_values(&mut self, block: bool) -> Parsed<Synproxy> {
        let mut synproxy = Synproxy { mss: 0, wscale: 0, flags: 0 };
        loop {
            match self.word() {
                "mss" => {
                    self.next();
                    let number = self.number()?;
                    synproxy.mss =
                        u16::try_from(number).map_err(|_| Fault::new(self.last, "value too large"))?;
                    synproxy.flags |= Synproxy::MSS;
                }
                "wscale" => {
                    self.next();
                    let number = self.number()?;
                    synproxy.wscale =
                        u8::try_from(number).map_err(|_| Fault::new(self.last, "value too large"))?;
                    synproxy.flags |= Synproxy::WSCALE;
                }
                "timestamp" => {
                    self.next();
                    synproxy.flags |= Synproxy::TIMESTAMP;
                }
                "sack-perm" | "sack-permitted" => {
                    self.next();
                    synproxy.flags |= Synproxy::SACK_PERM;
                }
                _ => {
                    if !block || !self.separator() {
                        return Ok(synproxy);
                    }
                }
            }
        }
    }
}

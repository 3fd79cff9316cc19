//! Counters, quotas and the other objects.

use super::super::lexer::{Kind, Sign};
use super::super::source::Fault;
use super::super::syntax::{Name, ObjectBlock, ObjectSpec};
use super::{Parsed, Parser};
use crate::Protocol;
use crate::model::statement::ObjectKind;

impl Parser<'_> {
    /// What an object is: between braces, in the rest of the line, or nothing.
    pub(super) fn object_block(&mut self, kind: ObjectKind) -> Parsed<ObjectBlock> {
        let start = self.last;
        let mut data = empty(kind);
        let mut comment = None;
        if self.at_sign(Sign::BraceOpen) {
            self.block(|parser| parser.object_line(&mut data, &mut comment))?;
        } else if !matches!(
            data,
            ObjectSpec::CtHelper { .. } | ObjectSpec::CtTimeout { .. } | ObjectSpec::CtExpectation { .. }
        ) && !matches!(self.peek().kind, Kind::Newline | Kind::End | Kind::Sign(_))
        {
            self.object_values(&mut data)?;
        }
        let span = start.to(self.last);
        check(&data).map_err(|message| Fault::new(span, message))?;
        Ok(ObjectBlock { data, comment, span })
    }

    fn object_line(&mut self, data: &mut ObjectSpec, comment: &mut Option<Name>) -> Parsed<()> {
        if self.word() == "comment" {
            return self.comment(comment);
        }
        self.object_values(data)
    }

    fn object_values(&mut self, data: &mut ObjectSpec) -> Parsed<()> {
        match data {
            ObjectSpec::Counter(counter) => {
                if !matches!(self.word(), "packets" | "bytes") {
                    return Err(self.unexpected());
                }
                *counter = self.counter_values()?;
            }
            ObjectSpec::Quota(quota) => *quota = Some(self.quota()?),
            ObjectSpec::Limit(limit) => *limit = Some(self.limit()?),
            ObjectSpec::Synproxy(synproxy) => {
                if self.word() != "mss" {
                    return Err(self.unexpected());
                }
                *synproxy = Some(self.synproxy_values(true)?);
            }
            ObjectSpec::Secmark(context) => match self.optional_string()? {
                Some(name) => *context = Some(name),
                None => return Err(self.unexpected()),
            },
            _ => return self.ct_values(data),
        }
        Ok(())
    }

    fn ct_values(&mut self, data: &mut ObjectSpec) -> Parsed<()> {
        let word = self.word().to_owned();
        self.next();
        match (word.as_str(), data) {
            ("type", ObjectSpec::CtHelper { helper, l4proto, .. }) => {
                *helper = Some(self.quoted()?);
                self.expect_keyword("protocol")?;
                *l4proto = self.transport()?;
            }
            (
                "l3proto",
                ObjectSpec::CtHelper { l3proto, .. }
                | ObjectSpec::CtTimeout { l3proto, .. }
                | ObjectSpec::CtExpectation { l3proto, .. },
            ) => {
                let family = self.explicit_family();
                *l3proto = Some(family.ok_or_else(|| self.unexpected())?);
            }
            (
                "protocol",
                ObjectSpec::CtTimeout { l4proto, .. } | ObjectSpec::CtExpectation { l4proto, .. },
            ) => {
                *l4proto = self.transport()?;
            }
            ("policy", ObjectSpec::CtTimeout { policy, .. }) => {
                self.expect(Sign::Assign)?;
                self.expect(Sign::BraceOpen)?;
                loop {
                    self.newlines();
                    let state = self.identifier()?;
                    self.expect(Sign::Colon)?;
                    // Newer ones write `close : 4s`, which is the same.
                    let seconds =
                        if self.at(Kind::Number) { self.number()? } else { self.duration()? / 1_000 };
                    policy.push((state, seconds));
                    self.newlines();
                    if !self.sign(Sign::Comma) {
                        break;
                    }
                }
                self.expect(Sign::BraceClose)?;
            }
            ("dport", ObjectSpec::CtExpectation { dport, .. }) => *dport = self.number()?,
            ("timeout", ObjectSpec::CtExpectation { timeout, .. }) => *timeout = self.duration()?,
            ("size", ObjectSpec::CtExpectation { size, .. }) => *size = self.number()?,
            _ => return Err(Fault::new(self.last, "syntax error, unexpected string")),
        }
        Ok(())
    }

    fn transport(&mut self) -> Parsed<u8> {
        let protocol = match self.word() {
            "tcp" => Protocol::TCP,
            "udp" => Protocol::UDP,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(protocol)
    }
}

fn empty(kind: ObjectKind) -> ObjectSpec {
    let (l4proto, l3proto) = (0, None);
    match kind {
        ObjectKind::Quota => ObjectSpec::Quota(None),
        ObjectKind::Limit => ObjectSpec::Limit(None),
        ObjectKind::Secmark => ObjectSpec::Secmark(None),
        ObjectKind::Synproxy => ObjectSpec::Synproxy(None),
        ObjectKind::CtHelper => ObjectSpec::CtHelper { helper: None, l4proto, l3proto },
        ObjectKind::CtTimeout => ObjectSpec::CtTimeout { l4proto, l3proto, policy: Vec::new() },
        ObjectKind::CtExpectation => {
            ObjectSpec::CtExpectation { l4proto, l3proto, dport: 0, timeout: 0, size: 0 }
        }
        _ => ObjectSpec::Counter(crate::model::statement::Counter::default()),
    }
}

/// What the kernel cannot do without.
fn check(data: &ObjectSpec) -> Result<(), &'static str> {
    match data {
        ObjectSpec::CtHelper { helper: None, .. } => Err("ct helper needs a type"),
        ObjectSpec::CtTimeout { l4proto: 0, .. } | ObjectSpec::CtExpectation { l4proto: 0, .. } => {
            Err("missing protocol")
        }
        _ => Ok(()),
    }
}

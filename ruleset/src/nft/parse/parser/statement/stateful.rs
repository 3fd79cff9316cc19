//! Statements that count or remember, also as part of sets and objects.

use super::super::super::lexer::Sign;
use super::super::super::source::Fault;
use super::super::super::syntax::{Stmt, StmtKind};
use super::super::{Parsed, Parser};
use crate::model::statement::{Counter, Limit, ObjectKind, Quota};

impl Parser<'_> {
    pub(super) fn stateful_or_named(&mut self) -> Parsed<StmtKind> {
        if self.word_at(1) == "name" {
            let kind = match self.word() {
                "counter" => ObjectKind::Counter,
                "limit" => ObjectKind::Limit,
                _ => ObjectKind::Quota,
            };
            self.next();
            self.next();
            return Ok(StmtKind::Object(kind, self.value()?));
        }
        Ok(self.stateful()?.kind)
    }

    /// `counter`, `limit`, `quota`, `last` or `ct count`, also as part of a set.
    pub(in super::super) fn stateful(&mut self) -> Parsed<Stmt> {
        let token = self.next();
        let start = token.span;
        let kind = match self.text_of(token) {
            "counter" => {
                let counter = self.counter_values()?;
                StmtKind::Counter { packets: counter.packets, bytes: counter.bytes }
            }
            "limit" => StmtKind::Limit(self.limit()?),
            "quota" => StmtKind::Quota(self.quota()?),
            "last" => StmtKind::Last,
            "ct" => {
                self.expect_keyword("count")?;
                let over = self.keyword("over");
                StmtKind::CtCount { count: self.number_32()?, over }
            }
            _ => return Err(Fault::new(start, "syntax error, unexpected string")),
        };
        Ok(Stmt { kind, span: start.to(self.last) })
    }

    pub(in super::super) fn counter_values(&mut self) -> Parsed<Counter> {
        let mut counter = Counter::default();
        loop {
            match self.word() {
                "packets" => {
                    self.next();
                    counter.packets = self.number()?;
                }
                "bytes" => {
                    self.next();
                    counter.bytes = self.number()?;
                }
                _ => return Ok(counter),
            }
        }
    }

    /// `rate …`
    pub(in super::super) fn limit(&mut self) -> Parsed<Limit> {
        self.expect_keyword("rate")?;
        let over = self.mode();
        let number = self.number()?;
        let (rate, unit, bytes) = if self.sign(Sign::Slash) {
            let unit = self.string()?;
            (number, time_unit(&unit.text), false)
        } else {
            let text = self.string()?;
            let (scale, unit) = text.text.split_once('/').unwrap_or((&text.text, ""));
            let scale = scale_of(scale).ok_or_else(|| Fault::new(text.span, "Wrong unit format"))?;
            let unit = match unit {
                "" => {
                    self.expect(Sign::Slash)?;
                    time_unit(&self.string()?.text)
                }
                unit => time_unit(unit),
            };
            (number.checked_mul(scale).ok_or_else(|| Fault::new(text.span, "value too large"))?, unit, true)
        };
        let unit = unit.ok_or_else(|| Fault::new(self.last, "Wrong unit format"))?;
        let mut burst = if bytes { 0 } else { 5 };
        if self.keyword("burst") {
            let number = self.number()?;
            let span = self.last;
            let scale = match (self.word(), bytes) {
                ("packets", false) => Some(1),
                (unit, true) => scale_of(unit),
                _ => None,
            };
            let Some(scale) = scale else { return Err(self.unexpected()) };
            self.next();
            let scaled = number.checked_mul(scale).and_then(|burst| u32::try_from(burst).ok());
            burst = scaled.ok_or_else(|| Fault::new(span, "value too large"))?;
            if burst == 0 && !bytes {
                return Err(Fault::new(span, "packet limit burst must be > 0"));
            }
        }
        Ok(Limit { rate, unit, burst, bytes, over })
    }

    /// `over`, or nothing or `until`.
    fn mode(&mut self) -> bool {
        let over = self.keyword("over");
        if !over {
            self.keyword("until");
        }
        over
    }

    pub(in super::super) fn quota(&mut self) -> Parsed<Quota> {
        let over = self.mode();
        let bytes = self.bytes()?;
        let used = if self.keyword("used") { self.bytes()? } else { 0 };
        Ok(Quota { bytes, used, over })
    }

    fn bytes(&mut self) -> Parsed<u64> {
        let number = self.number()?;
        let unit = self.string()?;
        let scale = scale_of(&unit.text).ok_or_else(|| Fault::new(unit.span, "Wrong unit format"))?;
        number.checked_mul(scale).ok_or_else(|| Fault::new(unit.span, "value too large"))
    }
}

/// Seconds of a unit of time.
fn time_unit(text: &str) -> Option<u64> {
    Some(match text {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    })
}

/// Bytes of `bytes`, `kbytes`, `mbytes`.
fn scale_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "bytes" => 1,
        "kbytes" => 1 << 10,
        "mbytes" => 1 << 20,
        _ => return None,
    })
}

//! Statements that send packets elsewhere: to other addresses, to a proxy, to a queue, through another device.

use nftwire::{Family, uapi};

use super::super::super::lexer::Sign;
use super::super::super::syntax::{Nat, NatShape, StmtKind, Tproxy};
use super::super::expression::Side;
use super::super::{Parsed, Parser};
use crate::model::statement::NatKind;

impl Parser<'_> {
    pub(super) fn nat(&mut self, kind: NatKind) -> Parsed<StmtKind> {
        self.next();
        let mut nat = Nat {
            kind,
            family: None,
            address: None,
            port: None,
            flags: 0,
            prefix: false,
            shape: NatShape::Plain,
        };
        let with_address = matches!(kind, NatKind::Source | NatKind::Destination);
        if with_address {
            let second = self.word_at(1).to_owned();
            if matches!(self.word(), "ip" | "ip6")
                && matches!(second.as_str(), "to" | "addr" | "interval" | "prefix")
            {
                nat.family = self.network_family();
            }
            match self.word() {
                "addr" if nat.family.is_some() => {
                    self.next();
                    self.expect(Sign::Dot)?;
                    self.expect_keyword("port")?;
                    nat.shape = NatShape::AddressAndPort;
                }
                "interval" => {
                    self.next();
                    nat.shape = NatShape::Interval;
                }
                "prefix" => {
                    self.next();
                    nat.prefix = true;
                }
                _ => {}
            }
        }
        let to = self.keyword("to");
        if to || with_address {
            if !self.at_sign(Sign::Colon) && with_address {
                nat.address = Some(self.value()?);
            }
            // `redirect to 80` is `redirect to :80`.
            if self.sign(Sign::Colon) || kind == NatKind::Redirect {
                nat.port = Some(self.value()?);
            } else if kind == NatKind::Masquerade {
                return Err(self.unexpected());
            }
        }
        while let Some(flag) = match self.word() {
            "random" => Some(uapi::NF_NAT_RANGE_PROTO_RANDOM),
            "fully-random" => Some(uapi::NF_NAT_RANGE_PROTO_RANDOM_FULLY),
            "persistent" => Some(uapi::NF_NAT_RANGE_PERSISTENT),
            _ => None,
        } {
            self.next();
            nat.flags |= flag;
            self.sign(Sign::Comma);
        }
        Ok(StmtKind::Nat(Box::new(nat)))
    }

    pub(super) fn tproxy(&mut self) -> Parsed<StmtKind> {
        self.next();
        let family = self.network_family();
        self.expect_keyword("to")?;
        let address = if self.at_sign(Sign::Colon) { None } else { Some(self.value()?) };
        let port = if self.sign(Sign::Colon) { Some(self.value()?) } else { None };
        Ok(StmtKind::Tproxy(Box::new(Tproxy { family, address, port })))
    }

    pub(super) fn queue(&mut self) -> Parsed<StmtKind> {
        self.next();
        let (mut number, mut bypass, mut fanout) = (None, false, false);
        loop {
            match self.word() {
                "num" => {
                    self.next();
                    number = Some(self.multiton(Side::Right)?);
                }
                "to" => {
                    self.next();
                    number = Some(
                        if matches!(self.word(), "numgen" | "jhash" | "symhash") || self.begins_selector() {
                            self.left()?
                        } else {
                            self.multiton(Side::Right)?
                        },
                    );
                }
                "flags" => {
                    self.next();
                }
                "bypass" => {
                    self.next();
                    bypass = true;
                    self.sign(Sign::Comma);
                }
                "fanout" => {
                    self.next();
                    fanout = true;
                    self.sign(Sign::Comma);
                }
                _ => return Ok(StmtKind::Queue { number, bypass, fanout }),
            }
        }
    }

    pub(super) fn duplicate(&mut self) -> Parsed<StmtKind> {
        self.next();
        self.expect_keyword("to")?;
        let address = self.value()?;
        let device = if self.keyword("device") { Some(self.value()?) } else { None };
        Ok(StmtKind::Dup(address, device))
    }

    pub(super) fn forward(&mut self) -> Parsed<StmtKind> {
        self.next();
        let family = self.network_family();
        self.expect_keyword("to")?;
        let first = self.value()?;
        if family.is_some() {
            self.expect_keyword("device")?;
            let device = self.value()?;
            return Ok(StmtKind::Forward { family, address: Some(first), device });
        }
        Ok(StmtKind::Forward { family: None::<Family>, address: None, device: first })
    }
}

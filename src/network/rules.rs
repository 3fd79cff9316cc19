//! The messages of rtnetlink about policy rules. Pure.

use std::net::IpAddr;

use neli::consts::rtnl::{FrAct, Frattr, Frf, RtAddrFamily};
use nftwire::{Attr, AttrReader, AttrWriter, DecodeError};

use super::message::{Request, address_family, bits, ip_address, split, writer};
use super::{Family, PolicyRule};

/// Bytes of `struct fib_rule_hdr` (linux/fib_rules.h).
pub(super) const RULE_HEADER: usize = 12;

pub(super) type RuleRequest = Request<RULE_HEADER>;

/// A request for all rules of a family.
pub(super) fn any_rule(family: Family) -> RuleRequest {
    let mut header = [0; RULE_HEADER];
    header[0] = address_family(family).into();
    Request { header, attributes: Vec::new() }
}

/// The rule at this priority; without one, at a priority that the kernel picks.
///
/// The mask is always given: the kernel's own, where it is not, is "all bits" only for a mark other than 0.
pub(super) fn rule(rule: &PolicyRule, priority: Option<u32>) -> RuleRequest {
    let mut attributes = writer();
    attributes.put_ne32(Frattr::Fwmark.into(), rule.mark);
    attributes.put_ne32(Frattr::Fwmask.into(), mask(rule));
    attributes.put_ne32(Frattr::Table.into(), rule.table);
    if let Some(priority) = priority {
        attributes.put_ne32(Frattr::Priority.into(), priority);
    }
    rule_to_table(rule.family, 0, attributes)
}

/// A rule that looks up a routing table, for destinations with a prefix of this many bits.
pub(super) fn rule_to_table(family: Family, destination_bits: u8, attributes: AttrWriter) -> RuleRequest {
    let mut header = any_rule(family).header;
    header[1] = destination_bits;
    header[7] = FrAct::FrActToTbl.into();
    Request::new(header, attributes)
}

/// A policy rule that the kernel takes for ours when it is asked to remove ours.
#[derive(Debug)]
pub(super) struct Alike {
    pub(super) priority: u32,
    /// The kernel never removes it (`FIB_RULE_PERMANENT`)
    pub(super) is_permanent: bool,
    /// If the rule has further conditions or effects: a request that adds it again, after the others of its priority
    pub(super) copy: Option<RuleRequest>,
}

impl Alike {
    /// Whether the rule is exactly ours.
    pub(super) fn is_same(&self) -> bool {
        self.copy.is_none()
    }
}

/// A received policy rule, as far as any rule of ours has something of it.
pub(super) struct Found<'a> {
    header: &'a [u8; RULE_HEADER],
    attributes: AttrReader<'a>,
    mark: Option<u32>,
    mask: Option<u32>,
    pub(super) table: Option<u32>,
    pub(super) priority: u32,
    destination: Option<Attr<'a>>,
    pub(super) link: Option<Attr<'a>>,
    /// Whether it has another condition or effect, also one by an attribute that this code does not know
    has_more: bool,
}

impl<'a> Found<'a> {
    /// # Errors
    /// The object is cut off, or an attribute's length is wrong.
    pub(super) fn read(object: &'a [u8]) -> Result<Self, DecodeError> {
        let (header @ &[_, _, from, tos, ..], attributes) = split::<RULE_HEADER>(object)?;
        let has_more = (from, tos) != (0, 0) || flags(header).contains(Frf::INVERT);
        // The header's byte for the table cannot hold every table.
        let (mark, mask, table, priority, destination, link) = (None, None, None, 0, None, None);
        let mut found = Self { header, attributes, mark, mask, table, priority, destination, link, has_more };
        for attribute in attributes {
            let attribute = attribute?;
            match Frattr::from(attribute.kind) {
                Frattr::Fwmark => found.mark = Some(attribute.ne32()?),
                Frattr::Fwmask => found.mask = Some(attribute.ne32()?),
                Frattr::Table => found.table = Some(attribute.ne32()?),
                Frattr::Priority => found.priority = attribute.ne32()?,
                Frattr::Dst => found.destination = Some(attribute),
                Frattr::Iifname => found.link = Some(attribute),
                // Every rule has these. All ones is "off".
                Frattr::Protocol => {}
                Frattr::SuppressPrefixlen if attribute.ne32() == Ok(u32::MAX) => {}
                _ => found.has_more = true,
            }
        }
        Ok(found)
    }

    /// Whether it looks up a routing table, for packets of this family.
    pub(super) fn looks_up(&self, family: Family) -> bool {
        let &[found, _, _, _, _, _, _, action, ..] = self.header;
        RtAddrFamily::from(found) == address_family(family) && FrAct::from(action) == FrAct::FrActToTbl
    }

    /// Whether it is for packets to this address alone.
    pub(super) fn is_to(&self, address: IpAddr) -> bool {
        let &[family, to, ..] = self.header;
        let destination = self.destination.and_then(|found| ip_address(family, found.value));
        to == bits(address) && destination == Some(address)
    }

    /// Whether it has a condition on the packets' mark.
    pub(super) fn is_marked(&self) -> bool {
        self.mark.or(self.mask).is_some()
    }

    /// Whether these are all the conditions that it has besides the mark.
    pub(super) fn has_only(&self, destination: bool, link: bool) -> bool {
        let &[_, to, ..] = self.header;
        let has = (self.destination.is_some(), self.link.is_some());
        has == (destination, link) && (destination || to == 0) && !self.has_more
    }

    /// It as one that is alike, and the same or not.
    pub(super) fn alike(&self, is_same: bool) -> Alike {
        let &[family, to, from, tos, _, _, _, action, ..] = self.header;
        let copy = || {
            // The other flags report state, such as a missing interface.
            let kept = flags(self.header) & (Frf::INVERT | Frf::FIND_SADDR);
            let [f0, f1, f2, f3] = u32::from(kept).to_ne_bytes();
            let header = [family, to, from, tos, 0, 0, 0, action, f0, f1, f2, f3];
            Request { header, attributes: self.attributes.as_bytes().to_owned() }
        };
        let is_permanent = flags(self.header).contains(Frf::PERMANENT);
        Alike { priority: self.priority, is_permanent, copy: (!is_same).then(copy) }
    }
}

fn flags(&[_, _, _, _, _, _, _, _, f0, f1, f2, f3]: &[u8; RULE_HEADER]) -> Frf {
    Frf::from(u32::from_ne_bytes([f0, f1, f2, f3]))
}

/// The found rule, if removing `rule` can remove it: if it has the same family, mark, table and place. The kernel does not
/// look at what the request leaves out, such as an interface, addresses or `not` (`rule_find` of net/core/fib_rules.c).
///
/// # Errors
/// As [`Found::read`].
pub(super) fn alike(found: &[u8], rule: &PolicyRule) -> Result<Option<Alike>, DecodeError> {
    let found = Found::read(found)?;
    let is_alike = found.looks_up(rule.family)
        && (found.mark.unwrap_or(0), found.mask.unwrap_or(0)) == (rule.mark, mask(rule))
        && found.table == Some(rule.table)
        && rule.priority.is_none_or(|desired| desired == found.priority);
    Ok(is_alike.then(|| found.alike(found.has_only(false, false))))
}

/// The routing table of the found rule, if it is for packets with this mark.
///
/// # Errors
/// As [`Found::read`].
pub(super) fn table_of_mark(found: &[u8], mark: u32) -> Result<Option<u32>, DecodeError> {
    let found = Found::read(found)?;
    Ok(found.table.filter(|_| found.mark == Some(mark)))
}

fn mask(rule: &PolicyRule) -> u32 {
    rule.mask.unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use neli::consts::rtnl::RtTable;
    use neli::rtnl::FibmsgBuilder;
    use neli::types::RtBuffer;

    use super::super::message::testing::{attribute, bytes, encoded};
    use super::*;

    const RULE: PolicyRule =
        PolicyRule { family: Family::V4, mark: 0x111, mask: Some(0xfff), priority: Some(32764), table: 100 };

    fn priority_if_same(found: &[u8], rule: &PolicyRule) -> Option<u32> {
        let alike = alike(found, rule).unwrap();
        alike.filter(Alike::is_same).map(|alike| alike.priority)
    }

    #[test]
    fn a_request_is_what_another_encoder_makes_of_it() {
        let same = FibmsgBuilder::default()
            .fib_family(RtAddrFamily::Inet)
            .fib_dst_len(0)
            .fib_src_len(0)
            .fib_tos(0)
            .fib_table(RtTable::Unspec)
            .fib_action(FrAct::FrActToTbl)
            .rtattrs(RtBuffer::from_iter([
                attribute(Frattr::Fwmark, 0x111_u32),
                attribute(Frattr::Fwmask, 0xfff_u32),
                attribute(Frattr::Table, 100_u32),
                attribute(Frattr::Priority, 32764_u32),
            ]));
        assert_eq!(bytes(&rule(&RULE, Some(32764))), encoded(&same.build().unwrap()));
    }

    #[test]
    fn rules_that_are_cut_off_are_errors() {
        let rule = bytes(&rule(&RULE, None));
        for length in [0, 11] {
            assert_eq!(alike(&rule[..length], &RULE).unwrap_err(), DecodeError::MessageLength);
            assert_eq!(table_of_mark(&rule[..length], 0x111), Err(DecodeError::MessageLength));
        }
        let rule = &rule[..rule.len() - 1];
        assert_eq!(alike(rule, &RULE).unwrap_err(), DecodeError::AttributeLength);
        assert_eq!(table_of_mark(rule, 0x111), Err(DecodeError::AttributeLength));
    }

    #[test]
    fn a_rule_is_found_by_its_mark_alone() {
        assert_eq!(table_of_mark(&bytes(&rule(&RULE, None)), 0x111), Ok(Some(100)));
        assert_eq!(table_of_mark(&bytes(&rule(&RULE, None)), 0x112), Ok(None));
        assert_eq!(table_of_mark(&bytes(&any_rule(Family::V4)), 0), Ok(None));
    }

    #[test]
    fn a_rule_is_the_same_only_if_everything_is() {
        let found = bytes(&rule(&RULE, Some(32764)));
        assert_eq!(priority_if_same(&found, &RULE), Some(32764));
        assert_eq!(priority_if_same(&found, &PolicyRule { priority: None, ..RULE }), Some(32764));
        for other in [
            PolicyRule { family: Family::V6, ..RULE },
            PolicyRule { mark: 0x112, ..RULE },
            PolicyRule { mask: None, ..RULE },
            PolicyRule { priority: Some(32765), ..RULE },
            PolicyRule { table: 101, ..RULE },
        ] {
            assert_eq!(priority_if_same(&found, &other), None, "{other}");
        }
    }

    #[test]
    fn a_rule_with_an_attribute_that_nobody_knows_is_another_rule() {
        let with = |kind: Frattr, value: u32| {
            let mut found = rule(&RULE, Some(32764));
            let mut extra = AttrWriter::default();
            extra.put_ne32(kind.into(), value);
            found.attributes.extend(extra.as_bytes());
            found
        };
        let off = bytes(&with(Frattr::SuppressPrefixlen, u32::MAX));
        assert_eq!(priority_if_same(&off, &RULE), Some(32764));
        let on = bytes(&with(Frattr::SuppressPrefixlen, 0));
        assert_eq!(priority_if_same(&on, &RULE), None);
        let unknown = with(Frattr::from(999), 0);
        assert_eq!(priority_if_same(&bytes(&unknown), &RULE), None);
        // The kernel takes it for ours nevertheless, and a copy of it is what it is.
        let found = alike(&bytes(&unknown), &RULE).unwrap().unwrap();
        assert_eq!(found.copy, Some(unknown.clone()));
        // With the flags that are a user's, and not those that are the kernel's (FIB_RULE_UNRESOLVED).
        for (flag, copied, is_permanent) in
            [(0x1_u32, 0_u32, true), (0x2, 0x2, false), (0x4, 0, false), (0x10000, 0x10000, false)]
        {
            let with = |flags: u32| {
                let mut flagged = unknown.clone();
                flagged.header[8..].copy_from_slice(&flags.to_ne_bytes());
                flagged
            };
            let found = alike(&bytes(&with(flag)), &RULE).unwrap().unwrap();
            assert_eq!((found.copy, found.is_permanent), (Some(with(copied)), is_permanent), "{flag:#x}");
        }
    }

    proptest::proptest! {
        /// The kernel sends no such thing; a reader neither panics nor takes it for a rule of ours.
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
            assert!(!alike(&bytes, &RULE).is_ok_and(|found| found.is_some()));
            let _ = table_of_mark(&bytes, 0x111);
        }
    }
}

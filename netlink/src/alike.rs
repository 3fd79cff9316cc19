//! Whether two messages of dumps describe the same, in whatever namespaces and whatever was counted there.

use crate::{Attr, DecodeError, Dump, Message, Record, uapi};

impl Dump {
    /// Whether the other has the same objects in the same order. Handles do not count, nor do rules' positions, which are
    /// handles, nor what counters in rules have counted. All else has to be equal to the byte, also what means the same.
    ///
    /// # Errors
    /// A length does not fit.
    pub fn is_alike(&self, other: &Self) -> Result<bool, DecodeError> {
        all_alike(self.messages(), other.messages(), Message::is_alike)
    }
}

impl Record {
    /// As [`Dump::is_alike`], of one message.
    ///
    /// # Errors
    /// As [`Dump::is_alike`].
    pub fn is_alike(&self, other: &Self) -> Result<bool, DecodeError> {
        self.message()?.is_alike(&other.message()?)
    }
}

impl Message<'_> {
    fn is_alike(&self, other: &Self) -> Result<bool, DecodeError> {
        let Self { kind, family, generation: _, attributes } = self;
        if (*kind, *family) != (other.kind, other.family) {
            return Ok(false);
        }
        let position = (*kind == uapi::NFT_MSG_NEWRULE).then_some(uapi::NFTA_RULE_POSITION);
        let handles = [self.handle_attribute(), position];
        let counts = |attribute: &Result<Attr<'_>, _>| {
            attribute.as_ref().map_or(true, |attribute| !handles.contains(&Some(attribute.kind)))
        };
        let (ones, others) = (attributes.filter(counts), other.attributes.filter(counts));
        all_alike(ones, others, |one, other| {
            let has_expressions = *kind == uapi::NFT_MSG_NEWRULE && one.kind == uapi::NFTA_RULE_EXPRESSIONS;
            match is_same(one, other) {
                false if has_expressions && one.kind == other.kind => {
                    all_alike(one.nested(), other.nested(), |one, other| {
                        Ok(is_same(one, other) || is_counter(one)? && is_counter(other)?)
                    })
                }
                is_same => Ok(is_same),
            }
        })
    }
}

/// Whether both are equal to the byte, eight of them at a time: musl's memcmp, which compares slices otherwise, takes them
/// one by one.
fn is_same(one: &Attr<'_>, other: &Attr<'_>) -> bool {
    let ((ones, last), (others, other_last)) = (one.value.as_chunks::<8>(), other.value.as_chunks::<8>());
    one.kind == other.kind
        && ones.len() == others.len()
        && last == other_last
        && ones.iter().zip(others).all(|(one, other)| u64::from_ne_bytes(*one) == u64::from_ne_bytes(*other))
}

/// Whether an expression of a rule is `counter`, which has nothing but counts.
fn is_counter(expression: &Attr<'_>) -> Result<bool, DecodeError> {
    let mut is_it = false;
    for attribute in expression.nested() {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_EXPR_NAME => is_it = attribute.text().as_bytes() == b"counter",
            uapi::NFTA_EXPR_DATA => {}
            _ => return Ok(false),
        }
    }
    Ok(is_it && expression.kind == uapi::NFTA_LIST_ELEM)
}

/// Whether both are as long, and each is like the other's at its place.
fn all_alike<T>(
    mut ones: impl Iterator<Item = Result<T, DecodeError>>,
    mut others: impl Iterator<Item = Result<T, DecodeError>>,
    is_alike: impl Fn(&T, &T) -> Result<bool, DecodeError>,
) -> Result<bool, DecodeError> {
    loop {
        match (ones.next().transpose()?, others.next().transpose()?) {
            (None, None) => return Ok(true),
            (Some(one), Some(other)) if is_alike(&one, &other)? => {}
            _ => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Access, Cmp, CmpOp, Counter, Expr, Immediate, Meta, MetaKey};
    use crate::{AttrWriter, Data, Family, Received, Register, Verdict, message};

    /// Writes the attributes of a message.
    type Fill<'a> = &'a dyn Fn(&mut AttrWriter);

    /// A dump of these messages: their kinds, their families, and what else is in them.
    fn dump(messages: &[(u8, Family, Fill<'_>)]) -> Dump {
        let mut writer = AttrWriter::default();
        for (kind, family, fill) in messages {
            let start = message::begin(&mut writer, *kind, 0, *family);
            fill(&mut writer);
            message::end(&mut writer, start);
        }
        let mut dump = Dump::default();
        dump.keep(Received::new(writer.into_buffer(), 0));
        dump
    }

    struct Rule<'a> {
        chain: &'a str,
        handle: u64,
        position: u64,
        expressions: Vec<Expr<'a>>,
        userdata: &'a [u8],
    }

    fn rule(packets: u64, value: u8) -> Rule<'static> {
        let expressions = vec![
            Meta { key: MetaKey::L4Proto, access: Access::Load(Register::R1) }.into(),
            Cmp { sreg: Register::R1, op: CmpOp::Eq, data: Data::new(&[value]) }.into(),
            Counter { packets, bytes: 60 * packets }.into(),
            Immediate::Verdict(Verdict::Accept).into(),
        ];
        Rule { chain: "c", handle: 2, position: 1, expressions, userdata: b"" }
    }

    fn rules(rules: &[Rule<'_>]) -> Dump {
        let fill = |rule: &Rule<'_>, writer: &mut AttrWriter| {
            writer.put_str(uapi::NFTA_RULE_TABLE, "t");
            writer.put_str(uapi::NFTA_RULE_CHAIN, rule.chain);
            writer.put_be64(uapi::NFTA_RULE_HANDLE, rule.handle);
            if rule.position != 0 {
                writer.put_be64(uapi::NFTA_RULE_POSITION, rule.position);
            }
            writer.nest(uapi::NFTA_RULE_EXPRESSIONS, |writer| {
                rule.expressions.iter().for_each(|expression| expression.encode(writer));
            });
            writer.put(uapi::NFTA_RULE_USERDATA, rule.userdata);
        };
        let fills: Vec<_> =
            rules.iter().map(|rule| move |writer: &mut AttrWriter| fill(rule, writer)).collect();
        let messages: Vec<_> =
            fills.iter().map(|fill| (uapi::NFT_MSG_NEWRULE, Family::Inet, fill as Fill<'_>)).collect();
        dump(&messages)
    }

    #[track_caller]
    fn is_alike(one: &Dump, other: &Dump, expected: bool) {
        assert_eq!((one.is_alike(other), other.is_alike(one)), (Ok(expected), Ok(expected)));
    }

    #[test]
    fn handles_and_counts_do_not_count() {
        let one = rules(&[rule(0, 6)]);
        is_alike(&one, &rules(&[rule(0, 6)]), true);
        is_alike(&one, &rules(&[rule(5, 6)]), true);
        is_alike(&one, &rules(&[Rule { handle: 9, position: 7, ..rule(1 << 40, 6) }]), true);
        is_alike(&one, &rules(&[Rule { position: 0, ..rule(0, 6) }]), true);
        is_alike(&rules(&[]), &rules(&[]), true);
    }

    #[test]
    fn all_else_counts() {
        let one = rules(&[rule(0, 6)]);
        is_alike(&one, &rules(&[]), false);
        is_alike(&one, &rules(&[rule(0, 6), rule(0, 6)]), false);
        is_alike(&one, &rules(&[rule(0, 17)]), false);
        is_alike(&one, &rules(&[Rule { chain: "d", ..rule(0, 6) }]), false);
        is_alike(&one, &rules(&[Rule { userdata: b"x", ..rule(0, 6) }]), false);
        // At each place of a value, the last ones included.
        let userdata: Vec<u8> = (0..19).collect();
        fn with(userdata: &[u8]) -> Dump {
            rules(&[Rule { userdata, ..rule(0, 6) }])
        }
        for place in 0..userdata.len() {
            let changed: Vec<u8> =
                (0..).zip(&userdata).map(|(at, byte)| byte ^ u8::from(at == place)).collect();
            is_alike(&with(&userdata), &with(&changed), false);
            is_alike(&with(&userdata), &with(&userdata[..place]), false);
        }
        is_alike(&with(&userdata), &with(&userdata), true);
        is_alike(&rules(&[rule(0, 6), rule(0, 17)]), &rules(&[rule(0, 17), rule(0, 6)]), false);
        let without = |index: usize| {
            let mut rule = rule(0, 6);
            rule.expressions.remove(index);
            rules(&[rule])
        };
        (0..4).for_each(|index| is_alike(&one, &without(index), false));
        let verdict = |verdict| {
            let mut rule = rule(0, 6);
            rule.expressions[3] = Immediate::Verdict(verdict).into();
            rules(&[rule])
        };
        is_alike(&one, &verdict(Verdict::Accept), true);
        is_alike(&one, &verdict(Verdict::Drop), false);
        // A counter is like another one, and like nothing else.
        let mut swapped = rule(0, 6);
        swapped.expressions.swap(2, 3);
        is_alike(&one, &rules(&[swapped]), false);
    }

    #[test]
    fn kinds_and_families_count() {
        // The same attributes in messages of other kinds and families.
        let fill = |handle: u64| {
            move |writer: &mut AttrWriter| {
                writer.put_str(1, "t");
                writer.put_be64(uapi::NFTA_RULE_HANDLE, handle);
            }
        };
        let of = |kind, family, handle| dump(&[(kind, family, &fill(handle))]);
        let rule = of(uapi::NFT_MSG_NEWRULE, Family::Inet, 1);
        is_alike(&rule, &of(uapi::NFT_MSG_NEWRULE, Family::Inet, 2), true);
        is_alike(&rule, &of(uapi::NFT_MSG_NEWRULE, Family::Ipv6, 1), false);
        is_alike(&rule, &of(uapi::NFT_MSG_NEWCHAIN, Family::Inet, 1), false);
        let chain = |handle| of(uapi::NFT_MSG_NEWCHAIN, Family::Inet, handle);
        is_alike(&chain(1), &chain(1), true);
        is_alike(&chain(1), &chain(2), false);
    }

    #[test]
    fn what_is_malformed_is_an_error() {
        let broken = dump(&[(uapi::NFT_MSG_NEWRULE, Family::Inet, &|writer| writer.raw(&[9, 0, 1, 0]))]);
        assert_eq!(broken.is_alike(&broken), Err(DecodeError::AttributeLength));
    }
}

//! What holds for everything that listing reads: what is written is read back, and no bytes make a reader panic.

use proptest::prelude::*;
use proptest::sample::Index;

use super::messages::{
    any_message, chain, element, expression, flowtable, object, quota_as_sent, set, table,
};
use super::{decode, encode, message, read};
use crate::expr::{Dynset, Expr, Notrack};
use crate::message::Datagram;
use crate::{
    Chain, ChainFlags, Compat, Element, ElementList, Family, Flowtable, Message, Object, ObjectData,
    Position, Rule, Set, Table, uapi,
};

/// Reads the bytes as everything they could be. What can be read can also be written, and is read back the same.
fn read_as_everything(bytes: &[u8]) {
    for header in Datagram(bytes) {
        let Ok(header) = header else { return };
        if let Ok(message) = Message::decode(header.nlmsg_type, header.payload) {
            read_again(&message);
        }
    }
}

fn as_sent(expression: Expr<'_>) -> Expr<'_> {
    match expression {
        Expr::Quota(quota) => Expr::Quota(quota_as_sent(quota)),
        Expr::Dynset(dynset) => {
            let expressions = dynset.expressions.into_iter().map(as_sent).collect();
            Expr::Dynset(Dynset { expressions, ..dynset })
        }
        expression => expression,
    }
}

fn read_again(received: &Message<'_>) {
    if let Ok(object) = Object::decode(received) {
        let data = match object.data {
            ObjectData::Quota(quota) => ObjectData::Quota(quota_as_sent(quota)),
            data => data,
        };
        let object = Object { data, ..object };
        let again = message(|batch| batch.add_object(&object));
        assert_eq!(Object::decode(&read(&again)), Ok(Object { handle: 0, references: 0, ..object }));
    }
    if let Ok(flowtable) = Flowtable::decode(received) {
        let again = message(|batch| batch.add_flowtable(&flowtable));
        assert_eq!(Flowtable::decode(&read(&again)), Ok(Flowtable { handle: 0, references: 0, ..flowtable }));
    }
    // Without a name of its own the kernel names it.
    if let Ok(chain) = Chain::decode(received)
        && !(chain.name.as_bytes().is_empty() && chain.flags.contains(ChainFlags::BINDING))
    {
        let again = message(|batch| batch.add_chain(&chain));
        assert_eq!(Chain::decode(&read(&again)), Ok(Chain { handle: 0, references: 0, ..chain }));
    }
    if let Ok(set) = Set::decode(received) {
        assert!(Set::decode(&read(&message(|batch| batch.add_set(&set)))).is_ok());
    }
    if let Ok(list) = ElementList::decode(received) {
        for element in list.elements().flatten() {
            let again = message(|batch| batch.add_elements(&list, std::slice::from_ref(&element)));
            let expressions = element.expressions.into_iter().map(as_sent).collect();
            let element = Element { expressions, ..element };
            assert_eq!(
                ElementList::decode(&read(&again)).unwrap().elements().collect::<Vec<_>>(),
                [Ok(element)]
            );
        }
    }
    if let Ok(rule) = Rule::decode(received) {
        for expression in rule.expressions().flatten() {
            assert_eq!(decode(&encode(&expression)), as_sent(expression));
        }
    }
}

proptest! {
    #[test]
    fn an_expression_is_read_back(expression in expression()) {
        let bytes = encode(&expression);
        prop_assert_eq!(decode(&bytes), expression);
    }

    #[test]
    fn an_object_is_read_back(object in object()) {
        let message = message(|batch| batch.add_object(&object));
        prop_assert_eq!(Object::decode(&read(&message)), Ok(object));
    }

    #[test]
    fn a_flowtable_is_read_back(flowtable in flowtable()) {
        let message = message(|batch| batch.add_flowtable(&flowtable));
        prop_assert_eq!(Flowtable::decode(&read(&message)), Ok(flowtable));
    }

    #[test]
    fn a_table_is_read_back(table in table()) {
        let message = message(|batch| batch.add_table(&table));
        prop_assert_eq!(Table::decode(&read(&message)), Ok(table));
    }

    #[test]
    fn a_chain_is_read_back(chain in chain()) {
        let message = message(|batch| batch.add_chain(&chain));
        prop_assert_eq!(Chain::decode(&read(&message)), Ok(chain));
    }

    #[test]
    fn a_set_is_read_back(set in set()) {
        let message = message(|batch| batch.add_set(&set));
        prop_assert_eq!(Set::decode(&read(&message)), Ok(set));
    }

    #[test]
    fn an_element_is_read_back(element in element()) {
        let list = ElementList::new(Family::Inet, "t", "s", 0);
        let message = message(|batch| batch.add_elements(&list, std::slice::from_ref(&element)));
        let read: Vec<_> = ElementList::decode(&read(&message)).unwrap().elements().collect();
        prop_assert_eq!(read, [Ok(element)]);
    }

    #[test]
    fn what_xtables_needs_is_read_back((protocol, flags) in any::<(u32, u32)>()) {
        let mut rule = Rule::new(Family::Ipv4, "t", "c");
        rule.compat = Some(Compat { protocol, flags });
        let message = message(|batch| batch.add_rule(&rule, Position::Append, &[]));
        prop_assert_eq!(Rule::decode(&read(&message)).unwrap().compat, rule.compat);
    }

    #[test]
    fn a_changed_message_does_not_panic(
        message in any_message(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let mut message = message;
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = byte;
        }
        read_as_everything(&message);
    }

    #[test]
    fn a_changed_length_or_type_does_not_panic(
        message in any_message(),
        at in any::<Index>(),
        value in prop_oneof![0..80u16, any::<u16>()],
    ) {
        let mut message = message;
        let at = at.index(message.len() / 2) * 2;
        message[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        read_as_everything(&message);
    }

    #[test]
    fn a_truncated_message_does_not_panic(message in any_message(), cut in any::<Index>()) {
        let mut message = message;
        message.truncate(cut.index(message.len() + 1));
        if let Ok(length) = u32::try_from(message.len())
            && length >= 4
        {
            message[..4].copy_from_slice(&length.to_ne_bytes());
        }
        read_as_everything(&message);
    }
}

/// A message of a hundred thousand levels would have no room in a datagram; as many as there is room for must not
/// exhaust the stack.
#[test]
fn expressions_inside_expressions_end() {
    let mut nested = encode(&Notrack.into())[4..].to_vec();
    while nested.len() < 30_000 {
        let mut writer = crate::AttrWriter::default();
        writer.put_str(uapi::NFTA_EXPR_NAME, "inner");
        writer.nest(uapi::NFTA_EXPR_DATA, |writer| {
            writer.put_be32(uapi::NFTA_INNER_TYPE, 0);
            writer.put(uapi::NFTA_INNER_EXPR | netlink_packet_core::NLA_F_NESTED, &nested);
        });
        nested = writer.into_buffer();
    }
    let mut list = crate::AttrWriter::default();
    list.put(uapi::NFTA_LIST_ELEM | netlink_packet_core::NLA_F_NESTED, &nested);
    let Expr::Inner(inner) = decode(list.as_bytes()) else { panic!("no inner") };
    assert!(matches!(*inner.expression, Expr::Unknown(unknown) if unknown.name == "inner"));
}

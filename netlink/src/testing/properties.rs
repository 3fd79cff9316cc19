//! What holds for everything: what is written is read back, and no bytes make a reader panic.

use proptest::prelude::*;
use proptest::sample::Index;

use super::strategy::{chain, elements, expression, expressions, family, name, set, table, userdata};
use super::{decode, encode, message, read};
use crate::message::Datagram;
use crate::reply::Reply;
use crate::{
    AttrReader, AttrWriter, Batch, Chain, ElementList, Expr, Message, Position, Rule, Set, Table, uapi,
};

fn place() -> impl Strategy<Value = Position> {
    prop_oneof![
        Just(Position::Append),
        Just(Position::Prepend),
        any::<u64>().prop_map(Position::Before),
        any::<u64>().prop_map(Position::After),
        any::<u64>().prop_map(Position::Replace),
    ]
}

/// One message of any kind.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let rule = (family(), name(), name(), userdata(), place(), expressions());
    let rule = rule.prop_map(|(family, table, chain, userdata, place, expressions)| {
        let mut rule = Rule::new(family, table, chain);
        rule.userdata = userdata;
        message(|batch| batch.add_rule(&rule, place, &expressions))
    });
    let elements = (family(), name(), name(), any::<u32>(), elements());
    let elements = elements.prop_map(|(family, table, set, id, elements)| {
        message(|batch| batch.add_elements(&ElementList::new(family, table, set, id), &elements))
    });
    prop_oneof![
        table().prop_map(|table| message(|batch| batch.add_table(&table))).boxed(),
        chain().prop_map(|chain| message(|batch| batch.add_chain(&chain))).boxed(),
        set().prop_map(|set| message(|batch| batch.add_set(&set))).boxed(),
        rule.boxed(),
        elements.boxed(),
    ]
}

/// Reads the bytes as everything they could be. What can be read can also be written, and is read back the same.
fn read_as_everything(bytes: &[u8]) {
    for header in Datagram(bytes) {
        let Ok(header) = header else { return };
        let _ = Reply::decode(&header).map(|reply| (reply.text.map(str::len), reply.offset));
        if let Ok(message) = Message::decode(header.nlmsg_type, header.payload) {
            read_message(&message);
        }
    }
}

fn read_message(message: &Message<'_>) {
    if let Ok(table) = Table::decode(message) {
        let again = super::message(|batch| batch.add_table(&table));
        assert_eq!(Table::decode(&read(&again)), Ok(Table { handle: 0, references: 0, owner: 0, ..table }));
    }
    if let Ok(chain) = Chain::decode(message) {
        let again = super::message(|batch| batch.add_chain(&chain));
        assert_eq!(Chain::decode(&read(&again)), Ok(Chain { handle: 0, references: 0, ..chain }));
    }
    if let Ok(set) = Set::decode(message) {
        assert!(Set::decode(&read(&super::message(|batch| batch.add_set(&set)))).is_ok());
    }
    if let Ok(rule) = Rule::decode(message) {
        rule.expressions().flatten().for_each(|expression| read_again(&expression));
    }
    if let Ok(list) = ElementList::decode(message) {
        for element in list.elements().flatten() {
            let again = super::message(|batch| batch.add_elements(&list, std::slice::from_ref(&element)));
            let list = ElementList::decode(&read(&again)).unwrap();
            assert_eq!(list.elements().collect::<Vec<_>>(), [Ok(element)]);
        }
    }
}

fn read_again(expression: &Expr<'_>) {
    assert_eq!(&decode(&encode(expression)), expression);
}

/// Reads attributes as every type, and those inside them.
fn read_attributes(bytes: &[u8], depth: usize) {
    for attribute in AttrReader::new(bytes).flatten() {
        let _ = (attribute.u8(), attribute.be16(), attribute.be32(), attribute.ne32(), attribute.be64());
        let _ = attribute.str();
        if depth > 0 {
            read_attributes(attribute.value, depth - 1);
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
    fn a_list_of_expressions_is_read_back(expressions in expressions()) {
        let mut writer = AttrWriter::default();
        expressions.iter().for_each(|expression| expression.encode(&mut writer));
        let read: Result<Vec<_>, _> = Expr::decode_list(AttrReader::new(writer.as_bytes())).collect();
        prop_assert_eq!(read, Ok(expressions));
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
    fn a_rule_is_read_back(
        family in family(),
        (table, chain) in (name(), name()),
        userdata in userdata(),
        place in place(),
        expressions in expressions(),
    ) {
        let mut rule = Rule::new(family, table, chain);
        rule.userdata = userdata;
        let message = message(|batch| batch.add_rule(&rule, place, &expressions));
        let message = read(&message);
        let decoded = Rule::decode(&message).unwrap();
        prop_assert_eq!((decoded.family, decoded.table, decoded.chain), (family, table, chain));
        prop_assert_eq!(decoded.userdata, userdata);
        prop_assert_eq!(decoded.handle, if let Position::Replace(handle) = place { handle } else { 0 });
        prop_assert_eq!(decoded.expressions().collect::<Result<Vec<_>, _>>(), Ok(expressions));
        let position = message.attributes.flatten().find(|attribute| attribute.kind == uapi::NFTA_RULE_POSITION);
        let expected = if let Position::Before(handle) | Position::After(handle) = place { Some(handle) } else { None };
        prop_assert_eq!(position.map(|attribute| attribute.be64().unwrap()), expected);
    }

    #[test]
    fn elements_are_read_back(
        (table, set) in (name(), name()),
        id in any::<u32>(),
        elements in elements(),
    ) {
        let list = ElementList::new(crate::Family::Inet, table, set, id);
        for message in [
            message(|batch| batch.add_elements(&list, &elements)),
            message(|batch| batch.del_elements(&list, &elements)),
        ] {
            let decoded = ElementList::decode(&read(&message)).unwrap();
            prop_assert_eq!((decoded.table, decoded.set, decoded.set_id), (table, set, id));
            let read: Result<Vec<_>, _> = decoded.elements().collect();
            prop_assert_eq!(read.as_ref(), Ok(&elements));
        }
    }

    #[test]
    fn a_truncated_message_does_not_panic(message in any_message(), cut in any::<Index>(), length_too in any::<bool>()) {
        let cut = cut.index(message.len() + 1);
        let mut message = message;
        message.truncate(cut);
        // Either the header still has the old length, or it agrees with what is left.
        if length_too && cut >= 4 {
            message[..4].copy_from_slice(&u32::try_from(cut).unwrap().to_ne_bytes());
        }
        read_as_everything(&message);
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
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        read_as_everything(&bytes);
        read_attributes(&bytes, 4);
        let _ = Expr::decode_list(AttrReader::new(&bytes)).collect::<Vec<_>>();
        for kind in 0..32 {
            let attributes = AttrReader::new(&bytes);
            read_message(&Message { kind, family: crate::Family::Inet, generation: 0, attributes });
        }
    }

    #[test]
    fn arbitrary_lengths_and_types_do_not_panic(
        attributes in proptest::collection::vec((0..24u16, 0..16u16, any::<[u8; 8]>()), 0..16),
    ) {
        let bytes: Vec<_> = attributes
            .iter()
            .flat_map(|(length, kind, value)| [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat())
            .collect();
        read_attributes(&bytes, 4);
        let _ = Expr::decode_list(AttrReader::new(&bytes)).collect::<Vec<_>>();
        let attributes = AttrReader::new(&bytes);
        read_message(&Message { kind: 0, family: crate::Family::Inet, generation: 0, attributes });
    }

    #[test]
    fn every_offset_leads_somewhere_or_nowhere(
        expressions in expressions(),
        message in 0..4usize,
        offset in prop_oneof![0..2048usize, any::<usize>()],
    ) {
        let mut batch = Batch::new();
        batch.add_rule(&Rule::new(crate::Family::Inet, "t", "c"), Position::Append, &expressions);
        batch.del_table(crate::Family::Inet, "t");
        if let Some((index, name)) = batch.locate(message, offset).expression {
            prop_assert_eq!(message, 0);
            prop_assert_eq!(name, expressions[index].name());
        }
    }
}

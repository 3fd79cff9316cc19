//! From an offset in a message to the attribute and the expression or the element at that offset.

use crate::expr::name_of;
use crate::{Attr, AttrReader, Data, Element, uapi};

/// Where in a message the kernel's extended reply points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The top-level attribute of the message: its number, and the last word of the kernel's name for it in lower
    /// case, such as `type` for `NFTA_CHAIN_TYPE`; empty where this crate has no name for it.
    pub attribute: Option<(u16, &'static str)>,
    /// The expression of a rule: its number from 0, and its name.
    pub expression: Option<(usize, String)>,
    /// The element of a list
    pub element: Option<ElementLocation>,
}

/// An element in a message with several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementLocation {
    /// Its number in the message, from 0
    pub index: usize,
    /// Its key
    pub key: Data,
    /// Whether the key is the first value after a range
    pub interval_end: bool,
}

/// What is `offset` bytes into the attributes of a message of this kind (`NFT_MSG_*`).
pub(crate) fn at(kind: u8, attributes: &[u8], offset: usize) -> Option<Location> {
    let (attribute, value, offset) = find(attributes, offset)?;
    let is_rule = (kind, attribute) == (uapi::NFT_MSG_NEWRULE, uapi::NFTA_RULE_EXPRESSIONS);
    let is_list = has_elements(kind) && attribute == uapi::NFTA_SET_ELEM_LIST_ELEMENTS;
    Some(Location {
        attribute: Some((attribute, name(kind, attribute))),
        expression: if is_rule { expression_at(value, offset) } else { None },
        element: if is_list { element_at(value, offset) } else { None },
    })
}

/// The attribute that `offset` points into: its type, its value, and the offset inside the value.
fn find(attributes: &[u8], offset: usize) -> Option<(u16, &[u8], usize)> {
    let header = 4;
    let mut position = 0;
    for attribute in AttrReader::new(attributes) {
        let attribute = attribute.ok()?;
        let next = position + (header + attribute.value.len()).next_multiple_of(4);
        if offset < next {
            return Some((attribute.kind, attribute.value, offset.saturating_sub(position + header)));
        }
        position = next;
    }
    None
}

/// The expression of a rule's list that `offset` points into. The kernel never points deeper than that.
fn expression_at(list: &[u8], offset: usize) -> Option<(usize, String)> {
    let (index, expression) = item_at(list, offset)?;
    Some((index, name_of(expression.nested()).unwrap_or_default().to_owned()))
}

/// The element of a list that `offset` points into.
fn element_at(list: &[u8], offset: usize) -> Option<ElementLocation> {
    let (index, element) = item_at(list, offset)?;
    let element = Element::decode(element.nested()).ok()?;
    Some(ElementLocation { index, key: element.key, interval_end: element.interval_end })
}

/// The item of a list that `offset` points into, and its number.
fn item_at(list: &[u8], offset: usize) -> Option<(usize, Attr<'_>)> {
    let mut end = 0;
    for (index, item) in AttrReader::new(list).enumerate() {
        let item = item.ok()?;
        end += (4 + item.value.len()).next_multiple_of(4);
        if offset < end {
            return Some((index, item));
        }
    }
    None
}

fn has_elements(kind: u8) -> bool {
    matches!(kind, uapi::NFT_MSG_NEWSETELEM | uapi::NFT_MSG_DELSETELEM | uapi::NFT_MSG_DESTROYSETELEM)
}

/// The name of an attribute in a message of this kind (`include/uapi/linux/netfilter/nf_tables.h`).
fn name(kind: u8, attribute: u16) -> &'static str {
    let names: &[(u16, &'static str)] = match kind {
        uapi::NFT_MSG_NEWTABLE | uapi::NFT_MSG_DELTABLE => &[
            (uapi::NFTA_TABLE_NAME, "name"),
            (uapi::NFTA_TABLE_FLAGS, "flags"),
            (uapi::NFTA_TABLE_HANDLE, "handle"),
            (uapi::NFTA_TABLE_USERDATA, "userdata"),
        ],
        uapi::NFT_MSG_NEWCHAIN | uapi::NFT_MSG_DELCHAIN => &[
            (uapi::NFTA_CHAIN_TABLE, "table"),
            (uapi::NFTA_CHAIN_HANDLE, "handle"),
            (uapi::NFTA_CHAIN_NAME, "name"),
            (uapi::NFTA_CHAIN_HOOK, "hook"),
            (uapi::NFTA_CHAIN_POLICY, "policy"),
            (uapi::NFTA_CHAIN_TYPE, "type"),
            (uapi::NFTA_CHAIN_FLAGS, "flags"),
            (uapi::NFTA_CHAIN_USERDATA, "userdata"),
        ],
        uapi::NFT_MSG_NEWRULE | uapi::NFT_MSG_DELRULE => &[
            (uapi::NFTA_RULE_TABLE, "table"),
            (uapi::NFTA_RULE_CHAIN, "chain"),
            (uapi::NFTA_RULE_HANDLE, "handle"),
            (uapi::NFTA_RULE_EXPRESSIONS, "expressions"),
            (uapi::NFTA_RULE_COMPAT, "compat"),
            (uapi::NFTA_RULE_POSITION, "position"),
            (uapi::NFTA_RULE_USERDATA, "userdata"),
        ],
        uapi::NFT_MSG_NEWSET | uapi::NFT_MSG_DELSET => &[
            (uapi::NFTA_SET_TABLE, "table"),
            (uapi::NFTA_SET_NAME, "name"),
            (uapi::NFTA_SET_FLAGS, "flags"),
            (uapi::NFTA_SET_KEY_TYPE, "key type"),
            (uapi::NFTA_SET_KEY_LEN, "key length"),
            (uapi::NFTA_SET_DATA_TYPE, "data type"),
            (uapi::NFTA_SET_DATA_LEN, "data length"),
            (uapi::NFTA_SET_POLICY, "policy"),
            (uapi::NFTA_SET_DESC, "description"),
            (uapi::NFTA_SET_TIMEOUT, "timeout"),
            (uapi::NFTA_SET_USERDATA, "userdata"),
        ],
        kind if has_elements(kind) => &[
            (uapi::NFTA_SET_ELEM_LIST_TABLE, "table"),
            (uapi::NFTA_SET_ELEM_LIST_SET, "set"),
            (uapi::NFTA_SET_ELEM_LIST_ELEMENTS, "elements"),
            (uapi::NFTA_SET_ELEM_LIST_SET_ID, "set id"),
        ],
        _ => &[],
    };
    names.iter().find(|(number, _)| *number == attribute).map_or("", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_names_by_the_kind_of_message() {
        assert_eq!(name(uapi::NFT_MSG_NEWCHAIN, uapi::NFTA_CHAIN_TYPE), "type");
        assert_eq!(name(uapi::NFT_MSG_NEWSET, uapi::NFTA_SET_NAME), "name");
        assert_eq!(name(uapi::NFT_MSG_NEWCHAIN, u16::MAX), "");
        assert_eq!(name(uapi::NFT_MSG_NEWOBJ, 1), "");
    }
}

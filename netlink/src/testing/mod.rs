//! What the tests share: golden bytes and how they are compared.
//!
//! The goldens are what `nft` 1.0.6 handed to the kernel 6.18, seen with `strace -e trace=sendmsg -e write=all` in a
//! network namespace of its own. Next to each is the rule it was captured from and, in brackets, what
//! `nft --debug=netlink` prints for the expression. Where this crate writes other bytes on purpose, the test says why.

mod bindings;
mod listed;
mod messages;
mod properties;
mod read_back;
mod strategy;

use crate::expr::Expr;
use crate::message::{Datagram, NLMSG_HEADER};
use crate::{AttrReader, AttrWriter, Batch, Message};

/// The bytes of `struct nlmsghdr` and `struct nfgenmsg`.
pub(crate) const HEADERS: usize = NLMSG_HEADER + 4;

/// The bytes of a golden text.
///
/// A line is an attribute: its length, its type, and its value with the padding. Or it is a message's header: length,
/// type, flags, sequence number and port id, and the four bytes of `struct nfgenmsg`. All is hexadecimal, as captured
/// on a little-endian machine; after `#` comes what it is. Headers are in host order, so they are turned around where
/// that is not little-endian.
pub(crate) fn bytes(golden: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in golden.lines() {
        let groups = line.split('#').next().unwrap_or_default().split_whitespace().map(hex);
        let mut in_host_order = 0;
        for (index, mut group) in groups.enumerate() {
            if index == 0 {
                in_host_order = if group.len() == 4 { 5 } else { 2 };
            }
            if index < in_host_order && cfg!(target_endian = "big") {
                group.reverse();
            }
            bytes.extend(group);
        }
    }
    bytes
}

fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "half a byte in {digits}");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The expression as an element of a list.
pub(crate) fn encode(expression: &Expr<'_>) -> Vec<u8> {
    let mut writer = AttrWriter::default();
    expression.encode(&mut writer);
    writer.into_buffer()
}

/// The only expression in a list.
pub(crate) fn decode(list: &[u8]) -> Expr<'_> {
    let expressions: Vec<_> = Expr::decode_list(AttrReader::new(list)).collect::<Result<_, _>>().unwrap();
    let [expression] = expressions.try_into().unwrap();
    expression
}

/// The expression is read from the golden bytes and written as exactly them.
#[track_caller]
pub(crate) fn same<'a>(expression: impl Into<Expr<'a>>, golden: &str) {
    let (expression, golden) = (expression.into(), bytes(golden));
    assert_eq!(decode(&golden), expression);
    assert_bytes(&encode(&expression), &golden);
}

/// As [`same`], but nft writes the attributes in another order, which means nothing to the kernel.
#[track_caller]
pub(crate) fn same_in_another_order<'a>(expression: impl Into<Expr<'a>>, golden: &str) {
    let (expression, golden) = (expression.into(), bytes(golden));
    assert_eq!(decode(&golden), expression);
    assert_bytes(&by_type(&encode(&expression)), &by_type(&golden));
}

/// The expression is read from what nft sends, and written as other bytes, which say the same.
#[track_caller]
pub(crate) fn different<'a>(expression: impl Into<Expr<'a>>, nft: &str, ours: &str) {
    let (expression, nft) = (expression.into(), bytes(nft));
    assert_eq!(decode(&nft), expression);
    same(expression, ours);
}

/// The only message of the batch that `fill` fills, headers included; its sequence number is 0.
pub(crate) fn message(fill: impl FnOnce(&mut Batch)) -> Vec<u8> {
    let [message] = messages(fill).try_into().unwrap();
    message
}

/// Every message that `fill` adds to a batch.
pub(crate) fn messages(fill: impl FnOnce(&mut Batch)) -> Vec<Vec<u8>> {
    let mut batch = Batch::new();
    fill(&mut batch);
    let mut messages = split(batch.as_bytes());
    messages.remove(0); // BATCH_BEGIN
    messages
}

/// The messages in these bytes, one by one.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let (message, rest) = bytes.split_at(u32::from_ne_bytes(*length) as usize);
        messages.push(message.to_vec());
        bytes = rest;
    }
    messages
}

/// What the message says, as the socket reads it.
pub(crate) fn read(message: &[u8]) -> Message<'_> {
    let header = Datagram(message).next().unwrap().unwrap();
    Message::decode(header.nlmsg_type, header.payload).unwrap()
}

/// Two messages that differ in nothing but the order of their attributes.
#[track_caller]
pub(crate) fn assert_same_message(ours: &[u8], golden: &[u8]) {
    let in_order = |message: &[u8]| [&message[..HEADERS], &by_type(&message[HEADERS..])].concat();
    assert_bytes(&in_order(ours), &in_order(golden));
}

/// The attributes, those inside others too, sorted by type; those of one type, such as a list's elements, stay in order.
fn by_type(attributes: &[u8]) -> Vec<u8> {
    let nested = |kind: u16| kind & netlink_packet_core::NLA_F_NESTED != 0;
    let mut sorted = Vec::new();
    let mut rest = attributes;
    while let Some(&[l0, l1, k0, k1]) = rest.first_chunk() {
        let (length, kind) = (u16::from_ne_bytes([l0, l1]), u16::from_ne_bytes([k0, k1]));
        let (attribute, after) = rest.split_at(usize::from(length).next_multiple_of(4));
        let value = if nested(kind) { by_type(&attribute[4..]) } else { attribute[4..].to_vec() };
        sorted.push((kind, [&attribute[..4], &value].concat()));
        rest = after;
    }
    sorted.sort_by_key(|(kind, _)| *kind);
    sorted.into_iter().flat_map(|(_, bytes)| bytes).collect()
}

/// Equal, or the two, four bytes a row.
#[track_caller]
pub(crate) fn assert_bytes(ours: &[u8], golden: &[u8]) {
    let rows = |bytes: &[u8]| bytes.chunks(4).map(|row| format!("{row:02x?}\n")).collect::<String>();
    assert!(ours == golden, "ours:\n{}golden:\n{}", rows(ours), rows(golden));
}

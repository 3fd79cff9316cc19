//! Which messages the kernel answers, asked without this crate's socket.

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nftwire::uapi;

use meshwire_testkit::in_new_namespace;

/// Sequence numbers of the batch's messages.
const BEGIN: u32 = 100;
const TABLE_AT: u32 = 101;
const END: u32 = 102;

const NEW_TABLE: u16 = u16::from_be_bytes([uapi::NFNL_SUBSYS_NFTABLES, uapi::NFT_MSG_NEWTABLE]);
/// linux/netfilter.h
const NFPROTO_INET: u8 = 1;

/// Kernels acknowledge a delimiter of the batch that asks for it from 6.10 on (commit bf2ac490d28c), both of them or
/// none; the object between them always. So the object is what the socket asks about.
#[test]
fn the_last_object_is_always_acknowledged() {
    in_new_namespace(|| {
        let at_both_ends = acknowledged(NLM_F_ACK, 0, NLM_F_ACK);
        assert!([&[][..], &[BEGIN, END]].contains(&at_both_ends.as_slice()), "{at_both_ends:?}");
        assert_eq!(acknowledged(0, NLM_F_ACK, 0), [TABLE_AT]);

        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut version = release.split('.').map_while(|part| part.parse::<u32>().ok());
        let version = (version.next().unwrap(), version.next().unwrap());
        assert_eq!(!at_both_ends.is_empty(), version >= (6, 10), "{release}");
    });
}

/// The sequence numbers that the kernel answers, without an error, to a batch whose three messages carry these flags.
fn acknowledged(begin: u16, table: u16, end: u16) -> Vec<u32> {
    let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).unwrap();
    socket.bind_auto().unwrap();
    socket.set_non_blocking(true).unwrap();
    // Four bytes of name and the end of it.
    let [length, kind] = [9, uapi::NFTA_TABLE_NAME].map(u16::to_ne_bytes);
    let name = [&length[..], &kind, b"mesh\0\0\0\0"].concat();
    let batch = [
        message(uapi::NFNL_MSG_BATCH_BEGIN, begin, BEGIN, &[]),
        message(NEW_TABLE, table, TABLE_AT, &name),
        message(uapi::NFNL_MSG_BATCH_END, end, END, &[]),
    ];
    socket.send(&batch.concat(), 0).unwrap();
    let mut answered = Vec::new();
    while let Ok((mut datagram, _)) = socket.recv_from_full() {
        // Each is a message of its own with NLMSG_ERROR's number and an errno: `struct nlmsghdr`, `struct nlmsgerr`.
        while !datagram.is_empty() {
            let word = |at: usize| u32::from_ne_bytes(datagram[at..at + 4].try_into().unwrap());
            let (length, sequence, errno) = (word(0), word(8), word(16));
            assert_eq!(errno, 0, "message {sequence}");
            answered.push(sequence);
            datagram.drain(..length.next_multiple_of(4) as usize);
        }
    }
    answered
}

/// A message of nf_tables: `struct nlmsghdr`, `struct nfgenmsg` (family inet for a table, the subsystem for a
/// delimiter), attributes.
fn message(kind: u16, flags: u16, sequence: u32, attributes: &[u8]) -> Vec<u8> {
    let is_delimiter = attributes.is_empty();
    let length = u32::try_from(20 + attributes.len()).unwrap();
    let family = if is_delimiter { 0 } else { NFPROTO_INET };
    let resource = if is_delimiter { u16::from(uapi::NFNL_SUBSYS_NFTABLES) } else { 0 };
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([family, 0]);
    message.extend(resource.to_be_bytes());
    message.extend(attributes);
    message
}

//! The kernel's reply to one message: `struct nlmsgerr` and its extended attributes
//! (`include/uapi/linux/netlink.h`, `enum nlmsgerr_attrs`).

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED};

use crate::message::{Header, NLMSG_HEADER};
use crate::{AttrReader, DecodeError};

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// What the kernel says of one message.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    /// The message's sequence number
    pub(crate) sequence: u32,
    /// 0 for success, otherwise the errno
    pub(crate) errno: i32,
    /// The kernel's own words
    pub(crate) text: Option<&'a str>,
    /// Bytes from the start of the message to the attribute that it is about
    pub(crate) offset: Option<usize>,
}

impl<'a> Reply<'a> {
    /// Reads a `NLMSG_ERROR` message.
    pub(crate) fn decode(header: &Header<'a>) -> Result<Self, DecodeError> {
        let (&code, rest) = header.payload.split_first_chunk().ok_or(DecodeError::MessageLength)?;
        let mut reply = Self {
            sequence: header.sequence,
            errno: i32::from_ne_bytes(code).saturating_neg(),
            text: None,
            offset: None,
        };
        if header.flags & NLM_F_ACK_TLVS != 0 {
            for attribute in AttrReader::new(behind_echo(header.flags, reply.errno, rest)?) {
                let attribute = attribute?;
                match attribute.kind {
                    NLMSGERR_ATTR_MSG => reply.text = attribute.str().ok(),
                    NLMSGERR_ATTR_OFFS => reply.offset = usize::try_from(attribute.ne32()?).ok(),
                    _ => {}
                }
            }
        }
        Ok(reply)
    }
}

/// What follows the refused message's header, or the message itself where the kernel returns it in full.
fn behind_echo(flags: u16, errno: i32, rest: &[u8]) -> Result<&[u8], DecodeError> {
    let (&length, _) = rest.split_first_chunk().ok_or(DecodeError::MessageLength)?;
    let echo = if flags & NLM_F_CAPPED != 0 || errno == 0 {
        NLMSG_HEADER
    } else {
        usize::try_from(u32::from_ne_bytes(length)).map_err(|_| DecodeError::MessageLength)?
    };
    rest.get(echo.next_multiple_of(4)..).ok_or(DecodeError::MessageLength)
}

// The bytes are Linux 6.18's, seen with `strace -e read=all` on a little-endian machine.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;
    use crate::message::Datagram;
    use crate::testing::bytes;

    /// Sequence number, errno, words and offset of the only reply.
    fn read(golden: &str) -> (u32, i32, Option<String>, Option<usize>) {
        let bytes = bytes(golden);
        let header = Datagram(&bytes).next().unwrap().unwrap();
        let reply = Reply::decode(&header).unwrap();
        (reply.sequence, reply.errno, reply.text.map(str::to_owned), reply.offset)
    }

    #[test]
    fn success() {
        let golden = "
            24000000 0200 0001 05000000 0d650000  00000000  # NLMSG_ERROR, NLM_F_CAPPED
            2c000000 030a 0504 05000000 00000000            # the header of the message
        ";
        assert_eq!(read(golden), (5, 0, None, None));
    }

    #[test]
    fn refusal_with_an_offset() {
        // A rule that refers to an unknown set.
        let golden = "
            2c000000 0200 0003 04000000 0d650000  feffffff  # NLMSG_ERROR, NLM_F_CAPPED, NLM_F_ACK_TLVS
            e4000000 060a 010c 04000000 00000000            # the header of the message
              0800 0200 88000000                            # NLMSGERR_ATTR_OFFS
        ";
        assert_eq!(read(golden), (4, 2, None, Some(0x88)));
    }

    #[test]
    fn refusal_with_words_and_an_offset() {
        // A chain whose name is too long; the kernel reports the policy that it broke as well.
        let golden = "
            68000000 0200 0003 04000000 0d650000  deffffff
            28010000 030a 0504 04000000 00000000
              2700 0100 417474726962757465206661696c656420706f6c6963792076616c69646174696f6e0000
              0800 0200 20000000
              1400 0480
                0800 0700 ff000000
                0800 0100 0b000000
        ";
        let text = Some("Attribute failed policy validation".to_owned());
        assert_eq!(read(golden), (4, 34, text, Some(0x20)));
    }

    #[test]
    fn refusal_that_repeats_the_message() {
        // The reply to: add rule inet t c jump nowhere; nft does not ask for capped replies.
        let golden = "
            80000000 0200 0002 04000000 45390000  feffffff  # NLMSG_ERROR, NLM_F_ACK_TLVS
            64000000 060a 010c 04000000 00000000  01000000  # the message
              0600 0100 74000000
              0600 0200 63000000
              4000 0480
                3c00 0180
                  0e00 0100 696d6d656469617465000000
                  2800 0280
                    0800 0100 00000000
                    1c00 0280
                      1800 0280
                        0800 0100 fffffffd
                        0c00 0200 6e6f776865726500
              0800 0200 28000000                            # NLMSGERR_ATTR_OFFS
        ";
        assert_eq!(read(golden), (4, 2, None, Some(0x28)));
    }

    #[test]
    fn attributes_after_an_unpadded_one() {
        // A refused message of 21 bytes, and a message that was not refused, of which the kernel returns the header alone.
        let refused = "
            34000000 0200 0002 04000000 00000000  feffffff
            15000000 060a 0100 04000000 00000000  01000000
              07000000
              0800 0200 14000000
        ";
        assert_eq!(read(refused), (4, 2, None, Some(0x14)));
        let success = "
            2c000000 0200 0002 04000000 00000000  00000000
            64000000 060a 0100 04000000 00000000
              0600 0100 78000000
        ";
        assert_eq!(read(success), (4, 0, Some("x".to_owned()), None));
    }

    #[test]
    fn lengths_that_do_not_fit() {
        for golden in [
            // No errno.
            "10000000 0200 0001 04000000 00000000",
            // The message that it repeats is longer than the reply.
            "24000000 0200 0002 04000000 00000000  feffffff
             64000000 060a 010c 04000000 00000000",
            // There should be a header before the attributes.
            "14000000 0200 0003 04000000 00000000  feffffff",
        ] {
            let bytes = bytes(golden);
            let header = Datagram(&bytes).next().unwrap().unwrap();
            let reply = Reply::decode(&header).map(|reply| reply.errno);
            assert_eq!(reply, Err(DecodeError::MessageLength), "{golden}");
        }
    }

    #[test]
    fn an_errno_beyond_all_bounds() {
        let golden = "14000000 0200 0000 04000000 00000000  00000080";
        assert_eq!(read(golden), (4, i32::MAX, None, None));
    }
}

//! The kernel's answer to one message: `struct nlmsgerr` and its extended attributes
//! (`include/uapi/linux/netlink.h`, `enum nlmsgerr_attrs`).

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED};

use crate::message::{Header, NLMSG_HEADER};
use crate::{AttrReader, DecodeError};

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// What the kernel says of one message.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// The message's sequence number
    pub(crate) sequence: u32,
    /// 0 for success, otherwise the errno
    pub(crate) errno: i32,
    /// The kernel's own words
    pub(crate) text: Option<&'a str>,
    /// Bytes from the start of the message to the attribute that it is about
    pub(crate) offset: Option<usize>,
}

impl<'a> Answer<'a> {
    /// Reads a `NLMSG_ERROR` message.
    pub(crate) fn decode(header: &Header<'a>) -> Result<Self, DecodeError> {
        let (&code, rest) = header.payload.split_first_chunk().ok_or(DecodeError::MessageLength)?;
        let mut answer = Self {
            sequence: header.sequence,
            errno: i32::from_ne_bytes(code).saturating_neg(),
            text: None,
            offset: None,
        };
        if header.flags & NLM_F_ACK_TLVS != 0 {
            for attribute in AttrReader::new(behind_echo(header.flags, answer.errno, rest)?) {
                let attribute = attribute?;
                match attribute.kind {
                    NLMSGERR_ATTR_MSG => answer.text = attribute.str().ok(),
                    NLMSGERR_ATTR_OFFS => answer.offset = usize::try_from(attribute.ne32()?).ok(),
                    _ => {}
                }
            }
        }
        Ok(answer)
    }
}

/// What stands behind the refused message's header, and behind the message itself where it is told in full.
fn behind_echo(flags: u16, errno: i32, rest: &[u8]) -> Result<&[u8], DecodeError> {
    let (&length, _) = rest.split_first_chunk().ok_or(DecodeError::MessageLength)?;
    let echo = if flags & NLM_F_CAPPED != 0 || errno == 0 {
        NLMSG_HEADER
    } else {
        usize::try_from(u32::from_ne_bytes(length)).map_err(|_| DecodeError::MessageLength)?
    };
    rest.get(echo.next_multiple_of(4)..).ok_or(DecodeError::MessageLength)
}

//! The expression `synproxy`: its fields, its attributes, and the bytes that nft sends for it.

use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// Answers a TCP SYN with a cookie, and opens the connection only once it came back.
///
/// `nft_synproxy_do_init` in net/netfilter/nft_synproxy.c (Linux 6.12) reads it; `nft_synproxy_validate` has the
/// families (ip, ip6 and inet) and the hooks (input and forward).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synproxy {
    /// The maximum segment size that is announced to the client
    pub mss: u16,
    /// The window scale that is announced to the client
    pub wscale: u8,
    /// `NF_SYNPROXY_OPT_*`: which options are announced to the client
    pub flags: u32,
}

impl Synproxy {
    pub(crate) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be16(uapi::NFTA_SYNPROXY_MSS, self.mss);
        writer.put_u8(uapi::NFTA_SYNPROXY_WSCALE, self.wscale);
        writer.put_be32(uapi::NFTA_SYNPROXY_FLAGS, self.flags);
    }

    pub(crate) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let mut expression = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_SYNPROXY_MSS => expression.mss = attribute.be16()?,
                uapi::NFTA_SYNPROXY_WSCALE => expression.wscale = attribute.u8()?,
                uapi::NFTA_SYNPROXY_FLAGS => expression.flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(expression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn options() {
        // synproxy mss 1460 wscale 7 timestamp sack-perm
        // [ synproxy mss 1460 wscale 7 ]
        let nft = "
            3000 0180                            # element
              0d00 0100 73796e70726f787900000000 # name \"synproxy\"
              1c00 0280                          # data synproxy
                0600 0100 05b40000               # mss
                0500 0200 07000000               # wscale
                0800 0300 0000000f               # flags
        ";
        same(Synproxy { mss: 1460, wscale: 7, flags: 0xf }, nft);
    }
}

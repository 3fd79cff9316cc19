//! The expression `xfrm`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// What of an IPsec state is read (`enum nft_xfrm_keys`).
    XfrmKey: u32 {
        /// The IPv4 destination address of the tunnel
        DaddrIp4 = 1,
        /// The IPv6 destination address of the tunnel
        DaddrIp6 = 2,
        /// The IPv4 source address of the tunnel
        SaddrIp4 = 3,
        /// The IPv6 source address of the tunnel
        SaddrIp6 = 4,
        /// The request id, in host order; four bytes
        ReqId = 5,
        /// The security parameter index, in network order; four bytes
        Spi = 6,
    }
}

/// Reads from the IPsec state through which the packet came or leaves (from 4.20 on).
///
/// `nft_xfrm_get_init` in net/netfilter/nft_xfrm.c (Linux 6.12) reads it; `nft_xfrm_state_get_key` has the byte
/// orders, `nft_xfrm_validate` the families (ip, ip6 and inet) and the hooks: prerouting, input and forward for in;
/// forward, output and postrouting for out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xfrm {
    /// What
    pub key: XfrmKey,
    /// Which way: 0 in (`XFRM_POLICY_IN`), 1 out (`XFRM_POLICY_OUT`)
    pub direction: u8,
    /// Which of the states, from 0; below `XFRM_MAX_DEPTH` (ERANGE)
    pub number: u32,
    /// Where it goes
    pub dreg: Register,
}

impl Xfrm {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_XFRM_KEY, self.key.number());
        writer.put_u8(uapi::NFTA_XFRM_DIR, self.direction);
        writer.put_be32(uapi::NFTA_XFRM_SPNUM, self.number);
        writer.put_be32(uapi::NFTA_XFRM_DREG, self.dreg.number());
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut key, mut direction, mut number, mut dreg) = (None, None, 0, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_XFRM_KEY => key = Some(XfrmKey::from_number(attribute.be32()?)),
                uapi::NFTA_XFRM_DIR => direction = Some(attribute.u8()?),
                uapi::NFTA_XFRM_SPNUM => number = attribute.be32()?,
                uapi::NFTA_XFRM_DREG => dreg = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self {
            key: required(key, uapi::NFTA_XFRM_KEY)?,
            direction: required(direction, uapi::NFTA_XFRM_DIR)?,
            number,
            dreg: required(dreg, uapi::NFTA_XFRM_DREG)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn request_id() {
        // ipsec in reqid 1
        // [ xfrm load in 0 reqid => reg 1 ]
        let nft = "
            3400 0180                    # element
              0900 0100 7866726d00000000 # name \"xfrm\"
              2400 0280                  # data xfrm
                0800 0200 00000005       # key
                0500 0300 00000000       # dir
                0800 0400 00000000       # spnum
                0800 0100 00000001       # dreg
        ";
        let expression = Xfrm { key: XfrmKey::ReqId, direction: 0, number: 0, dreg: Register::R1 };
        same(expression, nft);
    }

    #[test]
    fn source_address() {
        // ipsec out spnum 1 ip saddr 10.0.0.1
        // [ xfrm load out 1 saddr4 => reg 1 ]
        let nft = "
            3400 0180                    # element
              0900 0100 7866726d00000000 # name \"xfrm\"
              2400 0280                  # data xfrm
                0800 0200 00000003       # key
                0500 0300 01000000       # dir
                0800 0400 00000001       # spnum
                0800 0100 00000001       # dreg
        ";
        let expression = Xfrm { key: XfrmKey::SaddrIp4, direction: 1, number: 1, dreg: Register::R1 };
        same(expression, nft);
    }
}

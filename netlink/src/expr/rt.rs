//! The expression `rt`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// What of the packet's route is read (`enum nft_rt_keys`). Numbers are in host order unless noted.
    RtKey: u32 {
        /// The realm
        ClassId = 0,
        /// The IPv4 address of the next hop
        NextHop4 = 1,
        /// The IPv6 address of the next hop
        NextHop6 = 2,
        /// The TCP maximum segment size; two bytes
        TcpMss = 3,
        /// Whether IPsec will transform it; one byte
        Xfrm = 4,
    }
}

/// Reads from the packet's route.
///
/// `nft_rt_get_init` in net/netfilter/nft_rt.c (Linux 6.12) reads it and has the lengths. `nft_rt_validate` has the
/// families (ip, ip6 and inet), and for [`RtKey::TcpMss`] the hooks (forward, output and postrouting).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rt {
    /// What
    pub key: RtKey,
    /// Where it goes
    pub dreg: Register,
}

impl Rt {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_RT_KEY, self.key.number());
        writer.put_be32(uapi::NFTA_RT_DREG, self.dreg.number());
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut key, mut dreg) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_RT_KEY => key = Some(RtKey::from_number(attribute.be32()?)),
                uapi::NFTA_RT_DREG => dreg = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self { key: required(key, uapi::NFTA_RT_KEY)?, dreg: required(dreg, uapi::NFTA_RT_DREG)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn realm() {
        // rt classid 1
        // [ rt load classid => reg 1 ]
        let nft = "
            2000 0180              # element
              0700 0100 72740000   # name \"rt\"
              1400 0280            # data rt
                0800 0200 00000000 # key
                0800 0100 00000001 # dreg
        ";
        same(Rt { key: RtKey::ClassId, dreg: Register::R1 }, nft);
    }

    #[test]
    fn next_hop() {
        // rt ip nexthop 10.0.0.1
        // [ rt load nexthop4 => reg 1 ]
        let nft = "
            2000 0180              # element
              0700 0100 72740000   # name \"rt\"
              1400 0280            # data rt
                0800 0200 00000001 # key
                0800 0100 00000001 # dreg
        ";
        same(Rt { key: RtKey::NextHop4, dreg: Register::R1 }, nft);
    }

    #[test]
    fn segment_size() {
        // tcp option maxseg size set rt mtu
        // [ rt load tcpmss => reg 1 ]
        let nft = "
            2000 0180              # element
              0700 0100 72740000   # name \"rt\"
              1400 0280            # data rt
                0800 0200 00000003 # key
                0800 0100 00000001 # dreg
        ";
        same(Rt { key: RtKey::TcpMss, dreg: Register::R1 }, nft);
    }

    #[test]
    fn ipsec() {
        // rt ipsec exists
        // [ rt load ipsec => reg 1 ]
        let nft = "
            2000 0180              # element
              0700 0100 72740000   # name \"rt\"
              1400 0280            # data rt
                0800 0200 00000004 # key
                0800 0100 00000001 # dreg
        ";
        same(Rt { key: RtKey::Xfrm, dreg: Register::R1 }, nft);
    }
}

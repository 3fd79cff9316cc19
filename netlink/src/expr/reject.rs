//! The expression `reject`: its fields, its attributes, and the bytes that nft sends for it.

use super::required;
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

kernel_number! {
    /// What a [`Reject`] answers (`enum nft_reject_types`).
    RejectKind: u32 {
        /// ICMP or ICMPv6 destination unreachable, with the code of the packet's own family
        IcmpUnreachable = 0,
        /// A TCP reset
        TcpReset = 1,
        /// ICMP or ICMPv6 destination unreachable, with a code that suits both (`enum nft_reject_inet_code`)
        IcmpxUnreachable = 2,
    }
}

/// Drops the packet and notifies its sender.
///
/// `nft_reject_init` in net/netfilter/nft_reject.c (Linux 6.12) reads it. Hooks: prerouting, input, forward and output
/// in ip and ip6 (`nft_reject_validate`), in inet ingress as well (`nft_reject_inet_validate` in
/// net/netfilter/nft_reject_inet.c), in netdev ingress (`nft_reject_netdev_validate` in
/// net/netfilter/nft_reject_netdev.c), in bridge prerouting and input (`nft_reject_bridge_validate` in
/// net/bridge/netfilter/nft_reject_bridge.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What is answered
    pub kind: RejectKind,
    /// The code; the kernel reports none for a reset (`nft_reject_dump`)
    pub code: Option<u8>,
}

impl Reject {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_REJECT_TYPE, self.kind.number());
        if let Some(code) = self.code {
            writer.put_u8(uapi::NFTA_REJECT_ICMP_CODE, code);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut kind, mut code) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_REJECT_TYPE => kind = Some(RejectKind::from_number(attribute.be32()?)),
                uapi::NFTA_REJECT_ICMP_CODE => code = Some(attribute.u8()?),
                _ => {}
            }
        }
        Ok(Self { kind: required(kind, uapi::NFTA_REJECT_TYPE)?, code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn unreachable() {
        // reject
        // [ reject type 0 code 3 ]
        let nft = "
            2400 0180                    # element
              0b00 0100 72656a6563740000 # name \"reject\"
              1400 0280                  # data reject
                0800 0100 00000000       # type
                0500 0200 03000000       # icmp_code
        ";
        same(Reject { kind: RejectKind::IcmpUnreachable, code: Some(3) }, nft);
    }

    #[test]
    fn reset() {
        // reject with tcp reset
        // [ reject type 1 code 0 ]
        let nft = "
            2400 0180                    # element
              0b00 0100 72656a6563740000 # name \"reject\"
              1400 0280                  # data reject
                0800 0100 00000001       # type
                0500 0200 00000000       # icmp_code
        ";
        same(Reject { kind: RejectKind::TcpReset, code: Some(0) }, nft);
    }

    #[test]
    fn unreachable_of_both_families() {
        // reject with icmpx admin-prohibited
        // [ reject type 2 code 3 ]
        let nft = "
            2400 0180                    # element
              0b00 0100 72656a6563740000 # name \"reject\"
              1400 0280                  # data reject
                0800 0100 00000002       # type
                0500 0200 03000000       # icmp_code
        ";
        same(Reject { kind: RejectKind::IcmpxUnreachable, code: Some(3) }, nft);
    }
}

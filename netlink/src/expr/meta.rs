//! The expression `meta`: its fields, its attributes, and the bytes that nft sends for it.

use super::{Access, register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

kernel_number! {
    /// What is read or set besides the packet's bytes (`enum nft_meta_keys`). Numbers are in host order unless noted.
    ///
    /// Lengths and byte orders: `nft_meta_get_init` and `nft_meta_get_eval` in net/netfilter/nft_meta.c (Linux 6.12),
    /// and for bridges `nft_meta_bridge_get_init` in net/bridge/netfilter/nft_meta_bridge.c; what can be set:
    /// `nft_meta_set_init`.
    MetaKey: u32 {
        /// The packet's length
        Len = 0,
        /// The ethernet protocol, in network order; two bytes
        Protocol = 1,
        /// The traffic class; can be set
        Priority = 2,
        /// The packet's mark; can be set
        Mark = 3,
        /// The input device's index
        Iif = 4,
        /// The output device's index
        Oif = 5,
        /// The input device's name, padded with NUL; 16 bytes
        IifName = 6,
        /// The output device's name, padded with NUL; 16 bytes
        OifName = 7,
        /// The input device's hardware type; two bytes. Linux 6.12.117 takes the device that the packet is at
        /// (`skb->dev` in `nft_meta_get_eval_ifname`)
        IifType = 8,
        /// The output device's hardware type; two bytes
        OifType = 9,
        /// The uid of the socket's owner, in the user namespace that owns the network namespace
        SkUid = 10,
        /// The gid of the socket's owner, in the user namespace that owns the network namespace
        SkGid = 11,
        /// Whether the packet is traced; one byte; can be set
        NfTrace = 12,
        /// The route's realm
        RtClassId = 13,
        /// The security mark; can be set
        SecMark = 14,
        /// The family (`NFPROTO_*`); one byte
        NfProto = 15,
        /// The transport protocol (`IPPROTO_*`); one byte
        L4Proto = 16,
        /// The input bridge's name
        BriIifName = 17,
        /// The output bridge's name
        BriOifName = 18,
        /// To whom the packet is (`PACKET_*`); one byte; can be set, only at prerouting or netdev's ingress
        /// (`nft_meta_set_validate`)
        PktType = 19,
        /// The number of the processor
        Cpu = 20,
        /// The input device's group
        IifGroup = 21,
        /// The output device's group
        OifGroup = 22,
        /// The net_cls control group
        Cgroup = 23,
        /// A random number
        Prandom = 24,
        /// Whether IPsec brought it; one byte. Only at netdev's ingress, or at prerouting, input and forward of ip,
        /// ip6 and inet (`nft_meta_get_validate_xfrm`)
        SecPath = 25,
        /// The input device's kind, such as `veth`; 16 bytes
        IifKind = 26,
        /// The output device's kind; 16 bytes
        OifKind = 27,
        /// The VLAN of the input port; two bytes
        BriIifPvid = 28,
        /// The VLAN protocol of the input bridge, in network order; two bytes
        BriIifVproto = 29,
        /// Nanoseconds since the epoch; eight bytes
        TimeNs = 30,
        /// The day of the week, 0 for Sunday, in the kernel's time zone (`nft_meta_weekday`); one byte
        TimeDay = 31,
        /// Seconds since midnight UTC (`nft_meta_hour`)
        TimeHour = 32,
        /// The index of the device of an l3mdev. Only at input and forward (`nft_meta_get_validate_sdif`)
        Sdif = 33,
        /// The name of the device of an l3mdev; 16 bytes. Only at input and forward
        SdifName = 34,
    }
}

/// Reads or sets what the kernel keeps besides the packet's bytes.
///
/// `nft_meta_get_init` and `nft_meta_set_init` in net/netfilter/nft_meta.c (Linux 6.12) read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What
    pub key: MetaKey,
    /// Read or set
    pub access: Access,
}

impl Meta {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        let (kind, register) = match self.access {
            Access::Load(dreg) => (uapi::NFTA_META_DREG, dreg),
            Access::Store(sreg) => (uapi::NFTA_META_SREG, sreg),
        };
        writer.put_be32s([(uapi::NFTA_META_KEY, self.key.number()), (kind, register.number())]);
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut key, mut access) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_META_KEY => key = Some(MetaKey::from_number(attribute.be32()?)),
                uapi::NFTA_META_DREG => access = Some(Access::Load(register(attribute)?)),
                uapi::NFTA_META_SREG => access = Some(Access::Store(register(attribute)?)),
                _ => {}
            }
        }
        Ok(Self { key: required(key, uapi::NFTA_META_KEY)?, access: required(access, uapi::NFTA_META_DREG)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Register;
    use crate::testing::same;

    #[test]
    fn load() {
        let load = |key| Meta { key, access: Access::Load(Register::R1) };
        // meta l4proto tcp
        // [ meta load l4proto => reg 1 ]
        let protocol = "
            2400 0180                    # element
              0900 0100 6d65746100000000 # name \"meta\"
              1400 0280                  # data meta
                0800 0200 00000010       # key
                0800 0100 00000001       # dreg
        ";
        same(load(MetaKey::L4Proto), protocol);
        // meta skuid 1337
        // [ meta load skuid => reg 1 ]
        let uid = "
            2400 0180                    # element
              0900 0100 6d65746100000000 # name \"meta\"
              1400 0280                  # data meta
                0800 0200 0000000a       # key
                0800 0100 00000001       # dreg
        ";
        same(load(MetaKey::SkUid), uid);
        // oifname != "eth0"
        // [ meta load oifname => reg 1 ]
        let device = "
            2400 0180                    # element
              0900 0100 6d65746100000000 # name \"meta\"
              1400 0280                  # data meta
                0800 0200 00000007       # key
                0800 0100 00000001       # dreg
        ";
        same(load(MetaKey::OifName), device);
    }

    #[test]
    fn store() {
        let store = |key| Meta { key, access: Access::Store(Register::R1) };
        // meta mark set 0x539
        // [ meta set mark with reg 1 ]
        let mark = "
            2400 0180                    # element
              0900 0100 6d65746100000000 # name \"meta\"
              1400 0280                  # data meta
                0800 0200 00000003       # key
                0800 0300 00000001       # sreg
        ";
        same(store(MetaKey::Mark), mark);
        // meta nftrace set 1
        // [ meta set nftrace with reg 1 ]
        let trace = "
            2400 0180                    # element
              0900 0100 6d65746100000000 # name \"meta\"
              1400 0280                  # data meta
                0800 0200 0000000c       # key
                0800 0300 00000001       # sreg
        ";
        same(store(MetaKey::NfTrace), trace);
    }
}

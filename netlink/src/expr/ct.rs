//! The expression `ct`: its fields, its attributes, and the bytes that nft sends for it.

use super::{Access, register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

kernel_number! {
    /// What of a connection is read or set (`enum nft_ct_keys`). Numbers are in host order unless noted.
    ///
    /// Lengths and byte orders: `nft_ct_get_init` and `nft_ct_get_eval` in net/netfilter/nft_ct.c (Linux 6.12); what
    /// can be set: `nft_ct_set_init`.
    CtKey: u32 {
        /// A bit of `enum ip_conntrack_info`, as in [`CtKey`]'s state constants
        State = 0,
        /// 0 original, 1 reply; one byte
        Direction = 1,
        /// Bits of `enum ip_conntrack_status`
        Status = 2,
        /// The connection's mark; can be set
        Mark = 3,
        /// The security mark; can be set
        Secmark = 4,
        /// Milliseconds until it expires
        Expiration = 5,
        /// The helper's name, of the connection that expected this one; 16 bytes
        Helper = 6,
        /// The network protocol's family; one byte
        L3Protocol = 7,
        /// The source address
        Src = 8,
        /// The destination address
        Dst = 9,
        /// The transport protocol; one byte
        Protocol = 10,
        /// The source port, in network order; two bytes
        ProtoSrc = 11,
        /// The destination port, in network order; two bytes
        ProtoDst = 12,
        /// 128 label bits; can be set
        Labels = 13,
        /// Packets; eight bytes
        Pkts = 14,
        /// Bytes; eight bytes
        Bytes = 15,
        /// Bytes a packet; eight bytes
        Avgpkt = 16,
        /// The zone; two bytes; can be set, before the connection is looked up
        Zone = 17,
        /// Which events are reported; can be set
        EventMask = 18,
        /// The IPv4 source address
        SrcIp = 19,
        /// The IPv4 destination address
        DstIp = 20,
        /// The IPv6 source address
        SrcIp6 = 21,
        /// The IPv6 destination address
        DstIp6 = 22,
        /// An identifier
        Id = 23,
    }
}

impl CtKey {
    /// `ct state invalid`
    pub const STATE_INVALID: u32 = 1;
    /// `ct state established`
    pub const STATE_ESTABLISHED: u32 = 2;
    /// `ct state related`
    pub const STATE_RELATED: u32 = 4;
    /// `ct state new`
    pub const STATE_NEW: u32 = 8;
    /// `ct state untracked`
    pub const STATE_UNTRACKED: u32 = 64;
}

/// Reads or sets what the kernel knows of the packet's connection.
///
/// `nft_ct_get_init` and `nft_ct_set_init` in net/netfilter/nft_ct.c (Linux 6.12) read it. They also decide which keys
/// need a direction (addresses and ports), may have one (counters, protocols, the zone) or must not (EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ct {
    /// What
    pub key: CtKey,
    /// Of which direction: 0 original, 1 reply, where the key has one for each
    pub direction: Option<u8>,
    /// Read or set
    pub access: Access,
}

impl Ct {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_CT_KEY, self.key.number());
        match self.access {
            Access::Load(dreg) => writer.put_be32(uapi::NFTA_CT_DREG, dreg.number()),
            Access::Store(sreg) => writer.put_be32(uapi::NFTA_CT_SREG, sreg.number()),
        }
        if let Some(direction) = self.direction {
            writer.put_u8(uapi::NFTA_CT_DIRECTION, direction);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut key, mut direction, mut access) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CT_KEY => key = Some(CtKey::from_number(attribute.be32()?)),
                uapi::NFTA_CT_DIRECTION => direction = Some(attribute.u8()?),
                uapi::NFTA_CT_DREG => access = Some(Access::Load(register(attribute)?)),
                uapi::NFTA_CT_SREG => access = Some(Access::Store(register(attribute)?)),
                _ => {}
            }
        }
        Ok(Self {
            key: required(key, uapi::NFTA_CT_KEY)?,
            direction,
            access: required(access, uapi::NFTA_CT_DREG)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Register;
    use crate::testing::same;

    fn load(key: CtKey, direction: Option<u8>) -> Ct {
        Ct { key, direction, access: Access::Load(Register::R1) }
    }

    #[test]
    fn load_the_state() {
        // ct state invalid
        // [ ct load state => reg 1 ]
        let nft = "
            2000 0180              # element
              0700 0100 63740000   # name
              1400 0280            # data ct
                0800 0200 00000000 # key
                0800 0100 00000001 # dreg
        ";
        same(load(CtKey::State, None), nft);
    }

    #[test]
    fn load_the_mark() {
        // meta mark set ct mark << 8
        // [ ct load mark => reg 1 ]
        let nft = "
            2000 0180              # element
              0700 0100 63740000   # name
              1400 0280            # data ct
                0800 0200 00000003 # key
                0800 0100 00000001 # dreg
        ";
        same(load(CtKey::Mark, None), nft);
    }

    #[test]
    fn load_of_a_direction() {
        // ct original ip saddr 1.2.3.4
        // [ ct load src_ip => reg 1 , dir original ]
        let original = "
            2800 0180              # element
              0700 0100 63740000   # name
              1c00 0280            # data ct
                0800 0200 00000013 # key
                0800 0100 00000001 # dreg
                0500 0300 00000000 # direction
        ";
        same(load(CtKey::SrcIp, Some(0)), original);
        // ct reply proto-dst 80
        // [ ct load proto_dst => reg 1 , dir reply ]
        let reply = "
            2800 0180              # element
              0700 0100 63740000   # name
              1c00 0280            # data ct
                0800 0200 0000000c # key
                0800 0100 00000001 # dreg
                0500 0300 01000000 # direction
        ";
        same(load(CtKey::ProtoDst, Some(1)), reply);
    }

    #[test]
    fn store() {
        let store = |key| Ct { key, direction: None, access: Access::Store(Register::R1) };
        // ct mark set meta mark
        // [ ct set mark with reg 1 ]
        let mark = "
            2000 0180              # element
              0700 0100 63740000   # name
              1400 0280            # data ct
                0800 0200 00000003 # key
                0800 0400 00000001 # sreg
        ";
        same(store(CtKey::Mark), mark);
        // ct zone set 1
        // [ ct set zone with reg 1 ]
        let zone = "
            2000 0180              # element
              0700 0100 63740000   # name
              1400 0280            # data ct
                0800 0200 00000011 # key
                0800 0400 00000001 # sreg
        ";
        same(store(CtKey::Zone), zone);
    }
}

use super::{Access, kernel_number, register, required};
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

kernel_number! {
    /// What of a connection is read or set (`enum nft_ct_keys`). Numbers are in host order unless noted.
    CtKey {
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
        /// The helper's name, 16 bytes
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

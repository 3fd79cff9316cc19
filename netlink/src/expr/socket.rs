use super::{kernel_number, register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// What of the socket that a packet belongs to is read (`enum nft_socket_keys`).
    SocketKey {
        /// Whether it is transparent; one byte
        Transparent = 0,
        /// Its mark, in host order; four bytes
        Mark = 1,
        /// Whether it is bound to no address (from 5.11 on); one byte
        Wildcard = 2,
        /// The id of its control group at a level of the tree (from 5.13 on); eight bytes
        CgroupV2 = 3,
    }
}

/// Reads from the socket that the packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What
    pub key: SocketKey,
    /// The depth in the tree of control groups, with [`SocketKey::CgroupV2`]
    pub level: Option<u32>,
    /// Where it goes
    pub dreg: Register,
}

impl Socket {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_SOCKET_KEY, self.key.number());
        writer.put_be32(uapi::NFTA_SOCKET_DREG, self.dreg.number());
        if let Some(level) = self.level {
            writer.put_be32(uapi::NFTA_SOCKET_LEVEL, level);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut key, mut level, mut dreg) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_SOCKET_KEY => key = Some(SocketKey::from_number(attribute.be32()?)),
                uapi::NFTA_SOCKET_LEVEL => level = Some(attribute.be32()?),
                uapi::NFTA_SOCKET_DREG => dreg = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self {
            key: required(key, uapi::NFTA_SOCKET_KEY)?,
            level,
            dreg: required(dreg, uapi::NFTA_SOCKET_DREG)?,
        })
    }
}

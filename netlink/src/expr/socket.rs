//! The expression `socket`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// What of the socket that a packet belongs to is read (`enum nft_socket_keys`).
    SocketKey: u32 {
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
///
/// `nft_socket_init` in net/netfilter/nft_socket.c (Linux 6.12) reads it and has the lengths; `nft_socket_validate`
/// has the families (ip, ip6 and inet) and the hooks (prerouting, input and output).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What
    pub key: SocketKey,
    /// The depth in the tree of control groups, with [`SocketKey::CgroupV2`]: up to 255, from the root that the sender
    /// sees (`nft_socket_cgroup_subtree_level`)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    fn load(key: SocketKey, level: Option<u32>) -> Socket {
        Socket { key, level, dreg: Register::R1 }
    }

    #[test]
    fn keys() {
        // nft sends level 0 where the key has none; so does `Some(0)`, and `None` omits it, as the kernel's dump does.
        // socket transparent 1
        // [ socket load transparent => reg 1 ]
        let transparent = "
            2c00 0180                    # element
              0b00 0100 736f636b65740000 # name \"socket\"
              1c00 0280                  # data socket
                0800 0100 00000000       # key
                0800 0200 00000001       # dreg
                0800 0300 00000000       # level
        ";
        same(load(SocketKey::Transparent, Some(0)), transparent);
        // socket wildcard 0
        // [ socket load wildcard => reg 1 ]
        let wildcard = "
            2c00 0180                    # element
              0b00 0100 736f636b65740000 # name \"socket\"
              1c00 0280                  # data socket
                0800 0100 00000002       # key
                0800 0200 00000001       # dreg
                0800 0300 00000000       # level
        ";
        same(load(SocketKey::Wildcard, Some(0)), wildcard);
        // socket mark 0x1
        // [ socket load mark => reg 1 ]
        let mark = "
            2c00 0180                    # element
              0b00 0100 736f636b65740000 # name \"socket\"
              1c00 0280                  # data socket
                0800 0100 00000001       # key
                0800 0200 00000001       # dreg
                0800 0300 00000000       # level
        ";
        same(load(SocketKey::Mark, Some(0)), mark);
    }

    #[test]
    fn without_a_level() {
        let as_dumped = "
            2400 0180                     # element
              0b00 0100 736f636b65740000  # name
              1400 0280                   # data socket
                0800 0100 00000000        # key
                0800 0200 00000001        # dreg
        ";
        same(load(SocketKey::Transparent, None), as_dumped);
    }

    #[test]
    fn control_group() {
        // socket cgroupv2 level 1 "mesh"
        // [ socket load cgroupv2 => reg 1 ]
        let nft = "
            2c00 0180                    # element
              0b00 0100 736f636b65740000 # name \"socket\"
              1c00 0280                  # data socket
                0800 0100 00000003       # key
                0800 0200 00000001       # dreg
                0800 0300 00000001       # level
        ";
        same(load(SocketKey::CgroupV2, Some(1)), nft);
    }
}

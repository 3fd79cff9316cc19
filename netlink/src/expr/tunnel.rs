//! The expression `tunnel`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// What of the packet's tunnel is read (`enum nft_tunnel_keys`).
    TunnelKey: u32 {
        /// Whether it came or goes through one; one byte
        Path = 0,
        /// The tunnel's id, in host order; four bytes
        Id = 1,
    }
}

kernel_number! {
    /// Which way a [`Tunnel`] looks (`enum nft_tunnel_mode`).
    TunnelMode: u32 {
        /// Both
        None = 0,
        /// At packets that came through a tunnel
        Receive = 1,
        /// At packets that go through a tunnel
        Transmit = 2,
    }
}

/// Reads what the kernel knows of the tunnel through which the packet came or leaves (from 4.19 on).
///
/// `nft_tunnel_get_init` in net/netfilter/nft_tunnel.c (Linux 6.12) reads it and has the lengths; without a mode it
/// looks both ways. `nft_tunnel_get_eval` ends the rule where there is no tunnel whose id could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What
    pub key: TunnelKey,
    /// Which way
    pub mode: Option<TunnelMode>,
    /// Where it goes
    pub dreg: Register,
}

impl Tunnel {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_TUNNEL_KEY, self.key.number());
        writer.put_be32(uapi::NFTA_TUNNEL_DREG, self.dreg.number());
        if let Some(mode) = self.mode {
            writer.put_be32(uapi::NFTA_TUNNEL_MODE, mode.number());
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut key, mut mode, mut dreg) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TUNNEL_KEY => key = Some(TunnelKey::from_number(attribute.be32()?)),
                uapi::NFTA_TUNNEL_MODE => mode = Some(TunnelMode::from_number(attribute.be32()?)),
                uapi::NFTA_TUNNEL_DREG => dreg = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self {
            key: required(key, uapi::NFTA_TUNNEL_KEY)?,
            mode,
            dreg: required(dreg, uapi::NFTA_TUNNEL_DREG)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn id() {
        // nft 1.0.6 has no expression for it: these bytes are those of the kernel's header.
        let ours = "
            2c00 0180                    # element
              0b00 0100 74756e6e656c0000 # name
              1c00 0280                  # data tunnel
                0800 0100 00000001       # key
                0800 0200 00000001       # dreg
                0800 0300 00000001       # mode
        ";
        let mode = Some(TunnelMode::Receive);
        same(Tunnel { key: TunnelKey::Id, mode, dreg: Register::R1 }, ours);
    }
}

//! The expression `osf`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

/// Guesses the operating system from a TCP SYN and puts its name into a register, padded with NUL; 16 bytes.
///
/// `nft_osf_init` in net/netfilter/nft_osf.c (Linux 6.12) reads it; `nft_osf_validate` has the families (ip and inet)
/// and the hooks (prerouting, input and forward). `nft_osf_eval` looks at IPv4 alone and says `unknown` where nothing
/// fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Osf {
    /// Where it goes
    pub dreg: Register,
    /// How the TTL counts: 0 true, 1 no more than the fingerprint's, 2 not at all (`nf_osf_ttl` in
    /// net/netfilter/nfnetlink_osf.c)
    pub ttl: u8,
    /// `NFT_OSF_F_VERSION`: with the version
    pub flags: u32,
}

impl Osf {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_OSF_DREG, self.dreg.number());
        writer.put_u8(uapi::NFTA_OSF_TTL, self.ttl);
        if self.flags != 0 {
            writer.put_be32(uapi::NFTA_OSF_FLAGS, self.flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut dreg, mut ttl, mut flags) = (None, 0, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_OSF_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_OSF_TTL => ttl = attribute.u8()?,
                uapi::NFTA_OSF_FLAGS => flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(Self { dreg: required(dreg, uapi::NFTA_OSF_DREG)?, ttl, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn name() {
        // osf name "Linux"
        // [ osf dreg 1 ]
        let nft = "
            2000 0180              # element
              0800 0100 6f736600   # name \"osf\"
              1400 0280            # data osf
                0800 0100 00000001 # dreg
                0500 0200 00000000 # ttl
        ";
        same(Osf { dreg: Register::R1, ttl: 0, flags: 0 }, nft);
    }

    #[test]
    fn version() {
        // osf ttl skip version "Linux:4.20"
        // [ osf dreg 1 ]
        let nft = "
            2800 0180              # element
              0800 0100 6f736600   # name \"osf\"
              1c00 0280            # data osf
                0800 0100 00000001 # dreg
                0500 0200 02000000 # ttl
                0800 0300 00000001 # flags
        ";
        same(Osf { dreg: Register::R1, ttl: 2, flags: 1 }, nft);
    }
}

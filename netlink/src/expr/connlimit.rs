//! The expression `connlimit`: its fields, its attributes, and the bytes that nft sends for it.

use super::required;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// Continues with the rule while there are at most `count` connections, or, `inverted`, when there are more.
///
/// `nft_connlimit_do_init` in net/netfilter/nft_connlimit.c (Linux 6.12) reads it, and `nft_connlimit_do_eval`
/// compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connlimit {
    /// How many connections
    pub count: u32,
    /// `NFT_CONNLIMIT_F_INV`: `ct count over`
    pub inverted: bool,
}

impl Connlimit {
    pub(crate) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_CONNLIMIT_COUNT, self.count);
        let flags = if self.inverted { uapi::NFT_CONNLIMIT_F_INV } else { 0 };
        writer.put_be32(uapi::NFTA_CONNLIMIT_FLAGS, flags);
    }

    pub(crate) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut count, mut flags) = (None, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CONNLIMIT_COUNT => count = Some(attribute.be32()?),
                uapi::NFTA_CONNLIMIT_FLAGS => flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(Self {
            count: required(count, uapi::NFTA_CONNLIMIT_COUNT)?,
            inverted: flags & uapi::NFT_CONNLIMIT_F_INV != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn over() {
        // ct count over 5
        // [ connlimit count 5 flags 1 ]
        let nft = "
            2800 0180                            # element
              0e00 0100 636f6e6e6c696d6974000000 # name \"connlimit\"
              1400 0280                          # data connlimit
                0800 0100 00000005               # count
                0800 0200 00000001               # flags
        ";
        same(Connlimit { count: 5, inverted: true }, nft);
    }

    #[test]
    fn up_to() {
        // ct count 7
        // [ connlimit count 7 flags 0 ]
        let nft = "
            2800 0180                            # element
              0e00 0100 636f6e6e6c696d6974000000 # name \"connlimit\"
              1400 0280                          # data connlimit
                0800 0100 00000007               # count
                0800 0200 00000000               # flags
        ";
        same(Connlimit { count: 7, inverted: false }, nft);
    }
}

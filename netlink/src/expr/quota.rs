//! The expression `quota`: its fields, its attributes, and the bytes that nft sends for it.

use super::required;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// Continues with the rule until `bytes` bytes have passed, or, with `NFT_QUOTA_F_INV`, from then on.
///
/// `nft_quota_do_init` in net/netfilter/nft_quota.c (Linux 6.12) reads it: `bytes` below 2^63 (EOVERFLOW).
/// `nft_overquota` counts the packet at hand, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many bytes
    pub bytes: u64,
    /// `NFT_QUOTA_F_*`. `NFT_QUOTA_F_DEPLETED` is only in dumps (`nft_quota_do_dump`): the kernel would refuse it (EINVAL),
    /// so it is not sent
    pub flags: u32,
    /// Bytes so far
    pub consumed: u64,
}

impl Quota {
    pub(crate) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be64(uapi::NFTA_QUOTA_BYTES, self.bytes);
        writer.put_be64(uapi::NFTA_QUOTA_CONSUMED, self.consumed);
        writer.put_be32(uapi::NFTA_QUOTA_FLAGS, self.flags & !uapi::NFT_QUOTA_F_DEPLETED);
    }

    pub(crate) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut bytes, mut flags, mut consumed) = (None, 0, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_QUOTA_BYTES => bytes = Some(attribute.be64()?),
                uapi::NFTA_QUOTA_FLAGS => flags = attribute.be32()?,
                uapi::NFTA_QUOTA_CONSUMED => consumed = attribute.be64()?,
                _ => {}
            }
        }
        Ok(Self { bytes: required(bytes, uapi::NFTA_QUOTA_BYTES)?, flags, consumed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn until() {
        // quota 10 mbytes
        // [ quota bytes 10485760 consumed 0 flags 0 ]
        let nft = "
            3400 0180                      # element
              0a00 0100 71756f7461000000   # name \"quota\"
              2400 0280                    # data quota
                0c00 0100 0000000000a00000 # bytes
                0c00 0400 0000000000000000 # consumed
                0800 0200 00000000         # flags
        ";
        same(Quota { bytes: 10 << 20, flags: 0, consumed: 0 }, nft);
    }

    /// The kernel itself says that it is used up, and takes back how much was counted.
    #[test]
    fn used_up() {
        let quota = |flags| Quota { bytes: 500, flags, consumed: 600 };
        let encoded = |quota: Quota| {
            let mut writer = AttrWriter::default();
            quota.put(&mut writer);
            writer.as_bytes().to_vec()
        };
        let used_up = encoded(quota(uapi::NFT_QUOTA_F_INV | uapi::NFT_QUOTA_F_DEPLETED));
        assert_eq!(used_up, encoded(quota(uapi::NFT_QUOTA_F_INV)));
    }

    #[test]
    fn over() {
        // quota over 500 bytes used 100 bytes
        // [ quota bytes 500 consumed 100 flags 1 ]
        let nft = "
            3400 0180                      # element
              0a00 0100 71756f7461000000   # name \"quota\"
              2400 0280                    # data quota
                0c00 0100 00000000000001f4 # bytes
                0c00 0400 0000000000000064 # consumed
                0800 0200 00000001         # flags
        ";
        let expression = Quota { bytes: 500, flags: uapi::NFT_QUOTA_F_INV, consumed: 100 };
        same(expression, nft);
    }
}

//! The expression `last`: its fields, its attributes, and the bytes that nft sends for it.

use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// Records when the last packet passed (from 5.14 on).
///
/// `nft_last_init` in net/netfilter/nft_last.c (Linux 6.12) reads it: the time counts only with `NFTA_LAST_SET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Milliseconds since then; `None` if there was none yet
    pub since: Option<u64>,
}

impl Last {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_LAST_SET, u32::from(self.since.is_some()));
        if let Some(since) = self.since {
            writer.put_be64(uapi::NFTA_LAST_MSECS, since);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut set, mut milliseconds) = (0, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_LAST_SET => set = attribute.be32()?,
                uapi::NFTA_LAST_MSECS => milliseconds = attribute.be64()?,
                _ => {}
            }
        }
        Ok(Self { since: (set != 0).then_some(milliseconds) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{different, same};

    // nft 1.0.6 has no statement for it: these are the kernel's own bytes, which lack the flag of nested attributes.

    #[test]
    fn never() {
        let kernel = "
            2800 0100                      # element
              0900 0100 6c61737400000000   # name
              1800 0200                    # data last
                0800 0100 00000000         # set
                0c00 0200 0000000000000000 # msecs
        ";
        let ours = "
            1c00 0180                      # element
              0900 0100 6c61737400000000   # name
              0c00 0280                    # data last
                0800 0100 00000000         # set
        ";
        different(Last { since: None }, kernel, ours);
    }

    #[test]
    fn a_second_ago() {
        let ours = "
            2800 0180                      # element
              0900 0100 6c61737400000000   # name
              1800 0280                    # data last
                0800 0100 00000001         # set
                0c00 0200 00000000000003e8 # msecs
        ";
        same(Last { since: Some(1000) }, ours);
    }
}

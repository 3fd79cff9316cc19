//! The expression `notrack`: its fields, its attributes, and the bytes that nft sends for it.

use crate::{AttrReader, AttrWriter, DecodeError};

/// Keeps connection tracking away from the packet. Only before it is tracked, at priorities below -200.
///
/// It has no attributes. `nft_notrack_eval` in net/netfilter/nft_ct.c (Linux 6.12) leaves a packet alone that is
/// tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notrack;

impl Notrack {
    pub(super) fn put(self, _writer: &mut AttrWriter) {}

    pub(super) fn parse(_attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::different;

    #[test]
    fn plain() {
        // notrack
        // [ notrack ]
        let nft = "
            1000 0180                    # element
              0c00 0100 6e6f747261636b00 # name \"notrack\"
        ";
        // The data attribute is present, and empty, as with every expression.
        let ours = "
            1400 0180                    # element
              0c00 0100 6e6f747261636b00 # name
              0400 0280                  # data notrack
        ";
        different(Notrack, nft, ours);
    }
}

//! The expression `counter`: its fields, its attributes, and the bytes that nft sends for it.

use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// Counts packets and their bytes.
///
/// `nft_counter_do_init` in net/netfilter/nft_counter.c (Linux 6.12) reads it; what is missing starts from 0.
/// `nft_counter_do_eval` adds the packet's length (`skb->len`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Bytes so far, network headers included
    pub bytes: u64,
    /// Packets so far
    pub packets: u64,
}

impl Counter {
    pub(crate) fn put(&self, writer: &mut AttrWriter) {
        writer
            .put_be64s([(uapi::NFTA_COUNTER_BYTES, self.bytes), (uapi::NFTA_COUNTER_PACKETS, self.packets)]);
    }

    pub(crate) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let mut counter = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_COUNTER_BYTES => counter.bytes = attribute.be64()?,
                uapi::NFTA_COUNTER_PACKETS => counter.packets = attribute.be64()?,
                _ => {}
            }
        }
        Ok(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{different, same};

    #[test]
    fn with_values() {
        // counter packets 5 bytes 700
        // [ counter pkts 5 bytes 700 ]
        let nft = "
            2c00 0180                      # element
              0c00 0100 636f756e74657200   # name \"counter\"
              1c00 0280                    # data counter
                0c00 0100 00000000000002bc # bytes
                0c00 0200 0000000000000005 # packets
        ";
        same(Counter { bytes: 700, packets: 5 }, nft);
    }

    #[test]
    fn from_zero() {
        // counter
        // [ counter pkts 0 bytes 0 ]
        let nft = "
            1400 0180                    # element
              0c00 0100 636f756e74657200 # name \"counter\"
              0400 0280                  # data counter
        ";
        // Both are always sent, as in the kernel's dump and as iptables-nft writes it.
        let ours = "
            2c00 0180                       # element
              0c00 0100 636f756e74657200    # name
              1c00 0280                     # data counter
                0c00 0100 0000000000000000  # bytes
                0c00 0200 0000000000000000  # packets
        ";
        different(Counter::default(), nft, ours);
    }
}

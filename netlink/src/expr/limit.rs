//! The expression `limit`: its fields, its attributes, and the bytes that nft sends for it.

use super::required;
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

kernel_number! {
    /// What a [`Limit`] counts (`enum nft_limit_type`).
    LimitKind: u32 {
        /// Packets
        Packets = 0,
        /// Bytes
        Bytes = 1,
    }
}

/// Continues with the rule while the rate is below the limit, or, `inverted`, when it is above.
///
/// `nft_limit_init` in net/netfilter/nft_limit.c (Linux 6.12) reads it: a `rate` of 0 is refused (EINVAL), and so is
/// what does not fit in 64 bits as nanoseconds (EOVERFLOW).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Packets or bytes
    pub kind: LimitKind,
    /// How many in a unit of time
    pub rate: u64,
    /// Seconds in the unit of time
    pub unit: u64,
    /// How many may come at once: packets in all, 0 for 5 (`NFT_LIMIT_PKT_BURST_DEFAULT`); bytes beyond those of one
    /// unit (`nft_limit_init`)
    pub burst: u32,
    /// `NFT_LIMIT_F_INV`: `limit rate over`
    pub inverted: bool,
}

impl Limit {
    pub(crate) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be64(uapi::NFTA_LIMIT_RATE, self.rate);
        writer.put_be64(uapi::NFTA_LIMIT_UNIT, self.unit);
        writer.put_be32(uapi::NFTA_LIMIT_BURST, self.burst);
        writer.put_be32(uapi::NFTA_LIMIT_TYPE, self.kind.number());
        let flags = if self.inverted { uapi::NFT_LIMIT_F_INV } else { 0 };
        writer.put_be32(uapi::NFTA_LIMIT_FLAGS, flags);
    }

    pub(crate) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut rate, mut unit, mut kind) = (None, None, LimitKind::Packets);
        let (mut burst, mut flags) = (0, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_LIMIT_RATE => rate = Some(attribute.be64()?),
                uapi::NFTA_LIMIT_UNIT => unit = Some(attribute.be64()?),
                uapi::NFTA_LIMIT_BURST => burst = attribute.be32()?,
                uapi::NFTA_LIMIT_TYPE => kind = LimitKind::from_number(attribute.be32()?),
                uapi::NFTA_LIMIT_FLAGS => flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(Self {
            kind,
            rate: required(rate, uapi::NFTA_LIMIT_RATE)?,
            unit: required(unit, uapi::NFTA_LIMIT_UNIT)?,
            burst,
            inverted: flags & uapi::NFT_LIMIT_F_INV != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn packets() {
        // limit rate 10/second
        // [ limit rate 10/second burst 5 type packets flags 0x0 ]
        let nft = "
            4400 0180                      # element
              0a00 0100 6c696d6974000000   # name \"limit\"
              3400 0280                    # data limit
                0c00 0100 000000000000000a # rate
                0c00 0200 0000000000000001 # unit
                0800 0300 00000005         # burst
                0800 0400 00000000         # type
                0800 0500 00000000         # flags
        ";
        let expression = Limit { kind: LimitKind::Packets, rate: 10, unit: 1, burst: 5, inverted: false };
        same(expression, nft);
    }

    #[test]
    fn bytes_over() {
        // limit rate over 1 mbytes/minute burst 5 kbytes
        // [ limit rate 1048576/minute burst 5120 type bytes flags 0x1 ]
        let nft = "
            4400 0180                      # element
              0a00 0100 6c696d6974000000   # name \"limit\"
              3400 0280                    # data limit
                0c00 0100 0000000000100000 # rate
                0c00 0200 000000000000003c # unit
                0800 0300 00001400         # burst
                0800 0400 00000001         # type
                0800 0500 00000001         # flags
        ";
        let expression =
            Limit { kind: LimitKind::Bytes, rate: 1 << 20, unit: 60, burst: 5120, inverted: true };
        same(expression, nft);
    }
}

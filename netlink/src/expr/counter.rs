use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// Counts the packets and bytes that come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Bytes so far, network headers included
    pub bytes: u64,
    /// Packets so far
    pub packets: u64,
}

impl Counter {
    pub(crate) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be64(uapi::NFTA_COUNTER_BYTES, self.bytes);
        writer.put_be64(uapi::NFTA_COUNTER_PACKETS, self.packets);
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

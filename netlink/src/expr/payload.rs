use super::{kernel_number, register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// From where a [`Payload`]'s offset counts (`enum nft_payload_bases`).
    PayloadBase {
        /// The link layer header
        LinkLayer = 0,
        /// The network header
        Network = 1,
        /// The transport header
        Transport = 2,
        /// What is behind the transport header (from 5.16 on)
        Inner = 3,
        /// The header of the tunnel that an [`Inner`](super::Inner) expression looks into (from 6.2 on)
        Tunnel = 4,
    }
}

/// Whether a [`Payload`] reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadAction {
    /// Reads into this register
    Load(Register),
    /// Writes what is in `sreg` and mends the checksum
    Store {
        /// Where the bytes come from
        sreg: Register,
        /// `enum nft_payload_csum_types`: 0 none, 1 the internet checksum, 2 SCTP's
        csum_type: u32,
        /// Bytes from the base to the checksum
        csum_offset: u32,
        /// `enum nft_payload_csum_flags`: 1 if the transport's pseudo header is concerned, too
        csum_flags: u32,
    },
}

/// Reads or writes bytes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// From where the offset counts
    pub base: PayloadBase,
    /// Bytes from there
    pub offset: u32,
    /// How many bytes
    pub len: u32,
    /// Read or write
    pub action: PayloadAction,
}

impl Payload {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        if let PayloadAction::Load(dreg) = self.action {
            writer.put_be32(uapi::NFTA_PAYLOAD_DREG, dreg.number());
        }
        writer.put_be32(uapi::NFTA_PAYLOAD_BASE, self.base.number());
        writer.put_be32(uapi::NFTA_PAYLOAD_OFFSET, self.offset);
        writer.put_be32(uapi::NFTA_PAYLOAD_LEN, self.len);
        if let PayloadAction::Store { sreg, csum_type, csum_offset, csum_flags } = self.action {
            writer.put_be32(uapi::NFTA_PAYLOAD_SREG, sreg.number());
            writer.put_be32(uapi::NFTA_PAYLOAD_CSUM_TYPE, csum_type);
            writer.put_be32(uapi::NFTA_PAYLOAD_CSUM_OFFSET, csum_offset);
            writer.put_be32(uapi::NFTA_PAYLOAD_CSUM_FLAGS, csum_flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut dreg, mut sreg, mut base, mut offset, mut len) = (None, None, None, None, None);
        let (mut csum_type, mut csum_offset, mut csum_flags) = (0, 0, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_PAYLOAD_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_PAYLOAD_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_PAYLOAD_BASE => base = Some(PayloadBase::from_number(attribute.be32()?)),
                uapi::NFTA_PAYLOAD_OFFSET => offset = Some(attribute.be32()?),
                uapi::NFTA_PAYLOAD_LEN => len = Some(attribute.be32()?),
                uapi::NFTA_PAYLOAD_CSUM_TYPE => csum_type = attribute.be32()?,
                uapi::NFTA_PAYLOAD_CSUM_OFFSET => csum_offset = attribute.be32()?,
                uapi::NFTA_PAYLOAD_CSUM_FLAGS => csum_flags = attribute.be32()?,
                _ => {}
            }
        }
        let action = match sreg {
            Some(sreg) => PayloadAction::Store { sreg, csum_type, csum_offset, csum_flags },
            None => PayloadAction::Load(required(dreg, uapi::NFTA_PAYLOAD_DREG)?),
        };
        Ok(Self {
            base: required(base, uapi::NFTA_PAYLOAD_BASE)?,
            offset: required(offset, uapi::NFTA_PAYLOAD_OFFSET)?,
            len: required(len, uapi::NFTA_PAYLOAD_LEN)?,
            action,
        })
    }
}

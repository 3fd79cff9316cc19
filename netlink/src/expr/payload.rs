//! The expression `payload`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// From where a [`Payload`]'s offset counts (`enum nft_payload_bases`).
    PayloadBase: u32 {
        /// The link layer header
        LinkLayer = 0,
        /// The network header
        Network = 1,
        /// The transport header
        Transport = 2,
        /// What follows the transport header (from 5.16 on)
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
///
/// `nft_payload_select_ops` in net/netfilter/nft_payload.c (Linux 6.12) has the bases, `nft_payload_policy` the
/// highest offset and length (255); `nft_payload_init` and `nft_payload_set_init` read the rest. SCTP's checksum
/// counts from the transport header. `PayloadBase::Tunnel` is only for an [`Inner`](super::Inner)
/// (`nft_payload_inner_init`).
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
        let place = [
            (uapi::NFTA_PAYLOAD_BASE, self.base.number()),
            (uapi::NFTA_PAYLOAD_OFFSET, self.offset),
            (uapi::NFTA_PAYLOAD_LEN, self.len),
        ];
        if let PayloadAction::Load(dreg) = self.action {
            let [base, offset, len] = place;
            return writer.put_be32s([(uapi::NFTA_PAYLOAD_DREG, dreg.number()), base, offset, len]);
        }
        writer.put_be32s(place);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{different, same, same_in_another_order};

    fn load(base: PayloadBase, offset: u32, len: u32, dreg: u32) -> Payload {
        Payload { base, offset, len, action: PayloadAction::Load(Register::new(dreg)) }
    }

    #[test]
    fn loads() {
        // ip daddr 10.0.0.0/9
        // [ payload load 4b @ network header + 16 => reg 1 ]
        let address = "
            3400 0180                    # element
              0c00 0100 7061796c6f616400 # name \"payload\"
              2400 0280                  # data payload
                0800 0100 00000001       # dreg
                0800 0200 00000001       # base
                0800 0300 00000010       # offset
                0800 0400 00000004       # len
        ";
        same(load(PayloadBase::Network, 16, 4, 1), address);
        // tcp dport 1
        // [ payload load 2b @ transport header + 2 => reg 1 ]
        let port = "
            3400 0180                    # element
              0c00 0100 7061796c6f616400 # name \"payload\"
              2400 0280                  # data payload
                0800 0100 00000001       # dreg
                0800 0200 00000002       # base
                0800 0300 00000002       # offset
                0800 0400 00000002       # len
        ";
        same(load(PayloadBase::Transport, 2, 2, 1), port);
        // @ih,0,32 0x01020304
        // [ payload load 4b @ inner header + 0 => reg 1 ]
        let inner = "
            3400 0180                    # element
              0c00 0100 7061796c6f616400 # name \"payload\"
              2400 0280                  # data payload
                0800 0100 00000001       # dreg
                0800 0200 00000003       # base
                0800 0300 00000000       # offset
                0800 0400 00000004       # len
        ";
        same(load(PayloadBase::Inner, 0, 4, 1), inner);
    }

    #[test]
    fn load_into_a_four_byte_register() {
        // ip saddr . tcp dport @cc: the port follows the four bytes of the address, into NFT_REG32_01
        // [ payload load 2b @ transport header + 2 => reg 9 ]
        let nft = "
            3400 0180                    # element
              0c00 0100 7061796c6f616400 # name \"payload\"
              2400 0280                  # data payload
                0800 0100 00000009       # dreg
                0800 0200 00000002       # base
                0800 0300 00000002       # offset
                0800 0400 00000002       # len
        ";
        same(load(PayloadBase::Transport, 2, 2, uapi::NFT_REG32_00 + 1), nft);
    }

    #[test]
    fn store_an_address() {
        // ip saddr set 1.2.3.4
        // [ payload write reg 1 => 4b @ network header + 12 csum_type 1 csum_off 10 csum_flags 0x1 ]
        let nft = "
            4c00 0180                    # element
              0c00 0100 7061796c6f616400 # name \"payload\"
              3c00 0280                  # data payload
                0800 0500 00000001       # sreg
                0800 0200 00000001       # base
                0800 0300 0000000c       # offset
                0800 0400 00000004       # len
                0800 0600 00000001       # csum_type
                0800 0700 0000000a       # csum_offset
                0800 0800 00000001       # csum_flags
        ";
        let sreg = Register::R1;
        let action = PayloadAction::Store { sreg, csum_type: 1, csum_offset: 10, csum_flags: 1 };
        let expression = Payload { base: PayloadBase::Network, offset: 12, len: 4, action };
        same_in_another_order(expression, nft);
    }

    #[test]
    fn store_a_port() {
        // tcp dport set 8080
        // [ payload write reg 1 => 2b @ transport header + 2 csum_type 1 csum_off 16 csum_flags 0x0 ]
        let nft = "
            4400 0180                    # element
              0c00 0100 7061796c6f616400 # name \"payload\"
              3400 0280                  # data payload
                0800 0500 00000001       # sreg
                0800 0200 00000002       # base
                0800 0300 00000002       # offset
                0800 0400 00000002       # len
                0800 0600 00000001       # csum_type
                0800 0700 00000010       # csum_offset
        ";
        // nft omits NFTA_PAYLOAD_CSUM_FLAGS where no flag is set; the kernel's dump always has them.
        let ours = "
            4c00 0180                     # element
              0c00 0100 7061796c6f616400  # name
              3c00 0280                   # data payload
                0800 0200 00000002        # base
                0800 0300 00000002        # offset
                0800 0400 00000002        # len
                0800 0500 00000001        # sreg
                0800 0600 00000001        # csum_type
                0800 0700 00000010        # csum_offset
                0800 0800 00000000        # csum_flags
        ";
        let sreg = Register::R1;
        let action = PayloadAction::Store { sreg, csum_type: 1, csum_offset: 16, csum_flags: 0 };
        let expression = Payload { base: PayloadBase::Transport, offset: 2, len: 2, action };
        different(expression, nft, ours);
    }
}

//! The expression `inner`: its fields, its attributes, and the bytes that nft sends for it.

use super::{Expr, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

kernel_number! {
    /// What kind of tunnel an [`Inner`] looks into (`enum nft_inner_type`).
    InnerKind: u32 {
        /// Any, such as GRE and IP in IP
        Unspec = 0,
        /// VXLAN
        Vxlan = 1,
        /// GENEVE
        Geneve = 2,
    }
}

/// Evaluates an expression on the packet inside the tunnel (from 6.2 on).
///
/// `nft_inner_init` in net/netfilter/nft_inner.c (Linux 6.12) reads it: with `NFT_INNER_HDRSIZE` a header of 1 to 64
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner<'a> {
    /// What kind of tunnel
    pub kind: InnerKind,
    /// `enum nft_inner_flags`: which headers are inside
    pub flags: u32,
    /// Bytes of the tunnel's own header
    pub header_size: u32,
    /// A [`Payload`](super::Payload) (`nft_payload_inner_init` in net/netfilter/nft_payload.c) or a
    /// [`Meta`](super::Meta) with one of the two protocols (`nft_meta_inner_init` in net/netfilter/nft_meta.c)
    pub expression: Box<Expr<'a>>,
}

impl<'a> Inner<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        // The kernel knows no other number (EOPNOTSUPP in nft_inner_init).
        writer.put_be32(uapi::NFTA_INNER_NUM, 0);
        writer.put_be32(uapi::NFTA_INNER_TYPE, self.kind.number());
        writer.put_be32(uapi::NFTA_INNER_FLAGS, self.flags);
        writer.put_be32(uapi::NFTA_INNER_HDRSIZE, self.header_size);
        self.expression.encode_as(writer, uapi::NFTA_INNER_EXPR);
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut kind, mut flags, mut header_size, mut expression) = (None, 0, 0, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_INNER_TYPE => kind = Some(InnerKind::from_number(attribute.be32()?)),
                uapi::NFTA_INNER_FLAGS => flags = attribute.be32()?,
                uapi::NFTA_INNER_HDRSIZE => header_size = attribute.be32()?,
                uapi::NFTA_INNER_EXPR => expression = Some(Expr::decode_inside(attribute.nested())?),
                _ => {}
            }
        }
        Ok(Self {
            kind: required(kind, uapi::NFTA_INNER_TYPE)?,
            flags,
            header_size,
            expression: Box::new(required(expression, uapi::NFTA_INNER_EXPR)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Register;
    use crate::expr::{Payload, PayloadAction, PayloadBase};
    use crate::testing::different;

    #[test]
    fn source_address_inside_vxlan() {
        // nft 1.0.6 has no statement for it: these are the kernel's own bytes, which lack the flag of nested
        // attributes.
        let kernel = "
            6800 0100                        # element
              0a00 0100 696e6e6572000000     # name
              5800 0200                      # data inner
                0800 0100 00000000           # num
                0800 0200 00000001           # type
                0800 0300 0000000f           # flags
                0800 0400 00000008           # hdrsize
                3400 0500                    # expr
                  0c00 0100 7061796c6f616400 # name
                  2400 0200                  # data payload
                    0800 0100 00000001       # dreg
                    0800 0200 00000001       # base
                    0800 0300 0000000c       # offset
                    0800 0400 00000004       # len
        ";
        let ours = kernel
            .replace("6800 0100", "6800 0180")
            .replace("5800 0200", "5800 0280")
            .replace("3400 0500", "3400 0580")
            .replace("2400 0200", "2400 0280");
        let action = PayloadAction::Load(Register::R1);
        let payload = Payload { base: PayloadBase::Network, offset: 12, len: 4, action };
        let expression = Box::new(payload.into());
        different(Inner { kind: InnerKind::Vxlan, flags: 0xf, header_size: 8, expression }, kernel, &ours);
    }
}

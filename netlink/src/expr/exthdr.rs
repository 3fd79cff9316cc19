//! The expression `exthdr`: its fields, its attributes, and the bytes that nft sends for it.

use super::{Access, register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

kernel_number! {
    /// Among which headers an [`Exthdr`] looks (`enum nft_exthdr_op`).
    ExthdrOp: u32 {
        /// IPv6 extension headers
        Ipv6 = 0,
        /// TCP options
        TcpOption = 1,
        /// IPv4 options (from 5.3 on)
        Ipv4 = 2,
        /// SCTP chunks (from 5.14 on)
        Sctp = 3,
        /// DCCP options (from 6.5 on)
        Dccp = 4,
    }
}

/// Reads or writes bytes of an extension header or an option.
///
/// `nft_exthdr_select_ops` in net/netfilter/nft_exthdr.c (Linux 6.12) chooses who reads it: `nft_exthdr_init` for
/// loads (offset and length up to 255), `nft_exthdr_ipv4_init` (only the options lsrr, ssrr, rr and ra, not in the
/// family ip6), `nft_exthdr_dccp_init` (only `present`), `nft_exthdr_tcp_set_init` for writes (two or four bytes, from
/// offset 2 on), or `nft_exthdr_tcp_strip_init`. Only TCP options can be written or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exthdr {
    /// Among which headers
    pub op: ExthdrOp,
    /// The header's or option's number
    pub kind: u8,
    /// Bytes from the start of the header or option
    pub offset: u32,
    /// How many bytes; 0 where none are read or written
    pub len: u32,
    /// `NFT_EXTHDR_F_PRESENT`: reads one byte: whether the header exists at all (in Linux 6.12.117, `nft_exthdr_init`
    /// requires a `len` of 1 with it)
    pub present: bool,
    /// Read or write; `None` removes a TCP option (from 5.18 on)
    pub access: Option<Access>,
}

impl Exthdr {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        match self.access {
            Some(Access::Load(dreg)) => writer.put_be32(uapi::NFTA_EXTHDR_DREG, dreg.number()),
            Some(Access::Store(sreg)) => writer.put_be32(uapi::NFTA_EXTHDR_SREG, sreg.number()),
            None => {}
        }
        writer.put_u8(uapi::NFTA_EXTHDR_TYPE, self.kind);
        // The kernel refuses what an access does not need (EINVAL in nft_exthdr_tcp_set_init and
        // nft_exthdr_tcp_strip_init), although a dump has all of it.
        if self.access.is_some() || self.offset != 0 {
            writer.put_be32(uapi::NFTA_EXTHDR_OFFSET, self.offset);
        }
        if self.access.is_some() || self.len != 0 {
            writer.put_be32(uapi::NFTA_EXTHDR_LEN, self.len);
        }
        writer.put_be32(uapi::NFTA_EXTHDR_OP, self.op.number());
        if self.present || matches!(self.access, Some(Access::Load(_))) {
            let flags = if self.present { uapi::NFT_EXTHDR_F_PRESENT } else { 0 };
            writer.put_be32(uapi::NFTA_EXTHDR_FLAGS, flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        // Before 4.11 there were only IPv6 extension headers.
        let (mut op, mut kind, mut access) = (ExthdrOp::Ipv6, None, None);
        let (mut offset, mut len, mut flags) = (0, 0, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_EXTHDR_DREG => access = Some(Access::Load(register(attribute)?)),
                uapi::NFTA_EXTHDR_SREG => access = Some(Access::Store(register(attribute)?)),
                uapi::NFTA_EXTHDR_TYPE => kind = Some(attribute.u8()?),
                uapi::NFTA_EXTHDR_OFFSET => offset = attribute.be32()?,
                uapi::NFTA_EXTHDR_LEN => len = attribute.be32()?,
                uapi::NFTA_EXTHDR_FLAGS => flags = attribute.be32()?,
                uapi::NFTA_EXTHDR_OP => op = ExthdrOp::from_number(attribute.be32()?),
                _ => {}
            }
        }
        Ok(Self {
            op,
            kind: required(kind, uapi::NFTA_EXTHDR_TYPE)?,
            offset,
            len,
            present: flags & uapi::NFT_EXTHDR_F_PRESENT != 0,
            access,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Register;
    use crate::testing::same;

    #[test]
    fn tcp_option() {
        // tcp option maxseg size 1400
        // [ exthdr load tcpopt 2b @ 2 + 2 => reg 1 ]
        let nft = "
            4400 0180                    # element
              0b00 0100 6578746864720000 # name \"exthdr\"
              3400 0280                  # data exthdr
                0800 0100 00000001       # dreg
                0500 0200 02000000       # type
                0800 0300 00000002       # offset
                0800 0400 00000002       # len
                0800 0600 00000001       # op
                0800 0500 00000000       # flags
        ";
        let expression = Exthdr {
            op: ExthdrOp::TcpOption,
            kind: 2,
            offset: 2,
            len: 2,
            present: false,
            access: Some(Access::Load(Register::R1)),
        };
        same(expression, nft);
    }

    #[test]
    fn tcp_option_exists() {
        // tcp option sack-permitted exists
        // [ exthdr load tcpopt 1b @ 4 + 0 present => reg 1 ]
        let nft = "
            4400 0180                    # element
              0b00 0100 6578746864720000 # name \"exthdr\"
              3400 0280                  # data exthdr
                0800 0100 00000001       # dreg
                0500 0200 04000000       # type
                0800 0300 00000000       # offset
                0800 0400 00000001       # len
                0800 0600 00000001       # op
                0800 0500 00000001       # flags
        ";
        let expression = Exthdr {
            op: ExthdrOp::TcpOption,
            kind: 4,
            offset: 0,
            len: 1,
            present: true,
            access: Some(Access::Load(Register::R1)),
        };
        same(expression, nft);
    }

    #[test]
    fn tcp_option_is_set() {
        // tcp option maxseg size set rt mtu
        // [ exthdr write tcpopt reg 1 => 2b @ 2 + 2 ]
        let nft = "
            3c00 0180                    # element
              0b00 0100 6578746864720000 # name \"exthdr\"
              2c00 0280                  # data exthdr
                0800 0700 00000001       # sreg
                0500 0200 02000000       # type
                0800 0300 00000002       # offset
                0800 0400 00000002       # len
                0800 0600 00000001       # op
        ";
        let expression = Exthdr {
            op: ExthdrOp::TcpOption,
            kind: 2,
            offset: 2,
            len: 2,
            present: false,
            access: Some(Access::Store(Register::R1)),
        };
        same(expression, nft);
    }

    #[test]
    fn tcp_option_is_removed() {
        // reset tcp option fastopen
        // [ exthdr reset tcpopt 34 ]
        let nft = "
            2400 0180                    # element
              0b00 0100 6578746864720000 # name \"exthdr\"
              1400 0280                  # data exthdr
                0500 0200 22000000       # type
                0800 0600 00000001       # op
        ";
        let expression =
            Exthdr { op: ExthdrOp::TcpOption, kind: 34, offset: 0, len: 0, present: false, access: None };
        same(expression, nft);
    }

    #[test]
    fn ipv6_routing_header() {
        // rt type 0
        // [ exthdr load ipv6 1b @ 43 + 2 => reg 1 ]
        let nft = "
            4400 0180                    # element
              0b00 0100 6578746864720000 # name \"exthdr\"
              3400 0280                  # data exthdr
                0800 0100 00000001       # dreg
                0500 0200 2b000000       # type
                0800 0300 00000002       # offset
                0800 0400 00000001       # len
                0800 0600 00000000       # op
                0800 0500 00000000       # flags
        ";
        let expression = Exthdr {
            op: ExthdrOp::Ipv6,
            kind: 43,
            offset: 2,
            len: 1,
            present: false,
            access: Some(Access::Load(Register::R1)),
        };
        same(expression, nft);
    }

    #[test]
    fn ipv4_option_is_there() {
        // ip option rr exists
        // [ exthdr load ipv4 1b @ 7 + 0 present => reg 1 ]
        let nft = "
            4400 0180                    # element
              0b00 0100 6578746864720000 # name \"exthdr\"
              3400 0280                  # data exthdr
                0800 0100 00000001       # dreg
                0500 0200 07000000       # type
                0800 0300 00000000       # offset
                0800 0400 00000001       # len
                0800 0600 00000002       # op
                0800 0500 00000001       # flags
        ";
        let expression = Exthdr {
            op: ExthdrOp::Ipv4,
            kind: 7,
            offset: 0,
            len: 1,
            present: true,
            access: Some(Access::Load(Register::R1)),
        };
        same(expression, nft);
    }

    #[test]
    fn sctp_chunk_exists() {
        // sctp chunk data exists
        // [ exthdr load 1b @ 0 + 0 present => reg 1 ]
        let nft = "
            4400 0180                    # element
              0b00 0100 6578746864720000 # name \"exthdr\"
              3400 0280                  # data exthdr
                0800 0100 00000001       # dreg
                0500 0200 00000000       # type
                0800 0300 00000000       # offset
                0800 0400 00000001       # len
                0800 0600 00000003       # op
                0800 0500 00000001       # flags
        ";
        let expression = Exthdr {
            op: ExthdrOp::Sctp,
            kind: 0,
            offset: 0,
            len: 1,
            present: true,
            access: Some(Access::Load(Register::R1)),
        };
        same(expression, nft);
    }
}

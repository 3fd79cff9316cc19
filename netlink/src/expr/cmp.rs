//! The expression `cmp`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, Data, DecodeError, Register, uapi};

kernel_number! {
    /// How a [`Cmp`] or a [`Range`](super::Range) compares (`enum nft_cmp_ops`, `enum nft_range_ops`): byte by byte,
    /// the first byte being the most significant one (`nft_cmp_eval` in net/netfilter/nft_cmp.c and `nft_range_eval`
    /// in net/netfilter/nft_range.c, Linux 6.12). A range knows the first two only.
    CmpOp: u32 {
        /// Equal to
        Eq = 0,
        /// Other than
        Neq = 1,
        /// Less than
        Lt = 2,
        /// Less than or equal to
        Lte = 3,
        /// Greater than
        Gt = 4,
        /// Greater than or equal to
        Gte = 5,
    }
}

/// Continues with the rule if the register compares to the data as `op` says.
///
/// `nft_cmp_select_ops` and `nft_cmp_init` in net/netfilter/nft_cmp.c (Linux 6.12) read it; no attribute may be
/// missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmp {
    /// What is compared
    pub sreg: Register,
    /// How
    pub op: CmpOp,
    /// With what
    pub data: Data,
}

impl Cmp {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32s([(uapi::NFTA_CMP_SREG, self.sreg.number()), (uapi::NFTA_CMP_OP, self.op.number())]);
        self.data.put(writer, uapi::NFTA_CMP_DATA);
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut sreg, mut op, mut data) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CMP_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_CMP_OP => op = Some(CmpOp::from_number(attribute.be32()?)),
                uapi::NFTA_CMP_DATA => data = Some(Data::decode(attribute.nested())?),
                _ => {}
            }
        }
        Ok(Self {
            sreg: required(sreg, uapi::NFTA_CMP_SREG)?,
            op: required(op, uapi::NFTA_CMP_OP)?,
            data: required(data, uapi::NFTA_CMP_DATA)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    fn cmp(op: CmpOp, data: Data) -> Cmp {
        Cmp { sreg: Register::R1, op, data }
    }

    #[test]
    fn equal_to_an_address() {
        // ct original ip saddr 1.2.3.4
        // [ cmp eq reg 1 0x04030201 ]
        let nft = "
            2c00 0180                # element
              0800 0100 636d7000     # name
              2000 0280              # data cmp
                0800 0100 00000001   # sreg
                0800 0200 00000000   # op
                0c00 0380            # data
                  0800 0100 01020304 # value
        ";
        same(cmp(CmpOp::Eq, std::net::Ipv4Addr::new(1, 2, 3, 4).into()), nft);
    }

    #[test]
    fn equal_to_one_byte() {
        // meta l4proto tcp
        // [ cmp eq reg 1 0x00000006 ]
        let nft = "
            2c00 0180                # element
              0800 0100 636d7000     # name
              2000 0280              # data cmp
                0800 0100 00000001   # sreg
                0800 0200 00000000   # op
                0c00 0380            # data
                  0500 0100 06000000 # value
        ";
        same(cmp(CmpOp::Eq, Data::new(&[6])), nft);
    }

    #[test]
    fn equal_to_a_uid() {
        // meta skuid 1337
        // [ cmp eq reg 1 0x00000539 ]
        #[cfg(target_endian = "little")]
        same(
            cmp(CmpOp::Eq, Data::ne32(1337)),
            "
                2c00 0180                # element
                  0800 0100 636d7000     # name
                  2000 0280              # data cmp
                    0800 0100 00000001   # sreg
                    0800 0200 00000000   # op
                    0c00 0380            # data
                      0800 0100 39050000 # value
            ",
        );
    }

    #[test]
    fn other_than_an_interface() {
        // oifname != "eth0"
        // [ cmp neq reg 1 0x30687465 0x00000000 0x00000000 0x00000000 ]
        let nft = "
            3800 0180                                        # element
              0800 0100 636d7000                             # name
              2c00 0280                                      # data cmp
                0800 0100 00000001                           # sreg
                0800 0200 00000001                           # op
                1800 0380                                    # data
                  1400 0100 65746830000000000000000000000000 # value \"eth0\"
        ";
        same(cmp(CmpOp::Neq, Data::interface("eth0")), nft);
    }

    #[test]
    fn ports_of_a_range() {
        // tcp dport 80-90
        // [ cmp gte reg 1 0x00005000 ]
        let from = "
            2c00 0180                # element
              0800 0100 636d7000     # name
              2000 0280              # data cmp
                0800 0100 00000001   # sreg
                0800 0200 00000005   # op
                0c00 0380            # data
                  0600 0100 00500000 # value
        ";
        same(cmp(CmpOp::Gte, Data::be16(80)), from);
        // [ cmp lte reg 1 0x00005a00 ]
        let to = "
            2c00 0180                # element
              0800 0100 636d7000     # name
              2000 0280              # data cmp
                0800 0100 00000001   # sreg
                0800 0200 00000003   # op
                0c00 0380            # data
                  0600 0100 005a0000 # value
        ";
        same(cmp(CmpOp::Lte, Data::be16(90)), to);
    }

    #[test]
    fn above_and_below() {
        // tcp dport > 1024
        // [ cmp gt reg 1 0x00000004 ]
        let above = "
            2c00 0180                # element
              0800 0100 636d7000     # name
              2000 0280              # data cmp
                0800 0100 00000001   # sreg
                0800 0200 00000004   # op
                0c00 0380            # data
                  0600 0100 04000000 # value
        ";
        same(cmp(CmpOp::Gt, Data::be16(1024)), above);
        // tcp dport < 1024
        // [ cmp lt reg 1 0x00000004 ]
        let below = "
            2c00 0180                # element
              0800 0100 636d7000     # name
              2000 0280              # data cmp
                0800 0100 00000001   # sreg
                0800 0200 00000002   # op
                0c00 0380            # data
                  0600 0100 04000000 # value
        ";
        same(cmp(CmpOp::Lt, Data::be16(1024)), below);
    }
}

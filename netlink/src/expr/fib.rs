//! The expression `fib`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

kernel_number! {
    /// What a [`Fib`] puts into its register (`enum nft_fib_result`; `nft_fib_store_result` in
    /// net/netfilter/nft_fib.c, Linux 6.12).
    FibResult: u32 {
        /// The index of the output device, in host order; 0 without a route. With `NFTA_FIB_F_PRESENT` one byte:
        /// whether there is one
        Oif = 1,
        /// The name of the output device, padded with NUL; 16 bytes
        OifName = 2,
        /// The type of the address (`RTN_*`), in host order; four bytes
        AddrType = 3,
    }
}

/// Looks an address of the packet up in the routing tables.
///
/// `nft_fib_init` in net/netfilter/nft_fib.c (Linux 6.12) reads it: one of saddr and daddr, not both of iif and oif.
/// `nft_fib_validate` has the families (ip, ip6 and inet) and the hooks: for devices, and for types with iif,
/// prerouting, input and forward; for types with oif, forward, output and postrouting; for other types all five. The
/// family netdev has its own (`nft_fib_netdev_validate` in net/netfilter/nft_fib_netdev.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fib {
    /// What is desired
    pub result: FibResult,
    /// `NFTA_FIB_F_*`: which address, and what narrows the search
    pub flags: u32,
    /// Where it goes
    pub dreg: Register,
}

impl Fib {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_FIB_FLAGS, self.flags);
        writer.put_be32(uapi::NFTA_FIB_RESULT, self.result.number());
        writer.put_be32(uapi::NFTA_FIB_DREG, self.dreg.number());
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut result, mut flags, mut dreg) = (None, 0, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_FIB_RESULT => result = Some(FibResult::from_number(attribute.be32()?)),
                uapi::NFTA_FIB_FLAGS => flags = attribute.be32()?,
                uapi::NFTA_FIB_DREG => dreg = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self {
            result: required(result, uapi::NFTA_FIB_RESULT)?,
            flags,
            dreg: required(dreg, uapi::NFTA_FIB_DREG)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn address_type() {
        // fib daddr type local
        // [ fib daddr type => reg 1 ]
        let nft = "
            2800 0180              # element
              0800 0100 66696200   # name \"fib\"
              1c00 0280            # data fib
                0800 0300 00000002 # flags
                0800 0200 00000003 # result
                0800 0100 00000001 # dreg
        ";
        let expression =
            Fib { result: FibResult::AddrType, flags: uapi::NFTA_FIB_F_DADDR, dreg: Register::R1 };
        same(expression, nft);
    }

    #[test]
    fn reverse_path() {
        // fib saddr . iif oif missing
        // [ fib saddr . iif oif present => reg 1 ]
        let nft = "
            2800 0180              # element
              0800 0100 66696200   # name \"fib\"
              1c00 0280            # data fib
                0800 0300 00000029 # flags
                0800 0200 00000001 # result
                0800 0100 00000001 # dreg
        ";
        let flags = uapi::NFTA_FIB_F_SADDR | uapi::NFTA_FIB_F_IIF | uapi::NFTA_FIB_F_PRESENT;
        same(Fib { result: FibResult::Oif, flags, dreg: Register::R1 }, nft);
    }

    #[test]
    fn output_device_by_mark() {
        // fib daddr . mark oifname lo
        // [ fib daddr . mark oifname => reg 1 ]
        let nft = "
            2800 0180              # element
              0800 0100 66696200   # name \"fib\"
              1c00 0280            # data fib
                0800 0300 00000006 # flags
                0800 0200 00000002 # result
                0800 0100 00000001 # dreg
        ";
        let flags = uapi::NFTA_FIB_F_DADDR | uapi::NFTA_FIB_F_MARK;
        let expression = Fib { result: FibResult::OifName, flags, dreg: Register::R1 };
        same(expression, nft);
    }
}

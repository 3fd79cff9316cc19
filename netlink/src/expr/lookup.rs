//! The expression `lookup`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Register, Text, uapi};

/// Looks the register up in a set: continues with the rule if the set contains it (or, `inverted`, if it does not),
/// and with a map puts the value into `dreg`.
///
/// `nft_lookup_init` in net/netfilter/nft_lookup.c (Linux 6.12) reads it: `dreg` only for a map and not `inverted`,
/// and always for an anonymous map (EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// The set's name
    pub set: Text<'a>,
    /// The number that the same batch gave the set; 0 for none
    pub set_id: u32,
    /// What is looked up
    pub sreg: Register,
    /// Where a map's value goes; the verdict register for a map of verdicts
    pub dreg: Option<Register>,
    /// `NFT_LOOKUP_F_INV`
    pub inverted: bool,
}

impl<'a> Lookup<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_LOOKUP_SET, self.set);
        writer.put_be32(uapi::NFTA_LOOKUP_SREG, self.sreg.number());
        if let Some(dreg) = self.dreg {
            writer.put_be32(uapi::NFTA_LOOKUP_DREG, dreg.number());
        }
        if self.set_id != 0 {
            writer.put_be32(uapi::NFTA_LOOKUP_SET_ID, self.set_id);
        }
        let flags = if self.inverted { uapi::NFT_LOOKUP_F_INV } else { 0 };
        writer.put_be32(uapi::NFTA_LOOKUP_FLAGS, flags);
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut set, mut set_id, mut sreg, mut dreg, mut flags) = (None, 0, None, None, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_LOOKUP_SET => set = Some(attribute.text()),
                uapi::NFTA_LOOKUP_SET_ID => set_id = attribute.be32()?,
                uapi::NFTA_LOOKUP_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_LOOKUP_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_LOOKUP_FLAGS => flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(Self {
            set: required(set, uapi::NFTA_LOOKUP_SET)?,
            set_id,
            sreg: required(sreg, uapi::NFTA_LOOKUP_SREG)?,
            dreg,
            inverted: flags & uapi::NFT_LOOKUP_F_INV != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{different, same_in_another_order};

    fn lookup(set: &str, set_id: u32) -> Lookup<'_> {
        Lookup { set: set.into(), set_id, sreg: Register::R1, dreg: None, inverted: false }
    }

    // nft omits NFTA_LOOKUP_FLAGS where no flag is set and writes the set's name after the registers. Here both
    // are always sent, as in the kernel's own dump, and the name comes first.

    #[test]
    fn in_a_named_set() {
        // ip saddr @s
        // [ lookup reg 1 set s ]
        let nft = "
            2c00 0180                    # element
              0b00 0100 6c6f6f6b75700000 # name \"lookup\"
              1c00 0280                  # data lookup
                0800 0200 00000001       # sreg
                0600 0100 73000000       # set
                0800 0400 00000001       # set_id
        ";
        let ours = "
            3400 0180                     # element
              0b00 0100 6c6f6f6b75700000  # name
              2400 0280                   # data lookup
                0600 0100 73000000        # set
                0800 0200 00000001        # sreg
                0800 0400 00000001        # set_id
                0800 0500 00000000        # flags
        ";
        different(lookup("s", 1), nft, ours);
    }

    #[test]
    fn not_in_a_named_set() {
        // ip saddr != @s
        // [ lookup reg 1 set s 0x1 ]
        let nft = "
            3400 0180                    # element
              0b00 0100 6c6f6f6b75700000 # name \"lookup\"
              2400 0280                  # data lookup
                0800 0200 00000001       # sreg
                0600 0100 73000000       # set
                0800 0400 00000001       # set_id
                0800 0500 00000001       # flags
        ";
        same_in_another_order(Lookup { inverted: true, ..lookup("s", 1) }, nft);
    }

    #[test]
    fn a_flag_that_is_not_known_inverts_nothing() {
        let golden = "
            3400 0180
              0b00 0100 6c6f6f6b75700000
              2400 0280
                0600 0100 73000000
                0800 0200 00000001
                0800 0400 00000001
                0800 0500 fffffffe
        ";
        assert_eq!(crate::testing::decode(&crate::testing::bytes(golden)), lookup("s", 1).into());
    }

    #[test]
    fn in_an_anonymous_set() {
        // tcp dport { 80, 443 }
        // [ lookup reg 1 set __set%d ]
        let nft = "
            3000 0180                      # element
              0b00 0100 6c6f6f6b75700000   # name \"lookup\"
              2000 0280                    # data lookup
                0800 0200 00000001         # sreg
                0c00 0100 5f5f736574256400 # set \"__set%d\"
                0800 0400 00000006         # set_id
        ";
        let ours = "
            3800 0180                       # element
              0b00 0100 6c6f6f6b75700000    # name
              2800 0280                     # data lookup
                0c00 0100 5f5f736574256400  # set
                0800 0200 00000001          # sreg
                0800 0400 00000006          # set_id
                0800 0500 00000000          # flags
        ";
        different(lookup("__set%d", 6), nft, ours);
    }

    #[test]
    fn in_maps() {
        // dnat ip to tcp dport map @m
        // [ lookup reg 1 set m dreg 1 ]
        let values = "
            3400 0180                    # element
              0b00 0100 6c6f6f6b75700000 # name \"lookup\"
              2400 0280                  # data lookup
                0800 0200 00000001       # sreg
                0800 0300 00000001       # dreg
                0600 0100 6d000000       # set
                0800 0400 00000004       # set_id
        ";
        let ours = "
            3c00 0180                     # element
              0b00 0100 6c6f6f6b75700000  # name
              2c00 0280                   # data lookup
                0600 0100 6d000000        # set
                0800 0200 00000001        # sreg
                0800 0300 00000001        # dreg
                0800 0400 00000004        # set_id
                0800 0500 00000000        # flags
        ";
        different(Lookup { dreg: Some(Register::R1), ..lookup("m", 4) }, values, ours);
        // tcp dport vmap @v
        // [ lookup reg 1 set v dreg 0 ]
        let verdicts = "
            3400 0180                    # element
              0b00 0100 6c6f6f6b75700000 # name \"lookup\"
              2400 0280                  # data lookup
                0800 0200 00000001       # sreg
                0800 0300 00000000       # dreg
                0600 0100 76000000       # set
                0800 0400 00000005       # set_id
        ";
        let ours = "
            3c00 0180                     # element
              0b00 0100 6c6f6f6b75700000  # name
              2c00 0280                   # data lookup
                0600 0100 76000000        # set
                0800 0200 00000001        # sreg
                0800 0300 00000000        # dreg
                0800 0400 00000005        # set_id
                0800 0500 00000000        # flags
        ";
        different(Lookup { dreg: Some(Register::VERDICT), ..lookup("v", 5) }, verdicts, ours);
    }
}

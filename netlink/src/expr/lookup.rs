use super::{register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

/// Looks the register up in a set: goes on with the rule if it is there (or, `inverted`, if it is not), and with a
/// map puts the value into `dreg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// The set's name
    pub set: &'a str,
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
        writer.put_str(uapi::NFTA_LOOKUP_SET, self.set);
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
                uapi::NFTA_LOOKUP_SET => set = Some(attribute.str()?),
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

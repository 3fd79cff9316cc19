//! The expression `objref`: its fields, its attributes, and the bytes that nft sends for it.

use super::{register, required};
use crate::{AttrReader, AttrWriter, DecodeError, ObjectKind, Register, Text, uapi};

/// Uses a named object: a counter, a quota, a limit, a conntrack helper, …
///
/// `nft_objref_init` or `nft_objref_map_init` in net/netfilter/nft_objref.c (Linux 6.12) reads it. A synproxy is
/// allowed only at input and forward in ip, ip6 and inet (`nft_objref_validate_obj_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objref<'a> {
    /// Always the same one
    Name {
        /// What it is
        kind: ObjectKind,
        /// Its name
        name: Text<'a>,
    },
    /// The one that a map of objects has for what is in a register
    Map {
        /// The register with the key
        sreg: Register,
        /// The map's name
        set: Text<'a>,
        /// The number that the same batch gave the map; 0 for none
        set_id: u32,
    },
}

impl<'a> Objref<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        match self {
            Self::Name { kind, name } => {
                writer.put_be32(uapi::NFTA_OBJREF_IMM_TYPE, kind.number());
                writer.put_text(uapi::NFTA_OBJREF_IMM_NAME, name);
            }
            Self::Map { sreg, set, set_id } => {
                writer.put_be32(uapi::NFTA_OBJREF_SET_SREG, sreg.number());
                writer.put_text(uapi::NFTA_OBJREF_SET_NAME, set);
                if *set_id != 0 {
                    writer.put_be32(uapi::NFTA_OBJREF_SET_ID, *set_id);
                }
            }
        }
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut kind, mut name) = (None, None);
        let (mut sreg, mut set, mut set_id) = (None, None, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_OBJREF_IMM_TYPE => kind = Some(ObjectKind::from_number(attribute.be32()?)),
                uapi::NFTA_OBJREF_IMM_NAME => name = Some(attribute.text()),
                uapi::NFTA_OBJREF_SET_SREG => sreg = Some(register(attribute)?),
                uapi::NFTA_OBJREF_SET_NAME => set = Some(attribute.text()),
                uapi::NFTA_OBJREF_SET_ID => set_id = attribute.be32()?,
                _ => {}
            }
        }
        if let Some(sreg) = sreg {
            return Ok(Self::Map { sreg, set: required(set, uapi::NFTA_OBJREF_SET_NAME)?, set_id });
        }
        Ok(Self::Name {
            kind: required(kind, uapi::NFTA_OBJREF_IMM_TYPE)?,
            name: required(name, uapi::NFTA_OBJREF_IMM_NAME)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::different;

    // nft omits the NUL after the names.

    #[test]
    fn by_name() {
        // counter name k
        // [ objref type 1 name k ]
        let nft = "
            2400 0180                    # element
              0b00 0100 6f626a7265660000 # name \"objref\"
              1400 0280                  # data objref
                0800 0100 00000001       # imm_type
                0500 0200 6b000000       # imm_name
        ";
        let ours = nft.replace("0500 0200 6b000000", "0600 0200 6b000000");
        different(Objref::Name { kind: ObjectKind::Counter, name: "k".into() }, nft, &ours);
    }

    #[test]
    fn by_a_map() {
        // quota name tcp dport map { 80 : "q" }
        // [ objref sreg 1 set __objmap%d ]
        let nft = "
            3400 0180                              # element
              0b00 0100 6f626a7265660000           # name \"objref\"
              2400 0280                            # data objref
                0800 0300 00000001                 # set_sreg
                0e00 0400 5f5f6f626a6d617025640000 # set_name
                0800 0500 00000001                 # set_id
        ";
        let ours = nft.replace("0e00 0400", "0f00 0400");
        let expression = Objref::Map { sreg: Register::R1, set: "__objmap%d".into(), set_id: 1 };
        different(expression, nft, &ours);
    }
}

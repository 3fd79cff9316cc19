use super::{register, required};
use crate::{Attr, AttrReader, AttrWriter, Data, DecodeError, Register, Verdict, uapi};

/// Puts a constant into a register, or decides what happens to the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Immediate<'a> {
    /// A value into a register
    Value {
        /// The register
        dreg: Register,
        /// The value
        data: Data,
    },
    /// A verdict into `NFT_REG_VERDICT`
    Verdict(Verdict<'a>),
}

impl<'a> Immediate<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        match self {
            Self::Value { dreg, data } => {
                writer.put_be32(uapi::NFTA_IMMEDIATE_DREG, dreg.number());
                data.put(writer, uapi::NFTA_IMMEDIATE_DATA);
            }
            Self::Verdict(verdict) => {
                writer.put_be32(uapi::NFTA_IMMEDIATE_DREG, Register::VERDICT.number());
                verdict.put(writer, uapi::NFTA_IMMEDIATE_DATA);
            }
        }
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut dreg, mut data) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_IMMEDIATE_DREG => dreg = Some(register(attribute)?),
                uapi::NFTA_IMMEDIATE_DATA => data = Some(attribute),
                _ => {}
            }
        }
        let dreg = required(dreg, uapi::NFTA_IMMEDIATE_DREG)?;
        let data = required(data, uapi::NFTA_IMMEDIATE_DATA)?;
        if dreg == Register::VERDICT {
            return verdict(data).map(Self::Verdict);
        }
        Ok(Self::Value { dreg, data: Data::decode(data.nested())? })
    }
}

fn verdict(data: Attr<'_>) -> Result<Verdict<'_>, DecodeError> {
    for attribute in data.nested() {
        let attribute = attribute?;
        if attribute.kind == uapi::NFTA_DATA_VERDICT {
            return Verdict::decode(attribute.nested());
        }
    }
    Err(DecodeError::Missing { attribute: uapi::NFTA_DATA_VERDICT })
}

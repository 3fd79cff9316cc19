//! The expression `target`: its fields, its attributes, and the bytes that nft sends for it.

use super::required;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// A target of xtables, as iptables-nft loads it.
///
/// `nft_target_select_ops` in net/netfilter/nft_compat.c (Linux 6.12) finds it by name, revision and family (ENOENT)
/// and refuses the standard target and `ERROR`; `nft_target_validate` asks the target for its hooks and its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Its name in xtables, such as `REDIRECT`
    pub name: &'a str,
    /// The revision of its parameters
    pub revision: u32,
    /// Its parameters: the C structure of that name and revision, in the layout of the machine
    pub info: &'a [u8],
}

impl<'a> Target<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_str(uapi::NFTA_TARGET_NAME, self.name);
        writer.put_be32(uapi::NFTA_TARGET_REV, self.revision);
        writer.put(uapi::NFTA_TARGET_INFO, self.info);
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut name, mut revision, mut info) = (None, 0, [].as_slice());
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TARGET_NAME => name = Some(attribute.str()?),
                uapi::NFTA_TARGET_REV => revision = attribute.be32()?,
                uapi::NFTA_TARGET_INFO => info = attribute.value,
                _ => {}
            }
        }
        Ok(Self { name: required(name, uapi::NFTA_TARGET_NAME)?, revision, info })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn reject() {
        // iptables-nft -A INPUT -j REJECT
        let iptables = "
            3400 0180                      # element
              0b00 0100 7461726765740000   # name \"target\"
              2400 0280                    # data target
                0b00 0100 52454a4543540000 # name \"REJECT\"
                0800 0200 00000000         # rev
                0c00 0300 0300000000000000 # info
        ";
        same(Target { name: "REJECT", revision: 0, info: &[3, 0, 0, 0, 0, 0, 0, 0] }, iptables);
    }
}

//! The expression `match`: its fields, its attributes, and the bytes that nft sends for it.

use super::required;
use crate::{AttrReader, AttrWriter, DecodeError, uapi};

/// A match of xtables, as iptables-nft loads it: continues with the rule if it does.
///
/// `nft_match_select_ops` in net/netfilter/nft_compat.c (Linux 6.12.117) finds it by name, revision and family
/// (ENOENT) and refuses parameters that are too short; `nft_match_validate` asks the match for its hooks and its
/// table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// Its name in xtables, such as `tcp`
    pub name: &'a str,
    /// The revision of its parameters
    pub revision: u32,
    /// Its parameters: the C structure of that name and revision, in the layout of the machine
    pub info: &'a [u8],
}

impl<'a> Match<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_str(uapi::NFTA_MATCH_NAME, self.name);
        writer.put_be32(uapi::NFTA_MATCH_REV, self.revision);
        writer.put(uapi::NFTA_MATCH_INFO, self.info);
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut name, mut revision, mut info) = (None, 0, [].as_slice());
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_MATCH_NAME => name = Some(attribute.str()?),
                uapi::NFTA_MATCH_REV => revision = attribute.be32()?,
                uapi::NFTA_MATCH_INFO => info = attribute.value,
                _ => {}
            }
        }
        Ok(Self { name: required(name, uapi::NFTA_MATCH_NAME)?, revision, info })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn multiport() {
        // iptables-nft -A INPUT -p tcp -m multiport --dports 80,443 -j REJECT
        let iptables = "
            6000 0180                              # element
              0a00 0100 6d61746368000000           # name \"match\"
              5000 0280                            # data match
                0e00 0100 6d756c7469706f7274000000 # name \"multiport\"
                0800 0200 00000001                 # rev
                3400 0300 01025000bb01000000000000000000000000000000000000000000000000000000000000000000000000000000000000
        ";
        let mut info = [0; 48];
        info[..6].copy_from_slice(&[1, 2, 80, 0, 0xbb, 1]);
        same(Match { name: "multiport", revision: 1, info: &info }, iptables);
    }
}

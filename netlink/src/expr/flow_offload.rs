//! The expression `flow_offload`: its fields, its attributes, and the bytes that nft sends for it.

use super::required;
use crate::{AttrReader, AttrWriter, DecodeError, Text, uapi};

/// Hands the packet's connection to a flowtable: its later packets no longer pass the chains. Only at forward.
///
/// `nft_flow_offload_init` in net/netfilter/nft_flow_offload.c (Linux 6.12) reads it; `nft_flow_offload_validate` has
/// the hook and the families (ip, ip6 and inet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOffload<'a> {
    /// The flowtable's name
    pub flowtable: Text<'a>,
}

impl<'a> FlowOffload<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_FLOW_TABLE_NAME, self.flowtable);
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let mut flowtable = None;
        for attribute in attributes {
            let attribute = attribute?;
            if attribute.kind == uapi::NFTA_FLOW_TABLE_NAME {
                flowtable = Some(attribute.text());
            }
        }
        Ok(Self { flowtable: required(flowtable, uapi::NFTA_FLOW_TABLE_NAME)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn to_a_flowtable() {
        // flow add @f
        // [ flow_offload flowtable f ]
        let nft = "
            2400 0180                                    # element
              1100 0100 666c6f775f6f66666c6f616400000000 # name \"flow_offload\"
              0c00 0280                                  # data flow_offload
                0600 0100 66000000                       # table_name \"f\"
        ";
        same(FlowOffload { flowtable: "f".into() }, nft);
    }
}

//! An expression without a type of its own, kept as it was received.

use crate::AttrWriter;

/// An expression that this crate has no type for, as it was received.
///
/// The kernel looks for the name in the table's family and among those for all; one that it does not have is refused
/// (ENOENT from `nft_expr_type_get` in net/netfilter/nf_tables_api.c, Linux 6.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// The kernel's name for it
    pub name: &'a str,
    /// Its attributes
    pub attributes: &'a [u8],
}

impl Unknown<'_> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.raw(self.attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes, decode, different, same};

    #[test]
    fn kept_as_received() {
        // What nft makes of `limit rate 10/second`, under an unknown name.
        let limit = "
            4400 0180                      # element
              0b00 0100 6c696d6974320000   # name \"limit2\"
              3400 0280                    # data
                0c00 0100 000000000000000a # ?
                0c00 0200 0000000000000001 # ?
                0800 0300 00000005         # ?
                0800 0400 00000000         # ?
                0800 0500 00000000         # ?
        ";
        let attributes = bytes(
            "
            0c00 0100 000000000000000a
            0c00 0200 0000000000000001
            0800 0300 00000005
            0800 0400 00000000
            0800 0500 00000000
            ",
        );
        let unknown = Unknown { name: "limit2", attributes: &attributes };
        assert_eq!(decode(&bytes(limit)), crate::Expr::Unknown(unknown));
        same(crate::Expr::Unknown(unknown), limit);
    }

    #[test]
    fn with_a_value_that_needs_padding() {
        // What nft makes of `log prefix "x"`, under an unknown name.
        let log = "
            1c00 0180                    # element
              0900 0100 6c6f673200000000 # name \"log2\"
              0c00 0280                  # data
                0600 0200 78000000       # ?
        ";
        let prefix = bytes("0600 0200 78000000");
        same(crate::Expr::Unknown(Unknown { name: "log2", attributes: &prefix }), log);
    }

    #[test]
    fn without_attributes() {
        // As nft hands over `notrack`, under an unknown name.
        let nft = "
            1400 0180                            # element
              0d00 0100 6e6f747261636b3200000000 # name \"notrack2\"
        ";
        // Written with an empty NFTA_EXPR_DATA, which the kernel takes just as well.
        let ours = "
            1800 0180                            # element
              0d00 0100 6e6f747261636b3200000000 # name
              0400 0280                          # data
        ";
        different(crate::Expr::Unknown(Unknown { name: "notrack2", attributes: &[] }), nft, ours);
    }
}

use crate::AttrWriter;

/// An expression that this crate has no type for, as it was received.
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
        // limit rate 10/second
        // [ limit rate 10/second burst 5 type packets flags 0x0 ]
        let limit = "
            4400 0180                      # element
              0a00 0100 6c696d6974000000   # name \"limit\"
              3400 0280                    # data limit
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
        let unknown = Unknown { name: "limit", attributes: &attributes };
        assert_eq!(decode(&bytes(limit)), crate::Expr::Unknown(unknown));
        same(crate::Expr::Unknown(unknown), limit);
    }

    #[test]
    fn with_a_value_that_needs_padding() {
        // log prefix "x"
        // [ log prefix x ]
        let log = "
            1800 0180              # element
              0800 0100 6c6f6700   # name
              0c00 0280            # data log
                0600 0200 78000000 # ?
        ";
        let prefix = bytes("0600 0200 78000000");
        same(crate::Expr::Unknown(Unknown { name: "log", attributes: &prefix }), log);
    }

    #[test]
    fn without_attributes() {
        // notrack
        // [ notrack ]
        let nft = "
            1000 0180                    # element
              0c00 0100 6e6f747261636b00 # name \"notrack\"
        ";
        // Written with an empty NFTA_EXPR_DATA, which the kernel takes just as well.
        let ours = "
            1400 0180                     # element
              0c00 0100 6e6f747261636b00  # name
              0400 0280                   # data
        ";
        different(crate::Expr::Unknown(Unknown { name: "notrack", attributes: &[] }), nft, ours);
    }
}

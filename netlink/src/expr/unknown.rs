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

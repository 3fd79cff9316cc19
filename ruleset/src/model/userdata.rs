//! What programs keep in the kernel with a table, a chain, an object or an element, where a comment does not say all.

use nftwire::userdata;

use super::Name;
use crate::nft::compile::{self, NotCompiled};

/// The userdata of something that was read, where it is not just nft's comment: other programs keep there what they like,
/// and newer ones than we know have further entries. It goes back to the kernel as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Userdata(Option<Box<[u8]>>);

impl Userdata {
    /// Of these bytes that the kernel sent; nothing, where their comment says all.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let comment = userdata::comment(bytes).map(Name::from);
        let says_all = compile::comment(comment.as_ref()).is_ok_and(|plain| plain == bytes);
        Self((!says_all).then(|| bytes.into()))
    }

    /// The bytes, where a comment does not say all.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }

    /// What the kernel is to keep with something that has this comment. The bytes that were read belong to the comment that
    /// was read with them: with another one they are others' no longer, and nothing but the comment goes.
    ///
    /// # Errors
    /// nft could not read the comment.
    pub(crate) fn with(&self, comment: Option<&Name>) -> Result<Vec<u8>, NotCompiled> {
        match &self.0 {
            Some(bytes) if userdata::comment(bytes) == comment.map(Into::into) => Ok(bytes.to_vec()),
            _ => compile::comment(comment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_comment_does_not_say_is_kept() {
        let same = |bytes: &[u8]| {
            let comment = userdata::comment(bytes).map(Name::from);
            assert_eq!(Userdata::read(bytes).with(comment.as_ref()).unwrap(), bytes);
        };
        let long = userdata::with_comment("x".repeat(200).as_str()).unwrap();
        for bytes in
            [&b""[..], b"\0\x04web\0", b"kubernetes", b"\0\x04web\0\x63\x01a", b"\x63\x00\0\x02c\0", &long]
        {
            same(bytes);
        }
        assert_eq!(Userdata::read(b"\0\x04web\0"), Userdata::default());
        assert_eq!(Userdata::read(b"raw").bytes(), Some(&b"raw"[..]));
        let other = Name::from("other");
        assert_eq!(Userdata::read(b"raw").with(Some(&other)).unwrap(), b"\0\x06other\0");
    }
}

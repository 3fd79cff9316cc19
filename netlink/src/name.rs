//! Names and texts of others: bytes, which need not be UTF-8.
//!
//! The kernel takes any bytes without NUL as the name of a table, chain, set or object, as a comment and as a log prefix
//! (`nla_strcmp`, `nla_strdup` in lib/nlattr.c, Linux 6.12, look at nothing but the length). Whoever has CAP_NET_ADMIN
//! in a network namespace can therefore create names that hold escape sequences or end a line. [`Text`] and [`Name`]
//! keep such bytes and show them escaped, so that no name can pass for something else on a terminal.

use std::borrow::Borrow;
use std::fmt::{self, Write};

/// The bytes of a name or a text that belong to somebody else, such as a message.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The bytes of a string.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// These bytes, which hold no NUL.
    #[must_use]
    pub const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// As a string, where it is UTF-8.
    #[must_use]
    pub fn to_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// In quotation marks, with those inside escaped.
    #[must_use]
    pub fn quoted(self) -> Quoted<'a> {
        Quoted(self)
    }

    /// A copy that lives as long as it is needed.
    #[must_use]
    pub fn to_name(self) -> Name {
        Name(self.0.into())
    }
}

/// A text in quotation marks.
#[derive(Clone, Copy)]
pub struct Quoted<'a>(Text<'a>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.0.escape(f, Some('"'))?;
        f.write_char('"')
    }
}

/// The bytes of a name or a text.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// These bytes, which hold no NUL.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes, borrowed.
    #[must_use]
    pub fn as_text(&self) -> Text<'_> {
        Text(&self.0)
    }

    /// As a string, where it is UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        self.as_text().to_str()
    }

    /// In quotation marks, with those inside escaped.
    #[must_use]
    pub fn quoted(&self) -> Quoted<'_> {
        self.as_text().quoted()
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Escapes what would not show: control characters and bytes that are not UTF-8 as `\xHH`, characters that turn or end
/// the line as `\u{HHHH}`. Backslashes before that, or before what looks like it, are doubled, so that no two texts are
/// shown alike; others are left as they are, as nft shows them.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.iter().all(|byte| matches!(byte, b' '..=b'[' | b']'..=b'~')) {
            return f.pad(self.to_str().unwrap_or_default());
        }
        self.escape(f, None)
    }
}

impl Text<'_> {
    /// Writes the text; `quote` is escaped, too.
    fn escape(self, f: &mut fmt::Formatter<'_>, quote: Option<char>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let valid = chunk.valid();
            for (index, character) in valid.char_indices() {
                match character {
                    '\\' => {
                        let after = valid[index..].trim_start_matches('\\');
                        let escape_follows = match after.chars().next() {
                            None => !chunk.invalid().is_empty(),
                            Some(next) => is_deceptive(next) || Some(next) == quote || is_like_escape(after),
                        };
                        f.write_str(if escape_follows { "\\\\" } else { "\\" })?;
                    }
                    character if character.is_ascii_control() || Some(character) == quote => {
                        write!(f, "\\x{:02x}", u32::from(character))?;
                    }
                    character if is_deceptive(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                    character => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Whether this could be what is after the backslash of an escape.
fn is_like_escape(text: &str) -> bool {
    match text.as_bytes() {
        [b'x', high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        bytes => bytes.starts_with(b"u{"),
    }
}

/// Control characters, and what does not show but changes where or in which direction others do.
fn is_deceptive(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.quoted(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_text().fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_text(), f)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Text<'a> {
    fn from(text: &'a String) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a Name> for Text<'a> {
    fn from(name: &'a Name) -> Self {
        name.as_text()
    }
}

impl<'a> From<&Text<'a>> for Text<'a> {
    fn from(text: &Text<'a>) -> Self {
        *text
    }
}

impl From<Text<'_>> for Name {
    fn from(text: Text<'_>) -> Self {
        text.to_name()
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl From<Box<str>> for Name {
    fn from(text: Box<str>) -> Self {
        Self(text.into_boxed_bytes())
    }
}

impl From<&Box<str>> for Name {
    fn from(text: &Box<str>) -> Self {
        Self::new(text.as_bytes())
    }
}

impl<'a> From<&'a Box<str>> for Text<'a> {
    fn from(text: &'a Box<str>) -> Self {
        Self(text.as_bytes())
    }
}

impl From<&String> for Name {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Names are looked up by their bytes.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for Text<'_> {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<Name> for Text<'_> {
    fn eq(&self, other: &Name) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<Text<'_>> for Name {
    fn eq(&self, other: &Text<'_>) -> bool {
        *self.0 == *other.0
    }
}

impl PartialEq<Text<'_>> for str {
    fn eq(&self, other: &Text<'_>) -> bool {
        self.as_bytes() == other.0
    }
}

impl PartialEq<Text<'_>> for &str {
    fn eq(&self, other: &Text<'_>) -> bool {
        self.as_bytes() == other.0
    }
}

impl PartialEq<Name> for str {
    fn eq(&self, other: &Name) -> bool {
        *self.as_bytes() == *other.0
    }
}

impl PartialEq<Name> for &str {
    fn eq(&self, other: &Name) -> bool {
        *self.as_bytes() == *other.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> String {
        Text::from_bytes(bytes).to_string()
    }

    #[test]
    fn printable_text_is_not_escaped() {
        for text in ["", "istio-proxy-nat", "a.b/c_d-9", "caf\u{e9}", "\u{4e2d}", "a\\b", "say \"hi\""] {
            assert_eq!(shown(text.as_bytes()), text);
        }
        assert_eq!(format!("{:>4}|", Text::new("ab")), "  ab|");
    }

    #[test]
    fn unprintable_text_is_escaped() {
        assert_eq!(shown(b"caf\xe9"), "caf\\xe9");
        assert_eq!(shown(b"a\x1b[2Jb\n}\ntable"), "a\\x1b[2Jb\\x0a}\\x0atable");
        assert_eq!(shown("a\u{9b}\u{202e}b\u{2028}".as_bytes()), "a\\u{9b}\\u{202e}b\\u{2028}");
        assert_eq!(shown(b"\\x1b \\\\ \\xyz"), "\\\\x1b \\\\ \\xyz");
        assert_eq!(Text::new("a \"b\"").quoted().to_string(), "\"a \\x22b\\x22\"");
    }

    /// Reads escapes back: half of the backslashes before one are its own.
    fn unescaped(text: &str) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), text);
        while let Some(character) = rest.chars().next() {
            let after = rest.trim_start_matches('\\');
            let backslashes = rest.len() - after.len();
            if !is_like_escape(after) || backslashes == 0 {
                bytes.extend(character.to_string().as_bytes());
                rest = &rest[character.len_utf8()..];
                continue;
            }
            bytes.extend(vec![b'\\'; backslashes / 2]);
            rest = after;
            if backslashes % 2 == 0 {
                continue;
            }
            if let Some(number) = after.strip_prefix("u{") {
                let (number, after) = number.split_once('}').unwrap();
                let character = char::from_u32(u32::from_str_radix(number, 16).unwrap()).unwrap();
                bytes.extend(character.to_string().as_bytes());
                rest = after;
            } else {
                bytes.push(u8::from_str_radix(&after[1..3], 16).unwrap());
                rest = &after[3..];
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn no_two_names_look_alike(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[\\\\xu{}0-9a-f]{0,12}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                let shown = shown(bytes);
                prop_assert!(!shown.chars().any(char::is_control));
                prop_assert_eq!(unescaped(&shown), bytes);
            }
        }
    }
}

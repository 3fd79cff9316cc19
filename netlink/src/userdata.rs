//! What nft keeps in the userdata of tables, chains, rules, sets, elements and objects.
//!
//! The kernel keeps these bytes and gives them back, and knows nothing of what they mean. nft writes entries of an
//! 8-bit type, an 8-bit length and a value (libnftnl's `udata.h`); other programs write what they like. So nothing here
//! fails on what it reads: what does not look like an entry ends the list, and what has no meaning is left out.

use crate::Text;
use crate::number::kernel_number;
use crate::uapi::NFT_USERDATA_MAXLEN;

// enum nftnl_udata_table_types, nftnl_udata_chain_types, nftnl_udata_rule_types, nftnl_udata_obj_types and
// nftnl_udata_set_elem_types all start with the comment.
const COMMENT: u8 = 0;

// enum nftnl_udata_set_elem_types
const ELEMENT_FLAGS: u8 = 1;
const ELEMENT_INTERVAL_OPEN: u32 = 1;

// enum nftnl_udata_set_types
const SET_KEY_BYTE_ORDER: u8 = 0;
const SET_DATA_BYTE_ORDER: u8 = 1;
const SET_MERGE_ELEMENTS: u8 = 2;
const SET_KEY_TYPEOF: u8 = 3;
const SET_DATA_TYPEOF: u8 = 4;
const SET_DATA_INTERVAL: u8 = 6;
const SET_COMMENT: u8 = 7;

// The types inside a typeof
const TYPEOF_EXPRESSION: u8 = 0;
const TYPEOF_DATA: u8 = 1;

kernel_number! {
    /// The byte order of a set's keys or of a map's values (nft's `enum byteorder`).
    ByteOrder: u32 {
        /// That of the machine
        Host = 1,
        /// That of the network
        Big = 2,
    }
}

/// Why userdata cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserdataError {
    /// A value is longer than its 8-bit length can say.
    #[error("userdata entry {kind} holds {length} bytes, more than 255")]
    Entry {
        /// The entry's type
        kind: u8,
        /// Bytes of its value
        length: usize,
    },
    /// All of it is longer than the kernel keeps.
    #[error("userdata of {length} bytes, more than the kernel's 256")]
    Total {
        /// Bytes in all
        length: usize,
    },
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its type, whose meaning depends on what the userdata belongs to
    pub kind: u8,
    /// Its value
    pub value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The value as text, if it ends with its only NUL.
    #[must_use]
    pub fn text(&self) -> Option<Text<'a>> {
        std::ffi::CStr::from_bytes_with_nul(self.value).ok().map(|text| Text::from_bytes(text.to_bytes()))
    }

    /// The value as a 32-bit integer in host order, if it has four bytes.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The value as a list of entries.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        Entries(self.value)
    }
}

/// The entries of userdata, up to the first one that does not fit.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// Reads these bytes.
    #[must_use]
    pub fn new(userdata: &'a [u8]) -> Self {
        Self(userdata)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&[kind, length], rest) = std::mem::take(&mut self.0).split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(length.into())?;
        self.0 = rest;
        Some(Entry { kind, value })
    }
}

/// Writes entries, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Appends an entry.
    ///
    /// # Errors
    /// The value has more than 255 bytes.
    pub fn put(&mut self, kind: u8, value: &[u8]) -> Result<(), UserdataError> {
        let length =
            u8::try_from(value.len()).map_err(|_| UserdataError::Entry { kind, length: value.len() })?;
        self.bytes.extend([kind, length]);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Appends text, with its terminating NUL.
    ///
    /// # Errors
    /// As [`Writer::put`].
    pub fn put_text<'t>(&mut self, kind: u8, text: impl Into<Text<'t>>) -> Result<(), UserdataError> {
        let mut value = text.into().as_bytes().to_vec();
        value.push(0);
        self.put(kind, &value)
    }

    /// Appends a 32-bit integer in host order.
    ///
    /// # Errors
    /// None: it always fits.
    pub fn put_number(&mut self, kind: u8, number: u32) -> Result<(), UserdataError> {
        self.put(kind, &number.to_ne_bytes())
    }

    /// The userdata.
    ///
    /// # Errors
    /// It has more than the 256 bytes that the kernel keeps.
    pub fn finish(self) -> Result<Vec<u8>, UserdataError> {
        if self.bytes.len() > NFT_USERDATA_MAXLEN {
            return Err(UserdataError::Total { length: self.bytes.len() });
        }
        Ok(self.bytes)
    }
}

/// The comment of a table, a chain, a rule, an object or an element. A set has its own: [`SetUserdata`].
#[must_use]
pub fn comment(userdata: &[u8]) -> Option<Text<'_>> {
    Entries::new(userdata).find(|entry| entry.kind == COMMENT)?.text()
}

/// The userdata of a table, a chain, a rule, an object or an element that has nothing but a comment.
///
/// # Errors
/// The comment has more than 253 bytes. nft refuses those of 128 and more.
pub fn with_comment<'t>(comment: impl Into<Text<'t>>) -> Result<Vec<u8>, UserdataError> {
    let mut writer = Writer::default();
    writer.put_text(COMMENT, comment)?;
    writer.finish()
}

/// What nft keeps with an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElementUserdata<'a> {
    /// Its comment
    pub comment: Option<Text<'a>>,
    /// Whether the range that starts here has no end
    pub interval_open: bool,
}

impl<'a> ElementUserdata<'a> {
    /// Reads an element's userdata.
    #[must_use]
    pub fn decode(userdata: &'a [u8]) -> Self {
        let mut element = Self::default();
        for entry in Entries::new(userdata) {
            match entry.kind {
                COMMENT => element.comment = entry.text(),
                ELEMENT_FLAGS => {
                    let flags = entry.number().unwrap_or_default();
                    element.interval_open = flags & ELEMENT_INTERVAL_OPEN != 0;
                }
                _ => {}
            }
        }
        element
    }

    /// Writes it.
    ///
    /// # Errors
    /// The comment is too long.
    pub fn encode(&self) -> Result<Vec<u8>, UserdataError> {
        let mut writer = Writer::default();
        if let Some(comment) = self.comment {
            writer.put_text(COMMENT, comment)?;
        }
        if self.interval_open {
            writer.put_number(ELEMENT_FLAGS, ELEMENT_INTERVAL_OPEN)?;
        }
        writer.finish()
    }
}

/// The expression whose type a set's keys or a map's values have: `typeof ip saddr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typeof<'a> {
    /// What kind of expression it is (nft's `enum expr_types`)
    pub expression: u32,
    /// Its parameters, as entries whose meaning depends on the kind
    pub data: &'a [u8],
}

impl<'a> Typeof<'a> {
    fn decode(entries: Entries<'a>) -> Option<Self> {
        let (mut expression, mut data) = (None, [].as_slice());
        for entry in entries {
            match entry.kind {
                TYPEOF_EXPRESSION => expression = entry.number(),
                TYPEOF_DATA => data = entry.value,
                _ => {}
            }
        }
        Some(Self { expression: expression?, data })
    }

    fn encode(&self) -> Result<Vec<u8>, UserdataError> {
        let mut writer = Writer::default();
        writer.put_number(TYPEOF_EXPRESSION, self.expression)?;
        writer.put(TYPEOF_DATA, self.data)?;
        writer.finish()
    }
}

/// What nft keeps with a set or a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetUserdata<'a> {
    /// The byte order of its keys
    pub key_byte_order: Option<ByteOrder>,
    /// The byte order of a map's values
    pub data_byte_order: Option<ByteOrder>,
    /// Whether nft merges elements that touch: `auto-merge`
    pub merge_elements: bool,
    /// What its keys have the type of, where it was declared so
    pub key_typeof: Option<Typeof<'a>>,
    /// What a map's values have the type of, where it was declared so
    pub data_typeof: Option<Typeof<'a>>,
    /// Whether a map's values are ranges, where that is said
    pub data_interval: Option<bool>,
    /// Its comment
    pub comment: Option<Text<'a>>,
}

impl<'a> SetUserdata<'a> {
    /// Reads a set's userdata.
    #[must_use]
    pub fn decode(userdata: &'a [u8]) -> Self {
        let mut set = Self::default();
        for entry in Entries::new(userdata) {
            match entry.kind {
                SET_KEY_BYTE_ORDER => set.key_byte_order = entry.number().map(ByteOrder::from_number),
                SET_DATA_BYTE_ORDER => set.data_byte_order = entry.number().map(ByteOrder::from_number),
                SET_MERGE_ELEMENTS => set.merge_elements = entry.number().is_some_and(|number| number != 0),
                SET_KEY_TYPEOF => set.key_typeof = Typeof::decode(entry.entries()),
                SET_DATA_TYPEOF => set.data_typeof = Typeof::decode(entry.entries()),
                SET_DATA_INTERVAL => set.data_interval = entry.number().map(|number| number != 0),
                SET_COMMENT => set.comment = entry.text(),
                _ => {}
            }
        }
        set
    }

    /// Writes it, in nft's order.
    ///
    /// # Errors
    /// The comment or a type is too long.
    pub fn encode(&self) -> Result<Vec<u8>, UserdataError> {
        let mut writer = Writer::default();
        if let Some(order) = self.key_byte_order {
            writer.put_number(SET_KEY_BYTE_ORDER, order.number())?;
        }
        if let Some(order) = self.data_byte_order {
            writer.put_number(SET_DATA_BYTE_ORDER, order.number())?;
        }
        if self.merge_elements {
            writer.put_number(SET_MERGE_ELEMENTS, 1)?;
        }
        if let Some(kind) = &self.key_typeof {
            writer.put(SET_KEY_TYPEOF, &kind.encode()?)?;
        }
        if let Some(kind) = &self.data_typeof {
            writer.put(SET_DATA_TYPEOF, &kind.encode()?)?;
        }
        if let Some(interval) = self.data_interval {
            writer.put_number(SET_DATA_INTERVAL, interval.into())?;
        }
        if let Some(comment) = self.comment {
            writer.put_text(SET_COMMENT, comment)?;
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    // The goldens are what nft 1.0.6 writes, on a little-endian machine.

    #[test]
    fn comment_of_a_rule() {
        // tcp dport 80 counter comment "web"
        let nft = bytes("000477656200");
        assert_eq!(comment(&nft), Some(Text::new("web")));
        assert_eq!(with_comment("web"), Ok(nft));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn element_without_an_end() {
        // elements = { 1000-65535 }
        let nft = bytes("010401000000");
        let element = ElementUserdata { comment: None, interval_open: true };
        assert_eq!(ElementUserdata::decode(&nft), element);
        assert_eq!(element.encode(), Ok(nft));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn set_of_a_type() {
        // set s { type ipv4_addr; flags dynamic,timeout; ... comment "c"; }
        let nft = bytes("00040200000007026300");
        let set = SetUserdata {
            key_byte_order: Some(ByteOrder::Big),
            comment: Some("c".into()),
            ..Default::default()
        };
        assert_eq!(SetUserdata::decode(&nft), set);
        assert_eq!(set.encode(), Ok(nft));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn set_of_expressions() {
        // set s { typeof ip saddr . tcp dport; flags interval; auto-merge; comment "c"; }
        let nft = bytes(
            "000400000000\
             020401000000\
             033400040d000000012c\
             0014000407000000010c00040c00000001040b000000\
             0114000407000000010c00040800000001040200000007026300",
        );
        let set = SetUserdata::decode(&nft);
        assert_eq!(set.key_byte_order, Some(ByteOrder::from_number(0)));
        assert!(set.merge_elements && set.data_interval.is_none());
        assert_eq!(set.comment, Some("c".into()));
        let concatenation = set.key_typeof.unwrap();
        let parts: Vec<_> = Entries::new(concatenation.data).map(|part| part.entries()).collect();
        let parts: Vec<_> = parts.into_iter().map(|part| Typeof::decode(part).unwrap().expression).collect();
        assert_eq!((concatenation.expression, parts), (13, vec![7, 7]));
        assert_eq!(set.encode(), Ok(nft));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn map_to_ranges() {
        // map s { type ipv4_addr : interval ipv4_addr; ... comment "k"; }
        let nft = bytes("00040200000001040200000006040100000007026b00");
        let set = SetUserdata {
            key_byte_order: Some(ByteOrder::Big),
            data_byte_order: Some(ByteOrder::Big),
            data_interval: Some(true),
            comment: Some("k".into()),
            ..Default::default()
        };
        assert_eq!(SetUserdata::decode(&nft), set);
        assert_eq!(set.encode(), Ok(nft));
    }

    #[test]
    fn bytes_of_others_are_left_out() {
        assert_eq!(comment(b"kubernetes"), None);
        assert_eq!(comment(b"\0\x04web\xff"), None);
        assert_eq!(comment(b"\0\x04caf\xe9"), None);
        assert_eq!(comment(b"\0\x05caf\xe9\0"), Some(Text::from_bytes(b"caf\xe9")));
        assert_eq!(comment(b"\0\x09web"), None);
        assert_eq!(comment(b"\x05\x01a\0\x04web\0"), Some("web".into()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = "x".repeat(255);
        assert_eq!(with_comment(long.as_str()), Err(UserdataError::Entry { kind: 0, length: 256 }));
        assert_eq!(with_comment(&long[1..]), Err(UserdataError::Total { length: 257 }));
        assert_eq!(with_comment(&long[2..]).map(|userdata| userdata.len()), Ok(256));
    }

    proptest! {
        #[test]
        fn sets_are_read_back(
            (key, data) in any::<(Option<u32>, Option<u32>)>(),
            (merge_elements, data_interval) in any::<(bool, Option<bool>)>(),
            kind in option::of((any::<u32>(), proptest::collection::vec(any::<u8>(), 0..64))),
            comment in option::of("[^\0]{0,30}"),
        ) {
            let set = SetUserdata {
                key_byte_order: key.map(ByteOrder::from_number),
                data_byte_order: data.map(ByteOrder::from_number),
                merge_elements,
                key_typeof: kind.as_ref().map(|(expression, data)| Typeof { expression: *expression, data }),
                data_typeof: None,
                data_interval,
                comment: comment.as_deref().map(Into::into),
            };
            let again = set.encode().unwrap();
            prop_assert_eq!(SetUserdata::decode(&again), set);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = (comment(&bytes), ElementUserdata::decode(&bytes));
            let set = SetUserdata::decode(&bytes);
            let again = set.encode().unwrap();
            prop_assert_eq!(SetUserdata::decode(&again), set);
        }
    }
}

//! Netlink attributes: a writer that cannot lie about a length and a reader that checks every one.
//!
//! An attribute is a 16-bit length (its own four bytes included), a 16-bit type, the value, and padding to four
//! bytes (`include/uapi/linux/netlink.h`, `struct nlattr`). Both header fields are in host order.

use netlink_packet_core::{NLA_F_NESTED, NLA_TYPE_MASK};

use crate::{DecodeError, Text};

/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;

/// Appends attributes to a growing buffer.
///
/// An attribute that grows past the 65,535 bytes its length field can hold is remembered, not written wrongly:
/// [`AttrWriter::overflow`] then has its position, and a [`Batch`](crate::Batch) refuses to be sent.
#[derive(Clone, Debug, Default)]
pub struct AttrWriter {
    bytes: Vec<u8>,
    overflow: Option<usize>,
}

impl AttrWriter {
    /// A writer that reuses the buffer's memory; what it held is dropped.
    #[must_use]
    pub fn with_buffer(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, overflow: None }
    }

    /// Makes room for one more message of a long batch. Doubling would copy it over and over, and the allocator keeps what it was
    /// copied from; memory that is never written takes no page.
    pub(crate) fn make_room(&mut self) {
        /// A message of the usual kinds is shorter.
        const LONG: usize = 1 << 17;
        const STEP: usize = 1 << 26;
        let len = self.bytes.len();
        if len >= LONG && self.bytes.capacity() - len < LONG {
            // Where so much cannot be had at once, the buffer grows as any other.
            let _ = self.bytes.try_reserve_exact(STEP);
        }
    }

    /// What has been written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer, to be reused.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Where the first attribute starts that holds more than 65,531 bytes, if there is one.
    #[must_use]
    pub fn overflow(&self) -> Option<usize> {
        self.overflow
    }

    /// An attribute with these bytes as its value.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let length = self.length(value.len() + ATTRIBUTE_HEADER, self.bytes.len());
        self.bytes.extend_from_slice(&header(length, kind));
        self.pad(value);
    }

    /// An 8-bit integer.
    pub fn put_u8(&mut self, kind: u16, value: u8) {
        self.words([header(5, kind), [value, 0, 0, 0]]);
    }

    /// A 16-bit integer in network order.
    pub fn put_be16(&mut self, kind: u16, value: u16) {
        let [high, low] = value.to_be_bytes();
        self.words([header(6, kind), [high, low, 0, 0]]);
    }

    /// A 32-bit integer in host order.
    #[inline]
    pub fn put_ne32(&mut self, kind: u16, value: u32) {
        self.words([header(8, kind), value.to_ne_bytes()]);
    }

    /// A 32-bit integer in network order.
    #[inline]
    pub fn put_be32(&mut self, kind: u16, value: u32) {
        self.words([header(8, kind), value.to_be_bytes()]);
    }

    /// A 64-bit integer in network order.
    #[inline]
    pub fn put_be64(&mut self, kind: u16, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
        self.words([header(12, kind), [a, b, c, d], [e, f, g, h]]);
    }

    /// Several 32-bit integers in network order.
    #[inline]
    pub(crate) fn put_be32s<const N: usize>(&mut self, attributes: [(u16, u32); N]) {
        let attributes = attributes.map(|(kind, value)| [header(8, kind), value.to_be_bytes()]);
        self.bytes.extend_from_slice(attributes.as_flattened().as_flattened());
    }

    /// Several 64-bit integers in network order.
    #[inline]
    pub(crate) fn put_be64s<const N: usize>(&mut self, attributes: [(u16, u64); N]) {
        let attributes = attributes.map(|(kind, value)| {
            let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
            [header(12, kind), [a, b, c, d], [e, f, g, h]]
        });
        self.bytes.extend_from_slice(attributes.as_flattened().as_flattened());
    }

    /// A string with its terminating NUL.
    pub fn put_str(&mut self, kind: u16, value: &str) {
        self.put_text(kind, value);
    }

    /// A name with its terminating NUL.
    pub fn put_text<'t>(&mut self, kind: u16, value: impl Into<Text<'t>>) {
        let value = value.into().as_bytes();
        let start = self.bytes.len();
        let length = self.length(value.len() + 1 + ATTRIBUTE_HEADER, start);
        self.bytes.extend_from_slice(&header(length, kind));
        self.bytes.extend_from_slice(value);
        // The NUL, and zeros up to the next attribute.
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.truncate(start + (ATTRIBUTE_HEADER + value.len() + 1).next_multiple_of(4));
    }

    /// An attribute that holds the attributes which `fill` writes.
    #[inline]
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&header(0, kind | NLA_F_NESTED));
        fill(self);
        self.close(start);
        // Only what was received may end anywhere.
        let end = self.bytes.len().next_multiple_of(4);
        if end != self.bytes.len() {
            self.bytes.resize(end, 0);
        }
    }

    /// Words of four bytes, as they are: attributes whose lengths are known. One write is several times as fast as one
    /// for each of them.
    #[inline]
    pub(crate) fn words<const N: usize>(&mut self, words: [[u8; 4]; N]) {
        self.bytes.extend_from_slice(words.as_flattened());
    }

    /// Bytes, and zeros up to the next attribute.
    #[inline]
    pub(crate) fn pad(&mut self, value: &[u8]) {
        // The sizes of most registers, without a call for a copy of any length.
        match *value {
            [a] => self.words([[a, 0, 0, 0]]),
            [a, b] => self.words([[a, b, 0, 0]]),
            [a, b, c, d] => self.words([[a, b, c, d]]),
            _ => {
                let end = self.bytes.len() + value.len().next_multiple_of(4);
                self.bytes.extend_from_slice(value);
                self.bytes.extend_from_slice(&[0; 3]);
                self.bytes.truncate(end);
            }
        }
    }

    /// Fills in the length of the attribute that starts at `start` and ends here, with other attributes in it.
    #[inline]
    pub(crate) fn close(&mut self, start: usize) {
        let length = self.length(self.bytes.len() - start, start);
        self.patch(start, &length.to_ne_bytes());
    }

    /// The length of the attribute that starts at `start`, header included; one that is too long is remembered.
    #[inline]
    fn length(&mut self, length: usize, start: usize) -> u16 {
        u16::try_from(length).unwrap_or_else(|_| {
            self.overflow.get_or_insert(start);
            0
        })
    }

    /// Bytes that are not an attribute: a message's header.
    #[inline]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Overwrites the bytes at `position`.
    #[inline]
    pub(crate) fn patch(&mut self, position: usize, bytes: &[u8]) {
        self.bytes[position..position + bytes.len()].copy_from_slice(bytes);
    }

    /// Drops everything from `length` on.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// An attribute's length, header included, and its type.
#[inline]
pub(crate) const fn header(length: u16, kind: u16) -> [u8; ATTRIBUTE_HEADER] {
    let ([l0, l1], [k0, k1]) = (length.to_ne_bytes(), kind.to_ne_bytes());
    [l0, l1, k0, k1]
}

/// The attributes in a stretch of bytes, in order.
///
/// Ends after the first one that does not fit its surroundings, with an error.
#[derive(Clone, Copy, Debug)]
pub struct AttrReader<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> AttrReader<'a> {
    /// Reads `bytes` as a sequence of attributes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, rest: bytes }
    }

    /// All the bytes that are read, whatever was read of them already.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for AttrReader<'a> {
    type Item = Result<Attr<'a>, DecodeError>;

    // A listing reads some thirty attributes a rule; this loop takes a fraction of netlink-packet-core's time.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = split_attribute(self.rest);
        self.rest = attribute.map_or(&[], |(_, rest)| rest);
        Some(attribute.map(|(attribute, _)| attribute).ok_or(DecodeError::AttributeLength))
    }
}

/// The first attribute, and the bytes after it and its padding.
fn split_attribute(bytes: &[u8]) -> Option<(Attr<'_>, &[u8])> {
    let (&[l0, l1, k0, k1], _) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    // A length below the header's own is not a range.
    let value = bytes.get(ATTRIBUTE_HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((Attr { kind: u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK, value }, rest))
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// The type, without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    pub kind: u16,
    /// The value, without header and padding.
    pub value: &'a [u8],
}

impl<'a> Attr<'a> {
    /// The value as an 8-bit integer.
    ///
    /// # Errors
    /// The value is not one byte.
    pub fn u8(&self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    /// The value as a 16-bit integer in network order.
    ///
    /// # Errors
    /// The value is not two bytes.
    pub fn be16(&self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// The value as a 32-bit integer in network order.
    ///
    /// # Errors
    /// The value is not four bytes.
    pub fn be32(&self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The value as a 32-bit integer in host order.
    ///
    /// # Errors
    /// The value is not four bytes.
    pub fn ne32(&self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_ne_bytes)
    }

    /// The value as a 64-bit integer in network order.
    ///
    /// # Errors
    /// The value is not eight bytes.
    pub fn be64(&self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The value as a string, up to its NUL.
    ///
    /// # Errors
    /// The value is not UTF-8.
    pub fn str(&self) -> Result<&'a str, DecodeError> {
        self.text().to_str().ok_or(DecodeError::Text { attribute: self.kind })
    }

    /// The value as a name: bytes up to its NUL.
    #[must_use]
    pub fn text(&self) -> Text<'a> {
        let end = self.value.iter().position(|&byte| byte == 0).unwrap_or(self.value.len());
        Text::from_bytes(&self.value[..end])
    }

    /// The value as a sequence of attributes.
    #[must_use]
    pub fn nested(&self) -> AttrReader<'a> {
        AttrReader::new(self.value)
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.value.try_into().map_err(|_| DecodeError::ValueLength {
            attribute: self.kind,
            expected: N,
            found: self.value.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, bytes};

    #[test]
    fn values_and_padding() {
        let mut writer = AttrWriter::default();
        writer.put_u8(1, 0xab);
        writer.put_be16(2, 0x1234);
        writer.put_be32(3, 0x1234_5678);
        writer.put_be64(4, 0x1234_5678_9abc_def0);
        writer.put_str(5, "mesh");
        writer.put_str(6, "");
        writer.nest(7, |writer| {
            writer.put(8, &[]);
            writer.nest(9, |writer| writer.put(10, &[1, 2, 3]));
        });
        writer.put_ne32(11, u32::from_ne_bytes([0x12, 0x34, 0x56, 0x78]));
        let golden = "
            0500 0100 ab000000
            0600 0200 12340000
            0800 0300 12345678
            0c00 0400 123456789abcdef0
            0900 0500 6d65736800000000
            0500 0600 00000000
            1400 0780
              0400 0800
              0c00 0980
                0700 0a00 01020300
            0800 0b00 12345678
        ";
        assert_bytes(writer.as_bytes(), &bytes(golden));

        let written = writer.into_buffer();
        let read: Vec<_> = AttrReader::new(&written).map(Result::unwrap).collect();
        assert_eq!(read[0].u8(), Ok(0xab));
        assert_eq!(read[1].be16(), Ok(0x1234));
        assert_eq!(read[2].be32(), Ok(0x1234_5678));
        assert_eq!(read[2].ne32(), Ok(u32::from_ne_bytes([0x12, 0x34, 0x56, 0x78])));
        assert_eq!(read[3].be64(), Ok(0x1234_5678_9abc_def0));
        assert_eq!((read[4].str(), read[5].str()), (Ok("mesh"), Ok("")));
        let inside: Vec<_> = read[6].nested().map(Result::unwrap).collect();
        assert_eq!(inside[0], Attr { kind: 8, value: &[] });
        assert_eq!(inside[1].nested().next(), Some(Ok(Attr { kind: 10, value: &[1, 2, 3] })));
        assert_eq!(read.len(), 8);
    }

    #[test]
    fn the_longest_value() {
        let mut writer = AttrWriter::default();
        writer.put_u8(1, 0);
        writer.put(2, &[7; 65_531]);
        assert_eq!(writer.overflow(), None);
        let written = writer.into_buffer();
        assert_eq!(AttrReader::new(&written).nth(1), Some(Ok(Attr { kind: 2, value: &[7; 65_531] })));
    }

    #[test]
    fn a_value_that_is_too_long() {
        let mut writer = AttrWriter::default();
        writer.put_u8(1, 0);
        writer.put(2, &[7; 65_532]);
        writer.put(3, &[7; 65_532]);
        assert_eq!(writer.overflow(), Some(8));
        let writer = AttrWriter::with_buffer(writer.into_buffer());
        assert_eq!((writer.overflow(), writer.as_bytes().len()), (None, 0));
    }

    #[test]
    fn a_nest_that_is_too_long() {
        let mut writer = AttrWriter::default();
        writer.nest(1, |writer| {
            writer.put(2, &[7; 40_000]);
            writer.put(3, &[7; 40_000]);
        });
        assert_eq!(writer.overflow(), Some(0));
    }

    #[test]
    fn values_of_another_length_than_their_type() {
        let attr = Attr { kind: 9, value: &[1, 2, 3] };
        let wrong = |expected| DecodeError::ValueLength { attribute: 9, expected, found: 3 };
        assert_eq!(attr.u8(), Err(wrong(1)));
        assert_eq!(attr.be16(), Err(wrong(2)));
        assert_eq!(attr.be32(), Err(wrong(4)));
        assert_eq!(attr.ne32(), Err(wrong(4)));
        assert_eq!(attr.be64(), Err(wrong(8)));
    }

    #[test]
    fn text() {
        assert_eq!(Attr { kind: 1, value: b"mesh" }.str(), Ok("mesh"));
        assert_eq!(Attr { kind: 1, value: b"mesh\0\0x" }.str(), Ok("mesh"));
        assert_eq!(Attr { kind: 1, value: b"" }.str(), Ok(""));
        assert_eq!(Attr { kind: 1, value: b"\xff\0" }.str(), Err(DecodeError::Text { attribute: 1 }));
    }

    #[test]
    fn lengths_that_do_not_fit_end_the_reading() {
        for golden in [
            "0000 0100",          // shorter than its own header
            "0300 0100",          // likewise
            "0900 0100 00000000", // one byte more than there is
            "0800",               // half a header
        ] {
            let bytes = bytes(&format!("0500 0100 07000000\n{golden}"));
            let read: Vec<_> = AttrReader::new(&bytes).collect();
            let first = Attr { kind: 1, value: &[7] };
            assert_eq!(read, [Ok(first), Err(DecodeError::AttributeLength)], "{golden}");
        }
    }

    #[test]
    fn padding_of_the_last_attribute_may_be_missing() {
        let bytes = bytes("0500 0100 07");
        assert_eq!(AttrReader::new(&bytes).next(), Some(Ok(Attr { kind: 1, value: &[7] })));
        assert_eq!(AttrReader::new(&bytes).count(), 1);
    }

    #[test]
    fn flags_of_a_type_are_taken_off() {
        let bytes = bytes("0400 01c0");
        assert_eq!(AttrReader::new(&bytes).next(), Some(Ok(Attr { kind: 1, value: &[] })));
    }
}

//! Fields by their bits.

use crate::{Data, Field, Selector};

/// Bits of a header or an option, and what has to be done to get the value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits {
    /// Bits from the start
    pub(super) offset: u32,
    /// Bits of the value
    pub(super) len: u32,
}

impl Bits {
    pub(super) fn first_byte(self) -> u32 {
        self.offset / 8
    }

    /// Bytes that have to be read.
    pub(super) fn bytes(self) -> u32 {
        (self.offset + self.len).div_ceil(8) - self.first_byte()
    }

    /// Bits after the value in the last byte.
    pub(super) fn shift(self) -> u32 {
        (8 - (self.offset + self.len) % 8) % 8
    }

    pub(super) fn is_whole_bytes(self) -> bool {
        self.offset.is_multiple_of(8) && self.len.is_multiple_of(8)
    }

    /// Ones where the value is in the bytes that are read.
    pub(super) fn mask(self) -> Data {
        let ones = Data::new(&(0..self.len.div_ceil(8)).map(|_| 0xff).collect::<Vec<_>>());
        let excess = ones_of(self.len.div_ceil(8) * 8 - self.len);
        let mut bytes = ones.as_bytes().to_vec();
        if let Some(first) = bytes.first_mut() {
            *first &= excess;
        }
        self.placed(&Data::new(&bytes))
    }

    /// A value that is in the lowest bits, where it is in the bytes that are read.
    pub(super) fn placed(self, value: &Data) -> Data {
        let len = usize::try_from(self.bytes()).unwrap_or(0);
        let number = value.as_bytes().iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let bytes = (number << self.shift()).to_be_bytes();
        Data::new(&bytes[bytes.len().saturating_sub(len)..])
    }
}

/// A byte without its highest bits.
fn ones_of(without: u32) -> u8 {
    u8::try_from(0xff_u16 >> without.min(8)).unwrap_or(0)
}

/// The bits that a selector of a header or an option reads.
pub(super) fn bits(selector: &Selector) -> Option<Bits> {
    match selector {
        Selector::Payload(Field { offset, len, .. }) => {
            Some(Bits { offset: u32::from(*offset), len: u32::from(*len) })
        }
        Selector::Raw(raw) => Some(Bits { offset: raw.offset, len: raw.len }),
        Selector::Option(option) if !option.presence => {
            Some(Bits { offset: option.offset.into(), len: option.len.into() })
        }
        _ => None,
    }
}

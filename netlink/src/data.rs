//! What the virtual machine works on: registers, values and verdicts.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NLA_F_NESTED;
use smallvec::SmallVec;

use crate::attr::header;
use crate::{AttrReader, AttrWriter, DecodeError, Text, uapi};

/// A register by its number, in the kernel's canonical form.
///
/// The kernel has 16 registers of four bytes (`NFT_REG32_00` to `NFT_REG32_15`), which it also knows, four at a
/// time, as four registers of 16 bytes (`NFT_REG_1` to `NFT_REG_4`). A dump names a register that starts at a
/// 16-byte boundary by its 16-byte name, and so does this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register(u32);

impl Register {
    /// `NFT_REG_VERDICT`
    pub const VERDICT: Self = Self(uapi::NFT_REG_VERDICT);
    /// `NFT_REG_1`: bytes 0 to 15
    pub const R1: Self = Self(uapi::NFT_REG_1);
    /// `NFT_REG_2`: bytes 16 to 31
    pub const R2: Self = Self(uapi::NFT_REG_1 + 1);

    /// The register with this number of `enum nft_registers`.
    #[must_use]
    pub fn new(number: u32) -> Self {
        let words_in_16_bytes = 4;
        match number {
            uapi::NFT_REG32_00..=uapi::NFT_REG32_15
                if (number - uapi::NFT_REG32_00).is_multiple_of(words_in_16_bytes) =>
            {
                Self(uapi::NFT_REG_1 + (number - uapi::NFT_REG32_00) / words_in_16_bytes)
            }
            _ => Self(number),
        }
    }

    /// The number, as in `enum nft_registers`.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Bytes as they are in a register: at most 64 (`NFT_DATA_VALUE_MAXLEN`), 16 of them without an allocation.
#[derive(Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Data(SmallVec<[u8; 16]>);

/// As one copy: the derived one goes byte by byte.
impl Clone for Data {
    fn clone(&self) -> Self {
        Self::new(self.as_bytes())
    }
}

impl Data {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }

    /// `length` zero bytes.
    #[must_use]
    pub fn zero(length: usize) -> Self {
        Self(SmallVec::from_elem(0, length))
    }

    /// A 16-bit number in network order: a port.
    #[must_use]
    pub fn be16(value: u16) -> Self {
        Self::new(&value.to_be_bytes())
    }

    /// A 16-bit number in host order: a conntrack zone.
    #[must_use]
    pub fn ne16(value: u16) -> Self {
        Self::new(&value.to_ne_bytes())
    }

    /// A 32-bit number in host order: a mark, a uid, a conntrack state.
    #[must_use]
    pub fn ne32(value: u32) -> Self {
        Self::new(&value.to_ne_bytes())
    }

    /// An interface's name, padded with NUL to IFNAMSIZ, 16 bytes. A longer name is cut off there.
    #[must_use]
    pub fn interface(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(name.as_bytes()) {
            *to = *from;
        }
        Self::new(&bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn put(&self, writer: &mut AttrWriter, kind: u16) {
        // At most 64 bytes: a decoder refuses more, and so does the kernel.
        match u16::try_from(self.0.len()) {
            Ok(len) if self.0.len() <= uapi::NFT_DATA_VALUE_MAXLEN => {
                let padded = len.next_multiple_of(4);
                writer
                    .words([header(padded + 8, kind | NLA_F_NESTED), header(len + 4, uapi::NFTA_DATA_VALUE)]);
                writer.pad(&self.0);
            }
            _ => writer.nest(kind, |writer| writer.put(uapi::NFTA_DATA_VALUE, &self.0)),
        }
    }

    pub(crate) fn decode(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        for attribute in attributes {
            let attribute = attribute?;
            if attribute.kind == uapi::NFTA_DATA_VALUE {
                if attribute.value.len() > uapi::NFT_DATA_VALUE_MAXLEN {
                    return Err(DecodeError::ValueLength {
                        attribute: attribute.kind,
                        expected: uapi::NFT_DATA_VALUE_MAXLEN,
                        found: attribute.value.len(),
                    });
                }
                return Ok(Self::new(attribute.value));
            }
        }
        Err(DecodeError::Missing { attribute: uapi::NFTA_DATA_VALUE })
    }
}

impl From<Ipv4Addr> for Data {
    fn from(address: Ipv4Addr) -> Self {
        Self::new(&address.octets())
    }
}

impl From<Ipv6Addr> for Data {
    fn from(address: Ipv6Addr) -> Self {
        Self::new(&address.octets())
    }
}

/// What happens to the packet, or where evaluation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// `NF_DROP`
    Drop,
    /// `NF_ACCEPT`
    Accept,
    /// `NFT_CONTINUE`: continues with the next rule
    Continue,
    /// `NFT_BREAK`: ends the rule; the next one is evaluated
    Break,
    /// `NFT_JUMP`: continues in the chain, and returns
    Jump(Text<'a>),
    /// `NFT_GOTO`: continues in the chain; does not return
    Goto(Text<'a>),
    /// As [`Verdict::Jump`], into the chain that has this number in the batch
    JumpId(u32),
    /// As [`Verdict::Goto`], into the chain that has this number in the batch
    GotoId(u32),
    /// `NFT_RETURN`: back to the chain that jumped here; at the end of a base chain its policy
    Return,
    /// Any other code
    Other(OtherVerdict),
}

/// The code of a verdict that [`Verdict`] has no variant for, such as `NF_QUEUE` with a queue number in its upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherVerdict(i32);

impl OtherVerdict {
    /// `None` for a code that [`Verdict`] has a variant for.
    #[must_use]
    pub const fn new(code: i32) -> Option<Self> {
        match code {
            uapi::NF_DROP
            | uapi::NF_ACCEPT
            | uapi::NFT_CONTINUE
            | uapi::NFT_BREAK
            | uapi::NFT_JUMP
            | uapi::NFT_GOTO
            | uapi::NFT_RETURN => None,
            code => Some(Self(code)),
        }
    }

    /// The code (`NFTA_VERDICT_CODE`, two's complement).
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }
}

impl<'a> Verdict<'a> {
    fn code(self) -> i32 {
        match self {
            Self::Drop => uapi::NF_DROP,
            Self::Accept => uapi::NF_ACCEPT,
            Self::Continue => uapi::NFT_CONTINUE,
            Self::Break => uapi::NFT_BREAK,
            Self::Jump(_) | Self::JumpId(_) => uapi::NFT_JUMP,
            Self::Goto(_) | Self::GotoId(_) => uapi::NFT_GOTO,
            Self::Return => uapi::NFT_RETURN,
            Self::Other(other) => other.code(),
        }
    }

    pub(crate) fn put(self, writer: &mut AttrWriter, kind: u16) {
        let start = writer.len();
        writer.words([
            header(16, kind | NLA_F_NESTED),
            header(12, uapi::NFTA_DATA_VERDICT | NLA_F_NESTED),
            header(8, uapi::NFTA_VERDICT_CODE),
            self.code().to_be_bytes(),
        ]);
        if let Self::Jump(chain) | Self::Goto(chain) = self {
            writer.put_text(uapi::NFTA_VERDICT_CHAIN, chain);
        } else if let Self::JumpId(id) | Self::GotoId(id) = self {
            writer.put_be32(uapi::NFTA_VERDICT_CHAIN_ID, id);
        } else {
            return;
        }
        writer.close(start + 4);
        writer.close(start);
    }

    /// Reads the attributes inside `NFTA_DATA_VERDICT`.
    pub(crate) fn decode(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut code, mut chain) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_VERDICT_CODE => code = Some(attribute.be32()?.cast_signed()),
                uapi::NFTA_VERDICT_CHAIN => chain = Some(attribute.text()),
                _ => {}
            }
        }
        let chain = || chain.ok_or(DecodeError::Missing { attribute: uapi::NFTA_VERDICT_CHAIN });
        Ok(match code.ok_or(DecodeError::Missing { attribute: uapi::NFTA_VERDICT_CODE })? {
            uapi::NF_DROP => Self::Drop,
            uapi::NF_ACCEPT => Self::Accept,
            uapi::NFT_CONTINUE => Self::Continue,
            uapi::NFT_BREAK => Self::Break,
            uapi::NFT_JUMP => Self::Jump(chain()?),
            uapi::NFT_GOTO => Self::Goto(chain()?),
            uapi::NFT_RETURN => Self::Return,
            code => Self::Other(OtherVerdict(code)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, bytes};

    #[test]
    fn registers_have_one_name() {
        let canonical: Vec<_> = (8..=23).map(|number| Register::new(number).number()).collect();
        assert_eq!(canonical, [1, 9, 10, 11, 2, 13, 14, 15, 3, 17, 18, 19, 4, 21, 22, 23]);
        for number in [0, 1, 2, 3, 4, 5, 7, 24, u32::MAX] {
            assert_eq!(Register::new(number).number(), number);
        }
        assert_eq!((Register::new(8), Register::new(12)), (Register::R1, Register::R2));
    }

    #[test]
    fn byte_orders() {
        assert_eq!(Data::be16(0x1234).as_bytes(), [0x12, 0x34]);
        assert_eq!(Data::ne16(0x1234).as_bytes(), 0x1234u16.to_ne_bytes());
        assert_eq!(Data::ne32(0x1234_5678).as_bytes(), 0x1234_5678u32.to_ne_bytes());
        assert_eq!(Data::from(Ipv4Addr::new(1, 2, 3, 4)).as_bytes(), [1, 2, 3, 4]);
        assert_eq!(Data::from(Ipv6Addr::LOCALHOST).as_bytes(), 1u128.to_be_bytes());
        assert_eq!(Data::zero(3).as_bytes(), [0; 3]);
    }

    #[test]
    fn interfaces_are_padded_and_cut_off() {
        assert_eq!(Data::interface("lo").as_bytes(), b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(Data::interface("a234567890123456789").as_bytes(), b"a234567890123456");
    }

    #[test]
    fn sixteen_bytes_are_stored_inline() {
        assert!(!Data::zero(16).0.spilled());
        assert!(Data::zero(17).0.spilled());
    }

    #[test]
    fn more_than_the_registers_hold_is_refused() {
        let mut writer = AttrWriter::default();
        Data::zero(64).put(&mut writer, 1);
        Data::zero(65).put(&mut writer, 1);
        let decoded: Vec<_> =
            AttrReader::new(writer.as_bytes()).map(|value| Data::decode(value.unwrap().nested())).collect();
        let expected = uapi::NFT_DATA_VALUE_MAXLEN;
        let attribute = uapi::NFTA_DATA_VALUE;
        assert_eq!(
            decoded,
            [Ok(Data::zero(64)), Err(DecodeError::ValueLength { attribute, expected, found: 65 })]
        );
    }

    #[test]
    fn verdict_of_another_kind() {
        // NF_QUEUE with the queue 3, as the compatibility layer writes it.
        let golden = "
            1000 0280
              0c00 0280
                0800 0100 00030003
        ";
        let mut writer = AttrWriter::default();
        Verdict::Other(OtherVerdict(0x0003_0003)).put(&mut writer, 2);
        assert_bytes(writer.as_bytes(), &bytes(golden));
        let other = bytes("0800 0100 00030003");
        assert_eq!(Verdict::decode(AttrReader::new(&other)), Ok(Verdict::Other(OtherVerdict(0x0003_0003))));
    }

    #[test]
    fn what_a_verdict_cannot_do_without() {
        let nothing = Verdict::decode(AttrReader::new(&[]));
        assert_eq!(nothing, Err(DecodeError::Missing { attribute: uapi::NFTA_VERDICT_CODE }));
        let out = bytes("0800 0100 fffffffe");
        assert_eq!(Verdict::decode(AttrReader::new(&out)), Ok(Verdict::Break));
        let goto = bytes("0800 0100 fffffffc");
        let missing = DecodeError::Missing { attribute: uapi::NFTA_VERDICT_CHAIN };
        assert_eq!(Verdict::decode(AttrReader::new(&goto)), Err(missing));
    }
}

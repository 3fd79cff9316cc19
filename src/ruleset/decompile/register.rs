//! What stands in the registers.

use nftwire::Register;
use nftwire::expr::{CtKey, MetaKey, SocketKey};

use crate::ruleset::selector::CtOf;
use crate::ruleset::{DataType, Expression, Selector};

/// What stands in a register.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// Fields of headers as [`Selector::Raw`](crate::ruleset::Selector::Raw), constants without a type: what they are
    /// shows where they are used
    pub(super) expression: Expression,
    /// Bytes; 0 where it is not known
    pub(super) len: u32,
    /// Whether it was turned into the other byte order
    pub(super) swapped: bool,
}

/// The 16 registers of four bytes, which are also four of 16 bytes.
#[derive(Debug, Default)]
pub(super) struct Registers {
    /// Most rules use no other
    first: Option<Loaded>,
    others: [Option<Box<Loaded>>; WORDS],
}

const WORDS: usize = 16;

impl Registers {
    pub(super) fn clear(&mut self) {
        self.first = None;
        self.others.iter_mut().for_each(|word| *word = None);
    }

    pub(super) fn put(&mut self, register: Register, loaded: Loaded) {
        match word(register) {
            Some(0) => self.first = Some(loaded),
            Some(word) => self.others[word] = Some(Box::new(loaded)),
            None => {}
        }
    }

    pub(super) fn get(&self, register: Register) -> Option<Loaded> {
        self.at(word(register)?)
    }

    fn at(&self, word: usize) -> Option<Loaded> {
        match word {
            0 => self.first.clone(),
            word => self.others.get(word)?.as_deref().cloned(),
        }
    }

    /// The `len` bytes from this register on: one value, or several one behind the other.
    pub(super) fn join(&self, register: Register, len: u32) -> Option<Loaded> {
        let mut word = word(register)?;
        let first = self.at(word)?;
        if first.len == 0 || first.len.next_multiple_of(4) >= len.next_multiple_of(4) {
            return Some(first);
        }
        let mut parts = Vec::new();
        let mut rest = len;
        while rest > 0 {
            let part = self.at(word)?;
            let padded = part.len.max(1).next_multiple_of(4);
            rest = rest.saturating_sub(padded);
            word += usize::try_from(padded / 4).ok()?;
            parts.push(part.expression);
        }
        Some(Loaded { expression: Expression::Concat(parts), len, swapped: false })
    }
}

/// Bytes that the kernel loads; 0 where the selector does not tell.
pub(super) fn len(selector: Selector) -> u32 {
    match selector {
        Selector::Ct(CtKey::Src | CtKey::Dst) | Selector::CtOf(CtOf { key: CtKey::Src | CtKey::Dst, .. }) => {
            0
        }
        Selector::Ct(CtKey::Zone) | Selector::CtOf(CtOf { key: CtKey::Zone, .. }) => 2,
        Selector::Ct(CtKey::Bytes | CtKey::Pkts | CtKey::Avgpkt)
        | Selector::CtOf(CtOf { key: CtKey::Bytes | CtKey::Pkts | CtKey::Avgpkt, .. }) => 8,
        Selector::Meta(MetaKey::NfTrace) => 1,
        Selector::Meta(MetaKey::BriIifPvid) | Selector::Rt(nftwire::expr::RtKey::TcpMss) => 2,
        Selector::Socket(SocketKey::Transparent | SocketKey::Wildcard, _) => 1,
        selector => match (selector.data_type(), selector.data_type().size()) {
            (DataType::String, _) => 16,
            (_, 0) => 4,
            (_, size) => size,
        },
    }
}

fn word(register: Register) -> Option<usize> {
    let number = usize::try_from(register.number()).ok()?;
    let word = match number {
        1..=4 => (number - 1) * 4,
        8..=23 => number - 8,
        _ => return None,
    };
    (word < WORDS).then_some(word)
}

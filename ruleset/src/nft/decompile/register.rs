//! What the registers hold.

use nftwire::Register;
use nftwire::expr::{CtKey, MetaKey, SocketKey, TunnelKey};

use crate::model::selector::CtOf;
use crate::{DataType, Expression, Selector};

/// What a register holds.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// Fields of headers as [`Selector::Raw`](crate::Selector::Raw), constants without a type: what they are
    /// shows where they are used
    pub(super) expression: Expression,
    /// Bytes; 0 where it is not known
    pub(super) len: u32,
    /// Whether it was turned into the other byte order
    pub(super) swapped: bool,
    /// Of how many parts it is made
    pub(super) weight: u32,
}

impl Loaded {
    /// Something made of one part.
    pub(super) fn new(expression: Expression, len: u32) -> Self {
        Self { expression, len, swapped: false, weight: 1 }
    }
}

/// Of how many parts something may be made. The kernel's 128 expressions a rule allow more when each uses several of
/// those before, but no rule that means something does.
const WEIGHT_MAX: u32 = 256;

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

    /// Puts something into a register; what is made of too many parts is left out.
    pub(super) fn put(&mut self, register: Register, loaded: Loaded) {
        let loaded = Some(loaded).filter(|loaded| loaded.weight <= WEIGHT_MAX);
        match word(register) {
            Some(0) => self.first = loaded,
            Some(word) => self.others[word] = loaded.map(Box::new),
            None => {}
        }
    }

    /// Forgets what is in a register: what it is filled with is not known.
    pub(super) fn remove(&mut self, register: Register) {
        match word(register) {
            Some(0) => self.first = None,
            Some(word) => self.others[word] = None,
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

    /// The `len` bytes from this register on: one value, or several one after the other.
    pub(super) fn join(&self, register: Register, len: u32) -> Option<Loaded> {
        let mut word = word(register)?;
        let first = self.at(word)?;
        if first.len == 0 || padded(first.len) >= padded(len) {
            return Some(first);
        }
        let mut parts = Vec::new();
        let mut weight = 1_u32;
        let mut rest = len;
        while rest > 0 {
            let part = self.at(word)?;
            let bytes = padded(part.len.max(1));
            rest = rest.saturating_sub(bytes);
            word += usize::try_from(bytes / 4).ok()?;
            weight = weight.saturating_add(part.weight);
            parts.push(part.expression);
        }
        Some(Loaded { expression: Expression::Concat(parts), len, swapped: false, weight })
    }
}

/// Bytes of whole registers.
fn padded(len: u32) -> u32 {
    len.div_ceil(4).saturating_mul(4)
}

/// Bytes that the kernel loads; 0 where the selector does not say.
pub(crate) fn len(selector: Selector) -> u32 {
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
        Selector::Tunnel(TunnelKey::Path) => 1,
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

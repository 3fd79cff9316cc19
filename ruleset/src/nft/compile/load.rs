//! Loading values into registers.

use nftwire::expr::{
    Access, Bitwise, Byteorder, ByteorderOp, Ct, Exthdr, ExthdrOp, Fib, Hash, HashKind, Immediate, Lookup,
    Meta, Numgen, NumgenKind, Operation, Osf, Payload, PayloadAction, PayloadBase, Rt, Socket, SocketKey,
    Tunnel, Xfrm,
};
use nftwire::{Register, SetFlags};

pub(super) use super::bits::{Bits, bits};
use super::{Compiler, NotCompiled, WORDS_IN_16_BYTES, constant, register};
use crate::model::option::{OptionField, OptionKind};
use crate::nft::decompile::context::{LINK, layer_of};
use crate::nft::decompile::register as loaded;
use crate::{Constant, Data, DataType, Element, Expression, Field, Name, Operator, Protocol, Selector, Set};

/// Bytes of a value, without padding.
pub(super) fn len(expression: &Expression) -> u32 {
    match expression {
        Expression::Selector(selector) => match bits(selector) {
            Some(bits) => bits.len.div_ceil(8),
            None => match selector {
                Selector::Option(_) => 1,
                selector => match loaded::len(*selector) {
                    0 => selector.data_type().size().max(4),
                    len => len,
                },
            },
        },
        Expression::Constant(constant) => u32::try_from(constant.data.as_bytes().len()).unwrap_or(4),
        Expression::Binary(binary) => len(&binary.left),
        Expression::Concat(parts) => parts.iter().map(|part| len(part).next_multiple_of(4)).sum(),
        _ => 4,
    }
}

/// Whether a value is a number in the machine's own byte order, of more than one byte.
pub(super) fn is_host_order(expression: &Expression) -> bool {
    len(expression) > 1 && expression.data_type().is_some_and(DataType::is_host_order)
}

impl<'a> Compiler<'a, '_> {
    /// Loads a value into the registers from `word` on.
    pub(super) fn load(&mut self, expression: &'a Expression, word: u32) -> Result<(), NotCompiled> {
        match expression {
            Expression::Selector(selector) => {
                self.load_selector(selector, word, None)?;
                if let Some(bits) = bits(selector).filter(|bits| !bits.is_whole_bytes()) {
                    self.shift_right(bits, word);
                }
                Ok(())
            }
            Expression::Constant(_) | Expression::List(_) => {
                let data = constant(expression)?;
                self.emit(Immediate::Value { dreg: register(word), data });
                Ok(())
            }
            Expression::Concat(parts) => {
                let mut word = word;
                for part in parts {
                    self.load(part, word)?;
                    word += len(part).div_ceil(WORDS_IN_16_BYTES);
                }
                Ok(())
            }
            Expression::Binary(binary) => match binary.operator {
                Operator::ShiftLeft | Operator::ShiftRight => {
                    if let Expression::Selector(selector) = &binary.left
                        && bits(selector).is_some_and(|bits| !bits.is_whole_bytes())
                    {
                        // nft shows how the field itself is moved in a concatenation.
                        return self.load(&binary.left, word);
                    }
                    self.load(&binary.left, word)?;
                    let op = if binary.operator == Operator::ShiftLeft { 1 } else { 2 };
                    let operation =
                        Operation::Other { op, data: Some(constant(&binary.right)?), sreg2: None };
                    self.operate(word, len(&binary.left), operation);
                    Ok(())
                }
                Operator::And | Operator::Or | Operator::Xor => self.load_bits(expression, word),
            },
            Expression::Map(map) => {
                let saved = self.next_word;
                self.next_word = saved.max(word + self.words(&map.key));
                self.load_and_look_up(&map.key, &map.map, word, Some(register(word)), crate::Op::Eq)?;
                self.next_word = saved;
                Ok(())
            }
            Expression::Hash(hash) => {
                let source = self.reserve(self.words(&hash.of))?;
                self.load(&hash.of, source)?;
                self.next_word = source;
                let (len, sreg) = (len(&hash.of), Some(register(source)));
                self.emit(Hash {
                    kind: HashKind::Jenkins,
                    sreg,
                    len,
                    dreg: register(word),
                    modulus: hash.modulus,
                    seed: hash.seed,
                    offset: hash.offset,
                });
                Ok(())
            }
            _ => Err(NotCompiled::NotConstant),
        }
    }

    /// Loads what is looked up: in a set of ranges the most significant byte comes first. One byte is not turned around, as
    /// in newer nft (`byteorder_conversion` in nftables' src/evaluate.c, April 2026): 1.0.6 does that where it is one of
    /// several fields, which does nothing, and which Linux 6.12.117 and 6.18 refuse.
    pub(super) fn load_for_lookup(
        &mut self,
        key: &'a Expression,
        word: u32,
        interval: bool,
    ) -> Result<(), NotCompiled> {
        let mut word = word;
        let parts = if let Expression::Concat(parts) = key { &parts[..] } else { std::slice::from_ref(key) };
        for part in parts {
            self.load(part, word)?;
            if interval && is_host_order(part) {
                self.swap(part, word, ByteorderOp::Hton)?;
            }
            word += len(part).div_ceil(WORDS_IN_16_BYTES);
        }
        Ok(())
    }

    /// Turns a value's bytes around. The kernel swaps pairs, fours or eights of them, and leaves over what is odd
    /// (`nft_byteorder_eval` in net/netfilter/nft_byteorder.c, Linux 6.18).
    pub(super) fn swap(
        &mut self,
        expression: &Expression,
        word: u32,
        op: ByteorderOp,
    ) -> Result<(), NotCompiled> {
        let len = len(expression);
        if len % 2 == 1 && len > 1 {
            return Err(NotCompiled::Expression("the byte order of a value of an odd number of bytes"));
        }
        let size = if len.is_multiple_of(8) {
            8
        } else if len.is_multiple_of(4) {
            4
        } else {
            2
        };
        self.emit(Byteorder { sreg: register(word), dreg: register(word), op, len, size });
        Ok(())
    }

    /// `value & mask ^ xor | or …`, in the kernel's form `(value & mask) ^ xor` (`netlink_gen_bitwise` in nftables'
    /// src/netlink_linearize.c, 1.0.6).
    fn load_bits(&mut self, expression: &'a Expression, word: u32) -> Result<(), NotCompiled> {
        let mut operations = Vec::new();
        let mut value = expression;
        while let Expression::Binary(binary) = value
            && matches!(binary.operator, Operator::And | Operator::Or | Operator::Xor)
        {
            let Ok(data) = constant(&binary.right) else { break };
            operations.push((binary.operator, data));
            value = &binary.left;
        }
        if operations.is_empty() {
            return Err(NotCompiled::NotConstant);
        }
        let len = operations.iter().map(|(_, data)| data.as_bytes().len()).max().unwrap_or(0);
        let (mut mask, mut xor) = (vec![0xff_u8; len], vec![0_u8; len]);
        match value {
            Expression::Selector(selector) => match bits(selector).filter(|bits| !bits.is_whole_bytes()) {
                // The bits of others that are loaded with it go in the same step.
                Some(bits) if bits.shift() == 0 => {
                    self.load_selector(selector, word, None)?;
                    mask = bits.mask().as_bytes().to_vec();
                }
                // The kernel shifts words of its own byte order.
                Some(bits) if bits.bytes() > 1 => {
                    return Err(NotCompiled::Expression(
                        "an operation on a field that ends inside of its second byte",
                    ));
                }
                _ => self.load(value, word)?,
            },
            value => self.load(value, word)?,
        }
        for (operator, data) in operations.iter().rev() {
            for index in 0..len {
                let value = data.as_bytes().get(index).copied().unwrap_or(0);
                let (and, flip) = match operator {
                    Operator::And => (value, 0),
                    Operator::Or => (!value, value),
                    _ => (0xff, value),
                };
                xor[index] = flip ^ (xor[index] & and);
                mask[index] &= and;
            }
        }
        let len = u32::try_from(len).unwrap_or(0);
        self.operate(word, len, Operation::MaskXor { mask: Data::new(&mask), xor: Data::new(&xor) });
        Ok(())
    }

    pub(super) fn operate(&mut self, word: u32, len: u32, operation: Operation) {
        self.emit(Bitwise { sreg: register(word), dreg: register(word), len, operation });
    }

    pub(super) fn mask(&mut self, bits: Bits, word: u32) {
        let mask = bits.mask();
        let xor = Data::zero(mask.as_bytes().len());
        self.operate(word, bits.bytes(), Operation::MaskXor { mask, xor });
    }

    fn shift_right(&mut self, bits: Bits, word: u32) {
        self.mask(bits, word);
        if bits.shift() > 0 {
            let data = Some(Data::ne32(bits.shift()));
            self.operate(word, bits.bytes(), Operation::Other { op: 2, data, sreg2: None });
        }
    }

    /// Loads all bytes of a field, or only its first `len` ones.
    pub(super) fn load_selector(
        &mut self,
        selector: &Selector,
        word: u32,
        only: Option<u32>,
    ) -> Result<(), NotCompiled> {
        let dreg = register(word);
        let access = Access::Load(dreg);
        match *selector {
            Selector::Payload(field) => {
                let before = self.stacked_before(&field);
                self.load_payload(field.protocol.base(), bits(selector), before, dreg, only);
            }
            Selector::Raw(raw) => self.load_payload(raw.base, bits(selector), 0, dreg, only),
            Selector::Option(option) => self.emit(exthdr(&option, access)),
            Selector::Meta(key) => self.emit(Meta { key, access }),
            Selector::Ct(key) => self.emit(Ct { key, direction: None, access }),
            Selector::CtOf(of) => self.emit(Ct { key: of.key, direction: Some(u8::from(of.reply)), access }),
            Selector::Socket(key, level) => {
                let level = (key == SocketKey::CgroupV2).then_some(level);
                self.emit(Socket { key, level, dreg });
            }
            Selector::Fib(fib) => {
                self.emit(Fib { result: fib.result, flags: fib.flags, dreg });
            }
            Selector::Rt(key) => self.emit(Rt { key, dreg }),
            Selector::Inner(inner) => return Err(NotCompiled::Unknown(inner.tunnel.name().into())),
            Selector::Tunnel(key) => self.emit(Tunnel { key, mode: None, dreg }),
            Selector::Osf(osf) => self.emit(Osf { dreg, ttl: osf.ttl, flags: u32::from(osf.version) }),
            Selector::Ipsec(ipsec) => {
                self.emit(Xfrm { key: ipsec.key, direction: u8::from(ipsec.out), number: ipsec.spnum, dreg });
            }
            Selector::Numgen(numgen) => self.emit(Numgen {
                kind: NumgenKind::from_number(u32::from(numgen.random)),
                dreg,
                modulus: numgen.range.modulus,
                offset: numgen.range.offset,
            }),
            Selector::SymmetricHash(range) => self.emit(Hash {
                kind: HashKind::Symmetric,
                sreg: None,
                len: 0,
                dreg,
                modulus: range.modulus,
                seed: None,
                offset: range.offset,
            }),
        }
        Ok(())
    }

    fn load_payload(
        &mut self,
        base: PayloadBase,
        bits: Option<Bits>,
        before: u32,
        dreg: Register,
        only: Option<u32>,
    ) {
        let Some(bits) = bits else { return };
        self.emit(Payload {
            base,
            offset: bits.first_byte() + before,
            len: only.unwrap_or(bits.bytes()),
            action: PayloadAction::Load(dreg),
        });
    }

    /// Bytes of the link layer headers before the one that has the field.
    pub(super) fn stacked_before(&self, field: &Field) -> u32 {
        let is_last = self.context.protocol(LINK) == Some(field.protocol);
        if layer_of(field.protocol.base()) != Some(LINK) || !is_last {
            return 0;
        }
        let len = |protocol: &Protocol| if *protocol == Protocol::Vlan { 4 } else { 14 };
        self.context.stacked.iter().map(len).sum()
    }

    pub(super) fn known_set(&self, name: &Name) -> Option<&Set> {
        self.known_sets.iter().find(|set| set.name == *name)
    }

    /// Whether what is looked up in has ranges.
    pub(super) fn is_interval(&self, set: &Expression) -> Result<bool, NotCompiled> {
        Ok(match set {
            Expression::SetName(name) => {
                self.known_set(name).is_some_and(|set| SetFlags(set.flags).contains(SetFlags::INTERVAL))
            }
            Expression::Set(elements) => elements.iter().any(|element| is_range(&element.key)),
            _ => return Err(NotCompiled::Expression("a lookup in what is not a set")),
        })
    }

    /// Loads a key into the registers from `word` on, and looks it up.
    pub(super) fn load_and_look_up(
        &mut self,
        key: &'a Expression,
        set: &'a Expression,
        word: u32,
        dreg: Option<Register>,
        op: crate::Op,
    ) -> Result<(), NotCompiled> {
        let (set, set_id) = match set {
            Expression::Set(elements) => {
                (super::ANONYMOUS_SET_NAME.into(), self.load_for_own(key, elements, word)?)
            }
            Expression::SetName(name) => {
                self.load_for_lookup(key, word, self.is_interval(set)?)?;
                (name.into(), 0)
            }
            _ => return Err(NotCompiled::Expression("a lookup in what is not a set")),
        };
        self.emit(Lookup { set, set_id, sreg: register(word), dreg, inverted: op == crate::Op::Ne });
        Ok(())
    }

    /// Loads a key that is looked up in a set of the rule's own; returns the set's number.
    pub(super) fn load_for_own(
        &mut self,
        key: &'a Expression,
        elements: &[Element],
        word: u32,
    ) -> Result<u32, NotCompiled> {
        if let Expression::Selector(selector) = key
            && let Some(bits) = bits(selector).filter(|bits| !bits.is_whole_bytes())
        {
            // The elements move to where the field is, instead of the field.
            self.load_selector(selector, word, None)?;
            self.mask(bits, word);
            return self.own_set(key, &super::set::moved(elements, bits)?);
        }
        self.load_for_lookup(key, word, elements.iter().any(|element| is_range(&element.key)))?;
        self.own_set(key, elements)
    }

    /// Adds a set of the rule's own; returns its number.
    pub(super) fn own_set(&mut self, key: &Expression, elements: &[Element]) -> Result<u32, NotCompiled> {
        Ok(self.add_set(super::AnonymousSet::new(key, elements)?))
    }

    /// Adds a set; returns its number.
    pub(super) fn add_set(&mut self, set: super::AnonymousSet) -> u32 {
        let set_id = self.next_set_id;
        self.sets.push(set);
        self.next_set_id += 1;
        set_id
    }
}

pub(super) fn is_range(key: &Expression) -> bool {
    match key {
        Expression::Range(_) | Expression::Prefix(_) => true,
        Expression::Constant(constant) => is_beginning(constant),
        Expression::Concat(parts) => parts.iter().any(is_range),
        _ => false,
    }
}

/// Whether it is the beginning of a name, as of all devices that are called `eth*`.
pub(super) fn is_beginning(constant: &Constant) -> bool {
    let len = u32::try_from(constant.data.as_bytes().len()).unwrap_or(u32::MAX);
    constant.data_type == DataType::InterfaceName && len < DataType::InterfaceName.size()
}

pub(super) fn exthdr(option: &OptionField, access: Access) -> Exthdr {
    let bits = Bits { offset: option.offset.into(), len: option.len.into() };
    Exthdr {
        op: match option.kind {
            OptionKind::Ipv6 => ExthdrOp::Ipv6,
            OptionKind::Tcp => ExthdrOp::TcpOption,
            OptionKind::Ipv4 => ExthdrOp::Ipv4,
            OptionKind::Sctp => ExthdrOp::Sctp,
        },
        kind: option.number,
        offset: bits.first_byte(),
        len: bits.bytes(),
        present: option.presence,
        access: Some(access),
    }
}

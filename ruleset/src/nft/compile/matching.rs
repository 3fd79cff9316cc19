//! Comparisons and lookups.

use nftwire::Expr;
use nftwire::expr::{ByteorderOp, Cmp, CmpOp, Operation, PayloadAction, PayloadBase, Range};

use super::load::{bits, is_host_order};
use super::{Compiler, NotCompiled, constant, mask_byte, register};
use crate::model::expression::swap_host_order;
use crate::model::selector::Fib;
use crate::{Data, DataType, Expression, Op, Prefix, Selector};

/// A comparison of bytes of a header: the expression that loads them, which the comparison follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mergeable {
    /// The number of the load
    pub(super) load: usize,
    /// Whether the field says which header comes next
    is_protocol_key: bool,
}

impl<'a> Compiler<'a, '_> {
    pub(super) fn matches(
        &mut self,
        left: &'a Expression,
        op: Op,
        right: &'a Expression,
    ) -> Result<(), NotCompiled> {
        self.depend(left)?;
        let word = self.reserve(self.words(left))?;
        match right {
            Expression::Set(_) | Expression::SetName(_) => {
                self.look_up_match(left, op, right, word)?;
            }
            Expression::Range(range) => self.range(left, op, &range.from, &range.to, word)?,
            Expression::Prefix(prefix) => self.prefix(left, op, prefix, word)?,
            flags if matches!(op, Op::In | Op::NotIn) => self.flags(left, op, flags, word)?,
            right => self.value(left, op, right, word)?,
        }
        self.next_word = word;
        if op == Op::Eq {
            self.learn(left, right);
        }
        Ok(())
    }

    fn look_up_match(
        &mut self,
        left: &'a Expression,
        op: Op,
        right: &'a Expression,
        word: u32,
    ) -> Result<(), NotCompiled> {
        if !matches!(op, Op::Eq | Op::Ne) {
            return Err(NotCompiled::Comparison(op));
        }
        self.load_and_look_up(left, right, word, None, op)
    }

    fn range(
        &mut self,
        left: &'a Expression,
        op: Op,
        from: &Expression,
        to: &Expression,
        word: u32,
    ) -> Result<(), NotCompiled> {
        let (mut from, mut to) = (constant(from)?, constant(to)?);
        match left {
            Expression::Selector(selector) if bits(selector).is_some_and(|bits| !bits.is_whole_bytes()) => {
                let Some(bits) = bits(selector) else { return Ok(()) };
                self.load_selector(selector, word, None)?;
                self.mask(bits, word);
                (from, to) = (bits.placed(&from), bits.placed(&to));
            }
            left => {
                self.load(left, word)?;
                if is_host_order(left) {
                    self.swap(left, word, ByteorderOp::Hton)?;
                    (from, to) = (swap_host_order(&from), swap_host_order(&to));
                }
            }
        }
        match op {
            Op::Eq => {
                self.compare(word, CmpOp::Gte, from);
                self.compare(word, CmpOp::Lte, to);
            }
            Op::Ne => self.emit(Range { sreg: register(word), op: CmpOp::Neq, from, to }),
            op => return Err(NotCompiled::Comparison(op)),
        }
        Ok(())
    }

    /// A prefix of whole bytes of a field loads only those; any other loads the address and masks it.
    fn prefix(
        &mut self,
        left: &'a Expression,
        op: Op,
        prefix: &Prefix,
        word: u32,
    ) -> Result<(), NotCompiled> {
        let network = constant(&prefix.value)?;
        let host_order = prefix.value.data_type().is_some_and(DataType::is_host_order);
        let op = comparison(op)?;
        if !host_order && prefix.len > 0 && prefix.len.is_multiple_of(8) {
            let len = prefix.len / 8;
            match left {
                Expression::Selector(selector @ (Selector::Payload(_) | Selector::Raw(_))) => {
                    self.load_selector(selector, word, Some(len))?;
                }
                left => self.load(left, word)?,
            }
            let bytes = network.as_bytes().get(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
            self.compare(word, op, Data::new(bytes));
            return Ok(());
        }
        self.load(left, word)?;
        let mask: Vec<_> =
            (0..).zip(network.as_bytes()).map(|(index, _)| mask_byte(prefix.len, index)).collect();
        let mask = if host_order { swap_host_order(&Data::new(&mask)) } else { Data::new(&mask) };
        let len = u32::try_from(mask.as_bytes().len()).unwrap_or(0);
        let xor = Data::zero(mask.as_bytes().len());
        self.operate(word, len, Operation::MaskXor { mask, xor });
        self.compare(word, op, network);
        Ok(())
    }

    fn flags(
        &mut self,
        left: &'a Expression,
        op: Op,
        flags: &Expression,
        word: u32,
    ) -> Result<(), NotCompiled> {
        let flags = constant(flags)?;
        self.load(left, word)?;
        if matches!(left, Expression::Binary(_)) {
            self.compare(word, if op == Op::In { CmpOp::Eq } else { CmpOp::Neq }, flags);
            return Ok(());
        }
        let none = Data::zero(flags.as_bytes().len());
        let len = u32::try_from(flags.as_bytes().len()).unwrap_or(0);
        self.operate(word, len, Operation::MaskXor { mask: flags, xor: none.clone() });
        self.compare(word, if op == Op::In { CmpOp::Neq } else { CmpOp::Eq }, none);
        Ok(())
    }

    fn value(
        &mut self,
        left: &'a Expression,
        op: Op,
        right: &Expression,
        word: u32,
    ) -> Result<(), NotCompiled> {
        let mut data = match right {
            Expression::Concat(parts) => concatenated(parts)?,
            right => constant(right)?,
        };
        if let Expression::Selector(Selector::Fib(fib)) = left
            && fib.flags & Fib::PRESENT != 0
            && let [present] = data.as_bytes()
        {
            // The kernel writes all of the register (`nft_fib_store_result` in net/netfilter/nft_fib.c, Linux 6.18).
            data = Data::ne32(u32::from(*present));
        }
        let load = self.expressions.len();
        match left {
            Expression::Selector(selector) => match bits(selector) {
                Some(bits) if !bits.is_whole_bytes() => {
                    self.load_selector(selector, word, None)?;
                    self.mask(bits, word);
                    data = bits.placed(&data);
                }
                _ => self.load_selector(selector, word, None)?,
            },
            left => self.load(left, word)?,
        }
        if matches!(op, Op::Lt | Op::Gt | Op::Le | Op::Ge) && is_host_order(left) {
            self.swap(left, word, ByteorderOp::Hton)?;
            data = swap_host_order(&data);
        }
        self.compare(word, comparison(op)?, data);
        if let (Expression::Selector(selector), Op::Eq | Op::Ne) = (left, op) {
            self.note_mergeable(selector, load);
        }
        Ok(())
    }

    pub(super) fn compare(&mut self, word: u32, op: CmpOp, data: Data) {
        self.emit(Cmp { sreg: register(word), op, data });
    }

    /// Notes a comparison of whole bytes of a header.
    pub(super) fn note_mergeable(&mut self, selector: &Selector, load: usize) {
        if !matches!(selector, Selector::Payload(_) | Selector::Raw(_)) || self.expressions.len() != load + 2
        {
            return;
        }
        let is_protocol_key = matches!(selector, Selector::Payload(field) if field.is_protocol_key());
        self.mergeable.push(Mergeable { load, is_protocol_key });
    }

    /// Comparisons of bytes that are side by side become one (`stmt_reduce` in nftables' src/rule.c, 1.0.6).
    pub(super) fn merge(&mut self) {
        let mut rest = std::mem::take(&mut self.mergeable);
        if rest.len() < 2 {
            return;
        }
        // A stable sort takes a page of the stack.
        rest.sort_unstable_by_key(|place| (self.place(place.load), place.load));
        let mut gone = Vec::new();
        let mut rest = rest.into_iter();
        let Some(mut last) = rest.next() else { return };
        for this in rest {
            let Some((load, cmp)) = self.joined(last.load, this.load) else {
                last = this;
                continue;
            };
            // What says which header comes next stays where it is.
            let (kept, removed) = if this.is_protocol_key { (this, last) } else { (last, this) };
            self.expressions[kept.load] = load;
            self.expressions[kept.load + 1] = cmp;
            gone.extend([removed.load, removed.load + 1]);
            last = Mergeable { is_protocol_key: last.is_protocol_key || this.is_protocol_key, ..kept };
        }
        let mut index = 0;
        self.expressions.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
    }

    fn place(&self, load: usize) -> (u32, u32) {
        match self.expressions.get(load) {
            Some(Expr::Payload(payload)) => (payload.base.number(), payload.offset),
            _ => (u32::MAX, u32::MAX),
        }
    }

    /// The two comparisons as one, where nft makes one of them (`payload_can_merge` in src/payload.c, 1.0.6).
    fn joined(&self, first: usize, second: usize) -> Option<(Expr<'a>, Expr<'a>)> {
        let pair = |load: usize| match (self.expressions.get(load)?, self.expressions.get(load + 1)?) {
            (Expr::Payload(payload), Expr::Cmp(cmp)) => Some((*payload, cmp)),
            _ => None,
        };
        let ((one, left), (other, right)) = (pair(first)?, pair(second)?);
        let total = one.len + other.len;
        let adjacent = one.base == other.base && one.offset + one.len == other.offset;
        let worth = total <= 4 || one.base == PayloadBase::LinkLayer || one.len > 4 || other.len > 4;
        if !adjacent || total > 16 || !worth || left.op != right.op {
            return None;
        }
        let PayloadAction::Load(_) = one.action else { return None };
        let data = Data::new(&[left.data.as_bytes(), right.data.as_bytes()].concat());
        Some((nftwire::expr::Payload { len: total, ..one }.into(), Cmp { data, ..left.clone() }.into()))
    }
}

/// Fields one after the other, each padded to whole registers.
pub(super) fn concatenated(parts: &[Expression]) -> Result<Data, NotCompiled> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(constant(part)?.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Ok(Data::new(&bytes))
}

pub(super) fn comparison(op: Op) -> Result<CmpOp, NotCompiled> {
    Ok(match op {
        Op::Eq | Op::In => CmpOp::Eq,
        Op::Ne => CmpOp::Neq,
        Op::Lt => CmpOp::Lt,
        Op::Gt => CmpOp::Gt,
        Op::Le => CmpOp::Lte,
        Op::Ge => CmpOp::Gte,
        Op::NotIn => return Err(NotCompiled::Comparison(op)),
    })
}

//! Rules with sets and chains of their own that no nft makes: sets that are not constant, that time out or count, whose elements
//! lead to chains or carry comments; and chains of rules in chains of rules.

use nftwire::expr::{Dynset, DynsetOp, Immediate, Lookup, Objref, Payload, PayloadAction, PayloadBase};
use nftwire::{
    Batch, Chain, ChainFlags, Data, Element, ElementData, ElementList, Expr, Family, ObjectKind, Position,
    Register, Rule, Set, SetFlags, SetPolicy, Text, Verdict,
};

use super::Filler;
use crate::random::Dice;

const NAME: &str = "__set%d";

/// What a set of a rule's own leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    Nowhere,
    Verdicts,
    Values,
    Objects,
}

/// How deep chains of rules are in chains of rules.
const DEPTH: usize = 2;

impl Filler {
    /// A rule with one or two sets of its own, perhaps in a chain of a rule's own.
    pub(super) fn rule_with_own(&mut self, family: Family, table: Text<'_>, number: usize) {
        let chain = format!("c{}", number * 2 % super::OBJECTS);
        let depth = self.dice.roll(DEPTH + 1);
        let dice = &mut self.dice;
        let mut batch = Batch::new();
        // From the outermost to the innermost, and then the rules that jump there.
        let ids: Vec<_> = (1..=depth).map(|id| u32::try_from(id).unwrap()).collect();
        for &id in &ids {
            let userdata = dice.userdata();
            let chain = Chain {
                id,
                flags: ChainFlags::BINDING,
                userdata: &userdata,
                ..Chain::new(family, table, "")
            };
            batch.add_chain(&chain);
        }
        for level in (0..=depth).rev() {
            let userdata = dice.userdata();
            let mut rule = Rule::new(family, table, if level == 0 { &chain } else { "" });
            rule.userdata = &userdata;
            rule.chain_id = level.checked_sub(1).map_or(0, |outer| ids[outer]);
            let mut expressions = Vec::new();
            for _ in 0..=dice.roll(2) {
                expressions.extend(with_set(dice, &mut batch, family, table));
            }
            if let Some(&inner) = ids.get(level) {
                let verdict = if dice.is(2) { Verdict::JumpId(inner) } else { Verdict::GotoId(inner) };
                expressions.push(Immediate::Verdict(verdict).into());
            }
            batch.add_rule(&rule, Position::Append, &expressions);
        }
        let is_taken = self.commit(batch);
        self.own += usize::from(is_taken);
    }
}

/// Adds a set and its elements; returns the expressions that use it.
fn with_set(dice: &mut Dice, batch: &mut Batch, family: Family, table: Text<'_>) -> Vec<Expr<'static>> {
    let id = batch.take_set_id();
    let leads =
        [Leads::Nowhere, Leads::Nowhere, Leads::Verdicts, Leads::Values, Leads::Objects][dice.roll(5)];
    let fills = dice.is(12);
    let mut flags = SetFlags::ANONYMOUS;
    let mut flag = |dice: &mut Dice, one_in, flag| {
        let is_set = dice.is(one_in);
        flags = if is_set { flags | flag } else { flags };
        is_set
    };
    let _ = !fills && !dice.is(8) && flag(dice, 1, SetFlags::CONSTANT);
    let ranges = flag(dice, 3, SetFlags::INTERVAL);
    let timed = flag(dice, 16, SetFlags::TIMEOUT);
    let _ = fills && flag(dice, 1, SetFlags::EVAL);
    let counts = flag(dice, 16, SetFlags::EXPR);
    // One that no kernel knows.
    flag(dice, 40, SetFlags(1 << 14));
    let (data_type, data_len, object) = match leads {
        Leads::Nowhere => (0, 0, None),
        Leads::Verdicts => (0xffff_ff00, 0, None),
        Leads::Values => (dice.narrow() & 0xfff, 4, None),
        Leads::Objects => (0, 0, Some(ObjectKind::Counter)),
    };
    match leads {
        Leads::Nowhere => {}
        Leads::Objects => _ = flag(dice, 1, SetFlags::OBJECT),
        _ => _ = flag(dice, 1, SetFlags::MAP),
    }
    let userdata = dice.set_userdata();
    let set = Set {
        id,
        flags,
        key_type: [7, 13, 0, 0x00ab_cdef][dice.roll(4)],
        data_type,
        data_len,
        object,
        size: [0, 3, 8, 100][dice.roll(4)],
        timeout: if timed { dice.timeout() } else { 0 },
        policy: if dice.is(8) { SetPolicy::Memory } else { SetPolicy::Performance },
        expressions: if counts { dice.stateful() } else { Vec::new() },
        userdata: &userdata,
        ..Set::new(family, table, NAME, 4)
    };
    batch.add_set(&set);
    if !fills || dice.is(4) {
        add_elements(dice, batch, &set, leads, ranges);
    }
    let load = Payload {
        base: PayloadBase::Network,
        offset: [12, 16, 8][dice.roll(3)],
        len: 4,
        action: PayloadAction::Load(Register::R1),
    };
    let (sreg, inverted) = (Register::R1, dice.is(3));
    let used: Expr<'static> = match leads {
        _ if fills => Dynset {
            set: NAME.into(),
            set_id: id,
            op: [DynsetOp::Add, DynsetOp::Update, DynsetOp::Delete][dice.roll(3)],
            key: sreg,
            data: (leads == Leads::Values).then_some(Register::R1),
            timeout: if timed { dice.timeout() } else { 0 },
            inverted,
            expressions: dice.stateful(),
        }
        .into(),
        Leads::Objects => Objref::Map { sreg, set: NAME.into(), set_id: id }.into(),
        Leads::Nowhere => Lookup { set: NAME.into(), set_id: id, sreg, dreg: None, inverted }.into(),
        Leads::Verdicts => {
            let dreg = Some(Register::VERDICT);
            Lookup { set: NAME.into(), set_id: id, sreg, dreg, inverted: false }.into()
        }
        Leads::Values => {
            let dreg = Some(Register::R2);
            Lookup { set: NAME.into(), set_id: id, sreg, dreg, inverted: false }.into()
        }
    };
    vec![load.into(), used]
}

fn add_elements(dice: &mut Dice, batch: &mut Batch, set: &Set<'_>, leads: Leads, ranges: bool) {
    let userdata: Vec<_> = (0..3).map(|_| dice.userdata()).collect();
    let mut elements = Vec::new();
    for (quarter, userdata) in (0_u8..).zip(&userdata) {
        let key = |dice: &mut Dice, upper: u8| {
            let mut key = dice.bytes(4);
            key[0] = quarter << 6 | upper | key[0] & 0x1f;
            Data::new(&key)
        };
        let mut element = Element::new(key(dice, 0));
        if dice.is(if set.flags.contains(SetFlags::TIMEOUT) { 2 } else { 40 }) {
            element.timeout = dice.timeout();
            element.expiration = element.timeout / 2;
        }
        element.userdata = if dice.is(3) { userdata } else { &[] };
        element.expressions = if dice.is(12) { dice.stateful() } else { Vec::new() };
        match leads {
            Leads::Nowhere => {}
            Leads::Verdicts => {
                let verdicts = [
                    Verdict::Accept,
                    Verdict::Drop,
                    Verdict::Continue,
                    Verdict::Return,
                    Verdict::Jump("c4".into()),
                    Verdict::Goto("c0".into()),
                ];
                element.data = Some(ElementData::Verdict(verdicts[dice.roll(verdicts.len())]));
            }
            Leads::Values => element.data = Some(ElementData::Value(Data::new(&dice.bytes(4)))),
            Leads::Objects => element.object = Some("o0".into()),
        }
        if dice.is(30) {
            (element.key, element.catch_all) = (Data::default(), true);
        }
        let is_range = ranges && !element.catch_all && !dice.is(8);
        elements.push(element);
        if is_range {
            elements.push(Element { interval_end: true, ..Element::new(key(dice, 0x20)) });
        }
    }
    batch.add_elements(&ElementList::new(set.family, set.table, NAME, set.id), elements.iter());
}

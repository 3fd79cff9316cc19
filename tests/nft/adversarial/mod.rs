//! What no text of nft's can say but the kernel holds: made at random, message by message, read, and applied in another
//! namespace, which then holds the same.
//!
//! `MESHWIRE_RANDOM_ROUNDS` says how many rounds; each has other messages.

mod own;

use std::env;

use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::nft::compile::{NotCompiled, compile_in, named_set};
use nft_ruleset::plan::{Counters, Plan, Subject};
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nft_ruleset::{Family, Name, Ruleset, Statement};
use nftwire::expr::{
    Cmp, CmpOp, Counter, Immediate, Limit, LimitKind, Lookup, Payload, PayloadAction, PayloadBase,
};
use nftwire::expr::{Quota, Synproxy};
use nftwire::{
    BaseChain, Batch, Chain, ChainFlags, CtExpect, CtTimeout, Data, Element, ElementData, ElementList, Expr,
    Flowtable, FlowtableFlags, Hook, Object, ObjectData, ObjectKind, Policy, Position, Register, Rule, Set,
    SetFlags, SetPolicy, Socket, Table, TableFlags, Text, Verdict,
};

use crate::elsewhere::{held, still};
use crate::harness::{can_run, inside, say};
use crate::random::Dice;

const ROUNDS: u64 = 3;
/// Tables, each of a random family.
const TABLES: usize = 4;
/// Chains, sets, objects and rules of each.
const OBJECTS: usize = 12;

/// The last ones are no text.
const NAMES: [&[u8]; 6] = [b"a", b"B-2.c/d", b"_", b"x0123456789", b"caf\xe9", b"\xff\xfe\x01"];

impl Dice {
    fn number(&mut self) -> u64 {
        [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX][self.roll(8)]
    }

    fn narrow(&mut self) -> u32 {
        u32::try_from(self.number() & 0xffff_ffff).unwrap()
    }

    fn is(&mut self, one_in: usize) -> bool {
        self.roll(one_in) == 0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        match self.roll(4) {
            0 => vec![0; len],
            1 => vec![0xff; len],
            _ => (0..len).map(|_| u8::try_from(self.roll(256)).unwrap()).collect(),
        }
    }

    /// Nothing, a comment, a comment with what comes after it, entries of a type that is not known, or no entries at all.
    fn userdata(&mut self) -> Vec<u8> {
        let len = self.roll(200);
        match self.roll(6) {
            0 | 1 => Vec::new(),
            2 => b"\0\x04web\0".to_vec(),
            3 => [&b"\0\x04web\0"[..], b"\x2a\x03\xff\0\x01"].concat(),
            4 => b"\x63\x02ab\0\x03\xe9\xff\0".to_vec(),
            _ => self.bytes(len),
        }
    }

    /// What nft keeps with a set: byte orders, types that it has no expression for, and later entries.
    fn set_userdata(&mut self) -> Vec<u8> {
        match self.roll(5) {
            0 => b"\0\x04\x02\0\0\0".to_vec(),
            1 => {
                b"\0\x04\x01\0\0\0\x02\x04\x01\0\0\0\x03\x0e\0\x04\x63\0\0\0\x01\x06\0\x04\x07\0\0\0".to_vec()
            }
            2 => b"\0\x04\x02\0\0\0\x08\x04\x01\0\0\0\x07\x02c\0".to_vec(),
            _ => self.userdata(),
        }
    }

    /// Milliseconds that do not pass during the test.
    fn timeout(&mut self) -> u64 {
        [0, 3_600_000, 3_600_001, 86_400_123, 4_294_967_296_000][self.roll(5)]
    }

    fn stateful(&mut self) -> Vec<Expr<'static>> {
        let mut expressions = Vec::new();
        if self.is(3) {
            expressions.push(Counter { packets: self.number(), bytes: self.number() }.into());
        }
        if self.is(4) {
            expressions.push(self.limit().into());
        }
        if self.is(5) {
            let bytes = self.number();
            expressions.push(Quota { bytes, flags: u32::from(self.is(2)), consumed: bytes / 3 }.into());
        }
        expressions
    }

    fn limit(&mut self) -> Limit {
        Limit {
            kind: if self.is(2) { LimitKind::Bytes } else { LimitKind::Packets },
            rate: 1 + (self.number() & 0xffff),
            unit: [1, 60, 3_600, 86_400, 604_800][self.roll(5)],
            burst: self.narrow() & 0xffff,
            inverted: self.is(2),
        }
    }
}

/// Something of a namespace that is filled.
struct Filler {
    dice: Dice,
    socket: Socket,
    taken: usize,
    refused: usize,
    /// Of those that were taken, rules with sets of their own
    own: usize,
}

impl Filler {
    /// One alone: what this kernel does not take is left out.
    fn send(&mut self, fill: impl FnOnce(&mut Batch)) -> bool {
        let mut batch = Batch::new();
        fill(&mut batch);
        self.commit(batch)
    }

    fn commit(&mut self, mut batch: Batch) -> bool {
        let is_taken = self.socket.commit(&mut batch).is_ok();
        *(if is_taken { &mut self.taken } else { &mut self.refused }) += 1;
        is_taken
    }

    fn table(&mut self, number: usize) {
        let families =
            [Family::Inet, Family::Ipv4, Family::Ipv6, Family::Bridge, Family::Netdev, Family::Arp];
        let family = families[self.dice.roll(families.len())];
        let name = [NAMES[self.dice.roll(NAMES.len())], number.to_string().as_bytes()].concat();
        let userdata = self.dice.userdata();
        let flags = [
            TableFlags::default(),
            TableFlags::default(),
            TableFlags::DORMANT,
            TableFlags::OWNER,
            TableFlags(TableFlags::OWNER.0 | TableFlags::PERSIST.0),
            TableFlags::PERSIST,
            TableFlags(1 << 5),
        ];
        let flags = flags[self.dice.roll(flags.len())];
        let name = Text::from_bytes(&name);
        if !self.send(|batch| {
            batch.add_table(&Table { flags, userdata: &userdata, ..Table::new(family, name) });
        }) {
            return;
        }
        for number in 0..OBJECTS {
            self.chain(family, name, number);
            self.object(family, name, number);
        }
        for number in 0..2 * OBJECTS {
            self.set(family, name, number);
        }
        (0..3).for_each(|number| self.flowtable(family, name, number));
        (0..2 * OBJECTS).for_each(|_| self.rule(family, name));
        (0..2 * OBJECTS).for_each(|number| self.rule_with_own(family, name, number));
    }

    /// Few kernels here have them: nft_flow_offload is a module of its own.
    fn flowtable(&mut self, family: Family, table: Text<'_>, number: usize) {
        let name = format!("f{number}");
        let flags = [0, 0, FlowtableFlags::COUNTER.0, FlowtableFlags::OFFLOAD.0, 1 << 7][self.dice.roll(5)];
        let devices = [&[][..], &["eth0"], &["eth1", "eth0"]][self.dice.roll(3)];
        let flowtable = Flowtable {
            flags: FlowtableFlags(flags),
            priority: [i32::MIN, -1, 0, i32::MAX][self.dice.roll(4)],
            devices: devices.iter().map(|name| nftwire::Device::Name((*name).into())).collect(),
            ..Flowtable::new(family, table, &name)
        };
        self.send(|batch| batch.add_flowtable(&flowtable));
    }

    /// Regular ones have even numbers.
    fn chain(&mut self, family: Family, table: Text<'_>, number: usize) {
        let dice = &mut self.dice;
        let (userdata, name) = (dice.userdata(), format!("c{number}"));
        let mut chain = Chain { userdata: &userdata, ..Chain::new(family, table, &name) };
        if number % 2 == 1 {
            let hook = Hook::from_number(u32::try_from(dice.roll(5)).unwrap());
            let priority = [i32::MIN, -1, 0, 1, i32::MAX][dice.roll(5)];
            let policy = [None, Some(Policy::Accept), Some(Policy::Drop)][dice.roll(3)];
            let kind = ["filter", "filter", "nat", "route"][dice.roll(4)];
            chain.base = Some(BaseChain { kind, hook, priority, policy });
            if dice.is(2) {
                chain.counters = Some(Counter { packets: dice.number(), bytes: dice.number() });
            }
            if family == Family::Netdev {
                let hook = Hook::from_number(0);
                chain.base = Some(BaseChain { kind: "filter", hook, priority, policy });
                let devices = [&["eth0"][..], &["eth1", "eth0"], &["lo"]][dice.roll(3)];
                chain.devices = devices.iter().map(|name| nftwire::Device::Name((*name).into())).collect();
            }
            if dice.is(8) {
                chain.flags = ChainFlags::OFFLOAD;
            }
        }
        self.send(|batch| batch.add_chain(&chain));
    }

    fn object(&mut self, family: Family, table: Text<'_>, number: usize) {
        let dice = &mut self.dice;
        let (userdata, name) = (dice.userdata(), format!("o{number}"));
        let l3proto = Some(if dice.is(2) { 2 } else { 10 });
        let data = match number % 6 {
            0 => ObjectData::Counter(Counter { packets: dice.number(), bytes: dice.number() }),
            1 => {
                let bytes = dice.number();
                ObjectData::Quota(Quota { bytes, flags: u32::from(dice.is(2)), consumed: bytes / 2 })
            }
            2 => ObjectData::Limit(dice.limit()),
            3 => {
                let policy = (1..=8).map(|state| (state, 1 + dice.narrow() / 1000)).collect();
                ObjectData::CtTimeout(CtTimeout { l3proto, l4proto: [6, 17][dice.roll(2)], policy })
            }
            4 => ObjectData::CtExpect(CtExpect {
                l3proto,
                l4proto: [6, 17][dice.roll(2)],
                dport: u16::try_from(dice.roll(65_536)).unwrap(),
                timeout: 1 + dice.narrow() / 1000,
                size: u8::try_from(dice.roll(256)).unwrap(),
            }),
            _ => {
                let (mss, wscale) =
                    (u16::try_from(dice.roll(65_536)).unwrap(), u8::try_from(dice.roll(15)).unwrap());
                ObjectData::Synproxy(Synproxy { mss, wscale, flags: u32::try_from(dice.roll(32)).unwrap() })
            }
        };
        self.send(|batch| {
            batch.add_object(&Object { userdata: &userdata, ..Object::new(family, table, &name, data) });
        });
    }

    fn set(&mut self, family: Family, table: Text<'_>, number: usize) {
        let dice = &mut self.dice;
        let flag = |dice: &mut Dice, flag| if dice.is(3) { flag } else { SetFlags::default() };
        let mut flags = flag(dice, SetFlags::INTERVAL) | flag(dice, SetFlags::TIMEOUT);
        let mut fields = Vec::new();
        let mut key_len = [1, 2, 4, 6, 16][dice.roll(5)];
        if dice.is(3) {
            fields = [vec![4, 2], vec![16, 4, 1], vec![2, 2, 2, 2]][dice.roll(3)].clone();
            key_len = fields.iter().map(|len: &u32| len.next_multiple_of(4)).sum();
            flags = flags | SetFlags::CONCAT;
        }
        let ranges = flags.contains(SetFlags::INTERVAL);
        let leads = dice.roll(5);
        let (mut data_type, mut data_len, mut object) = (0, 0, None);
        match leads {
            1 => (flags, data_type) = (flags | SetFlags::MAP, 0xffff_ff00),
            2 => (flags, data_type, data_len) = (flags | SetFlags::MAP, dice.narrow() & 0xfff, 4),
            3 => (flags, object) = (flags | SetFlags::OBJECT, Some(ObjectKind::Counter)),
            _ => flags = flags | flag(dice, SetFlags::EVAL),
        }
        let (userdata, name) = (dice.set_userdata(), format!("s{number}"));
        let expressions = if dice.is(3) { dice.stateful() } else { Vec::new() };
        if !expressions.is_empty() {
            flags = flags | SetFlags::EXPR;
        }
        let timed = flags.contains(SetFlags::TIMEOUT);
        let set = Set {
            id: 1,
            flags,
            // Types that nft has, joined ones, and numbers that it does not have.
            key_type: [7, 13, 0, 7 << 6 | 13, 0x3f, 0x00ab_cdef][dice.roll(6)],
            data_type,
            data_len,
            object,
            size: [0, 100, 65_535][dice.roll(3)],
            timeout: if timed { dice.timeout() } else { 0 },
            gc_interval: if timed { dice.narrow() / 2 } else { 0 },
            policy: if dice.is(3) { SetPolicy::Memory } else { SetPolicy::Performance },
            fields: fields.clone(),
            expressions,
            userdata: &userdata,
            ..Set::new(family, table, &name, key_len)
        };
        if !self.send(|batch| batch.add_set(&set)) {
            return;
        }
        let has_own = !set.expressions.is_empty();
        for quarter in 0..4_u8 {
            let dice = &mut self.dice;
            let len = usize::try_from(key_len).unwrap();
            // Each field is padded to whole registers.
            let key = |dice: &mut Dice| match fields.as_slice() {
                [] => dice.bytes(len),
                fields => fields.iter().fold(Vec::new(), |mut key, field| {
                    key.extend(dice.bytes(usize::try_from(*field).unwrap()));
                    key.resize(key.len().next_multiple_of(4), 0);
                    key
                }),
            };
            let (one, other) = (key(dice), key(dice));
            let (low, high) = if one <= other { (one, other) } else { (other, one) };
            // Apart from each other: the kernel takes some ranges that overlap, in some order, and shows no order.
            let (mut low, mut high) = (low, high);
            if ranges && fields.is_empty() {
                (low[0], high[0]) = (quarter << 6 | low[0] & 0x1f, quarter << 6 | 0x20 | high[0] & 0x1f);
            }
            let is_open = quarter == 3 && dice.is(2);
            let userdata = match dice.roll(4) {
                0 => b"\x01\x04\x01\0\0\0".to_vec(),
                _ => dice.userdata(),
            };
            let mut element = Element::new(Data::new(&low));
            element.timeout = if timed && dice.is(2) { dice.timeout() } else { 0 };
            element.userdata = &userdata;
            element.expressions = if has_own || dice.is(3) { dice.stateful() } else { Vec::new() };
            element.data = match leads {
                1 => Some(ElementData::Verdict(
                    [Verdict::Accept, Verdict::Drop, Verdict::Goto("c0".into()), Verdict::Return]
                        [dice.roll(4)],
                )),
                2 => Some(ElementData::Value(Data::new(&dice.bytes(4)))),
                _ => None,
            };
            element.object = (leads == 3).then(|| "o0".into());
            let mut elements = vec![element];
            if ranges && !fields.is_empty() {
                // Per field, so that each is a range.
                let end = low.iter().zip(&high).map(|(low, high)| *low.max(high)).collect::<Vec<_>>();
                elements[0].key_end = Some(Data::new(&end));
            } else if ranges && !is_open {
                elements.push(Element { interval_end: true, ..Element::new(Data::new(&high)) });
            }
            if dice.is(6) {
                elements.truncate(1);
                (elements[0].key, elements[0].key_end, elements[0].catch_all) = (Data::default(), None, true);
            }
            self.send(|batch| {
                batch.add_elements(&ElementList::new(family, table, &name, 0), elements.iter());
            });
        }
    }

    fn rule(&mut self, family: Family, table: Text<'_>) {
        let dice = &mut self.dice;
        let (userdata, chain) = (dice.userdata(), format!("c{}", dice.roll(OBJECTS)));
        let set = format!("s{}", dice.roll(2 * OBJECTS));
        let mut expressions: Vec<Expr<'_>> = dice.stateful();
        let load = PayloadAction::Load(Register::R1);
        let len = [1, 2, 4, 16][dice.roll(4)];
        let payload = Payload { base: PayloadBase::Network, offset: dice.narrow() & 0x7f, len, action: load };
        match dice.roll(4) {
            0 => {
                let data = Data::new(&dice.bytes(usize::try_from(len).unwrap()));
                expressions.push(payload.into());
                expressions.push(Cmp { sreg: Register::R1, op: CmpOp::Lt, data }.into());
            }
            1 => {
                let inverted = dice.is(2);
                expressions.push(payload.into());
                let set = Text::from(&set);
                expressions.push(Lookup { set, set_id: 0, sreg: Register::R1, dreg: None, inverted }.into());
            }
            2 => expressions.push(dice.limit().into()),
            _ => {}
        }
        let verdicts =
            [Verdict::Accept, Verdict::Jump("c2".into()), Verdict::Goto("c4".into()), Verdict::Return];
        expressions.push(Immediate::Verdict(verdicts[dice.roll(4)]).into());
        let mut rule = Rule::new(family, table, &chain);
        rule.userdata = &userdata;
        self.send(|batch| batch.add_rule(&rule, Position::Append, &expressions));
    }
}

#[test]
fn what_no_text_says_arrives() {
    if !can_run() {
        return;
    }
    let rounds = env::var("MESHWIRE_RANDOM_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let (mut taken, mut refused, mut own, mut rejected) = (0, 0, 0, Vec::new());
    for round in 1..=rounds {
        let (ruleset, as_held) = inside(|| {
            let dice = Dice::new(round);
            let mut filler = Filler { dice, socket: Socket::open().unwrap(), taken: 0, refused: 0, own: 0 };
            (0..TABLES).for_each(|number| filler.table(number));
            (taken, refused) = (taken + filler.taken, refused + filler.refused);
            own += filler.own;
            let mut ruleset = read();
            while let Some(rejection) = rejection(&ruleset) {
                filler.socket.commit(&mut rejection.removal()).unwrap();
                rejected.push(rejection.reason);
                ruleset = read();
            }
            (ruleset, ordered())
        });
        inside(|| {
            let mut socket = Socket::open().unwrap();
            let owned = Owned::default().and(&ruleset);
            let desired = Desired::new(&ruleset, &owned);
            for counters in [Counters::Reset, Counters::Keep] {
                let before = still(read());
                let plan = Plan::read(&mut socket, desired).unwrap();
                assert_eq!(plan.is_empty(), plan.differences().unwrap().is_empty(), "round {round}");
                let mut transaction = plan.transaction(counters).unwrap();
                let committed = socket.commit(transaction.batch());
                if let Err(nftwire::Error::Refused(refusal)) = &committed {
                    let subject = refusal.message.and_then(|message| transaction.subject(message));
                    let named = |subject: &Subject| {
                        let table = ruleset.tables.iter().find(|table| table.name == subject.table)?;
                        table.sets.iter().find(|set| Some(&set.name) == subject.set.as_ref()).map(named_set)
                    };
                    panic!(
                        "round {round} {counters:?}: {refusal:?} {:?} {subject:?}",
                        subject.as_ref().map(named)
                    );
                }
                committed.unwrap();
                crate::elsewhere::assert_same(&as_held, &ordered());
                assert_eq!(
                    Plan::read(&mut socket, desired).unwrap().differences().unwrap(),
                    [],
                    "round {round}"
                );
                assert!(counters == Counters::Reset || before == still(read()), "round {round}");
            }
        });
    }
    let by_name = rejected.len();
    say(&format!(
        "{taken} messages that the kernel took arrive elsewhere, {own} of them rules with sets of their own, but for {by_name} that \
         are rejected by name; it refused {refused}"
    ));
    rejected.sort_unstable();
    assert!(!rejected.is_empty() && 4 * by_name < taken, "{by_name} of {taken} are rejected: {rejected:#?}");
    assert!(
        own > 10 * usize::try_from(rounds).unwrap(),
        "the kernel takes too few rules with sets of their own: {own}"
    );
    assert!(
        taken > 100 * usize::try_from(rounds).unwrap(),
        "the kernel takes too few: {taken} of {}",
        taken + refused
    );
}

/// What belongs to rules comes last and sorted: the kernel lists it in the order in which it was made.
fn ordered() -> Vec<String> {
    let is_own = |line: &String| line.contains("name: \"__set\"") || line.split(' ').nth(2) == Some("__set");
    let (mut own, mut lines): (Vec<_>, Vec<_>) = held().into_iter().partition(is_own);
    own.sort_unstable();
    lines.append(&mut own);
    lines
}

/// A rule that is not compiled, and why.
struct Rejection {
    family: Family,
    table: Name,
    chain: Name,
    handle: u64,
    reason: String,
}

impl Rejection {
    fn removal(&self) -> Batch {
        let mut batch = Batch::new();
        batch.del_rule(self.family, &self.table, &self.chain, self.handle);
        batch
    }
}

/// The first rule that is rejected; for one in a chain of a rule's own, the rule in a chain that has a name.
fn rejection(ruleset: &Ruleset) -> Option<Rejection> {
    ruleset.tables.iter().find_map(|table| {
        let mut rules =
            table.chains.iter().flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule)));
        rules.find_map(|(chain, rule)| {
            let reason = reason(table, rule)?.to_string();
            let (table_name, chain) = (table.name.clone(), chain.name.clone());
            Some(Rejection { family: table.family, table: table_name, chain, handle: rule.handle, reason })
        })
    })
}

/// Why a rule, or one of a chain of its own, is not compiled.
fn reason(table: &nft_ruleset::Table, rule: &nft_ruleset::Rule) -> Option<NotCompiled> {
    let own = rule.statements.iter().filter_map(|statement| match statement {
        Statement::Verdict(nft_ruleset::Verdict::Jump(chain) | nft_ruleset::Verdict::Goto(chain)) => {
            table.anonymous.iter().find(|own| own.name == *chain)
        }
        _ => None,
    });
    let mut inner = own.flat_map(|chain| &chain.rules);
    compile_in(table, rule, 1).err().or_else(|| inner.find_map(|rule| reason(table, rule)))
}

fn read() -> Ruleset {
    let mut socket = Socket::open().unwrap();
    Snapshot::read(&mut socket, Scope::Family(Family::Unspec), Depth::All).unwrap().ruleset().unwrap()
}

//! The way of a packet through the chains of one table.

use nftwire::expr::{CtKey, MetaKey};

use super::packet::{Host, Packet, Tracking};
use super::read::{self, Gap, Value};
use super::xtables::{self, Effect};
use super::{Assumption, Fate, Outcome, Step, Translation, compare};
use crate::Text;
use crate::statement::{Nat, NatKind, ObjectKind, Tproxy, UpdateOp, Xtables};
use crate::{Chain, Element, Expression, Family, Map, Op, Rule, Selector, Statement, Table, Verdict};

/// With so many outcomes, what is left stays [`Fate::Unknown`]: more would not be readable.
const OUTCOMES: usize = 256;

/// The outcomes of the base chain; at least one.
pub(super) fn outcomes<'r>(
    table: &'r Table,
    base: Text<'_>,
    packet: &Packet,
    host: &dyn Host,
) -> Vec<Outcome<'r>> {
    let mut start = State::new(packet.clone());
    let Some(chain) = find(table, base) else { return vec![start.end(Fate::Unknown)] };
    start.frames.push(Frame { chain, next: 0 });
    let mut walk = Walk { table, host, pending: vec![start], outcomes: Vec::new() };
    while let Some(state) = walk.pending.pop() {
        let is_one_too_many = walk.outcomes.len() + walk.pending.len() >= OUTCOMES;
        let outcome = if is_one_too_many { state.end(Fate::Unknown) } else { walk.run(state) };
        walk.outcomes.push(outcome);
    }
    walk.outcomes
}

fn find<'r>(table: &'r Table, name: Text<'_>) -> Option<&'r Chain> {
    table.chains.iter().chain(&table.anonymous).find(|chain| chain.name == name)
}

/// Where evaluation continues in a chain.
#[derive(Clone, Copy)]
struct Frame<'r> {
    chain: &'r Chain,
    /// The number of the next rule
    next: usize,
}

#[derive(Clone)]
struct State<'r> {
    packet: Packet,
    /// The chains that were jumped through; the last one is evaluated
    frames: Vec<Frame<'r>>,
    steps: Vec<Step<'r>>,
    assumptions: Vec<Assumption<'r>>,
    counted: bool,
}

impl<'r> State<'r> {
    fn new(packet: Packet) -> Self {
        Self { packet, frames: Vec::new(), steps: Vec::new(), assumptions: Vec::new(), counted: false }
    }

    fn end(self, fate: Fate) -> Outcome<'r> {
        let Self { packet, steps, assumptions, counted, frames: _ } = self;
        Outcome { fate, packet, steps, assumptions, counted }
    }
}

/// What a rule comes to.
enum Flow<'r> {
    /// The next rule
    Continue,
    Verdict(&'r Verdict),
    Fate(Fate),
}

/// Whether a rule goes on after a statement.
enum Next<'r> {
    /// The next statement
    Pass,
    /// The next rule (NFT_BREAK)
    Break,
    /// It depends on what is not known
    Unknown,
    /// One of these, by the verdicts or the addresses of a map, or the next rule where the map may have none
    AnyOf {
        flows: Vec<Flow<'r>>,
        or_none: bool,
    },
    Flow(Flow<'r>),
}

impl From<bool> for Next<'_> {
    fn from(passes: bool) -> Self {
        if passes { Self::Pass } else { Self::Break }
    }
}

struct Walk<'r, 'h> {
    table: &'r Table,
    host: &'h dyn Host,
    /// The branches not yet taken
    pending: Vec<State<'r>>,
    outcomes: Vec<Outcome<'r>>,
}

impl<'r> Walk<'r, '_> {
    /// Follows one branch to its end.
    fn run(&mut self, mut state: State<'r>) -> Outcome<'r> {
        loop {
            let Some(frame) = state.frames.last_mut() else { return state.end(Fate::Policy) };
            let step = Step { chain: frame.chain, number: frame.next };
            let Some(rule) = step.rule() else {
                state.frames.pop();
                continue;
            };
            frame.next += 1;
            let flow = self.rule(&mut state, step, rule);
            if let Some(fate) = self.follow(&mut state, flow) {
                return state.end(fate);
            }
        }
    }

    /// Goes where a rule's verdict leads.
    fn follow(&self, state: &mut State<'r>, flow: Flow<'r>) -> Option<Fate> {
        let verdict = match flow {
            Flow::Continue => return None,
            Flow::Fate(fate) => return Some(fate),
            Flow::Verdict(verdict) => verdict,
        };
        match verdict {
            Verdict::Accept => Some(Fate::Accepted),
            Verdict::Drop => Some(Fate::Dropped),
            Verdict::Continue | Verdict::Break => None,
            Verdict::Return => {
                state.frames.pop();
                None
            }
            Verdict::Jump(name) | Verdict::Goto(name) => {
                let Some(chain) = find(self.table, name.as_text()) else { return Some(Fate::Unknown) };
                if matches!(verdict, Verdict::Goto(_)) {
                    state.frames.pop();
                }
                state.frames.push(Frame { chain, next: 0 });
                None
            }
            Verdict::Other(_) => Some(Fate::Unknown),
        }
    }

    fn rule(&mut self, state: &mut State<'r>, step: Step<'r>, rule: &'r Rule) -> Flow<'r> {
        let mut passed_matches = false;
        for (number, statement) in rule.statements.iter().enumerate() {
            if !passed_matches && !matches!(statement, Statement::Match { .. }) {
                passed_matches = true;
                state.steps.push(step);
            }
            let assumption = |passes| Assumption { step, statement: number, passes };
            match self.statement(state, statement) {
                Next::Pass => {}
                Next::Break => return Flow::Continue,
                Next::Flow(flow) => return flow,
                Next::Unknown => {
                    let mut missed = state.clone();
                    missed.assumptions.push(assumption(false));
                    self.pending.push(missed);
                    state.assumptions.push(assumption(true));
                }
                Next::AnyOf { flows, or_none } => {
                    if or_none {
                        let mut missed = state.clone();
                        missed.assumptions.push(assumption(false));
                        self.pending.push(missed);
                    }
                    state.assumptions.push(assumption(true));
                    let mut flows = flows.into_iter();
                    let Some(first) = flows.next() else { return Flow::Continue };
                    for flow in flows {
                        let mut other = state.clone();
                        match self.follow(&mut other, flow) {
                            Some(fate) => self.outcomes.push(other.end(fate)),
                            None => self.pending.push(other),
                        }
                    }
                    return first;
                }
            }
        }
        if !passed_matches {
            state.steps.push(step);
        }
        Flow::Continue
    }

    fn statement<'s>(&self, state: &mut State<'r>, statement: &'s Statement) -> Next<'s>
    where
        'r: 's,
    {
        match statement {
            Statement::Match { left, op, right } => self.passes(state, left, *op, right),
            Statement::Counter(_) => {
                state.counted = true;
                Next::Pass
            }
            Statement::Set { target, value } => self.set(state, *target, value),
            Statement::Nat(nat) => self.nat(state, nat),
            Statement::Tproxy(tproxy) => self.tproxy(state, tproxy),
            Statement::Verdict(verdict) => Next::Flow(Flow::Verdict(verdict)),
            Statement::VerdictMap(Expression::Map(map)) => self.verdict_map(state, map),
            Statement::Reject(reject) => Next::Flow(Flow::Fate(Fate::Rejected(*reject))),
            Statement::Queue(_) => Next::Flow(Flow::Fate(Fate::Queued)),
            Statement::Forward(_) | Statement::Synproxy(_) => Next::Flow(Flow::Fate(Fate::Taken)),
            Statement::NoTrack => {
                if state.packet.tracking == Tracking::None {
                    state.packet.tracking = Tracking::Untracked;
                }
                Next::Pass
            }
            Statement::Update(update) => {
                let limits = update.statements.iter().any(|statement| !is_transparent(statement));
                match self.value(state, &update.key) {
                    Err(Gap::Absent) => Next::Break,
                    _ if limits && update.op != UpdateOp::Delete => Next::Unknown,
                    _ => Next::Pass,
                }
            }
            Statement::Object { kind: ObjectKind::Quota | ObjectKind::Limit, .. }
            | Statement::Limit(_)
            | Statement::Quota(_)
            | Statement::CtCount { .. }
            | Statement::VerdictMap(_)
            | Statement::Unknown(_) => Next::Unknown,
            Statement::Xtables(xtables) => self.xtables(state, xtables),
            Statement::Object { kind: ObjectKind::Synproxy, .. } => Next::Flow(Flow::Fate(Fate::Taken)),
            Statement::Log(_)
            | Statement::Last(_)
            | Statement::Object { .. }
            | Statement::Dup(_)
            | Statement::FlowAdd(_)
            | Statement::ResetOption(_) => Next::Pass,
        }
    }

    fn xtables<'s>(&self, state: &mut State<'r>, xtables: &Xtables) -> Next<'s> {
        let protocol = state.packet.protocol;
        match xtables::effect(xtables, self.table.family, protocol, self.host) {
            Effect::Statements(statements) => return self.all(state, &statements),
            Effect::Zone(zone) if state.packet.tracking == Tracking::None => state.packet.zone = Some(zone),
            Effect::Zone(_) | Effect::Nothing => {}
            Effect::Marks => (state.packet.mark, state.packet.ct_mark) = (None, None),
            Effect::Tproxy { address, port, mark, mask } => {
                let found = self.host.has_transparent_socket(protocol, address, port);
                if found == Some(false) {
                    return Next::Flow(Flow::Fate(Fate::Dropped));
                }
                state.packet.socket = Some((address, Some(port)));
                state.packet.mark = state.packet.mark.map(|old| old & !mask ^ mark);
                return Next::Flow(Flow::Fate(if found.is_some() { Fate::Accepted } else { Fate::Unknown }));
            }
            Effect::Unknown if xtables.target => return Next::Flow(Flow::Fate(Fate::Unknown)),
            Effect::Unknown => return Next::Unknown,
        }
        Next::Pass
    }

    /// Several statements in the place of one.
    fn all<'s>(&self, state: &mut State<'r>, statements: &[Statement]) -> Next<'s> {
        let mut is_known = true;
        for statement in statements {
            match self.statement(state, statement) {
                Next::Pass => {}
                Next::Unknown => is_known = false,
                Next::Break => return Next::Break,
                Next::Flow(Flow::Fate(fate)) if is_known => return Next::Flow(Flow::Fate(fate)),
                Next::Flow(_) | Next::AnyOf { .. } => return Next::Flow(Flow::Fate(Fate::Unknown)),
            }
        }
        if is_known { Next::Pass } else { Next::Unknown }
    }

    fn value(&self, state: &State<'r>, expression: &Expression) -> Result<Value, Gap> {
        read::value(&state.packet, self.table, self.host, expression)
    }

    fn passes<'s>(&self, state: &mut State<'r>, left: &Expression, op: Op, right: &Expression) -> Next<'s> {
        let value = match self.value(state, left) {
            Ok(value) => value,
            // A packet that does not have what is looked at passes no match, not even an unequal one.
            Err(Gap::Absent) => return Next::Break,
            Err(Gap::Unknown) => return Next::Unknown,
        };
        if let Some(elements) = compare::elements(self.table, right)
            && matches!(op, Op::Eq | Op::Ne)
        {
            return match compare::find(elements, &value) {
                Ok(found) => {
                    state.counted |= op == Op::Eq && found.is_some_and(has_statements);
                    (found.is_some() == (op == Op::Eq)).into()
                }
                Err(Gap::Absent | Gap::Unknown) => Next::Unknown,
            };
        }
        compare::passes(left, &value, op, right).map_or(Next::Unknown, Next::from)
    }

    fn verdict_map<'s>(&self, state: &mut State<'r>, map: &'s Map) -> Next<'s>
    where
        'r: 's,
    {
        let Some(elements) = compare::elements(self.table, &map.map) else { return Next::Unknown };
        let found = match self.value(state, &map.key) {
            Err(Gap::Absent) => return Next::Break,
            Err(Gap::Unknown) => Err(Gap::Unknown),
            Ok(key) => compare::find(elements, &key),
        };
        match found {
            Ok(None) => Next::Break,
            Ok(Some(element)) => {
                state.counted |= has_statements(element);
                match &element.value {
                    Some(Expression::Verdict(verdict)) => Next::Flow(Flow::Verdict(verdict)),
                    _ => Next::Flow(Flow::Fate(Fate::Unknown)),
                }
            }
            Err(_) => {
                let mut verdicts: Vec<&Verdict> = Vec::new();
                for element in elements {
                    if let Some(Expression::Verdict(verdict)) = &element.value
                        && !verdicts.contains(&verdict)
                    {
                        verdicts.push(verdict);
                    }
                }
                let flows = verdicts.into_iter().map(Flow::Verdict).collect();
                Next::AnyOf { flows, or_none: !is_exhaustive(&map.key, elements) }
            }
        }
    }

    fn set<'s>(&self, state: &mut State<'r>, target: Selector, value: &Expression) -> Next<'s> {
        let value = match self.value(state, value) {
            Ok(value) => Some(value),
            Err(Gap::Absent) => return Next::Break,
            Err(Gap::Unknown) => None,
        };
        let packet = &mut state.packet;
        let number = value.as_ref().and_then(Value::host_number);
        match target {
            Selector::Meta(MetaKey::Mark) => packet.mark = number,
            // Only what is not tracked yet gets a zone, by its template (nft_ct_set_zone_eval).
            Selector::Ct(CtKey::Zone) if packet.tracking == Tracking::None => {
                packet.zone = number.and_then(|zone| u16::try_from(zone).ok());
            }
            Selector::Ct(CtKey::Mark) if matches!(packet.tracking, Tracking::State(_)) => {
                packet.ct_mark = number;
            }
            Selector::Payload(field) if !packet.write(field, value) => {
                return Next::Flow(Flow::Fate(Fate::Unknown));
            }
            _ => {}
        }
        Next::Pass
    }

    fn nat<'s>(&self, state: &State<'r>, nat: &Nat) -> Next<'s> {
        // In inet tables a statement for one family leaves packets of the other alone (nft_nat_inet_eval).
        if nat.family.is_some_and(|family| is_other_family(family, &state.packet)) {
            return Next::Pass;
        }
        let read = |expression: &Option<Expression>| match expression {
            None => Ok(None),
            Some(expression) => self.value(state, expression).map(Some),
        };
        let (address, port) = (read(&nat.address), read(&nat.port));
        // A map that has nothing for the key ends the rule.
        if address == Err(Gap::Absent) || port == Err(Gap::Absent) {
            return Next::Break;
        }
        let fate = |address, port| Flow::Fate(Fate::Nat(translation(nat.kind, address, port)));
        // By a number that is not known, such as a random one, it is one of the map's values.
        if let (Err(_), Some(Expression::Map(map))) = (&address, &nat.address)
            && let Some(elements) = compare::elements(self.table, &map.map)
        {
            let values = elements.iter().filter_map(|element| element.value.as_ref());
            let flows = values.map(|value| fate(self.value(state, value).map(Some), port.clone())).collect();
            return Next::AnyOf { flows, or_none: !is_exhaustive(&map.key, elements) };
        }
        Next::Flow(fate(address, port))
    }

    /// Without a socket the rule ends here; with one it goes on, and the packet is the socket's
    /// (net/netfilter/nft_tproxy.c).
    fn tproxy<'s>(&self, state: &mut State<'r>, tproxy: &Tproxy) -> Next<'s> {
        let packet = &mut state.packet;
        if tproxy.family.is_some_and(|family| is_other_family(family, packet)) {
            return Next::Break;
        }
        let Some(protocol) = packet.transparent_protocol() else { return Next::Break };
        let read = |expression: &Option<Expression>| {
            expression.as_ref().and_then(|e| read::value(packet, self.table, self.host, e).ok())
        };
        let port = match &tproxy.port {
            None => packet.destination_port,
            port => read(port).as_ref().and_then(Value::port),
        };
        let address = read(&tproxy.address).and_then(Value::address);
        packet.socket = Some((address, port));
        match port.and_then(|port| self.host.has_transparent_socket(protocol, address, port)) {
            None => Next::Unknown,
            Some(exists) => exists.into(),
        }
    }
}

/// What is asked for, where the value may not be known.
fn translation(
    kind: NatKind,
    address: Result<Option<Value>, Gap>,
    port: Result<Option<Value>, Gap>,
) -> Translation {
    let mut is_open = address.is_err() || port.is_err();
    let (mut address, mut port) = (address.unwrap_or_default(), port.unwrap_or_default());
    // `dnat to ip daddr . tcp dport map …`: the value is an address and a port.
    if port.is_none()
        && let Some(Value(parts)) = &mut address
        && parts.len() == 2
    {
        port = parts.pop().map(|port| Value(vec![port]));
    }
    let given = (address.is_some(), port.is_some());
    let (address, port) = (address.and_then(Value::address), port.as_ref().and_then(Value::port));
    is_open |= given != (address.is_some(), port.is_some());
    Translation { kind, address, port, is_open }
}

fn is_other_family(family: Family, packet: &Packet) -> bool {
    family != Family::Inet && family != packet.family()
}

/// Whether a map has a verdict for every value that the key can have: one of numbered alternatives.
fn is_exhaustive(key: &Expression, elements: &[Element]) -> bool {
    let modulus = match key {
        Expression::Selector(Selector::Numgen(numgen)) => numgen.range.modulus,
        Expression::Selector(Selector::SymmetricHash(range)) => range.modulus,
        Expression::Hash(hash) => hash.modulus,
        _ => return false,
    };
    usize::try_from(modulus).is_ok_and(|modulus| modulus <= elements.len())
}

fn has_statements(element: &Element) -> bool {
    element.details.as_ref().is_some_and(|details| !details.statements.is_empty())
}

/// Whether a statement of an element lets every packet pass.
fn is_transparent(statement: &Statement) -> bool {
    matches!(statement, Statement::Counter(_) | Statement::Last(_))
}

//! Probes which parts of nf_tables the kernel has: each feature by the smallest object that needs it.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nftwire::expr::{
    Access, Bitwise, Byteorder, ByteorderOp, Cmp, CmpOp, Counter, Ct, CtKey, Immediate, Lookup, Meta,
    MetaKey, Nat, NatKind, Operation, Payload, PayloadAction, PayloadBase, Range, Redir, Tproxy,
};
use nftwire::{
    BaseChain, Batch, Chain, Data, Error, Expr, Family, Hook, Policy, Position, Register, Rule, Set,
    SetFlags, Socket, Table, Verdict,
};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use nftwire::feature::{Feature, Kind};

/// The kernel's reply to the probe of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel has it
    Works,
    /// The kernel lacks it, with this errno
    Missing(i32),
    /// It was not probed
    NotProbed,
    /// The reply is about something else: its text
    Unknown(String),
}

/// Where the kernel is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// By a commit in a network namespace that ends afterwards
    Throwaway,
    /// By a batch that is not committed, in the thread's own network namespace
    Here,
    /// Nowhere
    Nowhere,
}

/// What was probed where, and how long it took.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Where
    pub stage: Stage,
    /// The replies, in the order of the features
    pub answers: Vec<(&'static Feature, Answer)>,
    /// How long it took
    pub elapsed: Duration,
}

impl Probed {
    /// None of these was probed.
    #[must_use]
    pub fn nothing(features: &[&'static Feature]) -> Self {
        let answers = features.iter().map(|feature| (*feature, Answer::NotProbed)).collect();
        Self { stage: Stage::Nowhere, answers, elapsed: Duration::ZERO }
    }

    /// With these in addition, which were not probed.
    #[must_use]
    pub fn and_not(mut self, features: &[&'static Feature]) -> Self {
        self.answers.extend(Self::nothing(features).answers);
        self
    }
}

/// Probes in a network namespace that a thread creates and that ends with it. The kernel may load modules for it.
///
/// # Errors
/// No such namespace can be made: EPERM without CAP_SYS_ADMIN.
pub fn in_throwaway_namespace(features: &[&'static Feature]) -> io::Result<Probed> {
    thread::scope(|scope| {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(ask(Stage::Throwaway, features))
        };
        let thread = thread::Builder::new().name("doctor".into()).spawn_scoped(scope, inside)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Probes in a network namespace of a user namespace, both new, where no privilege is needed; the process moves into them
/// for good, and must have a single thread. The kernel may load modules for it.
///
/// # Errors
/// User namespaces are forbidden.
pub fn in_namespaces_for_good(features: &[&'static Feature]) -> io::Result<Probed> {
    let started = Instant::now();
    loop {
        match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Ok(ask(Stage::Throwaway, features)),
            // A thread that was joined a moment ago may still be counted.
            Err(Errno::EINVAL) if started.elapsed() < Duration::from_millis(50) => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Probes by a batch that is not committed, in the thread's own network namespace. For a moment base chains are
/// registered, connection tracking is turned on, and it takes an RCU grace period (some 10 ms); if something is
/// missing, one for each feature.
#[must_use]
pub fn here(features: &[&'static Feature]) -> Probed {
    ask(Stage::Here, features)
}

/// All at once; where that is refused, one by one.
fn ask(stage: Stage, features: &[&'static Feature]) -> Probed {
    let started = Instant::now();
    let answers = match Socket::open() {
        Ok(mut socket) => match answer(&mut socket, stage, features) {
            Answer::Works => features.iter().map(|feature| (*feature, Answer::Works)).collect(),
            _ => features.iter().map(|feature| (*feature, answer(&mut socket, stage, &[feature]))).collect(),
        },
        Err(error) => features.iter().map(|feature| (*feature, Answer::Unknown(error.to_string()))).collect(),
    };
    Probed { stage, answers, elapsed: started.elapsed() }
}

fn answer(socket: &mut Socket, stage: Stage, features: &[&'static Feature]) -> Answer {
    let mut batch = Batch::new();
    for feature in features {
        add(&mut batch, feature);
    }
    let answered = match stage {
        Stage::Throwaway => socket.commit(&mut batch),
        Stage::Here => socket.check(&mut batch),
        Stage::Nowhere => return Answer::NotProbed,
    };
    match answered {
        Ok(_) => Answer::Works,
        Err(Error::Refused(refusal)) => match Errno::from_raw(refusal.errno) {
            Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => {
                Answer::Missing(refusal.errno)
            }
            _ => Answer::Unknown(refusal.reason()),
        },
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

/// The table of all that is asked. It gets regular chains where they are enough: no packet ever comes there, and no hook
/// is registered.
const TABLE: &str = "meshwire-doctor";
const FAMILY: Family = Family::Inet;
const CHAIN: &str = "expressions";
const SET: &str = "set";

fn add(batch: &mut Batch, feature: &Feature) {
    batch.add_table(&Table::new(FAMILY, TABLE));
    match feature.kind {
        Kind::Family => {}
        Kind::Chain => {
            let (hook, priority) = match feature.name {
                "route" => (Hook::LocalOut, -150),
                _ => (Hook::PreRouting, -100),
            };
            let base = BaseChain { kind: feature.name, hook, priority, policy: Some(Policy::Accept) };
            batch.add_chain(&Chain { base: Some(base), ..Chain::new(FAMILY, TABLE, feature.name) });
        }
        Kind::Set => add_set(
            batch,
            feature.name,
            if feature.name == "interval" { SetFlags::INTERVAL } else { SetFlags::default() },
        ),
        Kind::Expression => {
            batch.add_chain(&Chain::new(FAMILY, TABLE, CHAIN));
            if feature.name == "lookup" {
                add_set(batch, SET, SetFlags::default());
            }
            batch.add_rule(&Rule::new(FAMILY, TABLE, CHAIN), Position::Append, &expressions(feature.name));
        }
    }
}

fn add_set(batch: &mut Batch, name: &str, flags: SetFlags) {
    let id = batch.take_set_id();
    batch.add_set(&Set { id, flags, ..Set::new(FAMILY, TABLE, name, 4) });
}

/// The shortest rule that has this expression; an expression that is not here is an empty rule.
fn expressions(name: &str) -> Vec<Expr<'static>> {
    let register = Register::R1;
    let load = Access::Load(register);
    let value = |bytes: &[u8]| Expr::from(Immediate::Value { dreg: register, data: Data::new(bytes) });
    let mark = Expr::from(Meta { key: MetaKey::Mark, access: load });
    match name {
        "bitwise" => {
            let operation = Operation::MaskXor { mask: Data::zero(4), xor: Data::zero(4) };
            vec![mark, Bitwise { sreg: register, dreg: register, len: 4, operation }.into()]
        }
        "byteorder" => {
            let op = ByteorderOp::Hton;
            vec![mark, Byteorder { sreg: register, dreg: register, op, len: 4, size: 4 }.into()]
        }
        "cmp" => vec![mark, Cmp { sreg: register, op: CmpOp::Eq, data: Data::zero(4) }.into()],
        "counter" => vec![Counter::default().into()],
        "ct" => vec![Ct { key: CtKey::State, direction: None, access: load }.into()],
        "ct mark" => {
            let access = Access::Store(register);
            vec![value(&[0; 4]), Ct { key: CtKey::Mark, direction: None, access }.into()]
        }
        "ct zone" => {
            let access = Access::Store(register);
            vec![value(&[1, 0]), Ct { key: CtKey::Zone, direction: None, access }.into()]
        }
        "immediate" => vec![Immediate::Verdict(Verdict::Accept).into()],
        "lookup" => {
            vec![
                mark,
                Lookup { set: SET.into(), set_id: 0, sreg: register, dreg: None, inverted: false }.into(),
            ]
        }
        "meta" => vec![mark],
        "nat" => {
            let nat = Nat {
                kind: NatKind::Snat,
                family: Family::Ipv4,
                addr_min: Some(register),
                addr_max: None,
                proto_min: None,
                proto_max: None,
                flags: 0,
            };
            vec![value(&[127, 0, 0, 1]), nat.into()]
        }
        "payload" => {
            let action = PayloadAction::Load(register);
            vec![Payload { base: PayloadBase::Transport, offset: 2, len: 2, action }.into()]
        }
        "range" => {
            let (from, to) = (Data::zero(4), Data::new(&[0xff; 4]));
            vec![mark, Range { sreg: register, op: CmpOp::Eq, from, to }.into()]
        }
        "redir" => {
            vec![value(&[0, 1]), Redir { proto_min: Some(register), ..Redir::default() }.into()]
        }
        "tproxy" => {
            vec![value(&[0, 1]), Tproxy { family: Family::Ipv4, addr: None, port: Some(register) }.into()]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;

    /// Probing a feature by an empty rule would always succeed.
    #[test]
    fn what_profiles_take_can_be_asked_for() {
        for feature in Profile::ALL.into_iter().flat_map(|profile| profile.features().unwrap()) {
            if feature.kind == Kind::Expression {
                let asks = |expression: &Expr<'_>| Feature::of_expression(expression) == Some(feature);
                assert!(expressions(feature.name).iter().any(asks), "{}", feature.name);
            }
        }
    }
}

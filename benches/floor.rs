//! What the kernel's own time for the same rules depends on: how their messages are written, and in what order. Bytes that
//! are ready, on an open socket, until the reply; all variants in turn, in a network namespace that ends with the
//! process. Needs root.
//!
//! `cargo bench --bench floor`

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the benchmark")]

mod common;

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nft_ruleset::Rule;
use nft_ruleset::nft::compile::compile;
use nftwire::expr::Lookup;
use nftwire::{
    AttrReader, AttrWriter, Data, Element, ElementList, Expr, Family, Register, Set, SetFlags, uapi,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};

use common::{CHAIN, TABLE, clear, rules};

/// How many rules, and how often each variant is measured.
const SIZES: [(u32, usize); 2] = [(1_000, 31), (10_000, 11)];
/// Room for a batch, and for an answer to each of its messages.
const BUFFER: usize = 64 << 20;
/// `NLM_F_REQUEST` and so on.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = CREATE | 0x800;

/// How the rules are encoded.
#[derive(Clone, Copy)]
struct Form {
    family: Family,
    /// By a number of the batch instead of the chain's name
    by_id: bool,
    /// A counter sends its zeros
    zeros: bool,
    /// The names of expressions end with a NUL
    ends: bool,
    counters: bool,
    chains: u32,
    /// Each chain right before its rules
    interleaved: bool,
    /// Each message is answered
    answers: bool,
    /// Bytes that the kernel keeps with each rule
    userdata: &'static [u8],
}

const AS_NOW: Form = Form {
    family: Family::Inet,
    by_id: false,
    zeros: true,
    ends: true,
    counters: true,
    chains: 1,
    interleaved: false,
    answers: false,
    userdata: &[],
};

/// A batch as bytes.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    /// Of the last object
    sequence: u32,
    answers: bool,
    /// Where the last object starts
    last: usize,
}

impl Messages {
    fn new(answers: bool) -> Self {
        let mut messages = Self { answers, ..Self::default() };
        messages.message(uapi::NFNL_MSG_BATCH_BEGIN, 0, 0, uapi::NFNL_SUBSYS_NFTABLES.into(), &[]);
        messages
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        self.last = self.bytes.len();
        let len = u32::try_from(20 + attributes.len()).unwrap();
        self.bytes.extend(len.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0, 0, 0, 0, family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes);
    }

    fn object(&mut self, kind: u8, flags: u16, family: Family, fill: impl FnOnce(&mut AttrWriter)) {
        let mut writer = AttrWriter::default();
        fill(&mut writer);
        self.sealed(kind, flags, family, writer.as_bytes());
    }

    fn sealed(&mut self, kind: u8, flags: u16, family: Family, attributes: &[u8]) {
        self.sequence += 1;
        let kind = u16::from(uapi::NFNL_SUBSYS_NFTABLES) << 8 | u16::from(kind);
        let flags = if self.answers { flags | ACK } else { flags };
        self.message(kind, flags, family.number(), 0, attributes);
    }

    /// With the end, and an answer to the last object.
    fn finish(mut self) -> Self {
        let flags = self.last + 6;
        self.bytes[flags] |= ACK.to_ne_bytes()[0];
        let answered = self.sequence;
        self.sequence += 1;
        self.message(uapi::NFNL_MSG_BATCH_END, 0, 0, uapi::NFNL_SUBSYS_NFTABLES.into(), &[]);
        self.sequence = answered;
        self
    }

    fn table(&mut self, family: Family) {
        self.object(uapi::NFT_MSG_NEWTABLE, CREATE, family, |writer| {
            writer.put_str(uapi::NFTA_TABLE_NAME, TABLE);
        });
    }

    fn chain(&mut self, form: &Form, chain: u32) {
        self.object(uapi::NFT_MSG_NEWCHAIN, CREATE, form.family, |writer| {
            writer.put_str(uapi::NFTA_CHAIN_TABLE, TABLE);
            writer.put_str(uapi::NFTA_CHAIN_NAME, &chain_name(chain));
            if form.by_id {
                writer.put_be32(uapi::NFTA_CHAIN_ID, chain + 1);
            }
        });
    }

    fn rule(&mut self, form: &Form, chain: u32, expressions: &[Expr<'_>]) {
        let mut writer = AttrWriter::default();
        writer.put_str(uapi::NFTA_RULE_TABLE, TABLE);
        if form.by_id {
            writer.put_be32(uapi::NFTA_RULE_CHAIN_ID, chain + 1);
        } else {
            writer.put_str(uapi::NFTA_RULE_CHAIN, &chain_name(chain));
        }
        writer.nest(uapi::NFTA_RULE_EXPRESSIONS, |writer| {
            for expression in expressions {
                match expression {
                    Expr::Counter(_) if !form.counters => {}
                    Expr::Counter(_) if !form.zeros => writer.nest(uapi::NFTA_LIST_ELEM, |writer| {
                        writer.put_str(uapi::NFTA_EXPR_NAME, "counter");
                        writer.nest(uapi::NFTA_EXPR_DATA, |_| {});
                    }),
                    expression if form.ends => expression.encode(writer),
                    expression => without_nul(writer, expression),
                }
            }
        });
        if !form.userdata.is_empty() {
            writer.put(uapi::NFTA_RULE_USERDATA, form.userdata);
        }
        self.sealed(uapi::NFT_MSG_NEWRULE, APPEND, form.family, writer.as_bytes());
    }
}

/// The expression, whose name has no NUL at its end.
fn without_nul(writer: &mut AttrWriter, expression: &Expr<'_>) {
    let mut whole = AttrWriter::default();
    expression.encode(&mut whole);
    writer.nest(uapi::NFTA_LIST_ELEM, |writer| {
        for attribute in AttrReader::new(&whole.as_bytes()[4..]).map(Result::unwrap) {
            if attribute.kind == uapi::NFTA_EXPR_NAME {
                writer.put(attribute.kind, attribute.value.strip_suffix(&[0]).unwrap());
            } else {
                // NLA_F_NESTED
                writer.put(attribute.kind | 0x8000, attribute.value);
            }
        }
    });
}

fn chain_name(chain: u32) -> String {
    if chain == 0 { CHAIN.to_owned() } else { format!("{CHAIN}{chain}") }
}

fn as_rules(form: &Form, rules: &[Rule]) -> Messages {
    let mut messages = Messages::new(form.answers);
    messages.table(form.family);
    if !form.interleaved {
        (0..form.chains).for_each(|chain| messages.chain(form, chain));
    }
    let each = rules.len().div_ceil(form.chains.try_into().unwrap());
    for (chain, rules) in (0..).zip(rules.chunks(each)) {
        if form.interleaved {
            messages.chain(form, chain);
        }
        for rule in rules {
            messages.rule(form, chain, &compile(form.family, rule, 1).unwrap().expressions);
        }
    }
    messages.finish()
}

/// One rule with a set: of the addresses, or of each with its port.
fn as_set(rules: &[Rule], with_port: bool) -> nftwire::Batch {
    let family = Family::Inet;
    let mut batch = nftwire::Batch::new();
    batch.add_table(&nftwire::Table::new(family, TABLE));
    batch.add_chain(&nftwire::Chain::new(family, TABLE, CHAIN));
    let set = batch.take_set_id();
    let count = u32::try_from(rules.len()).unwrap();
    let flags = SetFlags::ANONYMOUS | SetFlags::CONSTANT;
    // nft's numbers for the types ipv4_addr and inet_service, six bits each.
    let (len, key_type, flags, fields): (_, _, _, &[u32]) =
        if with_port { (8, 7 << 6 | 13, flags | SetFlags::CONCAT, &[4, 4]) } else { (4, 7, flags, &[]) };
    batch.add_set(&Set {
        id: set,
        flags,
        key_type,
        size: count,
        fields: fields.to_vec(),
        ..Set::new(family, TABLE, "__set%d", len)
    });
    let elements = (0..count).map(|number| {
        let address = (0x0a00_0000 + number).to_be_bytes();
        let [a, b] = 443_u16.to_be_bytes();
        let key =
            if with_port { Data::new(&[&address[..], &[a, b, 0, 0]].concat()) } else { Data::new(&address) };
        Element::new(key)
    });
    batch.add_elements(&ElementList::new(family, TABLE, "__set%d", set), elements);
    let compiled = compile(family, &rules[0], 1).unwrap().expressions;
    let look_up =
        Lookup { set: "__set%d".into(), set_id: set, sreg: Register::R1, dreg: None, inverted: false };
    // The address is compared by the fourth expression, the port by the eighth.
    let mut expressions = compiled;
    if with_port {
        let port_to = Register::new(uapi::NFT_REG32_00 + 1);
        if let Expr::Payload(payload) = &mut expressions[6] {
            payload.action = nftwire::expr::PayloadAction::Load(port_to);
        }
        expressions[7] = look_up.into();
        // The protocol before either, for it uses the same register.
        let address = expressions.remove(2);
        expressions.remove(2);
        expressions.insert(4, address);
    } else {
        expressions[3] = look_up.into();
    }
    let rule = nftwire::Rule::new(family, TABLE, CHAIN);
    batch.add_rule(&rule, nftwire::Position::Append, &expressions);
    batch
}

fn open() -> OwnedFd {
    let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkNetFilter);
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).unwrap();
    socket
}

/// Sends the batch and waits for the answer to its last object.
fn commit(messages: &Messages) -> Duration {
    let socket = open();
    let started = Instant::now();
    send(socket.as_raw_fd(), &messages.bytes, MsgFlags::empty()).unwrap();
    let mut answer = [0; 1024];
    loop {
        let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
        let word = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().unwrap());
        assert!(len >= 20 && word(16) == 0, "{:?}", &answer[..len]);
        if word(8) == messages.sequence {
            return started.elapsed();
        }
    }
}

/// Its name, its bytes, and one run of it.
type Contender<'n> = (&'n str, usize, Box<dyn FnMut() -> Duration>);

fn main() {
    meshwire_testkit::enter_new();
    let form = AS_NOW;
    let variants = [
        ("as now", form),
        ("as now, once more", form),
        ("chain's id instead of its name", Form { by_id: true, ..form }),
        ("counters without their zeros", Form { zeros: false, ..form }),
        ("names of expressions without their NUL", Form { ends: false, ..form }),
        ("all three", Form { by_id: true, zeros: false, ends: false, ..form }),
        ("an answer to each message", Form { answers: true, ..form }),
        ("with a comment of 16 bytes", Form { userdata: b"\0\x0esixteen bytes\0", ..form }),
        ("10 chains, before all rules", Form { chains: 10, ..form }),
        ("10 chains, each before its rules", Form { chains: 10, interleaved: true, ..form }),
        ("10 chains, by their ids", Form { chains: 10, by_id: true, ..form }),
        ("in a table ip, without meta nfproto", Form { family: Family::Ipv4, ..form }),
        ("without counters", Form { counters: false, ..form }),
    ];
    for (size, runs) in SIZES {
        let rules = rules(size);
        let mut contenders: Vec<Contender<'_>> = Vec::new();
        for (name, form) in &variants {
            let messages = as_rules(form, &rules);
            contenders.push((name, messages.bytes.len(), Box::new(move || commit(&messages))));
        }
        for (name, with_port) in [("a set of addresses", false), ("a set of addresses and ports", true)] {
            let mut batch = as_set(&rules, with_port);
            let bytes = batch.len();
            let commit = move || {
                let mut socket = nftwire::Socket::open().unwrap();
                let started = Instant::now();
                socket.commit(&mut batch).unwrap();
                started.elapsed()
            };
            contenders.push((name, bytes, Box::new(commit)));
        }
        let mut times = vec![Vec::new(); contenders.len()];
        for _ in 0..runs {
            for ((_, _, run), times) in contenders.iter_mut().zip(&mut times) {
                clear();
                times.push(run());
            }
        }
        println!("{size} rules, medians of {runs} runs");
        let mut first = None;
        for ((name, bytes, _), mut times) in contenders.into_iter().zip(times) {
            times.sort_unstable();
            let quarter = |number: usize| times[times.len() * number / 4].as_secs_f64() * 1e6;
            let median = quarter(2);
            let ratio = median / *first.get_or_insert(median);
            println!(
                "{name:<39} {median:>8.0} us ({:.0} to {:.0})  {ratio:.3}  {bytes} bytes",
                quarter(1),
                quarter(3)
            );
        }
    }
}

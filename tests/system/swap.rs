//! Rulesets that change under traffic: while one thread swaps two that both drop, or both redirect, another one sends
//! from another CPU as fast as it can, and the kernel counts what slips through. The naive way of swapping is the
//! control: it leaks.
//!
//! A thirty-second of the packets; all of them with MESHWIRE_TEST_FULL in the environment.

use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::nft::compile::compile;
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::validate::validate;
use nft_ruleset::{BaseChain, Chain, ChainKind, Family, Hook, Op, Policy, Rule, Ruleset, Table, UDP_DPORT};
use nftwire::{Batch, Expr, Position, Socket};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::harness::{Namespace, full, privileged, say, skip, turn};

/// Where all packets want to go.
const PORT: u16 = 9000;
/// From how many ports they come.
const SOURCES: usize = 16;

const FAMILY: Family = Family::Inet;
/// The table that is swapped.
const SWAPPED: &str = "swapped";
/// The table that counts.
const WITNESS: &str = "witness";

/// Where a machine is so slow that it does not send everything in this time, it is enough, too.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// The control sends this many packets at a time, until one passes,
const CONTROL_PACKETS: u64 = 1_000_000;
/// and gives up after so many times. On two CPUs of a virtual machine, about 100 pass at the first.
const CONTROL_ROUNDS: usize = 30;

#[test]
fn no_packet_passes_while_rulesets_that_drop_are_swapped() {
    let Some(mut race) = Race::new([drops_at_once(), drops_behind_a_jump()]) else { return };
    for (swap, packets) in [(Race::replace as Swap, 20_000_000), (Race::keep_counters, 3_000_000)] {
        let result = race.run(swap, packets / part());
        assert_eq!((result.seen, result.passed, result.left), (result.sent, 0, 0), "{result}");
    }
    assert!(race.leaks());
}

#[test]
fn no_flow_stays_unredirected_while_rulesets_that_redirect_are_swapped() {
    let Some(mut race) = Race::new([redirects_to(9001), redirects_to(9002)]) else { return };
    for (swap, packets) in [(Race::replace as Swap, 10_000_000), (Race::keep_counters, 2_000_000)] {
        let result = race.run(swap, packets / part());
        assert_eq!((result.seen, result.passed, result.left), (result.sent, 0, result.sent), "{result}");
    }
    assert!(race.leaks());
}

/// What the number of packets is divided by.
fn part() -> u64 {
    if full() { 1 } else { 32 }
}

fn drops_at_once() -> Ruleset {
    let rules = vec![Rule::new().counter(), to_port().counter().drop()];
    swapped(ChainKind::Filter, 0, rules, vec![])
}

fn drops_behind_a_jump() -> Ruleset {
    let rules = vec![Rule::new().counter(), to_port().counter().jump("deny")];
    swapped(ChainKind::Filter, 0, rules, vec![regular("deny", vec![Rule::new().counter().drop()])])
}

fn redirects_to(port: u16) -> Ruleset {
    let rules = vec![Rule::new().counter(), to_port().counter().jump("away")];
    swapped(ChainKind::Nat, -100, rules, vec![regular("away", vec![to_port().redirect(port)])])
}

/// A base chain with these rules, a second one, and these regular chains.
///
/// The second chain does nothing, but takes its time. The kernel has the latest of equal priority first, so when the
/// naive way adds both again, the old second chain is between the new first one and the old first one: where a
/// packet has to be at the wrong moment. Without it, the control would leak once a second.
fn swapped(kind: ChainKind, priority: i32, rules: Vec<Rule>, regular: Vec<Chain>) -> Ruleset {
    let dawdle = (0..32).fold(Rule::new(), |rule, _| rule.counter());
    let base = [base("first", kind, priority, rules), base("second", kind, priority, vec![dawdle])];
    table(SWAPPED, base.into_iter().chain(regular).collect())
}

/// Counts the packets to the port, before the swapped chains and after them, and drops all of them. Connection tracking
/// forgets a connection whose first packet is dropped, so each packet is a new one.
fn witness() -> Ruleset {
    let after = vec![to_port().counter(), Rule::new().counter().drop()];
    let chains = [("before", -300, vec![to_port().counter()]), ("after", 100, after)];
    let chains = chains.map(|(name, priority, rules)| base(name, ChainKind::Filter, priority, rules));
    table(WITNESS, chains.into())
}

fn table(name: &str, chains: Vec<Chain>) -> Ruleset {
    Ruleset { tables: vec![Table { chains, ..Table::new(FAMILY, name) }] }
}

fn base(name: &str, kind: ChainKind, priority: i32, rules: Vec<Rule>) -> Chain {
    let base = BaseChain { kind, hook: Hook::LocalOut, priority, policy: Policy::Accept };
    Chain { name: name.into(), base: Some(base), rules, ..Chain::default() }
}

fn regular(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), rules, ..Chain::default() }
}

fn to_port() -> Rule {
    Rule::new().port(UDP_DPORT, Op::Eq, PORT)
}

/// A way of getting from one ruleset to the other.
type Swap = fn(&mut Race);

/// Two rulesets that take turns in a namespace, and packets that try to find the moment in between.
struct Race {
    namespace: Namespace,
    nft: Socket,
    rulesets: [Ruleset; 2],
    /// Which of them the kernel holds.
    current: usize,
}

fn commit(nft: &mut Socket, ruleset: &Ruleset, counters: Counters) {
    let owned = Owned::default();
    let plan = Plan::read(nft, Desired::new(ruleset, &owned)).unwrap();
    nft.commit(plan.transaction(counters).unwrap().batch()).unwrap();
}

impl Race {
    /// None where the privileges are missing, or a second CPU.
    fn new(rulesets: [Ruleset; 2]) -> Option<Self> {
        if !privileged() || (cpus().len() < 2 && !skip("it needs two CPUs")) {
            return None;
        }
        let namespace = Namespace::new();
        let mut nft = namespace.run(Socket::open).unwrap();
        for ruleset in [&rulesets[0], &rulesets[1], &witness()] {
            validate(ruleset).unwrap();
        }
        for ruleset in [&rulesets[0], &witness()] {
            commit(&mut nft, ruleset, Counters::Reset);
        }
        Some(Self { namespace, nft, rulesets, current: 0 })
    }

    /// As the command does.
    fn replace(&mut self) {
        self.swap(Counters::Reset);
    }

    /// As the command does with `--keep-counters`.
    fn keep_counters(&mut self) {
        self.swap(Counters::Keep);
    }

    fn swap(&mut self, counters: Counters) {
        self.current = 1 - self.current;
        let desired = &self.rulesets[self.current];
        commit(&mut self.nft, desired, counters);
    }

    /// Deletes all chains and adds the others, in one transaction.
    ///
    /// The new chain is empty until the transaction is done. The old one is not, but its place among the hooks is
    /// given to a function that accepts everything, while packets are on their way to it (`nf_remove_net_hook` in
    /// net/netfilter/core.c). So a packet may come by the new chain too early, and by the old one too late.
    fn naive(&mut self) {
        let mut batch = Batch::new();
        for chain in &self.rulesets[self.current].tables[0].chains {
            batch.del_chain(FAMILY, SWAPPED, &chain.name);
        }
        self.current = 1 - self.current;
        let chains = &self.rulesets[self.current].tables[0].chains;
        for chain in chains {
            let base = chain.base.map(|BaseChain { kind, hook, priority, policy }| nftwire::BaseChain {
                kind: kind.name(),
                hook,
                priority,
                policy: Some(policy),
            });
            batch.add_chain(&nftwire::Chain { base, ..nftwire::Chain::new(FAMILY, SWAPPED, &chain.name) });
        }
        for (chain, rule) in chains.iter().flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule)))
        {
            let place = nftwire::Rule::new(FAMILY, SWAPPED, &chain.name);
            batch.add_rule(&place, Position::Append, &compile(FAMILY, rule, 1).unwrap().expressions);
        }
        self.nft.commit(&mut batch).unwrap();
    }

    /// Whether anything passes when the naive way is taken.
    fn leaks(&mut self) -> bool {
        (0..CONTROL_ROUNDS).any(|_| self.run(Self::naive, CONTROL_PACKETS).passed > 0)
    }

    /// Swaps until all the packets are sent.
    fn run(&mut self, swap: Swap, packets: u64) -> Figures {
        // Each race needs two CPUs to itself.
        let _turn = turn();
        let (swapper_cpu, sender_cpu) = (cpus()[0], cpus()[1]);
        let sockets = self.namespace.run(|| [(); SOURCES].map(|()| socket()));
        let [seen, passed, left] = self.counters();

        let (started, done) = (Instant::now(), AtomicBool::new(false));
        let (sent, swaps) = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                pin(sender_cpu);
                let sent = send(&sockets, packets);
                done.store(true, Ordering::Relaxed);
                sent
            });
            let swapper = scope.spawn(|| {
                pin(swapper_cpu);
                let mut swaps = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    swap(self);
                    swaps += 1;
                }
                swaps
            });
            (sender.join().unwrap(), swapper.join().unwrap())
        });
        let elapsed = started.elapsed();

        let counters = self.counters();
        let (seen, passed, left) = (counters[0] - seen, counters[1] - passed, counters[2] - left);
        let figures = Figures { sent, seen, passed, left, swaps, elapsed };
        say(&format!("{}: {figures}", thread::current().name().unwrap_or_default()));
        assert!(swaps > 100, "{figures}");
        figures
    }

    /// What the witness has counted.
    fn counters(&mut self) -> [u64; 3] {
        let mut counters = Vec::new();
        let count = |rule: nftwire::Rule<'_>| {
            for expression in rule.expressions() {
                if let Expr::Counter(counter) = expression? {
                    counters.push(counter.packets);
                }
            }
            Ok(())
        };
        self.nft.rules(FAMILY, Some(WITNESS.into()), count).unwrap();
        counters.try_into().unwrap()
    }
}

/// What came of a race. Of packets, or of flows: each packet is the first one of its flow.
struct Figures {
    /// How many were sent.
    sent: u64,
    /// How many came to the swapped chains.
    seen: u64,
    /// How many were neither dropped nor redirected.
    passed: u64,
    /// How many were not dropped.
    left: u64,
    swaps: u64,
    elapsed: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, seen, passed, left, swaps, elapsed } = self;
        write!(f, "{sent} sent, {seen} seen, {passed} passed, {left} left; {swaps} swaps in {elapsed:.1?}")
    }
}

/// Sends the packets, or as many of them as the time allows; returns how many these are.
fn send(sockets: &[UdpSocket], packets: u64) -> u64 {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut sent = 0;
    while sent < packets && Instant::now() < deadline {
        for socket in sockets.iter().cycle().take(1000) {
            // A packet that is dropped on its way out fails with EPERM, and all of them are.
            let _ = socket.send(b"?");
            sent += 1;
        }
    }
    sent
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, PORT)).unwrap();
    socket
}

/// The CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect()
}

/// Keeps the calling thread on this CPU.
fn pin(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only).unwrap();
}

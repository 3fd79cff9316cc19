//! The way of real packets through the rules, as the kernel reports it: `meta nftrace`.
//!
//! A [`Tracer`] marks the first packets of new flows and of their replies by a table of its own, which belongs to its
//! socket: it goes when the tracer is dropped, and also when its process is killed. No other table is touched.

mod header;
mod table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nft_ruleset::Family;
use nft_ruleset::listing::RuleTexts;
use nft_ruleset::nft::print::Options;
use nft_ruleset::snapshot::Scope;
use nftwire::events::{Event, Events, Group, Trace, TraceKind};
use nftwire::{Socket, Text, Verdict, Version, release};

pub use header::{Direction, PacketHeader};
pub use table::NAME;

use crate::diagnostic::{Explain, Explanation};

/// The first kernel whose tables can belong to a socket (`NFT_TABLE_F_OWNER`).
const OWNERS: Version = Version::new(5, 12);

/// Which flows are traced. What is `None` is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// IPPROTO_TCP or IPPROTO_UDP; `None` is both
    pub protocol: Option<u8>,
    /// The address of who opens the flow
    pub source: Option<IpAddr>,
    /// The address that it is opened to, before any translation
    pub destination: Option<IpAddr>,
    /// The port that it is opened to, before any translation
    pub port: Option<u16>,
}

/// Why packets cannot be traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The kernel is too old for a table that goes with its owner. Nothing was changed.
    #[error("this kernel, {release}, has no tables that go with their owner (Linux {OWNERS} and later have)")]
    NoOwners {
        /// As `uname -r` prints it
        release: String,
    },
    /// Source and destination are not of the same address family. Nothing was changed.
    #[error("{source_address} and {destination} are not of the same address family")]
    MixedFamilies {
        /// The source
        source_address: IpAddr,
        /// The destination
        destination: IpAddr,
    },
    /// nf_tables
    #[error("nf_tables: {0}")]
    Netlink(nftwire::Error),
}

impl From<nftwire::Error> for TraceError {
    fn from(error: nftwire::Error) -> Self {
        Self::Netlink(error)
    }
}

impl Explain for TraceError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Netlink(error) => error.explanation(),
            Self::NoOwners { .. } | Self::MixedFamilies { .. } => Explanation::default(),
        }
    }
}

/// A step of a traced packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The flow's number, from 1 on
    pub flow: usize,
    /// Which of the flow's packets it is
    pub direction: Direction,
    /// The packet, with its first step
    pub packet: Option<PacketHeader>,
    /// Where it is, after the first step
    pub at: Option<Position>,
}

/// Where a packet is, and what happened there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The family of the table
    pub family: Family,
    /// The table
    pub table: String,
    /// The chain
    pub chain: String,
    /// The rule as nft shows it; `None` at the end of a chain
    pub rule: Option<String>,
    /// What happened, in nft's words: `accept`, `jump CHAIN`, `policy drop`, …
    pub verdict: String,
}

/// A trace under way, in the network namespace of the thread that started it.
#[derive(Debug)]
pub struct Tracer {
    /// What the table belongs to: closing it removes the table
    _owner: Socket,
    reader: Socket,
    events: Events,
    texts: RuleTexts,
    /// The packets whose first step was seen, by the number that the kernel gives them
    packets: HashMap<u32, Packet>,
    /// The flows that were seen, by who opened them
    flows: HashMap<(IpAddr, u16, u8), usize>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    flow: usize,
    direction: Direction,
}

impl Tracer {
    /// Starts to trace. The kernel marks at most `rate` packets a second.
    ///
    /// # Errors
    /// [`TraceError`]; whatever fails, nothing is left.
    pub fn start(filter: &Filter, rate: u32) -> Result<Self, TraceError> {
        let release = release();
        if Version::of_release(&release).is_some_and(|version| version < OWNERS) {
            return Err(TraceError::NoOwners { release });
        }
        if let (Some(source_address), Some(destination)) = (filter.source, filter.destination)
            && source_address.is_ipv4() != destination.is_ipv4()
        {
            return Err(TraceError::MixedFamilies { source_address, destination });
        }
        let events = Events::open(&[Group::Trace])?;
        let mut reader = Socket::open()?;
        let mut texts = RuleTexts::default();
        texts.read(&mut reader, Scope::Family(Family::Unspec), shown())?;
        let mut owner = Socket::open()?;
        owner.commit(&mut table::batch(filter, rate))?;
        let (packets, flows) = Default::default();
        Ok(Self { _owner: owner, reader, events, texts, packets, flows })
    }

    /// How many flows have been seen.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// The next step of a packet of ours; `None` when the time is over.
    ///
    /// # Errors
    /// The kernel's reports cannot be read or understood.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Step>, TraceError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(event) = self.events.next(Some(left))? else { return Ok(None) };
            let Event::Trace(record) = event else { continue };
            let message = record.message().map_err(nftwire::Error::Decode)?;
            let trace = Trace::decode(&message).map_err(nftwire::Error::Decode)?;
            if let Some(step) = self.step(&trace)? {
                return Ok(Some(step));
            }
        }
    }

    fn step(&mut self, trace: &Trace<'_>) -> Result<Option<Step>, TraceError> {
        if trace.table == NAME.as_bytes() {
            return Ok(self.enter(trace));
        }
        // A packet that did not meet our rule is traced by another program.
        let Some(Packet { flow, direction }) = self.packets.get(&trace.id).copied() else { return Ok(None) };
        // The end of a chain is reported once more, as a rule without a handle, before its policy.
        let text = match (trace.kind, trace.rule) {
            (TraceKind::Rule, None) => return Ok(None),
            (_, Some(handle)) => Some(self.rule(trace, handle)?),
            (_, None) => None,
        };
        let at = Position {
            family: trace.family,
            table: String::from_utf8_lossy(trace.table).into_owned(),
            chain: String::from_utf8_lossy(trace.chain).into_owned(),
            rule: text,
            verdict: verdict(trace),
        };
        Ok(Some(Step { flow, direction, packet: None, at: Some(at) }))
    }

    /// The text of a rule, which may be gone by now.
    fn rule(&mut self, trace: &Trace<'_>, handle: u64) -> Result<String, nftwire::Error> {
        let place = (trace.family, Text::from_bytes(trace.table), Text::from_bytes(trace.chain));
        let text = self.texts.find(&mut self.reader, place, handle, shown())?;
        Ok(text.map_or_else(|| format!("# handle {handle}, which is gone"), str::to_owned))
    }

    /// A traced packet enters a hook: it meets our chains before all others. Only its first step there has its headers.
    fn enter(&mut self, trace: &Trace<'_>) -> Option<Step> {
        let packet = PacketHeader::decode(trace)?;
        let is_match = trace.kind == TraceKind::Rule && trace.rule.is_some();
        let opener = (packet.source.ip(), packet.source.port(), packet.protocol);
        let answered = (packet.destination.ip(), packet.destination.port(), packet.protocol);
        let next = self.flows.len() + 1;
        let known = if table::is_first(trace.chain) {
            // The kernel uses a number again for another packet, and gives the same packet another one when it comes
            // back in over lo, where it matches no more.
            self.packets.remove(&trace.id);
            let original = self.flows.get(&opener).map(|flow| (*flow, Direction::Original));
            original.or_else(|| self.flows.get(&answered).map(|flow| (*flow, Direction::Reply)))?
        } else if is_match && !self.packets.contains_key(&trace.id) {
            (*self.flows.entry(opener).or_insert(next), Direction::Original)
        } else {
            return None;
        };
        let (flow, direction) = known;
        self.packets.insert(trace.id, Packet { flow, direction });
        Some(Step { flow, direction, packet: Some(packet), at: None })
    }
}

/// Rules as they are shown: without counters' values.
fn shown() -> Options<'static> {
    Options { stateless: true, ..Options::default() }
}

/// What happened, in nft's words.
fn verdict(trace: &Trace<'_>) -> String {
    if trace.kind == TraceKind::Policy {
        return if trace.policy == Some(0) { "policy drop" } else { "policy accept" }.to_owned();
    }
    let to = |word: &str, chain: Text<'_>| format!("{word} {}", String::from_utf8_lossy(chain.as_bytes()));
    match trace.verdict {
        Some(Verdict::Drop) => "drop".to_owned(),
        Some(Verdict::Accept) => "accept".to_owned(),
        Some(Verdict::Continue) => "continue".to_owned(),
        Some(Verdict::Break) => "break".to_owned(),
        Some(Verdict::Return) => "return".to_owned(),
        Some(Verdict::Jump(chain)) => to("jump", chain),
        Some(Verdict::Goto(chain)) => to("goto", chain),
        Some(Verdict::Other(other)) => match other.code() {
            STOLEN => "stolen".to_owned(),
            QUEUE => "queue".to_owned(),
            code => format!("verdict {code}"),
        },
        // Those are numbers of a batch, which no event has.
        Some(Verdict::JumpId(_) | Verdict::GotoId(_)) | None => String::new(),
    }
}

/// `NF_STOLEN` and `NF_QUEUE` (linux/netfilter.h).
const STOLEN: i32 = 2;
const QUEUE: i32 = 3;

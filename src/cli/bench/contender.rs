//! Who loads what, and how long it takes.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Seek, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nft_ruleset::IpPrefix;
use nftwire::{Batch, Socket};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::BenchError;
use crate::cli::istio_iptables;
use crate::mesh::istio::sidecar::{InboundPorts, ServiceCidr, Sidecar};
use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::nft::json;
use nft_ruleset::nft::print::Options;
use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::{Chain, Family, Op, Rule, Ruleset, TCP_DPORT, Table};

/// The address of the pod that the namespace represents (TEST-NET-3 of RFC 5737).
pub(super) const POD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Istio's own flags for a sidecar.
const SIDECAR: &[&str] = &[
    "-p",
    "15001",
    "-z",
    "15006",
    "-u",
    "1337",
    "-m",
    "REDIRECT",
    "-i",
    "*",
    "-b",
    "*",
    "-d",
    "15090,15021,15020",
];

/// The table of the rules that are loaded by their number, and its chain, which no packet enters.
const TABLE: &str = "meshwire-bench";
const CHAIN: &str = "rules";

/// How many networks are excluded.
const EXCLUDED: u32 = 10_000;

/// What Istio checks nft with.
const PROBE: &str = "table inet meshwire-probe {\n}\n";

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// The rules of Istio's default sidecar
    Sidecar,
    /// The same with [`EXCLUDED`] networks that are not intercepted: by ourselves with `--optimize`, by others rule by rule
    Excluded,
    /// As many rules `ip daddr A tcp dport P counter return`
    Rules(u32),
}

/// How long a generation is sought that lasts until the commit.
const EXACT: Duration = Duration::from_secs(2);

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sidecar => f.write_str("sidecar"),
            Self::Excluded => write!(f, "{EXCLUDED} excluded networks, --optimize"),
            Self::Rules(1) => f.write_str("1 rule"),
            Self::Rules(count) => write!(f, "{count} rules"),
        }
    }
}

/// Who loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    /// The kernel alone
    Floor,
    Meshwire,
    /// Our own program in place of nft
    MeshwireNft,
    Nft,
    NftJson,
    /// The processes that Istio's native backend starts
    Istio,
    Iptables,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Floor => "floor",
            Self::Meshwire => "meshwire",
            Self::MeshwireNft => "meshwire nft -f",
            Self::Nft => "nft -f",
            Self::NftJson => "nft -j -f",
            Self::Istio => "nft as Istio",
            Self::Iptables => "iptables-nft-restore",
        })
    }
}

/// The programs that are installed.
pub(super) struct Installed {
    nft: bool,
    iptables: bool,
}

/// Looks for the other programs.
pub(super) fn installed() -> Installed {
    let starts = |name: &str| {
        let mut command = Command::new(name);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok()
    };
    Installed { nft: starts("nft"), iptables: starts("iptables-nft-restore") }
}

impl Contender {
    /// Those that can load this.
    pub(super) fn of(load: Load, installed: &Installed) -> Vec<Self> {
        let mut contenders = vec![Self::Floor, Self::Meshwire];
        // With `--optimize`, the others' text is another one than ours.
        if cfg!(feature = "nft") && !matches!(load, Load::Excluded) {
            contenders.push(Self::MeshwireNft);
        }
        if installed.nft {
            contenders.push(Self::Nft);
            match load {
                Load::Sidecar => contenders.push(Self::Istio),
                Load::Rules(_) => contenders.push(Self::NftJson),
                Load::Excluded => {}
            }
        }
        if installed.iptables && matches!(load, Load::Rules(_)) {
            contenders.push(Self::Iptables);
        }
        contenders
    }
}

/// A load, made ready for everyone.
pub(super) struct Prepared {
    load: Load,
    ruleset: Ruleset,
    text: File,
    json: File,
    iptables: File,
}

impl Load {
    pub(super) fn prepare(self) -> Result<Prepared, BenchError> {
        let (ruleset, iptables) = match self {
            Self::Sidecar => (sidecar().ruleset(), String::new()),
            Self::Excluded => (excluding(), String::new()),
            Self::Rules(count) => (rules(count), iptables(count)),
        };
        let text = ruleset.to_string();
        let json = json::ruleset(&ruleset, &Options::default());
        Ok(Prepared {
            load: self,
            ruleset,
            text: file(&text)?,
            json: file(&json)?,
            iptables: file(&iptables)?,
        })
    }
}

impl Prepared {
    /// What we load ourselves.
    fn desired(&self) -> Cow<'_, Ruleset> {
        match self.load {
            Load::Excluded => Cow::Owned(optimize(&self.ruleset, Counting::ByRule)),
            Load::Sidecar | Load::Rules(_) => Cow::Borrowed(&self.ruleset),
        }
    }

    /// How long it takes where nothing is loaded.
    pub(super) fn time(&self, contender: Contender) -> Result<Duration, BenchError> {
        clear()?;
        let mut socket = Socket::open()?;
        match (contender, self.load) {
            (Contender::Floor, _) => {
                let desired = self.desired();
                let owned = Owned::default();
                let plan = Plan::from_nothing(Desired::new(&desired, &owned))?;
                let mut transaction = plan.transaction(Counters::Reset)?;
                Ok(socket.commit(transaction.batch())?.elapsed)
            }
            (Contender::Meshwire, Load::Rules(_) | Load::Excluded) => {
                let started = Instant::now();
                let desired = self.desired();
                let owned = Owned::default();
                let plan =
                    Plan::read_for(&mut socket, Desired::new(&desired, &owned), Counters::Reset, EXACT)?;
                socket.commit(plan.transaction(Counters::Reset)?.batch())?;
                Ok(started.elapsed())
            }
            (Contender::Meshwire, Load::Sidecar) => {
                process("/proc/self/exe", &[&[istio_iptables::NAME], SIDECAR].concat(), None)
            }
            (Contender::MeshwireNft, _) => process("/proc/self/exe", &["nft", "-f", "-"], Some(&self.text)),
            (Contender::Nft, _) => process("nft", &["-f", "-"], Some(&self.text)),
            (Contender::NftJson, _) => process("nft", &["-j", "-f", "-"], Some(&self.json)),
            (Contender::Istio, _) => {
                let probe = file(PROBE)?;
                Ok(process("nft", &["--version"], None)?
                    + process("nft", &["--check", "-f", "-"], Some(&probe))?
                    + process("nft", &["-f", "-"], Some(&self.text))?)
            }
            (Contender::Iptables, _) => process("iptables-nft-restore", &["--noflush"], Some(&self.iptables)),
        }
    }
}

/// Takes all tables away. What the kernel still does about that is over when this returns: it lets a socket that has
/// deleted something wait when it is closed.
fn clear() -> Result<(), BenchError> {
    let mut socket = Socket::open()?;
    let mut tables = Vec::new();
    socket.tables(Family::Unspec, |table| {
        tables.push((table.family, table.name.to_name()));
        Ok(())
    })?;
    let mut batch = Batch::new();
    for (family, name) in &tables {
        batch.del_table(*family, name);
    }
    socket.commit(&mut batch)?;
    Ok(())
}

/// From the start of a process to its end.
fn process(program: &str, arguments: &[&str], input: Option<&File>) -> Result<Duration, BenchError> {
    let name = || [&[program], arguments].concat().join(" ");
    let cannot_start = |error| BenchError::Start(name(), error);
    let input = match input {
        Some(file) => {
            // All copies of a descriptor read at the same place.
            let mut file = file.try_clone().map_err(cannot_start)?;
            file.rewind().map_err(cannot_start)?;
            Stdio::from(file)
        }
        None => Stdio::null(),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(input).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let output = command.output().map_err(cannot_start)?;
    let elapsed = started.elapsed();
    if output.status.success() {
        return Ok(elapsed);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line =
        said.lines().find(|line| !line.is_empty()).map_or_else(|| output.status.to_string(), str::to_owned);
    Err(BenchError::Failed(name(), line))
}

/// A file in memory with this text.
fn file(text: &str) -> Result<File, BenchError> {
    let make = || -> io::Result<File> {
        let mut file = File::from(memfd_create("meshwire-bench", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    make().map_err(|error| BenchError::Write("a file in memory".into(), error))
}

fn sidecar() -> Sidecar {
    Sidecar {
        inbound_ports: InboundPorts::AllExcept([15090, 15021, 15020].map(|port| port..=port).into()),
        service_cidr: ServiceCidr::All,
        ..Sidecar::default()
    }
}

/// Networks none of which is next to another.
fn excluding() -> Ruleset {
    let networks =
        (0..EXCLUDED).map(|number| IpPrefix::new(Ipv4Addr::from(0x0a00_0000 + (number << 8)).into(), 25));
    Sidecar { service_cidr_exclude: networks.flatten().collect(), ..sidecar() }.ruleset()
}

/// Another pod of the same node, for as long as the file is open: where no namespace has rules, the kernel patches its own
/// code for the first ones, and that would be what is measured.
pub(super) fn neighbour() -> Result<File, BenchError> {
    let make = || -> io::Result<File> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    };
    // A socket stays with the namespace in which its thread was.
    let made = thread::spawn(move || make().map(|namespace| (namespace, Socket::open()))).join();
    let made = made.unwrap_or_else(|panic| resume_unwind(panic));
    let (namespace, socket) = made.map_err(BenchError::Neighbour)?;
    let (ruleset, owned) = (sidecar().ruleset(), Owned::default());
    let plan = Plan::from_nothing(Desired::new(&ruleset, &owned))?;
    socket?.commit(plan.transaction(Counters::Reset)?.batch())?;
    Ok(namespace)
}

/// What each rule asks for: another address, and one of all ports.
fn values(count: u32) -> impl Iterator<Item = (Ipv4Addr, u16)> {
    let port = |number: u32| u16::try_from(number % 65_535 + 1).unwrap_or(1);
    (0..count).map(move |number| (Ipv4Addr::from(0x0a00_0000 + number), port(number)))
}

/// So many rules in a chain that no packet enters.
fn rules(count: u32) -> Ruleset {
    let rule = |(address, port): (Ipv4Addr, u16)| {
        Rule::new().daddr(Op::Eq, IpAddr::from(address)).port(TCP_DPORT, Op::Eq, port).counter().returns()
    };
    let chain = Chain { name: CHAIN.into(), rules: values(count).map(rule).collect(), ..Chain::default() };
    Ruleset { tables: vec![Table { chains: vec![chain], ..Table::new(Family::Inet, TABLE) }] }
}

/// The same for iptables-nft-restore.
fn iptables(count: u32) -> String {
    let mut text = format!("*filter\n:{CHAIN} - [0:0]\n");
    for (address, port) in values(count) {
        // A String takes everything.
        let _ = writeln!(text, "-A {CHAIN} -d {address}/32 -p tcp -m tcp --dport {port} -j RETURN");
    }
    text + "COMMIT\n"
}

//! Network namespaces, both programs in them, and the kernel's state as its own words.

use std::fmt::Write as _;
use std::io::Write;
use std::process::{Command, Output};
use std::{io, thread};

pub(crate) use meshwire_testkit::say;
use meshwire_testkit::{oracle, privileged};
use nftwire::{Family, Socket};
use nix::sched::{CloneFlags, unshare};

use crate::program::program;

const DEVICES: &str = "ip link set lo up; ip link add eth0 type veth peer name eth1";

/// Which program reads a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nft {
    Theirs,
    Ours,
}

impl Nft {
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Theirs => Command::new("nft"),
            Self::Ours => {
                let mut command = Command::new(program());
                command.arg("nft");
                command
            }
        }
    }

    pub(crate) fn run(self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Loads a text from standard input.
    pub(crate) fn load(self, text: &str) -> Output {
        self.feed(&["-f", "-"], text)
    }

    pub(crate) fn feed(self, arguments: &[&str], text: &str) -> Output {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        self.command().args(arguments).stdin(file).output().unwrap()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The state after these texts were loaded one after the other, or what was said of the first that was refused.
pub(crate) fn loaded(nft: Nft, texts: &[&str]) -> Result<String, String> {
    inside(|| {
        for text in texts {
            let output = nft.load(text);
            if !output.status.success() {
                return Err(self::text(&output.stderr));
            }
        }
        Ok(state())
    })
}

/// Both programs leave the same state.
#[track_caller]
pub(crate) fn assert_same(texts: &[&str]) {
    let (theirs, ours) = (loaded(Nft::Theirs, texts), loaded(Nft::Ours, texts));
    let theirs = theirs.unwrap_or_else(|error| panic!("nft refuses {texts:?}: {error}"));
    let ours = ours.unwrap_or_else(|error| panic!("refused: {texts:?}: {error}"));
    assert_eq!(ours, theirs, "{texts:?}");
}

/// Everything that the kernel holds, as it says it: expressions, keys, flags and what belongs to nft; without handles
/// and the numbers of anonymous sets.
pub(crate) fn state() -> String {
    let mut socket = Socket::open().unwrap();
    let (_, lines) = socket
        .consistent(|reader| {
            let (mut lines, mut tables) = (Vec::new(), Vec::new());
            reader.tables(Family::Unspec, |table| {
                tables.push((table.family, table.name.to_name()));
                lines.push(format!("{:?}", nftwire::Table { handle: 0, references: 0, ..table }));
                Ok(())
            })?;
            reader.chains(Family::Unspec, |chain| {
                lines.push(format!("{:?}", nftwire::Chain { handle: 0, references: 0, ..chain }));
                Ok(())
            })?;
            for (family, name) in &tables {
                let mut sets = Vec::new();
                reader.sets(*family, Some(name.into()), |set| {
                    // What nft keeps with anonymous sets, no listing needs; and of values that a text repeats nft
                    // counts each into the size.
                    let anonymous = set.flags.contains(nftwire::SetFlags::ANONYMOUS);
                    let userdata = if anonymous { &[] } else { set.userdata };
                    let size = if anonymous { 0 } else { set.size };
                    let set = nftwire::Set { userdata, size, ..set };
                    sets.push((
                        set.name.to_name(),
                        format!("{:?}", nftwire::Set { handle: 0, id: 0, ..set }),
                    ));
                    Ok(())
                })?;
                for (set, head) in sets {
                    let mut elements = Vec::new();
                    reader.elements(*family, name, &set, |list| {
                        for element in list.elements() {
                            elements.push(format!("{:?}", nftwire::Element { expiration: 0, ..element? }));
                        }
                        Ok(())
                    })?;
                    elements.sort();
                    lines.push(format!("{head} {}", elements.join(" ")));
                }
                reader.rules(*family, Some(name.into()), |rule| {
                    let mut line = format!("rule {} {} {:?}", rule.table, rule.chain, rule.userdata);
                    for expression in rule.expressions() {
                        match expression? {
                            // nft turns the order of single bytes, too: it means nothing, and newer kernels refuse it.
                            nftwire::Expr::Byteorder(byteorder) if byteorder.len == 1 => {}
                            expression => {
                                let _ = write!(line, " {expression:?}");
                            }
                        }
                    }
                    lines.push(line);
                    Ok(())
                })?;
                reader.objects(*family, Some(name.into()), None, |object| {
                    lines.push(format!("{:?}", nftwire::Object { handle: 0, references: 0, ..object }));
                    Ok(())
                })?;
            }
            Ok(lines)
        })
        .unwrap();
    lines.iter().map(|line| unnumbered(line) + "\n").collect()
}

/// The line without the numbers of anonymous sets, which are maps where nft made them, and chains.
fn unnumbered(line: &str) -> String {
    let line = line.replace("__objmap", "__set").replace("__map", "__set").replace("__chain", "__set");
    let mut parts = line.split("__set");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    std::iter::once(first.as_str()).chain(rest).collect::<Vec<_>>().join("__set")
}

/// Runs the closure in a fresh network namespace, with devices.
pub(crate) fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let devices = Command::new("sh").args(["-c", DEVICES]).output().unwrap();
        assert!(devices.status.success(), "{}", text(&devices.stderr));
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|cause| std::panic::resume_unwind(cause))
}

/// Whether this process may make namespaces and rules in them, and nft is installed to judge.
///
/// # Panics
/// Under CI, where a test that cannot run must not look like one that passed.
pub(crate) fn can_run() -> bool {
    privileged() && oracle("nft")
}

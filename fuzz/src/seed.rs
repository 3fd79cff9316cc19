//! Writes what the kernel holds in the network namespace in which it runs as seeds into a folder:
//! every message of a kind that no other has, each set with its elements, and each table as a whole.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

// What the instrumented code calls.
use libfuzzer_sys as _;
use nftwire::{Family, Name, Query, Set, Socket};

/// A seed that is longer than that makes the fuzzer slow.
const LONGEST: usize = 16 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: seed FOLDER")?);
    fs::create_dir_all(&folder)?;
    let mut socket = Socket::open()?;
    let mut tables = Vec::new();
    socket.tables(Family::Unspec, |table| {
        tables.push((table.family, Name::new(table.name.as_bytes())));
        Ok(())
    })?;
    for (family, table) in tables {
        let name = Some(table.as_text());
        let mut whole = Vec::new();
        for query in [Query::Tables, Query::Chains, Query::Objects { table: name, kind: None }] {
            whole.extend(dump(&mut socket, family, query)?);
        }
        whole.extend(dump(&mut socket, family, Query::Flowtables { table: name })?);
        let mut sets = Vec::new();
        socket.sets(family, Some(table.as_text()), |set: Set<'_>| {
            sets.push(Name::new(set.name.as_bytes()));
            Ok(())
        })?;
        whole.extend(dump(&mut socket, family, Query::Sets { table: name })?);
        for set in &sets {
            whole.extend(dump(
                &mut socket,
                family,
                Query::Elements { table: table.as_text(), set: set.as_text() },
            )?);
        }
        whole.extend(dump(&mut socket, family, Query::Rules { table: name, chain: None })?);
        write(&folder, &whole)?;
    }
    Ok(())
}

fn write(folder: &Path, messages: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let whole = messages.concat();
    if whole.len() <= LONGEST {
        fs::write(folder.join(name(&whole)), &whole)?;
    }
    let distinct: BTreeSet<_> = messages.iter().filter(|message| message.len() <= LONGEST).collect();
    for message in distinct {
        fs::write(folder.join(name(message)), message)?;
    }
    Ok(())
}

/// FNV-1a of the bytes.
fn name(bytes: &[u8]) -> String {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash))
}

/// The messages of a dump; their sequence number is 0, as the targets want it.
fn dump(socket: &mut Socket, family: Family, query: Query<'_>) -> Result<Vec<Vec<u8>>, nftwire::Error> {
    let mut messages = Vec::new();
    socket.dump(family, query, |received| {
        let mut bytes = received.as_bytes();
        while let Some(length) = bytes.first_chunk::<4>() {
            let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
            let Some(message) = bytes.get(..length) else { break };
            let mut message = message.to_vec();
            message[8..16].fill(0);
            message.resize(length.next_multiple_of(4), 0);
            if message[4..6] != [3, 0] {
                messages.push(message);
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(received.into_buffer())
    })?;
    Ok(messages)
}

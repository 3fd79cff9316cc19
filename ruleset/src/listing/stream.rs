//! Rules, received by one thread and made into something by another.
//!
//! The kernel writes a part of the dump inside each receive, so half of the time that a listing takes passes there;
//! and nothing but a few datagrams is ever kept of the dump.

use std::collections::HashMap;
use std::panic;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use nftwire::{DecodeError, Error, Query, Received, Socket};

use crate::nft::decompile::{Decompiler, Sets};
use crate::{Chain, Rule, Table};

/// Datagrams of up to 32 KiB that are handed over at once. The other thread is the faster one: handed one at a time, it
/// would sleep before each, and waking it takes the receiver's time.
const AT_ONCE: usize = 16;
/// How many times that may wait for the other thread.
const WAITING: usize = 2;

/// What `each` makes of the rules of each chain of a table, or of one chain alone.
pub(super) fn rules<T: Default + Send>(
    socket: &mut Socket,
    table: &Table,
    chain: Option<&str>,
    sets: &Sets,
    each: &(impl Fn(&Table, &Chain, Rule, &mut T) + Sync),
) -> Result<Vec<T>, Error> {
    let (full, received) = sync_channel::<Vec<_>>(WAITING);
    let (empty, recycled) = channel();
    thread::scope(|scope| {
        let decoder = thread::Builder::new()
            .name("rules".into())
            .spawn_scoped(scope, move || decode(table, sets, &received, &empty, each))
            .map_err(Error::Receive)?;
        let query = Query::Rules { table: Some(&table.name), chain };
        let mut handful = Vec::with_capacity(AT_ONCE);
        // The decoder ends before the dump only with an error, which is looked at below.
        let received = socket.dump(table.family, query, |datagram| {
            handful.push(datagram);
            if handful.len() == AT_ONCE {
                let _ = full.send(std::mem::replace(&mut handful, Vec::with_capacity(AT_ONCE)));
            }
            Ok(recycled.try_recv().unwrap_or_default())
        });
        let _ = full.send(handful);
        drop(full);
        let decoded = decoder.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
        received?;
        Ok(decoded?)
    })
}

/// The same of one datagram, without a socket and another thread.
#[cfg(fuzzing)]
pub fn rules_in<T: Default>(
    datagram: Received,
    table: &Table,
    sets: &Sets,
    each: &impl Fn(&Table, &Chain, Rule, &mut T),
) -> Result<Vec<T>, DecodeError> {
    let (full, received) = sync_channel(1);
    let _ = full.send(vec![datagram]);
    drop(full);
    decode(table, sets, &received, &channel().0, each)
}

fn decode<T: Default>(
    table: &Table,
    sets: &Sets,
    received: &Receiver<Vec<Received>>,
    empty: &Sender<Vec<u8>>,
    each: &impl Fn(&Table, &Chain, Rule, &mut T),
) -> Result<Vec<T>, DecodeError> {
    let places: HashMap<_, _> =
        table.chains.iter().enumerate().map(|(index, chain)| (chain.name.as_str(), index)).collect();
    let mut made: Vec<_> = table.chains.iter().map(|_| T::default()).collect();
    let mut decompiler = Decompiler::new(table.family, sets);
    let mut place = 0;
    for datagram in received.iter().flatten() {
        for message in datagram.messages() {
            let rule = nftwire::Rule::decode(&message?)?;
            // Most rules belong to the chain of the one before.
            if table.chains.get(place).is_none_or(|chain| chain.name != rule.chain) {
                let Some(&index) = places.get(rule.chain) else { continue };
                place = index;
            }
            each(table, &table.chains[place], decompiler.rule(&rule)?, &mut made[place]);
        }
        // Nobody takes buffers back when the dump is over.
        let _ = empty.send(datagram.into_buffer());
    }
    Ok(made)
}

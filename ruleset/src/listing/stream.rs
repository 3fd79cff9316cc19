//! Rules, made into something chain by chain.

use std::collections::HashMap;

#[cfg(fuzzing)]
use nftwire::Received;
use nftwire::{DecodeError, Error, Message, Query, Reader};

use crate::Text;
use crate::nft::decompile::{Decompiler, Sets};
use crate::{Chain, Rule, Table};

/// What `each` makes of the rules of each chain of a table, or of one chain alone.
pub(super) fn rules<T: Default>(
    reader: &mut Reader<'_>,
    table: &Table,
    chain: Option<Text<'_>>,
    sets: &Sets,
    each: &impl Fn(&Table, &Chain, Rule, &mut T),
) -> Result<Vec<T>, Error> {
    let dump = reader.read(table.family, Query::Rules { table: Some((&table.name).into()), chain })?;
    Ok(decode(table, sets, dump.messages(), each)?)
}

/// The same of one datagram, without a socket.
#[cfg(fuzzing)]
pub fn rules_in<T: Default>(
    datagram: &Received,
    table: &Table,
    sets: &Sets,
    each: &impl Fn(&Table, &Chain, Rule, &mut T),
) -> Result<Vec<T>, DecodeError> {
    decode(table, sets, datagram.messages(), each)
}

fn decode<'m, T: Default>(
    table: &Table,
    sets: &Sets,
    messages: impl Iterator<Item = Result<Message<'m>, DecodeError>>,
    each: &impl Fn(&Table, &Chain, Rule, &mut T),
) -> Result<Vec<T>, DecodeError> {
    let places: HashMap<_, _> =
        table.chains.iter().enumerate().map(|(index, chain)| (chain.name.as_text(), index)).collect();
    let mut made: Vec<_> = table.chains.iter().map(|_| T::default()).collect();
    let mut decompiler = Decompiler::new(table.family, sets);
    let mut place = 0;
    for message in messages {
        let rule = nftwire::Rule::decode(&message?)?;
        if table.chains.get(place).is_none_or(|chain| chain.name != rule.chain) {
            let Some(&index) = places.get(&rule.chain) else { continue };
            place = index;
        }
        each(table, &table.chains[place], decompiler.rule(&rule)?, &mut made[place]);
    }
    Ok(made)
}

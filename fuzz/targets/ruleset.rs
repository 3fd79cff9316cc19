//! A dump of everything, read into the model, decompiled, and shown as text, JSON and pictures; its rules also as a
//! listing makes text of them while they are received.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use nft_ruleset::graph::Graph;
use nft_ruleset::nft::decompile::{self, Decompiler, SetReader, Sets};
use nft_ruleset::nft::json;
use nft_ruleset::nft::print::{Options, Printer};
use nft_ruleset::{Ruleset, snapshot};
use nftwire::{Chain, DecodeError, ElementList, Flowtable, Message, Object, Rule, Set, Table, uapi};

fuzz_target!(|datagram: &[u8]| {
    let received = nftwire::fuzzing::received(datagram);
    let messages: Vec<_> = received.messages().flatten().collect();
    let mut ruleset = Ruleset::default();
    tables(&messages, &mut ruleset);
    ruleset.tables.iter_mut().for_each(|table| fill(&messages, table));
    for table in &ruleset.tables {
        let _ = black_box(listed(datagram, table));
    }
    show(&ruleset);
});

/// The tables named by table messages; if there are none, by whatever there is, so that a single rule is seen.
fn tables(messages: &[Message<'_>], ruleset: &mut Ruleset) {
    for message in messages {
        if message.kind == uapi::NFT_MSG_NEWTABLE
            && let Ok(table) = Table::decode(message)
        {
            ruleset.tables.push(snapshot::table(&table));
        }
    }
    ruleset.tables.truncate(4);
    if ruleset.tables.is_empty() {
        let family = messages.first().map_or(nftwire::Family::Inet, |message| message.family);
        ruleset.tables.push(snapshot::table(&Table::new(family, "any")));
    }
}

fn fill(messages: &[Message<'_>], table: &mut nft_ruleset::Table) {
    let mut sets = Sets::new();
    for message in messages {
        match message.kind {
            uapi::NFT_MSG_NEWCHAIN => {
                table.chains.extend(Chain::decode(message).ok().map(|chain| snapshot::chain(&chain)));
            }
            uapi::NFT_MSG_NEWOBJ => {
                table.objects.extend(Object::decode(message).ok().map(|object| decompile::object(&object)));
            }
            uapi::NFT_MSG_NEWFLOWTABLE => {
                let flowtable = Flowtable::decode(message).ok();
                table.flowtables.extend(flowtable.map(|flowtable| decompile::flowtable(&flowtable)));
            }
            uapi::NFT_MSG_NEWSET => {
                if let Ok(set) = Set::decode(message) {
                    let set = read_set(&set, messages);
                    sets.insert(set.name.clone(), set);
                }
            }
            _ => {}
        }
    }
    let mut decompiler = Decompiler::new(table.family, &sets);
    for message in messages.iter().filter(|message| message.kind == uapi::NFT_MSG_NEWRULE) {
        let Ok(rule) = Rule::decode(message) else { continue };
        let Ok(model) = decompiler.rule(&rule) else { continue };
        match table.chains.iter_mut().find(|chain| chain.name == rule.chain) {
            Some(chain) => chain.rules.push(model),
            None => {
                let mut chain = snapshot::chain(&Chain::new(rule.family, rule.table, rule.chain));
                chain.rules.push(model);
                table.chains.push(chain);
            }
        }
    }
    table.sets = sets.into_values().collect();
}

fn read_set(set: &Set<'_>, messages: &[Message<'_>]) -> nft_ruleset::Set {
    let mut reader = SetReader::new(decompile::set(set));
    for message in messages.iter().filter(|message| message.kind == uapi::NFT_MSG_NEWSETELEM) {
        let Ok(list) = ElementList::decode(message) else { continue };
        if list.set == set.name {
            list.elements().map_while(Result::ok).for_each(|element| reader.add(&element));
        }
    }
    reader.finish()
}

/// The rules' text, or why a listing would end.
fn listed(datagram: &[u8], table: &nft_ruleset::Table) -> Result<Vec<String>, DecodeError> {
    let sets: Sets = table.sets.iter().map(|set| (set.name.clone(), set.clone())).collect();
    let received = nftwire::fuzzing::received(datagram);
    snapshot::decompile_rules(table, &sets, received.messages(), &|_, _, rule, out: &mut String| {
        Printer { out, options: Options::default() }.rule_line(&rule);
    })
}

fn show(ruleset: &Ruleset) {
    for stateless in [false, true] {
        let options = Options { stateless, handles: !stateless, ..Options::default() };
        let mut out = String::new();
        Printer { out: &mut out, options }.ruleset(ruleset);
        black_box(out);
    }
    black_box(json::ruleset(ruleset, &Options::default()));
    let graph = Graph::new(ruleset, Options::default(), true);
    black_box((graph.svg(), graph.dot()));
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    meshwire_fuzz::mutate(data, size, max_size, seed)
});

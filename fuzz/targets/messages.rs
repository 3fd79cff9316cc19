//! Messages as every object that nf_tables has, whatever their type says; what is read is written again.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use nftwire::userdata::{ElementUserdata, SetUserdata, comment};
use nftwire::{Batch, Chain, ElementList, Expr, Flowtable, Message, Object, Position, Rule, Set, Table};

fuzz_target!(|datagram: &[u8]| {
    let received = nftwire::fuzzing::received(datagram);
    for message in received.messages().flatten() {
        read(&message);
    }
});

fn read(message: &Message<'_>) {
    let mut batch = Batch::new();
    if let Ok(table) = Table::decode(message) {
        black_box(comment(table.userdata));
        batch.add_table(&table);
    }
    if let Ok(chain) = Chain::decode(message) {
        batch.add_chain(&chain);
    }
    if let Ok(rule) = Rule::decode(message) {
        let expressions: Vec<Expr<'_>> = rule.expressions().map_while(Result::ok).collect();
        batch.add_rule(&rule, Position::Append, &expressions);
    }
    if let Ok(set) = Set::decode(message) {
        black_box(SetUserdata::decode(set.userdata).encode().ok());
        batch.add_set(&set);
    }
    if let Ok(list) = ElementList::decode(message) {
        let elements: Vec<_> = list.elements().map_while(Result::ok).collect();
        for element in &elements {
            black_box(ElementUserdata::decode(element.userdata).encode().ok());
        }
        batch.add_elements(&list, &elements);
    }
    if let Ok(object) = Object::decode(message) {
        batch.add_object(&object);
    }
    if let Ok(flowtable) = Flowtable::decode(message) {
        batch.add_flowtable(&flowtable);
    }
    black_box(&batch);
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    meshwire_fuzz::mutate(data, size, max_size, seed)
});

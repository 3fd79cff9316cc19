//! Command lines and environments: one argument a line, the name of the program first; after an empty line, one variable
//! a line. What they ask for is looked at as the kernel would get it and as a user would see it.

#![no_main]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hint::black_box;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use nft_ruleset::Ruleset;
use nft_ruleset::nft::compile::compile;
use nft_ruleset::nft::json;
use nft_ruleset::validate::validate;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let arguments = lines.by_ref().take_while(|line| !line.is_empty());
    let arguments: Vec<_> = arguments.map(|line| OsString::from_vec(line.to_vec())).collect();
    let environment: BTreeMap<_, _> = lines
        .filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        })
        .collect();
    match meshwire::cli::fuzzing::command(arguments, environment) {
        Ok(Some(interception)) => look_at(&interception.ruleset),
        Ok(None) => {}
        Err(complaint) => assert!(!complaint.is_empty()),
    }
});

fn look_at(ruleset: &Ruleset) {
    if let Err(error) = validate(ruleset) {
        panic!("a profile made what is not valid: {error}\n{ruleset}");
    }
    for table in &ruleset.tables {
        for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
            if let Err(error) = compile(table.family, rule, 1) {
                panic!("a profile made what cannot be sent: {error}: {rule}");
            }
        }
    }
    black_box(ruleset.to_string());
    black_box(json::ruleset(ruleset, &Default::default()));
}

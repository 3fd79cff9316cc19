//! nft's language: texts and JSON documents, as far as the kernel is not asked.

#![no_main]

use std::hint::black_box;
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use nft_ruleset::nft::compile::{compile, named_set};
use nft_ruleset::nft::parse::evaluate::{Evaluator, ItemData, World};
use nft_ruleset::nft::parse::source::{Fault, Source, Sources};
use nft_ruleset::nft::parse::{Command, Files, NoFiles, Variables, json, parse, parse_all_but_rules};
use nft_ruleset::{Family, Set};

/// Knows some names, and no set.
struct Names;

impl World for Names {
    fn interface(&mut self, name: &str) -> Option<u32> {
        (name == "lo").then_some(1)
    }

    fn service(&mut self, name: &str) -> Option<u16> {
        (name == "ssh").then_some(22)
    }

    fn host(&mut self, name: &str) -> Vec<IpAddr> {
        if name == "localhost" { vec![[127, 0, 0, 1].into()] } else { Vec::new() }
    }

    fn user(&mut self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn group(&mut self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn number(&mut self, _: &str, _: &str) -> Option<u32> {
        None
    }

    fn cgroup(&mut self, _: &str) -> Option<u64> {
        None
    }

    fn is_utc(&mut self) -> bool {
        true
    }

    fn set(&mut self, _: Family, _: &str, _: &str) -> Result<Option<Set>, nftwire::Error> {
        Ok(None)
    }
}

/// Reads a text, as one of the functions that do.
type Read = fn(&mut Sources, u32, &mut dyn Files, &mut Variables) -> Result<Vec<Command>, Vec<Fault>>;

/// The rules that a text adds; errors where something is wrong with it.
fn rules(text: &str, read: Read) -> Option<Vec<String>> {
    let mut sources = Sources::default();
    let source =
        sources.add(Source { name: Some("fuzz".to_owned()), text: text.to_owned().into(), included: None });
    let render = |faults: Vec<Fault>, sources: &Sources| {
        faults.iter().for_each(|fault| assert!(fault.render(sources).contains("Error: ")));
    };
    let commands = match read(&mut sources, source, &mut NoFiles, &mut Variables::default()) {
        Ok(commands) => commands,
        Err(faults) => {
            render(faults, &sources);
            return None;
        }
    };
    let (mut names, mut rules, mut is_right) = (Names, Vec::new(), true);
    let mut evaluator = Evaluator::new(&mut names);
    for command in &commands {
        let added = evaluator.additions(command, &mut |item| {
            match item.data {
                ItemData::Rule { rule, .. } => {
                    rules.push(rule.to_string());
                    let _ = black_box(compile(item.family, &rule, 1));
                }
                ItemData::Set(set) | ItemData::Elements(set) => drop(black_box(named_set(&set))),
                _ => {}
            }
            Ok(())
        });
        if let Err(faults) = added {
            render(faults, &sources);
            is_right = false;
        }
    }
    is_right.then_some(rules)
}

fuzz_target!(|input: &str| {
    let text = match json::text(input) {
        Some(Ok(text)) => text,
        Some(Err(error)) => return assert!(!error.to_string().is_empty()),
        None => input.to_owned(),
    };
    // Rules that are read only when they are carried out are the same.
    assert_eq!(rules(&text, parse), rules(&text, parse_all_but_rules));
});

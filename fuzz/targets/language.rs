//! nft's language: texts and JSON documents, as far as the kernel is not asked.

#![no_main]

use std::hint::black_box;
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use nft_ruleset::nft::compile::{compile, named_set};
use nft_ruleset::nft::parse::evaluate::{Evaluator, ItemData, World};
use nft_ruleset::nft::parse::source::{Source, Sources};
use nft_ruleset::nft::parse::{Files, NoFiles, Variables, json, parse};
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

fuzz_target!(|input: &str| {
    let text = match json::text(input) {
        Some(Ok(text)) => text,
        Some(Err(error)) => return assert!(!error.to_string().is_empty()),
        None => input.to_owned(),
    };
    let mut sources = Sources::default();
    let source = sources.add(Source { name: Some("fuzz".to_owned()), text, included: None });
    let files: &mut dyn Files = &mut NoFiles;
    let commands = match parse(&mut sources, source, files, &mut Variables::default()) {
        Ok(commands) => commands,
        Err(faults) => {
            return faults.iter().for_each(|fault| assert!(fault.render(&sources).contains("Error: ")));
        }
    };
    let mut names = Names;
    let mut evaluator = Evaluator::new(&mut names);
    for command in &commands {
        let added = evaluator.additions(command, &mut |item| {
            match item.data {
                ItemData::Rule { rule, .. } => {
                    black_box(rule.to_string());
                    let _ = black_box(compile(item.family, &rule, 1));
                }
                ItemData::Set(set) | ItemData::Elements(set) => drop(black_box(named_set(&set))),
                _ => {}
            }
            Ok(())
        });
        if let Err(faults) = added {
            faults.iter().for_each(|fault| drop(black_box(fault.render(&sources))));
        }
    }
});

//! The texts of rules, for those who learn of them by their handles.

use std::collections::HashMap;

use nftwire::{Error, Socket};

use super::{Listed, collect};
use crate::nft::print::{Options, Printer};
use crate::snapshot::Scope;
use crate::{Family, Name, Rule, Text};

/// What identifies a rule: family, table, chain and handle.
type Key = (Family, Name, Name, u64);

/// Rules as nft shows them, as far as they were read; also those that are gone by now. A handle is never used again.
#[derive(Debug, Default)]
pub struct RuleTexts(HashMap<Key, String>);

impl RuleTexts {
    /// Reads the rules of a scope.
    ///
    /// # Errors
    /// As [`collect`].
    pub fn read(&mut self, socket: &mut Socket, scope: Scope<'_>, options: Options<'_>) -> Result<(), Error> {
        let listed = collect(socket, scope, |_, _, rule, rules: &mut Vec<Rule>| rules.push(rule))?;
        for Listed { table, rules } in listed {
            let options = Options { anonymous: &table.anonymous, ..options };
            for (chain, rules) in table.chains.iter().zip(rules) {
                for rule in rules {
                    let mut text = String::new();
                    Printer { out: &mut text, options }.rule(&rule);
                    let key = (table.family, table.name.clone(), chain.name.clone(), rule.handle);
                    self.0.insert(key, text);
                }
            }
        }
        Ok(())
    }

    /// The text of a rule, whose chain is read if the rule is not known; `None` for one that is gone.
    ///
    /// # Errors
    /// As [`collect`].
    pub fn find(
        &mut self,
        socket: &mut Socket,
        (family, table, chain): (Family, Text<'_>, Text<'_>),
        handle: u64,
        options: Options<'_>,
    ) -> Result<Option<&str>, Error> {
        let key = (family, table.to_name(), chain.to_name(), handle);
        if !self.0.contains_key(&key) {
            self.read(socket, Scope::Chain(family, table, chain), options)?;
        }
        Ok(self.0.get(&key).map(String::as_str))
    }
}

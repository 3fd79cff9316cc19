//! Differences as lines: `-` is desired and missing, `+` was found and is not desired, `~` was found in another form.

use std::fmt::{self, Display, Formatter};

use serde_json::{Value as Json, json};

use super::Differences;
use crate::json::JsonValue;
use crate::leftovers::Leftover;
use crate::network::Network;
use nft_ruleset::nft::print::{Options, Printer, hook_name, table_flags};
use nft_ruleset::plan::{
    ChainDifference, ChangedChain, ChangedTable, KeptDifference, RuleDifference, SetDifference,
    TableDifference,
};
use nft_ruleset::{BaseChain, Chain, Family, Name, Policy, Set, Table};
use nftwire::TableFlags;

/// Every difference in a line or two, below the table and the chain that it is in; nothing where there is none.
impl Display for Differences {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            match table {
                TableDifference::Missing(table) => writeln!(f, "- table {table} ({})", size(table))?,
                TableDifference::Extra(table) => {
                    writeln!(f, "+ table {table} ({})", size(table))?;
                    for chain in &table.chains {
                        extra_chain(f, "    ", table.family, chain)?;
                    }
                }
                TableDifference::Changed(table) => changed_table(f, table)?,
            }
        }
        let all = [('-', &self.missing_network), ('+', &self.extra_network)];
        for (sign, network) in all {
            for line in network_lines(network) {
                writeln!(f, "{sign} {line}")?;
            }
        }
        for leftover in &self.leftovers {
            writeln!(f, "+ {leftover}")?;
        }
        Ok(())
    }
}

fn size(table: &Table) -> String {
    let rules = table.chains.iter().map(|chain| chain.rules.len()).sum();
    format!("{}, {}", count(table.chains.len(), "chain"), count(rules, "rule"))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn changed_table(f: &mut Formatter<'_>, table: &ChangedTable) -> fmt::Result {
    writeln!(f, "  table {} {}", table.family, table.name)?;
    if let Some(flags) = table.flags {
        for (sign, flags) in ["-", "+"].into_iter().zip(flags).filter(|(_, flags)| *flags != 0) {
            writeln!(f, "{sign}   flags {}", flags_line(flags))?;
        }
    }
    kept_lines(f, "  ", table.kept.as_ref())?;
    for (sign, names) in [("+", &table.extra), ("-", &table.missing)] {
        for (kind, name) in names {
            writeln!(f, "{sign}   {kind} {name}")?;
        }
    }
    for (kind, name) in &table.changed {
        writeln!(f, "~   {kind} {name}")?;
    }
    for set in &table.sets {
        match set {
            SetDifference::Missing(set) => writeln!(f, "-   set {}: {}", set.name, set_line(set))?,
            SetDifference::Changed(both) => {
                let [desired, found] = &**both;
                let name = &desired.name;
                writeln!(f, "-   set {name}: {}\n+   set {name}: {}", set_line(desired), set_line(found))?;
            }
            SetDifference::Elements(both) => {
                let [desired, found] = both.each_ref().map(|set| count(set.elements.len(), "element"));
                let name = &both[0].name;
                writeln!(f, "-   set {name}: {desired}\n+   set {name}: {found}")?;
            }
        }
    }
    for chain in &table.chains {
        match chain {
            ChainDifference::Missing(chain) => {
                let head = head(table.family, chain);
                writeln!(f, "-   {head} ({})", count(chain.rules.len(), "rule"))?;
            }
            ChainDifference::Extra(chain) => extra_chain(f, "  ", table.family, chain)?,
            ChainDifference::Changed(chain) => changed_chain(f, table.family, chain)?,
        }
    }
    Ok(())
}

/// Comments, and whatever else programs keep with a table or a chain.
fn kept_lines(f: &mut Formatter<'_>, indent: &str, kept: Option<&KeptDifference>) -> fmt::Result {
    let Some(KeptDifference { comments, userdata }) = kept else { return Ok(()) };
    for (sign, (comment, userdata)) in ["-", "+"].into_iter().zip(comments.iter().zip(userdata)) {
        if let Some(comment) = comment {
            writeln!(f, "{sign} {indent}comment {}", comment.quoted())?;
        }
        if let Some(bytes) = userdata.bytes() {
            writeln!(f, "{sign} {indent}userdata {}", hex(bytes))?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn flags_line(flags: u32) -> String {
    let note = if flags & TableFlags::DORMANT.0 == 0 { "" } else { ": none of its chains sees a packet" };
    format!("{}{note}", table_flags(flags).collect::<Vec<_>>().join(", "))
}

/// Nobody knows what such a chain is for, so all of it is shown.
fn extra_chain(f: &mut Formatter<'_>, indent: &str, family: Family, chain: &Chain) -> fmt::Result {
    writeln!(f, "+ {indent}{} ({})", head(family, chain), count(chain.rules.len(), "rule"))?;
    for (index, rule) in chain.rules.iter().enumerate() {
        writeln!(f, "+ {indent}  {}: {rule}", index + 1)?;
    }
    Ok(())
}

fn changed_chain(f: &mut Formatter<'_>, family: Family, chain: &ChangedChain) -> fmt::Result {
    writeln!(f, "    chain {}", chain.name)?;
    if let Some([desired, found]) = chain.base {
        writeln!(f, "-     {}\n+     {}", base_line(family, desired), base_line(family, found))?;
    }
    kept_lines(f, "    ", chain.kept.as_ref())?;
    if let Some(both) = chain.flags {
        for (sign, flags) in ["-", "+"].into_iter().zip(both).filter(|(_, flags)| *flags != 0) {
            writeln!(f, "{sign}     flags {flags:#x}")?;
        }
    }
    if let Some([desired, found]) = &chain.devices {
        for (sign, devices) in [("-", desired), ("+", found)] {
            let names: Vec<_> = devices.iter().map(Name::to_string).collect();
            writeln!(f, "{sign}     devices {}", names.join(", "))?;
        }
    }
    for rule in &chain.rules {
        match rule {
            RuleDifference::Missing { number, rule } => writeln!(f, "-     {number}: {rule}")?,
            RuleDifference::Extra { number, rule } => writeln!(f, "+     {number}: {rule}")?,
            RuleDifference::Changed { number, desired, found_number, found } => {
                let (desired, found) = (desired.to_string(), found.to_string());
                if desired == found {
                    writeln!(
                        f,
                        "~     {number}: {desired} (reads the same, but is made of other expressions)"
                    )?;
                } else {
                    writeln!(f, "-     {number}: {desired}\n+     {found_number}: {found}")?;
                }
            }
            RuleDifference::Moved { number, found_number, rule } => {
                writeln!(f, "~     {number}: {rule} (out of order: it is {found_number} there)")?;
            }
        }
    }
    Ok(())
}

fn head(family: Family, chain: &Chain) -> String {
    match chain.base {
        Some(base) => format!("chain {}: {}", chain.name, base_line(family, Some(base))),
        None => format!("chain {}", chain.name),
    }
}

/// nft's lines for what a set is, as one.
fn set_line(set: &Set) -> String {
    let mut out = String::new();
    Printer { out: &mut out, options: Options::default() }.set_head(set);
    out.lines().skip(1).map(str::trim).collect::<Vec<_>>().join("; ")
}

/// nft's line for a base chain.
fn base_line(family: Family, base: Option<BaseChain>) -> String {
    let Some(base) = base else { return "no hook: only jumps lead here".to_owned() };
    let mut out = String::new();
    let chain = Chain { base: Some(base), ..Chain::default() };
    Printer { out: &mut out, options: Options::default() }.chain_head(family, &chain);
    out.lines().nth(1).unwrap_or_default().trim().trim_end_matches(';').to_owned()
}

fn network_lines(network: &Network) -> impl Iterator<Item = String> {
    let addresses = network.loopback_addresses.iter().map(|address| format!("address {address}/128 of lo"));
    let rules = network.rules.iter().map(ToString::to_string);
    addresses.chain(rules).chain(network.routes.iter().map(ToString::to_string))
}

impl Differences {
    /// As an object: `equal`, and `differences`, each an object with `difference` (`missing`, `extra`, `changed` or
    /// `moved`), `object` (`table`, `chain`, `rule`, …), where it is, and texts as nft shows them, `desired` and `found`.
    #[must_use]
    pub fn to_json(&self) -> JsonValue {
        let list = self.entries();
        JsonValue(json!({ "equal": list.is_empty(), "differences": list }))
    }

    /// The differences of [`Differences::to_json`].
    pub(crate) fn entries(&self) -> Vec<Json> {
        let mut list = Vec::new();
        for table in &self.tables {
            match table {
                TableDifference::Missing(table) => list.push(table_json("missing", table)),
                TableDifference::Extra(table) => list.push(table_json("extra", table)),
                TableDifference::Changed(table) => changed_table_json(table, &mut list),
            }
        }
        for (difference, side, network) in
            [("missing", "desired", &self.missing_network), ("extra", "found", &self.extra_network)]
        {
            for line in network_lines(network) {
                list.push(json!({ "difference": difference, "object": "network", side: line }));
            }
        }
        for Leftover { family, table, chains } in &self.leftovers {
            list.push(json!({
                "difference": "extra",
                "object": "iptables",
                "family": family.to_string(),
                "table": table.to_string(),
                "chains": chains.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }));
        }
        list
    }
}

fn table_json(difference: &str, table: &Table) -> Json {
    let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
    json!({
        "difference": difference,
        "object": "table",
        "family": table.family.to_string(),
        "table": table.name.to_string(),
        "chains": table.chains.len(),
        "rules": rules,
    })
}

fn changed_table_json(table: &ChangedTable, list: &mut Vec<Json>) {
    let mut add = |difference: &str, object: &str, more: Json| {
        let entry = json!({
            "difference": difference,
            "object": object,
            "family": table.family.to_string(),
            "table": table.name.to_string(),
        });
        list.push(with(entry, more));
    };
    if let Some(both) = table.flags {
        let [desired, found] = both.map(|flags| table_flags(flags).collect::<Vec<_>>());
        add("changed", "table", json!({ "desired_flags": desired, "found_flags": found }));
    }
    if let Some(kept) = &table.kept {
        add("changed", "table", with_kept(json!({}), kept));
    }
    let named = [("extra", &table.extra), ("missing", &table.missing), ("changed", &table.changed)];
    for (difference, names) in named {
        for (kind, name) in names {
            add(difference, kind, json!({ "name": name.to_string() }));
        }
    }
    for set in &table.sets {
        match set {
            SetDifference::Missing(set) => {
                add("missing", "set", json!({ "name": set.name.to_string(), "desired": set_line(set) }));
            }
            SetDifference::Changed(both) => {
                let [desired, found] = &**both;
                let lines = [set_line(desired), set_line(found)];
                add(
                    "changed",
                    "set",
                    json!({ "name": desired.name.to_string(), "desired": lines[0], "found": lines[1] }),
                );
            }
            SetDifference::Elements(both) => {
                let [desired, found] = both.each_ref().map(|set| set.elements.len());
                let more = json!({ "desired_elements": desired, "found_elements": found });
                add("changed", "set", with(json!({ "name": both[0].name.to_string() }), more));
            }
        }
    }
    for chain in &table.chains {
        match chain {
            ChainDifference::Missing(chain) => {
                add("missing", "chain", chain_json(table.family, "desired", chain));
            }
            ChainDifference::Extra(chain) => add("extra", "chain", chain_json(table.family, "found", chain)),
            ChainDifference::Changed(chain) => {
                let name = json!({ "chain": chain.name.to_string() });
                if let Some(kept) = &chain.kept {
                    add("changed", "chain", with_kept(name.clone(), kept));
                }
                if let Some([desired, found]) = chain.flags {
                    add(
                        "changed",
                        "chain",
                        with(name, json!({ "desired_flags": desired, "found_flags": found })),
                    );
                }
                if let Some([desired, found]) = chain.base {
                    let (desired, found) = (base_json(table.family, desired), base_json(table.family, found));
                    let both = json!({ "chain": chain.name.to_string(), "desired": desired, "found": found });
                    add("changed", "chain", both);
                }
                if let Some([desired, found]) = &chain.devices {
                    let names = |devices: &[Name]| devices.iter().map(Name::to_string).collect::<Vec<_>>();
                    let (desired, found) = (names(desired), names(found));
                    let both = json!({ "chain": chain.name.to_string(), "desired_devices": desired, "found_devices": found });
                    add("changed", "chain", both);
                }
                for rule in &chain.rules {
                    let (difference, more) = rule_json(&chain.name.to_string(), rule);
                    add(difference, "rule", more);
                }
            }
        }
    }
}

fn with_kept(entry: Json, KeptDifference { comments, userdata }: &KeptDifference) -> Json {
    let [desired, found] = comments.each_ref().map(|comment| comment.as_ref().map(ToString::to_string));
    let entry = with(entry, json!({ "desired_comment": desired, "found_comment": found }));
    let [desired, found] = userdata.each_ref().map(|userdata| userdata.bytes().map(hex));
    match desired == found {
        true => entry,
        false => with(entry, json!({ "desired_userdata": desired, "found_userdata": found })),
    }
}

/// A JSON object with the members of another one.
fn with(mut entry: Json, more: Json) -> Json {
    if let (Json::Object(entry), Json::Object(more)) = (&mut entry, more) {
        entry.extend(more);
    }
    entry
}

fn chain_json(family: Family, side: &str, chain: &Chain) -> Json {
    let rules: Vec<_> = chain.rules.iter().map(ToString::to_string).collect();
    json!({ "chain": chain.name.to_string(), side: base_json(family, chain.base), "rules": rules })
}

/// What makes it a base chain; null for a chain that only jumps lead to.
fn base_json(family: Family, base: Option<BaseChain>) -> Json {
    base.map_or(Json::Null, |base| {
        json!({
            "type": base.kind.name(),
            "hook": hook_name(family, base.hook),
            "prio": base.priority,
            "policy": match base.policy {
                Policy::Accept => "accept",
                Policy::Drop => "drop",
            },
        })
    })
}

fn rule_json(chain: &str, difference: &RuleDifference) -> (&'static str, Json) {
    match difference {
        RuleDifference::Missing { number, rule } => {
            ("missing", json!({ "chain": chain, "number": number, "desired": rule.to_string() }))
        }
        RuleDifference::Extra { number, rule } => {
            ("extra", json!({ "chain": chain, "found_number": number, "found": rule.to_string() }))
        }
        RuleDifference::Changed { number, desired, found_number, found } => {
            let (desired, found) = (desired.to_string(), found.to_string());
            let both = json!({
                "chain": chain,
                "number": number,
                "desired": desired,
                "found_number": found_number,
                "found": found,
            });
            ("changed", both)
        }
        RuleDifference::Moved { number, found_number, rule } => {
            let text = rule.to_string();
            let both = json!({
                "chain": chain,
                "number": number,
                "desired": text,
                "found_number": found_number,
                "found": text,
            });
            ("moved", both)
        }
    }
}

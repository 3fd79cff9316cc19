//! A migration's steps, as a value that can be shown or carried out.

use std::fmt::{self, Display, Formatter};

use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nftwire::Socket;
use serde_json::{Value as Json, json};

use super::bridge::{self, BaseChainName};
use super::settings::{of_ruleset, sorted};
use super::{Difference, MigrateError};
use crate::interception::Interception;
use crate::json::JsonValue;
use crate::leftovers::{self, Leftovers};
use crate::network::RouteSocket;
use crate::reset::{CounterLocation, Reading, Readings};
use crate::verify::{Differences, VerifyError, verify};

/// The steps from the current rules to ours.
#[derive(Debug)]
pub struct MigrationPlan {
    /// The tables of legacy iptables
    legacy: Vec<String>,
    /// What has to be the same and is not
    conflicts: Vec<Difference>,
    /// Base chains of another version of the rules that go
    leaving: Vec<BaseChainName>,
    /// Whether both rulesets give packets to a transparent socket
    tproxy: bool,
    /// What the first transaction changes
    differences: Differences,
    /// What the second transaction removes
    leftovers: Leftovers,
}

impl MigrationPlan {
    /// Reads the current state.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(
        desired: &Interception,
        nft: &mut Socket,
        routes: &mut RouteSocket,
    ) -> Result<Self, VerifyError> {
        let (_, leftovers) = leftovers::read(nft)?;
        let differences = verify(desired, nft, routes)?;
        // What a killed run left of a bridge goes in any case.
        let ours = bridge::without(desired);
        Ok(Self {
            legacy: leftovers::legacy_tables(),
            conflicts: conflicts(&ours, &leftovers, nft, routes)?,
            leaving: bridge::leaving(nft, &ours)?,
            tproxy: bridge::tproxy_mark(desired).is_some() && !leftovers.is_empty(),
            differences,
            leftovers,
        })
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// [`MigrateError::LegacyIptables`], [`MigrateError::Differ`].
    pub fn is_possible(&self) -> Result<(), MigrateError> {
        if !self.legacy.is_empty() {
            return Err(MigrateError::LegacyIptables { tables: self.legacy.clone() });
        }
        if !self.conflicts.is_empty() {
            return Err(MigrateError::Differ(self.conflicts.clone()));
        }
        Ok(())
    }

    /// Whether our rules exist, and no others.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.leftovers.is_empty()
    }

    pub(super) fn needs_bridge(&self) -> bool {
        !self.leaving.is_empty() || self.tproxy
    }

    /// What the rules have counted that would go.
    #[must_use]
    pub fn counters(&self) -> Readings {
        readings(&self.leftovers)
    }

    /// In the order in which they are taken.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let bridge = self.needs_bridge();
        if bridge {
            steps.extend([Step::Bridge, Step::Wait]);
        }
        if bridge && !self.leftovers.is_empty() {
            steps.push(Step::Remove);
        }
        if !self.differences.is_empty() {
            steps.push(Step::Apply);
        }
        if bridge {
            steps.extend([Step::Wait, Step::RemoveBridge]);
        } else if !self.leftovers.is_empty() {
            steps.extend([Step::Wait, Step::Remove]);
        }
        steps
    }

    /// As an object: `nothing_to_do`, and `steps`, each with `step` (`bridge`, `apply`, `wait`, `remove`, `remove_bridge`)
    /// and what it is about.
    #[must_use]
    pub fn to_json(&self) -> JsonValue {
        let steps: Vec<_> = self.steps().into_iter().map(|step| self.step_json(step)).collect();
        JsonValue(json!({ "nothing_to_do": self.is_empty(), "steps": steps }))
    }

    fn step_json(&self, step: Step) -> Json {
        match step {
            Step::Bridge => {
                let leaving = self.leaving.iter().map(|(family, table, chain)| {
                    json!({
                        "family": family.to_string(),
                        "table": table.to_string(),
                        "chain": chain.to_string(),
                    })
                });
                json!({ "step": "bridge", "leaving": leaving.collect::<Vec<_>>(), "tproxy": self.tproxy })
            }
            Step::Wait => json!({ "step": "wait" }),
            Step::Apply => {
                json!({ "step": "apply", "differences": self.differences.to_json().0["differences"] })
            }
            Step::Remove => {
                let removed = self.leftovers.iter().map(|(leftover, rules)| {
                    let rules = rules.iter();
                    let rules = rules
                        .map(|rule| json!({ "chain": rule.chain.to_string(), "text": rule.meaning.text }));
                    json!({
                        "family": leftover.family.to_string(),
                        "table": leftover.table.to_string(),
                        "chains": leftover.chains.iter().map(ToString::to_string).collect::<Vec<_>>(),
                        "rules": rules.collect::<Vec<_>>(),
                    })
                });
                json!({
                    "step": "remove",
                    "iptables": removed.collect::<Vec<_>>(),
                    "counters": self.counters().to_json().0["counters"],
                })
            }
            Step::RemoveBridge => json!({ "step": "remove_bridge" }),
        }
    }

    fn write_step(&self, step: Step, f: &mut Formatter<'_>) -> fmt::Result {
        match step {
            Step::Bridge => {
                writeln!(
                    f,
                    "bridge: all desired rules, in tables of other names, until the new ones are in place"
                )?;
                for (family, table, chain) in &self.leaving {
                    writeln!(f, "  because this base chain goes: {family} {table} {chain}")?;
                }
                if self.tproxy {
                    writeln!(f, "  because two sets of rules for TPROXY do not go together")?;
                }
            }
            Step::Wait => writeln!(f, "wait: an RCU grace period")?,
            Step::Apply => {
                writeln!(f, "apply (- will be added, + will be removed, ~ will be replaced):")?;
                for line in self.differences.to_string().lines() {
                    writeln!(f, "  {line}")?;
                }
            }
            Step::Remove => {
                writeln!(f, "remove, if nobody has changed the ruleset meanwhile:")?;
                for (leftover, rules) in &self.leftovers {
                    writeln!(f, "  {leftover} ({} rules with those that lead there)", rules.len())?;
                }
            }
            Step::RemoveBridge => writeln!(f, "remove the bridge")?,
        }
        Ok(())
    }
}

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Step {
    Bridge,
    Wait,
    Apply,
    Remove,
    RemoveBridge,
}

/// A line for each step, and lines below it for what it is about.
impl Display for MigrationPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing to do: the rules are in place, and a mesh has no others");
        }
        self.steps().into_iter().try_for_each(|step| self.write_step(step, f))
    }
}

/// The counters of iptables' rules.
pub(super) fn readings(leftovers: &Leftovers) -> Readings {
    let mut readings = Readings::default();
    for (leftover, rules) in leftovers {
        for rule in rules {
            let Some(counter) = rule.meaning.counter else { continue };
            readings.0.push(Reading {
                family: leftover.family,
                table: leftover.table.to_string(),
                location: CounterLocation::Rule {
                    chain: rule.chain.to_string(),
                    number: rule.number,
                    handle: rule.handle,
                    text: rule.meaning.text.clone(),
                },
                packets: counter.packets,
                bytes: counter.bytes,
            });
        }
    }
    readings
}

/// What has to be the same in the current rules and in the desired ones, and is not. Where there are none,
/// nothing has to be.
fn conflicts(
    desired: &Interception,
    leftovers: &Leftovers,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Vec<Difference>, VerifyError> {
    let snapshot = Snapshot::read(nft, Scope::Desired(desired.desired()), Depth::Rules)?;
    let tables = snapshot.ruleset().map_err(VerifyError::Read)?;
    if leftovers.is_empty() && tables.tables.is_empty() {
        return Ok(Vec::new());
    }
    let (mut old_marks, mut old_zones) = of_ruleset(&tables);
    for rule in leftovers.iter().flat_map(|(_, rules)| rules) {
        old_marks.extend(&rule.meaning.marks);
        old_zones.extend(&rule.meaning.zones);
    }
    let (old_marks, old_zones) = (sorted(old_marks), sorted(old_zones));
    let (new_marks, new_zones) = of_ruleset(&desired.ruleset);
    let mut conflicts = Vec::new();
    if old_marks != new_marks {
        conflicts.push(Difference::Marks { old: old_marks, new: new_marks });
    }
    if old_zones != new_zones {
        conflicts.push(Difference::Zones { old: old_zones, new: new_zones });
    }
    for rule in &desired.network.rules {
        let old = sorted(routes.tables_of_mark(rule.family, rule.mark)?);
        if !old.is_empty() && old != [rule.table] {
            let (family, mark, new) = (rule.family, rule.mark, rule.table);
            conflicts.push(Difference::RoutingTables { family, mark, old, new });
        }
    }
    Ok(conflicts)
}

//! What a run would change in the kernel: `+` comes, `-` goes, `~` changes in its place. Nothing is changed.

use nftwire::Socket;
use serde_json::{Value as Json, json};

use super::action::{Action, Place, leftover_warning, of};
use super::flag::shared::Output;
use crate::interception::Interception;
use crate::network::RouteSocket;
use crate::verify::{Differences, VerifyError, verify, verify_possible, verify_with_leftovers};

/// What would change, and what would not be as it should be.
pub(super) struct Planned {
    changes: Differences,
    pub(super) warnings: Vec<String>,
}

/// Reads the current state.
pub(super) fn plan(
    action: Action,
    interception: &Interception,
    place: Place,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<Planned, VerifyError> {
    if action == Action::PlanRemoval {
        let nothing = interception.to_remove();
        let changes = match place {
            Place::Pod => verify_with_leftovers(&nothing, nft, routes)?,
            Place::Node => verify(&nothing, nft, routes)?,
        };
        return Ok(Planned { changes, warnings: Vec::new() });
    }
    let compared = verify_possible(interception, nft, routes)?;
    let (mut warnings, mut changes) = (compared.warnings(), compared.differences);
    // Only a removal takes them away.
    let leftovers = std::mem::take(&mut changes.leftovers);
    if place == Place::Pod {
        warnings.extend(leftovers.iter().map(leftover_warning));
    }
    Ok(Planned { changes, warnings })
}

impl Planned {
    /// The changes, with the namespace in which they would be made where there are several.
    pub(super) fn text(&self, output: Output, netns: Option<&str>) -> String {
        if output == Output::Json {
            let changes: Vec<_> = self.changes.entries().into_iter().map(change).collect();
            return format!("{}\n", of(netns, json!({ "result": "planned", "changes": changes })));
        }
        let place = netns.map_or_else(String::new, |netns| format!("{netns}: "));
        if self.changes.is_empty() {
            return format!("{place}planned: no change\n");
        }
        // A comparison has + for the current state, and - for the desired one.
        let lines = self.changes.to_string();
        let lines = lines.lines().map(|line| match line.split_at_checked(1) {
            Some(("+", rest)) => format!("-{rest}\n"),
            Some(("-", rest)) => format!("+{rest}\n"),
            _ => format!("{line}\n"),
        });
        format!("{place}planned (+ comes, - goes, ~ changes):\n{}", lines.collect::<String>())
    }
}

/// An entry of a comparison as a change.
fn change(mut entry: Json) -> Json {
    let change = match entry["difference"].as_str() {
        Some("missing") => "add",
        Some("extra") => "remove",
        Some("moved") => "move",
        _ => "replace",
    };
    if let Json::Object(entry) = &mut entry {
        entry.remove("difference");
        entry.insert("change".to_owned(), change.into());
    }
    entry
}

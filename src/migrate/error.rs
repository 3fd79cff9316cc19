//! Why a migration is refused, or failed.

use std::fmt::{self, Display, Formatter};

use nft_ruleset::plan::PlanError;

use crate::apply::ApplyError;
use crate::diagnostic::{Explain, Explanation};
use crate::network::{Family, RouteError};
use crate::retry::LostRace;
use crate::verify::VerifyError;

/// What differs between the old rules and ours, so that connections would not live on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The packet and connection marks that they set
    Marks {
        /// Those of the old rules
        old: Vec<u32>,
        /// Ours
        new: Vec<u32>,
    },
    /// The zones of connection tracking that they use
    Zones {
        /// Those of the old rules
        old: Vec<u32>,
        /// Ours
        new: Vec<u32>,
    },
    /// The routing tables for packets with a mark
    RoutingTables {
        /// The family of the packets
        family: Family,
        /// The mark
        mark: u32,
        /// Those of the existing policy rules
        old: Vec<u32>,
        /// Ours
        new: u32,
    },
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[u32], hex: bool| match numbers {
            [] => "none".to_owned(),
            _ => {
                let text = |number: &u32| if hex { format!("{number:#x}") } else { number.to_string() };
                numbers.iter().map(text).collect::<Vec<_>>().join(", ")
            }
        };
        match self {
            Self::Marks { old, new } => {
                write!(f, "marks: {} there, {} desired", list(old, true), list(new, true))
            }
            Self::Zones { old, new } => write!(
                f,
                "zones of connection tracking: {} there, {} desired",
                list(old, false),
                list(new, false)
            ),
            Self::RoutingTables { family, mark, old, new } => write!(
                f,
                "routing tables for {family} packets marked {mark:#x}: {} there, {new} desired",
                list(old, false)
            ),
        }
    }
}

/// Why rules were not migrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// Legacy iptables has tables, whose rules nothing else can show or remove. Nothing was changed.
    #[error("legacy iptables has rules in: {}; only legacy iptables can show and remove them", .tables.join(", "))]
    LegacyIptables {
        /// Its tables, as `ip nat`
        tables: Vec<String>,
    },
    /// Open connections would not live on. Nothing was changed.
    #[error("the current rules and the desired ones differ in {}, so that open connections would be cut", joined(.0))]
    Differ(Vec<Difference>),
    /// The current state cannot be read. Nothing was changed.
    #[error(transparent)]
    Read(#[from] VerifyError),
    /// Our rules could not be applied; the old ones remain
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Somebody changed our rules before the old ones were removed, which therefore stay
    #[error("the new rules were changed by others before the old ones were removed")]
    NotInPlace,
    /// The old rules are gone, and ours could not be applied, but are in effect in tables of other names: all connections
    /// are intercepted. The next migration goes on from there
    #[error(
        "the old rules are removed, and the new ones are in effect only in tables whose names end in -bridge: {0}"
    )]
    OnlyBridge(Box<Self>),
    /// All is done, but those tables could not be removed
    #[error("the new rules are applied, but tables whose names end in -bridge could not be removed: {0}")]
    BridgeStays(Box<Self>),
    /// Our rules are applied, and the old ones remain as well: all connections are intercepted
    #[error("the new rules are applied, but the old ones could not be removed: {0}")]
    OldRulesStay(Box<Self>),
}

fn joined(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl MigrateError {
    pub(super) fn only_bridge(error: ApplyError) -> Self {
        Self::OnlyBridge(Box::new(error.into()))
    }

    pub(super) fn bridge_stays(error: PlanError) -> Self {
        Self::BridgeStays(Box::new(error.into()))
    }

    pub(super) fn old_rules_stay(self) -> Self {
        Self::OldRulesStay(Box::new(self))
    }
}

impl From<nftwire::Error> for MigrateError {
    fn from(error: nftwire::Error) -> Self {
        Self::Apply(error.into())
    }
}

impl From<RouteError> for MigrateError {
    fn from(error: RouteError) -> Self {
        Self::Apply(error.into())
    }
}

impl From<PlanError> for MigrateError {
    fn from(error: PlanError) -> Self {
        Self::Apply(error.into())
    }
}

impl LostRace for MigrateError {
    fn is_lost_race(&self) -> bool {
        matches!(self, Self::Apply(error) if error.is_lost_race())
    }
}

impl Explain for MigrateError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::LegacyIptables { tables } => Explanation::default().at("tables", tables.clone()),
            Self::Differ(differences) => {
                let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
                Explanation::default().at("differences", differences).help(
                    "take the settings of the run that made the rules, or restart the pod with new ones",
                )
            }
            Self::Read(error) => error.explanation(),
            Self::Apply(error) => error.explanation(),
            Self::NotInPlace => Explanation::default(),
            Self::OnlyBridge(error) | Self::BridgeStays(error) | Self::OldRulesStay(error) => {
                error.explanation()
            }
        }
    }
}

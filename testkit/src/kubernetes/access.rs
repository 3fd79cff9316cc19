//! Who may do what: bearer tokens, and rules as in a ClusterRole.

use super::target::Target;

/// What one token may do.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everything.
    Everything,
    /// What at least one rule allows.
    Role(Vec<Rule>),
}

/// One rule of a role. An empty list of names means every name.
#[derive(Clone, Debug)]
pub struct Rule {
    /// API groups; the core group is empty.
    pub groups: &'static [&'static str],
    /// Plurals, with the sub-resource if it is one: `pods`, `pods/status`.
    pub resources: &'static [&'static str],
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verbs: &'static [&'static str],
    /// The only objects that the rule is about; empty for all.
    pub names: &'static [&'static str],
}

impl Access {
    pub(super) fn allows(&self, verb: &str, target: &Target) -> bool {
        match self {
            Self::Everything => true,
            Self::Role(rules) => rules.iter().any(|rule| rule.allows(verb, target)),
        }
    }
}

impl Rule {
    fn allows(&self, verb: &str, target: &Target) -> bool {
        let resource = target.resource_with_subresource();
        self.verbs.contains(&verb)
            && self.groups.contains(&target.group())
            && self.resources.contains(&resource.as_str())
            && (self.names.is_empty() || self.names.contains(&target.name.as_str()))
    }
}

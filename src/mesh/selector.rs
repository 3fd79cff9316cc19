//! Label selectors (meta/v1 LabelSelector), by which ambient mode chooses its pods.

use std::collections::BTreeMap;

/// Chooses objects by their labels. Everything in it has to hold; an empty one chooses all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// matchLabels
    pub labels: BTreeMap<String, String>,
    /// matchExpressions
    pub expressions: Vec<Expression>,
}

/// One requirement of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The label
    pub key: String,
    /// What is required of its value
    pub requirement: Requirement,
}

/// What is required of a label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label exists, and its value is one of these
    In(Vec<String>),
    /// Its value is none of these; also if the label does not exist
    NotIn(Vec<String>),
    /// The label exists
    Exists,
    /// The label does not exist
    DoesNotExist,
}

/// Chooses pods by their labels and by those of their namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnablementSelector {
    /// podSelector
    pub pod: LabelSelector,
    /// namespaceSelector
    pub namespace: LabelSelector,
}

impl LabelSelector {
    /// Whether it chooses an object with these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| {
                let value = labels.get(&expression.key);
                match &expression.requirement {
                    Requirement::In(values) => value.is_some_and(|value| values.contains(value)),
                    Requirement::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                    Requirement::Exists => value.is_some(),
                    Requirement::DoesNotExist => value.is_none(),
                }
            })
    }
}

impl EnablementSelector {
    /// Whether it chooses a pod with these labels in a namespace with those.
    #[must_use]
    pub fn matches(&self, pod: &BTreeMap<String, String>, namespace: &BTreeMap<String, String>) -> bool {
        self.pod.matches(pod) && self.namespace.matches(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn requires(requirement: Requirement) -> LabelSelector {
        let expressions = vec![Expression { key: "mode".to_owned(), requirement }];
        LabelSelector { expressions, ..LabelSelector::default() }
    }

    #[test]
    fn each_operator_with_the_label_and_without() {
        let values = || vec!["ambient".to_owned(), "all".to_owned()];
        for (requirement, ambient, other, absent) in [
            (Requirement::In(values()), true, false, false),
            (Requirement::NotIn(values()), false, true, true),
            (Requirement::Exists, true, true, false),
            (Requirement::DoesNotExist, false, false, true),
        ] {
            let selector = requires(requirement);
            assert_eq!(selector.matches(&labels(&[("mode", "ambient")])), ambient, "{selector:?}");
            assert_eq!(selector.matches(&labels(&[("mode", "none")])), other, "{selector:?}");
            assert_eq!(selector.matches(&labels(&[("another", "ambient")])), absent, "{selector:?}");
        }
    }

    #[test]
    fn everything_has_to_hold_and_nothing_is_everything() {
        let mut selector = requires(Requirement::Exists);
        selector.labels = labels(&[("app", "web")]);
        assert!(selector.matches(&labels(&[("app", "web"), ("mode", "any")])));
        assert!(!selector.matches(&labels(&[("app", "web")])));
        assert!(!selector.matches(&labels(&[("app", "db"), ("mode", "any")])));
        assert!(LabelSelector::default().matches(&labels(&[])));
        let pair = EnablementSelector { pod: selector, namespace: requires(Requirement::Exists) };
        assert!(pair.matches(&labels(&[("app", "web"), ("mode", "")]), &labels(&[("mode", "x")])));
        assert!(!pair.matches(&labels(&[("app", "web"), ("mode", "")]), &labels(&[])));
    }
}

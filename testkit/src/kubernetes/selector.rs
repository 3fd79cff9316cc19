//! Field and label selectors, as the query of a list or watch carries them.

use serde_json::Value;

/// What a list or watch is narrowed to; everything by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    namespace: String,
    fields: Vec<(String, Requirement)>,
    labels: Vec<(String, Requirement)>,
}

/// What the value of one field or label has to be.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Requirement {
    In(Vec<String>),
    /// An absent key matches.
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// A selector that is not one, as the API server words it.
#[derive(Debug)]
pub(super) struct Unparsable(pub(super) String);

impl Selector {
    /// Parses both selectors. `namespace` is empty for all namespaces.
    pub(super) fn parse(namespace: &str, fields: &str, labels: &str) -> Result<Self, Unparsable> {
        let fields = split(fields).map(|term| field(&term)).collect::<Result<_, _>>()?;
        let labels = split(labels).map(|term| label(&term)).collect::<Result<_, _>>()?;
        Ok(Self { namespace: namespace.to_owned(), fields, labels })
    }

    /// Whether `object` is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        (self.namespace.is_empty() || self.namespace == namespace)
            && self.fields.iter().all(|(path, required)| {
                // A field that is not set equals the empty string.
                let value = path.split('.').fold(object, |value, key| &value[key]);
                required.holds(Some(value.as_str().unwrap_or_default()))
            })
            && self.labels.iter().all(|(key, required)| required.holds(metadata["labels"][key].as_str()))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|value| values.iter().any(|known| known == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|known| known != value)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
        }
    }
}

/// The terms between commas that are not inside parentheses.
fn split(text: &str) -> impl Iterator<Item = String> {
    let mut terms = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match terms.last_mut() {
            Some(term) if letter != ',' || depth > 0 => term.push(letter),
            _ => terms.push(String::new()),
        }
    }
    terms.into_iter().map(|term| term.trim().to_owned()).filter(|term| !term.is_empty())
}

/// The fields that the API server can select pods by, and those of every resource.
const FIELDS: [&str; 4] = ["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase"];

fn field(term: &str) -> Result<(String, Requirement), Unparsable> {
    let (key, requirement) = equality(term)
        .ok_or_else(|| Unparsable(format!("invalid selector: '{term}'; can't understand '{term}'")))?;
    if !FIELDS.contains(&key.as_str()) {
        return Err(Unparsable(format!("field label not supported: {key}")));
    }
    Ok((key, requirement))
}

fn label(term: &str) -> Result<(String, Requirement), Unparsable> {
    if let Some(found) = equality(term) {
        return Ok(found);
    }
    let words: Vec<&str> = term.split_whitespace().collect();
    match words.as_slice() {
        [key] if !key.starts_with('!') => Ok(((*key).to_owned(), Requirement::Exists)),
        [key] => Ok((key.trim_start_matches('!').to_owned(), Requirement::Absent)),
        ["!", key] => Ok(((*key).to_owned(), Requirement::Absent)),
        [key, operator, ..] => {
            let values = term.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
            let values = values.map(|list| list.split(',').map(|value| value.trim().to_owned()).collect());
            match (operator.split('(').next().unwrap_or_default(), values) {
                ("in", Some(values)) => Ok(((*key).to_owned(), Requirement::In(values))),
                ("notin", Some(values)) => Ok(((*key).to_owned(), Requirement::NotIn(values))),
                _ => Err(Unparsable(format!("unable to parse requirement: {term}"))),
            }
        }
        [] => Err(Unparsable("unable to parse an empty requirement".into())),
    }
}

/// `key=value`, `key==value` or `key!=value`.
fn equality(term: &str) -> Option<(String, Requirement)> {
    let parse = |operator: &str| {
        let (key, value) = term.split_once(operator)?;
        Some((key.trim().to_owned(), vec![value.trim().to_owned()]))
    };
    if let Some((key, values)) = parse("!=") {
        return Some((key, Requirement::NotIn(values)));
    }
    parse("==").or_else(|| parse("=")).map(|(key, values)| (key, Requirement::In(values)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "a", "labels": {"app": "x", "tier": "front"}},
            "spec": {"nodeName": "n1"},
        });
        let cases = [
            ("", "", "", true),
            ("a", "spec.nodeName=n1", "", true),
            ("b", "", "", false),
            ("", "spec.nodeName==n2", "", false),
            ("", "spec.nodeName!=n2,metadata.name=p", "", true),
            ("", "status.phase=", "", true),
            ("", "", "app", true),
            ("", "", "!app", false),
            ("", "", "absent", false),
            ("", "", "!absent", true),
            ("", "", "app in (y, x),tier!=back", true),
            ("", "", "app notin (x)", false),
            ("", "", "absent notin (x)", true),
            ("", "", "app=x,tier=back", false),
        ];
        for (namespace, fields, labels, expected) in cases {
            let selector = Selector::parse(namespace, fields, labels).unwrap();
            assert_eq!(selector.matches(&pod), expected, "{namespace} {fields} {labels}");
        }
        for (fields, labels) in [("spec.other=x", ""), ("x", ""), ("", "app within (x)")] {
            assert!(Selector::parse("", fields, labels).is_err(), "{fields} {labels}");
        }
    }
}

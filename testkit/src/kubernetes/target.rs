//! What a request is about: `/api/v1/namespaces/NAMESPACE/pods/NAME/status?watch=true` in its parts.

/// A path of the API, parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// `v1` for the core group, else `GROUP/VERSION`.
    pub(super) group_version: String,
    /// Empty for objects without a namespace, and for lists across all namespaces.
    pub(super) namespace: String,
    /// The plural, such as `pods`.
    pub(super) resource: String,
    /// Empty for a collection.
    pub(super) name: String,
    /// Such as `status`; empty for the object itself.
    pub(super) subresource: String,
}

impl Target {
    /// Parses `path`. `None` for paths that name no resource, such as `/version` and `/apis/apps/v1`.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group_version, parts) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, parts) = match parts {
            // A namespace is an object, too.
            ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", parts),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            _ => ("", parts),
        };
        let [resource, rest @ ..] = parts else { return None };
        let part = |index: usize| rest.get(index).map(|&part| part.to_owned()).unwrap_or_default();
        Some(Self {
            group_version,
            namespace: namespace.to_owned(),
            resource: (*resource).to_owned(),
            name: part(0),
            subresource: part(1),
        })
    }

    /// The group alone: empty for the core group.
    pub(super) fn group(&self) -> &str {
        self.group_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// As roles name it: `pods` or `pods/status`.
    pub(super) fn resource_with_subresource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// The kind of the objects of this resource, which no path contains.
    pub(super) fn kind(&self) -> String {
        kind_of(&self.resource)
    }
}

/// `pods` → `Pod`.
fn kind_of(plural: &str) -> String {
    KINDS
        .iter()
        .find(|(_, known)| *known == plural)
        .map_or_else(
            || {
                let singular = plural.strip_suffix('s').unwrap_or(plural);
                let mut letters = singular.chars();
                letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            },
            |(kind, _)| Some((*kind).to_owned()),
        )
        .unwrap_or_default()
}

/// `Pod` → `pods`.
pub(super) fn plural_of(kind: &str) -> String {
    let known = KINDS.iter().find(|(known, _)| *known == kind);
    known.map_or_else(|| kind.to_ascii_lowercase() + "s", |(_, plural)| (*plural).to_owned())
}

/// Whether objects of this resource live in a namespace.
pub(super) fn namespaced(plural: &str) -> bool {
    !matches!(plural, "namespaces" | "nodes" | "persistentvolumes" | "customresourcedefinitions")
}

/// Kinds whose plural cannot be formed by lower case and an s, or the other way round.
const KINDS: [(&str, &str); 5] = [
    ("DaemonSet", "daemonsets"),
    ("ReplicaSet", "replicasets"),
    ("StatefulSet", "statefulsets"),
    ("ServiceAccount", "serviceaccounts"),
    ("NetworkPolicy", "networkpolicies"),
];

/// A query string, decoded; a repeated key keeps its first value.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses what follows the `?`.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    /// The value of `key`, empty when the key is absent.
    pub(super) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    /// Whether `key` has one of the values that Go parses as true.
    pub(super) fn is_true(&self, key: &str) -> bool {
        matches!(self.get(key), "1" | "t" | "T" | "true" | "TRUE" | "True")
    }
}

/// Percent-decoding as in `application/x-www-form-urlencoded`; an invalid escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Option<[String; 5]> {
        let target = Target::parse(path)?;
        Some([target.group_version, target.namespace, target.resource, target.name, target.subresource])
    }

    #[test]
    fn paths() {
        let cases: [(&str, Option<[&str; 5]>); 9] = [
            ("/api/v1/pods", Some(["v1", "", "pods", "", ""])),
            ("/api/v1/namespaces/a/pods", Some(["v1", "a", "pods", "", ""])),
            ("/api/v1/namespaces/a/pods/p/status", Some(["v1", "a", "pods", "p", "status"])),
            ("/api/v1/namespaces", Some(["v1", "", "namespaces", "", ""])),
            ("/api/v1/namespaces/a", Some(["v1", "", "namespaces", "a", ""])),
            ("/api/v1/namespaces/a/status", Some(["v1", "", "namespaces", "a", "status"])),
            ("/apis/apps/v1/namespaces/a/daemonsets/d", Some(["apps/v1", "a", "daemonsets", "d", ""])),
            ("/apis/apps/v1", None),
            ("/version", None),
        ];
        for (path, expected) in cases {
            assert_eq!(parts(path), expected.map(|parts| parts.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn kinds_and_plurals() {
        for (kind, plural) in [("Pod", "pods"), ("DaemonSet", "daemonsets"), ("Namespace", "namespaces")] {
            assert_eq!((kind_of(plural).as_str(), plural_of(kind).as_str()), (kind, plural));
        }
    }

    #[test]
    fn queries() {
        let query = Query::parse("fieldSelector=spec.nodeName%3Dn1&watch=true&a=b+c%zz");
        assert_eq!(query.get("fieldSelector"), "spec.nodeName=n1");
        assert!(query.is_true("watch") && !query.is_true("absent"));
        assert_eq!(query.get("a"), "b c%zz");
    }
}

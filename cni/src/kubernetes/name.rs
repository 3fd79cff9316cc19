//! Names of pods, as they are in the API server's paths.

use std::fmt;

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    namespace: String,
    name: String,
}

/// A text that no pod or namespace can be called, and that must not become part of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CNI_ARGS: {0:?} is not a name of a pod or namespace (lower case letters, digits, `-` and `.`)")]
pub struct PodNameError(String);

impl PodName {
    /// Both names, which have to be DNS subdomains (RFC 1123), as Kubernetes has them.
    ///
    /// # Errors
    /// One is not.
    pub fn new(namespace: &str, name: &str) -> Result<Self, PodNameError> {
        for text in [namespace, name] {
            let allowed =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            let edges = text.starts_with(['-', '.']) || text.ends_with(['-', '.']) || text.contains("..");
            if text.is_empty() || text.len() > 253 || edges || !text.bytes().all(allowed) {
                return Err(PodNameError(text.to_owned()));
            }
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace's name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The pod's path.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }

    /// Its namespace's path.
    #[must_use]
    pub fn namespace_path(&self) -> String {
        format!("/api/v1/namespaces/{}", self.namespace)
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_change_the_path() {
        assert_eq!(PodName::new("shop", "web-0.a").unwrap().path(), "/api/v1/namespaces/shop/pods/web-0.a");
        for wrong in ["", "..", "a/b", "a/../b", "A", "a?b", "a%2fb", "a b", "-a", "a.", "ä"] {
            assert_eq!(PodName::new(wrong, "web"), Err(PodNameError(wrong.to_owned())));
            assert_eq!(PodName::new("shop", wrong), Err(PodNameError(wrong.to_owned())));
        }
    }
}

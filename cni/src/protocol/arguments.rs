//! CNI_ARGS: what the runtime says of the pod.

/// The pod, as far as the runtime says; empty where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// K8S_POD_NAME
    pub pod_name: String,
    /// K8S_POD_NAMESPACE
    pub pod_namespace: String,
    /// K8S_POD_UID
    pub pod_uid: String,
}

/// Why CNI_ARGS cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// Not NAME=VALUE
    #[error("CNI_ARGS: invalid pair {0:?}")]
    Pair(String),
    /// IgnoreUnknown is neither true nor false
    #[error("CNI_ARGS: error parsing value of pair {0:?}: neither true nor false")]
    Switch(String),
    /// Names that mean nothing here, without IgnoreUnknown
    #[error("CNI_ARGS: unknown args {0:?}: the runtime has to set IgnoreUnknown=1")]
    Unknown(Vec<String>),
}

impl Arguments {
    /// `NAME=VALUE;NAME=VALUE`, in any order.
    ///
    /// # Errors
    /// See [`ArgumentsError`].
    pub fn parse(text: &str) -> Result<Self, ArgumentsError> {
        let mut arguments = Self::default();
        let (mut unknown, mut ignore_unknown) = (Vec::new(), false);
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            let value = |value: &str| value.to_owned();
            match pair.split('=').collect::<Vec<_>>()[..] {
                ["K8S_POD_NAME", name] => arguments.pod_name = value(name),
                ["K8S_POD_NAMESPACE", namespace] => arguments.pod_namespace = value(namespace),
                ["K8S_POD_UID", uid] => arguments.pod_uid = value(uid),
                ["K8S_POD_INFRA_CONTAINER_ID", _] => {}
                ["IgnoreUnknown", switch] => {
                    ignore_unknown =
                        switch_value(switch).ok_or_else(|| ArgumentsError::Switch(value(pair)))?;
                }
                [_, _] => unknown.push(value(pair)),
                _ => return Err(ArgumentsError::Pair(value(pair))),
            }
        }
        if unknown.is_empty() || ignore_unknown {
            Ok(arguments)
        } else {
            Err(ArgumentsError::Unknown(unknown))
        }
    }
}

fn switch_value(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_any_order() {
        let expected = Arguments {
            pod_name: "web-0".to_owned(),
            pod_namespace: "shop".to_owned(),
            pod_uid: "u-1".to_owned(),
        };
        for text in [
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=u-1",
            "K8S_POD_UID=u-1;K8S_POD_NAME=web-0;FOO=bar;K8S_POD_NAMESPACE=shop;IgnoreUnknown=TRUE",
        ] {
            assert_eq!(Arguments::parse(text), Ok(expected.clone()), "{text}");
        }
        assert_eq!(Arguments::parse(""), Ok(Arguments::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, fault) in [
            ("K8S_POD_NAME", "invalid pair \"K8S_POD_NAME\""),
            ("K8S_POD_NAME=a=b", "invalid pair \"K8S_POD_NAME=a=b\""),
            ("K8S_POD_NAME=a;", "invalid pair \"\""),
            ("FOO=bar;K8S_POD_NAME=a", "unknown args [\"FOO=bar\"]"),
            ("FOO=bar;IgnoreUnknown=false", "unknown args [\"FOO=bar\"]"),
            ("IgnoreUnknown=yes", "\"IgnoreUnknown=yes\""),
        ] {
            let error = Arguments::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("CNI_ARGS: ") && error.contains(fault), "{error}");
        }
    }
}

//! Network configurations (`*.conf`, `*.conflist`) with our plugin in them.
//!
//! What others wrote stays as they wrote it, byte for byte: members keep their order, numbers their spelling.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The name of a list that is made from a single configuration, as both meshes' installers give it.
const LIST_NAME: &str = "k8s-pod-network";
/// Its version.
const LIST_VERSION: &str = "0.3.1";

/// Which of the two forms a file has, by its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `*.conf`: one plugin
    Single,
    /// `*.conflist`: a list of plugins
    List,
}

impl Form {
    /// By the suffix; `None` for files that no runtime reads.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.') {
            Some((stem, "conf")) if !stem.is_empty() => Some(Self::Single),
            Some((stem, "conflist")) if !stem.is_empty() => Some(Self::List),
            _ => None,
        }
    }
}

/// Why a file is not a network configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConflistError {
    /// Not a JSON object
    #[error("not a network configuration: {0}")]
    Json(serde_json::Error),
    /// A single configuration without `type`
    #[error("not a network configuration: it has no `type`")]
    NoType,
    /// A list without plugins
    #[error("not a network configuration list: it has no `plugins`")]
    NoPlugins,
}

impl From<serde_json::Error> for ConflistError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// A JSON object whose members keep their order and their text.
#[derive(Clone, Debug, Default)]
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Members {
    fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(|value| serde_json::from_str(value.get()).ok())
    }
}

/// A network configuration, taken apart.
#[derive(Clone, Debug)]
pub struct Network {
    members: Members,
    /// Empty for a single configuration
    plugins: Vec<Box<RawValue>>,
    form: Form,
}

impl Network {
    /// Parses a file's content.
    ///
    /// # Errors
    /// See [`ConflistError`].
    pub fn parse(content: &[u8], form: Form) -> Result<Self, ConflistError> {
        let members: Members = serde_json::from_slice(content)?;
        let plugins = match form {
            Form::Single if members.text("type").is_none_or(|name| name.is_empty()) => {
                return Err(ConflistError::NoType);
            }
            Form::Single => Vec::new(),
            Form::List => {
                let plugins = members.get("plugins").ok_or(ConflistError::NoPlugins)?;
                let plugins: Vec<Box<RawValue>> = serde_json::from_str(plugins.get())?;
                if plugins.is_empty() || plugins.iter().any(|plugin| type_of(plugin).is_none()) {
                    return Err(ConflistError::NoPlugins);
                }
                plugins
            }
        };
        Ok(Self { members, plugins, form })
    }

    /// The types of the plugins, in order.
    pub fn types(&self) -> Vec<String> {
        match self.form {
            Form::Single => self.members.text("type").into_iter().collect(),
            Form::List => self.plugins.iter().filter_map(|plugin| type_of(plugin)).collect(),
        }
    }

    /// Whether exactly one plugin has `entry`'s type, equals it, and does not come first: a chained plugin needs a result
    /// before it. Other plugins may follow, so that two meshes' installers do not keep overtaking each other.
    pub fn has(&self, entry: &Value) -> bool {
        let ours = |plugin: &&RawValue| type_of(plugin).as_deref() == entry["type"].as_str();
        let mut others = self.plugins.iter().map(|plugin| &**plugin).skip(1).filter(ours);
        let found = others.next();
        let first_is_ours = self.plugins.first().is_some_and(|first| ours(&&**first));
        found.is_some_and(|found| serde_json::from_str::<Value>(found.get()).ok().as_ref() == Some(entry))
            && others.next().is_none()
            && !first_is_ours
    }

    /// The list's text with `entry` as its last plugin, and no other of its type.
    pub fn with(&self, entry: &Value) -> String {
        let ours = indented(entry, "    ");
        match self.form {
            Form::Single => {
                let rest = self.members.0.iter().filter(|(key, _)| key != "cniVersion");
                let plugin = object(rest.map(|(key, value)| (key.as_str(), value.get())), "    ");
                let members = [
                    ("name", format!("{LIST_NAME:?}")),
                    ("cniVersion", format!("{LIST_VERSION:?}")),
                    ("plugins", array(&[&plugin, &ours])),
                ];
                object(members.iter().map(|(key, value)| (*key, value.as_str())), "") + "\n"
            }
            Form::List => {
                let kept = self.others(entry["type"].as_str().unwrap_or_default());
                let plugins: Vec<&str> = kept.into_iter().chain([ours.as_str()]).collect();
                self.list(&array(&plugins))
            }
        }
    }

    /// The list's text without plugins of this type: `None` if it had none, and an empty text if it had no other.
    pub fn without(&self, plugin_type: &str) -> Option<String> {
        let kept = self.others(plugin_type);
        match self.form {
            Form::Single => (self.members.text("type").as_deref() == Some(plugin_type)).then(String::new),
            Form::List if kept.len() == self.plugins.len() => None,
            Form::List if kept.is_empty() => Some(String::new()),
            Form::List => Some(self.list(&array(&kept))),
        }
    }

    fn others(&self, plugin_type: &str) -> Vec<&str> {
        let texts = self.plugins.iter().filter(|plugin| type_of(plugin).as_deref() != Some(plugin_type));
        texts.map(|plugin| plugin.get()).collect()
    }

    fn list(&self, plugins: &str) -> String {
        let members = self.members.0.iter();
        let members =
            members.map(|(key, value)| (key.as_str(), if key == "plugins" { plugins } else { value.get() }));
        object(members, "") + "\n"
    }
}

fn type_of(plugin: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Plugin {
        r#type: String,
    }
    serde_json::from_str::<Plugin>(plugin.get())
        .ok()
        .map(|plugin| plugin.r#type)
        .filter(|name| !name.is_empty())
}

/// An object whose members' values are JSON texts already; lines after the first begin with `indent`.
fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>, indent: &str) -> String {
    let mut text = String::from("{");
    for (index, (key, value)) in members.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(text, "{comma}\n{indent}  {}: {value}", Value::from(key));
    }
    let _ = write!(text, "\n{indent}}}");
    text
}

/// The list of plugins, one after the other.
fn array(plugins: &[&str]) -> String {
    format!("[\n    {}\n  ]", plugins.join(",\n    "))
}

/// `value` over several lines, all but the first of which begin with `indent`.
fn indented(value: &Value, indent: &str) -> String {
    format!("{value:#}").replace('\n', &format!("\n{indent}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIST: &str = r#"{
  "name": "net", "zz": 1.0, "cniVersion": "1.0.0", "aa": {"b": 1, "a": 2e3},
  "plugins": [
    {"type": "bridge", "mtu": 1500.0, "ipam": {"z": 1, "a": [ ]}},
    {"type": "portmap"}
  ], "disableCheck": true
}"#;

    fn entry() -> Value {
        json!({"name": "istio-cni", "type": "istio-cni", "exclude_namespaces": ["kube-system"]})
    }

    #[test]
    fn foreign_text_stays_as_it_is() {
        let network = Network::parse(LIST.as_bytes(), Form::List).unwrap();
        assert!(!network.has(&entry()));
        let text = network.with(&entry());
        for part in [
            r#""zz": 1.0"#,
            r#"{"b": 1, "a": 2e3}"#,
            r#"{"type": "bridge", "mtu": 1500.0, "ipam": {"z": 1, "a": [ ]}}"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let keys = ["\"name\"", "\"zz\"", "\"cniVersion\"", "\"aa\"", "\"plugins\"", "\"disableCheck\""];
        let positions: Vec<_> = keys.iter().map(|key| text.find(key).unwrap()).collect();
        assert!(positions.is_sorted(), "{text}");
        let edited = Network::parse(text.as_bytes(), Form::List).unwrap();
        assert_eq!(edited.types(), ["bridge", "portmap", "istio-cni"]);
        assert!(edited.has(&entry()));
        let removed = edited.without("istio-cni").unwrap();
        let (before, after): (Value, Value) =
            (serde_json::from_str(LIST).unwrap(), serde_json::from_str(&removed).unwrap());
        assert_eq!(before, after);
        assert!(network.without("istio-cni").is_none());
    }

    #[test]
    fn a_single_configuration_becomes_a_list() {
        let network =
            Network::parse(br#"{"cniVersion":"0.4.0","name":"n","type":"ptp"}"#, Form::Single).unwrap();
        let list: Value = serde_json::from_str(&network.with(&entry())).unwrap();
        assert_eq!(
            list,
            json!({"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [{"name": "n", "type": "ptp"}, entry()]})
        );
    }

    #[test]
    fn both_meshes_leave_each_other_alone() {
        let linkerd = json!({"name": "linkerd-cni", "type": "linkerd-cni"});
        let one = Network::parse(LIST.as_bytes(), Form::List).unwrap().with(&entry());
        let both = Network::parse(one.as_bytes(), Form::List).unwrap().with(&linkerd);
        let both = Network::parse(both.as_bytes(), Form::List).unwrap();
        assert!(both.has(&entry()) && both.has(&linkerd));
    }

    #[test]
    fn stale_doubled_and_leading_entries_are_replaced() {
        let other = json!({"name": "istio-cni", "type": "istio-cni"});
        for plugins in [
            json!([{"type": "bridge"}, other]),
            json!([{"type": "bridge"}, entry(), entry()]),
            json!([entry(), {"type": "bridge"}]),
        ] {
            let text = json!({"name": "n", "plugins": plugins}).to_string();
            let network = Network::parse(text.as_bytes(), Form::List).unwrap();
            assert!(!network.has(&entry()), "{text}");
            let edited = network.with(&entry());
            assert_eq!(
                Network::parse(edited.as_bytes(), Form::List).unwrap().types(),
                ["bridge", "istio-cni"]
            );
        }
        // A list that only reformats ours is not a change.
        let text = r#"{"plugins":[{"type":"bridge"},{"type":"istio-cni","exclude_namespaces":["kube-system"],"name":"istio-cni"}]}"#;
        assert!(Network::parse(text.as_bytes(), Form::List).unwrap().has(&entry()));
    }

    #[test]
    fn files_that_are_not_configurations() {
        for (text, form) in [
            ("", Form::List),
            ("{\"plugins\": [", Form::List),
            ("[]", Form::Single),
            ("{}", Form::Single),
            ("{\"type\":\"\"}", Form::Single),
            ("{\"plugins\":[]}", Form::List),
            ("{\"plugins\":[{}]}", Form::List),
            ("{\"plugins\":{}}", Form::List),
            ("{\"type\":\"bridge\"}", Form::List),
        ] {
            assert!(Network::parse(text.as_bytes(), form).is_err(), "{text}");
        }
        assert_eq!(Form::of("10-a.conf"), Some(Form::Single));
        assert_eq!(Form::of("10-a.conflist"), Some(Form::List));
        for name in ["a.json", "a.conflist.tmp.1", ".conf", "conf", "a.conflist.bak"] {
            assert_eq!(Form::of(name), None, "{name}");
        }
    }
}

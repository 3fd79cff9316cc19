//! The objects, one revision for all of them, and what changed lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::selector::Selector;
use super::target::Target;

/// Where an object is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) group_version: String,
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn of(target: &Target) -> Self {
        Self {
            group_version: target.group_version.clone(),
            resource: target.resource.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        }
    }

    /// Whether both are of one resource.
    pub(super) fn same_resource(&self, target: &Target) -> bool {
        self.group_version == target.group_version && self.resource == target.resource
    }
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) key: Key,
    before: Option<Arc<Value>>,
    /// The object as of this revision, also when it was deleted.
    after: Arc<Value>,
    deleted: bool,
}

impl Change {
    /// The event that a watch with this selector gets, if any: its type and its object.
    pub(super) fn event(&self, selector: &Selector) -> Option<(&'static str, &Value)> {
        let was = self.before.as_ref().is_some_and(|before| selector.matches(before));
        let is = !self.deleted && selector.matches(&self.after);
        let kind = match (was, is) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        Some((kind, &self.after))
    }
}

/// All that the server knows.
#[derive(Debug)]
pub(super) struct Store {
    revision: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    /// How many changes a watch can look back.
    capacity: usize,
    /// Watches from a revision below this one have missed changes.
    oldest: u64,
    uids: u64,
}

impl Store {
    pub(super) fn new(capacity: usize) -> Self {
        // A real server has written its own objects before anybody asks.
        Self { revision: 1, objects: BTreeMap::new(), history: VecDeque::new(), capacity, oldest: 1, uids: 0 }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects of `target`'s resource, by namespace and name.
    pub(super) fn list<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects.iter().filter(move |(key, _)| key.same_resource(target))
    }

    /// Stores `object` under `key`, with the metadata that the server sets. An object that is equal already stays.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        let before = self.objects.get(&key).cloned();
        if !object["metadata"].is_object() {
            object["metadata"] = Value::Object(Map::new());
        }
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        if metadata["uid"].is_null() {
            metadata["uid"] =
                before.as_ref().map_or_else(|| self.next_uid(), |old| old["metadata"]["uid"].clone());
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if let Some(old) = &before {
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            if **old == object {
                return Arc::clone(old);
            }
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        self.objects.insert(key.clone(), Arc::clone(&object));
        let after = Arc::clone(&object);
        self.remember(Change { revision: self.revision, key, before, after, deleted: false });
        object
    }

    /// Removes the object and returns its last state.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        let mut after = Value::clone(&before);
        after["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let after = Arc::new(after);
        let change = Change {
            revision: self.revision,
            key: key.clone(),
            before: Some(before),
            after: Arc::clone(&after),
            deleted: true,
        };
        self.remember(change);
        Some(after)
    }

    /// Changes after `revision`; `None` if some of them are forgotten.
    pub(super) fn changes_since(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        (revision >= self.oldest)
            .then(|| self.history.iter().filter(move |change| change.revision > revision))
    }

    /// Forgets all changes: watches that start from an older revision get 410.
    pub(super) fn compact(&mut self) {
        self.history.clear();
        // Nothing can have been seen at this revision: even the newest list is too old.
        self.revision += 1;
        self.oldest = self.revision;
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(change);
        while self.history.len() > self.capacity {
            if let Some(forgotten) = self.history.pop_front() {
                self.oldest = forgotten.revision;
            }
        }
    }

    fn next_uid(&mut self) -> Value {
        self.uids += 1;
        json!(format!("00000000-0000-4000-8000-{:012x}", self.uids))
    }
}

/// RFC 7386: merges `patch` into `target`; null removes.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { group_version: "v1".into(), resource: "pods".into(), namespace: "a".into(), name: name.into() }
    }

    /// The examples of RFC 7386, appendix A.
    #[test]
    fn merge_patches() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{patch}");
        }
    }

    #[test]
    fn a_change_without_effect_is_not_reported() {
        let mut store = Store::new(10);
        let first = store.put(key("p"), json!({"spec": {}}));
        let revision = store.revision();
        assert_eq!(store.put(key("p"), Value::clone(&first)), first);
        assert_eq!(store.revision(), revision);
    }

    #[test]
    fn forgotten_changes_expire_watches() {
        let mut store = Store::new(2);
        for name in ["a", "b", "c"] {
            store.put(key(name), json!({}));
        }
        assert!(store.changes_since(1).is_none());
        assert_eq!(store.changes_since(2).unwrap().count(), 2);
        let listed_at = store.revision();
        store.compact();
        assert!(store.changes_since(listed_at).is_none());
    }
}

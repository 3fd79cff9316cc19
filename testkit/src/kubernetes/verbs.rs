//! What each verb does to the store; everything but watches.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::selector::{Selector, Unparsable};
use super::status::Failure;
use super::store::{Key, merge};
use super::target::{Query, Target};
use super::{Shared, State};

/// The only patch that is understood.
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

impl From<Unparsable> for Failure {
    fn from(Unparsable(message): Unparsable) -> Self {
        Self::bad_request(message)
    }
}

/// The selector that a list or a watch asks for.
pub(super) fn selector(target: &Target, query: &Query) -> Result<Selector, Failure> {
    let mut fields = query.get("fieldSelector").to_owned();
    if !target.name.is_empty() {
        fields = format!("metadata.name={}", target.name);
    }
    Ok(Selector::parse(&target.namespace, &fields, query.get("labelSelector"))?)
}

pub(super) fn get(state: &State, target: &Target) -> Result<Arc<Value>, Failure> {
    let found = state.store.get(&Key::of(target)).cloned();
    found.ok_or_else(|| Failure::not_found(target))
}

/// A list, in pages if `limit` asks for them and the list is not served from the cache.
pub(super) fn list(state: &mut State, target: &Target, query: &Query) -> Result<Arc<Value>, Failure> {
    let from_cache = query.get("resourceVersion") == "0";
    let after = query.get("continue").to_owned();
    if !from_cache && after.is_empty() {
        state.quorum_lists += 1;
    }
    let selector = selector(target, query)?;
    let limit = match query.get("limit") {
        text if from_cache || text.is_empty() || text == "0" => usize::MAX,
        text => text.parse().map_err(|_| Failure::bad_request(format!("invalid limit: {text}")))?,
    };
    let position = |key: &Key| format!("{}/{}", key.namespace, key.name);
    let mut selected =
        state.store.list(target).filter(|(key, object)| position(key) > after && selector.matches(object));
    let mut last = String::new();
    let mut items = Vec::new();
    for (key, object) in selected.by_ref().take(limit) {
        last = position(key);
        let mut item = Value::clone(object);
        if let Some(item) = item.as_object_mut() {
            // A typed server omits them from a list's items.
            item.remove("kind");
            item.remove("apiVersion");
        }
        items.push(item);
    }
    let mut metadata = json!({"resourceVersion": state.store.revision().to_string()});
    if selected.next().is_some() {
        metadata["continue"] = json!(last);
    }
    let kind = target.kind() + "List";
    let mut list = json!({"kind": kind, "apiVersion": target.group_version, "metadata": metadata});
    // Moved: the macro would copy them.
    list["items"] = Value::Array(items);
    Ok(Arc::new(list))
}

pub(super) fn create(state: &mut State, target: &Target, mut object: Value) -> Result<Arc<Value>, Failure> {
    let metadata = &object["metadata"];
    let name = match (metadata["name"].as_str(), metadata["generateName"].as_str()) {
        (Some(name), _) if !name.is_empty() => {
            check_name("metadata.name", name, name)?;
            name.to_owned()
        }
        (_, Some(prefix)) => {
            // A dash at its end does not end the name.
            let last =
                prefix.strip_suffix('-').map_or_else(|| prefix.to_owned(), |start| format!("{start}a"));
            check_name("metadata.generateName", prefix, &last)?;
            format!("{prefix}{:05x}", state.store.revision())
        }
        _ => {
            return Err(Failure::invalid(
                "metadata.name: Required value: name or generateName is required".into(),
            ));
        }
    };
    let namespace = metadata["namespace"].as_str().unwrap_or(&target.namespace);
    if namespace != target.namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request".into(),
        ));
    }
    let key = Key { name, ..Key::of(target) };
    if state.store.get(&key).is_some() {
        return Err(Failure::already_exists(target, &key.name));
    }
    object["kind"] = json!(target.kind());
    object["apiVersion"] = json!(target.group_version);
    Ok(state.store.put(key, object))
}

/// A subdomain of RFC 1123, as the names of most kinds have to be.
fn check_name(field: &str, value: &str, name: &str) -> Result<(), Failure> {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(is_alphanumeric))
            && bytes.iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and \
                end with an alphanumeric character";
    Err(Failure::invalid(format!("{field}: Invalid value: {value:?}: {rule}")))
}

pub(super) fn update(state: &mut State, target: &Target, object: Value) -> Result<Arc<Value>, Failure> {
    let old = get(state, target)?;
    check_version(&old, &object["metadata"], target)?;
    let new = only_what_the_path_changes(target, &old, object);
    Ok(state.store.put(Key::of(target), new))
}

pub(super) fn patch(
    state: &mut State,
    target: &Target,
    content: &str,
    patch: &Value,
) -> Result<Arc<Value>, Failure> {
    if content.split(';').next().unwrap_or_default().trim() != MERGE_PATCH {
        return Err(Failure::unsupported_media_type(content));
    }
    let old = get(state, target)?;
    check_version(&old, &patch["metadata"], target)?;
    let mut merged = Value::clone(&old);
    merge(&mut merged, patch);
    let new = only_what_the_path_changes(target, &old, merged);
    Ok(state.store.put(Key::of(target), new))
}

/// The sub-resource status changes labels, annotations, finalizers and the status; the object itself all but the status.
fn only_what_the_path_changes(target: &Target, old: &Value, mut new: Value) -> Value {
    if target.subresource == "status" {
        let mut kept = old.clone();
        for key in ["labels", "annotations", "finalizers"] {
            set(&mut kept["metadata"], key, new["metadata"][key].take());
        }
        set(&mut kept, "status", new["status"].take());
        return kept;
    }
    new["metadata"]["uid"] = old["metadata"]["uid"].clone();
    set(&mut new, "status", old["status"].clone());
    new
}

/// Sets a key; null removes it.
fn set(object: &mut Value, key: &str, value: Value) {
    let Some(object) = object.as_object_mut() else { return };
    if value.is_null() {
        object.remove(key);
    } else {
        object.insert(key.to_owned(), value);
    }
}

fn check_version(old: &Value, asked: &Value, target: &Target) -> Result<(), Failure> {
    if let Some(uid) = asked["uid"].as_str().filter(|&uid| Some(uid) != old["metadata"]["uid"].as_str()) {
        let found = old["metadata"]["uid"].as_str().unwrap_or_default();
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
        return Err(Failure::conflict(target, &why));
    }
    match asked["resourceVersion"].as_str() {
        Some(version) if Some(version) != old["metadata"]["resourceVersion"].as_str() => {
            Err(Failure::conflict(
                target,
                "the object has been modified; please apply your changes to the latest version and try again",
            ))
        }
        _ => Ok(()),
    }
}

/// Deletes at once, or after the grace period: until then the object has a deletionTimestamp.
pub(super) fn delete(
    shared: &Arc<Shared>,
    target: &Target,
    query: &Query,
    options: &Value,
) -> Result<Arc<Value>, Failure> {
    let mut state = shared.lock();
    let old = get(&state, target)?;
    let metadata = &old["metadata"];
    for (key, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let required = options["preconditions"][key].as_str();
        let found = metadata[key].as_str().unwrap_or_default();
        if let Some(required) = required.filter(|&required| required != found) {
            let why = format!(
                "the {label} in the precondition ({required}) does not match the {label} in record ({found}). \
                 The object might have been deleted and then recreated"
            );
            return Err(Failure::conflict(target, &why));
        }
    }
    let asked =
        query.get("gracePeriodSeconds").parse().ok().or_else(|| options["gracePeriodSeconds"].as_u64());
    let grace = asked.or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or_default();
    let key = Key::of(target);
    if grace == 0 {
        return state.store.remove(&key).ok_or_else(|| Failure::not_found(target));
    }
    let mut doomed = Value::clone(&old);
    doomed["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    doomed["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    let doomed = state.store.put(key.clone(), doomed);
    let (shared, uid) = (Arc::clone(shared), doomed["metadata"]["uid"].clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(grace)).await;
        let mut state = shared.lock();
        if state.store.get(&key).is_some_and(|object| object["metadata"]["uid"] == uid) {
            state.store.remove(&key);
        }
        drop(state);
        shared.changed();
    });
    Ok(doomed)
}

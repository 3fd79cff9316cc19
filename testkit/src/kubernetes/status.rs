//! `Status` objects: what the API server replies when there is no object to return.

use serde_json::{Value, json};

use super::target::Target;

/// A request that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self { code, reason, message, details: Value::Null }
    }

    fn about(mut self, target: &Target) -> Self {
        self.details = json!({"name": target.name, "group": target.group(), "kind": target.resource});
        self
    }

    /// One with any code, as a fault asks for it.
    pub(super) fn of_code(code: u16) -> Self {
        match code {
            401 => Self::unauthorized(),
            403 => Self::new(403, "Forbidden", "forbidden".into()),
            404 => Self::new(404, "NotFound", "the server could not find the requested resource".into()),
            410 => Self::expired(),
            429 => Self::new(429, "TooManyRequests", "too many requests, please try again later".into()),
            503 => Self::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request".into(),
            ),
            504 => Self::new(504, "Timeout", "request did not complete within the requested timeout".into()),
            code => Self::new(code, "InternalError", "Internal error occurred: fault".into()),
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".into())
    }

    pub(super) fn forbidden(user: &str, verb: &str, target: &Target) -> Self {
        let resource = target.resource_with_subresource();
        let object = match target.name.as_str() {
            "" => resource.clone(),
            name => format!("{resource} \"{name}\""),
        };
        let scope = match target.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let (group, object_only) = (target.group(), object);
        let message = format!(
            "{object_only} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}"
        );
        Self::new(403, "Forbidden", message).about(target)
    }

    pub(super) fn not_found(target: &Target) -> Self {
        Self::new(404, "NotFound", format!("{} \"{}\" not found", target.resource, target.name)).about(target)
    }

    pub(super) fn no_such_path() -> Self {
        Self::of_code(404)
    }

    pub(super) fn already_exists(target: &Target, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", target.resource);
        Self::new(409, "AlreadyExists", message).about(target)
    }

    pub(super) fn conflict(target: &Target, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{}\": {why}", target.resource, target.name);
        Self::new(409, "Conflict", message).about(target)
    }

    pub(super) fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version".into())
    }

    pub(super) fn bad_request(message: String) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn invalid(message: String) -> Self {
        Self::new(422, "Invalid", message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".into();
        Self::new(405, "MethodNotAllowed", message)
    }

    pub(super) fn unsupported_media_type(found: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             application/merge-patch+json (found: {found})"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The object on the wire.
    pub(super) fn object(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

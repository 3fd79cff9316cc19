//! Repairs pods that were started without their rules, because the plugin was missing at that moment.

pub mod istio;
pub mod linkerd;

use crate::kubernetes::ApiError;

/// Whether the pod is gone or another one by now: there is nothing left to repair.
fn is_moot(error: &ApiError) -> bool {
    matches!(error.code(), Some(404 | 409))
}

//! Linkerd's repair controller.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, add};

/// The upper bounds of the histograms' buckets in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Linkerd's repair controller.
#[derive(Clone, Debug)]
pub struct LinkerdMetrics {
    /// Pods that did not fit into the queue; ours has no bound, so it stays 0
    pub queue_overflow: Counter,
    /// Deletions
    pub deleted: Counter,
    /// Deletions that failed
    pub delete_errors: Counter,
    /// Deletions that took too long
    pub delete_timeouts: Counter,
    /// Events that were refused
    pub event_errors: Counter,
    /// Events that took too long
    pub event_timeouts: Counter,
    /// Seconds
    pub delete_latency: Histogram,
    /// Seconds
    pub event_latency: Histogram,
}

impl LinkerdMetrics {
    /// Registers them.
    pub fn registered(metrics: &Metrics) -> Self {
        metrics.register(|registry| {
            let linkerd = registry.sub_registry_with_prefix("linkerd_cni_repair_controller");
            let mut counter = |name, help| add(linkerd, name, help, Counter::default());
            let queue_overflow = counter("queue_overflow", "Pods that did not fit into the queue");
            let deleted = counter("pods_deleted", "Pods deleted");
            let delete_errors = counter("pods_delete_errors", "Deletions that failed");
            let delete_timeouts = counter("pods_delete_timeout", "Deletions that timed out");
            let event_errors = counter("events_publish_errors", "Events that failed");
            let event_timeouts = counter("events_publish_timeouts", "Events that timed out");
            let mut histogram = |name, help| add(linkerd, name, help, Histogram::new(BUCKETS));
            let delete_latency = histogram("pods_delete_latency_seconds", "Time that deletions took");
            let event_latency = histogram("events_publish_latency_seconds", "Time that events took");
            Self {
                queue_overflow,
                deleted,
                delete_errors,
                delete_timeouts,
                event_errors,
                event_timeouts,
                delete_latency,
                event_latency,
            }
        })
    }
}

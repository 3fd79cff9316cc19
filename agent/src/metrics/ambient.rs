//! The ambient half.

use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{Counters, Labels, Metrics, Unprotected, add, counters};
use crate::ambient::Summary;
use crate::zds::Ack;

/// The upper bounds of the histogram's buckets in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Gauges have the values of the last summary.
#[derive(Clone, Debug)]
pub struct AmbientMetrics {
    /// state: enabled, pending, failed
    pods: Family<Labels, Gauge>,
    unprotected: Unprotected,
    ztunnels: Gauge,
    backing_off: Gauge,
    /// scope: host, pod
    heals: Counters,
    /// response_code
    requests: Counters,
    /// type: add, update, delete
    reconciled: Counters,
    /// result: accepted, refused, lost
    acks: Counters,
    /// step: netns, rules, ztunnel, set, annotate
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
}

impl AmbientMetrics {
    /// Registers them.
    pub fn registered(metrics: &Metrics) -> Self {
        metrics.register(|registry| {
            let mut counter =
                |name, help, label, values: &[&str]| add(registry, name, help, counters(label, values));
            let heals = counter(
                "meshwire_drift_heals",
                "Repairs of rules that others changed",
                "scope",
                &["host", "pod"],
            );
            let requests = counter(
                "istio_cni_plugin_requests",
                "Requests of the CNI plugin",
                "response_code",
                &["200", "400", "500"],
            );
            let reconciled = counter(
                "nodeagent_reconcile_events",
                "Changes of pods of this node",
                "type",
                &["add", "update", "delete"],
            );
            let acks = counter(
                "meshwire_zds_acks",
                "Requests to ztunnel by how they ended",
                "result",
                &["accepted", "refused", "lost"],
            );
            let mut gauge = |name, help| add(registry, name, help, Gauge::default());
            let unprotected = metrics.unprotected.clone();
            let ztunnels = gauge("ztunnel_connected", "Connections of ztunnel");
            let backing_off = gauge("meshwire_heals_backing_off", "Pods, or the host, whose repairs wait");
            let pods = add(registry, "meshwire_agent_pods", "Pods of the mesh", Family::default());
            let new: fn() -> Histogram = || Histogram::new(BUCKETS);
            let seconds = Family::new_with_constructor(new);
            let seconds =
                add(registry, "meshwire_add_seconds", "Time that adding a pod took, by step", seconds);
            Self { pods, unprotected, ztunnels, backing_off, heals, requests, reconciled, acks, seconds }
        })
    }

    /// Takes the values of a summary.
    pub(crate) fn set(&self, summary: &Summary) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in
            [("enabled", summary.enabled), ("pending", summary.pending), ("failed", summary.failed)]
        {
            self.pods.get_or_create(&vec![("state", state.to_owned())]).set(number(count));
        }
        self.unprotected.set("ambient", summary.pending.saturating_add(summary.failed));
        self.ztunnels.set(number(summary.ztunnels));
        self.backing_off.set(number(summary.backing_off));
        for (scope, total) in [("host", summary.heals.host), ("pod", summary.heals.pods)] {
            let counter = self.heals.get_or_create(&vec![("scope", scope.to_owned())]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// The plugin's request got this reply.
    pub(crate) fn replied(&self, code: StatusCode) {
        self.requests.get_or_create(&vec![("response_code", code.as_str().to_owned())]).inc();
    }

    /// A pod has changed.
    pub(crate) fn reconcile(&self, kind: &str) {
        self.reconciled.get_or_create(&vec![("type", kind.to_owned())]).inc();
    }

    /// ztunnel has acknowledged a request, or the connection ended before.
    pub(crate) fn acknowledged(&self, ack: Option<&Ack>) {
        let result = match ack {
            Some(Ack::Accepted) => "accepted",
            Some(Ack::Refused(_)) => "refused",
            None => "lost",
        };
        self.acks.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    /// A step of adding a pod took so long.
    pub(crate) fn took(&self, step: &str, time: Duration) {
        self.seconds.get_or_create(&vec![("step", step.to_owned())]).observe(time.as_secs_f64());
    }
}

//! Metrics, under the names that the meshes' own programs have. The encoder appends `_total` to counters.

use std::fs;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::ambient::Summary;

/// The labels of a series: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// Counters by label.
pub type Counters = Family<Labels, Counter>;

/// Everything that is registered, also by other parts of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        Self { registry: Mutex::new(registry) }
    }
}

impl Metrics {
    /// Registers more.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = text::encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }
}

/// Istio's installer and repair.
#[derive(Clone, Debug, Default)]
pub struct IstioMetrics {
    /// result: SUCCESS or a failure
    pub installs: Counters,
    /// 0 or 1
    pub ready: Gauge,
    /// type: repair, delete, label; result: success, skip, fail
    pub repaired: Counters,
    /// How often another program took our entry out
    pub reverts: Counter,
}

impl IstioMetrics {
    /// Registers them.
    pub fn registered(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            let istio = registry.sub_registry_with_prefix("istio_cni");
            istio.register("installs", "Installations of the CNI plugin", own.installs.clone());
            istio.register("install_ready", "Whether the CNI plugin is installed", own.ready.clone());
            istio.register("repair_pods_repaired", "Broken pods that were repaired", own.repaired.clone());
            registry.register(
                "meshwire_config_reverts",
                "Removals of the plugin's entry by others",
                own.reverts.clone(),
            );
        });
        own
    }

    /// Counts a repair.
    pub fn repair(&self, kind: &str, result: &str) {
        self.repaired.get_or_create(&vec![("type", kind.to_owned()), ("result", result.to_owned())]).inc();
    }

    /// Counts an installation.
    pub fn install(&self, result: &str) {
        self.installs.get_or_create(&vec![("result", result.to_owned())]).inc();
    }
}

/// The ambient half, as of its last summary.
#[derive(Clone, Debug, Default)]
pub struct AmbientMetrics {
    /// state: enabled, pending, failed
    pods: Family<Labels, Gauge>,
    unprotected: Gauge,
    ztunnels: Gauge,
    heals: Gauge,
    backing_off: Gauge,
}

impl AmbientMetrics {
    /// Registers them.
    pub fn registered(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("ztunnel_connected", "Connections of ztunnel", own.ztunnels.clone());
            registry.register("meshwire_agent_pods", "Pods of the mesh", own.pods.clone());
            registry.register(
                "meshwire_agent_unprotected_pods",
                "Pods that are not as desired",
                own.unprotected.clone(),
            );
            registry.register(
                "meshwire_drift_heals",
                "Repairs of rules that others changed",
                own.heals.clone(),
            );
            registry.register("meshwire_heals_backing_off", "Repairs that wait", own.backing_off.clone());
        });
        own
    }

    /// Takes the values of a summary.
    pub fn set(&self, summary: &Summary) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in
            [("enabled", summary.enabled), ("pending", summary.pending), ("failed", summary.failed)]
        {
            self.pods.get_or_create(&vec![("state", state.to_owned())]).set(number(count));
        }
        self.unprotected.set(number(summary.pending.saturating_add(summary.failed)));
        self.ztunnels.set(number(summary.ztunnels));
        self.heals.set(i64::try_from(summary.repairs).unwrap_or(i64::MAX));
        self.backing_off.set(number(summary.backing_off));
    }
}

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
        let own = Self {
            queue_overflow: Counter::default(),
            deleted: Counter::default(),
            delete_errors: Counter::default(),
            delete_timeouts: Counter::default(),
            event_errors: Counter::default(),
            event_timeouts: Counter::default(),
            delete_latency: Histogram::new(BUCKETS),
            event_latency: Histogram::new(BUCKETS),
        };
        metrics.register(|registry| {
            let linkerd = registry.sub_registry_with_prefix("linkerd_cni_repair_controller");
            linkerd.register(
                "queue_overflow",
                "Pods that did not fit into the queue",
                own.queue_overflow.clone(),
            );
            linkerd.register("pods_deleted", "Pods deleted", own.deleted.clone());
            linkerd.register("pods_delete_errors", "Deletions that failed", own.delete_errors.clone());
            linkerd.register("pods_delete_timeout", "Deletions that timed out", own.delete_timeouts.clone());
            linkerd.register("events_publish_errors", "Events that failed", own.event_errors.clone());
            linkerd.register("events_publish_timeouts", "Events that timed out", own.event_timeouts.clone());
            linkerd.register(
                "pods_delete_latency_seconds",
                "Time that deletions took",
                own.delete_latency.clone(),
            );
            linkerd.register(
                "events_publish_latency_seconds",
                "Time that events took",
                own.event_latency.clone(),
            );
        });
        own
    }
}

/// process_*: what every Prometheus client has.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |key: &str| -> i64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        let descriptors =
            fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0));
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory in bytes", kilobytes("VmRSS:") * 1024),
            ("process_virtual_memory_bytes", "Virtual memory in bytes", kilobytes("VmSize:") * 1024),
            ("process_open_fds", "Open file descriptors", descriptors),
            ("process_threads", "Threads", kilobytes("Threads:")),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counter = ConstCounter::new(cpu_seconds());
        counter.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system time in seconds",
            None,
            counter.metric_type(),
        )?)
    }
}

/// User and system time. `/proc` counts in units of 1/100 s (proc_pid_stat(5)).
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_meshes() {
        let metrics = Metrics::default();
        let istio = IstioMetrics::registered(&metrics);
        istio.install("SUCCESS");
        istio.ready.set(1);
        istio.repair("delete", "success");
        let linkerd = LinkerdMetrics::registered(&metrics);
        linkerd.deleted.inc();
        linkerd.delete_latency.observe(0.3);
        let text = metrics.text();
        for line in [
            "istio_cni_installs_total{result=\"SUCCESS\"} 1",
            "istio_cni_install_ready 1",
            "istio_cni_repair_pods_repaired_total{type=\"delete\",result=\"success\"} 1",
            "linkerd_cni_repair_controller_pods_deleted_total 1",
            "linkerd_cni_repair_controller_queue_overflow_total 0",
            "linkerd_cni_repair_controller_pods_delete_timeout_total 0",
            "linkerd_cni_repair_controller_events_publish_timeouts_total 0",
            "linkerd_cni_repair_controller_pods_delete_latency_seconds_bucket{le=\"0.5\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(
            text.contains("process_resident_memory_bytes ") && text.contains("process_cpu_seconds_total "),
            "{text}"
        );
    }
}

//! Metrics, under the names that the meshes' own programs have. The encoder appends `_total` to counters.

mod ambient;
mod linkerd;
mod process;

use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

pub use ambient::AmbientMetrics;
pub use linkerd::LinkerdMetrics;

/// The labels of a series: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// Counters by label.
pub type Counters = Family<Labels, Counter>;

/// Everything that is registered, also by other parts of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    unprotected: Unprotected,
}

/// How many pods lack their rules, by mesh: ambient, istio (with a sidecar), linkerd.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unprotected(Family<Labels, Gauge>);

impl Unprotected {
    fn set(&self, mesh: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.get_or_create(&vec![("mesh", mesh.to_owned())]).set(count);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let unprotected = Unprotected::default();
        const HELP: &str = "Pods whose traffic bypasses their mesh";
        registry.register("meshwire_agent_unprotected_pods", HELP, unprotected.0.clone());
        Self { registry: Mutex::new(registry), unprotected }
    }
}

impl Metrics {
    /// Registers more.
    fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Registers the counts of requests to the API server.
    pub fn register_requests(&self, requests: Counters) {
        const HELP: &str = "Requests to the API server, by verb and status code, or error or timeout";
        self.register(|registry| registry.register("meshwire_api_requests", HELP, requests));
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = text::encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }
}

/// Registers a metric, and returns it for use.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Counters with one label, which have all their series from the beginning: an alert can only see what increases.
fn counters(label: &'static str, values: &[&str]) -> Counters {
    let counters = Counters::default();
    for value in values {
        let _ = counters.get_or_create(&vec![(label, (*value).to_owned())]);
    }
    counters
}

/// Istio's installer and repair.
#[derive(Clone, Debug)]
pub struct IstioMetrics {
    /// result: SUCCESS or a failure
    pub installs: Counters,
    /// 0 or 1
    pub ready: Gauge,
    /// type: repair, delete, label; result: success, skip, fail
    pub repaired: Counters,
    /// How often another program took our entry out
    pub reverts: Counter,
    unprotected: Unprotected,
}

impl IstioMetrics {
    /// Registers them.
    pub fn registered(metrics: &Metrics) -> Self {
        const RESULTS: [&str; 4] =
            ["SUCCESS", "COPY_BINARIES_FAILURE", "CREATE_KUBECONFIG_FAILURE", "CREATE_CNI_CONFIG_FAILURE"];
        let repairs = Counters::default();
        for kind in ["repair", "delete", "label"] {
            for result in ["success", "skip", "fail"] {
                let _ =
                    repairs.get_or_create(&vec![("type", kind.to_owned()), ("result", result.to_owned())]);
            }
        }
        metrics.register(|registry| {
            let reverts = Counter::default();
            registry.register(
                "meshwire_config_reverts",
                "Removals of the plugin's entry by others",
                reverts.clone(),
            );
            let istio = registry.sub_registry_with_prefix("istio_cni");
            Self {
                installs: add(
                    istio,
                    "installs",
                    "Installations of the CNI plugin",
                    counters("result", &RESULTS),
                ),
                ready: add(istio, "install_ready", "Whether the CNI plugin is installed", Gauge::default()),
                repaired: add(istio, "repair_pods_repaired", "Repairs of broken pods", repairs),
                reverts,
                unprotected: metrics.unprotected.clone(),
            }
        })
    }

    /// Counts a repair.
    pub fn repair(&self, kind: &str, result: &str) {
        self.repaired.get_or_create(&vec![("type", kind.to_owned()), ("result", result.to_owned())]).inc();
    }

    /// So many pods with a sidecar of this mesh have no rules.
    pub(crate) fn unprotected(&self, mesh: &str, count: usize) {
        self.unprotected.set(mesh, count);
    }

    /// Counts an installation.
    pub fn install(&self, result: &str) {
        self.installs.get_or_create(&vec![("result", result.to_owned())]).inc();
    }
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

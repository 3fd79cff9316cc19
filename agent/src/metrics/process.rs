//! process_*: what every Prometheus client has.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads them when it is asked.
#[derive(Debug)]
pub(super) struct Process;

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

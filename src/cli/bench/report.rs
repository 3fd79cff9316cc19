//! What was measured, as a table and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::contender::{Contender, Load};

/// All of it.
pub(super) struct Report {
    pub(super) runs: u32,
    pub(super) measurements: Vec<Measurement>,
    /// What could not be measured
    pub(super) notes: Vec<String>,
}

/// How long a contender took for a load.
pub(super) struct Measurement {
    pub(super) load: Load,
    pub(super) contender: Contender,
    pub(super) median: Duration,
    pub(super) least: Duration,
    /// How often it ran
    pub(super) runs: usize,
    /// How far from the median the farther end of its 95 % confidence interval is, by the median
    uncertainty: f64,
}

/// A median is stable from this uncertainty on.
const STABLE: f64 = 0.05;
/// Fewer runs say nothing about noise.
const FEW_RUNS: u32 = 4;

impl Measurement {
    /// Of these times; none where there are none.
    pub(super) fn new(load: Load, contender: Contender, times: &[Duration]) -> Option<Self> {
        let mut times = times.to_vec();
        times.sort_unstable();
        let (least, median) = (*times.first()?, *times.get(times.len() / 2)?);
        Some(Self { load, contender, median, least, runs: times.len(), uncertainty: uncertainty(&times)? })
    }

    /// Whether more runs would say the same.
    pub(super) fn is_stable(&self) -> bool {
        self.uncertainty <= STABLE
    }
}

/// The 95 % confidence interval of the median, which ends at two of the sorted times whatever their distribution: those whose
/// ranks are 0.98 times the square root of their number away from the middle (the binomial distribution's normal
/// approximation).
fn uncertainty(sorted: &[Duration]) -> Option<f64> {
    let count = u32::try_from(sorted.len()).ok()?;
    let root = usize::try_from((u64::from(count) * 96 / 100).isqrt()).ok()? + 1;
    let middle = sorted.len() / 2;
    let (low, high) = (middle.saturating_sub(root), (middle + root).min(sorted.len() - 1));
    let seconds = |index: usize| sorted.get(index).map(Duration::as_secs_f64);
    let (low, median, high) = (seconds(low)?, seconds(middle)?, seconds(high)?);
    Some((median - low).max(high - median) / median)
}

impl Report {
    /// How many times as long as the contender that all others are compared with.
    fn ratio(&self, measurement: &Measurement) -> Option<f64> {
        let of = match measurement.load {
            Load::Sidecar | Load::Excluded => Contender::Meshwire,
            Load::Rules(_) => Contender::Floor,
        };
        let other =
            self.measurements.iter().find(|other| other.load == measurement.load && other.contender == of)?;
        Some(measurement.median.as_secs_f64() / other.median.as_secs_f64())
    }

    /// What to say where the figures are not to be relied on.
    pub(super) fn noise(&self) -> Option<String> {
        if self.runs < FEW_RUNS {
            let runs = self.runs;
            return Some(format!(
                "--runs {runs} is too few to see how noisy this machine is: take at least {FEW_RUNS}"
            ));
        }
        let unstable: Vec<_> = self.measurements.iter().filter(|measured| !measured.is_stable()).collect();
        let worst = unstable.iter().max_by(|one, other| one.uncertainty.total_cmp(&other.uncertainty))?;
        Some(format!(
            "{} of these {} medians are not stable: that of {}, {}, may be {:.0} % off after {} runs; let nothing else run, or \
             take more --runs",
            unstable.len(),
            self.measurements.len(),
            worst.contender,
            worst.load,
            worst.uncertainty * 100.0,
            worst.runs
        ))
    }

    /// The same for a program.
    pub(super) fn json(&self) -> Value {
        let measurements = self.measurements.iter().map(|measurement| {
            let (load, rules) = match measurement.load {
                Load::Sidecar => ("sidecar", None),
                Load::Excluded => ("excluded networks", None),
                Load::Rules(count) => ("rules", Some(count)),
            };
            json!({
                "load": load,
                "rules": rules,
                "contender": measurement.contender.to_string(),
                "median_microseconds": microseconds(measurement.median),
                "least_microseconds": microseconds(measurement.least),
                "runs": measurement.runs,
                "uncertainty": measurement.uncertainty,
                "stable": measurement.is_stable(),
                "ratio": self.ratio(measurement),
            })
        });
        json!({ "runs": self.runs, "measurements": measurements.collect::<Vec<_>>(), "notes": self.notes })
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = None;
        for measurement in &self.measurements {
            if before != Some(measurement.load) {
                let (name, other) = match measurement.load {
                    Load::Sidecar => ("Istio's sidecar, whole processes".to_owned(), "meshwire"),
                    load @ Load::Excluded => (load.to_string(), "meshwire"),
                    load @ Load::Rules(_) => (load.to_string(), "floor"),
                };
                let gap = if before.is_some() { "\n" } else { "" };
                writeln!(f, "{gap}{name:<34}{:>10}{:>10}{:>12}", "median", "least", format!("× {other}"))?;
            }
            before = Some(measurement.load);
            let ratio = self.ratio(measurement).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [median, least] = [measurement.median, measurement.least].map(short);
            writeln!(f, "  {:<32}{median:>10}{least:>10}{ratio:>12}", measurement.contender)?;
        }
        for note in &self.notes {
            writeln!(f, "\nnot measured: {note}")?;
        }
        Ok(())
    }
}

/// With three digits that count.
pub(super) fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        seconds if seconds < 1e-3 => (seconds * 1e6, "µs"),
        seconds if seconds < 1.0 => (seconds * 1e3, "ms"),
        seconds => (seconds, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(milliseconds: &[u64]) -> Report {
        let times: Vec<_> = milliseconds.iter().copied().map(Duration::from_millis).collect();
        let measurement = Measurement::new(Load::Rules(10), Contender::Meshwire, &times).unwrap();
        let runs = u32::try_from(milliseconds.len()).unwrap();
        Report { runs, measurements: vec![measurement], notes: Vec::new() }
    }

    #[test]
    fn a_median_that_is_not_stable_is_named() {
        // With 9 runs the interval is from the second one to the eighth.
        assert_eq!(report(&[50, 97, 99, 99, 100, 101, 102, 104, 900]).noise(), None);
        let noise = report(&[50, 97, 99, 99, 100, 101, 102, 150, 900]).noise().unwrap();
        let expected =
            "1 of these 1 medians are not stable: that of meshwire, 10 rules, may be 50 % off after 9 runs;";
        assert!(noise.starts_with(expected), "{noise}");
        let few = report(&[100, 100]).noise().unwrap();
        assert!(few.starts_with("--runs 2 is too few "), "{few}");
    }
}

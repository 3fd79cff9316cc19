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
    /// How far apart the times in the middle are, from the first quartile to the third, by the median
    spread: f64,
}

/// The spread from which on a median says little: two of them that are this far apart may come from one and the same.
const NOISY: f64 = 0.3;
/// So many runs have quartiles.
const FEW_RUNS: u32 = 4;

impl Measurement {
    /// Of these times; none where there are none.
    pub(super) fn new(load: Load, contender: Contender, mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let (least, median) = (*times.first()?, *times.get(times.len() / 2)?);
        let quartile = |part: usize| times.get(part * (times.len() - 1) / 4).map(Duration::as_secs_f64);
        let spread = (quartile(3)? - quartile(1)?) / median.as_secs_f64();
        Some(Self { load, contender, median, least, spread })
    }
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
        let noisy: Vec<_> = self.measurements.iter().filter(|measured| measured.spread > NOISY).collect();
        let worst = noisy.iter().max_by(|one, other| one.spread.total_cmp(&other.spread))?;
        Some(format!(
            "this machine is too noisy for {} of these {} figures: half of the runs of {}, {}, are spread over {:.0} % of their \
             median; let nothing else run, or take more --runs",
            noisy.len(),
            self.measurements.len(),
            worst.contender,
            worst.load,
            worst.spread * 100.0
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
                "spread": measurement.spread,
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
        let times = milliseconds.iter().copied().map(Duration::from_millis).collect();
        let measurement = Measurement::new(Load::Rules(10), Contender::Meshwire, times).unwrap();
        let runs = u32::try_from(milliseconds.len()).unwrap();
        Report { runs, measurements: vec![measurement], notes: Vec::new() }
    }

    #[test]
    fn a_noisy_machine_is_named() {
        assert_eq!(report(&[100, 101, 99, 100, 180]).noise(), None);
        let noise = report(&[100, 150, 60, 100, 160]).noise().unwrap();
        assert!(
            noise.starts_with("this machine is too noisy for 1 of these 1 figures: ")
                && noise.contains(" 50 % "),
            "{noise}"
        );
        let few = report(&[100, 100]).noise().unwrap();
        assert!(few.starts_with("--runs 2 is too few "), "{few}");
    }
}

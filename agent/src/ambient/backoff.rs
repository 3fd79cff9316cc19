//! When something is tried again.

use std::time::Duration;

/// A point in time: how long the agent had been running.
pub type Moment = Duration;

/// Failures of one thing: each doubles the pause before the next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retry {
    failures: u32,
    not_before: Moment,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn failed(&mut self, now: Moment) {
        self.not_before = now + doubled(Self::FIRST, self.failures, Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
    }

    /// A request to a server failed, which may say how long to wait at least.
    pub(super) fn failed_for(&mut self, now: Moment, at_least: Duration) {
        const FIRST: Duration = Duration::from_millis(100);
        self.failed(now);
        self.not_before = self.not_before.max(now + at_least.max(FIRST));
    }

    /// When the next attempt is due.
    pub(super) fn due(self) -> Moment {
        self.not_before
    }
}

/// Repairs of what others keep taking away.
///
/// The first five are immediate. Then the pause between two doubles, up to a minute, and stays so: a repair that is
/// given up leaves a pod outside the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    /// Since it was last quiet
    recent: u32,
    last: Moment,
    not_before: Moment,
}

impl Repairs {
    const IMMEDIATE: u32 = 5;
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);
    /// After so long without a repair they count anew.
    const QUIET: Duration = Duration::from_secs(600);

    pub(super) fn repaired(&mut self, now: Moment) {
        if now.saturating_sub(self.last) > Self::QUIET {
            self.recent = 0;
        }
        self.recent = self.recent.saturating_add(1);
        self.last = now;
        self.not_before = match self.recent.checked_sub(Self::IMMEDIATE) {
            Some(doublings) => now + doubled(Self::FIRST, doublings, Self::LONGEST),
            None => now,
        };
    }

    /// When the next one is due.
    pub(super) fn due(self) -> Moment {
        self.not_before
    }

    /// Whether repairs have become so frequent that they wait for each other.
    pub(super) fn is_backing_off(self, now: Moment) -> bool {
        self.recent >= Self::IMMEDIATE && now.saturating_sub(self.last) <= Self::QUIET
    }
}

fn doubled(first: Duration, doublings: u32, longest: Duration) -> Duration {
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_five_seconds() {
        let mut retry = Retry::default();
        let pauses: Vec<_> = (0..40)
            .map(|_| {
                retry.failed(Duration::ZERO);
                retry.due().as_millis()
            })
            .collect();
        assert_eq!(pauses[..5], [5, 10, 20, 40, 80]);
        assert_eq!(pauses[10..], [5000; 30]);
    }

    #[test]
    fn five_repairs_are_immediate_then_they_double_up_to_a_minute_and_never_stop() {
        let mut repairs = Repairs::default();
        let mut now = Duration::from_secs(1000);
        let mut pauses = Vec::new();
        for _ in 0..100 {
            repairs.repaired(now);
            pauses.push(repairs.due().saturating_sub(now).as_secs());
            now = repairs.due();
        }
        assert_eq!(pauses[..12], [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses[99], 60);
        assert!(repairs.is_backing_off(now));
        now += Duration::from_secs(601);
        assert!(!repairs.is_backing_off(now));
        repairs.repaired(now);
        assert_eq!(repairs.due(), now);
    }
}

//! Replies that go wrong on purpose.

use serde::Deserialize;

/// Makes matching requests fail. Faults are tried in the order in which they were added; the first that matches acts.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Part of the path, such as `/pods/`; empty matches every path.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`; empty matches every verb.
    pub verb: String,
    /// How many matching requests pass first.
    pub after: usize,
    /// How many matching requests fail then; `usize::MAX` for all of them.
    pub times: usize,
    /// What happens to them.
    pub effect: Effect,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// The request is read this many milliseconds late.
    Delay(u64),
    /// The reply is made at once and comes this many milliseconds late: the world may have changed meanwhile.
    Late(u64),
    /// No reply, and the connection stays open.
    Hang,
    /// A `Status` object with this HTTP status code.
    Code(u16),
    /// The same with a `Retry-After` header, in seconds.
    RetryAfter(u16, u32),
    /// In a watch: HTTP 200 and one `ERROR` event with a `Status` of this code.
    ErrorEvent(u16),
    /// The connection is reset (RST) before any reply.
    Reset,
    /// The connection is closed before any reply.
    Empty,
    /// Half of the reply, or half a line of a watch, then a reset.
    ResetMidway,
    /// Half of the reply, or half a line of a watch, then a close.
    HalfBody,
}

impl Default for Fault {
    fn default() -> Self {
        Self { path: String::new(), verb: String::new(), after: 0, times: 1, effect: Effect::Code(500) }
    }
}

impl Fault {
    /// One request whose path contains `path` suffers `effect`.
    pub fn once(path: &str, effect: Effect) -> Self {
        Self { path: path.to_owned(), effect, ..Self::default() }
    }

    /// Every request whose path contains `path` suffers `effect`, until faults are cleared.
    pub fn always(path: &str, effect: Effect) -> Self {
        Self { times: usize::MAX, ..Self::once(path, effect) }
    }

    /// The same for one verb only.
    #[must_use]
    pub fn on(self, verb: &str) -> Self {
        Self { verb: verb.to_owned(), ..self }
    }

    /// The same for this many requests.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// The same once this many matching requests have passed.
    #[must_use]
    pub fn after(self, after: usize) -> Self {
        Self { after, ..self }
    }
}

/// The faults that are still to happen.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What happens to this request, if it is to fail; counts it.
    pub(super) fn take(&mut self, verb: &str, path: &str) -> Option<Effect> {
        for fault in &mut self.0 {
            if fault.times == 0
                || !path.contains(&fault.path)
                || !(fault.verb.is_empty() || fault.verb == verb)
            {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            if fault.times != usize::MAX {
                fault.times -= 1;
            }
            return Some(fault.effect);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_count_what_they_match() {
        let mut faults = Faults::default();
        faults.add(Fault::once("/pods/", Effect::Reset).on("get").after(1).times(2));
        let taken: Vec<bool> =
            (0..5).map(|_| faults.take("get", "/api/v1/namespaces/a/pods/p").is_some()).collect();
        assert_eq!(taken, [false, true, true, false, false]);
        faults.add(Fault::always("/pods", Effect::Code(500)));
        assert!(
            faults.take("list", "/api/v1/pods").is_some() && faults.take("list", "/api/v1/pods").is_some()
        );
        assert!(faults.take("list", "/api/v1/nodes").is_none());
        faults.clear();
        assert!(faults.take("list", "/api/v1/pods").is_none());
    }
}

//! The outcome of applying, and what about it is not as it should be.

use nft_ruleset::Family;
use nftwire::{Commit, Name, Socket};
use nix::errno::Errno;

use super::{ApplyError, Counters, Prepared};
use crate::interception::Interception;
use crate::network::{LockError, RouteSocket};

/// The commit, and its warnings.
#[derive(Debug)]
pub struct Applied {
    /// The commit, or the check
    pub commit: Commit,
    /// Whether the kernel has no `fib`, and all was done [without](Interception::without_fib)
    pub without_fib: bool,
    /// Whether rules that were to stay were replaced, so that their counters are lost: others disturbed every reading
    pub lost_counters: bool,
    /// Tables whose rules were to stay and were replaced, so that their counters are lost: they held so many rules that are not
    /// desired that [comparing them](nft_ruleset::plan::Plan::emptied) would have taken seconds
    pub emptied: Vec<(Family, Name)>,
    /// Whether iptables may have [left](crate::leftovers) rules of a mesh in nf_tables. Where this is false, the list of tables
    /// that applying begins with has none of iptables' families, and looking for them would find nothing
    pub may_have_leftovers: bool,
    /// Why it was done without the lock that keeps others of our kind waiting, if it was
    pub without_lock: Option<LockError>,
}

/// What a kernel without `fib` costs.
pub(crate) const WITHOUT_FIB: &str = "this kernel has no expression fib (module nft_fib_inet, CONFIG_NFT_FIB_INET): where \
                                      DNS is captured, guests in the pod, such as virtual machines and docker's \
                                      containers, have none over UDP";

/// What it costs that no reading could be proven.
const LOST_COUNTERS: &str = "all rules are new and count from zero: other processes kept changing or checking the ruleset, \
                             so that it was not certain which rules could stay";

impl Applied {
    /// What is not as it should be, a line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let without_lock =
            self.without_lock.map(|reason| format!("done without waiting for others: {reason}"));
        let without_fib = self.without_fib.then(|| WITHOUT_FIB.to_owned());
        let lost_counters = self.lost_counters.then(|| LOST_COUNTERS.to_owned());
        let emptied = self.emptied.iter().map(|(family, name)| {
            format!(
                "table {family} {name} held thousands of rules that are not desired: it was emptied without comparing \
                 them, and all its rules are new and count from zero"
            )
        });
        without_lock.into_iter().chain(without_fib).chain(lost_counters).chain(emptied).collect()
    }
}

impl From<Commit> for Applied {
    fn from(commit: Commit) -> Self {
        Self {
            commit,
            without_fib: false,
            lost_counters: false,
            emptied: Vec::new(),
            may_have_leftovers: true,
            without_lock: None,
        }
    }
}

impl Interception {
    /// Applies it: all of it, or nothing. Callers in the same network namespace, the thread's, wait for each other, for at
    /// most one second, so that routes of one and rules of another do not mix. On a kernel that has no `fib`, rules that
    /// take it are left out.
    ///
    /// # Errors
    /// See [`ApplyError`]; after a failure, everything is as it was before.
    pub fn apply(
        &self,
        nft: &mut Socket,
        routes: &mut RouteSocket,
        counters: Counters,
    ) -> Result<Applied, ApplyError> {
        Prepared::once(self).apply(nft, routes, counters)
    }

    /// Lets the kernel validate the ruleset without applying it; see [`Socket::check`] for what that costs and
    /// misses. What it misses is looked at in the model.
    ///
    /// # Errors
    /// As [`Interception::apply`].
    pub fn check(&self, nft: &mut Socket) -> Result<Applied, ApplyError> {
        self.as_possible(|rest| rest.unwrap_or(self).check_all(nft).map(Applied::from))
    }

    /// Attempts it as it is, and then what is left without `fib` where the kernel has none.
    fn as_possible(
        &self,
        mut attempt: impl FnMut(Option<&Self>) -> Result<Applied, ApplyError>,
    ) -> Result<Applied, ApplyError> {
        match attempt(None) {
            Err(error) if error.lacks_fib() => match self.without_fib() {
                Some(rest) => Ok(Applied { without_fib: true, ..attempt(Some(&rest))? }),
                None => Err(error),
            },
            result => result,
        }
    }
}

impl Prepared<'_> {
    /// As [`Interception::apply`].
    ///
    /// # Errors
    /// As [`Interception::apply`].
    pub fn apply(
        &self,
        nft: &mut Socket,
        routes: &mut RouteSocket,
        counters: Counters,
    ) -> Result<Applied, ApplyError> {
        self.interception().as_possible(|rest| match rest {
            None => self.apply_all(nft, routes, counters),
            Some(rest) => Prepared::once(rest).apply_all(nft, routes, counters),
        })
    }
}

impl ApplyError {
    /// Whether the kernel refused a rule for want of the expression `fib` (CONFIG_NFT_FIB_INET), or of what it is to look
    /// up (CONFIG_NFT_FIB_IPV6).
    #[must_use]
    pub fn lacks_fib(&self) -> bool {
        const LACKING: [i32; 2] = [Errno::ENOENT as i32, Errno::EOPNOTSUPP as i32];
        let Self::Refused { refusal, .. } = self else { return false };
        let is_fib = |(_, name): &(usize, _)| *name == "fib";
        LACKING.contains(&refusal.errno) && refusal.location.expression.as_ref().is_some_and(is_fib)
    }
}

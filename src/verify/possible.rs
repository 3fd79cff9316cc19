//! Comparing with what the kernel can hold: not every kernel has `fib`.

use nftwire::Socket;

use super::{Differences, VerifyError, verify, verify_with_leftovers};
use crate::apply::WITHOUT_FIB;
use crate::interception::Interception;
use crate::network::RouteSocket;

/// What differs from what the kernel can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PossibleDifferences {
    /// What differs
    pub differences: Differences,
    /// Whether the kernel has no `fib`, and its rules are [not desired](Interception::without_fib) therefore
    pub without_fib: bool,
}

impl PossibleDifferences {
    /// What was left out, a line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.without_fib.then(|| WITHOUT_FIB.to_owned()).into_iter().collect()
    }
}

/// As [`verify`], for a pod: with what iptables has left there of a mesh's rules, and, on a kernel that has no `fib`,
/// without the rules that take it. Whether it has, it is asked only where those rules are missing.
///
/// # Errors
/// As [`verify`].
pub fn verify_possible(
    desired: &Interception,
    nft: &mut Socket,
    routes: &mut RouteSocket,
) -> Result<PossibleDifferences, VerifyError> {
    let differences = verify_with_leftovers(desired, nft, routes)?;
    if !differences.is_empty()
        && let Some(rest) = desired.without_fib()
    {
        let others = Differences { leftovers: differences.leftovers.clone(), ..verify(&rest, nft, routes)? };
        if others != differences && desired.check(nft).is_ok_and(|checked| checked.without_fib) {
            return Ok(PossibleDifferences { differences: others, without_fib: true });
        }
    }
    Ok(PossibleDifferences { differences, without_fib: false })
}

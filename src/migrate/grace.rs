//! A wait until every packet that is under way has left the chains that it is in.

use nftwire::{Batch, Error, Family, Socket, Table};
use nix::unistd::{SysconfVar, sysconf};
use rustix::thread::{MembarrierCommand, membarrier};

/// Returns when an RCU grace period has passed. The kernel runs the chains of a hook inside one critical section of RCU, so no
/// packet is then in a list of chains that was replaced before (`nf_hook` in include/linux/netfilter.h, Linux 6.18).
///
/// membarrier(2) waits for one (`MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu`), but not on one CPU, and it is refused where
/// CPUs run without a tick (nohz_full), and by some seccomp filters. Then a batch that is checked and not committed waits
/// for it, when the kernel takes it back (`__nf_tables_abort` in net/netfilter/nf_tables_api.c); it has a table without
/// chains, which no packet sees.
///
/// # Errors
/// The kernel refused that batch.
pub(super) fn grace_period(nft: &mut Socket) -> Result<(), Error> {
    let many_cpus = matches!(sysconf(SysconfVar::_NPROCESSORS_ONLN), Ok(Some(2..)));
    if many_cpus && membarrier(MembarrierCommand::Global).is_ok() {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Inet, "meshwire-grace-period"));
    nft.check(&mut batch).map(|_| ())
}

//! A table that belongs to another process.

use nftwire::{Batch, Error, Family, Socket, Table, TableFlags};

use super::{Namespace, skip};

/// Makes a table that goes when the socket is closed, and that no other socket can change. None where the kernel knows
/// no owners.
pub(crate) fn owned_table(namespace: &Namespace, name: &str) -> Option<Socket> {
    let mut owner = namespace.run(Socket::open).unwrap();
    let mut batch = Batch::new();
    batch.add_table(&Table { flags: TableFlags::OWNER, ..Table::new(Family::Inet, name) });
    match owner.commit(&mut batch) {
        Ok(_) => Some(owner),
        Err(Error::Refused(_)) => {
            skip("this kernel's tables have no owner (Linux 5.12 and later)");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

//! What happens without the privilege: in user namespaces of their own, where root is nobody outside.
//!
//! A thread cannot enter one, so that these tests start themselves anew under `unshare`.

use std::process::Command;

use nix::errno::Errno;

use super::*;
use meshwire_testkit::{in_new_namespace, skipped};

/// How the process inside learns net.core.wmem_max, and that it is inside.
const INSIDE: &str = "NFTWIRE_TEST_WMEM_MAX";

/// Runs one of this file's tests in a new user namespace, and in a new network namespace that belongs to it if
/// `owned`, otherwise in one that belongs to the user namespace outside.
fn in_user_namespace(test: &str, owned: bool) {
    // Older kernels report it in the initial network namespace only.
    let Ok(limit) = std::fs::read_to_string("/proc/sys/net/core/wmem_max") else {
        meshwire_testkit::skip("net.core.wmem_max cannot be read");
        return;
    };
    in_new_namespace(|| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).args(owned.then_some("--net"));
        command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--ignored", "--nocapture"]);
        let Ok(output) = command.env(INSIDE, limit.trim()).output() else {
            return skipped("there is no unshare to make a user namespace with");
        };
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if err.contains("unshare failed") {
            return skipped(&format!("no user namespace could be made: {err}"));
        }
        assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
        Some(())
    });
}

/// net.core.wmem_max, in the process inside.
fn inside() -> Option<usize> {
    let Ok(limit) = std::env::var(INSIDE) else {
        return skipped("it is started by another test, in a user namespace");
    };
    limit.parse().ok()
}

/// A batch of elements that takes at least this many bytes.
fn batch_of(bytes: usize) -> Batch {
    let mut batch = table_and_chain();
    batch.add_set(&Set { id: 1, ..Set::new(FAMILY, TABLE, "s", 4) });
    // An element takes 16 bytes.
    let keys = keys(u32::try_from(bytes / 16).unwrap());
    batch.add_elements(&ElementList::new(FAMILY, TABLE, "s", 1), &keys);
    batch
}

#[test]
fn a_send_buffer_that_may_not_grow() {
    in_user_namespace("privileges::inside_a_send_buffer_that_may_not_grow", true);
}

#[test]
#[ignore = "started by a_send_buffer_that_may_not_grow in a user namespace"]
fn inside_a_send_buffer_that_may_not_grow() {
    let Some(limit) = inside() else { return };
    let mut socket = Socket::open().unwrap();
    // The kernel doubles what may be asked for.
    let granted = 2 * limit;
    let mut batch = batch_of(granted + 16);
    let sent = batch.len() + 20;
    let Err(error) = socket.commit(&mut batch) else { panic!("committed") };
    let Error::SendBuffer { needed, granted: reported } = error else { panic!("{error:?}") };
    assert_eq!((needed, reported), (sent + 32, granted));
    assert_eq!(
        error.to_string(),
        format!(
            "the transaction needs {needed} bytes of send buffer, the kernel grants {granted} (twice net.core.wmem_max)"
        )
    );
    assert!(tables(&mut socket).is_empty());
    // Smaller ones go over the same socket.
    socket.commit(&mut table_and_chain()).unwrap();
}

#[test]
fn a_send_buffer_that_may_grow_a_little() {
    in_user_namespace("privileges::inside_a_send_buffer_that_may_grow_a_little", true);
}

#[test]
#[ignore = "started by a_send_buffer_that_may_grow_a_little in a user namespace"]
fn inside_a_send_buffer_that_may_grow_a_little() {
    let Some(limit) = inside() else { return };
    // More than the default, and what SO_SNDBUF grants without a privilege, where that is more.
    let bytes = 250_000;
    if 2 * limit < bytes + 1_000 {
        return;
    }
    let mut socket = Socket::open().unwrap();
    let mut batch = batch_of(bytes);
    socket.commit(&mut batch).unwrap();
    assert_eq!(count(&mut socket, "s"), bytes / 16);
}

#[test]
fn a_namespace_that_belongs_to_somebody_else() {
    in_user_namespace("privileges::inside_a_namespace_that_belongs_to_somebody_else", false);
}

#[test]
#[ignore = "started by a_namespace_that_belongs_to_somebody_else in a user namespace"]
fn inside_a_namespace_that_belongs_to_somebody_else() {
    if inside().is_none() {
        return;
    }
    let mut socket = Socket::open().unwrap();
    let refusal = refused(&mut socket, &mut table_and_chain());
    assert_eq!((refusal.message, refusal.errno), (None, Errno::EPERM as i32));
    assert_eq!(refusal.to_string(), "the kernel refused the request: EPERM: Operation not permitted");
    for refused in [socket.generation().map(drop), socket.tables(Family::Unspec, |_| Ok(()))] {
        let Err(Error::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!((refusal.message, refusal.errno), (None, Errno::EPERM as i32));
    }
    assert!(matches!(socket.commit(&mut Batch::new()), Err(Error::Refused(_))));
}

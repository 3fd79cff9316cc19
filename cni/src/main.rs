//! The executable `meshwire-cni`, which runtimes call as `istio-cni` or `linkerd-cni`.

use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    meshwire_cni::run()
}

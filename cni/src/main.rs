//! The executable `meshwire-cni`, which runtimes call as `istio-cni` or `linkerd-cni`.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshwire_cni::run()
}

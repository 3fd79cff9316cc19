//! The executable `meshwire-cni`.

fn main() {}

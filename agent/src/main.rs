//! The executable `meshwire-agent`.

fn main() {}

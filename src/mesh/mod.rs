//! Profiles: a mesh's settings in, a [`Ruleset`](crate::ruleset::Ruleset) out. Pure: no I/O, no clock, no process.

pub mod istio;
pub mod linkerd;

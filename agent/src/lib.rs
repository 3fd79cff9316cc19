//! The node agent.

pub mod ambient;
pub mod zds;

//! The node agent.

pub mod zds;

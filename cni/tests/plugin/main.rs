//! The plugins as a runtime calls them: processes next to a Kubernetes API server, in namespaces of their own.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod ambient;
mod api;
mod call;
mod certificates;
mod chain;
mod netns;
mod pods;
mod rules;

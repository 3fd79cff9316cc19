//! meshwire programs a service mesh's traffic interception straight into the kernel's nf_tables over netlink: no `nft`,
//! no `iptables`, no shell, no helper process.
//!
//! Data goes one way: a profile's settings ([`mesh`]) become a [`ruleset::Ruleset`], that becomes a batch of netlink
//! messages, and [`apply`] brings it into the kernel in one commit, with the addresses and routes that it needs.
//!
//! ```no_run
//! use meshwire::apply::Counters;
//! use meshwire::mesh::istio::sidecar::Sidecar;
//!
//! fn intercept(settings: &Sidecar) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut nft = nftwire::Socket::open()?;
//!     let mut routes = meshwire::route::RouteSocket::open()?;
//!     settings.interception().apply(&mut nft, &mut routes, Counters::Restart)?;
//!     Ok(())
//! }
//! ```

pub mod ambient;
pub mod apply;
#[cfg(feature = "init")]
#[doc(hidden)]
pub mod cli;
pub mod conntrack;
pub mod explain;
pub mod interception;
pub mod kernel;
pub mod mesh;
pub mod netns;
pub mod preflight;
pub mod reset;
mod retry;
pub mod route;
pub mod ruleset;
pub mod validation;
pub mod verify;

//! meshwire programs a service mesh's traffic interception straight into the kernel's nf_tables over netlink: no `nft`,
//! no `iptables`, no shell, no helper process.
//!
//! Data goes one way: a profile's settings ([`mesh`]) become a [`nft_ruleset::Ruleset`], that becomes a batch of netlink
//! messages, and [`apply`] brings it into the kernel in one commit, with the addresses and routes that it needs.
//!
//! ```no_run
//! use meshwire::apply::Counters;
//! use meshwire::mesh::istio::sidecar::Sidecar;
//!
//! fn intercept(settings: &Sidecar) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut nft = meshwire::nftwire::Socket::open()?;
//!     let mut routes = meshwire::network::RouteSocket::open()?;
//!     settings.interception().apply(&mut nft, &mut routes, Counters::Reset)?;
//!     Ok(())
//! }
//! ```

/// The examples of the manual compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
mod library {}

pub mod apply;
#[cfg(feature = "init")]
#[doc(hidden)]
pub mod cli;
pub mod conntrack;
pub mod diagnostic;
pub mod explain;
pub mod interception;
pub mod json;
pub mod kubelet;
pub mod leftovers;
pub mod mesh;
pub mod migrate;
pub mod netns;
pub mod network;
pub mod pods;
pub mod preflight;
pub mod privilege;
pub mod probes;
pub mod redirect_check;
pub mod release;
pub mod reset;
mod retry;
mod text_file;
pub mod trace;
pub mod verify;
pub mod watch;

pub use {nft_ruleset, nftwire};

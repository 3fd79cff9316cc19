//! What there is to know about kernels: their versions, what of nf_tables they may lack, and privileges.

pub mod feature;
pub mod privilege;
mod version;

pub use version::{OLDEST, Version, release};

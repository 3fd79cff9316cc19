//! What the targets share.

mod mutate;

pub use mutate::mutate;

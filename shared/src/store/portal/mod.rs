//! What the portal's pages read and nobody else does: sums, counts and lists. Each is one statement over an index.

pub mod collections;
pub mod console;
pub mod lists;

//! Serving HTTP to strangers: how many connections, how patient we are with each, and how they end. The webhook door and the portal
//! share it.
mod patience;
mod server;

pub use server::Server;

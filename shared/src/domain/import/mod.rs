//! The import document: from JSON text to typed, validated items, with every fault at once.
//!
//! Whoever writes such a document by hand or by script wants to see all that is wrong with it, and where, in one go; so
//! reading goes on after a fault, and a reference to an item that is itself faulty is not reported once more.
mod amounts;
mod clients;
mod document;
mod engagements;
mod firms;
mod invoices;
mod reader;
mod references;
mod time_entries;
mod users;

pub use amounts::Amount;
pub use clients::{Autopay, CardReference, Client};
pub use document::{Document, parse};
pub use engagements::{ChargeTiming, Engagement};
pub use firms::Firm;
pub use invoices::{Invoice, Line, LineKind};
pub use references::{Known, KnownClient, KnownEngagement, KnownMethod, Mentioned};
pub use time_entries::TimeEntry;
pub use users::User;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON path, such as `$.engagements[0].package_fee_schedule`.
    pub path: String,
    /// What is wrong there, for people.
    pub message: String,
}

#[cfg(test)]
mod tests;

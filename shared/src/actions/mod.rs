//! What people do, as functions that the commands and the API share: each checks, changes and records within the transaction that it
//! is given, and says in a sentence why it does not.
//!
//! Shells find the row that is meant, open the transaction of its firm, name the person, and commit.

#[cfg(feature = "passwords")]
pub mod access;
pub mod alerts;
pub mod brakes;
pub mod break_glass;
pub mod clients;
pub mod clock;
pub mod credits;
pub mod engagements;
pub mod explain;
pub mod invoice_make;
pub mod invoices;
pub mod jobs;
pub mod people;
pub mod refunds;
pub mod runs;
pub mod time;

use crate::store;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// What was named may be several things.
    #[error("{message}")]
    Ambiguous {
        /// One sentence for people.
        message: String,
        /// What kind each is, and its id.
        things: Vec<(String, String)>,
    },
    /// A rule refuses.
    #[error("{message}")]
    Refused {
        /// One word for scripts.
        code: &'static str,
        /// One sentence for people.
        message: String,
    },
    /// What was given makes no sense.
    #[error("{field}: {message}")]
    Invalid {
        /// What was given, as the API calls it.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl Fault {
    /// A refusal.
    pub fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused {
            code,
            message: message.into(),
        }
    }

    /// Something wrong with what was given.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            message: message.into(),
        }
    }
}

/// What an action comes to.
pub type Result<T> = std::result::Result<T, Fault>;

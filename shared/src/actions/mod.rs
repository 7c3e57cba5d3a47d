//! What people do, as functions that the commands and the API share: each checks, changes and records within the transaction that it
//! is given, and says in a sentence why it does not.
//!
//! Shells find the row that is meant, open the transaction of its firm, name the person, and commit.

#[cfg(feature = "passwords")]
pub mod access;
#[cfg(feature = "passwords")]
pub mod alert_destinations;
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

#[cfg(feature = "passwords")]
use serde_json::{Value, json};
#[cfg(feature = "passwords")]
use uuid::Uuid;

use crate::store;
#[cfg(feature = "passwords")]
use crate::{
    ids::FirmId,
    store::{
        Tx,
        audit::{self, By},
        jobs_by_hand,
    },
};

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

/// Puts what was done on record: in the firm's audit log, or on the platform's own record. With the reason, where one was asked for.
#[cfg(feature = "passwords")]
async fn on_record(
    tx: &mut Tx,
    firm: Option<FirmId>,
    (action, kind, subject): (&str, &str, Uuid),
    reason: Option<&str>,
    mut meta: Value,
    by: &By<'_>,
) -> Result<()> {
    match firm {
        Some(firm) => {
            if let Some(reason) = reason {
                meta["reason"] = json!(reason);
            }
            audit::record(tx, firm, by.at, &by.entry(action, kind, subject, meta)).await?;
        }
        None => {
            let subject = json!({ kind: subject, "meta": meta });
            jobs_by_hand::record(tx, action, reason.unwrap_or("by hand"), &subject, by).await?;
        }
    }
    Ok(())
}

//! Brings an import document into the database: everything in the caller's transaction, or nothing.
//!
//! An item that is there already is compared field by field. What may change is changed; what is final (a signed
//! engagement, an issued invoice, approved time) is refused with the path of the field, all refusals at once.
mod clients;
mod engagements;
mod firms;
mod invoices;
mod issue;
mod known;
mod time_entries;
mod users;

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Result, Tx, audit::By, jobs, users::User};
use crate::{
    domain::import::{Document, Fault, Known},
    ids::{ClientId, EngagementId, FirmId},
};

pub use known::look_up;

/// What became of the items of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// New.
    pub created: usize,
    /// Changed.
    pub updated: usize,
    /// As they were.
    pub unchanged: usize,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Tenants.
    pub firms: Counts,
    /// Their clients.
    pub clients: Counts,
    /// Their cards.
    pub payment_methods: Counts,
    /// Their people.
    pub users: Counts,
    /// Their terms.
    pub engagements: Counts,
    /// Time worked.
    pub time_entries: Counts,
    /// Invoices issued.
    pub invoices: Counts,
    /// Of these, how many are being collected by card.
    pub collections_started: usize,
}

/// How an import ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; commit.
    Applied(Report),
    /// Something final would change; roll back. Every such field.
    Refused(Vec<Fault>),
}

/// Two imports at once would both find an item missing.
const LOCK: &str = "quittance import";

/// Brings a document in that has no faults.
///
/// # Errors
/// When the database is away, or a guard refuses what was not foreseen here.
pub async fn apply(tx: &mut Tx, document: &Document, known: Known, by: &By<'_>) -> Result<Outcome> {
    let mut import = Import {
        tx,
        by,
        known,
        entered: None,
        firms: BTreeMap::new(),
        clients: BTreeMap::new(),
        users: BTreeMap::new(),
        self_approval: BTreeMap::new(),
        engagements: BTreeMap::new(),
        refused: Vec::new(),
        report: Report::default(),
    };
    for firm in &document.firms {
        import.firm(firm).await?;
    }
    for client in &document.clients {
        import.client(client).await?;
    }
    for user in &document.users {
        import.user(user).await?;
    }
    for engagement in &document.engagements {
        import.engagement(engagement).await?;
    }
    for entry in &document.time_entries {
        import.time_entry(entry).await?;
    }
    import.invoices(&document.invoices).await?;
    let Import {
        tx, refused, report, ..
    } = import;
    if !refused.is_empty() {
        return Ok(Outcome::Refused(refused));
    }
    jobs::nudge(tx).await?;
    Ok(Outcome::Applied(report))
}

/// Keeps other imports out until the transaction ends, and prepares it for many rows. Call before [`look_up`].
///
/// # Errors
/// When the database is away.
pub async fn lock(tx: &mut Tx) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended($1, 0)) as locked",
        LOCK
    )
    .fetch_one(&mut **tx)
    .await?;
    // The first import meets tables without statistics: a plan made while they were empty and then kept would read all
    // rows of a firm for each row that a guard or a foreign key looks at. Planning afresh costs less.
    sqlx::query!("select set_config('plan_cache_mode', 'force_custom_plan', true) as setting")
        .fetch_one(&mut **tx)
        .await?;
    Ok(())
}

/// An import under way: what it has brought in so far, by the names in the document.
struct Import<'a> {
    tx: &'a mut Tx,
    by: &'a By<'a>,
    known: Known,
    entered: Option<FirmId>,
    firms: BTreeMap<String, FirmId>,
    clients: BTreeMap<String, (FirmId, ClientId)>,
    /// Users by the names that time has met so far; `None` for a name that is no user's.
    users: BTreeMap<(FirmId, String), Option<User>>,
    self_approval: BTreeMap<FirmId, bool>,
    engagements: BTreeMap<String, (FirmId, EngagementId)>,
    refused: Vec<Fault>,
    report: Report,
}

impl Import<'_> {
    /// Makes one firm's rows visible.
    async fn enter(&mut self, firm: FirmId) -> Result<()> {
        if self.entered != Some(firm) {
            self.tx.set_firm(firm).await?;
            self.entered = Some(firm);
        }
        Ok(())
    }

    /// Notes that fields of something final would change.
    fn refuse(&mut self, path: &str, fields: &[String], why: &str) {
        self.refused.extend(fields.iter().map(|field| Fault {
            path: format!("{path}.{field}"),
            message: format!("cannot change: {why}"),
        }));
    }
}

/// A reference that was checked and yet leads nowhere: a fault of ours.
fn dangling(reference: &str) -> super::Error {
    super::Error::Other(sqlx::Error::Decode(
        format!("reference '{reference}' was checked and is gone").into(),
    ))
}

/// The names of the fields that differ.
fn changed(fields: &[(&str, bool)]) -> Vec<String> {
    fields
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

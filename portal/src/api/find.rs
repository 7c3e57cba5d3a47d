//! From what a caller names to a row of the caller's firm. Whatever belongs to another firm, or for a portal user to another client, is
//! not there.

use shared::{
    ids::{ClientId, EngagementId, FirmId, InvoiceId, TimeEntryId},
    store::{
        self, Db,
        resolve::{self, Found},
    },
};
use uuid::Uuid;

use crate::{auth::Caller, problem::Problem};

/// What happens to an invoice.
const OF_INVOICE: [&str; 5] = ["payment_intent", "charge", "payment", "refund", "dispute"];

fn none(noun: &str, reference: &str) -> Problem {
    Problem::not_found(format!("there is no {noun} {reference:?}"))
}

/// The one row of these kinds that a name means within the firm.
async fn row(db: &Db, firm: FirmId, noun: &str, kinds: &[&str], reference: &str) -> Result<Found, Problem> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let mut found = resolve::resolve(&mut conn, reference).await?;
    drop(conn);
    found.retain(|row| row.firm == firm && kinds.contains(&row.kind.as_str()));
    found.dedup_by_key(|row| row.id);
    match <[Found; 1]>::try_from(found) {
        Ok([row]) => Ok(row),
        Err(several) if several.len() > 1 => Err(Problem::refused(
            "ambiguous",
            format!("several {noun}s are called {reference:?}: use the UUID"),
        )),
        Err(_) => Err(none(noun, reference)),
    }
}

/// An invoice: by UUID, number, `external_id`, or the id of anything that happened to it.
///
/// # Errors
/// When the caller sees none of this name.
pub async fn invoice(db: &Db, caller: &Caller, reference: &str) -> Result<(FirmId, InvoiceId), Problem> {
    let firm = caller.firm()?;
    let kinds = [&["invoice"], &OF_INVOICE[..]].concat();
    let found = row(db, firm, "invoice", &kinds, reference).await?;
    let mut tx = db.firm(firm).await?;
    let id = if found.kind == "invoice" {
        InvoiceId(found.id)
    } else {
        let of = resolve::invoice_of(&mut tx, firm, reference).await?;
        of.ok_or_else(|| none("invoice", reference))?
    };
    // A draft is not there for a client: it may still come to nothing.
    if let Some(client) = caller.client
        && !resolve::is_shown_to_client(&mut tx, firm, id, client).await?
    {
        return Err(none("invoice", reference));
    }
    Ok((firm, id))
}

/// A client: by UUID, `external_id` or Stripe customer.
///
/// # Errors
/// When the caller sees none of this name.
pub async fn client(db: &Db, caller: &Caller, reference: &str) -> Result<(FirmId, ClientId), Problem> {
    let firm = caller.firm()?;
    let found = row(db, firm, "client", &["client", "customer"], reference).await?;
    if caller.client.is_some_and(|own| own.0 != found.id) {
        return Err(none("client", reference));
    }
    Ok((firm, ClientId(found.id)))
}

/// An engagement: by UUID or `external_id`.
///
/// # Errors
/// When the firm has none of this name.
pub async fn engagement(
    db: &Db,
    caller: &Caller,
    reference: &str,
) -> Result<(FirmId, EngagementId), Problem> {
    let firm = caller.firm()?;
    let found = row(db, firm, "engagement", &["engagement"], reference).await?;
    Ok((firm, EngagementId(found.id)))
}

/// A time entry: by UUID or `external_id`.
///
/// # Errors
/// When the firm has none of this name.
pub async fn time_entry(db: &Db, caller: &Caller, reference: &str) -> Result<(FirmId, TimeEntryId), Problem> {
    let firm = caller.firm()?;
    let found = row(db, firm, "time entry", &["time_entry"], reference).await?;
    let entry = TimeEntryId(found.id);
    if let Some(client) = caller.client {
        let mut tx = db.firm(firm).await?;
        if !resolve::is_time_of_client(&mut tx, firm, entry, client).await? {
            return Err(none("time entry", reference));
        }
    }
    Ok((firm, entry))
}

/// A dispute: by Stripe id or UUID.
///
/// # Errors
/// When the firm has none of this name.
pub async fn dispute(db: &Db, caller: &Caller, reference: &str) -> Result<(FirmId, Uuid), Problem> {
    let firm = caller.firm()?;
    let found = row(db, firm, "dispute", &["dispute"], reference).await?;
    Ok((firm, found.id))
}

//! From what an operator types to a row: any id in any of its forms.

use shared::{
    ids::{ClientId, EngagementId, FirmId, InvoiceId, TimeEntryId},
    store::{
        self, Db,
        ledger::Filter,
        resolve::{self, Found},
    },
};

use uuid::Uuid;

use super::{firms::chosen_firms, glass};
use crate::output::{Detail, Failure};

/// Kinds of rows that an id may mean (see [`resolve`]).
const INVOICE: &[&str] = &["invoice"];
const CLIENT: &[&str] = &["client", "customer"];
/// What happens to an invoice.
const OF_INVOICE: &[&str] = &["payment_intent", "charge", "payment", "refund", "dispute"];

/// An invoice: by UUID, `external_id`, number, or the id (Stripe's or ours) of anything that happened to it.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_invoice(db: &Db, reference: &str) -> Result<(FirmId, InvoiceId), Failure> {
    let row = find(db, "invoice", &[INVOICE, OF_INVOICE].concat(), reference).await?;
    invoice_of(db, reference, row).await
}

/// A client: by UUID, `external_id` or Stripe customer.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_client(db: &Db, reference: &str) -> Result<(FirmId, ClientId), Failure> {
    let row = find(db, "client", CLIENT, reference).await?;
    Ok((row.firm, ClientId(row.id)))
}

/// An engagement: by UUID or `external_id`.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_engagement(db: &Db, reference: &str) -> Result<(FirmId, EngagementId), Failure> {
    let row = find(db, "engagement", &["engagement"], reference).await?;
    Ok((row.firm, EngagementId(row.id)))
}

/// A time entry: by UUID or `external_id`.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_time_entry(db: &Db, reference: &str) -> Result<(FirmId, TimeEntryId), Failure> {
    let row = find(db, "time entry", &["time_entry"], reference).await?;
    Ok((row.firm, TimeEntryId(row.id)))
}

/// A dispute: by Stripe id or UUID.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_dispute(db: &Db, reference: &str) -> Result<(FirmId, Uuid), Failure> {
    let row = find(db, "dispute", &["dispute"], reference).await?;
    Ok((row.firm, row.id))
}

/// Whose journals are asked for: an invoice or a client, in any form of either.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_ledger_subject(db: &Db, reference: &str) -> Result<(FirmId, Filter), Failure> {
    let kinds = [CLIENT, INVOICE, OF_INVOICE].concat();
    let row = find(db, "invoice or client", &kinds, reference).await?;
    if CLIENT.contains(&row.kind.as_str()) {
        return Ok((row.firm, Filter::Client(ClientId(row.id))));
    }
    let (firm, invoice) = invoice_of(db, reference, row).await?;
    Ok((firm, Filter::Invoice(invoice)))
}

/// Everything that the audit log may tell of under an id: the thing itself, the invoice that it has to do with, or whatever
/// has that UUID.
///
/// # Errors
/// When there is nothing, or the database is away.
pub async fn find_subjects(db: &Db, reference: &str) -> Result<Vec<Uuid>, Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let found = resolve::resolve(&mut conn, reference).await?;
    drop(conn);
    let mut subjects: Vec<Uuid> = reference.parse().into_iter().collect();
    for row in found {
        subjects.push(row.id);
        if OF_INVOICE.contains(&row.kind.as_str()) {
            subjects.push(invoice_of(db, reference, row).await?.1.0);
        }
    }
    if subjects.is_empty() {
        return Err(Failure::not_found(format!(
            "there is nothing called {reference:?}"
        )));
    }
    Ok(subjects)
}

/// The one row of these kinds (the words of `app.resolve`) that an id means; `noun` is what people call it. The kinds that
/// have no function of their own: `payment` and `charge`, `refund`, `credit_lot`.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find(db: &Db, noun: &str, kinds: &[&str], reference: &str) -> Result<Found, Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let mut found = resolve::resolve(&mut conn, reference).await?;
    drop(conn);
    found.retain(|row| kinds.contains(&row.kind.as_str()));
    // One row may be found by several of its ids.
    let mut seen: Vec<(FirmId, Uuid)> = Vec::new();
    found.retain(|row| {
        let fresh = !seen.contains(&(row.firm, row.id));
        seen.push((row.firm, row.id));
        fresh
    });
    one(db, noun, reference, found).await
}

/// The invoice that a row is, or has to do with.
async fn invoice_of(db: &Db, reference: &str, row: Found) -> Result<(FirmId, InvoiceId), Failure> {
    if INVOICE.contains(&row.kind.as_str()) {
        return Ok((row.firm, InvoiceId(row.id)));
    }
    let mut tx = db.firm(row.firm).await?;
    let invoice = resolve::invoice_of(&mut tx, row.firm, reference).await?;
    let invoice = invoice.ok_or_else(|| none("invoice", reference))?;
    Ok((row.firm, invoice))
}

fn none(kind: &str, reference: &str) -> Failure {
    Failure::not_found(format!("there is no {kind} {reference:?}"))
}

async fn one(db: &Db, kind: &str, reference: &str, mut found: Vec<Found>) -> Result<Found, Failure> {
    if found.len() > 1 {
        let mut details = Vec::new();
        for row in &found {
            let firm = chosen_firms(db, Some(&row.firm.to_string())).await?;
            let label = firm
                .into_iter()
                .next()
                .map_or_else(|| row.firm.to_string(), |firm| firm.label);
            details.push(Detail {
                path: label,
                message: row.id.to_string(),
            });
        }
        let message = format!("several firms have a {kind} {reference:?}: use its UUID");
        return Err(Failure::new("ambiguous", message).with_details(details));
    }
    let found = found.pop().ok_or_else(|| none(kind, reference))?;
    glass::touch(db, &[found.firm]).await?;
    Ok(found)
}

//! From what an operator types to a row: any id in any of its forms.

use shared::{
    ids::{ClientId, FirmId, InvoiceId},
    store::{
        self, Db,
        resolve::{self, Found},
    },
};

use super::firms::chosen_firms;
use crate::output::{Detail, Failure};

/// An invoice: by UUID, `external_id`, number, or the Stripe id of anything that happened to it.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_invoice(db: &Db, reference: &str) -> Result<(FirmId, InvoiceId), Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let mut found = resolve::resolve(&mut conn, reference).await?;
    drop(conn);
    let of_stripe =
        |row: &Found| ["payment_intent", "charge", "refund", "dispute"].contains(&row.kind.as_str());
    found.retain(|row| row.kind == "invoice" || of_stripe(row));
    match one(db, "invoice", reference, found).await? {
        row if row.kind == "invoice" => Ok((row.firm, InvoiceId(row.id))),
        row => {
            let mut tx = db.firm(row.firm).await?;
            let invoice = resolve::invoice_of(&mut tx, row.firm, reference).await?;
            let invoice = invoice.ok_or_else(|| none("invoice", reference))?;
            Ok((row.firm, invoice))
        }
    }
}

/// A client: by UUID, `external_id` or Stripe customer.
///
/// # Errors
/// When there is none or several, or the database is away.
pub async fn find_client(db: &Db, reference: &str) -> Result<(FirmId, ClientId), Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let mut found = resolve::resolve(&mut conn, reference).await?;
    drop(conn);
    found.retain(|row| ["client", "customer"].contains(&row.kind.as_str()));
    let row = one(db, "client", reference, found).await?;
    Ok((row.firm, ClientId(row.id)))
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
    found.pop().ok_or_else(|| none(kind, reference))
}

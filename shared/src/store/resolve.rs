//! From an id in any of its forms (our UUID, an import's `external_id`, an invoice number, a Stripe id) to a row.

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Result;
use crate::ids::{ClientId, FirmId, InvoiceId, TimeEntryId};

/// A row that an id may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `firm`, `client`, `user`, `engagement`, `time_entry`, `invoice`, `payment`, `refund`, `dispute`, `credit_lot`, or what
    /// a Stripe id leads to: `customer`, `payment_method`, `payment_intent`, `charge`, `refund`, `dispute`.
    pub kind: String,
    /// Whose.
    pub firm: FirmId,
    /// Our id of it.
    pub id: Uuid,
}

/// Everything that an id may mean, over all firms.
///
/// # Errors
/// When the database is away.
pub async fn resolve(conn: &mut PgConnection, reference: &str) -> Result<Vec<Found>> {
    let rows = sqlx::query!(
        r#"select kind as "kind!", firm_id as "firm_id!", id as "id!" from app.resolve($1)"#,
        reference
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Found {
            kind: r.kind,
            firm: FirmId(r.firm_id),
            id: r.id,
        })
        .collect())
}

/// The invoice that a payment, refund or dispute has to do with, by Stripe's id (an intent's and a charge's too) or ours.
/// The firm must be set.
///
/// # Errors
/// When the database is away.
pub async fn invoice_of(conn: &mut PgConnection, firm: FirmId, id: &str) -> Result<Option<InvoiceId>> {
    let invoice = sqlx::query_scalar!(
        r#"select invoice_id as "invoice!" from (
             select c.invoice_id from collection_cycles c where c.firm_id = $1 and c.stripe_payment_intent_id = $2
             union all
             select c.invoice_id from payment_attempts a
               join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
              where a.firm_id = $1 and a.stripe_charge_id = $2
             union all
             select p.invoice_id from payments p
              where p.firm_id = $1 and ($2 in (p.stripe_charge_id, p.stripe_payment_intent_id, p.id::text))
             union all
             select p.invoice_id from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
              where r.firm_id = $1 and $2 in (r.stripe_refund_id, r.id::text)
             union all
             select p.invoice_id from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
              where d.firm_id = $1 and $2 in (d.stripe_dispute_id, d.id::text)) found
           where invoice_id is not null limit 1"#,
        firm.0,
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(invoice.map(InvoiceId))
}

/// Whether an invoice is this client's, and the client has been told of it: it is no draft. The firm must be set.
///
/// # Errors
/// When the database is away.
pub async fn is_shown_to_client(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    client: ClientId,
) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from invoices where firm_id = $1 and id = $2 and client_id = $3 and doc_state <> 'draft') as "shown!""#,
        firm.0,
        invoice.0,
        client.0
    )
    .fetch_one(conn)
    .await?)
}

/// Whether time was worked for this client, on an engagement of its own. The firm must be set.
///
/// # Errors
/// When the database is away.
pub async fn is_time_of_client(
    conn: &mut PgConnection,
    firm: FirmId,
    entry: TimeEntryId,
    client: ClientId,
) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from time_entries t join engagements e on e.firm_id = t.firm_id and e.id = t.engagement_id
                           where t.firm_id = $1 and t.id = $2 and e.client_id = $3) as "theirs!""#,
        firm.0,
        entry.0,
        client.0
    )
    .fetch_one(conn)
    .await?)
}

//! Money that came by other means than the client's card: recorded once by its reference, and what is being collected
//! follows in the same transaction (B-10).

use chrono::NaiveDate;
use serde_json::json;
use sqlx::PgConnection;

use super::{lock, reopen_for_money, settle_void, stop_collection};
use crate::{
    domain::document::{DocState, refuse_payment},
    ids::{FirmId, InvoiceId, PaymentId},
    money::Money,
    store::{
        audit::{self, By},
        error::{Error, Result},
        payments::{self, Unapplied},
    },
};

/// Money as a person reports it.
#[derive(Clone, Copy, Debug)]
pub struct External<'a> {
    /// For this invoice.
    pub invoice: InvoiceId,
    /// How much, in the invoice's currency.
    pub amount: Money,
    /// Names it in the firm's own books: the same again is the same money.
    pub reference: &'a str,
    /// The firm's date on which it came; now unless told.
    pub received_on: Option<NaiveDate>,
}

/// What recording it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaidExternally {
    /// It is on record: by this call, or by one before.
    Recorded(Arrived),
    /// The reference is that of other money, on this invoice or another.
    ReferenceTaken,
    /// The invoice takes no money. The code says why.
    Refused(&'static str),
}

/// Money on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The payment.
    pub payment: PaymentId,
    /// By this call.
    pub is_new: bool,
    /// What was more than was open: the client's credit.
    pub unapplied: Option<Unapplied>,
    /// What is open by now.
    pub open: Money,
    /// The invoice had been written off, and is open again.
    pub reopened: bool,
}

/// Records money that came by other means. What it pays in full is no longer collected; of what it pays in part the rest is,
/// as the next attempt asks for what is open.
///
/// # Errors
/// When the database is away, or the invoice is not this firm's.
pub async fn pay_externally(
    conn: &mut PgConnection,
    firm: FirmId,
    new: &External<'_>,
    by: &By<'_>,
) -> Result<PaidExternally> {
    let standing = lock(conn, firm, new.invoice).await?;
    if let Some(reason) = refuse_payment(standing.facts.state) {
        return Ok(PaidExternally::Refused(reason));
    }
    let known = sqlx::query!(
        "select id, invoice_id, amount_minor from payments where firm_id = $1 and method = 'external' and external_ref = $2",
        firm.0,
        new.reference
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(known) = known {
        if known.invoice_id != Some(new.invoice.0) || known.amount_minor != new.amount.minor() {
            return Ok(PaidExternally::ReferenceTaken);
        }
        let payment = PaymentId(known.id);
        return Ok(PaidExternally::Recorded(Arrived {
            payment,
            is_new: false,
            unapplied: payments::unapplied(conn, firm, payment).await?,
            open: standing.facts.open,
            reopened: false,
        }));
    }
    let reopened = reopen_for_money(conn, firm, new.invoice, by).await?;
    let payment = PaymentId::new();
    let inserted = sqlx::query!(
        "insert into payments (firm_id, id, client_id, invoice_id, method, external_ref, amount_minor, currency, received_at, recorded_at, cause)
         select $1, $2, $3, $4, 'external', $5, $6, $7::text, coalesce($8::date::timestamp at time zone f.timezone, $9), $9, $10
         from firms f where f.id = $1
         on conflict (firm_id, method, external_ref) do nothing",
        firm.0,
        payment.0,
        standing.client.0,
        new.invoice.0,
        new.reference,
        new.amount.minor(),
        new.amount.currency().as_str(),
        new.received_on,
        by.at,
        by.cause.to_string(),
    )
    .execute(&mut *conn)
    .await
    .map_err(Error::from)?;
    // Recorded on another invoice this very moment.
    if inserted.rows_affected() == 0 {
        return Ok(PaidExternally::ReferenceTaken);
    }
    let meta = json!({"payment": payment, "method": "external", "amount_minor": new.amount.minor(),
                      "currency": new.amount.currency().as_str(), "received_on": new.received_on});
    audit::record(
        conn,
        firm,
        by.at,
        &by.entry("payment.succeeded", "invoice", new.invoice.0, meta),
    )
    .await?;
    let unapplied = payments::tell_unapplied(conn, firm, payment, by).await?;
    let open = super::read(conn, firm, new.invoice).await?.facts.open;
    if !open.is_positive() {
        stop_collection(conn, firm, new.invoice, "paid_otherwise", by).await?;
    }
    if standing.facts.state == DocState::VoidRequested {
        settle_void(conn, firm, new.invoice, by).await?;
    }
    Ok(PaidExternally::Recorded(Arrived {
        payment,
        is_new: true,
        unapplied,
        open,
        reopened,
    }))
}

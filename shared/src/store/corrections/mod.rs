//! What a person corrects on an issued invoice: it is voided, written off, or paid by other means. Each may come while a
//! card is being charged, so each begins by locking the invoice and looking at what is under way ([`lock`]), and stops what
//! can be stopped ([`stop_collection`]). The decisions are in [`crate::domain::document`].
mod external;
mod void;
mod write_off;

use serde_json::json;
use sqlx::PgConnection;

use super::{
    audit::By,
    cycles,
    decisions::{self, Decision},
    error::{Error, Result},
    jobs::{self, NewJob, Queue},
    payments,
};
use crate::{
    currency::Currency,
    domain::{document::Facts, predicate::Predicate},
    ids::{ClientId, CycleId, FirmId, InvoiceId},
    money::Money,
};

pub use external::{Arrived, External, PaidExternally, pay_externally};
pub use void::{request_void, settle_void};
pub use write_off::{reopen_for_money, write_off};

/// An invoice as a correction finds it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which.
    pub invoice: InvoiceId,
    /// Whose.
    pub client: ClientId,
    /// Its number, or its id while it has none.
    pub label: String,
    /// What decides.
    pub facts: Facts,
}

/// Locks an invoice and reads how it stands.
///
/// # Errors
/// When the database is away, or the invoice is not this firm's.
pub async fn lock(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Standing> {
    // A statement of its own: the next one sees what was committed before the lock was given.
    payments::lock_invoice(conn, firm, invoice).await?;
    read(conn, firm, invoice).await
}

/// Reads how an invoice stands, for a caller who holds it locked or only wants to know.
///
/// # Errors
/// When the database is away, or the invoice is not this firm's.
pub async fn read(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Standing> {
    let row = sqlx::query!(
        r#"select i.client_id, coalesce(i.number, i.id::text) as "label!", i.doc_state, i.currency::text as "currency!",
                  i.rebills_dispute_id is not null as "rebills!", s.open_minor as "open!", s.disputed_minor > 0 as "disputed!",
                  exists (select 1 from payments p where p.firm_id = i.firm_id and p.invoice_id = i.id) as "was_paid!",
                  exists (select 1 from collection_cycles c join payment_attempts a on a.firm_id = c.firm_id and a.cycle_id = c.id
                           where c.firm_id = i.firm_id and c.invoice_id = i.id
                             and a.state in ('sent', 'processing', 'action_required', 'unknown')) as "under_way!",
                  exists (select 1 from collection_cycles c
                           where c.firm_id = i.firm_id and c.invoice_id = i.id and c.stripe_payment_intent_id is not null
                             and c.intent_closed_at is null) as "intent_open!"
           from invoices i join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           where i.firm_id = $1 and i.id = $2"#,
        firm.0,
        invoice.0
    )
    .fetch_one(conn)
    .await?;
    let corrupt = |what: String| Error::Other(sqlx::Error::Decode(what.into()));
    let currency = Currency::parse(&row.currency).map_err(|e| corrupt(e.to_string()))?;
    Ok(Standing {
        invoice,
        client: ClientId(row.client_id),
        label: row.label,
        facts: Facts {
            state: row
                .doc_state
                .parse()
                .map_err(|e: crate::domain::words::UnknownWord| corrupt(e.to_string()))?,
            open: Money::new(row.open, currency),
            was_paid: row.was_paid,
            open_chargeback: row.disputed,
            rebills_dispute: row.rebills,
            charge_under_way: row.under_way,
            intent_open: row.intent_open,
        },
    })
}

/// Stops collecting a locked invoice: its live cycle is given up, what was only written down is taken back, and everything at
/// Stripe that could still capture money for it is canceled there. What was sent already keeps its row until its end is
/// known.
///
/// # Errors
/// When the database is away.
pub async fn stop_collection(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reason: &'static str,
    by: &By<'_>,
) -> Result<()> {
    let live = sqlx::query_scalar!(
        "select id from collection_cycles
         where firm_id = $1 and invoice_id = $2 and state not in ('succeeded', 'exhausted', 'canceled')",
        firm.0,
        invoice.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(id) = live
        && let Some(cycle) = cycles::lock(conn, firm, CycleId(id)).await?
    {
        cycles::cancel(conn, firm, &cycle, by.at, reason, by.cause).await?;
    }
    cancel_open_intents(conn, firm, invoice, by).await
}

/// Enqueues the cancellation of every intent of an ended cycle that may still be open at Stripe, where no unfinished job sees
/// to it: a cycle that ran out of steps leaves its intent open, and an earlier cancellation may have been discarded.
async fn cancel_open_intents(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    by: &By<'_>,
) -> Result<()> {
    let open = sqlx::query!(
        r#"with open as (
             select c.id, cl.stripe_customer_id, cl.id as client_id,
                    coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id) as order_key
               from collection_cycles c
               join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
               join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
              where c.firm_id = $1 and c.invoice_id = $2 and c.state in ('canceled', 'exhausted')
                and c.stripe_payment_intent_id is not null and c.intent_closed_at is null)
           select id as "id!", stripe_customer_id as "customer?", client_id as "client!" from open
            where not exists (select 1 from jobs j where j.order_key = open.order_key and j.kind = $3
                                 and j.payload ->> 'cycle_id' = open.id::text and j.state in ('available', 'retryable', 'running'))
            order by id"#,
        firm.0,
        invoice.0,
        cycles::CANCEL_INTENT
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in open {
        let job = NewJob::new(
            Queue::Charges,
            cycles::CANCEL_INTENT,
            format!("{}:{}", row.id, by.cause.id),
            json!({"cycle_id": row.id}),
            by.at,
        )
        .firm(firm)
        .at_most(cycles::CANCELLATIONS)
        .in_order_of(cycles::order_key(row.customer.as_deref(), ClientId(row.client)));
        jobs::enqueue(conn, &job).await?;
    }
    Ok(())
}

/// Whether a cancellation at Stripe that a correction of this invoice waits for was given up: a person must look.
///
/// # Errors
/// When the database is away.
pub async fn failed_cancellation(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
) -> Result<Option<String>> {
    Ok(sqlx::query_scalar!(
        r#"select coalesce(j.last_error, 'no reason recorded') as "why!"
           from collection_cycles c
           join lateral (select state, last_error from jobs
                          where kind = $3 and firm_id = c.firm_id and payload ->> 'cycle_id' = c.id::text
                          order by seq desc limit 1) j on true
           where c.firm_id = $1 and c.invoice_id = $2 and c.intent_closed_at is null and j.state = 'discarded' limit 1"#,
        firm.0,
        invoice.0,
        cycles::CANCEL_INTENT
    )
    .fetch_optional(conn)
    .await?)
}

async fn record_decision(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    kind: &str,
    (outcome, reason_code): (&str, &str),
    checks: &[Predicate],
    by: &By<'_>,
) -> Result<()> {
    let decision = Decision {
        subject_kind: "invoice",
        subject: invoice.0,
        kind,
        outcome,
        reason_code,
        predicates: json!(checks),
        cause: by.cause,
    };
    decisions::record(conn, firm, by.at, &decision).await
}

async fn set_state(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId, state: &str) -> Result<()> {
    let done = sqlx::query!(
        "update invoices set doc_state = $3 where firm_id = $1 and id = $2",
        firm.0,
        invoice.0,
        state
    )
    .execute(conn)
    .await?;
    super::error::one_row("move an invoice's document on", done.rows_affected())
}

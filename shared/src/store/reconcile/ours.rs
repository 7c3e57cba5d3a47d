//! What we have that Stripe should know: read in pages, in order of Stripe's ids, so that nothing is kept whole in memory.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::words::word_enum,
    ids::{CycleId, FirmId},
    store::error::Result,
};

word_enum!(
    /// What of ours stands for an object of Stripe's.
    What, "record":
    /// A payment: a charge.
    Charge = "charge",
    /// A refund to a card.
    Refund = "refund",
    /// A dispute.
    Dispute = "dispute",
    /// What Stripe kept of a payment: a balance transaction.
    Fee = "fee",
    /// A movement of a dispute: a balance transaction.
    Movement = "movement",
);

/// Something recorded that names an object of Stripe's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Stripe's id; where the next page begins.
    pub stripe_id: String,
    /// What it is about, for people.
    pub subject: String,
    /// Our row, or what stands for it.
    pub our_id: String,
    /// How much.
    pub amount_minor: i64,
    /// Lower-case code.
    pub currency: String,
    /// Its state, where it has one.
    pub state: Option<String>,
    /// When it was recorded, or made.
    pub at: DateTime<Utc>,
}

/// The next `most` records after `after` that were made in a time, or have not ended: those may still change at Stripe.
///
/// # Errors
/// When the database is away.
pub async fn recorded(
    conn: &mut PgConnection,
    firm: FirmId,
    what: What,
    (since, until): (DateTime<Utc>, DateTime<Utc>),
    after: &str,
    most: i64,
) -> Result<Vec<Recorded>> {
    Ok(sqlx::query_as!(
        Recorded,
        r#"with row as (
             (select p.stripe_charge_id as stripe_id, p.id as payment_id, p.id::text as our_id, p.amount_minor, p.currency::text as currency,
                     null as state, p.received_at as at
                from payments p
               where $2 = 'charge' and p.firm_id = $1 and p.stripe_charge_id > $5 and p.received_at >= $3 and p.received_at < $4
               order by p.stripe_charge_id limit $6)
             union all
             (select r.stripe_refund_id, r.payment_id, r.id::text, r.amount_minor, r.currency::text, r.state, r.created_at
                from refunds r
               where $2 = 'refund' and r.firm_id = $1 and r.stripe_refund_id > $5
                 and (r.created_at >= $3 or r.state in ('requested', 'pending')) and r.created_at < $4
               order by r.stripe_refund_id limit $6)
             union all
             (select d.stripe_dispute_id, d.payment_id, d.id::text, d.amount_minor, d.currency::text, d.stripe_status, d.opened_at
                from disputes d
               where $2 = 'dispute' and d.firm_id = $1 and d.stripe_dispute_id > $5
                 and (d.opened_at >= $3 or d.outcome is null) and d.opened_at < $4
               order by d.stripe_dispute_id limit $6)
             union all
             (select f.stripe_balance_transaction_id, f.payment_id, f.payment_id::text, f.amount_minor, f.currency::text, 'fee', f.at
                from processor_fees f
               where $2 = 'fee' and f.firm_id = $1 and f.stripe_balance_transaction_id > $5 and f.at >= $3 and f.at < $4
               order by f.stripe_balance_transaction_id limit $6)
             union all
             (select distinct on (m.stripe_balance_transaction_id) m.stripe_balance_transaction_id, d.payment_id, d.id::text,
                     m.amount_minor, m.currency::text, m.kind, m.at
                from dispute_movements m join disputes d on d.firm_id = m.firm_id and d.id = m.dispute_id
               where $2 = 'movement' and m.firm_id = $1 and m.stripe_balance_transaction_id > $5 and m.at >= $3 and m.at < $4
               order by m.stripe_balance_transaction_id, m.kind desc limit $6))
           select row.stripe_id as "stripe_id!", coalesce('invoice ' || coalesce(i.number, i.id::text), 'payment ' || p.id) as "subject!",
                  row.our_id as "our_id!", row.amount_minor as "amount_minor!", row.currency as "currency!", row.state, row.at as "at!"
             from row
             join payments p on p.firm_id = $1 and p.id = row.payment_id
             left join invoices i on i.firm_id = $1 and i.id = p.invoice_id
            order by row.stripe_id"#,
        firm.0,
        what.as_str(),
        since,
        until,
        after,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// A cycle that has not ended, with its PaymentIntent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCycle {
    /// Which.
    pub id: CycleId,
    /// `pi_…`
    pub intent: String,
    /// What it collects, for people.
    pub subject: String,
    /// Since when its open attempt has been under way, in business time.
    pub sent_at: Option<DateTime<Utc>>,
}

/// The next `most` open cycles after `after`.
///
/// # Errors
/// When the database is away.
pub async fn open_cycles(
    conn: &mut PgConnection,
    firm: FirmId,
    after: Option<CycleId>,
    most: i64,
) -> Result<Vec<OpenCycle>> {
    let rows = sqlx::query!(
        r#"select c.id, c.stripe_payment_intent_id as "intent!", coalesce(i.number, i.id::text) as "invoice!",
                  (select min(a.sent_at) from payment_attempts a
                    where a.firm_id = c.firm_id and a.cycle_id = c.id and a.state in ('sent', 'unknown')) as sent_at
             from collection_cycles c join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
            where c.firm_id = $1 and c.id > $2 and c.stripe_payment_intent_id is not null
              and c.state not in ('succeeded', 'exhausted', 'canceled')
            order by c.id limit $3"#,
        firm.0,
        after.map_or(Uuid::nil(), |id| id.0),
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| OpenCycle {
            id: CycleId(row.id),
            intent: row.intent,
            subject: format!("invoice {}", row.invoice),
            sent_at: row.sent_at,
        })
        .collect())
}

//! Invoices of the platform as Stripe has them: what a firm was asked to pay for its subscription.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    domain::platform::{InvoiceSeen, invoice::Observed},
    ids::{FirmId, PlatformInvoiceId},
    store::{
        error::{Result, one_row},
        routes::{self, Scope},
    },
};

/// An invoice as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlatformInvoice {
    /// Its id.
    pub id: PlatformInvoiceId,
    /// `in_…`
    pub stripe_invoice_id: String,
    /// Stripe's number for people.
    pub number: Option<String>,
    /// `DRAFT`, `OPEN`, `PAID`, `VOID`, `UNCOLLECTIBLE`.
    pub status: String,
    /// Lower-case code.
    pub currency: String,
    /// Minor units.
    pub amount_due_minor: i64,
    /// Minor units.
    pub amount_paid_minor: i64,
    /// Minor units.
    pub amount_remaining_minor: i64,
    /// Why it was made.
    pub billing_reason: Option<String>,
    /// What it is for, from …
    pub period_start: Option<DateTime<Utc>>,
    /// … to.
    pub period_end: Option<DateTime<Utc>>,
    /// When it was finalized.
    pub issued_at: Option<DateTime<Utc>>,
    /// When it is due.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// How often Stripe tried.
    pub attempt_count: i32,
    /// When it tries again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Where it can be looked at and paid.
    pub hosted_invoice_url: Option<String>,
    /// The document.
    pub pdf_url: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Which invoices to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// With this status only, in our words (`PAID`).
    pub status: Option<&'a str>,
    /// Those listed after so many; for pages with numbers.
    pub offset: i64,
}

/// A page of a firm's invoices, the newest first, `most` of them, and how many there are on all pages.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    filter: &Filter<'_>,
    most: i64,
) -> Result<(Vec<PlatformInvoice>, i64)> {
    let rows = sqlx::query_as!(
        PlatformInvoice,
        r#"select id as "id: PlatformInvoiceId", stripe_invoice_id, number, status as "status!", currency::text as "currency!",
                  amount_due_minor, amount_paid_minor, amount_remaining_minor, billing_reason, period_start, period_end, issued_at,
                  due_at, paid_at, attempt_count, next_attempt_at, hosted_invoice_url, pdf_url, created_at
             from platform_invoices where firm_id = $1 and ($2::text is null or status = $2)
            order by created_at desc, id desc limit $3 offset $4"#,
        firm.0,
        filter.status,
        most,
        filter.offset
    )
    .fetch_all(&mut *conn)
    .await?;
    let all = sqlx::query_scalar!(
        r#"select count(*) as "all!" from platform_invoices where firm_id = $1 and ($2::text is null or status = $2)"#,
        firm.0,
        filter.status
    )
    .fetch_one(conn)
    .await?;
    Ok((rows, all))
}

/// Sums over a firm's invoices in one currency. Drafts and void ones are in none of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lower-case code.
    pub currency: String,
    /// What was invoiced.
    pub total_minor: i64,
    /// What was paid of it.
    pub paid_minor: i64,
    /// What is still to be paid.
    pub outstanding_minor: i64,
}

/// The sums, by currency.
///
/// # Errors
/// When the database is away.
pub async fn summary(conn: &mut PgConnection, firm: FirmId) -> Result<Vec<Summary>> {
    Ok(sqlx::query_as!(
        Summary,
        r#"select currency::text as "currency!", sum(amount_due_minor)::bigint as "total_minor!", sum(amount_paid_minor)::bigint as "paid_minor!",
                  coalesce(sum(amount_remaining_minor) filter (where stripe_status = 'open'), 0)::bigint as "outstanding_minor!"
             from platform_invoices where firm_id = $1 and stripe_status not in ('draft', 'void') group by 1 order by 1"#,
        firm.0
    )
    .fetch_all(conn)
    .await?)
}

/// What writing a sighting down has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The row.
    pub id: PlatformInvoiceId,
    /// What the sighting was against what was recorded.
    pub observed: Observed,
}

/// Writes a sighting down, if it is further than what is recorded; its route, and those of the intents that it is paid with.
///
/// # Errors
/// When the database is away, or refuses.
pub async fn write(
    conn: &mut PgConnection,
    firm: FirmId,
    seen: &InvoiceSeen,
    payment_intents: &[String],
) -> Result<Written> {
    let there = lock(conn, firm, &seen.id).await?;
    let observed = seen.observe(there.as_ref().map(|(_, recorded)| recorded));
    let id = there.map_or_else(PlatformInvoiceId::new, |(id, _)| id);
    match observed {
        Observed::New => {
            insert(conn, firm, id, seen).await?;
            routes::record_for(
                conn,
                firm,
                Scope::PlatformBilling,
                "platform_invoice",
                &seen.id,
                id.0,
            )
            .await?;
        }
        Observed::Changed | Observed::Same => update(conn, firm, id, seen).await?,
        Observed::Stale => {}
    }
    for intent in payment_intents {
        routes::record_for(
            conn,
            firm,
            Scope::PlatformBilling,
            "platform_payment_intent",
            intent,
            id.0,
        )
        .await?;
    }
    Ok(Written { id, observed })
}

async fn lock(
    conn: &mut PgConnection,
    firm: FirmId,
    stripe_id: &str,
) -> Result<Option<(PlatformInvoiceId, InvoiceSeen)>> {
    let row = sqlx::query!(
        r#"select id, stripe_subscription_id, number, stripe_status, currency::text as "currency!", amount_due_minor, amount_paid_minor,
                  amount_remaining_minor, billing_reason, period_start, period_end, issued_at, due_at, paid_at, attempt_count,
                  next_attempt_at, hosted_invoice_url, pdf_url, created_at, fetched_at
             from platform_invoices where firm_id = $1 and stripe_invoice_id = $2 for update"#,
        firm.0,
        stripe_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| {
        let seen = InvoiceSeen {
            fetched_at: r.fetched_at,
            id: stripe_id.to_owned(),
            subscription: r.stripe_subscription_id,
            number: r.number,
            status: r.stripe_status,
            currency: r.currency,
            amount_due: r.amount_due_minor,
            amount_paid: r.amount_paid_minor,
            amount_remaining: r.amount_remaining_minor,
            billing_reason: r.billing_reason,
            period_start: r.period_start,
            period_end: r.period_end,
            issued_at: r.issued_at,
            due_at: r.due_at,
            paid_at: r.paid_at,
            attempt_count: r.attempt_count,
            next_attempt_at: r.next_attempt_at,
            hosted_url: r.hosted_invoice_url,
            pdf_url: r.pdf_url,
            created: r.created_at,
        };
        (PlatformInvoiceId(r.id), seen)
    }))
}

async fn insert(
    conn: &mut PgConnection,
    firm: FirmId,
    id: PlatformInvoiceId,
    seen: &InvoiceSeen,
) -> Result<()> {
    sqlx::query!(
        "insert into platform_invoices (firm_id, id, stripe_invoice_id, stripe_subscription_id, number, stripe_status, currency,
           amount_due_minor, amount_paid_minor, amount_remaining_minor, billing_reason, period_start, period_end, issued_at, due_at,
           paid_at, attempt_count, next_attempt_at, hosted_invoice_url, pdf_url, created_at, fetched_at)
         values ($1, $2, $3, $4, $5, $6, $7::text, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)",
        firm.0,
        id.0,
        seen.id,
        seen.subscription,
        seen.number,
        seen.status,
        seen.currency,
        seen.amount_due,
        seen.amount_paid,
        seen.amount_remaining,
        seen.billing_reason,
        seen.period_start,
        seen.period_end,
        seen.issued_at,
        seen.due_at,
        seen.paid_at,
        seen.attempt_count,
        seen.next_attempt_at,
        seen.hosted_url,
        seen.pdf_url,
        seen.created,
        seen.fetched_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn update(
    conn: &mut PgConnection,
    firm: FirmId,
    id: PlatformInvoiceId,
    seen: &InvoiceSeen,
) -> Result<()> {
    let done = sqlx::query!(
        "update platform_invoices set stripe_subscription_id = $3, number = $4, stripe_status = $5, amount_due_minor = $6,
           amount_paid_minor = $7, amount_remaining_minor = $8, billing_reason = $9, period_start = $10, period_end = $11,
           issued_at = $12, due_at = $13, paid_at = $14, attempt_count = $15, next_attempt_at = $16, hosted_invoice_url = $17,
           pdf_url = $18, fetched_at = greatest(fetched_at, $19)
         where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        seen.subscription,
        seen.number,
        seen.status,
        seen.amount_due,
        seen.amount_paid,
        seen.amount_remaining,
        seen.billing_reason,
        seen.period_start,
        seen.period_end,
        seen.issued_at,
        seen.due_at,
        seen.paid_at,
        seen.attempt_count,
        seen.next_attempt_at,
        seen.hosted_url,
        seen.pdf_url,
        seen.fetched_at,
    )
    .execute(conn)
    .await?;
    one_row("update an invoice of the platform", done.rows_affected())
}

/// The ids at Stripe of the firm's invoices that somebody still has to pay or to finalize.
///
/// # Errors
/// When the database is away.
pub async fn unsettled(conn: &mut PgConnection, firm: FirmId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        "select stripe_invoice_id from platform_invoices where firm_id = $1 and stripe_status not in ('paid', 'void')
          order by created_at desc limit 10",
        firm.0
    )
    .fetch_all(conn)
    .await?)
}

//! What we know that speaks for a disputed charge (R118): the terms, what was billed and approved, the client's consent to
//! automatic payment, what was tried and captured, and how often the client paid before. Metadata only: ids, amounts, codes
//! and times; no names and no content. What was delivered, and what was said, the firm adds itself.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    disputes::{self, DisputeView},
    error::Result,
    invoices_read::{self, InvoiceView},
};
use crate::ids::{FirmId, InvoiceId};

/// Everything that we know about a disputed charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// The dispute.
    pub dispute: DisputeView,
    /// The terms that the invoice is based on.
    pub engagement: Option<Terms>,
    /// The invoice with its lines, attempts, payments and refunds.
    pub invoice: Option<InvoiceView>,
    /// The hours on it, with their approvals.
    pub time: Vec<Hours>,
    /// When the client's automatic payment was switched on, and cards were attached.
    pub authorization: Vec<Event>,
    /// Everything that happened to the invoice.
    pub timeline: Vec<Event>,
    /// What the client paid before.
    pub history: History,
}

/// The terms agreed with the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Terms {
    /// `external_id`, or the UUID where there is none.
    pub label: String,
    /// How it is billed.
    pub pricing_mode: String,
    /// Per period.
    pub package_fee_minor: Option<i64>,
    /// How often.
    pub cadence: Option<String>,
    /// Per hour.
    pub hourly_rate_minor: Option<i64>,
    /// In which currency.
    pub currency: String,
    /// Which version of the terms.
    pub version: i32,
    /// When they were signed.
    pub signed_at: Option<DateTime<Utc>>,
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after.
    pub ends_on: Option<NaiveDate>,
}

/// Time on the invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hours {
    /// The day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// Per hour.
    pub rate_minor: Option<i64>,
    /// When the firm approved it.
    pub approved_at: Option<DateTime<Utc>>,
    /// When the client did.
    pub client_approved_at: Option<DateTime<Utc>>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub action: String,
    /// Who, by kind: `user`, `operator`, `system`, `stripe`.
    pub actor: String,
}

/// What a client paid before the disputed payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct History {
    /// Payments by card.
    pub payments: i64,
    /// Those with the card of the disputed charge.
    pub payments_with_this_card: i64,
    /// Those that were disputed.
    pub disputed: i64,
    /// The first of them.
    pub first_at: Option<DateTime<Utc>>,
}

/// Collects it; `None` when this firm has no dispute with this id.
///
/// # Errors
/// When the database is away.
pub async fn collect(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<Evidence>> {
    let Some(dispute) = disputes::show(conn, firm, id).await? else {
        return Ok(None);
    };
    let of = sqlx::query!(
        r#"select p.id as payment, p.client_id, p.received_at, i.id as "invoice?", i.engagement_id
             from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
             left join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
            where d.firm_id = $1 and d.id = $2"#,
        firm.0,
        id
    )
    .fetch_one(&mut *conn)
    .await?;
    let engagement = sqlx::query_as!(
        Terms,
        r#"select coalesce(external_id, id::text) as "label!", pricing_mode, package_fee_minor, cadence, hourly_rate_minor,
                  currency::text as "currency!", version, signed_at, starts_on, ends_on
             from engagements where firm_id = $1 and id = $2"#,
        firm.0,
        of.engagement_id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let time = sqlx::query_as!(
        Hours,
        "select t.worked_on, t.minutes, l.rate_minor, t.approved_at, t.client_approved_at
           from invoice_lines l join time_entries t on t.firm_id = l.firm_id and t.id = l.time_entry_id
          where l.firm_id = $1 and l.invoice_id = $2 order by l.line_no",
        firm.0,
        of.invoice
    )
    .fetch_all(&mut *conn)
    .await?;
    let consent = [
        "autopay.enabled",
        "autopay.disabled",
        "payment_method.attached",
        "payment_method.updated",
    ];
    let invoice = match of.invoice {
        Some(invoice) => invoices_read::show(conn, firm, InvoiceId(invoice)).await?,
        None => None,
    };
    Ok(Some(Evidence {
        dispute,
        engagement,
        invoice,
        time,
        authorization: events(conn, firm, of.client_id, Some(&consent)).await?,
        timeline: match of.invoice {
            Some(invoice) => events(conn, firm, invoice, None).await?,
            None => Vec::new(),
        },
        history: history(conn, firm, of.payment).await?,
    }))
}

/// What the audit has of a subject, all of it or these actions only.
async fn events(
    conn: &mut PgConnection,
    firm: FirmId,
    subject: Uuid,
    actions: Option<&[&str]>,
) -> Result<Vec<Event>> {
    let actions: Option<Vec<String>> = actions.map(|all| all.iter().map(|&one| one.to_owned()).collect());
    Ok(sqlx::query_as!(
        Event,
        "select at, action, actor_kind as actor from audit_events
          where firm_id = $1 and subject_id = $2 and ($3::text[] is null or action = any($3)) order by id",
        firm.0,
        subject,
        actions.as_deref()
    )
    .fetch_all(conn)
    .await?)
}

async fn history(conn: &mut PgConnection, firm: FirmId, payment: Uuid) -> Result<History> {
    Ok(sqlx::query_as!(
        History,
        r#"with disputed as (
             select p.client_id, p.received_at, a.payment_method_id from payments p
             left join payment_attempts a on a.firm_id = p.firm_id and a.stripe_charge_id = p.stripe_charge_id
             where p.firm_id = $1 and p.id = $2)
           select count(*) as "payments!", count(*) filter (where a.payment_method_id = d.payment_method_id) as "payments_with_this_card!",
                  count(*) filter (where exists (select 1 from disputes x where x.firm_id = p.firm_id and x.payment_id = p.id)) as "disputed!",
                  min(p.received_at) as first_at
             from disputed d
             join payments p on p.firm_id = $1 and p.client_id = d.client_id and p.method = 'stripe' and p.id <> $2
                            and p.received_at <= d.received_at
             left join payment_attempts a on a.firm_id = p.firm_id and a.stripe_charge_id = p.stripe_charge_id"#,
        firm.0,
        payment
    )
    .fetch_one(conn)
    .await?)
}

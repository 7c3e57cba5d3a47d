//! Refunds: those that we order, and those that Stripe tells of. One row each, whoever heard of it first.
//!
//! A refund that we order has its row before anything is sent; its id is the idempotency key and goes along as metadata, by
//! which what comes back finds the row. Lock order: the invoice first, always.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, By},
    credits::{self, NewLot},
    cycles,
    error::{Error, Result, one_row},
    jobs::{self, NewJob, Queue},
    routes,
};
use crate::{
    currency::Currency,
    domain::{
        credit::Source,
        refund::{Destination, Part, RefundState, Refundable},
    },
    ids::{ClientId, FirmId, InvoiceId, JobId, PaymentId, RefundId},
    money::Money,
};

/// Job kind that gives money back to a card. Payload: `{"refund_id"}`.
pub const REFUND: &str = "refund_payment";

/// Failed tries to reach Stripe about one refund before a person is asked; looking it up in vain is no failure.
const TRIES: i32 = 1000;

/// What was paid on an invoice, with the invoice locked.
#[derive(Clone, Debug)]
pub struct Paid {
    /// The invoice.
    pub invoice: InvoiceId,
    /// Whose.
    pub client: ClientId,
    /// Currency of the invoice.
    pub currency: Currency,
    /// It is issued or written off: no draft, not void, not being voided.
    pub issued: bool,
    /// A chargeback on one of its payments is open.
    pub chargeback_open: bool,
    /// Its payments, the newest first, and what is left of each.
    pub payments: Vec<Refundable>,
    customer: Option<String>,
}

fn currency(word: &str) -> Result<Currency> {
    Currency::parse(word).map_err(|e| corrupt(&e))
}

fn corrupt(fault: &impl std::fmt::Display) -> Error {
    Error::Other(sqlx::Error::Decode(fault.to_string().into()))
}

/// Locks an invoice and reads what decides whether it can be refunded. `None` when this firm has no such invoice.
///
/// # Errors
/// When the database is away.
pub async fn lock_paid(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Option<Paid>> {
    let Some(row) = sqlx::query!(
        r#"select i.client_id, i.currency::text as "currency!", i.doc_state, c.stripe_customer_id
           from invoices i join clients c on c.firm_id = i.firm_id and c.id = i.client_id
           where i.firm_id = $1 and i.id = $2 for update of i"#,
        firm.0,
        invoice.0
    )
    .fetch_optional(&mut *conn)
    .await?
    else {
        return Ok(None);
    };
    // The same sums as in the guard of the table; a statement of its own, so that it sees what others did until the lock was ours.
    let rows = sqlx::query!(
        r#"select p.id, p.method, p.currency::text as "currency!",
                  exists (select 1 from disputes d where d.firm_id = p.firm_id and d.payment_id = p.id and d.kind = 'chargeback'
                            and d.outcome is null) as "chargeback_open!",
                  (p.amount_minor
                   - coalesce((select sum(r.amount_minor) from refunds r where r.firm_id = p.firm_id and r.payment_id = p.id
                                  and r.state not in ('failed', 'canceled')), 0)
                   - coalesce((select sum(d.amount_minor) from disputes d where d.firm_id = p.firm_id and d.payment_id = p.id
                                  and d.kind = 'chargeback' and (d.outcome is null or d.outcome = 'lost')), 0)
                   - coalesce((select sum(l.amount_minor) from credit_lots l where l.firm_id = p.firm_id and l.payment_id = p.id), 0)
                  )::bigint as "left!"
           from payments p where p.firm_id = $1 and p.invoice_id = $2 order by p.received_at desc, p.id desc"#,
        firm.0,
        invoice.0
    )
    .fetch_all(conn)
    .await?;
    let payments = rows
        .iter()
        .map(|p| {
            Ok(Refundable {
                payment: PaymentId(p.id),
                by_card: p.method == "stripe",
                left: Money::new(p.left, currency(&p.currency)?),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Some(Paid {
        invoice,
        client: ClientId(row.client_id),
        currency: currency(&row.currency)?,
        issued: matches!(row.doc_state.as_str(), "issued" | "written_off"),
        chargeback_open: rows.iter().any(|p| p.chargeback_open),
        payments,
        customer: row.stripe_customer_id,
    }))
}

/// Writes a refund down that nothing was sent for yet, or that needs nothing to be sent.
async fn insert(
    conn: &mut PgConnection,
    firm: FirmId,
    part: &Part,
    (to, state): (Destination, RefundState),
    reason: &str,
    by: &By<'_>,
) -> Result<RefundId> {
    let id = RefundId::new();
    sqlx::query!(
        "insert into refunds (firm_id, id, payment_id, amount_minor, currency, destination, state, reason, requested_by, created_at)
         values ($1, $2, $3, $4, $5::text, $6, $7, $8, $9, $10)",
        firm.0,
        id.0,
        part.payment.0,
        part.amount.minor(),
        part.amount.currency().as_str(),
        to.as_str(),
        state.as_str(),
        reason,
        by.actor.id(),
        by.at,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

fn meta(id: RefundId, part: &Part, to: Destination) -> serde_json::Value {
    json!({"refund": id, "payment": part.payment, "amount_minor": part.amount.minor(), "currency": part.amount.currency(),
           "to": to})
}

/// Orders money back to a card: the row, and the job that asks Stripe.
///
/// # Errors
/// When the database is away, or refuses: no more than is left, nothing while a chargeback is open.
pub async fn order_to_card(
    conn: &mut PgConnection,
    firm: FirmId,
    paid: &Paid,
    part: &Part,
    reason: &str,
    by: &By<'_>,
) -> Result<(RefundId, JobId)> {
    let to = (Destination::Card, RefundState::Requested);
    let id = insert(conn, firm, part, to, reason, by).await?;
    let entry = by.entry(
        "refund.requested",
        "invoice",
        paid.invoice.0,
        meta(id, part, to.0),
    );
    audit::record(conn, firm, by.at, &entry).await?;
    let job = NewJob::new(
        Queue::Charges,
        REFUND,
        id.to_string(),
        json!({"refund_id": id}),
        by.at,
    )
    .firm(firm)
    .at_most(TRIES)
    .in_order_of(cycles::order_key(paid.customer.as_deref(), paid.client));
    let job = jobs::enqueue(conn, &job).await?;
    // The key is the id of a row that did not exist a moment ago.
    let job = job.ok_or(Error::Lost {
        what: "enqueue a refund",
        changed: 0,
    })?;
    Ok((id, job))
}

/// Gives a payment back as credit: the refund and its lot, together.
///
/// # Errors
/// When the database is away, or refuses, as for a card.
pub async fn give_as_credit(
    conn: &mut PgConnection,
    firm: FirmId,
    paid: &Paid,
    part: &Part,
    reason: &str,
    by: &By<'_>,
) -> Result<RefundId> {
    let to = (Destination::Credit, RefundState::Succeeded);
    let id = insert(conn, firm, part, to, reason, by).await?;
    let lot = NewLot {
        client: paid.client,
        amount: part.amount,
        source: Source::RefundToCredit,
        reason,
        issued_by: by.actor.id(),
        approved_by: None,
        refund: Some(id),
        expires_on: None,
    };
    credits::issue(conn, firm, &lot, by).await?;
    let entry = by.entry(
        "refund.succeeded",
        "invoice",
        paid.invoice.0,
        meta(id, part, to.0),
    );
    audit::record(conn, firm, by.at, &entry).await?;
    Ok(id)
}

/// A refund that we ordered, with its invoice locked.
#[derive(Clone, Debug)]
pub struct Order {
    /// The refund.
    pub id: RefundId,
    /// What it gives back.
    pub part: Part,
    /// The charge that the money came by.
    pub charge: String,
    /// How far it is.
    pub state: RefundState,
    /// When Stripe may first have heard of it.
    pub sent_at: Option<DateTime<Utc>>,
    /// What was paid on the invoice; of its own payment as if the refund were not there.
    pub paid: Paid,
}

/// Locks the invoice of a refund to a card and reads the refund. `None` when this firm has no such refund.
///
/// # Errors
/// When the database is away.
pub async fn lock_order(conn: &mut PgConnection, firm: FirmId, id: RefundId) -> Result<Option<Order>> {
    let invoice = sqlx::query_scalar!(
        r#"select p.invoice_id as "invoice!" from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
           where r.firm_id = $1 and r.id = $2 and p.invoice_id is not null"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(invoice) = invoice else { return Ok(None) };
    let Some(mut paid) = lock_paid(conn, firm, InvoiceId(invoice)).await? else {
        return Ok(None);
    };
    let row = sqlx::query!(
        r#"select r.payment_id, r.amount_minor, r.currency::text as "currency!", r.state, r.sent_at, p.stripe_charge_id as "charge!"
           from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
           where r.firm_id = $1 and r.id = $2 and r.destination = 'card'"#,
        firm.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let part = Part {
        payment: PaymentId(row.payment_id),
        amount: Money::new(row.amount_minor, currency(&row.currency)?),
    };
    let state: RefundState = row.state.parse().map_err(|e| corrupt(&e))?;
    if let Some(own) = paid.payments.iter_mut().find(|p| p.payment == part.payment)
        && !state.is_final()
    {
        own.left = own.left.checked_add(part.amount).map_err(|e| corrupt(&e))?;
    }
    Ok(Some(Order {
        id,
        part,
        charge: row.charge,
        state,
        sent_at: row.sent_at,
        paid,
    }))
}

/// Marks a refund as about to be sent: from here on it is looked up before it is sent again.
///
/// # Errors
/// When the database is away, or it is marked already.
pub async fn mark_sent(conn: &mut PgConnection, firm: FirmId, id: RefundId) -> Result<()> {
    // The time of this statement and not of the transaction, which may have waited for the invoice.
    let done = sqlx::query!(
        "update refunds set sent_at = app.now() where firm_id = $1 and id = $2 and state = 'requested' and sent_at is null",
        firm.0,
        id.0
    )
    .execute(conn)
    .await?;
    one_row("mark refund sent", done.rows_affected())
}

/// Ends a refund that came to nothing at Stripe.
///
/// # Errors
/// When the database is away, or it has an outcome by now.
pub async fn end(
    conn: &mut PgConnection,
    firm: FirmId,
    id: RefundId,
    state: RefundState,
    code: &str,
) -> Result<()> {
    let done = sqlx::query!(
        "update refunds set state = $3, failure_code = $4 where firm_id = $1 and id = $2 and state = 'requested'",
        firm.0,
        id.0,
        state.as_str(),
        code
    )
    .execute(conn)
    .await?;
    one_row("end refund", done.rows_affected())
}

/// A refund as Stripe shows it.
#[derive(Clone, Debug)]
pub struct SeenRefund<'a> {
    /// `re_…`.
    pub stripe_id: &'a str,
    /// The row of ours that its metadata names: we ordered it.
    pub ordered: Option<RefundId>,
    /// Of which payment.
    pub payment: PaymentId,
    /// How much.
    pub amount: Money,
    /// Stripe's word for why, or empty.
    pub reason: &'a str,
    /// Why it failed.
    pub failure_code: Option<&'a str>,
}

/// A row that a refund of Stripe's already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub id: RefundId,
    /// How far it is.
    pub state: RefundState,
}

/// The row of a refund: the one with its Stripe id, or the one that ordered it and has no Stripe id yet. Call it with the
/// invoice locked.
///
/// # Errors
/// When the database is away.
pub async fn known(conn: &mut PgConnection, firm: FirmId, seen: &SeenRefund<'_>) -> Result<Option<Known>> {
    let row = sqlx::query!(
        "select id, state from refunds
         where firm_id = $1 and (stripe_refund_id = $2
            or (id = $3 and stripe_refund_id is null and state = 'requested' and payment_id = $4 and amount_minor = $5 and currency = $6::text))
         order by stripe_refund_id nulls last limit 1 for update",
        firm.0,
        seen.stripe_id,
        seen.ordered.map(|id| id.0),
        seen.payment.0,
        seen.amount.minor(),
        seen.amount.currency().as_str(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        Ok(Known {
            id: RefundId(r.id),
            state: r.state.parse().map_err(|e| corrupt(&e))?,
        })
    })
    .transpose()
}

/// Moves a known refund on, or records one that nobody ordered here. Returns its row.
///
/// # Errors
/// When the database is away or refuses the transition.
pub async fn save(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    known: Option<Known>,
    seen: &SeenRefund<'_>,
    state: RefundState,
) -> Result<RefundId> {
    let id = match known {
        Some(known) => {
            let done = sqlx::query!(
                "update refunds set state = $3, stripe_refund_id = $4, failure_code = coalesce($5, failure_code)
                 where firm_id = $1 and id = $2",
                firm.0,
                known.id.0,
                state.as_str(),
                seen.stripe_id,
                seen.failure_code,
            )
            .execute(&mut *conn)
            .await?;
            one_row("move refund on", done.rows_affected())?;
            known.id
        }
        None => {
            let id = RefundId::new();
            sqlx::query!(
                "insert into refunds (firm_id, id, payment_id, stripe_refund_id, amount_minor, currency, state, reason, failure_code, created_at)
                 values ($1, $2, $3, $4, $5, $6::text, $7, $8, $9, $10)",
                firm.0,
                id.0,
                seen.payment.0,
                seen.stripe_id,
                seen.amount.minor(),
                seen.amount.currency().as_str(),
                state.as_str(),
                seen.reason,
                seen.failure_code,
                now,
            )
            .execute(&mut *conn)
            .await?;
            id
        }
    };
    routes::record(conn, firm, "refund", seen.stripe_id, id.0).await?;
    Ok(id)
}

/// What was given back of a payment, or is on its way: for whoever has to answer a dispute about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GivenBack {
    /// Our row.
    pub refund: Uuid,
    /// Stripe's id of it.
    pub stripe_refund_id: Option<String>,
    /// `card` or `credit`.
    pub to: String,
    /// How far it is.
    pub state: String,
    /// How much.
    pub amount_minor: i64,
}

/// Refunds of a payment that took effect, or may yet.
///
/// # Errors
/// When the database is away.
pub async fn given_back(conn: &mut PgConnection, firm: FirmId, payment: PaymentId) -> Result<Vec<GivenBack>> {
    Ok(sqlx::query_as!(
        GivenBack,
        r#"select id as refund, stripe_refund_id, destination as "to", state, amount_minor from refunds
           where firm_id = $1 and payment_id = $2 and state not in ('failed', 'canceled') order by created_at, id"#,
        firm.0,
        payment.0
    )
    .fetch_all(conn)
    .await?)
}

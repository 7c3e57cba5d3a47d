//! Payments (append-only), disputes and what disputes did to the balance.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, By, Cause},
    corrections,
    error::{Error, Result, one_row},
    routes,
};
use crate::{
    currency::Currency,
    domain::collection::ProcessorFee,
    ids::{ClientId, FirmId, InvoiceId, PaymentId},
    money::Money,
};

/// Money that arrived through Stripe.
#[derive(Clone, Debug)]
pub struct NewPayment<'a> {
    /// Whose.
    pub client: ClientId,
    /// For which invoice.
    pub invoice: InvoiceId,
    /// Its PaymentIntent.
    pub intent: &'a str,
    /// Its charge: the key that makes it count once.
    pub charge: &'a str,
    /// How much.
    pub amount: Money,
}

/// Records a payment once, on an invoice that the caller holds locked; one that was written off is opened again first.
/// `None` when its charge is recorded already.
///
/// # Errors
/// When the database is away.
pub async fn record(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    new: &NewPayment<'_>,
    cause: &Cause,
) -> Result<Option<PaymentId>> {
    if by_charge(conn, firm, new.charge).await?.is_some() {
        return Ok(None);
    }
    let by = By {
        actor: &cause.actor(),
        cause,
        at: now,
    };
    corrections::reopen_for_money(conn, firm, new.invoice, &by).await?;
    let id = PaymentId::new();
    let done = sqlx::query!(
        "insert into payments (firm_id, id, client_id, invoice_id, method, stripe_payment_intent_id, stripe_charge_id, amount_minor,
                               currency, received_at, recorded_at, cause)
         values ($1, $2, $3, $4, 'stripe', $5, $6, $7, $8::text, $9, $9, $10) on conflict (stripe_charge_id) do nothing",
        firm.0,
        id.0,
        new.client.0,
        new.invoice.0,
        new.intent,
        new.charge,
        new.amount.minor(),
        new.amount.currency().as_str(),
        now,
        cause.to_string(),
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    routes::record(conn, firm, "charge", new.charge, id.0).await?;
    Ok(Some(id))
}

/// Records what Stripe kept of a payment, once. `false` when it is recorded already, or the charge is no payment of ours.
///
/// # Errors
/// When the database is away.
pub async fn record_fee(
    conn: &mut PgConnection,
    firm: FirmId,
    charge: &str,
    fee: &ProcessorFee,
) -> Result<bool> {
    let done = sqlx::query!(
        "insert into processor_fees (firm_id, stripe_balance_transaction_id, payment_id, amount_minor, currency, at)
         select p.firm_id, $3, p.id, $4, $5::text, $6 from payments p where p.firm_id = $1 and p.stripe_charge_id = $2
         on conflict (stripe_balance_transaction_id) do nothing",
        firm.0,
        charge,
        fee.balance_transaction,
        fee.amount_minor,
        fee.currency,
        fee.at,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What of a payment was more than was open on its invoice: the client's credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unapplied {
    /// The credit.
    pub lot: Uuid,
    /// How much.
    pub amount: Money,
    /// `overpayment`, or `payment_unapplied` where the invoice took no money any more.
    pub source: String,
}

/// What of a payment became credit.
///
/// # Errors
/// When the database is away.
pub async fn unapplied(
    conn: &mut PgConnection,
    firm: FirmId,
    payment: PaymentId,
) -> Result<Option<Unapplied>> {
    let row = sqlx::query!(
        r#"select id, amount_minor, currency::text as "currency!", source from credit_lots where firm_id = $1 and payment_id = $2"#,
        firm.0,
        payment.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        Ok(Unapplied {
            lot: r.id,
            amount: Money::new(r.amount_minor, currency(&r.currency)?),
            source: r.source,
        })
    })
    .transpose()
}

/// As [`unapplied`], of a payment just recorded: writes into the audit that credit was issued.
///
/// # Errors
/// When the database is away.
pub async fn tell_unapplied(
    conn: &mut PgConnection,
    firm: FirmId,
    payment: PaymentId,
    by: &By<'_>,
) -> Result<Option<Unapplied>> {
    let unapplied = unapplied(conn, firm, payment).await?;
    if let Some(credit) = &unapplied {
        let meta = json!({"source": credit.source, "payment": payment, "amount_minor": credit.amount.minor(),
                          "currency": credit.amount.currency().as_str()});
        audit::record(
            conn,
            firm,
            by.at,
            &by.entry("credit.issued", "credit_lot", credit.lot, meta),
        )
        .await?;
    }
    Ok(unapplied)
}

fn currency(word: &str) -> Result<Currency> {
    Currency::parse(word).map_err(|e| Error::Other(sqlx::Error::Decode(e.to_string().into())))
}

/// A payment that a refund or dispute refers to.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// Its invoice.
    pub invoice: Option<InvoiceId>,
    /// How much.
    pub amount: Money,
}

/// The payment of a charge.
///
/// # Errors
/// When the database is away.
pub async fn by_charge(conn: &mut PgConnection, firm: FirmId, charge: &str) -> Result<Option<Payment>> {
    let row = sqlx::query!(
        r#"select id, invoice_id, amount_minor, currency::text as "currency!" from payments
           where firm_id = $1 and stripe_charge_id = $2"#,
        firm.0,
        charge
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        Ok(Payment {
            id: PaymentId(r.id),
            invoice: r.invoice_id.map(InvoiceId),
            amount: Money::new(r.amount_minor, currency(&r.currency)?),
        })
    })
    .transpose()
}

/// A dispute as stored, locked.
#[derive(Clone, Debug)]
pub struct StoredDispute {
    /// Its id.
    pub id: Uuid,
    /// Stripe's word.
    pub status: String,
    /// `inquiry` or `chargeback`.
    pub kind: String,
    /// Set when it is over.
    pub outcome: Option<String>,
}

/// The dispute with this Stripe id, locked.
///
/// # Errors
/// When the database is away.
pub async fn lock_dispute(
    conn: &mut PgConnection,
    firm: FirmId,
    stripe_id: &str,
) -> Result<Option<StoredDispute>> {
    Ok(sqlx::query_as!(
        StoredDispute,
        "select id, stripe_status as status, kind, outcome from disputes where firm_id = $1 and stripe_dispute_id = $2 for update",
        firm.0,
        stripe_id
    )
    .fetch_optional(conn)
    .await?)
}

/// A dispute's row to be.
#[derive(Clone, Debug)]
pub struct DisputeRow<'a> {
    /// `dp_…` (or `du_…`).
    pub stripe_id: &'a str,
    /// Of which payment.
    pub payment: PaymentId,
    /// Stripe's word.
    pub status: &'a str,
    /// `inquiry` or `chargeback`.
    pub kind: &'a str,
    /// Stripe's reason.
    pub reason: Option<&'a str>,
    /// The network's.
    pub network_reason_code: Option<&'a str>,
    /// How much is disputed.
    pub amount: Money,
    /// When it was opened at Stripe.
    pub opened_at: DateTime<Utc>,
    /// When evidence is due.
    pub respond_by: Option<DateTime<Utc>>,
    /// `won`, `lost` …, when over.
    pub outcome: Option<&'a str>,
}

/// Inserts a dispute, or moves a known one on. Returns its id.
///
/// # Errors
/// When the database is away or refuses the transition.
pub async fn upsert_dispute(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    row: &DisputeRow<'_>,
) -> Result<Uuid> {
    let id = sqlx::query_scalar!(
        "insert into disputes (firm_id, id, payment_id, stripe_dispute_id, stripe_status, kind, reason, network_reason_code, amount_minor,
                               currency, opened_at, respond_by, outcome, closed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text, $11, $12, $13, case when $13::text is null then null else $14::timestamptz end)
         on conflict (stripe_dispute_id) do update set stripe_status = excluded.stripe_status, kind = excluded.kind,
           reason = excluded.reason, network_reason_code = excluded.network_reason_code, amount_minor = excluded.amount_minor,
           respond_by = excluded.respond_by, outcome = excluded.outcome, closed_at = coalesce(disputes.closed_at, excluded.closed_at)
         returning id",
        firm.0,
        Uuid::now_v7(),
        row.payment.0,
        row.stripe_id,
        row.status,
        row.kind,
        row.reason,
        row.network_reason_code,
        row.amount.minor(),
        row.amount.currency().as_str(),
        row.opened_at,
        row.respond_by,
        row.outcome,
        now,
    )
    .fetch_one(&mut *conn)
    .await?;
    routes::record(conn, firm, "dispute", row.stripe_id, id).await?;
    Ok(id)
}

/// A balance transaction of a dispute.
#[derive(Clone, Debug)]
pub struct MovementRow<'a> {
    /// `txn_…`.
    pub balance_transaction: &'a str,
    /// `withdrawn`, `reinstated`, `fee`, `fee_refund`.
    pub kind: &'a str,
    /// Of which dispute.
    pub dispute: Uuid,
    /// Positive, in the settlement currency.
    pub amount: Money,
    /// When Stripe made it.
    pub at: DateTime<Utc>,
}

/// Records a movement once; `false` when it is recorded already.
///
/// # Errors
/// When the database is away.
pub async fn record_movement(conn: &mut PgConnection, firm: FirmId, row: &MovementRow<'_>) -> Result<bool> {
    let done = sqlx::query!(
        "insert into dispute_movements (firm_id, stripe_balance_transaction_id, kind, dispute_id, amount_minor, currency, at)
         values ($1, $2, $3, $4, $5, $6::text, $7) on conflict (stripe_balance_transaction_id, kind) do nothing",
        firm.0,
        row.balance_transaction,
        row.kind,
        row.dispute,
        row.amount.minor(),
        row.amount.currency().as_str(),
        row.at,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Fences an invoice from automatic charging. A fence that stands already keeps its reason.
///
/// # Errors
/// When the database is away.
pub async fn fence_invoice(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reason: &str,
) -> Result<()> {
    let done = sqlx::query!(
        "update invoices set fenced_reason = coalesce(fenced_reason, $3) where firm_id = $1 and id = $2",
        firm.0,
        invoice.0,
        reason
    )
    .execute(conn)
    .await?;
    one_row("fence invoice", done.rows_affected())
}

/// Lifts the fence that was put up for `reason`; another one stays. Returns whether there was one to lift.
///
/// # Errors
/// When the database is away.
pub async fn lift_fence(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reason: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "update invoices set fenced_reason = null where firm_id = $1 and id = $2 and fenced_reason = $3",
        firm.0,
        invoice.0,
        reason
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Locks an invoice: everything about its money is then still until the transaction ends.
///
/// # Errors
/// When the database is away or the invoice is not this firm's.
pub async fn lock_invoice(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<()> {
    sqlx::query_scalar!(
        "select id from invoices where firm_id = $1 and id = $2 for update",
        firm.0,
        invoice.0
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Whether a chargeback on one of the invoice's payments is open, or lost and nobody has decided what becomes of that.
///
/// # Errors
/// When the database is away.
pub async fn has_standing_chargeback(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
             where p.firm_id = $1 and p.invoice_id = $2 and d.kind = 'chargeback'
               and (d.outcome is null or (d.outcome = 'lost' and not exists (
                     select 1 from dispute_resolutions r where r.firm_id = d.firm_id and r.dispute_id = d.id)))) as "standing!""#,
        firm.0,
        invoice.0
    )
    .fetch_one(conn)
    .await?)
}

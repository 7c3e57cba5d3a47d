//! Attempts: written down before anything is sent, marked before it is sent, ended once.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::words::currency;
use crate::{
    domain::{
        collection::{AttemptState, Trigger},
        decline::DeclineClass,
    },
    ids::{AttemptId, CycleId, FirmId, PaymentMethodId},
    money::Money,
    store::error::{Result, one_row},
};

/// An attempt to be written down before anything is sent.
#[derive(Clone, Debug)]
pub struct NewAttempt {
    /// Its id; the idempotency key derives from it.
    pub id: AttemptId,
    /// Its cycle.
    pub cycle: CycleId,
    /// 1, 2, 3 …
    pub seq: i32,
    /// Step of the policy.
    pub step: u32,
    /// Why.
    pub trigger: Trigger,
    /// The card.
    pub method: PaymentMethodId,
    /// How much.
    pub amount: Money,
    /// Sent to Stripe with the confirmation, the same for as long as the outcome is unknown.
    pub idempotency_key: String,
}

/// Writes an attempt down. The database refuses a second open one, and the same step twice.
///
/// # Errors
/// When the database is away or refuses.
pub async fn insert_attempt(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    new: &NewAttempt,
) -> Result<()> {
    sqlx::query!(
        "insert into payment_attempts (firm_id, id, cycle_id, seq, step, trigger, counts_toward_ladder, payment_method_id,
                                       amount_minor, idempotency_key, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        firm.0,
        new.id.0,
        new.cycle.0,
        new.seq,
        i32::try_from(new.step).unwrap_or(i32::MAX),
        new.trigger.as_str(),
        new.trigger.counts_toward_ladder(),
        new.method.0,
        new.amount.minor(),
        new.idempotency_key,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What confirming an attempt needs.
#[derive(Clone, Debug)]
pub struct AttemptOrder {
    /// The card.
    pub method: PaymentMethodId,
    /// The card's id at Stripe.
    pub stripe_payment_method: String,
    /// How much.
    pub amount: Money,
    /// The key to send.
    pub idempotency_key: String,
}

/// Reads what confirming an attempt needs.
///
/// # Errors
/// When the database is away.
pub async fn attempt_order(conn: &mut PgConnection, firm: FirmId, id: AttemptId) -> Result<AttemptOrder> {
    let row = sqlx::query!(
        r#"select pm.id, pm.stripe_payment_method_id, a.amount_minor, c.currency::text as "currency!", a.idempotency_key
           from payment_attempts a
           join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
           join payment_methods pm on pm.firm_id = a.firm_id and pm.id = a.payment_method_id
           where a.firm_id = $1 and a.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(AttemptOrder {
        method: PaymentMethodId(row.id),
        stripe_payment_method: row.stripe_payment_method_id,
        amount: Money::new(row.amount_minor, currency(&row.currency)?),
        idempotency_key: row.idempotency_key,
    })
}

/// Marks an attempt as about to be sent: from here on its outcome is looked up, never assumed.
///
/// # Errors
/// When the database is away, or the attempt is no longer open.
pub async fn mark_sent(conn: &mut PgConnection, firm: FirmId, id: AttemptId) -> Result<()> {
    // The time of this statement and not of the transaction, which may have waited for the invoice. The guard stamps the
    // real time beside it.
    let done = sqlx::query!(
        "update payment_attempts set state = 'sent', sent_at = app.now() where firm_id = $1 and id = $2 and state = 'created'",
        firm.0,
        id.0
    )
    .execute(conn)
    .await?;
    one_row("mark attempt sent", done.rows_affected())
}

/// Marks the card of an attempt as no longer usable, unless it was updated since the attempt was sent. Returns whether
/// the client's automatic payment has a usable card by now: another one, or this one as it is since.
///
/// # Errors
/// When the database is away.
pub async fn method_refused(conn: &mut PgConnection, firm: FirmId, attempt: AttemptId) -> Result<bool> {
    sqlx::query!(
        "update payment_methods pm set status = 'needs_update' from payment_attempts a
         where a.firm_id = $1 and a.id = $2 and pm.firm_id = $1 and pm.id = a.payment_method_id and pm.status = 'active'
           and (pm.updated_by_network_at is null or pm.updated_by_network_at < a.sent_at)",
        firm.0,
        attempt.0
    )
    .execute(&mut *conn)
    .await?;
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from payment_attempts a
             join collection_cycles cy on cy.firm_id = a.firm_id and cy.id = a.cycle_id
             join invoices i on i.firm_id = cy.firm_id and i.id = cy.invoice_id
             join clients c on c.firm_id = i.firm_id and c.id = i.client_id
             join payment_methods pm on pm.firm_id = c.firm_id and pm.id = c.autopay_payment_method_id
             where a.firm_id = $1 and a.id = $2 and c.autopay_enabled and pm.status = 'active') as "usable!""#,
        firm.0,
        attempt.0
    )
    .fetch_one(conn)
    .await?)
}

/// How an attempt ended, for its row.
#[derive(Clone, Debug, Default)]
pub struct AttemptOutcome<'a> {
    /// Its charge.
    pub charge: Option<&'a str>,
    /// Stripe's request id.
    pub request_id: Option<&'a str>,
    /// Failure class.
    pub class: Option<&'a str>,
    /// `code`, `decline_code`, `advice_code`, `network_decline_code`.
    pub codes: [Option<&'a str>; 4],
}

/// The word of an attempt's failure class in the database and in JSON.
#[must_use]
pub fn class_word(state: AttemptState, class: Option<DeclineClass>) -> Option<&'static str> {
    match state {
        AttemptState::Technical => Some("technical"),
        _ => class.map(DeclineClass::failure_class),
    }
}

/// Moves an attempt on. One that had no effect, was taken back, or failed by our own fault uses up no step: the same step
/// can be made again.
///
/// # Errors
/// When the database is away, or the attempt has ended already.
pub async fn update_attempt(
    conn: &mut PgConnection,
    firm: FirmId,
    id: AttemptId,
    state: AttemptState,
    outcome: &AttemptOutcome<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    let done = sqlx::query!(
        "update payment_attempts set state = $3,
           counts_toward_ladder = counts_toward_ladder and $3 <> 'technical' and $3 <> 'canceled' and $6 is distinct from 'bug',
           stripe_charge_id = coalesce($4, stripe_charge_id),
           stripe_request_id = coalesce($5, stripe_request_id), failure_class = $6, failure_code = $7, decline_code = $8,
           advice_code = $9, network_decline_code = $10, resolved_at = case when $11 then null else $12::timestamptz end
         where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        state.as_str(),
        outcome.charge,
        outcome.request_id,
        outcome.class,
        outcome.codes[0],
        outcome.codes[1],
        outcome.codes[2],
        outcome.codes[3],
        state.is_open(),
        now,
    )
    .execute(conn)
    .await?;
    one_row("update attempt", done.rows_affected())
}

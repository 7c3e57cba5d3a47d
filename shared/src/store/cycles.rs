//! Collection cycles and their attempts.
//!
//! Lock order: the invoice's row first, always ([`lock`] does it); everything about its collection is then still.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit::{self, Actor, Cause, Entry, Severity},
    error::{Result, one_row},
    jobs::{self, NewJob, Queue},
};
use crate::{
    currency::Currency,
    domain::{
        collection::{
            AttemptState, AttemptView, ChargeFacts, CycleChange, CycleState, CycleView, NextAttempt, Trigger,
        },
        decline::DeclineClass,
        retry_policy::RetryPolicy,
    },
    ids::{AttemptId, ClientId, CycleId, FirmId, InvoiceId, PaymentMethodId},
    money::Money,
};

/// Job kind that makes the next attempt of a cycle. Payload: `{"cycle_id"}`.
pub const COLLECT: &str = "collect_invoice";
/// Job kind that finds out how an attempt ended. Payload: `{"cycle_id"}`.
pub const RECONCILE: &str = "reconcile_payment";
/// Job kind that cancels the PaymentIntent of a cycle given up. Payload: `{"cycle_id"}`.
pub const CANCEL_INTENT: &str = "cancel_payment_intent";

/// Failed lookups of one attempt before a person is asked; a lookup that shows nothing new is no failure.
const LOOKUPS: i32 = 1000;
/// Failed tries to cancel one PaymentIntent before a person is asked.
const CANCELLATIONS: i32 = 100;

/// A cycle with what its collection needs to know.
#[derive(Clone, Debug)]
pub struct Cycle {
    /// Its id.
    pub id: CycleId,
    /// The invoice it collects.
    pub invoice: InvoiceId,
    /// Whose.
    pub client: ClientId,
    /// The client's Stripe customer.
    pub customer: Option<String>,
    /// Its PaymentIntent, once created.
    pub intent: Option<String>,
    /// What the PaymentIntent asks for.
    pub amount: Money,
    /// Counts changes.
    pub version: i32,
    /// State, first failure, policy.
    pub view: CycleView,
    /// The attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Charges of this intent that are recorded as payments.
    pub payments: Vec<String>,
}

impl Cycle {
    /// The attempt whose outcome is not settled.
    #[must_use]
    pub fn open_attempt(&self) -> Option<&AttemptView> {
        self.attempts.iter().find(|a| a.state.is_open())
    }

    /// Work of one customer runs in order.
    #[must_use]
    pub fn order_key(&self) -> String {
        order_key(self.customer.as_deref(), self.client)
    }
}

/// The order key of all work for one customer: `customer:cus_…`, as in the jobs that the ingress makes.
#[must_use]
pub fn order_key(customer: Option<&str>, client: ClientId) -> String {
    match customer {
        Some(customer) => format!("customer:{customer}"),
        None => format!("client:{client}"),
    }
}

/// A stored word that is none of ours: the database was changed behind our back.
fn corrupt(what: String) -> super::Error {
    super::Error::Other(sqlx::Error::Decode(what.into()))
}

fn parse<T>(word: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    word.parse().map_err(|e: T::Err| corrupt(e.to_string()))
}

fn currency(word: &str) -> Result<Currency> {
    Currency::parse(word).map_err(|e| corrupt(e.to_string()))
}

fn policy(value: serde_json::Value) -> Result<RetryPolicy> {
    serde_json::from_value(value).map_err(|e| corrupt(format!("retry policy: {e}")))
}

/// Locks the invoice of a cycle and loads the cycle. `None` when this firm has no such cycle.
///
/// # Errors
/// When the database is away.
pub async fn lock(conn: &mut PgConnection, firm: FirmId, id: CycleId) -> Result<Option<Cycle>> {
    let locked = sqlx::query!(
        r#"select i.id, i.client_id, cl.stripe_customer_id
           from invoices i join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           where i.firm_id = $1 and i.id = (select invoice_id from collection_cycles where firm_id = $1 and id = $2)
           for update of i"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(invoice) = locked else { return Ok(None) };
    let row = sqlx::query!(
        "select stripe_payment_intent_id, amount_minor, currency::text as \"currency!\", state, first_failed_at, policy, version
         from collection_cycles where firm_id = $1 and id = $2",
        firm.0,
        id.0
    )
    .fetch_one(&mut *conn)
    .await?;
    let attempts = sqlx::query!(
        "select id, seq, step, trigger, state, stripe_charge_id, sent_at from payment_attempts
         where firm_id = $1 and cycle_id = $2 order by seq",
        firm.0,
        id.0
    )
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(|a| {
        Ok(AttemptView {
            id: AttemptId(a.id),
            seq: a.seq,
            step: u32::try_from(a.step).unwrap_or_default(),
            trigger: parse(&a.trigger)?,
            state: parse(&a.state)?,
            charge: a.stripe_charge_id,
            sent_at: a.sent_at,
        })
    })
    .collect::<Result<Vec<_>>>()?;
    let payments = match &row.stripe_payment_intent_id {
        None => Vec::new(),
        Some(intent) => {
            sqlx::query_scalar!(
                "select stripe_charge_id as \"charge!\" from payments
                 where firm_id = $1 and invoice_id = $2 and stripe_payment_intent_id = $3",
                firm.0,
                invoice.id,
                intent
            )
            .fetch_all(&mut *conn)
            .await?
        }
    };
    Ok(Some(Cycle {
        id,
        invoice: InvoiceId(invoice.id),
        client: ClientId(invoice.client_id),
        customer: invoice.stripe_customer_id,
        intent: row.stripe_payment_intent_id,
        amount: Money::new(row.amount_minor, currency(&row.currency)?),
        version: row.version,
        view: CycleView {
            state: parse(&row.state)?,
            first_failed_at: row.first_failed_at,
            policy: policy(row.policy)?,
        },
        attempts,
        payments,
    }))
}

/// Reads what the decision to charge depends on. Call under [`lock`], or without it for a dry run.
///
/// # Errors
/// When the database is away.
pub async fn charge_facts(conn: &mut PgConnection, firm: FirmId, id: CycleId) -> Result<ChargeFacts> {
    let row = sqlx::query!(
        r#"select i.doc_state, i.currency::text as "currency!", s.open_minor as "open_minor!", i.autopay_opt_in, i.fenced_reason,
                  cl.autopay_enabled, cl.stripe_customer_id is not null as "has_customer!",
                  pm.id as "method_id?", pm.status as "method_status?",
                  case when f.autopay_paused_at is not null then 'firm_paused'
                       when cl.autopay_paused_at is not null then 'client_paused'
                       when f.parked_reason is not null then 'firm_parked'
                       when cl.parked_reason is not null then 'client_parked' end as pause,
                  s.disputed_minor > 0 as "open_chargeback!",
                  exists (select 1 from collection_cycles o
                          join payment_attempts a on a.firm_id = o.firm_id and a.cycle_id = o.id
                          where o.firm_id = c.firm_id and o.invoice_id = c.invoice_id and o.id <> c.id
                            and a.state in ('sent', 'processing', 'action_required', 'unknown')) as "earlier_attempt_open!",
                  c.state, c.next_attempt_at, c.next_step, c.next_trigger
           from collection_cycles c
           join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
           join invoice_status s on s.firm_id = c.firm_id and s.id = c.invoice_id
           join firms f on f.id = c.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           left join payment_methods pm on pm.firm_id = cl.firm_id and pm.id = cl.autopay_payment_method_id
           where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(ChargeFacts {
        issued: row.doc_state == "issued",
        open: Money::new(row.open_minor, currency(&row.currency)?),
        opt_in: row.autopay_opt_in,
        fenced_reason: row.fenced_reason,
        client_autopay: row.autopay_enabled,
        method: row
            .method_id
            .zip(row.method_status)
            .map(|(id, status)| (PaymentMethodId(id), status)),
        has_customer: row.has_customer,
        pause: row.pause,
        open_chargeback: row.open_chargeback,
        earlier_attempt_open: row.earlier_attempt_open,
        cycle: parse(&row.state)?,
        next_attempt_at: row.next_attempt_at,
        next_step: u32::try_from(row.next_step).unwrap_or_default(),
        next_trigger: parse(&row.next_trigger)?,
    })
}

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
    // The time of this statement and not of the transaction, which may have waited for the invoice.
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

/// Moves a cycle on, keeps the invoice's `autopay_next_charge_at` in step, and enqueues the next attempt where one is due.
///
/// # Errors
/// When the database is away or refuses the transition.
pub async fn update_cycle(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    change: &CycleChange,
) -> Result<()> {
    let next_at = change.next.as_ref().map(|n| n.at);
    let version = sqlx::query_scalar!(
        "update collection_cycles set state = $3, state_reason = $4, first_failed_at = coalesce(first_failed_at, $5),
           next_attempt_at = $6, next_step = coalesce($7, next_step), next_trigger = coalesce($8, next_trigger)
         where firm_id = $1 and id = $2 returning version",
        firm.0,
        cycle.id.0,
        change.state.as_str(),
        change.reason,
        change.first_failed_at,
        next_at,
        change.next.as_ref().map(|n| i32::try_from(n.step).unwrap_or(i32::MAX)),
        change.next.as_ref().map(|n| n.trigger.as_str()),
    )
    .fetch_one(&mut *conn)
    .await?;
    set_next_charge(conn, firm, cycle.invoice, next_at).await?;
    if let Some(next) = &change.next {
        enqueue_collect(conn, firm, cycle, version, next).await?;
    }
    Ok(())
}

async fn set_next_charge(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    at: Option<DateTime<Utc>>,
) -> Result<()> {
    sqlx::query!(
        "update invoices set autopay_next_charge_at = $3
         where firm_id = $1 and id = $2 and autopay_next_charge_at is distinct from $3",
        firm.0,
        invoice.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn enqueue_collect(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    version: i32,
    next: &NextAttempt,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        COLLECT,
        format!("{}:v{version}", cycle.id),
        json!({"cycle_id": cycle.id}),
        next.at,
    )
    .firm(firm)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// Enqueues the lookup of an attempt whose outcome is not known.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_reconcile(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    attempt: AttemptId,
    at: DateTime<Utc>,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        RECONCILE,
        format!("{attempt}"),
        json!({"cycle_id": cycle.id}),
        at,
    )
    .firm(firm)
    .at_most(LOOKUPS)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// Has a written-down attempt sent whose job is gone. `by` makes the job its own.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_send(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    attempt: AttemptId,
    by: &Cause,
    at: DateTime<Utc>,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        COLLECT,
        format!("{}:{attempt}:{}", cycle.id, by.id),
        json!({"cycle_id": cycle.id}),
        at,
    )
    .firm(firm)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// Has the PaymentIntent of a cycle that was given up canceled at Stripe.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_cancel(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    at: DateTime<Utc>,
) -> Result<()> {
    let job = NewJob::new(
        Queue::Charges,
        CANCEL_INTENT,
        cycle.id.to_string(),
        json!({"cycle_id": cycle.id}),
        at,
    )
    .firm(firm)
    .at_most(CANCELLATIONS)
    .in_order_of(cycle.order_key());
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// Takes back an attempt that was written down and not sent, because what it was decided by no longer holds. The cycle is
/// due at once, so that it is decided anew what becomes of it.
///
/// # Errors
/// When the database is away.
pub async fn take_back(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    attempt: &AttemptView,
    now: DateTime<Utc>,
    reason: &'static str,
    cause: &Cause,
) -> Result<()> {
    let outcome = AttemptOutcome::default();
    update_attempt(conn, firm, attempt.id, AttemptState::Canceled, &outcome, now).await?;
    let change = CycleChange {
        state: cycle.view.waiting(),
        reason: Some(reason.into()),
        first_failed_at: cycle.view.first_failed_at,
        next: Some(NextAttempt {
            at: now,
            step: attempt.step,
            trigger: attempt.trigger,
        }),
    };
    update_cycle(conn, firm, cycle, &change).await?;
    let meta = json!({"cycle": cycle.id, "attempt": attempt.id, "reason": reason});
    audit_cycle(conn, firm, now, "retry.superseded", cycle.invoice, cause, meta).await
}

/// Stores the PaymentIntent of a cycle, and the route by which its events find the way back.
///
/// # Errors
/// When the database is away.
pub async fn set_intent(conn: &mut PgConnection, firm: FirmId, id: CycleId, intent: &str) -> Result<()> {
    let done = sqlx::query!(
        "update collection_cycles set stripe_payment_intent_id = $3
         where firm_id = $1 and id = $2 and (stripe_payment_intent_id is null or stripe_payment_intent_id = $3)",
        firm.0,
        id.0,
        intent
    )
    .execute(&mut *conn)
    .await?;
    one_row("set intent", done.rows_affected())?;
    super::routes::record(conn, firm, "payment_intent", intent, id.0).await
}

/// Keeps the cycle's amount in step with its PaymentIntent's.
///
/// # Errors
/// When the database is away.
pub async fn set_amount(conn: &mut PgConnection, firm: FirmId, id: CycleId, amount: Money) -> Result<()> {
    sqlx::query!(
        "update collection_cycles set amount_minor = $3 where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        amount.minor()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Starts collecting an issued invoice when it is opted in and the client's automatic payment is on: creates the cycle
/// and its first job, in the issuing transaction (A-09). `None` when it is not to be collected automatically.
///
/// # Errors
/// When the database is away.
pub async fn start_if_autopay(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<Option<CycleId>> {
    let row = sqlx::query!(
        r#"select i.client_id, i.currency::text as "currency!", s.open_minor as "open_minor!", f.retry_policy, cl.stripe_customer_id,
                  case when e.charge_timing = 'on_due' then greatest($3, i.due_date::timestamp at time zone f.timezone) else $3 end as "at!"
           from invoices i
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
           where i.firm_id = $1 and i.id = $2 and i.doc_state = 'issued' and i.autopay_opt_in and cl.autopay_enabled
             and s.open_minor > 0
             and not exists (select 1 from collection_cycles c where c.firm_id = i.firm_id and c.invoice_id = i.id
                               and c.state not in ('exhausted', 'canceled'))"#,
        firm.0,
        invoice.0,
        now
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id = CycleId::new();
    sqlx::query!(
        "insert into collection_cycles (firm_id, id, invoice_id, seq, amount_minor, currency, state, next_attempt_at, policy)
         select $1, $2, $3, coalesce(max(seq), 0) + 1, $4, $5::text, 'scheduled', $6, $7
         from collection_cycles where firm_id = $1 and invoice_id = $3",
        firm.0,
        id.0,
        invoice.0,
        row.open_minor,
        row.currency,
        row.at,
        row.retry_policy
    )
    .execute(&mut *conn)
    .await?;
    set_next_charge(conn, firm, invoice, Some(row.at)).await?;
    let job = NewJob::new(
        Queue::Charges,
        COLLECT,
        format!("{id}:v1"),
        json!({"cycle_id": id}),
        row.at,
    )
    .firm(firm)
    .in_order_of(order_key(
        row.stripe_customer_id.as_deref(),
        ClientId(row.client_id),
    ));
    jobs::enqueue(conn, &job).await?;
    audit_cycle(
        conn,
        firm,
        now,
        "retry.scheduled",
        invoice,
        cause,
        json!({"cycle": id, "step": 0, "at": row.at}),
    )
    .await?;
    Ok(Some(id))
}

async fn audit_cycle(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    action: &str,
    invoice: InvoiceId,
    cause: &Cause,
    meta: serde_json::Value,
) -> Result<()> {
    audit::record(
        conn,
        firm,
        now,
        &Entry {
            action,
            severity: Severity::Info,
            actor: Actor::System,
            subject_kind: "invoice",
            subject: invoice.0,
            cause,
            meta,
        },
    )
    .await
}

async fn cycles_of_client(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    states: &[&str],
) -> Result<Vec<CycleId>> {
    let states: Vec<String> = states.iter().map(|&s| s.to_owned()).collect();
    Ok(sqlx::query_scalar!(
        "select c.id from collection_cycles c join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
         where c.firm_id = $1 and i.client_id = $2 and c.state = any($3) order by c.id",
        firm.0,
        client.0,
        &states
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(CycleId)
    .collect())
}

/// A client's card was replaced or updated: cycles that waited for one, or for the client to put the card right, are tried
/// once at once, outside the ladder (B-24). Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn method_updated(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<usize> {
    // Whoever calls has seen a new or updated card: what a hard decline marked is worth another try.
    sqlx::query!(
        "update payment_methods pm set status = 'active' from clients c
         where c.firm_id = $1 and c.id = $2 and pm.firm_id = $1 and pm.id = c.autopay_payment_method_id and pm.status = 'needs_update'",
        firm.0,
        client.0
    )
    .execute(&mut *conn)
    .await?;
    let mut resumed = 0;
    for id in cycles_of_client(conn, firm, client, &["method_required", "action_required"]).await? {
        let Some(cycle) = lock(conn, firm, id).await? else {
            continue;
        };
        let waits = matches!(
            cycle.view.state,
            CycleState::MethodRequired | CycleState::ActionRequired
        );
        // a client who is authenticating a payment right now is not interrupted
        if !waits || cycle.open_attempt().is_some() {
            continue;
        }
        let step = cycle.attempts.iter().map(|a| a.step).max().unwrap_or(0);
        let change = CycleChange {
            state: CycleState::RetryWait,
            reason: Some("method_updated".into()),
            first_failed_at: cycle.view.first_failed_at,
            next: Some(NextAttempt {
                at: now,
                step,
                trigger: Trigger::MethodUpdated,
            }),
        };
        update_cycle(conn, firm, &cycle, &change).await?;
        audit_cycle(
            conn,
            firm,
            now,
            "retry.scheduled",
            cycle.invoice,
            cause,
            json!({"cycle": id, "trigger": "method_updated", "at": now}),
        )
        .await?;
        resumed += 1;
    }
    Ok(resumed)
}

/// Gives up the live cycles of a client whose automatic payment was switched off: no further attempt is made, and what
/// stands at Stripe is canceled (B-13). An attempt that is under way may still succeed; its money is then recorded.
/// Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn cancel_live_cycles(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    now: DateTime<Utc>,
    reason: &'static str,
    cause: &Cause,
) -> Result<usize> {
    let live = [
        "scheduled",
        "in_flight",
        "retry_wait",
        "action_required",
        "method_required",
        "unknown",
        "paused",
    ];
    let mut canceled = 0;
    for id in cycles_of_client(conn, firm, client, &live).await? {
        let Some(cycle) = lock(conn, firm, id).await? else {
            continue;
        };
        if cycle.view.state.is_final() {
            continue;
        }
        cancel(conn, firm, &cycle, now, reason, cause).await?;
        canceled += 1;
    }
    Ok(canceled)
}

/// Gives one cycle up; call under [`lock`].
///
/// # Errors
/// When the database is away.
pub async fn cancel(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: &Cycle,
    now: DateTime<Utc>,
    reason: &'static str,
    cause: &Cause,
) -> Result<()> {
    // Nothing was sent for an attempt that is only written down; anything later keeps its row until its end is known.
    if let Some(attempt) = cycle.open_attempt().filter(|a| a.state == AttemptState::Created) {
        update_attempt(
            conn,
            firm,
            attempt.id,
            AttemptState::Canceled,
            &AttemptOutcome::default(),
            now,
        )
        .await?;
    }
    let change = CycleChange {
        state: CycleState::Canceled,
        reason: Some(reason.into()),
        first_failed_at: None,
        next: None,
    };
    update_cycle(conn, firm, cycle, &change).await?;
    if cycle.intent.is_some() {
        enqueue_cancel(conn, firm, cycle, now).await?;
    }
    audit_cycle(
        conn,
        firm,
        now,
        "retry.superseded",
        cycle.invoice,
        cause,
        json!({"cycle": cycle.id, "reason": reason}),
    )
    .await
}

/// Lets cycles of one invoice that were held for `reason` go on at once, e.g. after a dispute was won.
///
/// # Errors
/// When the database is away.
pub async fn resume_held(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    reasons: &[&str],
    now: DateTime<Utc>,
) -> Result<()> {
    let reasons: Vec<String> = reasons.iter().map(|&s| s.to_owned()).collect();
    let held: Option<Uuid> = sqlx::query_scalar!(
        "select id from collection_cycles where firm_id = $1 and invoice_id = $2 and state = 'paused' and state_reason = any($3)",
        firm.0,
        invoice.0,
        &reasons
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(id) = held else { return Ok(()) };
    let Some(cycle) = lock(conn, firm, CycleId(id)).await? else {
        return Ok(());
    };
    let next = sqlx::query!(
        "select next_step, next_trigger from collection_cycles where firm_id = $1 and id = $2",
        firm.0,
        id
    )
    .fetch_one(&mut *conn)
    .await?;
    let change = CycleChange {
        state: cycle.view.waiting(),
        reason: None,
        first_failed_at: cycle.view.first_failed_at,
        next: Some(NextAttempt {
            at: now,
            step: u32::try_from(next.next_step).unwrap_or_default(),
            trigger: parse(&next.next_trigger)?,
        }),
    };
    update_cycle(conn, firm, &cycle, &change).await
}

/// A cycle as a list shows it: due now, or waiting for something that a sweep cannot give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveCycle {
    /// The cycle.
    pub id: CycleId,
    /// Its invoice.
    pub invoice: InvoiceId,
    /// Where it stands.
    pub state: CycleState,
    /// Counts changes.
    pub version: i32,
}

/// Live cycles of a firm that are due at `as_of`, or stand still in a state that waits for someone.
///
/// # Errors
/// When the database is away.
pub async fn due_or_stuck(
    conn: &mut PgConnection,
    firm: FirmId,
    as_of: DateTime<Utc>,
) -> Result<Vec<LiveCycle>> {
    sqlx::query!(
        "select id, invoice_id, state, version from collection_cycles
         where firm_id = $1 and ((state in ('scheduled', 'retry_wait') and next_attempt_at <= $2)
            or state in ('action_required', 'method_required', 'unknown', 'paused', 'in_flight'))
         order by next_attempt_at nulls last, id",
        firm.0,
        as_of
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|r| {
        Ok(LiveCycle {
            id: CycleId(r.id),
            invoice: InvoiceId(r.invoice_id),
            state: parse(&r.state)?,
            version: r.version,
        })
    })
    .collect()
}

/// Enqueues the next attempt of every cycle that is due at `as_of`, of one firm or of all, where no unfinished job for it
/// exists. `run` makes the jobs of one sweep its own. Returns the jobs, including those that were waiting already.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_due(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    as_of: DateTime<Utc>,
    run: &str,
    most: i32,
) -> Result<Vec<crate::ids::JobId>> {
    let jobs = sqlx::query_scalar!(
        r#"with due as (
             select *, cycle_id::text || ':v' || version as key from app.due_cycles($1, $2) where firm_id = $3 or $3 is null),
           waiting as (
             select distinct on (d.cycle_id) j.id, d.cycle_id
             from due d join jobs j on j.order_key = d.order_key and j.kind = $4 and j.payload ->> 'cycle_id' = d.cycle_id::text
             where j.state in ('available', 'retryable', 'running') and (j.run_at <= app.now() or j.state <> 'available')
             order by d.cycle_id, j.seq),
           made as (
             insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, run_at, created_at)
             select gen_random_uuid(), firm_id, 'charges', $4, key || ':' || $5, order_key,
                    jsonb_build_object('cycle_id', cycle_id, 'as_of', $1::timestamptz, 'version', version), app.now(), app.now()
             from due where cycle_id not in (select cycle_id from waiting)
             on conflict (kind, dedupe_key) do nothing returning id)
           select id as "id!" from waiting union all select id from made"#,
        as_of,
        most,
        firm.map(|f| f.0),
        COLLECT,
        run
    )
    .fetch_all(conn)
    .await?;
    Ok(jobs.into_iter().map(crate::ids::JobId).collect())
}

/// Has every attempt looked after that was made or sent before `sent_before` and whose end is still open, where no
/// unfinished job does so. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_lookups(
    conn: &mut PgConnection,
    sent_before: DateTime<Utc>,
    run: &str,
    most: i32,
) -> Result<u64> {
    let done = sqlx::query!(
        "insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, max_attempts, run_at, created_at)
         select gen_random_uuid(), o.firm_id, 'charges', $3, o.attempt_id::text || ':' || $4, o.order_key,
                jsonb_build_object('cycle_id', o.cycle_id), $6, app.now(), app.now()
         from app.open_outcomes($1, $2) o
         where not exists (select 1 from jobs j
                           where j.order_key = o.order_key and j.payload ->> 'cycle_id' = o.cycle_id::text
                             and j.state in ('available', 'retryable', 'running')
                             and (j.kind = $3 or (j.kind = $5 and (j.run_at <= app.now() or j.state <> 'available'))))
         on conflict (kind, dedupe_key) do nothing",
        sent_before,
        most,
        RECONCILE,
        run,
        COLLECT,
        LOOKUPS
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// An attempt as `process-recurring-charges` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptReport {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The step.
    pub step: i32,
    /// Where it stands.
    pub state: String,
}

/// The attempts that jobs of a run made.
///
/// # Errors
/// When the database is away.
pub async fn attempts_of_jobs(
    conn: &mut PgConnection,
    firm: FirmId,
    jobs: &[Uuid],
) -> Result<Vec<AttemptReport>> {
    let causes: Vec<String> = jobs.iter().map(Uuid::to_string).collect();
    Ok(sqlx::query!(
        r#"select e.subject_id as "invoice!", a.step, a.state from audit_events e
           join payment_attempts a on a.firm_id = e.firm_id and a.id = (e.meta ->> 'attempt')::uuid
           where e.firm_id = $1 and e.action = 'payment.attempted' and e.cause_kind = 'job' and e.cause_id = any($2)
           order by a.created_at, a.id"#,
        firm.0,
        &causes
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|r| AttemptReport { invoice: InvoiceId(r.invoice), step: r.step, state: r.state })
    .collect())
}

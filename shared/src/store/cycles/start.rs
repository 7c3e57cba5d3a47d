//! Starting to collect one invoice that may have a history; [`crate::store::collection_start`] is for many fresh ones.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    change::{audit_cycle, set_next_charge, tell_exhausted},
    cycle::{Cycle, order_key},
    enqueue::COLLECT,
    words::{parse, policy},
};
use crate::{
    domain::{
        collection::{
            CardNow, CycleChange, CycleState, Failure, History, NextAttempt, Restart, Trigger, restart,
        },
        decline::{self, DeclineClass, DeclineCodes},
    },
    ids::{ClientId, CycleId, FirmId, InvoiceId, PaymentMethodId},
    store::{
        audit::Cause,
        decisions::{self, Decision},
        error::Result,
        jobs::{self, NewJob, Queue},
    },
};

/// Starts collecting an issued invoice when it is opted in and the client's automatic payment is on: creates the cycle
/// and its first job, in the issuing transaction (A-09). Where an earlier cycle was given up, the new one takes over what
/// it left; while that one's PaymentIntent may still capture something, there is no new one. `None` when the invoice is
/// not to be collected automatically, or not yet. Call under the invoice's lock where it may have a history.
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
                  cl.autopay_payment_method_id as "method!",
                  exists (select 1 from payment_methods m where m.firm_id = cl.firm_id and m.id = cl.autopay_payment_method_id
                            and m.status = 'active') as "usable!",
                  case when e.charge_timing = 'on_due' then greatest($3, i.due_date::timestamp at time zone f.timezone) else $3 end as "at!"
           from invoices i
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
           where i.firm_id = $1 and i.id = $2 and i.doc_state = 'issued' and i.autopay_opt_in and cl.autopay_enabled
             and s.open_minor > 0
             and not exists (select 1 from collection_cycles c where c.firm_id = i.firm_id and c.invoice_id = i.id
                               and (c.state not in ('exhausted', 'canceled')
                                    or c.state = 'canceled' and c.stripe_payment_intent_id is not null and c.intent_closed_at is null
                                    or exists (select 1 from payment_attempts a where a.firm_id = c.firm_id and a.cycle_id = c.id
                                                 and a.state not in ('succeeded', 'declined', 'technical', 'canceled'))))"#,
        firm.0,
        invoice.0,
        now
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let afresh = Start {
        change: CycleChange {
            state: CycleState::Scheduled,
            reason: None,
            first_failed_at: None,
            next: Some(NextAttempt {
                at: row.at,
                step: 0,
                trigger: Trigger::Auto,
            }),
            deadline: None,
        },
        policy: row.retry_policy,
    };
    let (start, taken_over) = match history(conn, firm, invoice).await? {
        None => (afresh, None),
        Some((history, policy)) => {
            let card = CardNow {
                method: PaymentMethodId(row.method),
                usable: row.usable,
            };
            match restart(&history, card, now) {
                Restart::Afresh => (afresh, None),
                Restart::GoesOn(change) => (Start { change, policy }, Some(history)),
            }
        }
    };
    let id = CycleId::new();
    insert(conn, firm, invoice, id, (row.open_minor, &row.currency), &start).await?;
    if let Some(next) = &start.change.next {
        let key = format!("{id}:v1");
        let job = NewJob::new(Queue::Charges, COLLECT, key, json!({"cycle_id": id}), next.at)
            .firm(firm)
            .in_order_of(order_key(
                row.stripe_customer_id.as_deref(),
                ClientId(row.client_id),
            ));
        jobs::enqueue(conn, &job).await?;
    }
    tell(
        conn,
        firm,
        now,
        (invoice, id),
        &start.change,
        taken_over.as_ref(),
        cause,
    )
    .await?;
    Ok(Some(id))
}

/// How a new cycle begins.
pub(super) struct Start {
    pub(super) change: CycleChange,
    /// As stored: a copy of the firm's, or of the earlier cycle's.
    pub(super) policy: Value,
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    id: CycleId,
    (amount_minor, currency): (i64, &str),
    start: &Start,
) -> Result<()> {
    let (change, next) = (&start.change, start.change.next.as_ref());
    sqlx::query!(
        "insert into collection_cycles (firm_id, id, invoice_id, seq, amount_minor, currency, state, state_reason, first_failed_at,
                                        next_attempt_at, next_step, next_trigger, deadline_at, policy)
         select $1, $2, $3, coalesce(max(seq), 0) + 1, $4, $5::text, $6, $7, $8, $9, $10, $11, $12, $13
         from collection_cycles where firm_id = $1 and invoice_id = $3",
        firm.0,
        id.0,
        invoice.0,
        amount_minor,
        currency,
        change.state.as_str(),
        change.reason,
        change.first_failed_at,
        next.map(|n| n.at),
        next.map_or(0, |n| i32::try_from(n.step).unwrap_or(i32::MAX)),
        next.map_or(Trigger::Auto, |n| n.trigger).as_str(),
        change.deadline,
        start.policy
    )
    .execute(&mut *conn)
    .await?;
    set_next_charge(conn, firm, invoice, next.map(|n| n.at)).await
}

/// The step that was made last on the way that a cycle is on: its own, or where it took over a history and has tried nothing
/// yet, that one's. 0 when nothing has failed.
pub(super) async fn last_step(conn: &mut PgConnection, firm: FirmId, cycle: &Cycle) -> Result<u32> {
    if let Some(step) = cycle.attempts.iter().map(|attempt| attempt.step).max() {
        return Ok(step);
    }
    let Some(began) = cycle.view.first_failed_at else {
        return Ok(0);
    };
    let earlier = history(conn, firm, cycle.invoice).await?;
    let failures = earlier.iter().flat_map(|(history, _)| &history.failures);
    let steps = failures
        .filter(|failure| failure.at >= began)
        .map(|failure| failure.step);
    Ok(steps.max().unwrap_or(0))
}

/// What the earlier cycles of an invoice have left, and the policy of the latest as stored. `None` when there is none.
pub(super) async fn history(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
) -> Result<Option<(History, Value)>> {
    let latest = sqlx::query!(
        "select c.first_failed_at, c.policy,
                case when e.charge_timing = 'on_due' then i.due_date::timestamp at time zone f.timezone end as first_due
           from collection_cycles c
           join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
           join firms f on f.id = c.firm_id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
          where c.firm_id = $1 and c.invoice_id = $2 order by c.seq desc limit 1",
        firm.0,
        invoice.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(latest) = latest else { return Ok(None) };
    let failures = sqlx::query!(
        r#"select a.step, a.failure_class as "class!", a.failure_code, a.decline_code, a.advice_code, a.network_decline_code,
                  a.payment_method_id, a.resolved_at as "at!", a.trigger
           from payment_attempts a join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
           where c.firm_id = $1 and c.invoice_id = $2 and a.state = 'declined' order by c.seq, a.seq"#,
        firm.0,
        invoice.0
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|a| {
        let codes = DeclineCodes {
            code: a.failure_code,
            decline_code: a.decline_code,
            advice_code: a.advice_code,
            network_decline_code: a.network_decline_code,
        };
        let class = match parse(&a.class)? {
            // a possible double has no word of its own in the row
            DeclineClass::Bug if decline::classify(&codes).class == DeclineClass::Check => DeclineClass::Check,
            class => class,
        };
        Ok(Failure {
            step: u32::try_from(a.step).unwrap_or_default(),
            class,
            method: PaymentMethodId(a.payment_method_id),
            at: a.at,
            trigger: parse(&a.trigger)?,
        })
    })
    .collect::<Result<Vec<_>>>()?;
    let history = History {
        first_failed_at: latest.first_failed_at,
        policy: policy(latest.policy.clone())?,
        failures,
        first_due: latest.first_due,
    };
    Ok(Some((history, latest.policy)))
}

/// As audit, and where a cycle goes on instead of beginning afresh, as the decision that `why-not` can show.
async fn tell(
    conn: &mut PgConnection,
    firm: FirmId,
    now: DateTime<Utc>,
    (invoice, id): (InvoiceId, CycleId),
    change: &CycleChange,
    taken_over: Option<&History>,
    cause: &Cause,
) -> Result<()> {
    if let Some(next) = &change.next {
        let meta = json!({"cycle": id, "step": next.step, "at": next.at});
        audit_cycle(conn, firm, now, "retry.scheduled", invoice, cause, meta).await?;
    }
    if change.state == CycleState::Exhausted {
        let subject = (invoice, id);
        tell_exhausted(conn, firm, now, subject, change.reason.as_deref(), cause).await?;
    }
    let Some(history) = taken_over else { return Ok(()) };
    let next = change.next.as_ref();
    let decision = Decision {
        subject_kind: "invoice",
        subject: invoice.0,
        kind: "retry",
        outcome: change.state.as_str(),
        reason_code: "goes_on_after_autopay_off",
        predicates: json!([
            {"name": "declined_before", "ok": null, "value": {"times": history.failures.len(), "first_failed_at": history.first_failed_at}},
            {"name": "next_attempt", "ok": next.is_some(), "value": next.map(|n| json!({"at": n.at, "step": n.step}))},
        ]),
        cause,
    };
    decisions::record(conn, firm, now, &decision).await
}

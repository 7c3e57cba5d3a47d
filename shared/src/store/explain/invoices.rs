//! An invoice with everything that has to do with its being charged.
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit,
    facts::{card, corrupt, money, word},
};
use crate::{
    domain::explain::{
        AttemptFacts, AuditFacts, CardFacts, CycleFacts, DisputeFacts, InvoiceFacts, JobFacts, LineFacts,
        Movement, Origin, Pause, PaymentFacts, RefundFacts,
    },
    ids::{AttemptId, ClientId, CycleId, FirmId, InvoiceId, JobId},
    store::{cycles, error::Result},
};

/// Reads an invoice; `None` when this firm has none such.
///
/// # Errors
/// When the database is away.
pub async fn invoice(conn: &mut PgConnection, firm: FirmId, id: InvoiceId) -> Result<Option<InvoiceFacts>> {
    let row = sqlx::query!(
        r#"select coalesce(i.number, i.external_id, i.id::text) as "label!", i.client_id,
                  coalesce(cl.external_id, cl.id::text) as "client!", coalesce(f.external_id, f.id::text) as "firm!",
                  cl.stripe_customer_id, s.status as "status!", i.doc_state, i.currency::text as "currency!", i.total_minor as "total!",
                  s.paid_minor as "paid!", s.credited_minor as "credited!", i.issued_at, i.due_date, s.cycle_id,
                  pm.stripe_payment_method_id as "method?", pm.status as "method_status?", pm.brand as "brand?", pm.last4 as "last4?",
                  pm.exp_month as "exp_month?", pm.exp_year as "exp_year?",
                  case when e.id is not null then
                    format('%s, version %s: %s%s, %s until %s', coalesce(e.external_id, e.id::text), e.version, e.pricing_mode,
                           coalesce(', ' || e.cadence, ''), e.starts_on, coalesce(e.ends_on::text, 'further notice')) end as engagement
           from invoices i
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           left join payment_methods pm on pm.firm_id = cl.firm_id and pm.id = cl.autopay_payment_method_id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
           where i.firm_id = $1 and i.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let client = ClientId(row.client_id);
    let cycle_id = row.cycle_id.map(CycleId);
    let audit = audit::of_subjects(conn, firm, &[id.0], Some(client.0)).await?;
    let card: Option<CardFacts> = row.method.as_deref().map(|method| {
        let status = row.method_status.as_deref().unwrap_or_default();
        let face = (row.brand.as_deref(), row.last4.as_deref());
        card(method, status, face, row.exp_month.zip(row.exp_year))
    });
    Ok(Some(InvoiceFacts {
        charge: match cycle_id {
            Some(cycle) => cycles::charge_facts(conn, firm, cycle).await?,
            None => cycles::charge_facts_without_cycle(conn, firm, id).await?,
        },
        cycle: match cycle_id {
            Some(cycle) => Some(self::cycle(conn, firm, cycle).await?),
            None => None,
        },
        attempts: attempts(conn, firm, id).await?,
        payments: payments(conn, firm, id).await?,
        refunds: refunds(conn, firm, id).await?,
        disputes: disputes(conn, firm, id).await?,
        pauses: pauses(conn, firm, client).await?,
        job: match cycle_id {
            Some(cycle) => {
                waiting_job(
                    conn,
                    cycle,
                    &cycles::order_key(row.stripe_customer_id.as_deref(), client),
                )
                .await?
            }
            None => None,
        },
        decisions: audit::decisions(conn, firm, id.0).await?,
        lines: lines(conn, firm, id, &row.currency).await?,
        origin: origin(conn, &audit).await?,
        audit,
        label: row.label,
        client: row.client,
        firm: row.firm,
        status: row.status,
        doc_state: row.doc_state,
        total: money(row.total, &row.currency)?,
        paid: money(row.paid, &row.currency)?,
        credited: money(row.credited, &row.currency)?,
        issued_at: row.issued_at,
        due_date: row.due_date,
        card,
        engagement: row.engagement,
    }))
}

/// The invoice of an attempt or of a cycle.
///
/// # Errors
/// When the database is away.
pub async fn invoice_of_attempt(
    conn: &mut PgConnection,
    firm: FirmId,
    id: AttemptId,
) -> Result<Option<InvoiceId>> {
    let found = sqlx::query_scalar!(
        "select c.invoice_id from collection_cycles c
          where c.firm_id = $1 and (c.id = $2 or c.id = (select cycle_id from payment_attempts where firm_id = $1 and id = $2))",
        firm.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(InvoiceId))
}

async fn cycle(conn: &mut PgConnection, firm: FirmId, id: CycleId) -> Result<CycleFacts> {
    let row = sqlx::query!(
        "select state, state_reason, stripe_payment_intent_id, first_failed_at, next_attempt_at, next_step, next_trigger, deadline_at,
                policy, created_at
         from collection_cycles where firm_id = $1 and id = $2",
        firm.0,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(CycleFacts {
        id: id.to_string(),
        state: word(&row.state)?,
        reason: row.state_reason,
        intent: row.stripe_payment_intent_id,
        first_failed_at: row.first_failed_at,
        next_attempt_at: row.next_attempt_at,
        next_step: u32::try_from(row.next_step).unwrap_or_default(),
        next_trigger: word(&row.next_trigger)?,
        deadline_at: row.deadline_at,
        policy: serde_json::from_value(row.policy).map_err(|e| corrupt(e.to_string()))?,
        created_at: row.created_at,
    })
}

async fn attempts(conn: &mut PgConnection, firm: FirmId, id: InvoiceId) -> Result<Vec<AttemptFacts>> {
    let rows = sqlx::query!(
        r#"select a.id, a.step, a.trigger, a.state, a.failure_class, coalesce(a.decline_code, a.failure_code) as code, a.amount_minor,
                  c.currency::text as "currency!", pm.stripe_payment_method_id as method, pm.status, pm.brand, pm.last4, pm.exp_month,
                  pm.exp_year, a.stripe_charge_id, c.stripe_payment_intent_id, a.created_at, a.resolved_at
           from collection_cycles c
           join payment_attempts a on a.firm_id = c.firm_id and a.cycle_id = c.id
           join payment_methods pm on pm.firm_id = a.firm_id and pm.id = a.payment_method_id
           where c.firm_id = $1 and c.invoice_id = $2 order by c.seq, a.seq"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            let face = (r.brand.as_deref(), r.last4.as_deref());
            Ok(AttemptFacts {
                id: r.id.to_string(),
                step: r.step,
                trigger: word(&r.trigger)?,
                state: word(&r.state)?,
                class: r.failure_class,
                code: r.code,
                amount: money(r.amount_minor, &r.currency)?,
                card: card(&r.method, &r.status, face, r.exp_month.zip(r.exp_year)).label,
                charge: r.stripe_charge_id,
                intent: r.stripe_payment_intent_id,
                created_at: r.created_at,
                resolved_at: r.resolved_at,
            })
        })
        .collect()
}

async fn payments(conn: &mut PgConnection, firm: FirmId, id: InvoiceId) -> Result<Vec<PaymentFacts>> {
    let rows = sqlx::query!(
        r#"select id, coalesce(stripe_charge_id, external_ref, id::text) as "reference!", method, stripe_payment_intent_id, amount_minor,
                  currency::text as "currency!", received_at, cause
           from payments where firm_id = $1 and invoice_id = $2 order by received_at, id"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            Ok(PaymentFacts {
                id: r.id.to_string(),
                reference: r.reference,
                method: r.method,
                intent: r.stripe_payment_intent_id,
                amount: money(r.amount_minor, &r.currency)?,
                received_at: r.received_at,
                cause: r.cause,
            })
        })
        .collect()
}

async fn refunds(conn: &mut PgConnection, firm: FirmId, id: InvoiceId) -> Result<Vec<RefundFacts>> {
    let rows = sqlx::query!(
        r#"select r.id, r.stripe_refund_id, coalesce(p.stripe_charge_id, p.external_ref, p.id::text) as "payment!", r.amount_minor,
                  r.currency::text as "currency!", r.destination, r.state, r.reason, r.requested_by, r.created_at
           from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
           where p.firm_id = $1 and p.invoice_id = $2 order by r.created_at, r.id"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            Ok(RefundFacts {
                id: r.id.to_string(),
                stripe_id: r.stripe_refund_id,
                payment: r.payment,
                amount: money(r.amount_minor, &r.currency)?,
                destination: r.destination,
                state: r.state,
                reason: r.reason,
                requested_by: r.requested_by,
                created_at: r.created_at,
            })
        })
        .collect()
}

async fn disputes(conn: &mut PgConnection, firm: FirmId, id: InvoiceId) -> Result<Vec<DisputeFacts>> {
    let rows = sqlx::query!(
        r#"select d.id, d.stripe_dispute_id, d.kind, d.stripe_status, d.reason, d.amount_minor, d.currency::text as "currency!",
                  coalesce(p.stripe_charge_id, p.id::text) as "payment!", d.opened_at, d.respond_by, d.closed_at, d.outcome,
                  case r.kind when 'rebill' then 'billed again by ' || r.resolved_by when 'write_off' then 'written off by ' || r.resolved_by
                    end as resolution
           from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
           left join dispute_resolutions r on r.firm_id = d.firm_id and r.dispute_id = d.id
           where p.firm_id = $1 and p.invoice_id = $2 order by d.opened_at, d.id"#,
        firm.0,
        id.0
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut disputes = Vec::new();
    for r in rows {
        disputes.push(DisputeFacts {
            movements: movements(conn, firm, r.id).await?,
            id: r.stripe_dispute_id,
            uuid: r.id.to_string(),
            kind: r.kind,
            status: r.stripe_status,
            reason: r.reason,
            amount: money(r.amount_minor, &r.currency)?,
            payment: r.payment,
            opened_at: r.opened_at,
            respond_by: r.respond_by,
            ended: r.outcome.zip(r.closed_at),
            resolution: r.resolution,
        });
    }
    Ok(disputes)
}

async fn movements(conn: &mut PgConnection, firm: FirmId, dispute: Uuid) -> Result<Vec<Movement>> {
    let rows = sqlx::query!(
        r#"select stripe_balance_transaction_id as id, kind, amount_minor, currency::text as "currency!", at
           from dispute_movements where firm_id = $1 and dispute_id = $2 order by at, id, kind"#,
        firm.0,
        dispute
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            Ok(Movement {
                id: r.id,
                kind: r.kind.replace('_', " "),
                amount: money(r.amount_minor, &r.currency)?,
                at: r.at,
            })
        })
        .collect()
}

/// Who stopped automatic charging of a client.
pub(super) async fn pauses(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<Vec<Pause>> {
    let row = sqlx::query!(
        r#"select n.autopay_paused_at as all_at, n.autopay_paused_reason as all_reason, f.autopay_paused_at as firm_at,
                  f.autopay_paused_reason as firm_reason, c.autopay_paused_at as client_at, c.autopay_paused_reason as client_reason
           from clients c join firms f on f.id = c.firm_id cross join installation n
           where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        client.0
    )
    .fetch_one(conn)
    .await?;
    let pause = |whom: &'static str, at: Option<DateTime<Utc>>, reason: Option<String>| {
        at.zip(reason).map(|(at, reason)| Pause { whom, at, reason })
    };
    Ok([
        pause("all", row.all_at, row.all_reason),
        pause("firm", row.firm_at, row.firm_reason),
        pause("client", row.client_at, row.client_reason),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// The unfinished job that makes the next attempt.
async fn waiting_job(conn: &mut PgConnection, cycle: CycleId, order_key: &str) -> Result<Option<JobFacts>> {
    let found = sqlx::query_scalar!(
        "select id from jobs where order_key = $1 and kind = $2 and payload ->> 'cycle_id' = $3
            and state in ('available', 'retryable', 'running') order by seq desc limit 1",
        order_key,
        cycles::COLLECT,
        cycle.to_string()
    )
    .fetch_optional(&mut *conn)
    .await?;
    match found {
        Some(id) => audit::job(conn, JobId(id)).await,
        None => Ok(None),
    }
}

async fn lines(
    conn: &mut PgConnection,
    firm: FirmId,
    id: InvoiceId,
    currency: &str,
) -> Result<Vec<LineFacts>> {
    let rows = sqlx::query!(
        r#"select l.kind, l.amount_minor, l.derivation, l.quantity_minutes, l.rate_minor,
                  coalesce(t.external_id, t.id::text) as entry, t.worker as "worker?", t.approved_by as "approved_by?"
           from invoice_lines l left join time_entries t on t.firm_id = l.firm_id and t.id = l.time_entry_id
           where l.firm_id = $1 and l.invoice_id = $2 order by l.line_no"#,
        firm.0,
        id.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            let hours = match r.quantity_minutes.zip(r.rate_minor) {
                Some((minutes, rate)) => Some((minutes, money(rate, currency)?)),
                None => None,
            };
            Ok(LineFacts {
                kind: r.kind,
                amount: money(r.amount_minor, currency)?,
                derivation: r.derivation,
                hours,
                time: r
                    .entry
                    .zip(r.worker)
                    .map(|(entry, worker)| (entry, worker, r.approved_by)),
            })
        })
        .collect()
}

/// What made an invoice, as its first entries in the audit say.
async fn origin(conn: &mut PgConnection, audit: &[AuditFacts]) -> Result<Option<Origin>> {
    let made = audit
        .iter()
        .rev()
        .find(|a| a.action == "invoice.issued" || a.action == "invoice.created");
    let Some(made) = made else { return Ok(None) };
    let job = match (made.cause_kind.as_str(), made.cause_id.parse::<Uuid>()) {
        ("job", Ok(id)) => audit::job(conn, JobId(id)).await?,
        _ => None,
    };
    Ok(Some(Origin {
        at: made.at,
        actor: made.actor.clone(),
        job,
        cause: (made.cause_kind.clone(), made.cause_id.clone()),
    }))
}

//! A cycle as its collection needs to know it, and what the decision to charge depends on.

use sqlx::PgConnection;

use super::words::{currency, parse, policy};
use crate::{
    domain::collection::{AttemptView, ChargeFacts, CycleView, Limits, PerDay},
    ids::{AttemptId, ClientId, CycleId, FirmId, InvoiceId, PaymentMethodId},
    money::Money,
    store::error::Result,
};

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
    /// Why it is in its state, where the state alone does not say.
    pub reason: Option<String>,
    /// Its PaymentIntent is known to be canceled.
    pub intent_closed: bool,
    /// State, first failure, policy, deadline.
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
    let invoice = Collected {
        id: InvoiceId(invoice.id),
        client: ClientId(invoice.client_id),
        customer: invoice.stripe_customer_id,
    };
    Ok(Some(load(conn, firm, id, invoice).await?))
}

/// Reads a cycle as [`lock`] does, and locks nothing: for looking only.
///
/// # Errors
/// When the database is away.
pub async fn look_at(conn: &mut PgConnection, firm: FirmId, id: CycleId) -> Result<Option<Cycle>> {
    let found = sqlx::query!(
        r#"select i.id, i.client_id, cl.stripe_customer_id
           from collection_cycles c
           join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(invoice) = found else { return Ok(None) };
    let invoice = Collected {
        id: InvoiceId(invoice.id),
        client: ClientId(invoice.client_id),
        customer: invoice.stripe_customer_id,
    };
    Ok(Some(load(conn, firm, id, invoice).await?))
}

/// What a cycle collects, and from whom.
struct Collected {
    id: InvoiceId,
    client: ClientId,
    customer: Option<String>,
}

async fn load(conn: &mut PgConnection, firm: FirmId, id: CycleId, invoice: Collected) -> Result<Cycle> {
    let row = sqlx::query!(
        r#"select c.stripe_payment_intent_id, c.amount_minor, c.currency::text as "currency!", c.state, c.state_reason,
                  c.first_failed_at, c.deadline_at, c.policy, c.version, c.intent_closed_at is not null as "intent_closed!",
                  case when e.charge_timing = 'on_due' then i.due_date::timestamp at time zone f.timezone end as first_due
           from collection_cycles c
           join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
           join firms f on f.id = c.firm_id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
           where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_one(&mut *conn)
    .await?;
    let attempts = sqlx::query!(
        "select id, seq, step, trigger, state, stripe_charge_id, sent_at, coalesce(real_sent_at, sent_at) as real_sent_at
         from payment_attempts where firm_id = $1 and cycle_id = $2 order by seq",
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
            real_sent_at: a.real_sent_at,
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
                invoice.id.0,
                intent
            )
            .fetch_all(&mut *conn)
            .await?
        }
    };
    Ok(Cycle {
        id,
        invoice: invoice.id,
        client: invoice.client,
        customer: invoice.customer,
        intent: row.stripe_payment_intent_id,
        amount: Money::new(row.amount_minor, currency(&row.currency)?),
        version: row.version,
        reason: row.state_reason,
        intent_closed: row.intent_closed,
        view: CycleView {
            state: parse(&row.state)?,
            first_failed_at: row.first_failed_at,
            policy: policy(row.policy)?,
            deadline: row.deadline_at,
            first_due: row.first_due,
        },
        attempts,
        payments,
    })
}

/// Reads what the decision to charge depends on. Call under [`lock`], or without it for a dry run.
///
/// # Errors
/// When the database is away.
pub async fn charge_facts(conn: &mut PgConnection, firm: FirmId, id: CycleId) -> Result<ChargeFacts> {
    facts(conn, firm, Some(id), None).await
}

/// The same of an invoice that nobody collects: what the decision would depend on if somebody did.
///
/// # Errors
/// When the database is away.
pub async fn charge_facts_without_cycle(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
) -> Result<ChargeFacts> {
    facts(conn, firm, None, Some(invoice)).await
}

async fn facts(
    conn: &mut PgConnection,
    firm: FirmId,
    cycle: Option<CycleId>,
    invoice: Option<InvoiceId>,
) -> Result<ChargeFacts> {
    let row = sqlx::query!(
        r#"select i.doc_state, i.currency::text as "currency!", s.open_minor as "open_minor!", i.autopay_opt_in, i.fenced_reason,
                  cl.autopay_enabled, cl.stripe_customer_id is not null as "has_customer!",
                  pm.id as "method_id?", pm.status as "method_status?",
                  case when n.autopay_paused_at is not null then 'all_paused'
                       when f.autopay_paused_at is not null then 'firm_paused'
                       when cl.autopay_paused_at is not null then 'client_paused'
                       when f.parked_reason is not null then 'firm_parked'
                       when cl.parked_reason is not null then 'client_parked' end as pause,
                  s.disputed_minor > 0 as "open_chargeback!",
                  exists (select 1 from collection_cycles o
                          join payment_attempts a on a.firm_id = o.firm_id and a.cycle_id = o.id
                          where o.firm_id = i.firm_id and o.invoice_id = i.id and o.id is distinct from c.id
                            and a.state in ('sent', 'processing', 'action_required', 'unknown')) as "earlier_attempt_open!",
                  exists (select 1 from collection_cycles o
                          where o.firm_id = i.firm_id and o.invoice_id = i.id and o.id is distinct from c.id and o.state = 'canceled'
                            and o.stripe_payment_intent_id is not null and o.intent_closed_at is null) as "earlier_intent_open!",
                  coalesce(c.state, 'canceled') as "state!", c.next_attempt_at as "next_attempt_at?", coalesce(c.next_step, 0) as "next_step!",
                  coalesce(c.next_trigger, 'auto') as "next_trigger!",
                  f.default_currency::text as "default_currency!", f.max_charge_minor, f.max_charges_per_run,
                  case when f.max_charges_per_run is null then 0 else (
                    select count(*) from payment_attempts a
                     where a.firm_id = i.firm_id and a.trigger in ('auto', 'retry', 'method_updated') and a.state not in ('technical', 'canceled')
                       and a.created_at >= date_trunc('day', app.now() at time zone f.timezone) at time zone f.timezone
                       and (a.cycle_id is distinct from c.id or a.state not in ('created', 'sent', 'processing', 'action_required', 'unknown')))
                  end as "made_today!"
           from invoices i
           left join collection_cycles c on c.firm_id = i.firm_id and c.id = $2
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           cross join installation n
           left join payment_methods pm on pm.firm_id = cl.firm_id and pm.id = cl.autopay_payment_method_id
           where i.firm_id = $1
             and i.id = coalesce($3, (select invoice_id from collection_cycles where firm_id = $1 and id = $2))"#,
        firm.0,
        cycle.map(|id| id.0),
        invoice.map(|id| id.0)
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
        earlier_intent_open: row.earlier_intent_open,
        cycle: parse(&row.state)?,
        next_attempt_at: row.next_attempt_at,
        next_step: u32::try_from(row.next_step).unwrap_or_default(),
        next_trigger: parse(&row.next_trigger)?,
        limits: Limits {
            max_charge: match row.max_charge_minor {
                Some(minor) => Some(Money::new(minor, currency(&row.default_currency)?)),
                None => None,
            },
            per_day: row.max_charges_per_run.map(|most| PerDay {
                most: i64::from(most),
                made: row.made_today,
            }),
        },
    })
}

/// Lets one charge of a firm be decided at a time, where it limits their number, until the transaction ends. Call under
/// [`lock`], before [`charge_facts`].
///
/// # Errors
/// When the database is away.
pub async fn take_turns(conn: &mut PgConnection, firm: FirmId) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('charges of firm:' || id::text, 0))::text as taken
           from firms where id = $1 and max_charges_per_run is not null",
        firm.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

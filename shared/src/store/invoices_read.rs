//! Invoices as they are shown: what `invoice list` and `invoice show` print. The keys are a public contract.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Result;
use crate::ids::{ClientId, FirmId, InvoiceId};

/// One invoice in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvoiceRow {
    /// Our id.
    pub id: Uuid,
    /// Its number, once issued.
    pub number: Option<String>,
    /// What an import calls it.
    pub external_id: Option<String>,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// The client, likewise.
    pub client: String,
    /// Currency of all its amounts.
    pub currency: String,
    /// The derived one-word status.
    pub status: String,
    /// A void was asked for, and waits for what may still be captured.
    pub being_voided: bool,
    /// What is owed.
    pub total_minor: i64,
    /// What is left of it.
    pub open_minor: i64,
    /// The date on it.
    pub issue_date: Option<NaiveDate>,
    /// Until when it is to be paid.
    pub due_date: Option<NaiveDate>,
    /// Where its collection stands.
    pub autopay_state: String,
    /// When the card is tried next.
    pub next_charge_at: Option<DateTime<Utc>>,
}

/// Which invoices of a firm to list.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// Of this client only.
    pub client: Option<ClientId>,
    /// With this status only.
    pub status: Option<&'a str>,
    /// Those listed after this one.
    pub after: Option<InvoiceId>,
    /// Only those on which something is owed.
    pub open_only: bool,
    /// No drafts: what the client has not been told is not shown to it.
    pub issued_only: bool,
}

/// Where to look for invoices of a status: working one out costs five look-ups, so it is done for few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Among {
    /// A client's.
    Client(Uuid),
    /// Those whose document says their status.
    PutAway,
    /// Those whose collection has not come to a good end.
    NotThrough,
    /// Those whose money was asked back.
    AskedBack,
    /// All.
    All,
}

impl Among {
    fn of(filter: &Filter<'_>) -> Self {
        match (filter.client, filter.status) {
            (Some(client), _) => Self::Client(client.0),
            (None, Some("draft" | "void" | "written_off")) => Self::PutAway,
            (None, Some("processing" | "failed")) => Self::NotThrough,
            (None, Some("disputed" | "charged_back" | "refunded")) => Self::AskedBack,
            (None, _) => Self::All,
        }
    }
}

/// The ids of the newest invoices among some. The status is looked up row by row (`offset 0`) in the order of the list, and no further
/// than the list goes; what a status implies is looked at before.
macro_rules! chosen {
    ($conn:ident, $firm:ident, $filter:ident, $most:ident, $among:tt $(, $more:expr)*) => {
        sqlx::query_scalar!(
            "select i.id from invoices i
             cross join lateral (select s.status, s.open_minor from invoice_status s where s.firm_id = i.firm_id and s.id = i.id offset 0) s
             where i.firm_id = $1 and ($2::uuid is null or i.id < $2) and (not $3 or i.doc_state <> 'draft')
               and (not $4 or (i.doc_state <> 'draft' and s.open_minor > 0)) and ($5::text is null or s.status = $5)" + $among
            + " order by i.id desc limit $6",
            $firm.0,
            $filter.after.map(|id| id.0),
            $filter.issued_only,
            $filter.open_only,
            $filter.status,
            $most
            $(, $more)*
        )
        .fetch_all(&mut *$conn)
        .await?
    };
}

/// The newest invoices of a firm, `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    filter: &Filter<'_>,
    most: i64,
) -> Result<Vec<InvoiceRow>> {
    let ids = match Among::of(filter) {
        Among::Client(client) => chosen!(conn, firm, filter, most, " and i.client_id = $7", client),
        Among::PutAway => chosen!(
            conn,
            firm,
            filter,
            most,
            " and i.doc_state in ('draft', 'void', 'written_off') and i.doc_state = $5"
        ),
        Among::NotThrough => chosen!(
            conn,
            firm,
            filter,
            most,
            " and exists (select from collection_cycles c where c.firm_id = i.firm_id and c.invoice_id = i.id
                and c.state not in ('succeeded', 'canceled') and (c.state in ('in_flight', 'unknown')) = ($5 = 'processing'))"
        ),
        Among::AskedBack => chosen!(
            conn,
            firm,
            filter,
            most,
            " and i.id in (
                select p.invoice_id from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id where d.firm_id = $1
                union all
                select p.invoice_id from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id where r.firm_id = $1)"
        ),
        Among::All => chosen!(
            conn,
            firm,
            filter,
            most,
            " and case $5::text when 'overdue' then i.due_date < (select (app.now() at time zone f.timezone)::date from firms f where f.id = $1)
                  when 'partial' then i.due_date >= (select (app.now() at time zone f.timezone)::date from firms f where f.id = $1)
                    -- Something was paid other than the whole.
                    and (exists (select from credit_applications a where a.firm_id = i.firm_id and a.invoice_id = i.id)
                      or exists (select from payments p left join credit_lots l on l.firm_id = p.firm_id and l.payment_id = p.id
                        where p.firm_id = i.firm_id and p.invoice_id = i.id and (p.amount_minor <> i.total_minor or l.id is not null)))
                  when 'sent' then i.doc_state = 'void_requested'
                    or i.due_date >= (select (app.now() at time zone f.timezone)::date from firms f where f.id = $1)
                  else true end"
        ),
    };
    Ok(sqlx::query_as!(
        InvoiceRow,
        r#"select i.id, i.number, i.external_id, coalesce(f.external_id, f.id::text) as "firm!",
                  coalesce(cl.external_id, cl.id::text) as "client!", i.currency::text as "currency!", s.status as "status!",
                  i.doc_state = 'void_requested' as "being_voided!", i.total_minor as "total_minor!", s.open_minor as "open_minor!", i.issue_date, i.due_date,
                  s.autopay_state as "autopay_state!",
                  case when c.state in ('scheduled', 'retry_wait') then c.next_attempt_at end as next_charge_at
           from unnest($2::uuid[]) chosen (id)
           join invoices i on i.firm_id = $1 and i.id = chosen.id
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           cross join lateral (select * from invoice_status s where s.firm_id = i.firm_id and s.id = i.id offset 0) s
           left join collection_cycles c on c.firm_id = i.firm_id and c.id = s.cycle_id
           order by i.id desc"#,
        firm.0,
        &ids
    )
    .fetch_all(conn)
    .await?)
}

/// An invoice with everything that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvoiceView {
    /// Our id.
    pub id: Uuid,
    /// Its number, once issued.
    pub number: Option<String>,
    /// What an import calls it.
    pub external_id: Option<String>,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// The client, likewise.
    pub client: String,
    /// The engagement, likewise.
    pub engagement: Option<String>,
    /// Currency of all its amounts.
    pub currency: String,
    /// The derived one-word status.
    pub status: String,
    /// A void was asked for, and waits for what may still be captured.
    pub being_voided: bool,
    /// What its lines add up to.
    pub subtotal_minor: i64,
    /// Tax on top of them.
    pub tax_minor: i64,
    /// What is owed: both.
    pub total_minor: i64,
    /// What was paid.
    pub paid_minor: i64,
    /// What credit covers.
    pub credited_minor: i64,
    /// What was given back.
    pub refunded_minor: i64,
    /// What a lost dispute took.
    pub charged_back_minor: i64,
    /// What is left to be paid.
    pub open_minor: i64,
    /// The date on it.
    pub issue_date: Option<NaiveDate>,
    /// Until when it is to be paid.
    pub due_date: Option<NaiveDate>,
    /// When it was issued.
    pub issued_at: Option<DateTime<Utc>>,
    /// The period that it bills.
    pub period: Option<Period>,
    /// Why it is not charged, while it is fenced.
    pub fenced_reason: Option<String>,
    /// What it is made up of.
    pub lines: Vec<Line>,
    /// Where its collection stands.
    pub autopay: Autopay,
    /// Every try to charge.
    pub attempts: Vec<Attempt>,
    /// Money that arrived.
    pub payments: Vec<Payment>,
    /// Money that went back.
    pub refunds: Vec<Refund>,
    /// What the client contested.
    pub disputes: Vec<Dispute>,
}

impl InvoiceView {
    /// What of it the client's own users see: what is billed, paid, given back and contested, and nothing of how the firm went about
    /// it. An issuer's words about a card are for the firm too: Stripe asks not to repeat them to whoever holds it.
    #[must_use]
    pub fn for_client(mut self) -> Self {
        for line in &mut self.lines {
            if let Some(time) = &mut line.time {
                time.approved_by = None;
            }
        }
        for payment in &mut self.payments {
            payment.stripe_charge_id = None;
            payment.stripe_payment_intent_id = None;
        }
        for refund in &mut self.refunds {
            refund.stripe_refund_id = None;
            refund.failure_code = None;
            refund.reason.clear();
        }
        for dispute in &mut self.disputes {
            dispute.respond_by = None;
        }
        Self {
            fenced_reason: None,
            autopay: Autopay {
                reason: None,
                ..self.autopay
            },
            attempts: Vec::new(),
            ..self
        }
    }
}

/// The half-open range of days that an invoice bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Period {
    /// First day.
    pub start: NaiveDate,
    /// First day after it.
    pub end: NaiveDate,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Line {
    /// What for.
    pub kind: String,
    /// A code that stands for the text.
    pub description_code: String,
    /// How much.
    pub amount_minor: i64,
    /// The time that it bills, where it bills time.
    // A schema has no members that are all there or none.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeOnLine>,
}

/// Time on a line: which, how long, at what rate, and who approved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimeOnLine {
    /// The entry, by its `external_id` where it has one.
    pub time_entry: String,
    /// Worked by.
    pub worker: String,
    /// On which day.
    pub worked_on: NaiveDate,
    /// How long.
    pub minutes: i32,
    /// Per hour.
    pub rate_minor: i64,
    /// Who approved it.
    pub approved_by: Option<String>,
}

/// Where collection by card stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Autopay {
    /// Whether the invoice may be collected by card at all.
    pub opt_in: bool,
    /// `none`, or the state of its latest cycle.
    pub state: String,
    /// Why, where the state alone does not say.
    pub reason: Option<String>,
    /// When the card is tried next.
    pub next_charge_at: Option<DateTime<Utc>>,
    /// Until when the client has time to authenticate or to name another card.
    pub waits_until: Option<DateTime<Utc>>,
}

/// One try to charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// 0 the first, 1 to 3 the retries.
    pub number: i32,
    /// Why it was made.
    pub trigger: String,
    /// How it ended, or where it stands.
    pub state: String,
    /// What kind of failure.
    pub failure_class: Option<String>,
    /// Stripe's code of the failure.
    pub failure_code: Option<String>,
    /// The issuer's reason.
    pub decline_code: Option<String>,
    /// How much.
    pub amount_minor: i64,
    /// The card, by its Stripe id.
    pub payment_method: String,
    /// The intent that was confirmed.
    pub stripe_payment_intent_id: Option<String>,
    /// The charge that came of it.
    pub stripe_charge_id: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// When its outcome was known.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// Money that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Payment {
    /// Our id.
    pub id: Uuid,
    /// `stripe` or `external`.
    pub method: String,
    /// How much.
    pub amount_minor: i64,
    /// The charge at Stripe.
    pub stripe_charge_id: Option<String>,
    /// The intent at Stripe.
    pub stripe_payment_intent_id: Option<String>,
    /// The reference of a payment from elsewhere.
    pub reference: Option<String>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
}

/// Money that went back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refund {
    /// Our id.
    pub id: Uuid,
    /// Its id at Stripe.
    pub stripe_refund_id: Option<String>,
    /// How much.
    pub amount_minor: i64,
    /// `card` or `credit`.
    pub to: String,
    /// Where it stands.
    pub state: String,
    /// Why it came to nothing.
    pub failure_code: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What the client contested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dispute {
    /// Its id at Stripe.
    pub id: String,
    /// `inquiry` or `chargeback`.
    pub kind: String,
    /// In Stripe's words.
    pub status: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// How much.
    pub amount_minor: i64,
    /// The client's reason, in Stripe's words.
    pub reason: Option<String>,
    /// Until when evidence counts.
    pub respond_by: Option<DateTime<Utc>>,
    /// When it began.
    pub opened_at: DateTime<Utc>,
    /// When it ended.
    pub closed_at: Option<DateTime<Utc>>,
}

/// One invoice in full; `None` when this firm has none with this id.
///
/// # Errors
/// When the database is away.
pub async fn show(conn: &mut PgConnection, firm: FirmId, id: InvoiceId) -> Result<Option<InvoiceView>> {
    let row = sqlx::query!(
        r#"select i.id, i.number, i.external_id, coalesce(f.external_id, f.id::text) as "firm!",
                  coalesce(cl.external_id, cl.id::text) as "client!", coalesce(e.external_id, e.id::text) as engagement,
                  i.currency::text as "currency!", s.status as "status!", i.doc_state = 'void_requested' as "being_voided!",
                  i.subtotal_minor, i.tax_minor, i.total_minor as "total_minor!", s.paid_minor as "paid_minor!", s.credited_minor as "credited_minor!", s.refunded_minor as "refunded_minor!",
                  s.charged_back_minor as "charged_back_minor!", s.open_minor as "open_minor!", i.issue_date, i.due_date,
                  i.issued_at, i.fenced_reason, i.autopay_opt_in, s.autopay_state as "autopay_state!",
                  c.state_reason as "state_reason?",
                  case when c.state in ('scheduled', 'retry_wait') then c.next_attempt_at end as next_charge_at,
                  case when c.state in ('action_required', 'method_required') then c.deadline_at end as waits_until
           from invoices i
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           left join collection_cycles c on c.firm_id = i.firm_id and c.id = s.cycle_id
           where i.firm_id = $1 and i.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(InvoiceView {
        id: row.id,
        number: row.number,
        external_id: row.external_id,
        firm: row.firm,
        client: row.client,
        engagement: row.engagement,
        currency: row.currency,
        status: row.status,
        being_voided: row.being_voided,
        subtotal_minor: row.subtotal_minor,
        tax_minor: row.tax_minor,
        total_minor: row.total_minor,
        paid_minor: row.paid_minor,
        credited_minor: row.credited_minor,
        refunded_minor: row.refunded_minor,
        charged_back_minor: row.charged_back_minor,
        open_minor: row.open_minor,
        issue_date: row.issue_date,
        due_date: row.due_date,
        issued_at: row.issued_at,
        period: period(&mut *conn, firm, id).await?,
        fenced_reason: row.fenced_reason,
        lines: lines(&mut *conn, firm, id).await?,
        autopay: Autopay {
            opt_in: row.autopay_opt_in,
            state: row.autopay_state,
            reason: row.state_reason,
            next_charge_at: row.next_charge_at,
            waits_until: row.waits_until,
        },
        attempts: attempts(&mut *conn, firm, id).await?,
        payments: payments(&mut *conn, firm, id).await?,
        refunds: refunds(&mut *conn, firm, id).await?,
        disputes: disputes(&mut *conn, firm, id).await?,
    }))
}

async fn period(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Option<Period>> {
    Ok(sqlx::query_as!(
        Period,
        r#"select period_start as start, period_end as "end" from billing_periods
            where firm_id = $1 and invoice_id = $2 order by period_start limit 1"#,
        firm.0,
        invoice.0
    )
    .fetch_optional(conn)
    .await?)
}

async fn lines(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Vec<Line>> {
    let rows = sqlx::query!(
        r#"select l.kind, l.description_code, l.amount_minor, coalesce(t.external_id, t.id::text) as "entry", l.quantity_minutes,
                  l.rate_minor, t.worker as "worker?", t.worked_on as "worked_on?", t.approved_by
           from invoice_lines l left join time_entries t on t.firm_id = l.firm_id and t.id = l.time_entry_id
           where l.firm_id = $1 and l.invoice_id = $2 order by l.line_no"#,
        firm.0,
        invoice.0
    )
    .fetch_all(conn)
    .await?;
    let lines = rows.into_iter().map(|row| {
        let time = match (
            row.entry,
            row.worker,
            row.worked_on,
            row.quantity_minutes,
            row.rate_minor,
        ) {
            (Some(time_entry), Some(worker), Some(worked_on), Some(minutes), Some(rate_minor)) => {
                Some(TimeOnLine {
                    time_entry,
                    worker,
                    worked_on,
                    minutes,
                    rate_minor,
                    approved_by: row.approved_by,
                })
            }
            _ => None,
        };
        Line {
            kind: row.kind,
            description_code: row.description_code,
            amount_minor: row.amount_minor,
            time,
        }
    });
    Ok(lines.collect())
}

async fn attempts(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Vec<Attempt>> {
    Ok(sqlx::query_as!(
        Attempt,
        "select a.step as number, a.trigger, a.state, a.failure_class, a.failure_code, a.decline_code, a.amount_minor,
                pm.stripe_payment_method_id as payment_method, c.stripe_payment_intent_id, a.stripe_charge_id,
                a.created_at as at, a.resolved_at
         from payment_attempts a
         join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
         join payment_methods pm on pm.firm_id = a.firm_id and pm.id = a.payment_method_id
         where c.firm_id = $1 and c.invoice_id = $2 order by c.seq, a.seq",
        firm.0,
        invoice.0
    )
    .fetch_all(conn)
    .await?)
}

async fn payments(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Vec<Payment>> {
    Ok(sqlx::query_as!(
        Payment,
        "select id, method, amount_minor, stripe_charge_id, stripe_payment_intent_id, external_ref as reference, received_at
         from payments where firm_id = $1 and invoice_id = $2 order by received_at, id",
        firm.0,
        invoice.0
    )
    .fetch_all(conn)
    .await?)
}

/// What was given back of an invoice's payments, oldest first.
///
/// # Errors
/// When the database is away.
pub async fn refunds(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Vec<Refund>> {
    Ok(sqlx::query_as!(
        Refund,
        r#"select r.id, r.stripe_refund_id, r.amount_minor, r.destination as "to", r.state, r.failure_code, r.reason, r.created_at as at
           from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
           where p.firm_id = $1 and p.invoice_id = $2 order by r.created_at, r.id"#,
        firm.0,
        invoice.0
    )
    .fetch_all(conn)
    .await?)
}

async fn disputes(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Vec<Dispute>> {
    Ok(sqlx::query_as!(
        Dispute,
        "select d.stripe_dispute_id as id, d.kind, d.stripe_status as status, d.outcome, d.amount_minor, d.reason, d.respond_by,
                d.opened_at, d.closed_at
         from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
         where p.firm_id = $1 and p.invoice_id = $2 order by d.opened_at, d.stripe_dispute_id",
        firm.0,
        invoice.0
    )
    .fetch_all(conn)
    .await?)
}

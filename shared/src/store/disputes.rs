//! Disputes: which there are, what each did to the books, and what a person decided about a lost one. What Stripe reports
//! of them is written by [`super::payments`].

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    alerts::{self, NewAlert},
    audit::{self, By, Entry, Severity},
    brakes, cycles,
    decisions::{self, Decision},
    error::{Error, Result},
    generation, issuing, payments,
};
use crate::{
    currency::Currency,
    domain::{
        alert::{AlertType, Topic},
        dispute::{ResolutionFacts, decide_resolution},
        predicate::Predicate,
    },
    ids::{ClientId, FirmId, InvoiceId, PaymentId},
    money::Money,
};

/// Why an invoice with an open or lost chargeback is never charged automatically (A-19).
pub const FENCE: &str = "chargeback";

/// Why a client's automatic payment is paused because of a chargeback for fraud.
const FRAUD: &str = "fraudulent_chargeback";

/// Which disputes to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// `open`, `undecided` (lost, and nobody has decided), or how it ended.
    pub status: Option<&'a str>,
    /// Those listed after this one.
    pub after: Option<&'a Position>,
    /// This one only.
    pub only: Option<Uuid>,
}

/// Where a dispute stands in a list: open ones first, by the day until which evidence counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// It has ended.
    pub ended: bool,
    /// It has no deadline.
    pub no_deadline: bool,
    /// Its deadline.
    pub respond_by: Option<DateTime<Utc>>,
    /// Its id at Stripe.
    pub id: String,
}

/// One dispute in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DisputeRow {
    /// Its id at Stripe.
    pub id: String,
    /// Our id.
    pub uuid: Uuid,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// The client, likewise.
    pub client: String,
    /// The number of the invoice whose payment is disputed.
    pub invoice: Option<String>,
    /// `inquiry` or `chargeback`.
    pub kind: String,
    /// In Stripe's words.
    pub status: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// The cardholder's reason, in Stripe's words.
    pub reason: Option<String>,
    /// How much.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: String,
    /// When it began.
    pub opened_at: DateTime<Utc>,
    /// Until when evidence counts.
    pub respond_by: Option<DateTime<Utc>>,
    /// When it ended.
    pub closed_at: Option<DateTime<Utc>>,
    /// Of a lost one: `needed`, `rebill` or `write_off`.
    pub decision: Option<String>,
}

impl DisputeRow {
    /// Where it stands in a list.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            ended: self.outcome.is_some(),
            no_deadline: self.respond_by.is_none(),
            respond_by: self.respond_by,
            id: self.id.clone(),
        }
    }
}

/// Disputes of a firm: open ones first, the next deadline first; `most` of them.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    filter: &Filter<'_>,
    most: i64,
) -> Result<Vec<DisputeRow>> {
    let after = filter.after;
    Ok(sqlx::query_as!(
        DisputeRow,
        r#"with found as (
             select d.stripe_dispute_id as id, d.id as uuid, coalesce(f.external_id, f.id::text) as firm,
                    coalesce(c.external_id, c.id::text) as client, coalesce(i.number, i.id::text) as invoice, d.kind,
                    d.stripe_status as status, d.outcome, d.reason, d.amount_minor, d.currency::text as currency, d.opened_at,
                    d.respond_by, d.closed_at,
                    case when d.outcome = 'lost' then coalesce(r.kind, 'needed') end as decision,
                    (d.outcome is not null, d.respond_by is null, coalesce(d.respond_by, 'infinity'), d.stripe_dispute_id collate "C") as position
               from disputes d
               join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
               join firms f on f.id = d.firm_id
               join clients c on c.firm_id = p.firm_id and c.id = p.client_id
               left join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
               left join dispute_resolutions r on r.firm_id = d.firm_id and r.dispute_id = d.id
              where d.firm_id = $1 and ($2::uuid is null or d.id = $2))
           select id as "id!", uuid as "uuid!", firm as "firm!", client as "client!", invoice, kind as "kind!", status as "status!",
                  outcome, reason, amount_minor as "amount_minor!", currency as "currency!", opened_at as "opened_at!", respond_by,
                  closed_at, decision
             from found
            where ($3::text is null or case $3 when 'open' then outcome is null when 'undecided' then decision = 'needed'
                                               else outcome is not distinct from $3 end)
              and ($4::text is null or position > ($5::bool, $6::bool, coalesce($7::timestamptz, 'infinity'), $4 collate "C"))
            order by position limit $8"#,
        firm.0,
        filter.only,
        filter.status,
        after.map(|p| p.id.clone()),
        after.is_some_and(|p| p.ended),
        after.is_some_and(|p| p.no_deadline),
        after.and_then(|p| p.respond_by),
        most,
    )
    .fetch_all(conn)
    .await?)
}

/// A dispute with what it did to the money and the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DisputeView {
    /// As in a list.
    #[serde(flatten)]
    pub row: DisputeRow,
    /// The network's reason.
    pub network_reason_code: Option<String>,
    /// The disputed charge.
    pub stripe_charge_id: Option<String>,
    /// What was captured by it.
    pub payment_minor: i64,
    /// Why the invoice is not charged automatically, while it is fenced.
    pub fenced_reason: Option<String>,
    /// What Stripe took and gave back, by balance transaction.
    pub movements: Vec<Movement>,
    /// What the ledger holds for it, by account.
    pub ledger: Vec<Holding>,
    /// What a person decided.
    pub resolution: Option<Resolution>,
}

/// One movement of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Movement {
    /// `withdrawn`, `reinstated`, `fee` or `fee_refund`.
    pub kind: String,
    /// How much; always positive.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: String,
    /// The balance transaction.
    pub stripe_balance_transaction_id: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What an account holds; debit positive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holding {
    /// The account.
    pub account: String,
    /// How much.
    pub minor: i64,
    /// In which currency.
    pub currency: String,
}

/// What a person decided about a lost dispute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resolution {
    /// `rebill` or `write_off`.
    pub kind: String,
    /// The invoice that bills it again.
    pub invoice: Option<String>,
    /// Why.
    pub reason: String,
    /// Who.
    pub resolved_by: String,
    /// When.
    pub resolved_at: DateTime<Utc>,
}

/// One dispute in full; `None` when this firm has none with this id.
///
/// # Errors
/// When the database is away.
pub async fn show(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<DisputeView>> {
    let filter = Filter {
        only: Some(id),
        ..Filter::default()
    };
    let Some(row) = list(conn, firm, &filter, 1).await?.pop() else {
        return Ok(None);
    };
    let more = sqlx::query!(
        "select d.network_reason_code, p.stripe_charge_id, p.amount_minor, i.fenced_reason
           from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
           left join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
          where d.firm_id = $1 and d.id = $2",
        firm.0,
        id
    )
    .fetch_one(&mut *conn)
    .await?;
    let movements = sqlx::query_as!(
        Movement,
        r#"select kind, amount_minor, currency::text as "currency!", stripe_balance_transaction_id, at from dispute_movements
            where firm_id = $1 and dispute_id = $2 order by at, stripe_balance_transaction_id, kind"#,
        firm.0,
        id
    )
    .fetch_all(&mut *conn)
    .await?;
    let resolution = sqlx::query_as!(
        Resolution,
        "select r.kind, coalesce(i.number, i.id::text) as invoice, r.reason, r.resolved_by, r.resolved_at
           from dispute_resolutions r left join invoices i on i.firm_id = r.firm_id and i.id = r.invoice_id
          where r.firm_id = $1 and r.dispute_id = $2",
        firm.0,
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    Ok(Some(DisputeView {
        row,
        network_reason_code: more.network_reason_code,
        stripe_charge_id: more.stripe_charge_id,
        payment_minor: more.amount_minor,
        fenced_reason: more.fenced_reason,
        movements,
        ledger: holdings(conn, firm, id).await?,
        resolution,
    }))
}

async fn holdings(conn: &mut PgConnection, firm: FirmId, dispute: Uuid) -> Result<Vec<Holding>> {
    Ok(sqlx::query_as!(
        Holding,
        r#"select p.account, sum(p.amount_minor)::bigint as "minor!", p.currency::text as "currency!"
             from journals j join postings p on p.firm_id = j.firm_id and p.journal_id = j.id
            where j.firm_id = $1 and j.dispute_id = $2
            group by p.account, p.currency having sum(p.amount_minor) <> 0 order by p.account, p.currency"#,
        firm.0,
        dispute
    )
    .fetch_all(conn)
    .await?)
}

/// What a person can decide about a lost dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// What it took is a loss.
    WriteOff,
    /// The client is billed again for what it took.
    Rebill {
        /// The new invoice may be charged automatically.
        autopay: bool,
    },
}

impl Choice {
    fn word(self) -> &'static str {
        match self {
            Self::WriteOff => "write_off",
            Self::Rebill { .. } => "rebill",
        }
    }
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It stands; with the invoice that bills it again.
    Done(Option<InvoiceId>),
    /// There is nothing to decide like this. The code says why.
    Refused(&'static str),
}

/// Puts a person's decision about a lost dispute into effect: the ledger follows by trigger, and the fence of the disputed
/// invoice is lifted, as nothing about it is open any more.
///
/// # Errors
/// When the database is away, or the dispute is not this firm's.
pub async fn resolve(
    conn: &mut PgConnection,
    firm: FirmId,
    dispute: Uuid,
    choice: Choice,
    (reason, person): (&str, &str),
    by: &By<'_>,
) -> Result<Decided> {
    let invoice = sqlx::query_scalar!(
        "select p.invoice_id from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
          where d.firm_id = $1 and d.id = $2",
        firm.0,
        dispute
    )
    .fetch_one(&mut *conn)
    .await?
    .map(InvoiceId);
    if let Some(invoice) = invoice {
        payments::lock_invoice(conn, firm, invoice).await?;
    }
    let row = sqlx::query!(
        r#"select stripe_dispute_id, kind, outcome, amount_minor, currency::text as "currency!" from disputes
            where firm_id = $1 and id = $2 for update"#,
        firm.0,
        dispute
    )
    .fetch_one(&mut *conn)
    .await?;
    let decided = sqlx::query_scalar!(
        "select kind from dispute_resolutions where firm_id = $1 and dispute_id = $2",
        firm.0,
        dispute
    )
    .fetch_optional(&mut *conn)
    .await?;
    let owed: Vec<Holding> = holdings(conn, firm, dispute)
        .await?
        .into_iter()
        .filter(|held| held.account == "chargeback_receivable" && held.minor > 0)
        .collect();
    let facts = ResolutionFacts {
        outcome: row.outcome.as_deref().map(parse).transpose()?,
        decided: decided.is_some(),
        rebill: matches!(choice, Choice::Rebill { .. }),
        took_money: !owed.is_empty() && invoice.is_some(),
    };
    let (refusal, checks) = decide_resolution(&facts);
    if let Some(reason) = refusal {
        tell_decision(conn, firm, dispute, ("refuse", reason), &checks, by).await?;
        return Ok(Decided::Refused(reason));
    }
    tell_decision(
        conn,
        firm,
        dispute,
        (choice.word(), "decided_by_person"),
        &checks,
        by,
    )
    .await?;
    // What was taken in the invoice's own currency, as the ledger has it; of what was taken in another, what was disputed.
    let amount = owed
        .iter()
        .find(|held| held.currency == row.currency)
        .map_or(row.amount_minor, |held| held.minor);
    let amount = Money::new(amount, currency(&row.currency)?);
    let billed = match (choice, invoice) {
        (Choice::Rebill { autopay }, Some(original)) => {
            Some(rebill(conn, firm, dispute, original, amount, autopay, by).await?)
        }
        (Choice::Rebill { .. } | Choice::WriteOff, _) => None,
    };
    sqlx::query!(
        "insert into dispute_resolutions (firm_id, dispute_id, kind, invoice_id, reason, resolved_by, resolved_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        firm.0,
        dispute,
        choice.word(),
        billed.map(|id| id.0),
        reason,
        person,
        by.at
    )
    .execute(&mut *conn)
    .await?;
    let meta = json!({"dispute": row.stripe_dispute_id, "decision": choice.word(), "amount_minor": amount.minor(),
                      "currency": amount.currency().as_str(), "rebilled_by": billed, "reason": reason});
    let subject = invoice.map_or(dispute, |id| id.0);
    let entry = by.entry("dispute.resolved", "invoice", subject, meta);
    audit::record(conn, firm, by.at, &entry).await?;
    if let Some(invoice) = invoice {
        lift_fence(conn, firm, invoice, by).await?;
    }
    Ok(Decided::Done(billed))
}

/// Issues an invoice over what a lost dispute took, on the terms of the disputed one.
async fn rebill(
    conn: &mut PgConnection,
    firm: FirmId,
    dispute: Uuid,
    original: InvoiceId,
    amount: Money,
    autopay: bool,
    by: &By<'_>,
) -> Result<InvoiceId> {
    let id = InvoiceId::new();
    sqlx::query!(
        "insert into invoices (firm_id, id, client_id, engagement_id, engagement_override, engagement_override_reason,
                               engagement_override_by, project_id, source, currency, subtotal_minor, autopay_opt_in, rebills_dispute_id)
         select firm_id, $3, client_id, engagement_id, engagement_override, engagement_override_reason, engagement_override_by,
                project_id, 'manual', currency, $4, $5, $6
           from invoices where firm_id = $1 and id = $2",
        firm.0,
        original.0,
        id.0,
        amount.minor(),
        autopay,
        dispute
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, description_code, amount_minor, derivation)
         values ($1, $2, $3, 1, 'adjustment', 'chargeback_rebill', $4, $5)",
        firm.0,
        Uuid::now_v7(),
        id.0,
        amount.minor(),
        json!({"dispute": dispute, "of_invoice": original})
    )
    .execute(&mut *conn)
    .await?;
    let context = generation::firm_context(conn, firm).await?;
    issuing::issue(conn, &context, &[id], by).await?;
    Ok(id)
}

async fn tell_decision(
    conn: &mut PgConnection,
    firm: FirmId,
    dispute: Uuid,
    (outcome, reason_code): (&str, &str),
    checks: &[Predicate],
    by: &By<'_>,
) -> Result<()> {
    let decision = Decision {
        subject_kind: "dispute",
        subject: dispute,
        kind: "dispute",
        outcome,
        reason_code,
        predicates: json!(checks),
        cause: by.cause,
    };
    decisions::record(conn, firm, by.at, &decision).await
}

/// Records that a lost dispute waits for a person: billed again, or written off.
///
/// # Errors
/// When the database is away.
pub async fn ask_for_decision(
    conn: &mut PgConnection,
    firm: FirmId,
    dispute: Uuid,
    by: &By<'_>,
) -> Result<()> {
    let checks = [
        Predicate::new("dispute_not_lost", false, json!("lost")),
        Predicate::not_applicable("decided_by_person"),
    ];
    let asked = ("needs_human", "dispute_lost_needs_choice");
    tell_decision(conn, firm, dispute, asked, &checks, by).await
}

/// Lifts the fence of a locked invoice once no chargeback of it is open, and none was lost that nobody has decided about; what
/// waited behind it goes on. Returns whether there was one to lift.
///
/// # Errors
/// When the database is away.
pub async fn lift_fence(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    by: &By<'_>,
) -> Result<bool> {
    if payments::has_standing_chargeback(conn, firm, invoice).await?
        || !payments::lift_fence(conn, firm, invoice, FENCE).await?
    {
        return Ok(false);
    }
    let reasons = ["invoice_fenced", "open_dispute"];
    cycles::resume_held(conn, firm, invoice, &reasons, by.at, by.cause).await?;
    Ok(true)
}

/// A chargeback for fraud on one payment pauses the client's automatic payment, where the firm has it so: whoever calls one
/// charge a fraud will call the next one that too. A pause that stands already keeps its reason.
///
/// # Errors
/// When the database is away.
pub async fn pause_client(
    conn: &mut PgConnection,
    firm: FirmId,
    payment: PaymentId,
    dispute: &str,
    by: &By<'_>,
) -> Result<()> {
    let paused = sqlx::query_scalar!(
        "update clients c set autopay_paused_at = $3, autopay_paused_reason = $4 from payments p, firms f
          where p.firm_id = $1 and p.id = $2 and c.firm_id = p.firm_id and c.id = p.client_id and f.id = p.firm_id
            and f.pause_client_on_fraud and c.autopay_paused_at is null
         returning c.id",
        firm.0,
        payment.0,
        by.at,
        FRAUD
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(client) = paused else { return Ok(()) };
    let alert = NewAlert {
        kind: AlertType::SystemError,
        severity: Severity::Warning,
        topic: Topic::ClientPaused(ClientId(client)),
        title: "A client's automatic payment was paused",
        message: "The cardholder called a charge a fraud. Nothing more is charged to this client until the dispute is won, or a \
                  person says so: `quittance resume autopay --client-id CLIENT --reason R`.",
        invoice: None,
        related: json!({"client": client, "dispute": dispute}),
        cause: by.cause,
    };
    alerts::raise(conn, firm, by.at, &alert).await?;
    let entry = Entry {
        severity: Severity::Warning,
        ..by.entry(
            "autopay.paused",
            "client",
            client,
            json!({"reason": FRAUD, "dispute": dispute}),
        )
    };
    audit::record(conn, firm, by.at, &entry).await?;
    // A confirmation for the same client may be waiting for its turn.
    brakes::pull(conn).await
}

/// A chargeback for fraud ended well: the pause that it brought about ends, unless another one of the client's stands.
///
/// # Errors
/// When the database is away.
pub async fn resume_client(
    conn: &mut PgConnection,
    firm: FirmId,
    payment: PaymentId,
    dispute: &str,
    by: &By<'_>,
) -> Result<()> {
    let resumed = sqlx::query_scalar!(
        "update clients c set autopay_paused_at = null, autopay_paused_reason = null from payments p
          where p.firm_id = $1 and p.id = $2 and c.firm_id = p.firm_id and c.id = p.client_id and c.autopay_paused_reason = $3
            and not exists (select 1 from disputes d join payments q on q.firm_id = d.firm_id and q.id = d.payment_id
                             where q.firm_id = c.firm_id and q.client_id = c.id and d.kind = 'chargeback' and d.reason = 'fraudulent'
                               and (d.outcome is null or d.outcome = 'lost'))
         returning c.id",
        firm.0,
        payment.0,
        FRAUD
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(client) = resumed else { return Ok(()) };
    let meta = json!({"reason": "chargeback_ended", "dispute": dispute});
    audit::record(
        conn,
        firm,
        by.at,
        &by.entry("autopay.resumed", "client", client, meta),
    )
    .await
}

fn currency(word: &str) -> Result<Currency> {
    Currency::parse(word).map_err(|e| Error::Other(sqlx::Error::Decode(e.to_string().into())))
}

fn parse<T: std::str::FromStr<Err = crate::domain::words::UnknownWord>>(word: &str) -> Result<T> {
    word.parse().map_err(|e: crate::domain::words::UnknownWord| {
        Error::Other(sqlx::Error::Decode(e.to_string().into()))
    })
}

/// Why a dispute is not decided like this, as the rest of a sentence that begins with its id.
#[must_use]
pub fn refusal(reason: &str) -> &'static str {
    match reason {
        "dispute_open" => "is open: the bank has not decided yet",
        "dispute_not_lost" => "was not lost: there is nothing to decide",
        "already_decided" => "was decided before: `quittance dispute show` says how",
        "nothing_taken" => "took no money that the client could owe again: write it off",
        _ => "cannot be decided like this",
    }
}

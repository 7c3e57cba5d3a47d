//! `quittance invoice create`, `issue`, `discard` and `reissue`: invoices that a person asks for.
//!
//! By default an invoice hangs on an engagement and bills its approved time; without one only an owner or admin of the firm
//! may have it made. A draft keeps its time for itself until it is issued or discarded.

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::json;
use shared::{
    actions::{
        invoices::{self, Discarded, Reissued, may_invoice, note, show},
        people::Acting,
    },
    currency::Currency,
    domain::{generate::EngagementStatus, import::LineKind},
    ids::{FirmId, InvoiceId},
    money::Money,
    store::{
        Db, Tx,
        audit::{By, Cause},
        billable_time::{self, Waiting, Window},
        generation::FirmContext,
        invoice_basis::{self, EngagementTerms},
        invoices_read::InvoiceView,
        issuing::{self, Basis, Draft, DraftLine, Source},
        jobs,
    },
};
use uuid::Uuid;

use super::{
    find::{find_client, find_engagement, find_invoice},
    operator,
    reason::{Reason, said},
};
use crate::output::Failure;

/// Arguments of `invoice create`.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The engagement: its approved time that is on no invoice yet is billed.
    #[arg(long, value_name = "ID", conflicts_with_all = ["client", "override_by", "override_reason", "currency"])]
    engagement: Option<String>,
    /// Only time worked on this day or later.
    #[arg(long, value_name = "DATE", requires = "engagement", conflicts_with = "amount")]
    from: Option<NaiveDate>,
    /// Only time worked before this day.
    #[arg(long, value_name = "DATE", requires = "engagement", conflicts_with = "amount")]
    to: Option<NaiveDate>,
    /// The client, where there is no engagement.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// The owner or admin of the firm who says that it needs no engagement.
    #[arg(long, value_name = "USER", value_parser = said)]
    override_by: Option<String>,
    /// Why it needs none.
    #[arg(long, value_name = "R", value_parser = said)]
    override_reason: Option<String>,
    /// What it comes to, such as 250.00; with --engagement, instead of its time.
    #[arg(long, value_name = "A")]
    amount: Option<String>,
    /// Of the amount; the firm's own unless told.
    #[arg(long, value_name = "C")]
    currency: Option<String>,
    /// Tax on top of that, such as 47.50, as you have worked it out; none unless told.
    #[arg(long, value_name = "A")]
    tax: Option<String>,
    /// The project that it belongs to.
    #[arg(long, value_name = "UUID")]
    project: Option<Uuid>,
    /// Do not collect it by card, whatever the client has agreed to.
    #[arg(long)]
    no_autopay: bool,
    /// Issue it at once; it is a draft otherwise.
    #[arg(long)]
    issue: bool,
    /// Show what it would be; change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// An invoice that a command has made, or changed.
#[derive(Debug, Serialize)]
pub struct Made {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// The invoice as `invoice show` has it.
    #[serde(flatten)]
    pub invoice: InvoiceView,
    #[serde(skip)]
    note: &'static str,
}

impl Made {
    /// What to tell a person before the invoice.
    pub fn note(&self) -> &'static str {
        self.note
    }
}

/// Creates an invoice.
///
/// # Errors
/// When something does not exist, there is nothing to bill, the firm or the role does not allow it, or the database is away.
pub async fn create(db: &Db, order: &Create) -> Result<Made, Failure> {
    match (&order.engagement, &order.client) {
        (Some(engagement), _) => on_engagement(db, order, engagement).await,
        (None, Some(client)) => on_override(db, order, client).await,
        (None, None) => Err(engagement_required()),
    }
}

fn engagement_required() -> Failure {
    Failure::refused(
        "engagement_required",
        "an invoice hangs on an engagement: name it with --engagement, or have an owner or admin of the firm say that it needs \
         none (--client, --override-by, --override-reason, --amount)",
    )
}

/// What an order bills.
struct Content {
    source: Source,
    lines: Vec<DraftLine>,
}

async fn on_engagement(db: &Db, order: &Create, reference: &str) -> Result<Made, Failure> {
    let (firm, id) = find_engagement(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let terms = invoice_basis::engagement(&mut tx, firm, id).await?;
    let terms = terms.ok_or_else(|| Failure::not_found(format!("there is no engagement {reference:?}")))?;
    let context = may_invoice(&mut tx, firm, &terms.client).await?;
    check_terms(&terms)?;
    let content = match &order.amount {
        Some(text) => by_amount(text, terms.currency)?,
        None => by_time(&mut tx, firm, order, &terms).await?,
    };
    let draft = Draft {
        id: InvoiceId::new(),
        external_id: None,
        client: terms.client.id,
        basis: Basis::Engagement(id),
        project: order.project,
        source: content.source,
        currency: terms.currency,
        dates: None,
        autopay: terms.client.autopay && !order.no_autopay,
        tax: tax(order, terms.currency)?,
        lines: content.lines,
    };
    make(tx, &context, order, draft, None).await
}

fn check_terms(terms: &EngagementTerms) -> Result<(), Failure> {
    match terms.status {
        EngagementStatus::Signed | EngagementStatus::Ended => Ok(()),
        EngagementStatus::Draft => Err(Failure::refused(
            "not_signed",
            "the engagement is a draft: sign it first, its terms are not final",
        )),
        EngagementStatus::Canceled => Err(Failure::refused(
            "canceled",
            "the engagement was canceled: nothing is billed for it any more",
        )),
    }
}

fn by_amount(text: &str, currency: Currency) -> Result<Content, Failure> {
    let amount =
        Money::parse_positive_decimal(text, currency).map_err(|fault| Failure::usage(fault.to_string()))?;
    let line = DraftLine {
        kind: LineKind::Adjustment,
        code: "manual".to_owned(),
        amount,
        time: None,
        derivation: json!({ "amount": text }),
    };
    Ok(Content {
        source: Source::Manual,
        lines: vec![line],
    })
}

/// What was said, or nothing.
fn tax(order: &Create, currency: Currency) -> Result<Money, Failure> {
    let Some(text) = &order.tax else {
        return Ok(Money::zero(currency));
    };
    Money::parse_non_negative_decimal(text, currency)
        .map_err(|fault| Failure::usage(format!("--tax {fault}")))
}

async fn by_time(
    tx: &mut Tx,
    firm: FirmId,
    order: &Create,
    terms: &EngagementTerms,
) -> Result<Content, Failure> {
    if !terms.has_hourly_rate {
        return Err(Failure::refused(
            "no_rate",
            "the engagement has a package fee only, which generate-package-invoices bills period by period; another amount is \
             billed with --amount",
        ));
    }
    let window = Window {
        from: order.from,
        to: order.to,
    };
    let time = billable_time::lock_billable(tx, firm, &[terms.id], window).await?;
    if !time.iter().any(|entry| entry.amount.is_positive()) {
        return Err(nothing_to_bill(
            &billable_time::waiting(tx, firm, terms.id, window).await?,
        ));
    }
    Ok(Content {
        source: Source::Hourly,
        lines: time.iter().map(billable_time::Billable::line).collect(),
    })
}

fn nothing_to_bill(waiting: &Waiting) -> Failure {
    let counts = [
        (waiting.approval, "waits for approval"),
        (waiting.client_approval, "waits for the approval of the client"),
        (waiting.invoiced, "is on an invoice already"),
    ];
    let reasons: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("of {count} the time {why}"))
        .collect();
    let why = if reasons.is_empty() {
        "there is no time of these days".to_owned()
    } else {
        format!("by entries: {}", reasons.join(", "))
    };
    Failure::refused(
        "nothing_to_bill",
        format!("no approved time of the engagement is left to bill; {why}"),
    )
}

async fn on_override(db: &Db, order: &Create, reference: &str) -> Result<Made, Failure> {
    let (Some(by), Some(reason)) = (&order.override_by, &order.override_reason) else {
        return Err(engagement_required());
    };
    let Some(amount) = &order.amount else {
        return Err(Failure::usage(
            "without an engagement the invoice needs its --amount",
        ));
    };
    let (firm, client) = find_client(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let acting = Acting::find(&mut tx, firm, by).await?;
    let user = acting.user().filter(|user| user.role.may_override());
    let Some(user) = user else {
        return Err(Failure::refused(
            "override_needs_admin",
            format!("only an owner or admin of the firm may bill without an engagement, and {by:?} is none"),
        ));
    };
    let terms = invoice_basis::client(&mut tx, firm, client).await?;
    let terms = terms.ok_or_else(|| Failure::not_found(format!("there is no client {reference:?}")))?;
    let context = may_invoice(&mut tx, firm, &terms).await?;
    let currency = match &order.currency {
        Some(code) => Currency::parse(code).map_err(|fault| Failure::usage(fault.to_string()))?,
        None => terms.default_currency,
    };
    let content = by_amount(amount, currency)?;
    let draft = Draft {
        id: InvoiceId::new(),
        external_id: None,
        client,
        basis: Basis::Override {
            by: user.id,
            reason: reason.clone(),
        },
        project: order.project,
        source: content.source,
        currency,
        dates: None,
        autopay: terms.autopay && !order.no_autopay,
        tax: tax(order, currency)?,
        lines: content.lines,
    };
    make(tx, &context, order, draft, Some((&acting, reason))).await
}

async fn make(
    mut tx: Tx,
    context: &FirmContext,
    order: &Create,
    draft: Draft,
    overrider: Option<(&Acting, &str)>,
) -> Result<Made, Failure> {
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let (firm, id) = (context.id, draft.id);
    let total = draft
        .total()
        .map_err(|fault| Failure::refused("amount_too_large", fault.to_string()))?;
    issuing::insert_drafts(&mut tx, firm, std::slice::from_ref(&draft)).await?;
    let meta = json!({
        "source": draft.source, "total_minor": total.minor(), "currency": draft.currency, "project": draft.project,
    });
    note(&mut tx, firm, id, "invoice.created", meta, &by).await?;
    if let Some((acting, reason)) = overrider {
        let by = By {
            actor: &acting.actor(),
            ..by
        };
        let meta = json!({ "override_by": acting.name(), "reason": reason, "total_minor": total.minor() });
        note(&mut tx, firm, id, "invoice.override_used", meta, &by).await?;
    }
    if order.issue {
        issuing::issue(&mut tx, context, &[id], &by).await?;
        jobs::nudge(&mut tx).await?;
    }
    let invoice = show(&mut tx, firm, id).await?;
    if order.dry_run {
        tx.rollback().await?;
    } else {
        tx.commit().await?;
    }
    Ok(Made {
        dry_run: order.dry_run,
        invoice,
        note: match (order.dry_run, order.issue) {
            (true, _) => "would be created:",
            (false, true) => "created and issued:",
            (false, false) => {
                "created as a draft (issue it with: invoice issue ID, give it up with: invoice discard ID):"
            }
        },
    })
}

/// Issues a draft.
///
/// # Errors
/// When there is no such invoice, it is no draft, invoicing is stopped, or the database is away.
pub async fn issue(db: &Db, reference: &str) -> Result<Made, Failure> {
    let (firm, id) = find_invoice(db, reference).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let invoice = invoices::issue(&mut tx, firm, id, &by).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    Ok(Made {
        dry_run: false,
        invoice,
        note: "issued:",
    })
}

/// Gives a draft up: it is gone, and its time is free.
///
/// # Errors
/// When there is no such invoice, it is no draft, or the database is away.
pub async fn discard(db: &Db, reference: &str, reason: &Reason) -> Result<Discarded, Failure> {
    let (firm, id) = find_invoice(db, reference).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let discarded = invoices::discard(&mut tx, firm, id, reason.text(), &by).await?;
    tx.commit().await?;
    Ok(discarded)
}

/// Gives the period of a void invoice free: generation bills it again.
///
/// # Errors
/// When there is no such invoice, it is not void or bills no period, or the database is away.
pub async fn reissue(db: &Db, reference: &str, reason: &Reason) -> Result<Reissued, Failure> {
    let (firm, id) = find_invoice(db, reference).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let reissued = invoices::reissue(&mut tx, firm, id, reason.text(), &by).await?;
    tx.commit().await?;
    Ok(reissued)
}

/// For a person.
pub fn describe_discarded(discarded: &Discarded) -> String {
    format!(
        "draft {} is discarded; its time may be billed elsewhere\n",
        discarded.id
    )
}

/// For a person.
pub fn describe_reissued(reissued: &Reissued) -> String {
    format!(
        "{}: {} until {} of {} may be billed again; generate-package-invoices does it\n",
        reissued.invoice, reissued.period_start, reissued.period_end, reissued.engagement
    )
}

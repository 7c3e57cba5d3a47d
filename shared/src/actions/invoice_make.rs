//! Invoices that a person asks for.
//!
//! By default an invoice hangs on an engagement and bills its approved time; without one only an owner or admin of the firm
//! may have it made. A draft keeps its time for itself until it is issued or discarded.

use serde_json::json;
use uuid::Uuid;

use super::{
    Fault, Result,
    invoices::{may_invoice, note, show},
    people::Acting,
};
use crate::{
    currency::Currency,
    domain::{generate::EngagementStatus, import::LineKind},
    ids::{ClientId, EngagementId, FirmId, InvoiceId},
    money::Money,
    store::{
        Tx,
        audit::By,
        billable_time::{self, Waiting, Window},
        generation::FirmContext,
        invoice_basis::{self, EngagementTerms},
        invoices_read::InvoiceView,
        issuing::{self, Basis, Draft, DraftLine, Source},
    },
};

/// An invoice to be made.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// What it hangs on.
    pub basis: On<'a>,
    /// What it comes to, as it was typed; on an engagement instead of its time.
    pub amount: Option<&'a str>,
    /// Tax on top of that, as it was typed; none unless told.
    pub tax: Option<&'a str>,
    /// The project that it belongs to.
    pub project: Option<Uuid>,
    /// Not to be collected by card, whatever the client has agreed to.
    pub no_autopay: bool,
    /// Issue it at once; it is a draft otherwise.
    pub issue: bool,
}

/// What an invoice hangs on.
#[derive(Clone, Copy, Debug)]
pub enum On<'a> {
    /// An engagement, and which of its time is billed.
    Engagement(EngagementId, Window),
    /// Only a client, on the word of an owner or admin of the firm.
    Client {
        /// Who pays it.
        client: ClientId,
        /// Who says that it needs no engagement.
        by: &'a str,
        /// Why.
        reason: &'a str,
        /// Of the amount; the firm's own unless told.
        currency: Option<&'a str>,
    },
}

/// What is said to whoever names neither an engagement nor what stands in for one.
#[must_use]
pub fn engagement_required() -> Fault {
    Fault::refused(
        "engagement_required",
        "an invoice hangs on an engagement: name it with --engagement, or have an owner or admin of the firm say that it needs \
         none (--client, --override-by, --override-reason, --amount)",
    )
}

/// Makes an invoice.
///
/// # Errors
/// When something does not exist, there is nothing to bill, the firm or the role does not allow it, or the database is away.
pub async fn create(tx: &mut Tx, firm: FirmId, order: &Order<'_>, by: &By<'_>) -> Result<InvoiceView> {
    match order.basis {
        On::Engagement(id, window) => on_engagement(tx, firm, order, (id, window), by).await,
        On::Client {
            client,
            by: overrider,
            reason,
            currency,
        } => on_override(tx, firm, order, (client, overrider, reason, currency), by).await,
    }
}

/// What an order bills.
struct Content {
    source: Source,
    lines: Vec<DraftLine>,
}

async fn on_engagement(
    tx: &mut Tx,
    firm: FirmId,
    order: &Order<'_>,
    (id, window): (EngagementId, Window),
    by: &By<'_>,
) -> Result<InvoiceView> {
    let terms = invoice_basis::engagement(tx, firm, id).await?;
    let terms = terms.ok_or_else(|| Fault::NotFound(format!("there is no engagement {id}")))?;
    let context = may_invoice(tx, firm, &terms.client).await?;
    check_terms(&terms)?;
    let content = match order.amount {
        Some(text) => by_amount(text, terms.currency)?,
        None => by_time(tx, firm, window, &terms).await?,
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
    make(tx, &context, order, draft, None, by).await
}

fn check_terms(terms: &EngagementTerms) -> Result<()> {
    match terms.status {
        EngagementStatus::Signed | EngagementStatus::Ended => Ok(()),
        EngagementStatus::Draft => Err(Fault::refused(
            "not_signed",
            "the engagement is a draft: sign it first, its terms are not final",
        )),
        EngagementStatus::Canceled => Err(Fault::refused(
            "canceled",
            "the engagement was canceled: nothing is billed for it any more",
        )),
    }
}

fn by_amount(text: &str, currency: Currency) -> Result<Content> {
    let amount = Money::parse_positive_decimal(text, currency)
        .map_err(|fault| Fault::invalid("amount", fault.to_string()))?;
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
fn tax(order: &Order<'_>, currency: Currency) -> Result<Money> {
    let Some(text) = order.tax else {
        return Ok(Money::zero(currency));
    };
    Money::parse_non_negative_decimal(text, currency)
        .map_err(|fault| Fault::invalid("tax", fault.to_string()))
}

async fn by_time(tx: &mut Tx, firm: FirmId, window: Window, terms: &EngagementTerms) -> Result<Content> {
    if !terms.has_hourly_rate {
        return Err(Fault::refused(
            "no_rate",
            "the engagement has a package fee only, which generate-package-invoices bills period by period; another amount is \
             billed with --amount",
        ));
    }
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

fn nothing_to_bill(waiting: &Waiting) -> Fault {
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
    Fault::refused(
        "nothing_to_bill",
        format!("no approved time of the engagement is left to bill; {why}"),
    )
}

async fn on_override(
    tx: &mut Tx,
    firm: FirmId,
    order: &Order<'_>,
    (client, overrider, reason, currency): (ClientId, &str, &str, Option<&str>),
    by: &By<'_>,
) -> Result<InvoiceView> {
    let Some(amount) = order.amount else {
        return Err(Fault::invalid(
            "amount",
            "an invoice without an engagement needs its amount",
        ));
    };
    let acting = Acting::find(tx, firm, overrider).await?;
    let user = acting.user().filter(|user| user.role.may_override());
    let Some(user) = user else {
        return Err(Fault::refused(
            "override_needs_admin",
            format!(
                "only an owner or admin of the firm may bill without an engagement, and {overrider:?} is none"
            ),
        ));
    };
    let terms = invoice_basis::client(tx, firm, client).await?;
    let terms = terms.ok_or_else(|| Fault::NotFound(format!("there is no client {client}")))?;
    let context = may_invoice(tx, firm, &terms).await?;
    let currency = match currency {
        Some(code) => Currency::parse(code).map_err(|fault| Fault::invalid("currency", fault.to_string()))?,
        None => terms.default_currency,
    };
    let content = by_amount(amount, currency)?;
    let draft = Draft {
        id: InvoiceId::new(),
        external_id: None,
        client,
        basis: Basis::Override {
            by: user.id,
            reason: reason.to_owned(),
        },
        project: order.project,
        source: content.source,
        currency,
        dates: None,
        autopay: terms.autopay && !order.no_autopay,
        tax: tax(order, currency)?,
        lines: content.lines,
    };
    make(tx, &context, order, draft, Some((&acting, reason)), by).await
}

async fn make(
    tx: &mut Tx,
    context: &FirmContext,
    order: &Order<'_>,
    draft: Draft,
    overrider: Option<(&Acting, &str)>,
    by: &By<'_>,
) -> Result<InvoiceView> {
    let (firm, id) = (context.id, draft.id);
    let total = draft
        .total()
        .map_err(|fault| Fault::refused("amount_too_large", fault.to_string()))?;
    issuing::insert_drafts(tx, firm, std::slice::from_ref(&draft)).await?;
    let meta = json!({
        "source": draft.source, "total_minor": total.minor(), "currency": draft.currency, "project": draft.project,
    });
    note(tx, firm, id, "invoice.created", meta, by).await?;
    if let Some((acting, reason)) = overrider {
        let by = By {
            actor: &acting.actor(),
            ..*by
        };
        let meta = json!({ "override_by": acting.name(), "reason": reason, "total_minor": total.minor() });
        note(tx, firm, id, "invoice.override_used", meta, &by).await?;
    }
    if order.issue {
        issuing::issue(tx, context, &[id], by).await?;
    }
    show(tx, firm, id).await
}

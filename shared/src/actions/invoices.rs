//! Invoices: drafts that are issued or given up, periods that are billed again, money from elsewhere.

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Fault, Result};
use crate::{
    ids::{ClientId, FirmId, InvoiceId},
    money::Money,
    store::{
        Tx,
        audit::{self, By},
        corrections::{self, Arrived, External, PaidExternally},
        generation::{self, FirmContext},
        invoice_basis::{self, ClientTerms},
        invoice_release::{self, Release},
        invoices_read::{self, InvoiceView},
        issuing,
    },
};

/// Issues a draft.
///
/// # Errors
/// When there is no such invoice, it is no draft, invoicing is stopped, or the database is away.
pub async fn issue(tx: &mut Tx, firm: FirmId, id: InvoiceId, by: &By<'_>) -> Result<InvoiceView> {
    let (doc_state, client) = lock(tx, firm, id).await?;
    check_draft(&doc_state)?;
    let terms = invoice_basis::client(tx, firm, client).await?;
    let terms = terms.ok_or_else(|| Fault::NotFound("the invoice's client is gone".to_owned()))?;
    let context = may_invoice(tx, firm, &terms).await?;
    issuing::issue(tx, &context, &[id], by).await?;
    show(tx, firm, id).await
}

/// What became of a draft that was given up.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Discarded {
    /// It was this one.
    pub id: InvoiceId,
    /// It is gone.
    pub discarded: bool,
}

/// Gives a draft up: it is gone, and its time is free.
///
/// # Errors
/// When there is no such invoice, it is no draft, or the database is away.
pub async fn discard(
    tx: &mut Tx,
    firm: FirmId,
    id: InvoiceId,
    reason: &str,
    by: &By<'_>,
) -> Result<Discarded> {
    let (doc_state, _) = lock(tx, firm, id).await?;
    check_draft(&doc_state)?;
    invoice_release::discard(tx, firm, id).await?;
    note(tx, firm, id, "invoice.discarded", json!({ "reason": reason }), by).await?;
    Ok(Discarded { id, discarded: true })
}

/// The period of an invoice that is void, free to be billed again.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reissued {
    /// The invoice that billed it.
    pub invoice: String,
    /// The engagement.
    pub engagement: String,
    /// First day.
    pub period_start: NaiveDate,
    /// First day after it.
    pub period_end: NaiveDate,
}

/// Gives the period of a void invoice free: generation bills it again.
///
/// # Errors
/// When there is no such invoice, it is not void or bills no period, or the database is away.
pub async fn reissue(
    tx: &mut Tx,
    firm: FirmId,
    id: InvoiceId,
    reason: &str,
    by: &By<'_>,
) -> Result<Reissued> {
    let (doc_state, _) = lock(tx, firm, id).await?;
    let billed = invoice_release::period_of(tx, firm, id).await?;
    let Some(Release {
        invoice,
        engagement,
        period_start,
        period_end,
        released,
    }) = billed
    else {
        return Err(Fault::refused(
            "no_period",
            "the invoice bills no period of an engagement, so there is none to bill again: create another invoice",
        ));
    };
    if doc_state != "void" {
        return Err(Fault::refused(
            "not_void",
            format!("the invoice is {doc_state}: its period is billed until the invoice is void"),
        ));
    }
    if released {
        return Err(Fault::refused(
            "already_released",
            format!("the period {period_start} until {period_end} was given free already"),
        ));
    }
    invoice_release::release_period(tx, firm, id, reason, by).await?;
    Ok(Reissued {
        invoice,
        engagement,
        period_start,
        period_end,
    })
}

/// Money that came by other means.
#[derive(Clone, Copy, Debug)]
pub struct FromElsewhere<'a> {
    /// As it was typed, in the invoice's currency.
    pub amount: &'a str,
    /// Names the money in the firm's books.
    pub reference: &'a str,
    /// The day on which it came; now unless told.
    pub received_on: Option<NaiveDate>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What people call the invoice.
    pub label: String,
    /// How much.
    pub amount: Money,
    /// What it did.
    pub arrived: Arrived,
}

/// Records money that came by transfer, cheque or cash.
///
/// # Errors
/// When the invoice takes no money, the reference is taken, something makes no sense, or the database is away.
pub async fn pay_external(
    tx: &mut Tx,
    firm: FirmId,
    invoice: InvoiceId,
    money: &FromElsewhere<'_>,
    by: &By<'_>,
) -> Result<Recorded> {
    let standing = corrections::lock(tx, firm, invoice).await?;
    let amount = Money::parse_positive_decimal(money.amount, standing.facts.open.currency())
        .map_err(|fault| Fault::invalid("amount", fault.to_string()))?;
    let today = generation::firm_context(tx, firm).await?.today;
    if let Some(day) = money.received_on.filter(|day| *day > today) {
        return Err(Fault::invalid(
            "received-on",
            format!("{day} is in the future; today is {today} where the firm is"),
        ));
    }
    let new = External {
        invoice,
        amount,
        reference: money.reference,
        received_on: money.received_on,
    };
    let arrived = match corrections::pay_externally(tx, firm, &new, by).await? {
        PaidExternally::Recorded(arrived) => arrived,
        PaidExternally::ReferenceTaken => {
            let message = format!(
                "{:?} is on record as other money: the reference names one payment",
                money.reference
            );
            return Err(Fault::refused("reference_taken", message));
        }
        PaidExternally::Refused(reason) => {
            let why = match reason {
                "never_issued" => "is a draft: issue it first",
                _ => "is void: it takes no money",
            };
            return Err(Fault::refused(reason, format!("{} {why}", standing.label)));
        }
    };
    Ok(Recorded {
        label: standing.label,
        amount,
        arrived,
    })
}

/// The switches that stop generation stop people too.
///
/// # Errors
/// When one of them is set, or the database is away.
pub async fn may_invoice(tx: &mut Tx, firm: FirmId, client: &ClientTerms) -> Result<FirmContext> {
    let context = generation::firm_context(tx, firm).await?;
    if context.paused {
        return Err(Fault::refused(
            "invoicing_paused",
            format!("invoicing is paused for firm {}", context.label),
        ));
    }
    if client.parked {
        return Err(Fault::refused(
            "client_parked",
            format!("client {} is parked until a person has looked", client.label),
        ));
    }
    Ok(context)
}

/// Puts something about an invoice on record.
///
/// # Errors
/// When the database is away.
pub async fn note(
    tx: &mut Tx,
    firm: FirmId,
    invoice: InvoiceId,
    action: &str,
    meta: Value,
    by: &By<'_>,
) -> Result<()> {
    Ok(audit::record(tx, firm, by.at, &by.entry(action, "invoice", invoice.0, meta)).await?)
}

/// An invoice as it is shown.
///
/// # Errors
/// When there is none, or the database is away.
pub async fn show(tx: &mut Tx, firm: FirmId, id: InvoiceId) -> Result<InvoiceView> {
    let view = invoices_read::show(tx, firm, id).await?;
    view.ok_or_else(|| Fault::NotFound(format!("there is no invoice {id}")))
}

/// An invoice under lock, with who pays it.
async fn lock(tx: &mut Tx, firm: FirmId, id: InvoiceId) -> Result<(String, ClientId)> {
    let found = invoice_basis::lock_invoice(tx, firm, id).await?;
    found.ok_or_else(|| Fault::NotFound(format!("there is no invoice {id}")))
}

fn check_draft(doc_state: &str) -> Result<()> {
    if doc_state == "draft" {
        return Ok(());
    }
    Err(Fault::refused(
        "no_draft",
        format!("the invoice is no draft: it is {doc_state}"),
    ))
}

/// Why an invoice is not voided or written off, as the rest of a sentence that begins with its number.
#[must_use]
pub fn end_refusal(reason: &str) -> &'static str {
    match reason {
        "never_issued" => "is a draft and owes nothing: `quittance invoice discard` gives it up",
        "already_void" => "is void already",
        "already_written_off" => "is written off already",
        "written_off" => "is written off: it is owed no more, and is not voided",
        "void_requested" => "is being voided: wait for that to end",
        "paid" => "was paid, even if in part: refund it instead (`quittance invoice refund`)",
        "money_arrived" => {
            "was paid while its charge was being given up: the payment is recorded; refund it instead (`quittance invoice refund`)"
        }
        "open_chargeback" => {
            "has an open chargeback: wait for the bank's decision (`quittance dispute list`)"
        }
        "rebills_dispute" => {
            "bills what a lost dispute took: write it off instead (`quittance invoice write-off`)"
        }
        "nothing_open" => {
            "has nothing open: what a lost dispute took is given up by `quittance dispute resolve --write-off`"
        }
        _ => "cannot end like this",
    }
}

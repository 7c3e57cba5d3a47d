//! `quittance invoice create`, `issue`, `discard` and `reissue`: invoices that a person asks for.
//!
//! Thin shells over `shared::actions`, which the API of the portal uses too.

use chrono::NaiveDate;
use serde::Serialize;
use shared::{
    actions::{
        invoice_make::{self, On, Order, engagement_required},
        invoices::{self, Discarded, Reissued},
    },
    store::{
        Db,
        audit::{By, Cause},
        billable_time::Window,
        invoices_read::InvoiceView,
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
    let (firm, basis) = match (
        &order.engagement,
        &order.client,
        &order.override_by,
        &order.override_reason,
    ) {
        (Some(engagement), ..) => {
            let (firm, id) = find_engagement(db, engagement).await?;
            let window = Window {
                from: order.from,
                to: order.to,
            };
            (firm, On::Engagement(id, window))
        }
        (None, Some(client), Some(by), Some(reason)) => {
            let (firm, client) = find_client(db, client).await?;
            let basis = On::Client {
                client,
                by,
                reason,
                currency: order.currency.as_deref(),
            };
            (firm, basis)
        }
        (None, ..) => return Err(engagement_required().into()),
    };
    let wanted = Order {
        basis,
        amount: order.amount.as_deref(),
        tax: order.tax.as_deref(),
        project: order.project,
        no_autopay: order.no_autopay,
        issue: order.issue,
    };
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let invoice = invoice_make::create(&mut tx, firm, &wanted, &by).await?;
    if order.issue {
        jobs::nudge(&mut tx).await?;
    }
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

//! `quittance credit`: giving credit to a client, paying invoices with it, and what became of it.

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::json;
use shared::{
    actions::{credits as actions, people::Acting},
    currency::Currency,
    domain::credit::Source,
    ids::CreditLotId,
    store::{
        Db,
        audit::{By, Cause},
        credits::{self, Balance, LotRow},
        jobs,
    },
};
use uuid::Uuid;

use super::{
    find::{find_client, find_invoice},
    invoice_text::amount,
    list_args::ListArgs,
    open_db, operator, operator_name,
    reason::Reason,
};
use crate::output::{Exit, Failure, Format, Page, table};

/// Arguments of `credit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Give a client credit.
    #[command(after_help = "Examples:
  quittance credit issue globex --amount 50.00 --reason 'spring promotion' --expires-on 2026-06-01
  quittance credit issue cus_1 --amount 120 --currency eur --source goodwill --reason 'late report' --by ann --approved-by bob")]
    Issue(Issue),
    /// Pay an invoice with its client's credit: as much as fits, unless told.
    #[command(after_help = "Examples:
  quittance credit apply PKG-0001-000042
  quittance credit apply legacy-1 --amount 25.00 --json")]
    Apply {
        /// UUID, number, external_id, or the Stripe id of anything that happened to it.
        invoice: String,
        /// Exactly so much, in the invoice's currency.
        #[arg(long, value_name = "A")]
        amount: Option<String>,
    },
    /// What a client may spend, by the ledger.
    #[command(
        after_help = "Examples:\n  quittance credit balance globex\n  quittance credit balance globex --json"
    )]
    Balance {
        /// UUID, external_id or Stripe customer.
        client: String,
    },
    /// A client's credit lot by lot, the newest first: what is left of each, what it paid, when it expires.
    #[command(
        after_help = "Examples:\n  quittance credit list globex\n  quittance credit list globex --limit 10 --json"
    )]
    List {
        /// UUID, external_id or Stripe customer.
        client: String,
        #[command(flatten)]
        page: ListArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Issue {
    /// UUID, external_id or Stripe customer.
    client: String,
    /// How much, such as 12.50.
    #[arg(long, value_name = "A")]
    amount: String,
    /// Its currency; the firm's unless told.
    #[arg(long, value_name = "C")]
    currency: Option<Currency>,
    #[command(flatten)]
    reason: Reason,
    /// What for; goodwill and correction need --approved-by.
    #[arg(long, default_value = "promotional", value_parser = ["goodwill", "promotional", "correction"])]
    source: String,
    /// Who gives it: a user of the firm, or another name; whoever runs the command unless told.
    #[arg(long, value_name = "USER", value_parser = super::reason::said)]
    by: Option<String>,
    /// Who approved it: somebody else.
    #[arg(long, value_name = "USER", value_parser = super::reason::said)]
    approved_by: Option<String>,
    /// The firm's first day on which it is worth nothing (2026-06-01).
    #[arg(long, value_name = "D")]
    expires_on: Option<NaiveDate>,
}

/// Runs `credit`.
///
/// # Errors
/// When there is no such client or invoice, the change is refused, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::Issue(order) => issue(&db, &order, out).await?,
        Command::Apply { invoice, amount } => apply(&db, &invoice, amount.as_deref(), out).await?,
        Command::Balance { client } => balance(&db, &client, out).await?,
        Command::List { client, page } => list(&db, &client, &page, out).await?,
    }
    Ok(Exit::Done)
}

async fn issue(db: &Db, order: &Issue, out: Format) -> Result<(), Failure> {
    let (firm, client) = find_client(db, &order.client).await?;
    let source: Source = order.source.parse().map_err(|e| Failure::usage(format!("{e}")))?;
    let cause = Cause::command(Uuid::now_v7());
    let mut tx = db.firm(firm).await?;
    let by_name = order.by.clone().unwrap_or_else(operator_name);
    let giver = Acting::find(&mut tx, firm, &by_name).await?;
    let approver = match &order.approved_by {
        Some(name) => Some(Acting::find(&mut tx, firm, name).await?),
        None => None,
    };
    let by = By {
        actor: &giver.actor(),
        cause: &cause,
        at: tx.now(),
    };
    let wanted = actions::Order {
        client,
        amount: &order.amount,
        currency: order.currency,
        reason: order.reason.text(),
        source,
        giver: &giver,
        approver: approver.as_ref(),
        expires_on: order.expires_on,
    };
    let (issued, amount) = actions::issue(&mut tx, firm, &wanted, &by).await?;
    tx.commit().await?;
    out.show(&issued, |issued| {
        let until = issued
            .expires_on
            .map_or_else(String::new, |day| format!(", worth nothing from {day} on"));
        format!(
            "gave {} {amount} of credit{until}\n{}",
            issued.client,
            describe_balances(&issued.balances)
        )
    })
}

async fn apply(db: &Db, invoice: &str, amount: Option<&str>, out: Format) -> Result<(), Failure> {
    let (firm, id) = find_invoice(db, invoice).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let applied = actions::apply(&mut tx, firm, id, amount, &by).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    let uses: Vec<_> = applied
        .uses
        .iter()
        .map(|part| json!({"lot": part.lot, "amount_minor": part.amount.minor()}))
        .collect();
    let document = json!({"invoice": id, "currency": applied.amount.currency(), "applied_minor": applied.amount.minor(),
                          "open_minor": applied.open.minor(), "applications": uses});
    out.show(&document, |_| {
        format!("credit paid {}; {} is open now", applied.amount, applied.open)
    })
}

/// `credit balance` as in the contract.
#[derive(Debug, Serialize)]
struct Balances {
    client: String,
    balances: Vec<Balance>,
}

async fn balance(db: &Db, client: &str, out: Format) -> Result<(), Failure> {
    let (firm, id) = find_client(db, client).await?;
    let mut tx = db.firm(firm).await?;
    let shown = Balances {
        client: credits::client_and_currency(&mut tx, firm, id).await?.0,
        balances: credits::balances(&mut tx, firm, id).await?,
    };
    out.show(&shown, |shown| {
        format!("{}\n{}", shown.client, describe_balances(&shown.balances))
    })
}

async fn list(db: &Db, client: &str, page: &ListArgs, out: Format) -> Result<(), Failure> {
    let (firm, id) = find_client(db, client).await?;
    let after = match &page.cursor {
        Some(cursor) => {
            let lot: Uuid = cursor
                .parse()
                .map_err(|_| Failure::usage(format!("{cursor:?} is no cursor of this list")))?;
            Some(CreditLotId(lot))
        }
        None => None,
    };
    let mut tx = db.firm(firm).await?;
    let rows = credits::lots(&mut tx, firm, id, after, page.fetch()).await?;
    out.show(
        &Page::of(rows, page.shown(), |row| row.id.to_string()),
        describe_lots,
    )
}

fn describe_balances(balances: &[Balance]) -> String {
    if balances.is_empty() {
        return "no credit\n".to_owned();
    }
    let rows: Vec<Vec<String>> = balances
        .iter()
        .map(|balance| vec![amount(balance.minor, &balance.currency)])
        .collect();
    table(&[">CREDIT"], &rows)
}

fn describe_lots(page: &Page<LotRow>) -> String {
    let headings = [
        "GIVEN",
        "SOURCE",
        ">AMOUNT",
        ">LEFT",
        "EXPIRES",
        "LOT",
        "WHAT BECAME OF IT",
    ];
    page.to_text(&headings, |lot| {
        vec![
            lot.issued_at.format("%F").to_string(),
            lot.source.clone(),
            amount(lot.amount_minor, &lot.currency),
            amount(lot.remaining_minor, &lot.currency),
            lot.expires_on
                .map_or_else(|| "never".to_owned(), |day| day.to_string()),
            lot.id.to_string(),
            became(lot),
        ]
    })
}

fn became(lot: &LotRow) -> String {
    let mut parts: Vec<String> = lot
        .applications
        .iter()
        .map(|part| {
            let came_back = if part.released_at.is_some() {
                " (came back)"
            } else {
                ""
            };
            format!(
                "{} to {}{came_back}",
                amount(part.amount_minor, &lot.currency),
                part.invoice
            )
        })
        .collect();
    if lot.expired_minor > 0 {
        parts.push(format!("{} expired", amount(lot.expired_minor, &lot.currency)));
    }
    parts.join(", ")
}

//! `quittance invoice`: what is owed, what was paid, what was given back, and what happened on the way.

use shared::{
    ids::FirmId,
    store::{
        Db, Tx,
        invoices_read::{self, Filter, InvoiceRow},
    },
};

use super::{
    find::{find_client, find_invoice},
    firms::{chosen_firms, firm_by_firm},
    invoice_charge, invoice_end, invoice_make, invoice_report, invoice_text,
    list_args::ListArgs,
    open_db, pay_external,
    reason::Reason,
    refund,
};
use crate::output::{Exit, Failure, Format, Page};

/// Arguments of `invoice`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Invoices, the newest of each firm first.
    #[command(after_help = "Examples:
  quittance invoice list
  quittance invoice list --status failed
  quittance invoice list --client globex --limit 10 --json")]
    List(List),
    /// One invoice with its attempts, payments, refunds and disputes.
    #[command(after_help = "Examples:
  quittance invoice show PKG-0001-000042
  quittance invoice show legacy-1 --json
  quittance invoice show pi_1")]
    Show {
        /// UUID, number, external_id, or the Stripe id of an intent, charge, refund or dispute.
        id: String,
    },
    /// Charge what is open now, once, whatever the retry policy and the firm's limits say.
    #[command(after_help = "Examples:
  quittance invoice charge PKG-0001-000042 --yes
  quittance invoice charge legacy-1 --yes --reason 'asked for by the client'

Every other condition holds: `quittance why-not charge` shows them.")]
    Charge(invoice_charge::Args),
    /// Take an invoice back, as if it had never been issued; a charge under way is given up first.
    #[command(after_help = "Examples:
  quittance invoice void PKG-0001-000042 --reason 'billed twice'
  quittance invoice void legacy-1 --reason 'wrong client' --no-wait

Paid, even if in part, it is refunded instead. Its period is billed again only by `quittance invoice reissue`.")]
    Void(invoice_end::Args),
    /// Give up what is open on an invoice; a charge under way is given up first.
    #[command(after_help = "Examples:
  quittance invoice write-off PKG-0001-000042 --reason 'insolvent'

Money that comes later opens it again.")]
    WriteOff(invoice_end::Args),
    /// Record money that came by other means; what it pays is no longer collected by card.
    #[command(after_help = "Examples:
  quittance invoice pay-external PKG-0001-000042 --amount 500.00 --reference 'transfer 4711'
  quittance invoice pay-external legacy-1 --amount 99.90 --reference cheque-12 --received-on 2026-03-02

What is more than is open becomes the client's credit.")]
    PayExternal(pay_external::Args),
    /// Make an invoice: of an engagement's approved time, or of an amount.
    #[command(after_help = "Examples:
  quittance invoice create --engagement globex-hours --dry-run
  quittance invoice create --engagement globex-hours --from 2026-01-01 --to 2026-02-01 --issue
  quittance invoice create --client globex --amount 250.00 --override-by admin1 --override-reason 'workshop, no contract'")]
    Create(invoice_make::Create),
    /// Issue a draft: it gets its number, is frozen, and is collected where automatic payment is on.
    #[command(after_help = "Examples:\n  quittance invoice issue 0199a1b2-0000-7000-8000-000000000001")]
    Issue {
        /// UUID of the draft.
        id: String,
    },
    /// Give a draft up; its time may be billed elsewhere.
    #[command(
        after_help = "Examples:\n  quittance invoice discard 0199a1b2-0000-7000-8000-000000000001 --reason 'wrong month'"
    )]
    Discard {
        /// UUID of the draft.
        id: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Give the period of a void invoice free, so that generation bills it again.
    #[command(after_help = "Examples:\n  quittance invoice reissue PKG-0001-000042 --reason 'wrong fee'")]
    Reissue {
        /// UUID, number or external_id of the void invoice.
        id: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// What was invoiced, by kind of line: fees, hours, adjustments.
    #[command(
        after_help = "Examples:\n  quittance invoice report --firm-id acme --from 2026-01-01 --to 2027-01-01"
    )]
    Report(invoice_report::Args),
    /// Give back what was paid, in whole or in part: the newest payment first.
    #[command(after_help = "Examples:
  quittance invoice refund PKG-0001-000042 --amount 25.00 --to card --reason 'half a month unused'
  quittance invoice refund legacy-1 --amount 100 --to credit --reason 'billed twice' --json")]
    Refund(refund::Args),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Only of this client.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only with this status.
    #[arg(long, value_parser = [
        "draft", "sent", "partial", "processing", "paid", "failed", "overdue", "disputed", "charged_back", "refunded", "void",
        "written_off",
    ])]
    status: Option<String>,
    #[command(flatten)]
    page: ListArgs,
}

/// Runs `invoice`.
///
/// # Errors
/// When there is no such invoice, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::List(list) => {
            let rows = rows(&db, &list).await?;
            out.show(
                &Page::of(rows, list.page.shown(), |row| row.id.to_string()),
                invoice_text::describe_page,
            )?;
        }
        Command::Show { id } => {
            let (firm, invoice) = find_invoice(&db, &id).await?;
            let mut tx = db.firm(firm).await?;
            let shown = invoices_read::show(&mut tx, firm, invoice).await?;
            let shown = shown.ok_or_else(|| Failure::not_found(format!("there is no invoice {id:?}")))?;
            out.show(&shown, invoice_text::describe)?;
        }
        Command::Charge(args) => return invoice_charge::run(&db, args, out).await,
        Command::Void(args) => return invoice_end::void(&db, args, out).await,
        Command::WriteOff(args) => return invoice_end::write_off(&db, args, out).await,
        Command::PayExternal(args) => return pay_external::run(&db, args, out).await,
        Command::Create(order) => out.show(&invoice_make::create(&db, &order).await?, describe_made)?,
        Command::Issue { id } => out.show(&invoice_make::issue(&db, &id).await?, describe_made)?,
        Command::Discard { id, reason } => out.show(
            &invoice_make::discard(&db, &id, &reason).await?,
            invoice_make::describe_discarded,
        )?,
        Command::Reissue { id, reason } => out.show(
            &invoice_make::reissue(&db, &id, &reason).await?,
            invoice_make::describe_reissued,
        )?,
        Command::Report(args) => {
            out.show(
                &invoice_report::report(&db, &args).await?,
                invoice_report::describe,
            )?;
        }
        Command::Refund(order) => return refund::run(&db, order, out).await,
    }
    Ok(Exit::Done)
}

fn describe_made(made: &invoice_make::Made) -> String {
    format!("{}\n{}", made.note(), invoice_text::describe(&made.invoice))
}

/// Up to one row more than a page, firm by firm: each firm sees its own rows only.
async fn rows(db: &Db, list: &List) -> Result<Vec<InvoiceRow>, Failure> {
    let client = match &list.client {
        Some(reference) => Some(find_client(db, reference).await?),
        None => None,
    };
    let after = match &list.page.cursor {
        Some(cursor) => Some(find_invoice(db, cursor).await?),
        None => None,
    };
    let firms = chosen_firms(db, list.firm_id.as_deref()).await?;
    let bounds = (client.map(|(firm, _)| firm), after.map(|(firm, _)| firm));
    let read = async |tx: &mut Tx, firm: FirmId, most: i64| {
        let filter = Filter {
            client: client.map(|(_, id)| id),
            status: list.status.as_deref(),
            after: after.filter(|(of, _)| *of == firm).map(|(_, id)| id),
            open_only: false,
            issued_only: false,
        };
        invoices_read::list(tx, firm, &filter, most).await
    };
    firm_by_firm(db, firms, bounds, list.page.fetch(), read).await
}

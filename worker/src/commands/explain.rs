//! `quittance explain`, `why-not` and `next`: what happened and why, why nothing happened, and what comes next.
//!
//! Each finds the thing, reads its rows (`shared::store::explain`), and has the domain make the answer (`shared::domain::explain`).

use chrono::{DateTime, Utc};
use shared::{
    actions::explain::{self as actions, Whose},
    domain::explain::{self, Answer, AskedPeriod, InvoiceFacts, to_text},
    store::Db,
};

use super::{
    clock::parse_time,
    find::{find_engagement, find_invoice},
    glass, open_db,
};
use crate::output::{Exit, Failure, Format};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// An invoice, client, engagement, attempt, time entry, credit, journal, alert or job by any of its ids; or Stripe's id of an intent, charge,
    /// refund, dispute or event.
    id: String,
    #[command(flatten)]
    how: How,
}

/// Arguments of `why-not`.
#[derive(Debug, clap::Args)]
pub struct WhyNotArgs {
    #[command(subcommand)]
    command: WhyNotCommand,
}

#[derive(Debug, clap::Subcommand)]
enum WhyNotCommand {
    /// Why is this invoice not charged (again)?
    #[command(after_help = "Examples:
  quittance why-not charge PKG-0001-000042
  quittance why-not charge legacy-1 --json")]
    Charge {
        /// UUID, number, external_id, or the Stripe id of anything that happened to it.
        invoice: String,
        #[command(flatten)]
        how: How,
    },
    /// Why was this engagement not invoiced for this period?
    #[command(after_help = "Examples:
  quittance why-not invoice globex-retainer 2026-05
  quittance why-not invoice globex-retainer 2026-05-17 --json

A month means the period that begins in it, or else the one that its first day lies in.")]
    Invoice {
        /// UUID or external_id of an engagement.
        engagement: String,
        /// A month (2026-05), or a day in the period (2026-05-17).
        period: AskedPeriod,
        #[command(flatten)]
        how: How,
    },
}

/// Arguments of `next`.
#[derive(Debug, clap::Args)]
pub struct NextArgs {
    /// UUID, number, external_id, or the Stripe id of anything that happened to it.
    invoice: String,
    #[command(flatten)]
    how: How,
}

/// As of when, and how much of the chain.
#[derive(Debug, clap::Args)]
struct How {
    /// Evaluate the conditions as if it were this time (RFC 3339, or a date: midnight UTC).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<DateTime<Utc>>,
    /// Show so many links of the chain in text; JSON has them all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    depth: usize,
}

impl How {
    async fn as_of(&self, db: &Db) -> Result<DateTime<Utc>, Failure> {
        Ok(match self.at {
            Some(at) => at,
            None => db.now().await?,
        })
    }

    fn show(&self, answer: &Answer, out: Format) -> Result<Exit, Failure> {
        out.show(answer, |answer| to_text(answer, self.depth))?;
        Ok(Exit::Done)
    }
}

/// Runs `why-not`.
///
/// # Errors
/// When there is no such thing, or the database is away.
pub async fn why_not(args: WhyNotArgs, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        WhyNotCommand::Charge { invoice, how } => {
            let facts = invoice_facts(&db, &invoice).await?;
            let answer = explain::why_not_charge(&facts, how.as_of(&db).await?);
            how.show(&answer, out)
        }
        WhyNotCommand::Invoice {
            engagement,
            period,
            how,
        } => {
            let as_of = how.as_of(&db).await?;
            let (firm, id) = find_engagement(&db, &engagement).await?;
            let facts = actions::engagement_facts(&db, firm, id, as_of).await?;
            how.show(&explain::why_not_invoice(&facts, period, as_of), out)
        }
    }
}

/// Runs `next`.
///
/// # Errors
/// When there is no such invoice, or the database is away.
pub async fn next(args: NextArgs, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let facts = invoice_facts(&db, &args.invoice).await?;
    let answer = explain::next(&facts, args.how.as_of(&db).await?);
    args.how.show(&answer, out)
}

/// Runs `explain`.
///
/// # Errors
/// When there is no such thing, or the database is away.
pub async fn explain(args: ExplainArgs, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let as_of = args.how.as_of(&db).await?;
    let answer = answer(&db, &args.id, as_of).await?;
    args.how.show(&answer, out)
}

/// Finds what an id means, and answers.
async fn answer(db: &Db, id: &str, as_of: DateTime<Utc>) -> Result<Answer, Failure> {
    let mut tx = db.plain().await?;
    let meant = actions::find(&mut tx, id, Whose::Anybodys).await?;
    drop(tx);
    glass::touch(db, meant.firm().as_slice()).await?;
    Ok(actions::answer(db, id, meant, as_of).await?)
}

async fn invoice_facts(db: &Db, reference: &str) -> Result<InvoiceFacts, Failure> {
    let (firm, invoice) = find_invoice(db, reference).await?;
    Ok(actions::invoice_facts(db, firm, invoice).await?)
}

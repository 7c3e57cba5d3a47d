//! `quittance explain`, `why-not` and `next`: what happened and why, why nothing happened, and what comes next.
//!
//! Each finds the thing, reads its rows (`shared::store::explain`), and has the domain make the answer (`shared::domain::explain`).

use chrono::{DateTime, Utc};
use shared::{
    domain::explain::{self, Answer, AskedPeriod, to_text},
    ids::{AlertId, AttemptId, ClientId, EngagementId, FirmId, InvoiceId, JobId},
    store::{
        self, Db,
        explain::{self as rows, Thing},
        resolve,
    },
};
use uuid::Uuid;

use super::{
    clock::parse_time,
    find::{find_engagement, find_invoice},
    glass, open_db,
};
use crate::output::{Detail, Exit, Failure, Format};

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
            let (_, facts) = invoice_facts(&db, &invoice).await?;
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
            let facts = engagement_facts(&db, firm, id, as_of).await?;
            how.show(&explain::why_not_invoice(&facts, period, as_of), out)
        }
    }
}

async fn engagement_facts(
    db: &Db,
    firm: FirmId,
    id: EngagementId,
    as_of: DateTime<Utc>,
) -> Result<explain::BillingFacts, Failure> {
    let mut tx = db.firm(firm).await?;
    let facts = rows::engagement(&mut tx, firm, id, as_of).await?;
    facts.ok_or_else(|| Failure::not_found(format!("there is no engagement {id}")))
}

/// Runs `next`.
///
/// # Errors
/// When there is no such invoice, or the database is away.
pub async fn next(args: NextArgs, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let (_, facts) = invoice_facts(&db, &args.invoice).await?;
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
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    if let Some((mut facts, firm)) = rows::event(&mut conn, id).await? {
        drop(conn);
        if let Some(firm) = firm {
            glass::touch(db, &[firm]).await?;
            let mut tx = db.firm(firm).await?;
            facts.effects = rows::effects_of(&mut tx, firm, id).await?;
        }
        return Ok(explain::event(&facts));
    }
    let found = rows::things(&mut conn, id).await?;
    if let (true, Ok(job)) = (found.is_empty(), id.parse::<Uuid>())
        && let Some((facts, firm)) = rows::job(&mut conn, JobId(job)).await?
    {
        drop(conn);
        let effects = match firm {
            Some(firm) => {
                glass::touch(db, &[firm]).await?;
                rows::effects_of(&mut *db.firm(firm).await?, firm, id).await?
            }
            None => Vec::new(),
        };
        return Ok(explain::job(&facts, &effects));
    }
    drop(conn);
    of_found(db, id, one(id, found)?, as_of).await
}

/// The one thing that an id means.
fn one(id: &str, mut found: Vec<Thing>) -> Result<Thing, Failure> {
    if found.len() > 1 {
        let details = found
            .iter()
            .map(|row| Detail {
                path: row.kind.clone(),
                message: row.id.to_string(),
            })
            .collect();
        return Err(
            Failure::new("ambiguous", format!("{id:?} means several things: use a UUID"))
                .with_details(details),
        );
    }
    found
        .pop()
        .ok_or_else(|| Failure::not_found(format!("there is nothing {id:?} that could be explained")))
}

async fn of_found(db: &Db, id: &str, found: Thing, as_of: DateTime<Utc>) -> Result<Answer, Failure> {
    let gone = || Failure::not_found(format!("there is nothing {id:?} that could be explained"));
    if let Some(firm) = found.firm {
        glass::touch(db, &[firm]).await?;
    }
    if found.kind == "alert" {
        let mut tx = match found.firm {
            Some(firm) => db.firm(firm).await?,
            None => db.plain().await?,
        };
        let alert = rows::alert(&mut tx, found.firm, AlertId(found.id)).await?;
        return Ok(explain::alert(&alert.ok_or_else(gone)?));
    }
    let firm = found.firm.ok_or_else(gone)?;
    let mut tx = db.firm(firm).await?;
    let invoice = match found.kind.as_str() {
        "client" | "customer" => {
            let client = rows::client(&mut tx, firm, ClientId(found.id)).await?;
            return Ok(explain::client(&client.ok_or_else(gone)?, as_of));
        }
        "payment_method" => {
            let client = rows::client_of_card(&mut tx, firm, found.id)
                .await?
                .ok_or_else(gone)?;
            let client = rows::client(&mut tx, firm, client).await?;
            return Ok(explain::client(&client.ok_or_else(gone)?, as_of));
        }
        "user" => {
            let user = rows::user(&mut tx, firm, found.id).await?;
            return Ok(explain::user(&user.ok_or_else(gone)?));
        }
        "engagement" => {
            drop(tx);
            let facts = engagement_facts(db, firm, EngagementId(found.id), as_of).await?;
            return Ok(explain::engagement(&facts, as_of));
        }
        "journal" => {
            let journal = rows::journal(&mut tx, firm, found.id).await?;
            return Ok(explain::journal(&journal.ok_or_else(gone)?));
        }
        "credit_lot" => {
            let lot = rows::credit_lot(&mut tx, firm, found.id).await?;
            return Ok(explain::credit_lot(&lot.ok_or_else(gone)?));
        }
        "time_entry" => {
            let entry = rows::time_entry(&mut tx, firm, found.id).await?;
            return Ok(explain::time_entry(&entry.ok_or_else(gone)?));
        }
        "invoice" => Some(InvoiceId(found.id)),
        "attempt" | "cycle" => rows::invoice_of_attempt(&mut tx, firm, AttemptId(found.id)).await?,
        "payment_intent" | "charge" | "payment" | "refund" | "dispute" => {
            resolve::invoice_of(&mut tx, firm, id).await?
        }
        other if other.starts_with("platform_") => {
            let message = "what a firm pays for the platform is told by `quittance platform show` and `platform invoices`; what \
                           happened to it by `quittance audit list`";
            return Err(Failure::usage(message));
        }
        other => {
            let message = format!(
                "a {} is not explained: ask about one of its clients or invoices",
                other.replace('_', " ")
            );
            return Err(Failure::usage(message));
        }
    };
    let facts = rows::invoice(&mut tx, firm, invoice.ok_or_else(gone)?)
        .await?
        .ok_or_else(gone)?;
    Ok(of_invoice(&facts, id, &found, as_of))
}

/// The thing itself where the invoice has it; else all of the invoice, which is then the best answer.
fn of_invoice(facts: &explain::InvoiceFacts, id: &str, found: &Thing, as_of: DateTime<Utc>) -> Answer {
    let uuid = found.id.to_string();
    let part = match found.kind.as_str() {
        "attempt" => facts
            .attempts
            .iter()
            .find(|a| a.id == uuid)
            .map(|a| explain::attempt(facts, a)),
        "payment_intent" => Some(explain::intent(facts, id)),
        "charge" => {
            let paid = facts
                .payments
                .iter()
                .find(|p| p.reference == id)
                .map(|p| explain::payment(facts, p));
            paid.or_else(|| {
                let tried = facts.attempts.iter().find(|a| a.charge.as_deref() == Some(id));
                tried.map(|a| explain::attempt(facts, a))
            })
        }
        "payment" => {
            let paid = facts.payments.iter().find(|p| p.id == uuid);
            paid.map(|p| explain::payment(facts, p))
        }
        "refund" => {
            let refund = facts
                .refunds
                .iter()
                .find(|r| r.id == uuid || r.stripe_id.as_deref() == Some(id));
            refund.map(|r| explain::refund(facts, r))
        }
        "dispute" => facts
            .disputes
            .iter()
            .find(|d| d.id == id || d.uuid == uuid)
            .map(|d| explain::dispute(facts, d)),
        _ => None,
    };
    part.unwrap_or_else(|| explain::invoice(facts, as_of))
}

async fn invoice_facts(db: &Db, reference: &str) -> Result<(FirmId, explain::InvoiceFacts), Failure> {
    let (firm, invoice) = find_invoice(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let facts = rows::invoice(&mut tx, firm, invoice).await?;
    let facts = facts.ok_or_else(|| Failure::not_found(format!("there is no invoice {reference:?}")))?;
    Ok((firm, facts))
}

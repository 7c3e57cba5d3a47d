//! `quittance engagement`: the terms agreed with a client, from one version to the next.
//!
//! Signing makes terms final; a renewal is a new version and a draft until it is signed; an end only comes nearer. None of it
//! touches an invoice that exists.

use chrono::NaiveDate;
use serde::Serialize;
use shared::{
    actions::engagements::{self as actions, NextVersion},
    ids::{EngagementId, FirmId},
    store::{
        Db, Tx,
        audit::{Actor, By, Cause},
        engagements::{self, EngagementView},
    },
};
use uuid::Uuid;

use super::{engagement_text, find::find_engagement, open_db, operator, reason::Reason};
use crate::output::{Exit, Failure, Format};

/// Arguments of `engagement`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One engagement: its terms, its versions, what was billed, what time is on it.
    #[command(
        after_help = "Examples:\n  quittance engagement show globex-retainer\n  quittance engagement show globex-retainer --json"
    )]
    Show {
        /// UUID or external_id.
        id: String,
    },
    /// Make the terms of a draft final; it is billed from then on.
    #[command(after_help = "Examples:\n  quittance engagement sign globex-retainer-v2")]
    Sign {
        /// UUID or external_id.
        id: String,
    },
    /// Write the next version, with the same terms unless told otherwise. It is a draft until it is signed.
    #[command(after_help = "Examples:
  quittance engagement renew globex-retainer --ends-on 2028-01-01
  quittance engagement renew globex-retainer --ends-on 2028-01-01 --package-fee 1200.00 --hourly-rate 160.00")]
    Renew(Renew),
    /// Bring the end of a signed engagement nearer.
    #[command(
        after_help = "Examples:\n  quittance engagement end globex-retainer --on 2026-07-01 --reason 'notice of 3 May'"
    )]
    End {
        /// UUID or external_id.
        id: String,
        /// First day that it no longer covers.
        #[arg(long, value_name = "DATE")]
        on: NaiveDate,
        #[command(flatten)]
        reason: Reason,
    },
}

#[derive(Debug, clap::Args)]
struct Renew {
    /// UUID or external_id of the version that it follows.
    id: String,
    /// First day after it.
    #[arg(long, value_name = "DATE")]
    ends_on: NaiveDate,
    /// First day; where the old version ends unless told.
    #[arg(long, value_name = "DATE")]
    starts_on: Option<NaiveDate>,
    /// Fee of a period, such as 1200.00.
    #[arg(long, value_name = "A")]
    package_fee: Option<String>,
    /// Rate per hour, such as 160.00.
    #[arg(long, value_name = "A")]
    hourly_rate: Option<String>,
    /// What a clipped period costs: all of the fee, or its share by days.
    #[arg(long, value_parser = ["full_fee", "daily"])]
    proration: Option<String>,
    /// What documents and commands may call it; the old one's with -v2, -v3 … unless told.
    #[arg(long, value_name = "ID", value_parser = super::reason::said)]
    external_id: Option<String>,
}

/// What a change came to, and what is to be done next, for a person.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    #[serde(flatten)]
    pub(super) done: actions::Changed,
    #[serde(skip)]
    pub(super) next: Option<String>,
}

/// Runs `engagement`.
///
/// # Errors
/// When there is no such engagement, the change is refused, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::Show { id } => {
            let (firm, id) = find_engagement(&db, &id).await?;
            let mut tx = db.firm(firm).await?;
            out.show(&view(&mut tx, firm, id).await?, engagement_text::describe)?;
        }
        Command::Sign { id } => out.show(&sign(&db, &id).await?, engagement_text::describe_change)?,
        Command::Renew(order) => out.show(&renew(&db, &order).await?, engagement_text::describe_change)?,
        Command::End { id, on, reason } => out.show(
            &end(&db, &id, on, reason.text()).await?,
            engagement_text::describe_change,
        )?,
    }
    Ok(Exit::Done)
}

async fn view(tx: &mut Tx, firm: FirmId, id: EngagementId) -> Result<EngagementView, Failure> {
    let view = engagements::show(tx, firm, id).await?;
    view.ok_or_else(|| Failure::not_found(format!("there is no engagement {id}")))
}

/// Who acts, and why.
fn acting() -> (Actor, Cause) {
    (operator(), Cause::command(Uuid::now_v7()))
}

fn by<'a>((actor, cause): &'a (Actor, Cause), tx: &Tx) -> By<'a> {
    By {
        actor,
        cause,
        at: tx.now(),
    }
}

async fn sign(db: &Db, reference: &str) -> Result<Changed, Failure> {
    let (firm, id) = find_engagement(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let acting = acting();
    let by = by(&acting, &tx);
    let done = actions::sign(&mut tx, firm, id, &by).await?;
    tx.commit().await?;
    Ok(Changed { done, next: None })
}

async fn renew(db: &Db, order: &Renew) -> Result<Changed, Failure> {
    let (firm, old) = find_engagement(db, &order.id).await?;
    let mut tx = db.firm(firm).await?;
    let acting = acting();
    let by = by(&acting, &tx);
    let wanted = NextVersion {
        starts_on: order.starts_on,
        ends_on: order.ends_on,
        package_fee: order.package_fee.as_deref(),
        hourly_rate: order.hourly_rate.as_deref(),
        proration: order.proration.as_deref(),
        external_id: order.external_id.as_deref(),
    };
    let done = actions::renew(&mut tx, firm, old, &wanted, &by).await?;
    tx.commit().await?;
    let label = done
        .engagement
        .external_id
        .clone()
        .unwrap_or_else(|| done.engagement.id.to_string());
    let next = format!(
        "It is a draft: nothing is billed for it until it is signed.\n  quittance engagement sign {label}\n"
    );
    Ok(Changed {
        done,
        next: Some(next),
    })
}

async fn end(db: &Db, reference: &str, on: NaiveDate, reason: &str) -> Result<Changed, Failure> {
    let (firm, id) = find_engagement(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let acting = acting();
    let by = by(&acting, &tx);
    let done = actions::end(&mut tx, firm, id, on, reason, &by).await?;
    tx.commit().await?;
    Ok(Changed { done, next: None })
}

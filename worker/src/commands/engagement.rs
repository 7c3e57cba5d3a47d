//! `quittance engagement`: the terms agreed with a client, from one version to the next.
//!
//! Signing makes terms final; a renewal is a new version and a draft until it is signed; an end only comes nearer. None of it
//! touches an invoice that exists.

use chrono::NaiveDate;
use serde::Serialize;
use shared::{
    currency::Currency,
    domain::{
        generate::EngagementStatus,
        period::{Proration, Terms, periods},
        renewal::{self, Refusal, Version},
        words::UnknownWord,
    },
    ids::{EngagementId, FirmId},
    money::Money,
    store::{
        self, Db, Tx,
        audit::{By, Cause},
        engagements::{self, EngagementView, Locked, PeriodRow, Renewal},
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

/// The result of every change.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    /// Whether anything is other than it was.
    pub(super) changed: bool,
    #[serde(flatten)]
    pub(super) engagement: EngagementView,
    /// What a person should look at.
    pub(super) warnings: Vec<Warning>,
    /// What is to be done next, for a person.
    #[serde(skip)]
    pub(super) next: Option<String>,
}

/// Something that is as asked for and may not be meant.
#[derive(Debug, Serialize)]
pub(super) struct Warning {
    pub(super) code: &'static str,
    pub(super) message: String,
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

fn refused(refusal: &Refusal) -> Failure {
    Failure::refused(refusal.code(), refusal.to_string())
}

async fn view(tx: &mut Tx, firm: FirmId, id: EngagementId) -> Result<EngagementView, Failure> {
    let view = engagements::show(tx, firm, id).await?;
    view.ok_or_else(|| Failure::not_found(format!("there is no engagement {id}")))
}

async fn lock(tx: &mut Tx, firm: FirmId, id: EngagementId) -> Result<(Locked, Vec<Version>), Failure> {
    let found = engagements::lock_versions(tx, firm, id).await?;
    let (asked, others) = found.ok_or_else(|| Failure::not_found(format!("there is no engagement {id}")))?;
    Ok((asked, others.into_iter().map(|other| other.version).collect()))
}

async fn sign(db: &Db, reference: &str) -> Result<Changed, Failure> {
    let (firm, id) = find_engagement(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let (draft, others) = lock(&mut tx, firm, id).await?;
    let changed = draft.version.status == EngagementStatus::Draft;
    renewal::may_sign(&draft.version, if changed { &others } else { &[] }).map_err(|r| refused(&r))?;
    if changed {
        let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
        let by = By {
            actor: &actor,
            cause: &cause,
            at: tx.now(),
        };
        engagements::sign(&mut tx, firm, id, &by).await?;
    }
    let engagement = view(&mut tx, firm, id).await?;
    tx.commit().await?;
    Ok(Changed {
        changed,
        engagement,
        warnings: Vec::new(),
        next: None,
    })
}

async fn renew(db: &Db, order: &Renew) -> Result<Changed, Failure> {
    let (firm, old) = find_engagement(db, &order.id).await?;
    let mut tx = db.firm(firm).await?;
    let (old, others) = lock(&mut tx, firm, old).await?;
    let all: Vec<Version> = std::iter::once(old.version.clone()).chain(others).collect();
    let days =
        renewal::renewal_days(&old.version, &all, order.starts_on, order.ends_on).map_err(|r| refused(&r))?;
    let amount = |was, text: &Option<String>, option| {
        let wanted = text
            .as_deref()
            .map(|text| money(text, old.currency))
            .transpose()?;
        renewal::renewal_amount(was, wanted, option).map_err(|r| refused(&r))
    };
    let number = engagements::next_version(&mut tx, firm, old.id).await?;
    let external_id = order.external_id.clone().or_else(|| {
        let name = old.external_id.as_deref()?;
        // The first version's name: retainer, retainer-v2, retainer-v3.
        let stem = name.strip_suffix(&format!("-v{}", old.number)).unwrap_or(name);
        Some(format!("{stem}-v{number}"))
    });
    let new = Renewal {
        id: EngagementId::new(),
        external_id: external_id.as_deref(),
        number,
        days,
        package_fee: amount(old.package_fee, &order.package_fee, "--package-fee")?,
        hourly_rate: amount(old.hourly_rate, &order.hourly_rate, "--hourly-rate")?,
        proration: order.proration.as_deref(),
    };
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    engagements::renew(&mut tx, firm, old.id, &new, &by)
        .await
        .map_err(|fault| taken(fault, external_id.as_deref()))?;
    let engagement = view(&mut tx, firm, new.id).await?;
    let warnings = clipped(&engagement, &new)?.into_iter().collect();
    tx.commit().await?;
    let label = external_id.clone().unwrap_or_else(|| new.id.to_string());
    Ok(Changed {
        changed: true,
        engagement,
        warnings,
        next: Some(format!(
            "It is a draft: nothing is billed for it until it is signed.\n  quittance engagement sign {label}\n"
        )),
    })
}

fn money(text: &str, currency: Currency) -> Result<Money, Failure> {
    Money::parse_positive_decimal(text, currency).map_err(|fault| Failure::usage(fault.to_string()))
}

fn taken(fault: store::Error, external_id: Option<&str>) -> Failure {
    match (&fault, external_id) {
        (store::Error::Conflict { .. }, Some(external_id)) => Failure::refused(
            "external_id_taken",
            format!("the firm has an engagement {external_id:?} already: choose another with --external-id"),
        ),
        _ => fault.into(),
    }
}

/// A renewal in the middle of a calendar period: both versions would charge the period, so the second waits for a person.
fn clipped(engagement: &EngagementView, new: &Renewal<'_>) -> Result<Option<Warning>, Failure> {
    let (Some(fee), Some(cadence)) = (new.package_fee, &engagement.package_fee_schedule) else {
        return Ok(None);
    };
    let word = |unknown: UnknownWord| Failure::from(store::Error::corrupt(unknown));
    let terms = Terms {
        cadence: cadence.parse().map_err(word)?,
        anchor: engagement.period_anchor.parse().map_err(word)?,
        proration: engagement.proration.parse().map_err(word)?,
        starts_on: new.days.starts_on,
        ends_on: new.days.ends_on,
        fee,
    };
    let begins_within = periods(&terms)
        .next()
        .is_some_and(|period| period.start != period.full_start);
    Ok((begins_within && terms.proration == Proration::FullFee).then(|| Warning {
        code: "renewal_clips_a_period",
        message: format!(
            "it begins within a calendar period ({}): if the old version has billed that period, generation leaves the \
             rest of it to a person (renewal_overlap_needs_choice); --proration daily bills it by days",
            engagement.starts_on
        ),
    }))
}

async fn end(db: &Db, reference: &str, on: NaiveDate, reason: &str) -> Result<Changed, Failure> {
    let (firm, id) = find_engagement(db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let (engagement, _) = lock(&mut tx, firm, id).await?;
    renewal::may_end(&engagement.version, on).map_err(|r| refused(&r))?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let was = engagement.version.days.ends_on;
    engagements::end(&mut tx, firm, id, (on, was), reason, &by).await?;
    let engagement = view(&mut tx, firm, id).await?;
    let warnings = engagement
        .periods
        .iter()
        .filter(|period| !period.released && period.end > on)
        .map(billed_beyond)
        .collect();
    tx.commit().await?;
    Ok(Changed {
        changed: true,
        engagement,
        warnings,
        next: None,
    })
}

/// What is billed stays billed: whether anything is given back is a person's decision.
fn billed_beyond(period: &PeriodRow) -> Warning {
    Warning {
        code: "billed_beyond_end",
        message: format!(
            "invoice {} bills {} until {}, beyond the new end; it stays as it is: void it, refund it or leave it",
            period.invoice, period.start, period.end
        ),
    }
}

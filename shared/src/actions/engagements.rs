//! The terms agreed with a client: signed, renewed, ended.
//!
//! Signing makes terms final; a renewal is a new version and a draft until it is signed; an end only comes nearer. None of it
//! touches an invoice that exists.

use chrono::NaiveDate;
use serde::Serialize;

use super::{Fault, Result};
use crate::{
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
        self, Tx,
        audit::By,
        engagements::{self, EngagementView, Locked, PeriodRow, Renewal},
    },
};

/// The result of every change.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = EngagementChanged))]
pub struct Changed {
    /// Whether anything is other than it was.
    pub changed: bool,
    /// The engagement as it is now; of a renewal the new version.
    #[serde(flatten)]
    pub engagement: EngagementView,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
}

/// Something that is as asked for and may not be meant.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Warning {
    /// One word for scripts.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// The next version of an engagement: its days, and what is to be other than it was.
#[derive(Clone, Copy, Debug)]
pub struct NextVersion<'a> {
    /// First day; where the old version ends unless told.
    pub starts_on: Option<NaiveDate>,
    /// First day after it.
    pub ends_on: NaiveDate,
    /// Fee of a period, as it was typed.
    pub package_fee: Option<&'a str>,
    /// Rate per hour, likewise.
    pub hourly_rate: Option<&'a str>,
    /// What a clipped period costs: `full_fee` or `daily`.
    pub proration: Option<&'a str>,
    /// What documents and commands may call it; the old one's with -v2, -v3 … unless told.
    pub external_id: Option<&'a str>,
}

fn refused(refusal: &Refusal) -> Fault {
    Fault::refused(refusal.code(), refusal.to_string())
}

async fn view(tx: &mut Tx, firm: FirmId, id: EngagementId) -> Result<EngagementView> {
    let view = engagements::show(tx, firm, id).await?;
    view.ok_or_else(|| Fault::NotFound(format!("there is no engagement {id}")))
}

async fn lock(tx: &mut Tx, firm: FirmId, id: EngagementId) -> Result<(Locked, Vec<Version>)> {
    let found = engagements::lock_versions(tx, firm, id).await?;
    let (asked, others) = found.ok_or_else(|| Fault::NotFound(format!("there is no engagement {id}")))?;
    Ok((asked, others.into_iter().map(|other| other.version).collect()))
}

/// Makes the terms of a draft final; it is billed from then on.
///
/// # Errors
/// When there is no such engagement, its state or another version's days refuse, or the database is away.
pub async fn sign(tx: &mut Tx, firm: FirmId, id: EngagementId, by: &By<'_>) -> Result<Changed> {
    let (draft, others) = lock(tx, firm, id).await?;
    let changed = draft.version.status == EngagementStatus::Draft;
    renewal::may_sign(&draft.version, if changed { &others } else { &[] }).map_err(|r| refused(&r))?;
    if changed {
        engagements::sign(tx, firm, id, by).await?;
    }
    Ok(Changed {
        changed,
        engagement: view(tx, firm, id).await?,
        warnings: Vec::new(),
    })
}

/// Writes the next version, with the same terms unless told otherwise.
///
/// # Errors
/// When there is no such engagement, the days or amounts make no sense, the name is taken, or the database is away.
pub async fn renew(
    tx: &mut Tx,
    firm: FirmId,
    old: EngagementId,
    order: &NextVersion<'_>,
    by: &By<'_>,
) -> Result<Changed> {
    let (old, others) = lock(tx, firm, old).await?;
    let all: Vec<Version> = std::iter::once(old.version.clone()).chain(others).collect();
    let days =
        renewal::renewal_days(&old.version, &all, order.starts_on, order.ends_on).map_err(|r| refused(&r))?;
    let amount = |was, text: Option<&str>, field, option| {
        let wanted = text.map(|text| money(field, text, old.currency)).transpose()?;
        renewal::renewal_amount(was, wanted, option).map_err(|r| refused(&r))
    };
    let number = engagements::next_version(tx, firm, old.id).await?;
    let external_id = order.external_id.map(str::to_owned).or_else(|| {
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
        package_fee: amount(old.package_fee, order.package_fee, "package-fee", "--package-fee")?,
        hourly_rate: amount(old.hourly_rate, order.hourly_rate, "hourly-rate", "--hourly-rate")?,
        proration: order.proration,
    };
    engagements::renew(tx, firm, old.id, &new, by)
        .await
        .map_err(|fault| taken(fault, external_id.as_deref()))?;
    let engagement = view(tx, firm, new.id).await?;
    let warnings = clipped(&engagement, &new)?.into_iter().collect();
    Ok(Changed {
        changed: true,
        engagement,
        warnings,
    })
}

fn money(field: &'static str, text: &str, currency: Currency) -> Result<Money> {
    Money::parse_positive_decimal(text, currency).map_err(|fault| Fault::invalid(field, fault.to_string()))
}

fn taken(fault: store::Error, external_id: Option<&str>) -> Fault {
    match (&fault, external_id) {
        (store::Error::Conflict { .. }, Some(external_id)) => Fault::refused(
            "external_id_taken",
            format!("the firm has an engagement {external_id:?} already: choose another with --external-id"),
        ),
        _ => fault.into(),
    }
}

/// A renewal in the middle of a calendar period: both versions would charge the period, so the second waits for a person.
fn clipped(engagement: &EngagementView, new: &Renewal<'_>) -> Result<Option<Warning>> {
    let (Some(fee), Some(cadence)) = (new.package_fee, &engagement.package_fee_schedule) else {
        return Ok(None);
    };
    let word = |unknown: UnknownWord| Fault::from(store::Error::corrupt(unknown));
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
        code: "renewal_clips_a_period".to_owned(),
        message: format!(
            "it begins within a calendar period ({}): if the old version has billed that period, generation leaves the \
             rest of it to a person (renewal_overlap_needs_choice); --proration daily bills it by days",
            engagement.starts_on
        ),
    }))
}

/// Brings the end of a signed engagement nearer.
///
/// # Errors
/// When there is no such engagement, it is not signed or ends before, or the database is away.
pub async fn end(
    tx: &mut Tx,
    firm: FirmId,
    id: EngagementId,
    on: NaiveDate,
    reason: &str,
    by: &By<'_>,
) -> Result<Changed> {
    let (engagement, _) = lock(tx, firm, id).await?;
    renewal::may_end(&engagement.version, on).map_err(|r| refused(&r))?;
    let was = engagement.version.days.ends_on;
    engagements::end(tx, firm, id, (on, was), reason, by).await?;
    let engagement = view(tx, firm, id).await?;
    let warnings = engagement
        .periods
        .iter()
        .filter(|period| !period.released && period.end > on)
        .map(billed_beyond)
        .collect();
    Ok(Changed {
        changed: true,
        engagement,
        warnings,
    })
}

/// What is billed stays billed: whether anything is given back is a person's decision.
fn billed_beyond(period: &PeriodRow) -> Warning {
    Warning {
        code: "billed_beyond_end".to_owned(),
        message: format!(
            "invoice {} bills {} until {}, beyond the new end; it stays as it is: void it, refund it or leave it",
            period.invoice, period.start, period.end
        ),
    }
}

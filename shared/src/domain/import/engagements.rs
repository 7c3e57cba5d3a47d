//! `engagements` of a document: the terms agreed with a client.

use chrono::NaiveDate;
use serde_json::Value;

use super::{
    amounts::{self, Amount},
    reader::{Fields, boolean, date, parsed, text},
};
use crate::{
    currency::Currency,
    domain::{
        generate::PricingMode,
        period::{Anchor, Cadence, Proration},
        words::word_enum,
    },
    money::Money,
};

word_enum!(
    /// When an issued invoice is charged.
    ChargeTiming, "charge_timing":
    /// At once.
    OnIssue = "on_issue",
    /// On the day that it is due.
    OnDue = "on_due",
);

pub(super) const KEYS: &[&str] = &[
    "external_id",
    "client",
    "pricing_mode",
    "currency",
    "package_fee",
    "package_fee_schedule",
    "period_anchor",
    "proration",
    "charge_timing",
    "hourly_rate",
    "hourly_schedule",
    "starts_on",
    "ends_on",
    "signed",
];

/// The terms agreed with a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engagement {
    /// Where in the document.
    pub path: String,
    /// Its id there and in every later document.
    pub external_id: String,
    /// Its client.
    pub client: String,
    /// What is paid for.
    pub pricing_mode: PricingMode,
    /// The currency of all its amounts.
    pub currency: Currency,
    /// Fee of a full period, and how often; with `package` and `mixed`.
    pub package: Option<(Money, Cadence)>,
    /// Where periods begin.
    pub period_anchor: Anchor,
    /// What a clipped period costs.
    pub proration: Proration,
    /// When its invoices are charged.
    pub charge_timing: ChargeTiming,
    /// Per hour; with `hourly` and `mixed`.
    pub hourly_rate: Option<Money>,
    /// How often the hours are invoiced, in arrears; with `hourly`. Absent, they are invoiced on demand.
    pub hourly_schedule: Option<Cadence>,
    /// First day.
    pub starts_on: NaiveDate,
    /// First day after it; `None` while it is open.
    pub ends_on: Option<NaiveDate>,
    /// Whether the terms are final.
    pub signed: bool,
}

impl Engagement {
    /// How often it is invoiced by itself.
    #[must_use]
    pub fn cadence(&self) -> Option<Cadence> {
        self.package.map(|(_, cadence)| cadence).or(self.hourly_schedule)
    }
}

pub(super) fn read(fields: &Fields<'_>) -> Option<Engagement> {
    let external_id = fields.required("external_id", text);
    let client = fields.required("client", text);
    let pricing_mode = fields.required("pricing_mode", parsed::<PricingMode>);
    let currency = fields.required("currency", parsed);
    let package = read_package(fields, pricing_mode, currency);
    let hourly_rate = read_hourly_rate(fields, pricing_mode, currency);
    let hourly_schedule = read_hourly_schedule(fields, pricing_mode);
    let period_anchor = fields.or("period_anchor", Anchor::Calendar, parsed);
    let proration = fields.or("proration", Proration::FullFee, parsed);
    let charge_timing = fields.or("charge_timing", ChargeTiming::OnIssue, parsed);
    let starts_on = fields.required("starts_on", date);
    let ends_on = fields.optional("ends_on", date);
    let signed = fields.or("signed", false, boolean);
    if let (Some(starts_on), Some(Some(ends_on))) = (starts_on, ends_on)
        && ends_on <= starts_on
    {
        fields.fault(
            "ends_on",
            format!(
                "{ends_on} must be after starts_on {starts_on}: it is the first day after the engagement"
            ),
        );
        return None;
    }
    Some(Engagement {
        path: fields.path().to_owned(),
        external_id: external_id?,
        client: client?,
        pricing_mode: pricing_mode?,
        currency: currency?,
        package: package?,
        period_anchor: period_anchor?,
        proration: proration?,
        charge_timing: charge_timing?,
        hourly_rate: hourly_rate?,
        hourly_schedule: hourly_schedule?,
        starts_on: starts_on?,
        ends_on: ends_on?,
        signed: signed?,
    })
}

/// Reads fee and cadence where the pricing mode has them, and notes them where it has not.
fn read_package(
    fields: &Fields<'_>,
    mode: Option<PricingMode>,
    currency: Option<Currency>,
) -> Option<Option<(Money, Cadence)>> {
    match mode {
        Some(PricingMode::Package | PricingMode::Mixed) => {
            let fee = amounts::required(fields, "package_fee", Amount::Positive, currency);
            let cadence = fields.required("package_fee_schedule", parsed::<Cadence>);
            Some(Some((fee?, cadence?)))
        }
        Some(PricingMode::Hourly) => {
            let absent = [
                must_be_absent(fields, "package_fee", "hourly"),
                must_be_absent(fields, "package_fee_schedule", "hourly"),
            ];
            absent.iter().all(|absent| *absent).then_some(None)
        }
        None => {
            // Whether they belong here is not known, but a wrong word is wrong in any case.
            fields.optional("package_fee_schedule", parsed::<Cadence>);
            None
        }
    }
}

fn read_hourly_rate(
    fields: &Fields<'_>,
    mode: Option<PricingMode>,
    currency: Option<Currency>,
) -> Option<Option<Money>> {
    match mode? {
        PricingMode::Hourly | PricingMode::Mixed => {
            amounts::required(fields, "hourly_rate", Amount::Positive, currency).map(Some)
        }
        PricingMode::Package => must_be_absent(fields, "hourly_rate", "package").then_some(None),
    }
}

/// Hours of a mixed engagement go with its package; hours alone may have a cadence of their own.
fn read_hourly_schedule(fields: &Fields<'_>, mode: Option<PricingMode>) -> Option<Option<Cadence>> {
    match mode? {
        PricingMode::Hourly => fields.optional("hourly_schedule", repeating),
        PricingMode::Package => must_be_absent(fields, "hourly_schedule", "package").then_some(None),
        PricingMode::Mixed => must_be_absent(fields, "hourly_schedule", "mixed").then_some(None),
    }
}

fn repeating(value: &Value) -> Result<Cadence, String> {
    match parsed::<Cadence>(value)? {
        Cadence::OneTime => {
            Err("hours are invoiced again and again: use monthly, quarterly or annual, or leave it out and invoice on demand".to_owned())
        }
        cadence @ (Cadence::Monthly | Cadence::Quarterly | Cadence::Annual) => Ok(cadence),
    }
}

fn must_be_absent(fields: &Fields<'_>, key: &str, mode: &str) -> bool {
    let present = fields.has(key);
    if present {
        fields.fault(key, format!("does not go with pricing_mode {mode}"));
    }
    !present
}

//! `firms` of a document.

use std::fmt::Display;

use chrono_tz::Tz;
use serde_json::Value;

use super::reader::{Fields, boolean, kind_of, parsed, text};
use crate::{currency::Currency, domain::retry_policy::RetryPolicy};

/// The database takes no longer ones either.
const LONGEST_TERMS_DAYS: i32 = 365;

pub(super) const KEYS: &[&str] = &[
    "external_id",
    "name",
    "timezone",
    "currency",
    "retry_policy",
    "allow_self_approval",
    "require_client_approval",
    "auto_apply_credit",
    "max_charge_minor",
    "max_charges_per_run",
    "pause_client_on_fraud",
    "payment_terms_days",
    "alert_failure_rate_percent",
    "alert_failures_in_row",
    "alert_daily_summary",
];

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firm {
    /// Where in the document.
    pub path: String,
    /// Its id there and in every later document.
    pub external_id: String,
    /// Its name.
    pub name: String,
    /// Where its days begin and end.
    pub timezone: Tz,
    /// Its usual currency.
    pub currency: Currency,
    /// When soft declines are tried again; `None` leaves it as it is.
    pub retry_policy: Option<RetryPolicy>,
    /// Whether people may approve their own time; `None` leaves it as it is (off at first).
    pub allow_self_approval: Option<bool>,
    /// Whether time is invoiced only when the client has approved it too; `None` leaves it as it is (off at first).
    pub require_client_approval: Option<bool>,
    /// Whether new invoices use up their client's credit; `None` leaves it as it is.
    pub auto_apply_credit: Option<bool>,
    /// The largest automatic charge, in minor units of `currency`; 0 for no limit, `None` leaves it as it is.
    pub max_charge_minor: Option<i64>,
    /// How many automatic charges a local day may see; 0 for no limit, `None` leaves it as it is.
    pub max_charges_per_run: Option<i32>,
    /// Whether a chargeback for fraud pauses the client's automatic payment; `None` leaves it as it is.
    pub pause_client_on_fraud: Option<bool>,
    /// How many days after its issue an invoice is due; `None` leaves it as it is (30 at first).
    pub payment_terms_days: Option<i32>,
    /// So many of a hundred charges of a day may fail before the firm is told; 0 for never, `None` leaves it as it is.
    pub alert_failure_rate_percent: Option<i32>,
    /// After so many failures in a row an invoice's alert is a warning; 0 for never, `None` leaves it as it is.
    pub alert_failures_in_row: Option<i32>,
    /// Whether the firm is told every day what was invoiced; `None` leaves it as it is.
    pub alert_daily_summary: Option<bool>,
}

pub(super) fn read(fields: &Fields<'_>) -> Option<Firm> {
    let external_id = fields.required("external_id", text);
    let name = fields.required("name", text);
    let timezone = fields.required("timezone", timezone);
    let currency = fields.required("currency", parsed);
    let retry_policy = fields.optional("retry_policy", policy);
    let allow_self_approval = fields.optional("allow_self_approval", boolean);
    let require_client_approval = fields.optional("require_client_approval", boolean);
    let auto_apply_credit = fields.optional("auto_apply_credit", boolean);
    let max_charge_minor = fields.optional("max_charge_minor", |value| limit(value, i64::MAX));
    let max_charges_per_run = fields.optional("max_charges_per_run", |value| limit(value, i32::MAX));
    let pause_client_on_fraud = fields.optional("pause_client_on_fraud", boolean);
    let payment_terms_days = fields.optional("payment_terms_days", payment_terms);
    let alert_failure_rate_percent = fields.optional("alert_failure_rate_percent", |value| limit(value, 100));
    let alert_failures_in_row = fields.optional("alert_failures_in_row", |value| limit(value, i32::MAX));
    let alert_daily_summary = fields.optional("alert_daily_summary", boolean);
    Some(Firm {
        path: fields.path().to_owned(),
        external_id: external_id?,
        name: name?,
        timezone: timezone?,
        currency: currency?,
        retry_policy: retry_policy?,
        allow_self_approval: allow_self_approval?,
        require_client_approval: require_client_approval?,
        auto_apply_credit: auto_apply_credit?,
        max_charge_minor: max_charge_minor?,
        max_charges_per_run: max_charges_per_run?,
        pause_client_on_fraud: pause_client_on_fraud?,
        payment_terms_days: payment_terms_days?,
        alert_failure_rate_percent: alert_failure_rate_percent?,
        alert_failures_in_row: alert_failures_in_row?,
        alert_daily_summary: alert_daily_summary?,
    })
}

/// A whole number from 0, which stands for no limit.
fn limit<N: TryFrom<i64> + Into<i64> + Copy + Display>(value: &Value, most: N) -> Result<N, String> {
    value
        .as_i64()
        .filter(|number| (0..=most.into()).contains(number))
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("must be a whole number from 0 (no limit) to {most}"))
}

/// Days until an invoice is due.
fn payment_terms(value: &Value) -> Result<i32, String> {
    value
        .as_i64()
        .and_then(|days| i32::try_from(days).ok())
        .filter(|days| (0..=LONGEST_TERMS_DAYS).contains(days))
        .ok_or_else(|| format!("must be a whole number of days from 0 to {LONGEST_TERMS_DAYS}"))
}

fn timezone(value: &Value) -> Result<Tz, String> {
    let name = text(value)?;
    name.parse()
        .map_err(|_| format!("unknown timezone '{name}': use an IANA name such as Europe/Berlin or UTC"))
}

fn policy(value: &Value) -> Result<RetryPolicy, String> {
    if !value.is_object() {
        return Err(format!("must be an object, not {}", kind_of(value)));
    }
    serde_json::from_value(value.clone()).map_err(|fault| fault.to_string())
}

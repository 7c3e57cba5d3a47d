//! `invoices` of a document: issued by the import.

use chrono::NaiveDate;
use serde_json::Value;

use super::{
    amounts::{self, Amount},
    reader::{Fields, boolean, date, parsed, text},
};
use crate::{
    currency::Currency,
    domain::words::word_enum,
    money::{MAX_AMOUNT_MINOR, Money},
};

word_enum!(
    /// What a line is for.
    LineKind, "kind":
    /// The fee of a period.
    PackageFee = "package_fee",
    /// Time worked.
    Hourly = "hourly",
    /// A correction; may be negative.
    Adjustment = "adjustment",
);

pub(super) const KEYS: &[&str] = &[
    "external_id",
    "client",
    "engagement",
    "currency",
    "issue_date",
    "due_date",
    "autopay_opt_in",
    "tax",
    "lines",
];
const LINE_KEYS: &[&str] = &["kind", "description_code", "amount"];

/// An invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Where in the document.
    pub path: String,
    /// Its id there and in every later document.
    pub external_id: String,
    /// Who owes it.
    pub client: String,
    /// What it is for.
    pub engagement: String,
    /// The date on it.
    pub issue_date: NaiveDate,
    /// Until when it is to be paid.
    pub due_date: NaiveDate,
    /// Whether it may be collected by card.
    pub autopay_opt_in: bool,
    /// What it is made up of; at least one.
    pub lines: Vec<Line>,
    /// Tax on top of them, as it was worked out elsewhere; none unless said.
    pub tax: Money,
    /// What they and the tax add up to; more than nothing.
    pub total: Money,
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is for.
    pub kind: LineKind,
    /// A code that stands for the text; may be empty.
    pub description_code: String,
    /// How much.
    pub amount: Money,
}

pub(super) fn read(fields: &Fields<'_>) -> Option<Invoice> {
    let external_id = fields.required("external_id", text);
    let client = fields.required("client", text);
    let engagement = fields.required("engagement", text);
    let currency = fields.required("currency", parsed);
    let issue_date = fields.required("issue_date", date);
    let due_date = fields.required("due_date", date);
    let autopay_opt_in = fields.or("autopay_opt_in", false, boolean);
    let lines = read_lines(fields, currency);
    let tax = read_tax(fields, currency);
    let mut sound = true;
    if let (Some(issue_date), Some(due_date)) = (issue_date, due_date)
        && due_date < issue_date
    {
        fields.fault(
            "due_date",
            format!("{due_date} must not be before issue_date {issue_date}"),
        );
        sound = false;
    }
    let total = match (&lines, tax) {
        (Some(lines), Some(tax)) => add_up(fields, lines, tax, autopay_opt_in.unwrap_or(false)),
        _ => None,
    };
    sound.then_some(())?;
    Some(Invoice {
        path: fields.path().to_owned(),
        external_id: external_id?,
        client: client?,
        engagement: engagement?,
        issue_date: issue_date?,
        due_date: due_date?,
        autopay_opt_in: autopay_opt_in?,
        lines: lines?,
        tax: tax?,
        total: total?,
    })
}

/// All lines, or `None` when one is at fault.
fn read_lines(fields: &Fields<'_>, currency: Option<Currency>) -> Option<Vec<Line>> {
    if !fields.has("lines") {
        fields.fault("lines", "is missing");
        return None;
    }
    let lines: Vec<Option<Line>> = fields
        .list("lines", LINE_KEYS)
        .iter()
        .map(|line| read_line(line.as_ref()?, currency))
        .collect();
    lines.into_iter().collect()
}

fn read_line(fields: &Fields<'_>, currency: Option<Currency>) -> Option<Line> {
    let kind = fields.required("kind", parsed::<LineKind>);
    let description_code = fields.or("description_code", String::new(), code);
    let which = match kind {
        Some(LineKind::PackageFee | LineKind::Hourly) => Amount::Positive,
        Some(LineKind::Adjustment) | None => Amount::Signed,
    };
    let amount = amounts::required(fields, "amount", which, currency);
    Some(Line {
        kind: kind?,
        description_code: description_code?,
        amount: amount?,
    })
}

fn read_tax(fields: &Fields<'_>, currency: Option<Currency>) -> Option<Money> {
    if fields.has("tax") {
        return amounts::required(fields, "tax", Amount::NonNegative, currency);
    }
    currency.map(Money::zero)
}

/// Longer than any code that says what a line is for, and too short for a story.
const MAX_CODE_CHARS: usize = 64;

/// What a line is for, as a code: what clients wrote or are called has no place on an invoice of ours.
fn code(value: &Value) -> Result<String, String> {
    let code = text(value)?;
    let is_of_code = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if code.chars().count() <= MAX_CODE_CHARS && code.chars().all(is_of_code) {
        Ok(code)
    } else {
        Err(format!(
            "must be a code such as 'retainer', of letters, digits and _ - . : without blanks, {MAX_CODE_CHARS} at most"
        ))
    }
}

/// The total: positive, payable, and chargeable where it is to be charged.
fn add_up(fields: &Fields<'_>, lines: &[Line], tax: Money, autopay: bool) -> Option<Money> {
    let currency = tax.currency();
    if lines.is_empty() {
        fields.fault("lines", "must not be empty");
        return None;
    }
    let total = lines
        .iter()
        .try_fold(tax, |sum, line| sum.checked_add(line.amount));
    let fault = match total {
        Err(overflow) => overflow.to_string(),
        Ok(total) if !total.is_positive() => format!("add up to {total}; an invoice must be above zero"),
        Ok(total) if total.minor() > MAX_AMOUNT_MINOR => {
            format!("add up to {total}, more than Stripe takes in one charge")
        }
        Ok(total) if autopay && total.minor() < currency.minimum_charge_minor() => format!(
            "add up to {total}, below the minimum that Stripe charges ({}): leave autopay_opt_in off or raise the amount",
            Money::new(currency.minimum_charge_minor(), currency)
        ),
        Ok(total) => return Some(total),
    };
    fields.fault("lines", fault);
    None
}

//! Credit: giving it to a client, and paying invoices with it.

use chrono::NaiveDate;
use serde::Serialize;

use super::{Fault, Result, people::Acting};
use crate::{
    currency::Currency,
    domain::credit::{Asked, Giving, Source},
    ids::{ClientId, CreditLotId, FirmId, InvoiceId},
    money::Money,
    store::{
        Tx,
        audit::By,
        credits::{self, Applied, Balance, NewLot},
    },
};

/// Credit to be given.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// To whom.
    pub client: ClientId,
    /// As it was typed.
    pub amount: &'a str,
    /// In which currency; the firm's unless told.
    pub currency: Option<Currency>,
    /// Why.
    pub reason: &'a str,
    /// What for.
    pub source: Source,
    /// Who gives it.
    pub giver: &'a Acting,
    /// Who approved it.
    pub approver: Option<&'a Acting>,
    /// The firm's first day on which it is worth nothing.
    pub expires_on: Option<NaiveDate>,
}

/// What was given.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Issued {
    /// The credit's id.
    pub lot: CreditLotId,
    /// To whom.
    pub client: String,
    /// What for.
    pub source: String,
    /// How much.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: String,
    /// The first day on which it is worth nothing.
    pub expires_on: Option<NaiveDate>,
    /// What the client may spend now.
    pub balances: Vec<Balance>,
}

/// Gives a client credit.
///
/// # Errors
/// When a rule refuses, something makes no sense, or the database is away.
pub async fn issue(tx: &mut Tx, firm: FirmId, order: &Order<'_>, by: &By<'_>) -> Result<(Issued, Money)> {
    let (name, usual) = credits::client_and_currency(tx, firm, order.client).await?;
    let currency = order.currency.unwrap_or(usual);
    let amount = Money::parse_positive_decimal(order.amount, currency)
        .map_err(|fault| Fault::invalid("amount", fault.to_string()))?;
    let giving = Giving {
        source: order.source,
        reason: order.reason,
        by: order.giver.person(),
        approved_by: order.approver.map(Acting::person),
        expires_on: order.expires_on,
        today: credits::today(tx, firm).await?,
    };
    giving
        .decide()
        .map_err(|why| Fault::refused(why.code(), why.to_string()))?;
    let new = NewLot {
        client: order.client,
        amount,
        source: order.source,
        reason: order.reason,
        issued_by: Some(order.giver.name()),
        approved_by: order.approver.map(Acting::name),
        refund: None,
        expires_on: order.expires_on,
    };
    let lot = credits::issue(tx, firm, &new, by).await?;
    let issued = Issued {
        lot,
        client: name,
        source: order.source.as_str().to_owned(),
        amount_minor: amount.minor(),
        currency: currency.as_str().to_owned(),
        expires_on: order.expires_on,
        balances: credits::balances(tx, firm, order.client).await?,
    };
    Ok((issued, amount))
}

/// Pays an invoice with its client's credit: as much as fits, or exactly an amount as it was typed.
///
/// # Errors
/// When there is no such invoice, a rule refuses, or the database is away.
pub async fn apply(
    tx: &mut Tx,
    firm: FirmId,
    invoice: InvoiceId,
    amount: Option<&str>,
    by: &By<'_>,
) -> Result<Applied> {
    let bill = credits::lock_bill(tx, firm, invoice)
        .await?
        .ok_or_else(|| Fault::NotFound(format!("there is no invoice {invoice}")))?;
    let asked = match amount {
        Some(text) => Asked::Exactly(
            Money::parse_positive_decimal(text, bill.open.currency())
                .map_err(|fault| Fault::invalid("amount", fault.to_string()))?,
        ),
        None => Asked::All,
    };
    credits::apply(tx, firm, &bill, asked, by)
        .await?
        .map_err(|why| Fault::refused(why.code(), why.to_string()))
}

//! `quittance invoice pay-external`: money that came by transfer, cheque or cash.

use chrono::NaiveDate;
use serde_json::json;
use shared::{
    actions::invoices::{self, FromElsewhere, Recorded},
    money::Money,
    store::{
        Db,
        audit::{By, Cause},
        corrections::Arrived,
        jobs,
    },
};
use uuid::Uuid;

use super::{find::find_invoice, operator};
use crate::output::{Exit, Failure, Format};

/// Arguments of `invoice pay-external`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// UUID, number or external_id.
    id: String,
    /// How much, in the invoice's currency, such as 12.50.
    #[arg(long, value_name = "A")]
    amount: String,
    /// Names the money in the firm's books, such as the transfer's id; the same again is recorded once.
    #[arg(long, value_name = "R", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reference: String,
    /// The day on which it came, where the firm is; now unless told.
    #[arg(long, value_name = "D")]
    received_on: Option<NaiveDate>,
}

/// Runs `invoice pay-external`.
///
/// # Errors
/// When the invoice takes no money, the reference is taken, an argument is wrong, or the database is away.
pub async fn run(db: &Db, args: Args, out: Format) -> Result<Exit, Failure> {
    let (firm, invoice) = find_invoice(db, &args.id).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let money = FromElsewhere {
        amount: &args.amount,
        reference: &args.reference,
        received_on: args.received_on,
    };
    let Recorded {
        label,
        amount,
        arrived,
    } = invoices::pay_external(&mut tx, firm, invoice, &money, &by).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    let credit = arrived
        .unapplied
        .as_ref()
        .map_or(0, |credit| credit.amount.minor());
    let shown = json!({
        "invoice": invoice, "number": label, "payment": arrived.payment, "recorded": arrived.is_new,
        "amount_minor": amount.minor(), "currency": amount.currency().as_str(), "credit_minor": credit,
        "open_minor": arrived.open.minor(), "reopened": arrived.reopened,
    });
    out.show(&shown, |_| describe(&label, amount, &arrived))?;
    Ok(Exit::Done)
}

fn describe(label: &str, amount: Money, arrived: &Arrived) -> String {
    let mut text = if arrived.is_new {
        format!("{label}: {amount} recorded, {} open\n", arrived.open)
    } else {
        format!(
            "{label}: this payment is on record already, {} open\n",
            arrived.open
        )
    };
    if arrived.reopened {
        text.push_str("it had been written off, and is open again\n");
    }
    if let Some(credit) = &arrived.unapplied {
        text.push_str(&format!(
            "{} of it was not owed, and is the client's credit\n",
            credit.amount
        ));
    }
    text
}

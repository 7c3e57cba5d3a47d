//! `quittance client`: a client's automatic payment and its cards.
//!
//! What is being collected follows in the same transaction, exactly as in an import.

use shared::{
    actions::clients::{self as actions, AutopayShown},
    store::{
        audit::{By, Cause},
        jobs,
    },
};
use uuid::Uuid;

use super::{
    client_show,
    connect::{check_mode, stripe_client},
    find::find_client,
    open_db, operator,
};
use crate::{
    jobs::attach_card::looks_of,
    output::{Exit, Failure, Format},
    stripe::{self, Client},
};

/// Arguments of `client`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One client with its cards, its automatic payment, its credit and what it owes.
    #[command(after_help = "Examples:
  quittance client show globex
  quittance client show cus_1 --json")]
    Show {
        /// UUID, external_id or Stripe customer.
        client: String,
    },
    #[command(flatten)]
    Change(Change),
}

/// What changes a client.
#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Switch automatic payment on or off.
    #[command(subcommand)]
    Autopay(AutopayCommand),
    /// The client's stored cards.
    #[command(subcommand)]
    PaymentMethod(MethodCommand),
}

#[derive(Debug, clap::Subcommand)]
enum AutopayCommand {
    /// Collect this client's invoices by card: those never tried at once, those given up when it was off where they were,
    /// and those that one of our faults or a missing customer stopped.
    #[command(after_help = "Examples:
  quittance client autopay on globex
  quittance client autopay on cus_1 --payment-method pm_1 --reason 'new mandate of 3 March'")]
    On {
        /// UUID, external_id or Stripe customer.
        client: String,
        /// Which card; the one that is set unless told.
        #[arg(long, value_name = "PM")]
        payment_method: Option<String>,
        /// Why, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Stop; retries that are planned are given up.
    #[command(after_help = "Examples:\n  quittance client autopay off globex --reason 'pays by transfer'")]
    Off {
        /// UUID, external_id or Stripe customer.
        client: String,
        /// Why, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, clap::Subcommand)]
enum MethodCommand {
    /// Attach a card that Stripe keeps for this client; it is looked up there. Where it is the card that is charged, collections
    /// that waited for it go on; to have another one charged takes --use.
    #[command(after_help = "Examples:
  quittance client payment-method add globex pm_1
  quittance client payment-method add globex pm_2 --use")]
    Add {
        /// UUID, external_id or Stripe customer.
        client: String,
        /// Stripe's id of the card.
        payment_method: String,
        /// Charge it automatically from now on, as the client has agreed to: what waits for a card is tried at once.
        #[arg(long = "use")]
        charge_it: bool,
    },
}

/// Runs `client`.
///
/// # Errors
/// When there is no such client or card, the change is refused, or the database or Stripe is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    match args.command {
        Command::Show { client } => client_show::run(&open_db().await?, &client, out).await,
        Command::Change(change) => apply(change, out).await,
    }
}

async fn apply(change: Change, out: Format) -> Result<Exit, Failure> {
    let reference = match &change {
        Change::Autopay(AutopayCommand::On { client, .. } | AutopayCommand::Off { client, .. })
        | Change::PaymentMethod(MethodCommand::Add { client, .. }) => client.clone(),
    };
    let question = match &change {
        Change::PaymentMethod(MethodCommand::Add { payment_method, .. }) => {
            Some((stripe_client()?, payment_method))
        }
        Change::Autopay(_) => None,
    };
    let db = open_db().await?;
    let (firm, client) = find_client(&db, &reference).await?;
    // Stripe is asked before a transaction is open.
    let card = match question {
        Some((stripe, payment_method)) => {
            check_mode(&db, &stripe).await?;
            Some(fetch(&stripe, payment_method).await?)
        }
        None => None,
    };
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let shown = match (change, card) {
        (
            Change::Autopay(AutopayCommand::On {
                payment_method,
                reason,
                ..
            }),
            _,
        ) => {
            let wanted = (payment_method.as_deref(), reason.as_deref());
            actions::autopay_on(&mut tx, firm, client, wanted, &by).await?
        }
        (Change::Autopay(AutopayCommand::Off { reason, .. }), _) => {
            actions::autopay_off(&mut tx, firm, client, reason.as_deref(), &by).await?
        }
        (Change::PaymentMethod(MethodCommand::Add { charge_it, .. }), Some(card)) => {
            let kept_for = (card.id.as_str(), card.customer.as_deref());
            let order = (kept_for, &looks_of(&card), charge_it);
            actions::attach_card(&mut tx, firm, client, order, &by).await?
        }
        // A card is asked for whenever one is to be added.
        (Change::PaymentMethod(_), None) => {
            return Err(Failure::new("internal", "no card was asked for"));
        }
    };
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    out.show(&shown, describe)?;
    Ok(Exit::Done)
}

async fn fetch(client: &Client, id: &str) -> Result<stripe::PaymentMethod, Failure> {
    match client.payment_method(id).await {
        Ok(method) => Ok(method),
        Err(stripe::Error::NotFound { .. }) => Err(Failure::not_found(format!(
            "Stripe knows no payment method {id:?} of this account"
        ))),
        Err(fault) => Err(Failure::new(
            "stripe",
            format!("Stripe cannot be asked about {id:?}: {fault}"),
        )),
    }
}

fn describe(shown: &AutopayShown) -> String {
    let change = if shown.changed { "changed" } else { "as it was" };
    let resumed = match shown.resumed {
        0 => String::new(),
        n => format!("; {n} stopped collection(s) go on"),
    };
    let text = match (shown.autopay_enabled, &shown.autopay_payment_method) {
        (true, Some(method)) => format!(
            "{}: {change}; automatic payment is on, with {method}{resumed}\n",
            shown.client
        ),
        (true, None) | (false, _) => format!("{}: {change}; automatic payment is off\n", shown.client),
    };
    match shown.waiting {
        0 => text,
        n => format!(
            "{text}{n} collection(s) wait for another card: `quittance client autopay on {} --payment-method PM` tries one at once\n",
            shown.client
        ),
    }
}

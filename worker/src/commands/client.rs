//! `quittance client`: a client's automatic payment and its cards.
//!
//! What is being collected follows in the same transaction, exactly as in an import.

use shared::{
    actions::clients::{self as actions, AutopayShown},
    domain::collection::Asked,
    ids::{ClientId, FirmId},
    store::{
        Tx,
        audit::{By, Cause},
        autopay::{self, State},
        cycles, jobs,
        payment_methods::{self, Card},
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
            let before = actions::lock(&mut tx, firm, client).await?;
            let waited = cycles::waiting_for_a_card(&mut tx, firm, client).await?;
            let (added, went_on) = attach(&mut tx, firm, client, &before, &card, &by).await?;
            let taken = charge_it && use_card(&mut tx, firm, client, &before, &card.id, &by).await?;
            let resumed = went_on + if taken { waited } else { 0 };
            actions::shown(&mut tx, firm, client, (added || taken, resumed)).await?
        }
        (Change::PaymentMethod(_), None) => {
            actions::lock(&mut tx, firm, client).await?;
            actions::shown(&mut tx, firm, client, (false, 0)).await?
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

/// Has a card of the client's charged from now on. Returns whether another one, or none, was before.
async fn use_card(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    before: &State,
    card: &str,
    by: &By<'_>,
) -> Result<bool, Failure> {
    let method = actions::usable(tx, firm, client, Some(card)).await?;
    let differs = !before.enabled || before.method_id != Some(method.id);
    if differs {
        autopay::switch_on(tx, firm, client, (before.method_id, method.id), None, by).await?;
    }
    Ok(differs)
}

/// Attaches a card, or writes down what it looks like now. Where it is the one that is charged, what stood still because of it
/// goes on; one that was refused for good is not tried again while it is as it was. Returns whether anything about it is new,
/// and how many collections go on.
async fn attach(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    before: &State,
    found: &stripe::PaymentMethod,
    by: &By<'_>,
) -> Result<(bool, usize), Failure> {
    if found.customer.is_none() || found.customer != before.customer {
        return Err(Failure::refused(
            "other_customer",
            format!("Stripe keeps {} for another customer, or for none", found.id),
        ));
    }
    let number = |value: Option<i64>| value.and_then(|n| i32::try_from(n).ok());
    let card = Card {
        brand: found.brand.as_deref(),
        last4: found.last4.as_deref(),
        exp_month: number(found.exp_month),
        exp_year: number(found.exp_year),
        fingerprint: found.fingerprint.as_deref(),
    };
    let stored = payment_methods::find(tx, firm, client, &found.id).await?;
    let Some(stored) = stored else {
        // Whether it is charged from now on is for the client to say: `client autopay on`.
        payment_methods::attach(tx, firm, client, &found.id, &card, by).await?;
        return Ok((true, 0));
    };
    // What an issuer refused for good is refused again while nothing about it has changed (B-24).
    let is_new = stored.detached || !stored.looks_like(&card);
    let is_charged = before.enabled && before.method_id == Some(stored.id);
    let mut resumed = 0;
    if is_new {
        payment_methods::update(tx, firm, client, stored.id, &card, by).await?;
        if is_charged {
            resumed += cycles::method_updated(tx, firm, client, by.at, by.cause).await?;
        }
    }
    if is_charged {
        resumed += cycles::review_paused(tx, firm, client, Asked::WithCard, by.at, by.cause).await?;
    }
    Ok((is_new, resumed))
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

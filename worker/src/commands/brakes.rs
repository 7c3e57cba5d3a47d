//! `quittance pause autopay` and `quittance resume autopay`: stop automatic charging, for everybody, a firm or a client.
//!
//! It holds from the commit on: whatever is decided later is not charged, and what was decided before does not leave any more
//! once a second has passed. What Stripe has been asked to do by then is recorded like any other charge.

use serde::Serialize;
use shared::{
    actions::brakes as actions,
    store::{
        self, Db, Tx,
        audit::{By, Cause},
        brakes::{self, Scope},
        jobs,
    },
};
use uuid::Uuid;

use super::{find::find_client, firms::chosen_firms, open_db, operator, reason::Reason};
use crate::output::{Exit, Failure, Format};

/// Arguments of `pause`.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    #[command(subcommand)]
    command: PauseCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PauseCommand {
    /// Stop automatic charging within one second; everything else goes on.
    #[command(after_help = "Examples:
  quittance pause autopay --all --reason 'checking the totals of March'
  quittance pause autopay --firm-id acme --reason 'asked for by the firm'
  quittance pause autopay --client-id globex --reason 'dunning on hold'")]
    Autopay {
        #[command(flatten)]
        of: Of,
        /// Why, for the audit log and for whoever asks why nothing is charged.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    #[command(subcommand)]
    command: ResumeCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ResumeCommand {
    /// Let automatic charging go on; what fell due meanwhile is charged at once. For a firm, what a limit stopped is decided
    /// anew, within the limits as they are now.
    #[command(after_help = "Examples:
  quittance resume autopay --all --reason 'totals are right'
  quittance resume autopay --firm-id acme --reason 'the firm has agreed'
  quittance resume autopay --client-id globex --reason 'dunning goes on'")]
    Autopay {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        reason: Reason,
    },
}

/// For whom.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Of {
    /// Everybody.
    #[arg(long)]
    all: bool,
    /// All clients of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// This client.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    /// `all`, `firm` or `client`.
    scope: &'static str,
    /// Which, as it was named.
    id: Option<String>,
    paused: bool,
    changed: bool,
    /// Charges that are due again.
    #[serde(skip_serializing_if = "Option::is_none")]
    enqueued: Option<usize>,
    /// Of those, collections that a limit had stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<usize>,
}

/// Runs `pause`.
///
/// # Errors
/// When there is no such firm or client, or the database is away.
pub async fn pause(args: PauseArgs, out: Format) -> Result<Exit, Failure> {
    let PauseCommand::Autopay { of, reason } = args.command;
    let db = open_db().await?;
    let scope = scope(&db, &of).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = begin(&db, scope).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let changed = brakes::pause(&mut tx, scope, &reason, &by).await?;
    tx.commit().await?;
    out.show(&of.shown(true, changed), describe)?;
    Ok(Exit::Done)
}

/// Runs `resume`.
///
/// # Errors
/// When there is no such firm or client, or the database is away.
pub async fn resume(args: ResumeArgs, out: Format) -> Result<Exit, Failure> {
    let ResumeCommand::Autopay { of, reason } = args.command;
    let db = open_db().await?;
    let scope = scope(&db, &of).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = begin(&db, scope).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let resumed = actions::resume(&mut tx, scope, reason.text(), &by).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    let shown = Shown {
        enqueued: Some(resumed.enqueued),
        released: resumed.released,
        ..of.shown(false, resumed.changed)
    };
    out.show(&shown, describe)?;
    Ok(Exit::Done)
}

impl Of {
    fn shown(&self, paused: bool, changed: bool) -> Shown {
        let (scope, id) = match (&self.firm_id, &self.client_id) {
            (Some(firm), _) => ("firm", Some(firm.clone())),
            (None, Some(client)) => ("client", Some(client.clone())),
            (None, None) => ("all", None),
        };
        Shown {
            scope,
            id,
            paused,
            changed,
            enqueued: None,
            released: None,
        }
    }
}

async fn scope(db: &Db, of: &Of) -> Result<Scope, Failure> {
    Ok(match (&of.firm_id, &of.client_id) {
        (Some(firm), _) => {
            let found = chosen_firms(db, Some(firm)).await?.into_iter().next();
            let found = found.ok_or_else(|| Failure::not_found(format!("there is no firm {firm:?}")))?;
            Scope::Firm(found.id)
        }
        (None, Some(client)) => {
            let (firm, client) = find_client(db, client).await?;
            Scope::Client(firm, client)
        }
        (None, None) => Scope::All,
    })
}

async fn begin(db: &Db, scope: Scope) -> Result<Tx, store::Error> {
    match scope.firm() {
        Some(firm) => db.firm(firm).await,
        None => db.plain().await,
    }
}

fn describe(shown: &Shown) -> String {
    let whom = match &shown.id {
        Some(id) => format!("{} {id}", shown.scope),
        None => "everybody".to_owned(),
    };
    let state = if shown.paused { "is stopped" } else { "goes on" };
    let change = if shown.changed { "" } else { ", as it was" };
    let mut text = format!("automatic charging of {whom} {state}{change}");
    if let Some(enqueued) = shown.enqueued {
        text.push_str(&format!("; {enqueued} charge(s) are due"));
    }
    if let Some(released) = shown.released.filter(|released| *released > 0) {
        text.push_str(&format!(", {released} of them stopped by a limit before"));
    }
    text.push('\n');
    text
}

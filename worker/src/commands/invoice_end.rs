//! `quittance invoice void` and `quittance invoice write-off`: an invoice ends without being paid. Both wait for what is on its
//! way at Stripe, as only that says whether money has come first.

use std::time::Instant;

use serde::Serialize;
use shared::{
    actions::invoices::end_refusal,
    domain::document::{DocState, VoidDecision, WriteOffDecision},
    ids::{FirmId, InvoiceId},
    store::{
        Db,
        audit::{Actor, By, Cause},
        corrections::{self, Standing},
        jobs,
    },
};
use uuid::Uuid;

use super::{
    find::find_invoice,
    operator,
    reason::Reason,
    wait::{WaitArgs, pause},
};
use crate::output::{Exit, Failure, Format};

/// What is waited for, in messages.
const CHARGES: &str = "the charges under way";

/// Arguments of both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// UUID, number, external_id, or the Stripe id of an intent or charge.
    id: String,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    wait: WaitArgs,
}

/// The result of both.
#[derive(Debug, Serialize)]
struct Shown {
    invoice: InvoiceId,
    number: String,
    state: &'static str,
    open_minor: i64,
    currency: String,
}

/// Which invoice, and in whose name.
struct Run<'a> {
    db: &'a Db,
    firm: FirmId,
    invoice: InvoiceId,
    actor: Actor,
    cause: Cause,
    args: Args,
}

impl<'a> Run<'a> {
    async fn new(db: &'a Db, args: Args) -> Result<Self, Failure> {
        let (firm, invoice) = find_invoice(db, &args.id).await?;
        Ok(Self {
            db,
            firm,
            invoice,
            actor: operator(),
            cause: Cause::command(Uuid::now_v7()),
            args,
        })
    }

    async fn request_void(&self) -> Result<VoidDecision, Failure> {
        let mut tx = self.db.firm(self.firm).await?;
        let by = self.by(tx.now());
        let reason = self.args.reason.text();
        let decision = corrections::request_void(&mut tx, self.firm, self.invoice, reason, &by).await?;
        jobs::nudge(&mut tx).await?;
        tx.commit().await?;
        Ok(decision)
    }

    async fn write_off(&self) -> Result<WriteOffDecision, Failure> {
        let mut tx = self.db.firm(self.firm).await?;
        let by = self.by(tx.now());
        let reason = self.args.reason.text();
        let decision = corrections::write_off(&mut tx, self.firm, self.invoice, reason, &by).await?;
        jobs::nudge(&mut tx).await?;
        tx.commit().await?;
        Ok(decision)
    }

    async fn standing(&self) -> Result<Standing, Failure> {
        let mut tx = self.db.firm(self.firm).await?;
        Ok(corrections::read(&mut tx, self.firm, self.invoice).await?)
    }

    /// Waits a moment, unless the time is up, nobody is there to do the work, or it cannot be done.
    async fn wait(&self, started: Instant) -> Result<(), Failure> {
        let mut tx = self.db.firm(self.firm).await?;
        if let Some(why) = corrections::failed_cancellation(&mut tx, self.firm, self.invoice).await? {
            let message = format!("a PaymentIntent of the invoice cannot be canceled at Stripe: {why}");
            return Err(Failure::new("cancellation_failed", message));
        }
        drop(tx);
        pause(self.db, started, self.args.wait, CHARGES).await
    }

    async fn refused(&self, reason: &'static str) -> Result<Failure, Failure> {
        let label = self.standing().await?.label;
        Ok(Failure::refused(
            reason,
            format!("{label} {}", end_refusal(reason)),
        ))
    }

    async fn show(&self, out: Format) -> Result<Exit, Failure> {
        let Standing { label, facts, .. } = self.standing().await?;
        let shown = Shown {
            invoice: self.invoice,
            number: label,
            state: facts.state.as_str(),
            open_minor: facts.open.minor(),
            currency: facts.open.currency().as_str().to_owned(),
        };
        out.show(&shown, |shown| {
            let state = match facts.state {
                DocState::Void => "void",
                DocState::VoidRequested => "to be voided once the charges under way are given up",
                DocState::WrittenOff => "written off",
                DocState::Draft | DocState::Issued => "as it was",
            };
            format!("{} is {state}\n", shown.number)
        })?;
        Ok(Exit::Done)
    }

    fn by(&self, at: chrono::DateTime<chrono::Utc>) -> By<'_> {
        By {
            actor: &self.actor,
            cause: &self.cause,
            at,
        }
    }
}

/// `invoice void`: asks for it, and waits until it has come about or money has come instead.
///
/// # Errors
/// When it is refused, money came first, the time is up, or the database is away.
pub async fn void(db: &Db, args: Args, out: Format) -> Result<Exit, Failure> {
    let run = Run::new(db, args).await?;
    let started = Instant::now();
    match run.request_void().await? {
        VoidDecision::Void(_) => return run.show(out).await,
        VoidDecision::Refuse(reason) | VoidDecision::Reject(reason) => {
            return Err(run.refused(reason).await?);
        }
        VoidDecision::Wait(_) if run.args.wait.no_wait => return run.show(out).await,
        VoidDecision::Wait(_) => {}
    }
    loop {
        match run.standing().await?.facts.state {
            DocState::VoidRequested => run.wait(started).await?,
            DocState::Void => return run.show(out).await,
            DocState::Issued | DocState::WrittenOff | DocState::Draft => {
                return Err(run.refused("money_arrived").await?);
            }
        }
    }
}

/// `invoice write-off`: gives up a charge that is under way, then what is open.
///
/// # Errors
/// When it is refused, money came first, the time is up, or the database is away.
pub async fn write_off(db: &Db, args: Args, out: Format) -> Result<Exit, Failure> {
    let run = Run::new(db, args).await?;
    let started = Instant::now();
    let mut waited = false;
    loop {
        match run.write_off().await? {
            WriteOffDecision::WriteOff => return run.show(out).await,
            WriteOffDecision::Refuse("nothing_open") if waited => {
                return Err(run.refused("money_arrived").await?);
            }
            WriteOffDecision::Refuse(reason) => return Err(run.refused(reason).await?),
            WriteOffDecision::Wait(_) if run.args.wait.no_wait => {
                let message =
                    "a charge is under way and is being given up: write it off again when that has ended";
                return Err(Failure::try_again("charge_under_way", message));
            }
            WriteOffDecision::Wait(_) => {
                waited = true;
                while run.standing().await?.facts.charge_under_way {
                    run.wait(started).await?;
                }
            }
        }
    }
}

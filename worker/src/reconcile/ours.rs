//! What we have that Stripe should know: open collections with their PaymentIntents (L1), and every record of the window that
//! Stripe's lists have not shown (L2 and L3, the other way round).

use chrono::TimeDelta;
use shared::{
    domain::reconcile::{self as compare, CycleHere, Finding, Layer, Side},
    ids::FirmId,
    store::{
        cycles,
        reconcile::{self as rows, OpenCycle, Recorded, What},
    },
};

use super::{Error, PAGE, Walk};
use crate::{collection, stripe};

/// An outcome that nobody knows for longer is told: by then it has been looked up five times.
const STALE: TimeDelta = TimeDelta::minutes(15);

impl Walk<'_> {
    /// Reads the PaymentIntent of every collection that has not ended, however old.
    pub(super) async fn open_cycles(&mut self, firm: FirmId) -> Result<(), Error> {
        let mut after = None;
        while !self.is_full(firm) {
            let mut tx = self.db.snapshot(firm).await?;
            let page = rows::open_cycles(&mut tx, firm, after, PAGE).await?;
            tx.rollback().await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for open in &page {
                self.open_cycle(firm, open).await?;
            }
        }
        Ok(())
    }

    async fn open_cycle(&mut self, firm: FirmId, open: &OpenCycle) -> Result<(), Error> {
        // A call that was just made may be answered, and not recorded yet.
        if open.sent_at.is_some_and(|sent_at| sent_at > self.window.until) {
            return Ok(());
        }
        let seen = match self.stripe.payment_intent(&open.intent).await {
            Ok(intent) => intent,
            Err(stripe::Error::NotFound { .. }) => {
                let ours = Side::of(&open.intent).state(format!("cycle {}", open.id));
                let finding = Finding {
                    object_at: None, // open cycles are looked at in every run
                    ..compare::missing_there(Layer::Cycles, open.subject.clone(), ours, self.window.until)
                };
                self.add(firm, finding);
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        let seen = collection::intent_seen(&seen).map_err(|fault| Error::Unreadable(fault.to_string()))?;
        let mut tx = self.db.snapshot(firm).await?;
        let cycle = cycles::look_at(&mut tx, firm, open.id).await?;
        let now = tx.now();
        tx.rollback().await?;
        // It may have ended while Stripe was asked.
        let Some(cycle) = cycle.filter(|cycle| !cycle.view.state.is_final()) else {
            return Ok(());
        };
        let here = CycleHere {
            subject: open.subject.clone(),
            id: cycle.id.to_string(),
            view: &cycle.view,
            attempts: &cycle.attempts,
            payments: &cycle.payments,
            is_stale: open.sent_at.is_some_and(|sent_at| now - sent_at > STALE),
        };
        self.add_all(firm, compare::cycle(&here, &seen, now));
        Ok(())
    }

    /// Asks Stripe for every record that its lists have not shown.
    pub(super) async fn recorded(&mut self, firm: FirmId) -> Result<(), Error> {
        for what in What::ALL {
            let mut after = String::new();
            while !self.is_full(firm) {
                let window = (self.window.since, self.window.until);
                let mut tx = self.db.snapshot(firm).await?;
                let page = rows::recorded(&mut tx, firm, *what, window, &after, PAGE).await?;
                tx.rollback().await?;
                let Some(last) = page.last() else { break };
                after = last.stripe_id.clone();
                for record in page
                    .into_iter()
                    .filter(|record| !self.seen.has(&record.stripe_id))
                    .collect::<Vec<_>>()
                {
                    self.unseen(firm, *what, record).await?;
                }
            }
        }
        Ok(())
    }

    /// A record that no list has shown: made at Stripe outside of the window, or unknown there.
    async fn unseen(&mut self, firm: FirmId, what: What, record: Recorded) -> Result<(), Error> {
        let id = &record.stripe_id;
        let stripe = self.stripe;
        let compared = match what {
            What::Charge => match stripe.charge(id).await {
                Ok(charge) => self.charges(vec![charge]).await,
                Err(fault) => Err(fault.into()),
            },
            What::Refund => match stripe.refund(id).await {
                Ok(refund) => self.refunds(vec![refund]).await,
                Err(fault) => Err(fault.into()),
            },
            What::Dispute => match stripe.dispute(id).await {
                Ok(dispute) => self.disputes(vec![dispute]).await,
                Err(fault) => Err(fault.into()),
            },
            What::Fee | What::Movement => match stripe.balance_transaction(id).await {
                Ok(txn) => self.balance_transactions(vec![txn]).await,
                Err(fault) => Err(fault.into()),
            },
        };
        let Err(Error::Stripe(stripe::Error::NotFound { .. })) = compared else {
            return compared;
        };
        let layer = match what {
            What::Charge | What::Refund | What::Dispute => Layer::Stripe,
            What::Fee | What::Movement => Layer::Balance,
        };
        let mut ours = Side::of(id).minor(record.amount_minor, &record.currency);
        ours.state = record.state;
        self.add(
            firm,
            compare::missing_there(layer, record.subject, ours, record.at),
        );
        Ok(())
    }
}

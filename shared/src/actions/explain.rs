//! What happened and why, of whatever an id means.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Fault, Result};
use crate::{
    domain::explain::{self, Answer, BillingFacts, InvoiceFacts},
    ids::{AlertId, AttemptId, ClientId, EngagementId, FirmId, InvoiceId, JobId},
    store::{
        Db, Tx,
        explain::{self as rows, Thing},
        resolve,
    },
};

/// What an id means.
#[derive(Clone, Debug)]
pub enum Meant {
    /// An event of Stripe's.
    Event(explain::EventFacts, Option<FirmId>),
    /// A job.
    Job(explain::JobFacts, Option<FirmId>),
    /// A row.
    Thing(Thing),
}

impl Meant {
    /// Whose it is, where that is known.
    #[must_use]
    pub fn firm(&self) -> Option<FirmId> {
        match self {
            Meant::Event(_, firm) | Meant::Job(_, firm) => *firm,
            Meant::Thing(thing) => thing.firm,
        }
    }
}

/// Whose things an id may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Anybody's.
    Anybodys,
    /// This firm's; or the platform's own, where there is none.
    Only(Option<FirmId>),
}

impl Whose {
    fn includes(self, firm: Option<FirmId>) -> bool {
        match self {
            Whose::Anybodys => true,
            Whose::Only(only) => only == firm,
        }
    }
}

/// Finds what an id means, as far as the transaction sees it. What is somebody else's is not there.
///
/// # Errors
/// When it means nothing or several things, or the database is away.
pub async fn find(tx: &mut Tx, id: &str, whose: Whose) -> Result<Meant> {
    if let Some((facts, firm)) = rows::event(tx, id).await?
        && whose.includes(firm)
    {
        return Ok(Meant::Event(facts, firm));
    }
    let mut found = rows::things(tx, id).await?;
    found.retain(|thing| whose.includes(thing.firm));
    if let (true, Ok(job)) = (found.is_empty(), id.parse::<Uuid>())
        && let Some((facts, firm)) = rows::job(tx, JobId(job)).await?
        && whose.includes(firm)
    {
        return Ok(Meant::Job(facts, firm));
    }
    one(id, found).map(Meant::Thing)
}

/// The one thing that an id means.
fn one(id: &str, mut found: Vec<Thing>) -> Result<Thing> {
    if found.len() > 1 {
        return Err(Fault::Ambiguous {
            message: format!("{id:?} means several things: use a UUID"),
            things: found
                .iter()
                .map(|row| (row.kind.clone(), row.id.to_string()))
                .collect(),
        });
    }
    found
        .pop()
        .ok_or_else(|| Fault::NotFound(format!("there is nothing {id:?} that could be explained")))
}

/// The answer about what was found.
///
/// # Errors
/// When it is gone, or of a kind that is not explained, or the database is away.
pub async fn answer(db: &Db, id: &str, meant: Meant, as_of: DateTime<Utc>) -> Result<Answer> {
    match meant {
        Meant::Event(mut facts, firm) => {
            if let Some(firm) = firm {
                let mut tx = db.firm(firm).await?;
                facts.effects = rows::effects_of(&mut tx, firm, id).await?;
            }
            Ok(explain::event(&facts))
        }
        Meant::Job(facts, firm) => {
            let effects = match firm {
                Some(firm) => rows::effects_of(&mut *db.firm(firm).await?, firm, id).await?,
                None => Vec::new(),
            };
            Ok(explain::job(&facts, &effects))
        }
        Meant::Thing(thing) => of_thing(db, id, thing, as_of).await,
    }
}

/// What is known of an engagement's periods.
///
/// # Errors
/// When the firm has no such engagement, or the database is away.
pub async fn engagement_facts(
    db: &Db,
    firm: FirmId,
    id: EngagementId,
    as_of: DateTime<Utc>,
) -> Result<BillingFacts> {
    let mut tx = db.firm(firm).await?;
    let facts = rows::engagement(&mut tx, firm, id, as_of).await?;
    facts.ok_or_else(|| Fault::NotFound(format!("there is no engagement {id}")))
}

/// What is known of an invoice.
///
/// # Errors
/// When the firm has no such invoice, or the database is away.
pub async fn invoice_facts(db: &Db, firm: FirmId, invoice: InvoiceId) -> Result<InvoiceFacts> {
    let mut tx = db.firm(firm).await?;
    let facts = rows::invoice(&mut tx, firm, invoice).await?;
    facts.ok_or_else(|| Fault::NotFound(format!("there is no invoice {invoice}")))
}

async fn of_thing(db: &Db, id: &str, found: Thing, as_of: DateTime<Utc>) -> Result<Answer> {
    let gone = || Fault::NotFound(format!("there is nothing {id:?} that could be explained"));
    if found.kind == "alert" {
        let mut tx = match found.firm {
            Some(firm) => db.firm(firm).await?,
            None => db.plain().await?,
        };
        let alert = rows::alert(&mut tx, found.firm, AlertId(found.id)).await?;
        return Ok(explain::alert(&alert.ok_or_else(gone)?));
    }
    let firm = found.firm.ok_or_else(gone)?;
    let mut tx = db.firm(firm).await?;
    let invoice = match found.kind.as_str() {
        "client" | "customer" => {
            let client = rows::client(&mut tx, firm, ClientId(found.id)).await?;
            return Ok(explain::client(&client.ok_or_else(gone)?, as_of));
        }
        "payment_method" => {
            let client = rows::client_of_card(&mut tx, firm, found.id)
                .await?
                .ok_or_else(gone)?;
            let client = rows::client(&mut tx, firm, client).await?;
            return Ok(explain::client(&client.ok_or_else(gone)?, as_of));
        }
        "user" => {
            let user = rows::user(&mut tx, firm, found.id).await?;
            return Ok(explain::user(&user.ok_or_else(gone)?));
        }
        "engagement" => {
            drop(tx);
            let facts = engagement_facts(db, firm, EngagementId(found.id), as_of).await?;
            return Ok(explain::engagement(&facts, as_of));
        }
        "journal" => {
            let journal = rows::journal(&mut tx, firm, found.id).await?;
            return Ok(explain::journal(&journal.ok_or_else(gone)?));
        }
        "credit_lot" => {
            let lot = rows::credit_lot(&mut tx, firm, found.id).await?;
            return Ok(explain::credit_lot(&lot.ok_or_else(gone)?));
        }
        "time_entry" => {
            let entry = rows::time_entry(&mut tx, firm, found.id).await?;
            return Ok(explain::time_entry(&entry.ok_or_else(gone)?));
        }
        "invoice" => Some(InvoiceId(found.id)),
        "attempt" | "cycle" => rows::invoice_of_attempt(&mut tx, firm, AttemptId(found.id)).await?,
        "payment_intent" | "charge" | "payment" | "refund" | "dispute" => {
            resolve::invoice_of(&mut tx, firm, id).await?
        }
        other if other.starts_with("platform_") => {
            let message = "what a firm pays for the platform is told by `quittance platform show` and `platform invoices`; what \
                           happened to it by `quittance audit list`";
            return Err(Fault::invalid("id", message));
        }
        other => {
            let message = format!(
                "a {} is not explained: ask about one of its clients or invoices",
                other.replace('_', " ")
            );
            return Err(Fault::invalid("id", message));
        }
    };
    let facts = rows::invoice(&mut tx, firm, invoice.ok_or_else(gone)?)
        .await?
        .ok_or_else(gone)?;
    Ok(of_invoice(&facts, id, &found, as_of))
}

/// The thing itself where the invoice has it; else all of the invoice, which is then the best answer.
fn of_invoice(facts: &InvoiceFacts, id: &str, found: &Thing, as_of: DateTime<Utc>) -> Answer {
    let uuid = found.id.to_string();
    let part = match found.kind.as_str() {
        "attempt" => facts
            .attempts
            .iter()
            .find(|a| a.id == uuid)
            .map(|a| explain::attempt(facts, a)),
        "payment_intent" => Some(explain::intent(facts, id)),
        "charge" => {
            let paid = facts
                .payments
                .iter()
                .find(|p| p.reference == id)
                .map(|p| explain::payment(facts, p));
            paid.or_else(|| {
                let tried = facts.attempts.iter().find(|a| a.charge.as_deref() == Some(id));
                tried.map(|a| explain::attempt(facts, a))
            })
        }
        "payment" => {
            let paid = facts.payments.iter().find(|p| p.id == uuid);
            paid.map(|p| explain::payment(facts, p))
        }
        "refund" => {
            let refund = facts
                .refunds
                .iter()
                .find(|r| r.id == uuid || r.stripe_id.as_deref() == Some(id));
            refund.map(|r| explain::refund(facts, r))
        }
        "dispute" => facts
            .disputes
            .iter()
            .find(|d| d.id == id || d.uuid == uuid)
            .map(|d| explain::dispute(facts, d)),
        _ => None,
    };
    part.unwrap_or_else(|| explain::invoice(facts, as_of))
}

//! Asking Stripe for something: the request, its job and its audit row, in the transaction of whoever asks. Nothing is sent here.

use serde_json::json;
use sqlx::PgConnection;

use super::{customers, requests, subscriptions, tiers};
use crate::{
    domain::platform::{
        Ask, AskFacts, NotAsked,
        ask::{LiveFacts, TierFacts},
        decide_ask,
    },
    ids::{FirmId, JobId, PlatformRequestId},
    store::{
        audit::{self, By},
        error::{Error, Result},
        jobs::{self, NewJob, Queue},
    },
};

/// Job kind that asks Stripe. Payload: `{"request_id"}`.
pub const REQUEST: &str = "platform_request";

/// Failed tries to reach Stripe about one request before a person is asked.
const TRIES: i32 = 200;

/// What becomes of an ask.
pub type Asked = std::result::Result<(PlatformRequestId, JobId), NotAsked>;

/// The key by which everything about one firm's platform billing happens one at a time.
#[must_use]
pub fn order_key(firm: FirmId) -> String {
    format!("platform:{firm}")
}

/// Asks for something in a firm's name, for a reason where a person gave one. What may not be asked is told at once.
///
/// # Errors
/// When the database is away.
pub async fn ask(
    conn: &mut PgConnection,
    firm: FirmId,
    ask: &Ask,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<Asked> {
    let facts = facts(conn, firm, ask).await?;
    if let Err(why) = decide_ask(ask, &facts) {
        return Ok(Err(why));
    }
    let id = match requests::insert(conn, firm, ask, reason, by).await {
        Ok(id) => id,
        // Somebody else was faster by a moment.
        Err(Error::Conflict { constraint }) if constraint == "one_open_platform_change" => {
            return Ok(Err(NotAsked::ChangeIsOpen));
        }
        Err(fault) => return Err(fault),
    };
    let auto_renewal = match ask {
        Ask::AutoRenewal { on } => Some(*on),
        _ => None,
    };
    let meta = json!({"request": id, "kind": ask.kind(), "tier": ask.tier(), "auto_renewal": auto_renewal, "reason": reason});
    let entry = by.entry("platform.asked", "firm", firm.0, meta);
    audit::record(conn, firm, by.at, &entry).await?;
    let job = NewJob::new(
        Queue::Charges,
        REQUEST,
        id.to_string(),
        json!({"request_id": id}),
        by.at,
    )
    .firm(firm)
    .at_most(TRIES)
    .in_order_of(order_key(firm));
    let job = jobs::enqueue(conn, &job).await?.ok_or(Error::Lost {
        what: "enqueue a request of platform billing",
        changed: 0,
    })?;
    jobs::nudge(conn).await?;
    Ok(Ok((id, job)))
}

/// Keeps a new billing address and asks that Stripe be told.
///
/// # Errors
/// When the database is away.
pub async fn ask_for_email(conn: &mut PgConnection, firm: FirmId, email: &str, by: &By<'_>) -> Result<Asked> {
    customers::set_email(conn, firm, email, by.at).await?;
    ask(conn, firm, &Ask::BillingEmail, None, by).await
}

async fn facts(conn: &mut PgConnection, firm: FirmId, ask: &Ask) -> Result<AskFacts> {
    let customer = customers::of(conn, firm).await?;
    let tier = match ask.tier() {
        Some(name) => tiers::find(conn, name).await?,
        None => None,
    };
    let subscription = subscriptions::current(conn, firm).await?;
    Ok(AskFacts {
        has_customer: customer.is_some_and(|customer| customer.stripe_customer_id.is_some()),
        change_is_open: requests::change_is_open(conn, firm).await?,
        tier: tier.map(|tier| TierFacts {
            has_price: tier.stripe_price_id.is_some(),
        }),
        subscription: subscription
            .filter(|subscription| !subscription.is_over())
            .map(|subscription| LiveFacts {
                tier: subscription.tier,
                auto_renewal: subscription.auto_renewal,
            }),
    })
}

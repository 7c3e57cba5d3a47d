//! Where alerts go: named, tried and taken away by a person of the firm who runs its billing, or of the platform, for a reason.

use serde::Serialize;
use serde_json::json;

use super::{Fault, Result, on_record, people::Acting};
use crate::{
    config::Mode,
    domain::{
        alert::AlertType,
        delivery::{BadTarget, Channel, Network, Reach, Target},
    },
    ids::{DestinationId, FirmId, JobId},
    password,
    store::{
        self, Tx,
        audit::{By, Severity},
        business_clock,
        delivery::{
            deliveries,
            destinations::{self, DestinationRow, NewDestination},
        },
    },
};

/// What the audit log calls it.
const KIND: &str = "alert_destination";

/// A destination to be.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// How it is told.
    pub channel: Channel,
    /// Its URL or address, as it was typed.
    pub target: &'a str,
    /// What matters less is not told.
    pub min_severity: Severity,
    /// Of these types only; all where empty.
    pub types: &'a [AlertType],
    /// Private networks that webhooks may go to.
    pub allowed: &'a [Network],
    /// Why.
    pub reason: &'a str,
}

/// A destination that was added.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Added {
    /// The destination.
    #[serde(flatten)]
    pub destination: DestinationRow,
    /// What its webhooks are signed with: shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// May they say where alerts go? A name that is no user's is a person of the platform.
///
/// # Errors
/// When they may not.
pub fn may(acting: &Acting) -> Result<()> {
    match acting.user() {
        Some(user) if !user.role.may_name_destinations() => Err(Fault::refused(
            "role_not_allowed",
            format!(
                "{} is a user with role {}: only an owner or an admin says where alerts go",
                acting.name(),
                user.role
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Adds a destination.
///
/// # Errors
/// When it is none, is told already, or the database is away.
pub async fn add(tx: &mut Tx, firm: Option<FirmId>, order: &Order<'_>, by: &By<'_>) -> Result<Added> {
    let reach = Reach {
        mode: match business_clock::read(tx).await?.livemode {
            Some(false) => Mode::Test,
            Some(true) | None => Mode::Live,
        },
        allowed: order.allowed.to_vec(),
    };
    let (field, judged) = match order.channel {
        Channel::Webhook => ("webhook", Target::webhook(order.target, &reach)),
        Channel::Email => ("email", Target::email(order.target)),
    };
    let target = judged.map_err(|fault| match fault {
        BadTarget::Private => Fault::refused("private_address", fault.to_string()),
        other => Fault::invalid(field, other.to_string()),
    })?;
    let id = DestinationId::new();
    let new = NewDestination {
        id,
        firm,
        target: &target,
        min_severity: order.min_severity,
        types: order.types,
        by: by.actor.name(),
        at: by.at,
    };
    destinations::insert(tx, &new)
        .await
        .map_err(|fault| match fault {
            store::Error::Conflict { .. } => Fault::refused(
                "destination_exists",
                "alerts go there already: remove that destination first, or leave it as it is",
            ),
            other => other.into(),
        })?;
    let secret = match order.channel {
        Channel::Webhook => Some(format!("whsec_{}", password::random_word())),
        Channel::Email => None,
    };
    if let Some(secret) = &secret {
        destinations::keep_secret(tx, firm, id, secret).await?;
    }
    let meta = json!({
        "kind": order.channel, "min_severity": order.min_severity.as_str(), "alert_types": order.types,
    });
    let what = ("alert_destination.added", KIND, id.0);
    on_record(tx, firm, what, Some(order.reason), meta, by).await?;
    Ok(Added {
        destination: find(tx, firm, id).await?,
        secret,
    })
}

/// A destination that was not removed.
///
/// # Errors
/// When there is none, or the database is away.
pub async fn find(tx: &mut Tx, firm: Option<FirmId>, id: DestinationId) -> Result<DestinationRow> {
    let found = destinations::list(tx, firm, Some(id)).await?.pop();
    found.ok_or_else(|| Fault::NotFound(format!("there is no destination {id}")))
}

/// Takes one away. What waits for it is dropped.
///
/// # Errors
/// When there is none, or the database is away.
pub async fn remove(
    tx: &mut Tx,
    firm: Option<FirmId>,
    id: DestinationId,
    reason: &str,
    by: &By<'_>,
) -> Result<DestinationRow> {
    let gone = find(tx, firm, id).await?;
    destinations::remove(tx, firm, id, by.at).await?;
    let what = ("alert_destination.removed", KIND, id.0);
    on_record(tx, firm, what, Some(reason), json!({ "kind": gone.kind }), by).await?;
    Ok(gone)
}

/// Tells one again that is told nothing since its receiver said that it is gone. What it missed is in the list of alerts.
///
/// # Errors
/// When there is none, it is told already, or the database is away.
pub async fn enable(
    tx: &mut Tx,
    firm: Option<FirmId>,
    id: DestinationId,
    reason: &str,
    by: &By<'_>,
) -> Result<DestinationRow> {
    let was = find(tx, firm, id).await?;
    if !destinations::enable(tx, firm, id).await? {
        return Err(Fault::refused(
            "destination_enabled",
            "it is told of alerts already",
        ));
    }
    let what = ("alert_destination.enabled", KIND, id.0);
    let meta = json!({ "kind": was.kind, "was_disabled_for": was.disabled_reason });
    on_record(tx, firm, what, Some(reason), meta, by).await?;
    find(tx, firm, id).await
}

/// Tells one nothing any more, because its receiver says that it is gone.
///
/// # Errors
/// When the database is away.
pub async fn disable(
    tx: &mut Tx,
    firm: Option<FirmId>,
    id: DestinationId,
    reason: &str,
    by: &By<'_>,
) -> Result<()> {
    if destinations::disable(tx, firm, id, by.at, reason).await? {
        let what = ("alert_destination.disabled", KIND, id.0);
        on_record(tx, firm, what, Some(reason), json!({}), by).await?;
    }
    Ok(())
}

/// Orders a message to one that tells of nothing. Returns its job.
///
/// # Errors
/// When there is none, it is told nothing, or the database is away.
pub async fn test(tx: &mut Tx, firm: Option<FirmId>, id: DestinationId, by: &By<'_>) -> Result<JobId> {
    let there = find(tx, firm, id).await?;
    if let Some(reason) = there.disabled_reason {
        return Err(Fault::refused(
            "destination_disabled",
            format!("it is told nothing ({reason}): `quittance alert destination enable {id} --reason R`"),
        ));
    }
    let job = deliveries::test(tx, firm, id, by.at).await?;
    let what = ("alert_destination.tested", KIND, id.0);
    on_record(tx, firm, what, None, json!({ "kind": there.kind }), by).await?;
    Ok(job)
}

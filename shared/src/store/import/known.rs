//! What the database knows of the ids in a document.

use uuid::Uuid;

use crate::{
    currency::Currency,
    domain::import::{Known, KnownClient, KnownEngagement, KnownMethod, Mentioned},
    ids::{ClientId, EngagementId, FirmId},
    store::{
        Result, Tx,
        error::Error,
        resolve::{self, Found},
    },
};

/// Looks up every id that a document mentions and does not declare.
///
/// # Errors
/// When the database is away.
pub async fn look_up(tx: &mut Tx, mentioned: &Mentioned) -> Result<Known> {
    let mut known = Known::default();
    for name in &mentioned.firms {
        if let Some(found) = one(tx, name, &["firm"], &mut known).await? {
            known.firms.insert(name.clone(), found.firm);
        }
    }
    for name in &mentioned.clients {
        if let Some(found) = one(tx, name, &["client", "customer"], &mut known).await?
            && let Some(client) = client(tx, found.firm, found.id).await?
        {
            known.clients.insert(name.clone(), client);
        }
    }
    for name in &mentioned.engagements {
        if let Some(found) = one(tx, name, &["engagement"], &mut known).await?
            && let Some(engagement) = engagement(tx, found.firm, found.id).await?
        {
            known.engagements.insert(name.clone(), engagement);
        }
    }
    for stripe_id in &mentioned.customers {
        if let Some(found) = one(tx, stripe_id, &["customer"], &mut known).await?
            && let Some(client) = client(tx, found.firm, found.id).await?
        {
            known.customers.insert(stripe_id.clone(), client);
        }
    }
    for stripe_id in &mentioned.methods {
        if let Some(found) = one(tx, stripe_id, &["payment_method"], &mut known).await?
            && let Some(method) = method(tx, found.firm, found.id).await?
        {
            known.methods.insert(stripe_id.clone(), method);
        }
    }
    Ok(known)
}

/// The one row of these kinds that an id means; several are noted as ambiguous.
async fn one(tx: &mut Tx, name: &str, kinds: &[&str], known: &mut Known) -> Result<Option<Found>> {
    let mut found = resolve::resolve(tx, name).await?;
    found.retain(|row| kinds.contains(&row.kind.as_str()));
    if found.len() > 1 {
        known.ambiguous.insert(name.to_owned());
        return Ok(None);
    }
    Ok(found.pop())
}

async fn client(tx: &mut Tx, firm: FirmId, id: Uuid) -> Result<Option<KnownClient>> {
    tx.set_firm(firm).await?;
    let row = sqlx::query!(
        r#"select c.external_id, f.external_id as firm_external_id, c.stripe_customer_id is not null as "has_customer!"
           from clients c join firms f on f.id = c.firm_id where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        id
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|r| KnownClient {
        firm,
        firm_external_id: r.firm_external_id,
        id: ClientId(id),
        external_id: r.external_id,
        has_customer: r.has_customer,
    }))
}

async fn engagement(tx: &mut Tx, firm: FirmId, id: Uuid) -> Result<Option<KnownEngagement>> {
    tx.set_firm(firm).await?;
    let row = sqlx::query!(
        r#"select client_id, currency::text as "currency!", hourly_rate_minor is not null as "has_hourly_rate!"
           from engagements where firm_id = $1 and id = $2"#,
        firm.0,
        id
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let currency = Currency::parse(&row.currency).map_err(Error::corrupt)?;
    let client = client(tx, firm, row.client_id).await?;
    Ok(client.map(|client| KnownEngagement {
        id: EngagementId(id),
        client,
        currency,
        has_hourly_rate: row.has_hourly_rate,
    }))
}

async fn method(tx: &mut Tx, firm: FirmId, id: Uuid) -> Result<Option<KnownMethod>> {
    tx.set_firm(firm).await?;
    let row = sqlx::query!(
        "select client_id, status from payment_methods where firm_id = $1 and id = $2",
        firm.0,
        id
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let client = client(tx, firm, row.client_id).await?;
    Ok(client.map(|client| KnownMethod {
        client,
        usable: row.status == "active",
    }))
}

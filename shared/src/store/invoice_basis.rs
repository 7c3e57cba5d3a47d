//! What making an invoice by hand depends on: the engagement's terms, the client, and the invoice itself under lock.

use sqlx::PgConnection;

use super::error::{Error, Result};
use crate::{
    currency::Currency,
    domain::generate::EngagementStatus,
    ids::{ClientId, EngagementId, FirmId, InvoiceId},
};

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTerms {
    /// Its id.
    pub id: ClientId,
    /// `external_id`, or the UUID where there is none.
    pub label: String,
    /// It pays automatically.
    pub autopay: bool,
    /// It is parked until a person has looked.
    pub parked: bool,
    /// The usual currency of its firm.
    pub default_currency: Currency,
}

/// A client; `None` when this firm has none with this id.
///
/// # Errors
/// When the database is away.
pub async fn client(conn: &mut PgConnection, firm: FirmId, id: ClientId) -> Result<Option<ClientTerms>> {
    let row = sqlx::query!(
        r#"select coalesce(c.external_id, c.id::text) as "label!", c.autopay_enabled, c.parked_reason is not null as "parked!",
                  f.default_currency::text as "currency!"
           from clients c join firms f on f.id = c.firm_id where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(ClientTerms {
            id,
            label: row.label,
            autopay: row.autopay_enabled,
            parked: row.parked,
            default_currency: Currency::parse(&row.currency).map_err(Error::corrupt)?,
        })
    })
    .transpose()
}

/// What an invoice of an engagement is made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngagementTerms {
    /// Its id.
    pub id: EngagementId,
    /// Who pays.
    pub client: ClientTerms,
    /// Where it stands.
    pub status: EngagementStatus,
    /// The currency of its amounts.
    pub currency: Currency,
    /// Whether time on it has a price.
    pub has_hourly_rate: bool,
}

/// An engagement, kept from being changed until the transaction ends; `None` when this firm has none with this id.
///
/// # Errors
/// When the database is away.
pub async fn engagement(
    conn: &mut PgConnection,
    firm: FirmId,
    id: EngagementId,
) -> Result<Option<EngagementTerms>> {
    let row = sqlx::query!(
        r#"select client_id, status, currency::text as "currency!", hourly_rate_minor is not null as "has_hourly_rate!"
           from engagements where firm_id = $1 and id = $2 for share"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Some(client) = client(conn, firm, ClientId(row.client_id)).await? else {
        return Ok(None);
    };
    Ok(Some(EngagementTerms {
        id,
        client,
        status: row.status.parse().map_err(Error::corrupt)?,
        currency: Currency::parse(&row.currency).map_err(Error::corrupt)?,
        has_hourly_rate: row.has_hourly_rate,
    }))
}

/// Locks an invoice; gives its state as a document and who pays. `None` when this firm has none with this id.
///
/// # Errors
/// When the database is away.
pub async fn lock_invoice(
    conn: &mut PgConnection,
    firm: FirmId,
    id: InvoiceId,
) -> Result<Option<(String, ClientId)>> {
    let row = sqlx::query!(
        "select doc_state, client_id from invoices where firm_id = $1 and id = $2 for update",
        firm.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.doc_state, ClientId(row.client_id))))
}

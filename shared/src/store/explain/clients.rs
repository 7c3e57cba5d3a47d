//! A client with what is open, and an entry of time.
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    audit,
    facts::{card, money},
    invoices,
};
use crate::{
    domain::explain::{ClientFacts, TimeFacts, UserFacts},
    ids::{ClientId, FirmId, InvoiceId},
    store::error::Result,
};

/// Open invoices of a client that an answer looks at.
const INVOICES: i64 = 20;

/// Reads a client; `None` when this firm has none such.
///
/// # Errors
/// When the database is away.
pub async fn client(conn: &mut PgConnection, firm: FirmId, id: ClientId) -> Result<Option<ClientFacts>> {
    let row = sqlx::query!(
        r#"select coalesce(c.external_id, c.id::text) as "label!", coalesce(f.external_id, f.id::text) as "firm!", c.stripe_customer_id,
                  c.autopay_enabled, c.autopay_changed_at, coalesce(c.parked_reason, f.parked_reason) as parked,
                  pm.stripe_payment_method_id as "method?", pm.status as "method_status?", pm.brand as "brand?", pm.last4 as "last4?",
                  pm.exp_month as "exp_month?", pm.exp_year as "exp_year?"
           from clients c join firms f on f.id = c.firm_id
           left join payment_methods pm on pm.firm_id = c.firm_id and pm.id = c.autopay_payment_method_id
           where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let open = sqlx::query_scalar!(
        r#"select i.id from invoices i join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           where i.firm_id = $1 and i.client_id = $2 and i.doc_state = 'issued' and (s.open_minor > 0 or s.disputed_minor > 0)
           order by i.id desc limit $3"#,
        firm.0,
        id.0,
        INVOICES
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut found = Vec::new();
    for invoice in open {
        found.extend(invoices::invoice(conn, firm, InvoiceId(invoice)).await?);
    }
    Ok(Some(ClientFacts {
        pauses: invoices::pauses(conn, firm, id).await?,
        audit: audit::of_subjects(conn, firm, &[], Some(id.0)).await?,
        card: row.method.as_deref().map(|method| {
            let status = row.method_status.as_deref().unwrap_or_default();
            let face = (row.brand.as_deref(), row.last4.as_deref());
            card(method, status, face, row.exp_month.zip(row.exp_year))
        }),
        label: row.label,
        firm: row.firm,
        customer: row.stripe_customer_id,
        autopay: (row.autopay_enabled, row.autopay_changed_at),
        parked: row.parked,
        invoices: found,
    }))
}

/// Reads an entry of time; `None` when this firm has none such.
///
/// # Errors
/// When the database is away.
pub async fn time_entry(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<TimeFacts>> {
    let row = sqlx::query!(
        r#"select coalesce(t.external_id, t.id::text) as "label!", coalesce(e.external_id, e.id::text) as "engagement!", t.worker,
                  t.worked_on, t.minutes, t.rate_minor, t.currency::text as "currency!", t.state, t.approved_by, t.approved_at,
                  coalesce(i.number, i.external_id, i.id::text) as invoice, l.amount_minor as "amount_minor?"
           from time_entries t
           join engagements e on e.firm_id = t.firm_id and e.id = t.engagement_id
           left join invoice_lines l on l.firm_id = t.firm_id and l.time_entry_id = t.id and l.released_at is null
           left join invoices i on i.firm_id = l.firm_id and i.id = l.invoice_id
           where t.firm_id = $1 and t.id = $2"#,
        firm.0,
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let rate = match row.rate_minor {
        Some(minor) => Some(money(minor, &row.currency)?),
        None => None,
    };
    let billed = match row.invoice.zip(row.amount_minor) {
        Some((invoice, minor)) => Some((invoice, money(minor, &row.currency)?)),
        None => None,
    };
    Ok(Some(TimeFacts {
        audit: audit::of_subjects(conn, firm, &[id], None).await?,
        label: row.label,
        engagement: row.engagement,
        worker: row.worker,
        worked_on: row.worked_on,
        minutes: row.minutes,
        rate,
        state: row.state,
        approved: row.approved_by.zip(row.approved_at),
        billed,
    }))
}

/// The client of a stored card.
///
/// # Errors
/// When the database is away.
pub async fn client_of_card(conn: &mut PgConnection, firm: FirmId, card: Uuid) -> Result<Option<ClientId>> {
    let client = sqlx::query_scalar!(
        "select client_id from payment_methods where firm_id = $1 and id = $2",
        firm.0,
        card
    )
    .fetch_optional(conn)
    .await?;
    Ok(client.map(ClientId))
}

/// Reads a user with what it did; `None` when this firm has none such.
///
/// # Errors
/// When the database is away.
pub async fn user(conn: &mut PgConnection, firm: FirmId, id: Uuid) -> Result<Option<UserFacts>> {
    let row = sqlx::query!(
        r#"select coalesce(u.external_id, u.id::text) as "label!", u.name, u.role, coalesce(c.external_id, c.id::text) as client
           from users u left join clients c on c.firm_id = u.firm_id and c.id = u.client_id
           where u.firm_id = $1 and u.id = $2"#,
        firm.0,
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(UserFacts {
        id: id.to_string(),
        audit: audit::of_person(conn, firm, id, &row.label).await?,
        label: row.label,
        name: row.name,
        role: row.role,
        client: row.client,
    }))
}

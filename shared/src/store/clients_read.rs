//! A client as it is shown: its cards, its automatic payment, its credit, and what it owes. The keys are a public contract.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    error::Result,
    invoices_read::{self, Filter, InvoiceRow},
};
use crate::ids::{ClientId, FirmId};

/// Open invoices shown; `invoice list --client` has the rest.
const MOST_INVOICES: i64 = 100;

/// A client with everything that a person asks about before writing to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientView {
    /// Our id.
    pub id: Uuid,
    /// What an import calls it.
    pub external_id: Option<String>,
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// What the firm calls it.
    pub name: String,
    /// Its customer at Stripe.
    pub stripe_customer_id: Option<String>,
    /// Its automatic payment.
    pub autopay: ClientAutopay,
    /// Its cards.
    pub payment_methods: Vec<StoredCard>,
    /// What it may spend, by currency.
    pub credit: Vec<Credit>,
    /// Money that came and was not owed, as far as it is not used up: to be kept as credit, or given back.
    pub unapplied: Vec<UnappliedMoney>,
    /// What it owes.
    pub open_invoices: Vec<InvoiceRow>,
    /// What it contests, and what was lost and waits for a person's decision.
    pub disputes: Vec<String>,
}

impl ClientView {
    /// What of it the client's own users see: nothing of what the firm says and decides about them.
    #[must_use]
    pub fn for_client(self) -> Self {
        Self {
            stripe_customer_id: None,
            autopay: ClientAutopay {
                paused_reason: None,
                ..self.autopay
            },
            unapplied: Vec::new(),
            disputes: Vec::new(),
            ..self
        }
    }
}

/// A client's automatic payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientAutopay {
    /// Whether it is on.
    pub enabled: bool,
    /// The card that it uses, or used last.
    pub payment_method: Option<String>,
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Why.
    pub paused_reason: Option<String>,
}

/// A reference to a stored card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredCard {
    /// Its id at Stripe.
    pub stripe_payment_method_id: String,
    /// Its brand.
    pub brand: Option<String>,
    /// Its last digits.
    pub last4: Option<String>,
    /// The month in which it expires.
    pub exp_month: Option<i32>,
    /// The year.
    pub exp_year: Option<i32>,
    /// `active`, `needs_update` or `detached`.
    pub status: String,
}

/// Credit in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credit {
    /// Which.
    pub currency: String,
    /// How much.
    pub minor: i64,
}

/// Money of which something was not owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnappliedMoney {
    /// The payment.
    pub payment: Uuid,
    /// Its charge, where it came by card.
    pub stripe_charge_id: Option<String>,
    /// Its reference, where it did not.
    pub reference: Option<String>,
    /// The invoice that it came for.
    pub invoice: Option<String>,
    /// `overpayment`, or `payment_unapplied` where the invoice took no money any more.
    pub source: String,
    /// How much was not owed.
    pub amount_minor: i64,
    /// How much of that is not used up.
    pub remaining_minor: i64,
    /// Which currency.
    pub currency: String,
    /// When it came.
    pub at: DateTime<Utc>,
}

/// A client in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientRow {
    /// Our id.
    pub id: Uuid,
    /// What an import calls it.
    pub external_id: Option<String>,
    /// What the firm calls it.
    pub name: String,
    /// Its customer at Stripe.
    pub stripe_customer_id: Option<String>,
    /// Whether its automatic payment is on.
    pub autopay_enabled: bool,
    /// Why it is paused, if it is.
    pub autopay_paused_reason: Option<String>,
}

/// The clients of a firm, the newest first.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<ClientRow>> {
    Ok(sqlx::query_as!(
        ClientRow,
        "select id, external_id, name, stripe_customer_id, autopay_enabled, autopay_paused_reason from clients
          where firm_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
        firm.0,
        after,
        most
    )
    .fetch_all(conn)
    .await?)
}

/// One client in full; `None` when this firm has none with this id.
///
/// # Errors
/// When the database is away.
pub async fn show(conn: &mut PgConnection, firm: FirmId, id: ClientId) -> Result<Option<ClientView>> {
    let row = sqlx::query!(
        r#"select c.external_id, coalesce(f.external_id, f.id::text) as "firm!", c.name, c.stripe_customer_id, c.autopay_enabled,
                  m.stripe_payment_method_id as "method?", c.autopay_paused_at, c.autopay_paused_reason
           from clients c join firms f on f.id = c.firm_id
           left join payment_methods m on m.firm_id = c.firm_id and m.id = c.autopay_payment_method_id
           where c.firm_id = $1 and c.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let owed = Filter {
        client: Some(id),
        open_only: true,
        ..Filter::default()
    };
    Ok(Some(ClientView {
        id: id.0,
        external_id: row.external_id,
        firm: row.firm,
        name: row.name,
        stripe_customer_id: row.stripe_customer_id,
        autopay: ClientAutopay {
            enabled: row.autopay_enabled,
            payment_method: row.method,
            paused_at: row.autopay_paused_at,
            paused_reason: row.autopay_paused_reason,
        },
        payment_methods: cards(&mut *conn, firm, id).await?,
        credit: credit(&mut *conn, firm, id).await?,
        unapplied: unapplied(&mut *conn, firm, id).await?,
        open_invoices: invoices_read::list(&mut *conn, firm, &owed, MOST_INVOICES).await?,
        disputes: disputes(&mut *conn, firm, id).await?,
    }))
}

async fn cards(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<Vec<StoredCard>> {
    Ok(sqlx::query_as!(
        StoredCard,
        "select stripe_payment_method_id, brand, last4, exp_month, exp_year, status from payment_methods
          where firm_id = $1 and client_id = $2 order by created_at, id",
        firm.0,
        client.0
    )
    .fetch_all(conn)
    .await?)
}

async fn credit(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<Vec<Credit>> {
    Ok(sqlx::query_as!(
        Credit,
        r#"select currency::text as "currency!", balance_minor as minor from credit_balances
            where firm_id = $1 and client_id = $2 and balance_minor <> 0 order by currency"#,
        firm.0,
        client.0
    )
    .fetch_all(conn)
    .await?)
}

async fn unapplied(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<Vec<UnappliedMoney>> {
    Ok(sqlx::query_as!(
        UnappliedMoney,
        r#"select p.id as payment, p.stripe_charge_id, p.external_ref as reference, coalesce(i.number, i.id::text) as invoice,
                  l.source as "source!", l.amount_minor as "amount_minor!", b.remaining_minor as "remaining_minor!",
                  l.currency::text as "currency!", p.received_at as at
           from credit_lots l
           join credit_lot_balances b on b.firm_id = l.firm_id and b.id = l.id
           join payments p on p.firm_id = l.firm_id and p.id = l.payment_id
           left join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
           where l.firm_id = $1 and l.client_id = $2 and b.remaining_minor > 0
           order by p.received_at, p.id"#,
        firm.0,
        client.0
    )
    .fetch_all(conn)
    .await?)
}

async fn disputes(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        "select d.stripe_dispute_id from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
          where d.firm_id = $1 and p.client_id = $2
            and (d.outcome is null or (d.outcome = 'lost' and not exists (
                  select 1 from dispute_resolutions r where r.firm_id = d.firm_id and r.dispute_id = d.id)))
          order by d.respond_by nulls last, d.stripe_dispute_id",
        firm.0,
        client.0
    )
    .fetch_all(conn)
    .await?)
}

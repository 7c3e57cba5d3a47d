//! A firm as a customer of the platform: one each.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    ids::FirmId,
    store::{
        error::{Error, Result, one_row},
        routes::{self, Scope},
    },
};

/// A firm's customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlatformCustomer {
    /// `cus_…`; none until Stripe has made one.
    pub stripe_customer_id: Option<String>,
    /// Where Stripe sends invoices and receipts.
    pub billing_email: Option<String>,
    /// Whether Stripe has this address.
    pub email_synced: bool,
}

/// The firm's customer, if it is one, or is to be one.
///
/// # Errors
/// When the database is away.
pub async fn of(conn: &mut PgConnection, firm: FirmId) -> Result<Option<PlatformCustomer>> {
    Ok(sqlx::query_as!(
        PlatformCustomer,
        r#"select stripe_customer_id, billing_email, email_synced_at is not null as "email_synced!"
             from platform_customers where firm_id = $1"#,
        firm.0
    )
    .fetch_optional(conn)
    .await?)
}

/// Keeps an address that Stripe is still to be told.
///
/// # Errors
/// When the database is away.
pub async fn set_email(conn: &mut PgConnection, firm: FirmId, email: &str, now: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "insert into platform_customers (firm_id, billing_email, created_at) values ($1, $2, $3)
         on conflict (firm_id) do update set billing_email = excluded.billing_email, email_synced_at = null",
        firm.0,
        email,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Stripe has taken this address; another one that was set meanwhile is still to be told.
///
/// # Errors
/// When the database is away.
pub async fn email_synced(
    conn: &mut PgConnection,
    firm: FirmId,
    email: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update platform_customers set email_synced_at = $3 where firm_id = $1 and billing_email = $2",
        firm.0,
        email,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The firm is this customer from now on. `false` when it was before.
///
/// # Errors
/// [`Error::Refused`] when the firm is another customer, or the customer is a client's or another firm's: events of the one would
/// be taken for the other's (S20). When the database is away.
pub async fn record(
    conn: &mut PgConnection,
    firm: FirmId,
    customer: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    sqlx::query!(
        "insert into platform_customers (firm_id, created_at) values ($1, $2) on conflict (firm_id) do nothing",
        firm.0,
        now
    )
    .execute(&mut *conn)
    .await?;
    let there = sqlx::query_scalar!(
        "select stripe_customer_id from platform_customers where firm_id = $1 for update",
        firm.0
    )
    .fetch_one(&mut *conn)
    .await?;
    match there {
        Some(there) if there == customer => return Ok(false),
        Some(there) => return Err(refused(&format!("the firm is the customer {there} already"))),
        None => {}
    }
    let is_a_clients = sqlx::query_scalar!(
        r#"select exists (select 1 from clients where stripe_customer_id = $1) as "yes!""#,
        customer
    )
    .fetch_one(&mut *conn)
    .await?;
    routes::record_for(
        conn,
        firm,
        Scope::PlatformBilling,
        "platform_customer",
        customer,
        firm.0,
    )
    .await?;
    let route = routes::find(conn, &[customer.to_owned()]).await?;
    let is_ours = route.is_some_and(|(_, route)| route.kind == "platform_customer" && route.firm == firm);
    if is_a_clients || !is_ours {
        return Err(refused(&format!(
            "{customer} is the customer of a client or of another firm: a firm has a customer of its own"
        )));
    }
    let done = sqlx::query!(
        "update platform_customers set stripe_customer_id = $2 where firm_id = $1",
        firm.0,
        customer
    )
    .execute(conn)
    .await?;
    one_row("record a firm's customer", done.rows_affected())?;
    Ok(true)
}

/// What the firm is called: the name that Stripe writes on its invoices.
///
/// # Errors
/// When the database is away.
pub async fn name_of_firm(conn: &mut PgConnection, firm: FirmId) -> Result<String> {
    Ok(
        sqlx::query_scalar!("select name from firms where id = $1", firm.0)
            .fetch_one(conn)
            .await?,
    )
}

/// Whether there is such a firm at all: a reference at Stripe may be older than the database.
///
/// # Errors
/// When the database is away.
pub async fn may_be(conn: &mut PgConnection, firm: FirmId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from firms where id = $1) as "there!""#,
        firm.0
    )
    .fetch_one(conn)
    .await?)
}

fn refused(message: &str) -> Error {
    Error::Refused {
        code: "QT030".to_owned(),
        message: message.to_owned(),
    }
}
